// Command quick_dev is the first thing to run against a new server: it logs in as demo1, makes a project with five tasks,
// changes, lists and deletes them, logs off, and shows every request and answer. It exits with 1 if an answer is not what
// it should be.
//
//	quick_dev [-server http://127.0.0.1:8080]
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

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

type task struct {
	ID        int64  `json:"id"`
	ProjectID int64  `json:"project_id"`
	Title     string `json:"title"`
	Done      bool   `json:"done"`
	Version   int64  `json:"version"`
}

type one[T any] struct {
	Data T `json:"data"`
}

type list struct {
	Data       []task  `json:"data"`
	NextCursor *string `json:"next_cursor"`
}

type object = map[string]any

func run(ctx context.Context, server string) error {
	c := rpcclient.New(server)
	c.Trace = show
	if _, err := c.Login(ctx, "demo1", "welcome", ""); err != nil {
		if refused := (*rpcclient.Error)(nil); errors.As(err, &refused) {
			return err
		}
		return fmt.Errorf("%w\nStart a server first: make run", err)
	}

	var project one[struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}]
	name := fmt.Sprint("project ", time.Now().UnixNano())
	if err := c.Call(ctx, "create_project", object{"data": object{"name": name}}, &project); err != nil {
		return err
	}
	if project.Data.Name != name {
		return fmt.Errorf("the project is called %q", project.Data.Name)
	}
	id := project.Data.ID

	tasks := make([]task, 5)
	for i := range tasks {
		var made one[task]
		title := fmt.Sprintf("task %s %d", []string{"AAA", "BBB"}[i%2], i)
		if err := c.Call(ctx, "create_task", object{"data": object{"project_id": id, "title": title}}, &made); err != nil {
			return err
		}
		tasks[i] = made.Data
		if made.Data.Title != title || made.Data.ProjectID != id || made.Data.Version != 1 {
			return fmt.Errorf("created %+v", made.Data)
		}
	}

	var updated one[task]
	err := c.Call(ctx, "update_task", object{"id": tasks[0].ID, "version": 1, "data": object{"title": "task BB new", "done": true}}, &updated)
	if err != nil {
		return err
	}
	if updated.Data.Title != "task BB new" || !updated.Data.Done || updated.Data.Version != 2 {
		return fmt.Errorf("updated %+v", updated.Data)
	}
	err = c.Call(ctx, "update_task", object{"id": tasks[0].ID, "version": 1, "data": object{"done": false}}, nil)
	if err := refusedAs(apperr.Conflict, err); err != nil {
		return err
	}

	if err := c.Call(ctx, "delete_task", object{"id": tasks[1].ID}, nil); err != nil {
		return err
	}
	err = c.Call(ctx, "get_task", object{"id": tasks[1].ID}, nil)
	if err := refusedAs(apperr.NotFound, err); err != nil {
		return err
	}

	if err := lists(ctx, c, id); err != nil {
		return err
	}
	if err := c.Logoff(ctx); err != nil {
		return err
	}
	return refusedAs(apperr.Unauthenticated, c.Call(ctx, "list_tasks", nil, nil))
}

// lists asks for what is left: "task BB new", "task AAA 2", "task BBB 3" and "task AAA 4".
func lists(ctx context.Context, c *rpcclient.Client, project int64) error {
	for _, l := range []struct {
		params object
		want   []string
	}{
		{
			object{"filters": object{"project_id": project}, "list_options": object{"order_bys": "!title"}},
			[]string{"task BBB 3", "task BB new", "task AAA 4", "task AAA 2"},
		},
		{
			object{"filters": []object{
				{"project_id": project, "title": object{"$contains": "BB"}},
				{"project_id": object{"$in": []int64{project}}, "title": object{"$in": []string{"task AAA 3", "task AAA 4"}}},
				{"project_id": object{"$in": []int64{123, 124}}, "title": object{"$in": []string{"task AAA 2", "task AAA 5"}}},
			}},
			[]string{"task BB new", "task BBB 3", "task AAA 4"},
		},
	} {
		var found list
		if err := c.Call(ctx, "list_tasks", l.params, &found); err != nil {
			return err
		}
		titles := make([]string, len(found.Data))
		for i, t := range found.Data {
			titles[i] = t.Title
		}
		if !slices.Equal(titles, l.want) {
			return fmt.Errorf("listed %q, want %q", titles, l.want)
		}
	}
	return nil
}

// refusedAs returns nil if err is the server's refusal with the kind.
func refusedAs(kind apperr.Kind, err error) error {
	if err == nil {
		return fmt.Errorf("the answer should be %s, and is a success", kind)
	}
	if refused := (*rpcclient.Error)(nil); errors.As(err, &refused) && refused.Kind == kind {
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
