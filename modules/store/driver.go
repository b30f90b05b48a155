package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/lib/pq"
)

// This file puts a thin driver around lib/pq's, for what must be known of one connection: the statements that it has
// prepared, the tenant that it is set to, and whether it can be trusted.

// statementsPerConn bounds the prepared statements of a connection; the least recently used one is closed.
const statementsPerConn = 256

type tenantKey struct{}

// withTenant returns a context whose statements run on a connection that is set to the tenant.
func withTenant(ctx context.Context, tenant string) context.Context {
	return context.WithValue(ctx, tenantKey{}, tenant)
}

type connector struct {
	pq       *pq.Connector
	login    string // for what is observed
	observe  func(context.Context, Statement)
	prepared counters
}

// newConnector returns the connector for a login's database URL. The dialer is ours, so that a connection's socket can be
// looked at before the connection is used again.
func newConnector(login, url string, opts Config) (*connector, error) {
	cfg, err := pq.NewConfig(url)
	if err != nil {
		return nil, hideURL(err)
	}
	cfg.BinaryParameters = true
	if cfg.ApplicationName == "" {
		cfg.ApplicationName = "rowcall"
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	maps.Copy(cfg.Runtime, opts.Session)
	cfg.Runtime["timezone"] = "UTC"
	if opts.StatementTimeout > 0 {
		cfg.Runtime["statement_timeout"] = strconv.FormatInt(opts.StatementTimeout.Milliseconds(), 10)
	}
	c, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, hideURL(err)
	}
	return &connector{pq: c, login: login, observe: opts.Observe}, nil
}

func (c *connector) Driver() driver.Driver { return c.pq.Driver() }

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	d := &dialer{}
	own := *c.pq
	own.Dialer(d)
	pc, err := own.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := pc.(pqConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("store: %T lacks an interface that is needed", pc), pc.Close())
	}
	cn := &conn{pqConn: full, by: c, socket: d.conn}
	cn.stmts, err = simplelru.NewLRU(statementsPerConn, func(_ string, s *statement) {
		cn.dropped = append(cn.dropped, s)
		c.prepared.size.Add(-1)
	})
	return cn, err
}

// dialer remembers the connection that it made.
type dialer struct {
	net.Dialer
	conn net.Conn
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if d.conn == nil { // later dials are cancel requests
		d.conn = c
	}
	return c, err
}

type pqConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.QueryerContext
	driver.ExecerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
}

type statement struct {
	driver.Stmt
	driver.StmtQueryContext
	driver.StmtExecContext
}

// conn is one connection. database/sql lets one goroutine at a time use it.
type conn struct {
	pqConn
	by      *connector
	socket  net.Conn
	stmts   *simplelru.LRU[string, *statement]
	dropped []*statement // evicted, to be closed
	tenant  string       // what app.tenant_id is set to; "" for unset
	suspect atomic.Bool  // a cancel request may still be under way to it
}

// cancelGrace is how long a cancelled statement may take to end. lib/pq asks the server over another connection to cancel it
// and waits; a server that has gone silent would let it wait for ever.
const cancelGrace = 5 * time.Second

// guard bounds a statement of the context by closing its connection, some time after the context has ended. The statement
// is over when stop is called.
func (c *conn) guard(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		c.suspect.Store(true)
		_ = c.socket.SetDeadline(time.Now().Add(cancelGrace)) // of a connection that is closed at any rate
	})
}

// guardedRows are rows whose statement is over when they are closed.
type guardedRows struct {
	driver.Rows
	stop func() bool
	s    running
	n    int64
	err  error // of the last Next
}

func (r *guardedRows) Next(dest []driver.Value) error {
	r.err = r.Rows.Next(dest)
	if r.err == nil {
		r.n++
	}
	return r.err
}

func (r *guardedRows) Close() error {
	defer r.stop()
	err := r.Rows.Close()
	switch {
	case errors.Is(r.err, io.EOF):
		r.err = nil
	case r.err == nil:
		r.err = r.s.ctx.Err() // they are closed before their end
	}
	r.s.end(r.n, r.err)
	return err
}

// errLost is a connection that failed while it ran a statement. It is deliberately not driver.ErrBadConn, for which
// database/sql would run the statement again, though it may have been executed.
var errLost = errors.New("store: the connection failed during a statement")

// maxPrepared is the size in bytes up to which a text is prepared and kept. Longer ones are seldom sent twice, and the server
// would keep each one's plan on every connection.
const maxPrepared = 4 << 10

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s := c.by.watch(ctx, query, len(args))
	stop := c.guard(ctx)
	rows, err := c.query(ctx, query, args)
	if err != nil {
		stop()
		s.end(0, err)
		return nil, err
	}
	return &guardedRows{Rows: rows, stop: stop, s: s}, nil
}

func (c *conn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if len(query) > maxPrepared {
		if err := c.pin(ctx); err != nil {
			return nil, err
		}
		rows, err := c.pqConn.QueryContext(ctx, query, args)
		return rows, c.after(query, err)
	}
	s, err := c.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(ctx, args)
	return rows, c.after(query, err)
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s := c.by.watch(ctx, query, len(args))
	defer c.guard(ctx)()
	res, err := c.exec(ctx, query, args)
	rows := int64(0)
	if err == nil {
		rows, _ = res.RowsAffected() // 0 where there is no such number
	}
	s.end(rows, err)
	return res, err
}

