package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The baseline: what one would write by hand for these two methods only, with the same statements and the same JSON, and
// without authentication, tenancy, validation or limits.

type baselineTask struct {
	ID        int64           `json:"id"`
	Version   int64           `json:"version"`
	CID       int64           `json:"cid"`
	CTime     time.Time       `json:"ctime"`
	MID       int64           `json:"mid"`
	MTime     time.Time       `json:"mtime"`
	ProjectID int64           `json:"project_id"`
	Title     string          `json:"title"`
	Done      bool            `json:"done"`
	Due       *time.Time      `json:"due"`
	Meta      json.RawMessage `json:"meta"`
}

func (t *baselineTask) scan(row pgx.Row) error {
	return row.Scan(&t.ID, &t.Version, &t.CID, &t.CTime, &t.MID, &t.MTime, &t.ProjectID, &t.Title, &t.Done, &t.Due, &t.Meta)
}

const taskColumns = `id, version, cid, ctime, mid, mtime, project_id, title, done, due, meta`

const listSQL = `SELECT ` + taskColumns + ` FROM task
	WHERE tenant_id = $1 AND project_id = $2 AND title LIKE $3 ORDER BY title ASC, id ASC LIMIT $4 OFFSET $5`

const createSQL = `INSERT INTO task (tenant_id, cid, ctime, mid, mtime, version, project_id, title, done, due, meta)
	VALUES ($1, $2, $3, $2, $3, 1, $4, $5, $6, $7, $8) RETURNING ` + taskColumns

type baselineRequest struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Data struct {
			ProjectID int64  `json:"project_id"`
			Title     string `json:"title"`
		} `json:"data"`
		Filters struct {
			ProjectID int64 `json:"project_id"`
			Title     struct {
				Contains string `json:"$contains"`
			} `json:"title"`
		} `json:"filters"`
		ListOptions struct {
			Limit int64 `json:"limit"`
		} `json:"list_options"`
	} `json:"params"`
}

type baselineAnswer struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  struct {
		Data any `json:"data"`
	} `json:"result"`
}

func serveBaseline(ctx context.Context, databaseURL string) error {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return err
	}
	cfg.MaxConns = serverConns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in baselineRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out := baselineAnswer{JSONRPC: "2.0", ID: in.ID}
		var err error
		switch in.Method {
		case "list_tasks":
			out.Result.Data, err = baselineList(r.Context(), pool, &in)
		case "create_task":
			out.Result.Data, err = baselineCreate(r.Context(), pool, &in)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(out)
	})
	return announceAndServe(ctx, func(ctx context.Context, l net.Listener) error {
		s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}
		context.AfterFunc(ctx, func() { _ = s.Close() })
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
}

func baselineList(ctx context.Context, pool *pgxpool.Pool, in *baselineRequest) ([]baselineTask, error) {
	f := in.Params.Filters
	rows, err := pool.Query(ctx, listSQL, tenantID, f.ProjectID, "%"+f.Title.Contains+"%", in.Params.ListOptions.Limit, 0)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	tasks := []baselineTask{}
	for rows.Next() {
		var t baselineTask
		if err := t.scan(rows); err != nil {
			return nil, err
		}
		tasks = append(tasks, t)
	}
	return tasks, rows.Err()
}

func baselineCreate(ctx context.Context, pool *pgxpool.Pool, in *baselineRequest) (t baselineTask, err error) {
	d := in.Params.Data
	err = t.scan(pool.QueryRow(ctx, createSQL, tenantID, userID, time.Now(), d.ProjectID, d.Title, false, nil, json.RawMessage("{}")))
	return t, err
}
