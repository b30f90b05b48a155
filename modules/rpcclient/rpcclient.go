// Package rpcclient is a small client of a Rowcall server: it logs in and calls methods.
package rpcclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// Client calls the methods of one server. Make one with New. It is safe for concurrent use once it is logged in.
type Client struct {
	// Trace, if not nil, is told of every exchange with the server.
	Trace func(Exchange)

	base  string
	http  *http.Client
	token string
	ids   atomic.Int64
}

// Exchange is one request and its answer. The password of a login is not in it.
type Exchange struct {
	Path    string
	Request []byte
	Status  int
	Answer  []byte
	Took    time.Duration
}

// Error is an error that the server answered.
type Error struct {
	Code    int            `json:"code"`
	Message string         `json:"message"`
	Data    jsontext.Value `json:"data"`
	Kind    apperr.Kind    `json:"-"` // Data's kind
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d): %s", e.Kind, e.Code, e.Message) }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// New returns a client of the server at base, such as "http://127.0.0.1:8080". It is anonymous until it logs in.
func New(base string) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{Timeout: time.Minute}}
}

// Grant is what a login gives.
type Grant struct {
	Token        string    `json:"token"`
	ExpiresAt    time.Time `json:"expires_at"`
	RefreshToken string    `json:"refresh_token"`
}

// Login makes the client act as the user. tenant may be "" for a user of one tenant only. The error is an *Error if the
// server refused.
func (c *Client) Login(ctx context.Context, username, pwd, tenant string) (Grant, error) {
	in := map[string]string{"username": username, "pwd": pwd}
	if tenant != "" {
		in["tenant"] = tenant
	}
	var g Grant
	body, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return g, err
	}
	in["pwd"] = "…"
	shown, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return g, err
	}
	if err := c.post(ctx, "/api/login", body, shown, &g); err != nil {
		return g, err
	}
	c.token = g.Token
	return g, nil
}

// Logoff ends the session.
func (c *Client) Logoff(ctx context.Context) error {
	body := []byte(`{"logoff":true}`)
	if err := c.post(ctx, "/api/logoff", body, body, nil); err != nil {
		return err
	}
	c.token = ""
	return nil
}

// SetToken makes the client send the access token or API key.
func (c *Client) SetToken(token string) { c.token = token }

type call struct {
	JSONRPC string `json:"jsonrpc"`
	ID      int64  `json:"id"`
	Method  string `json:"method"`
	Params  any    `json:"params,omitzero"`
}

// Call calls a method and decodes its whole result into result, unless that is nil. The error is an *Error if the method
// failed.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	body, err := json.Marshal(call{"2.0", c.ids.Add(1), method, params}, json.Deterministic(true))
	if err != nil {
		return err
	}
	return c.post(ctx, "/api/rpc", body, body, result)
}

type answer struct {
	Result jsontext.Value `json:"result"`
	Error  *Error         `json:"error"`
}

func (c *Client) post(ctx context.Context, path string, body, shown []byte, result any) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if c.Trace != nil {
		c.Trace(Exchange{Path: path, Request: shown, Status: resp.StatusCode, Answer: text, Took: time.Since(start)})
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("the answer (HTTP %d) is not JSON-RPC: %w", resp.StatusCode, err)
	}
	if a.Error != nil {
		var data struct {
			Kind apperr.Kind `json:"kind"`
		}
		if err := json.Unmarshal(a.Error.Data, &data); err != nil {
			return err
		}
		a.Error.Kind = data.Kind
		return a.Error
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(a.Result, result)
}
