// Command quick_dev is the first thing to run against a new server: it logs in as demo1, makes a project with five tasks,
// changes, lists and deletes them, some in batches, logs off, and shows every request and answer. It exits with 1 if an
// answer is not what it should be.
//
//	quick_dev [-server http://127.0.0.1:8080]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/clients/go/api"
	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

func main() {
	server := flag.String("server", "http://127.0.0.1:8080", "the server's address")
	flag.Parse()
	if err := run(context.Background(), *server); err != nil {
		fmt.Fprintln(os.Stderr, "\nquick_dev:", err)
		os.Exit(1)
	}
	fmt.Println("\nquick_dev: every answer was what it should be")
}

func run(ctx context.Context, server string) error {
	c := rpcclient.New(server)
	c.Trace = show
	if _, err := c.Login(ctx, "demo1", "welcome", ""); err != nil {
		if rpcclient.KindOf(err) != "" {
			return err
		}
		return fmt.Errorf("%w\nStart a server first: make run", err)
	}

	name := fmt.Sprint("project ", time.Now().UnixNano())
	project, err := api.CreateProject.Call(ctx, c, api.CreateProjectParams{Data: api.ProjectCreate{Name: name}})
	if err != nil {
		return err
	}
	if project.Data.Name != name {
		return fmt.Errorf("the project is called %q", project.Data.Name)
	}
	id := project.Data.ID

	tasks := make([]api.Task, 5)
	for i := range tasks {
		title := fmt.Sprintf("task %s %d", []string{"AAA", "BBB"}[i%2], i)
		made, err := api.CreateTask.Call(ctx, c, api.CreateTaskParams{Data: api.TaskCreate{ProjectID: id, Title: title}})
		if err != nil {
			return err
		}
		tasks[i] = made.Data
		if made.Data.Title != title || made.Data.ProjectID != id || made.Data.Version != 1 {
			return fmt.Errorf("created %+v", made.Data)
		}
	}

	updated, err := api.UpdateTask.Call(ctx, c, api.UpdateTaskParams{
		ID: tasks[0].ID, Version: rpcclient.Value[int64](1),
		Data: api.TaskUpdate{Title: new("task BB new"), Done: new(true)},
	})
	if err != nil {
		return err
	}
	if updated.Data.Title != "task BB new" || !updated.Data.Done || updated.Data.Version != 2 {
		return fmt.Errorf("updated %+v", updated.Data)
	}
	_, err = api.UpdateTask.Call(ctx, c, api.UpdateTaskParams{
		ID: tasks[0].ID, Version: rpcclient.Value[int64](1), Data: api.TaskUpdate{Done: new(false)},
	})
	if err := refusedAs(apperr.Conflict, err); err != nil {
		return err
	}

	if _, err := api.DeleteTask.Call(ctx, c, api.DeleteTaskParams{ID: tasks[1].ID}); err != nil {
		return err
	}
	_, err = api.GetTask.Call(ctx, c, api.GetTaskParams{ID: tasks[1].ID})
	if err := refusedAs(apperr.NotFound, err); err != nil {
		return err
	}

	if err := lists(ctx, c, id); err != nil {
		return err
	}
	if err := batch(ctx, c, id); err != nil {
		return err
	}
	if err := transaction(ctx, c, name+" once more"); err != nil {
		return err
	}
	if err := c.Logoff(ctx); err != nil {
		return err
	}
	_, err = api.ListTasks.Call(ctx, c, api.ListTasksParams{})
	return refusedAs(apperr.Unauthenticated, err)
}

