package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"

	"rowcall/clients/go/api"
	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
	"rowcall/web/webtest"
)

func TestMain(m *testing.M) { webtest.Main(m) }

// losing is a transport that loses every other answer to a call.
type losing struct{ calls atomic.Int32 }

func (l *losing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || r.URL.Path != "/api/rpc" || l.calls.Add(1)%2 == 0 {
		return resp, err
	}
	_ = resp.Body.Close()
	return nil, io.ErrUnexpectedEOF
}

// A write whose answer was lost is sent again, and is not made twice.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	server, _ := webtest.Start(t)
	c := rpcclient.New(server)
	c.HTTP = &http.Client{Transport: &losing{}}
	defer http.DefaultClient.CloseIdleConnections()
	if _, err := c.Login(t.Context(), "demo1", "welcome", ""); err != nil {
		t.Fatal(err)
	}
	project, err := api.CreateProject.Call(t.Context(), c, api.CreateProjectParams{Data: api.ProjectCreate{Name: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	b := rpcclient.Batch{Atomic: true}
	for _, title := range []string{"a", "b"} {
		api.CreateTask.In(&b, api.CreateTaskParams{Data: api.TaskCreate{ProjectID: project.Data.ID, Title: title}})
	}
	if err := b.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	count, err := api.CountTasks.Call(t.Context(), c, api.CountTasksParams{Filters: api.TaskFilters{{ProjectID: &api.IntegerCondition{Eq: rpcclient.Value(project.Data.ID)}}}})
	if err != nil || count.Data.Count != 2 {
		t.Errorf("%d tasks (%v)", count.Data.Count, err)
	}
}

// Changes of a running server come as they are made, from where the client was.
func TestChanges(t *testing.T) {
	t.Parallel()
	server, _ := webtest.Start(t)
	c := rpcclient.New(server)
	defer c.HTTP.CloseIdleConnections()
	if _, err := c.Login(t.Context(), "demo1", "welcome", ""); err != nil {
		t.Fatal(err)
	}
	head, err := api.SyncHead.Call(t.Context(), c, api.SyncHeadParams{})
	if err != nil {
		t.Fatal(err)
	}
	project, err := api.CreateProject.Call(t.Context(), c, api.CreateProjectParams{Data: api.ProjectCreate{Name: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	task, err := api.CreateTask.Call(t.Context(), c, api.CreateTaskParams{Data: api.TaskCreate{ProjectID: project.Data.ID, Title: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	follow := rpcclient.Follow{Since: &head.Data.Position, Epoch: head.Data.Epoch, Entities: []string{"task"}}
	var ops []string
	for change, err := range c.Changes(t.Context(), follow) {
		if err != nil {
			t.Fatal(err)
		}
		if ops = append(ops, change.Op); change.Op == "delete" {
			break
		}
		var row api.Task
		if err := json.Unmarshal(change.Data, &row); err != nil || row.ID != task.Data.ID || change.Version != row.Version {
			t.Errorf("%+v (%v)", change, err)
		}
		if change.Op == "create" { // while it is followed
			if _, err := api.UpdateTask.Call(t.Context(), c, api.UpdateTaskParams{ID: row.ID, Data: api.TaskUpdate{Title: new("b")}}); err != nil {
				t.Fatal(err)
			}
		} else if _, err := api.DeleteTask.Call(t.Context(), c, api.DeleteTaskParams{ID: row.ID}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(ops, []string{"create", "update", "delete"}) {
		t.Errorf("%v", ops)
	}

	follow.Since = new(int64(1_000_000))
	for _, err := range c.Changes(t.Context(), follow) {
		if rpcclient.KindOf(err) != apperr.ResyncRequired {
			t.Errorf("%v", err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("left")
	follow = rpcclient.Follow{OnHello: func(rpcclient.Hello) { cancel(left) }}
	for _, err := range c.Changes(ctx, follow) {
		if !errors.Is(err, left) {
			t.Errorf("%v", err)
		}
	}
	follow.OnHello = func(rpcclient.Hello) {
		go func() {
			if err := c.Logoff(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
	for _, err := range c.Changes(t.Context(), follow) {
		if rpcclient.KindOf(err) != apperr.Unauthenticated {
			t.Errorf("%v", err)
		}
	}
}