func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 { // scripts: several statements, which cannot be prepared
		if err := c.pin(ctx); err != nil {
			return nil, err
		}
		res, err := c.pqConn.ExecContext(ctx, query, nil)
		return res, c.after(query, err)
	}
	s, err := c.ready(ctx, query)
	if err != nil {
		return nil, err
	}
	res, err := s.ExecContext(ctx, args)
	return res, c.after(query, err)
}

// BeginTx pins the tenant before the transaction, whose rollback would otherwise undo the setting behind our back.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	s := c.by.watch(ctx, begin, 0)
	stop := c.guard(ctx)
	tx, err := c.begin(ctx, opts)
	s.end(0, err)
	if err != nil {
		stop()
		return nil, err
	}
	return &guardedTx{tx, stop, c.by, ctx}, nil
}

func (c *conn) begin(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.pin(ctx); err != nil {
		return nil, err
	}
	return c.pqConn.BeginTx(ctx, opts)
}

// guardedTx is guarded from its beginning to its end.
type guardedTx struct {
	driver.Tx
	stop func() bool
	by   *connector
	ctx  context.Context
}

func (t *guardedTx) Commit() error { return t.finish(commit, t.Tx.Commit) }

func (t *guardedTx) Rollback() error { return t.finish(rollback, t.Tx.Rollback) }

func (t *guardedTx) finish(text string, do func() error) error {
	s := t.by.watch(t.ctx, text, 0)
	defer t.stop()
	err := do()
	s.end(0, err)
	return err
}

// ready returns the prepared statement for query, on a connection that is set to the context's tenant. Nothing has been
// executed when it fails, so its errors may make database/sql try another connection.
func (c *conn) ready(ctx context.Context, query string) (*statement, error) {
	if err := c.pin(ctx); err != nil {
		return nil, err
	}
	return c.prepared(ctx, query)
}

func (c *conn) prepared(ctx context.Context, query string) (*statement, error) {
	if s, ok := c.stmts.Get(query); ok {
		c.by.prepared.hits.Add(1)
		return s, nil
	}
	c.by.prepared.misses.Add(1)
	ps, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s := &statement{Stmt: ps}
	var query1, exec1 bool
	s.StmtQueryContext, query1 = ps.(driver.StmtQueryContext)
	s.StmtExecContext, exec1 = ps.(driver.StmtExecContext)
	if !query1 || !exec1 {
		return nil, errors.Join(fmt.Errorf("store: %T lacks an interface that is needed", ps), ps.Close())
	}
	c.stmts.Add(query, s)
	c.by.prepared.size.Add(1)
	for _, old := range c.dropped {
		if err := old.Close(); err != nil {
			return nil, err
		}
	}
	c.dropped = c.dropped[:0]
	return s, nil
}

const setTenant = `SELECT set_config('app.tenant_id', $1, false)`

// pin sets the connection to the context's tenant, or to none, unless it is already.
func (c *conn) pin(ctx context.Context) error {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	if tenant == c.tenant {
		return nil
	}
	s, err := c.prepared(ctx, setTenant)
	if err != nil {
		return err
	}
	c.tenant = "unknown"
	if _, err := s.ExecContext(ctx, []driver.NamedValue{{Ordinal: 1, Value: tenant}}); err != nil {
		c.suspect.Store(true)
		return err
	}
	c.tenant = tenant
	return nil
}

// after looks at a statement's error: what it says of the connection, and of the prepared statement.
func (c *conn) after(query string, err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return errLost
	}
	var pe *pq.Error
	if errors.As(err, &pe) {
		switch pe.Code {
		case "0A000", "26000": // the tables under a prepared statement have changed, or it is gone
			c.stmts.Remove(query)
			c.suspect.Store(true)
		}
	}
	return err
}

// IsValid is asked when the connection goes back to the pool. After a cancelled call a cancel request may arrive late
// and hit the next statement, so such a connection is not used again.
func (c *conn) IsValid() bool { return !c.suspect.Load() && c.pqConn.IsValid() }

// ResetSession is asked before the connection is used again. A server that has gone away while the connection lay in the
// pool is noticed here, where trying another connection is harmless.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.suspect.Load() || closedByPeer(c.socket) {
		return driver.ErrBadConn
	}
	return c.pqConn.ResetSession(ctx)
}

// Close closes the connection, and its prepared statements with it.
func (c *conn) Close() error {
	c.by.prepared.size.Add(-int64(c.stmts.Len()))
	return c.pqConn.Close()
}

// closedByPeer looks at a socket without taking anything from it. Before it closes a connection, Postgres sends an error
// message, which begins with 'E'; other bytes may be TLS session tickets.
func closedByPeer(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == nil:
			closed = n == 0 || b[0] == 'E'
		case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
		default:
			closed = true
		}
	})
	return closed || err != nil
}

// hideURL drops what a URL parser's error says of the URL, which holds a password.
func hideURL(error) error { return errors.New("store: the database URL cannot be parsed") }