// lists asks for what is left: "task BB new", "task AAA 2", "task BBB 3" and "task AAA 4".
func lists(ctx context.Context, c *rpcclient.Client, project int64) error {
	of := func(projects ...int64) *api.IntegerCondition { return &api.IntegerCondition{In: projects} }
	named := func(titles ...string) *api.StringCondition { return &api.StringCondition{In: titles} }
	for _, l := range []struct {
		params api.ListTasksParams
		want   []string
	}{
		{
			api.ListTasksParams{
				Filters:     api.TaskFilters{{ProjectID: of(project)}},
				ListOptions: &api.TaskListOptions{OrderBys: []api.TaskOrderBy{api.TaskOrderByTitleDesc}},
			},
			[]string{"task BBB 3", "task BB new", "task AAA 4", "task AAA 2"},
		},
		{
			api.ListTasksParams{Filters: api.TaskFilters{
				{ProjectID: of(project), Title: &api.StringCondition{Contains: new("BB")}},
				{ProjectID: of(project), Title: named("task AAA 3", "task AAA 4")},
				{ProjectID: of(123, 124), Title: named("task AAA 2", "task AAA 5")},
			}},
			[]string{"task BB new", "task BBB 3", "task AAA 4"},
		},
	} {
		var titles []string
		for task, err := range rpcclient.Rows(ctx, c, api.ListTasks, l.params) {
			if err != nil {
				return err
			}
			titles = append(titles, task.Title)
		}
		if !slices.Equal(titles, l.want) {
			return fmt.Errorf("listed %q, want %q", titles, l.want)
		}
	}
	return nil
}

// batch asks for two things in one request.
func batch(ctx context.Context, c *rpcclient.Client, project int64) error {
	var b rpcclient.Batch
	found := api.GetProject.In(&b, api.GetProjectParams{ID: project})
	counted := api.CountTasks.In(&b, api.CountTasksParams{Filters: api.TaskFilters{{ProjectID: &api.IntegerCondition{Eq: rpcclient.Value(project)}}}})
	if err := b.Run(ctx, c); err != nil {
		return err
	}
	p, err := found.Result()
	if err != nil {
		return err
	}
	n, err := counted.Result()
	if err != nil {
		return err
	}
	if p.Data.ID != project || n.Data.Count != 4 {
		return fmt.Errorf("the batch found %+v with %d tasks", p.Data, n.Data.Count)
	}
	return nil
}

// transaction makes a project and a task in it, or neither of them.
func transaction(ctx context.Context, c *rpcclient.Client, name string) error {
	type object = map[string]any
	createTask := rpcclient.Method[object, rpcclient.Data[api.Task]]{Name: api.CreateTask.Name} // whose params can have a reference
	b := rpcclient.Batch{Atomic: true}
	project := api.CreateProject.In(&b, api.CreateProjectParams{Data: api.ProjectCreate{Name: name}})
	task := createTask.In(&b, object{"data": object{"project_id": project.Ref("id"), "title": "the first"}})
	if err := b.Run(ctx, c); err != nil {
		return err
	}
	p, err := project.Result()
	if err != nil {
		return err
	}
	t, err := task.Result()
	if err != nil {
		return err
	}
	if t.Data.ProjectID != p.Data.ID {
		return fmt.Errorf("the task %+v is not in the project %+v", t.Data, p.Data)
	}
	return nil
}

// refusedAs returns nil if err is the server's refusal with the kind.
func refusedAs(kind apperr.Kind, err error) error {
	if err == nil {
		return fmt.Errorf("the answer should be %s, and is a success", kind)
	}
	if rpcclient.KindOf(err) == kind {
		return nil
	}
	return fmt.Errorf("the answer should be %s, and is %w", kind, err)
}

// show prints an exchange.
func show(e rpcclient.Exchange) {
	fmt.Printf("\n-> POST %s\n%s\n<- %d in %s\n%s\n", e.Path, readable(e.Request), e.Status, e.Took.Round(10*time.Microsecond), readable(e.Answer))
}

// readable indents JSON, with tokens cut short.
func readable(text []byte) string {
	v := jsontext.Value(bytes.Clone(text))
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		return string(text)
	}
	var b strings.Builder
	for line := range strings.Lines(string(v)) {
		if strings.Contains(line, `token": "`) && len(line) > 60 {
			line = line[:50] + "…\",\n"
		}
		b.WriteString("   " + line)
	}
	return b.String()
}
