package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// crowd is subscribers who read all that they are sent. They are bare sockets on one goroutine, because a goroutine for each would take
// as much of the cores as the server does.
type crowd struct {
	address  syscall.Sockaddr
	epoll    int
	members  map[int32]*member
	greeted  int // have a subscription
	received []received
	buf      []byte
}

// received is when a change reached one of a crowd, in Unix nanoseconds.
type received struct{ position, at int64 }

// member is one of a crowd.
type member struct {
	fd        int
	websocket bool
	token     string
	upgraded  bool // to a WebSocket
	greeted   bool
	position  int64  // of the newest change
	rest      []byte // of what has been read, the beginning of something
}

func newCrowd(address string) (*crowd, error) {
	a, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &crowd{
		address: &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}, epoll: epoll, members: map[int32]*member{}, buf: make([]byte, 256<<10),
	}, nil
}

func (c *crowd) close() {
	for _, m := range c.members {
		_ = syscall.Close(m.fd)
	}
	_ = syscall.Close(c.epoll)
}

// mostSockets is how many a process may have.
func mostSockets() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<20)) - 100 //nolint:gosec // it fits
}

// join adds one who asks for what follows a position, or the head if that is 0.
func (c *crowd) join(token string, since int64, websocket bool) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	m := &member{fd: fd, websocket: websocket, token: token}
	c.members[int32(fd)] = m //nolint:gosec // file descriptors are small
	if err := syscall.Connect(fd, c.address); err != nil {
		return err
	}
	query := ""
	if since > 0 {
		query = fmt.Sprintf("?since=%d", since)
	}
	kind := "Accept: text/event-stream"
	if websocket {
		kind = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	}
	if _, err := syscall.Write(fd, fmt.Appendf(nil, "GET /api/rpc%s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", query, token, kind)); err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	return syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}) //nolint:gosec // as above
}

// atOnce is how many of a crowd come before the first of them has been greeted.
const atOnce = 200

// joinAll adds n, and returns when all have a subscription.
func (c *crowd) joinAll(ctx context.Context, n int, token string, websocket bool) error {
	for range n {
		if err := c.join(token, 0, websocket); err != nil {
			return err
		}
		if err := c.read(ctx, func() bool { return c.greeted > len(c.members)-atOnce }); err != nil {
			return err
		}
	}
	return c.read(ctx, func() bool { return c.greeted == len(c.members) })
}

// patience is how long a crowd waits for what it has to get.
const patience = 30 * time.Second

// read reads until that is enough.
func (c *crowd) read(ctx context.Context, enough func() bool) error {
	var ready [512]syscall.EpollEvent
	late := time.Now().Add(patience)
	for !enough() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(late) {
			return errors.New("the subscribers have not got everything")
		}
		n, err := syscall.EpollWait(c.epoll, ready[:], 10)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
		for i := range max(0, n) {
			if err := c.readOne(c.members[ready[i].Fd]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *crowd) readOne(m *member) error {
	at := copy(c.buf, m.rest)
	n, err := syscall.Read(m.fd, c.buf[at:])
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return nil
	}
	if err != nil || n == 0 {
		return fmt.Errorf("a stream has ended (%w) after %.300q", err, c.buf[:at])
	}
	in := c.buf[:at+n]
	now := time.Now().UnixNano()
	for {
		text, rest, err := m.cut(in)
		if err != nil {
			return err
		}
		if text == nil {
			m.rest = append(m.rest[:0], in...)
			if len(in) == 0 {
				m.rest = nil
			}
			return nil
		}
		in = rest
		position, greeting, err := m.understand(text)
		if err != nil {
			return err
		}
		switch {
		case greeting:
			m.greeted = true
			c.greeted++
		case position > 0 && m.position > 0 && position != m.position+1:
			return fmt.Errorf("position %d came after %d", position, m.position)
		case position > 0:
			m.position = position
			c.received = append(c.received, received{position, now})
		}
	}
}

// cut returns the first message of what has been read; nil if it is not whole.
func (m *member) cut(in []byte) (message, rest []byte, err error) {
	if len(in) > 12 && !m.greeted && !m.upgraded && !bytes.HasPrefix(in, []byte("HTTP/1.1 200")) && !bytes.HasPrefix(in, []byte("HTTP/1.1 101")) {
		return nil, nil, fmt.Errorf("refused: %.500s", in)
	}
	end := []byte("\n\n")
	if m.websocket && !m.upgraded {
		end = []byte("\r\n\r\n")
	}
	if !m.upgraded {
		if i := bytes.Index(in, end); i >= 0 {
			return in[:i], in[i+len(end):], nil
		}
		return nil, in, nil
	}
	if len(in) < 4 { // RFC 6455, section 5.2; frames of a server are not masked, and none is that short
		return nil, in, nil
	}
	at, length := 2, int(in[1])
	switch length {
	case 126:
		at, length = 4, int(binary.BigEndian.Uint16(in[2:]))
	case 127:
		return nil, nil, errors.New("a frame of more than 64 KiB")
	}
	if len(in) < at+length {
		return nil, in, nil
	}
	return in[at : at+length], in[at+length:], nil
}

// understand returns the position of a change, or whether the message says that the subscription has begun.
func (m *member) understand(message []byte) (position int64, greeting bool, err error) {
	switch {
	case m.websocket && !m.upgraded:
		m.upgraded = true
		const body = `{"id":1,"method":"subscribe"}`
		_, err := syscall.Write(m.fd, append([]byte{0x81, 0x80 | byte(len(body)), 0, 0, 0, 0}, body...)) // masked with zeros
		return 0, false, err
	case !m.greeted:
		if !bytes.Contains(message, []byte("event: hello")) && !bytes.Contains(message, []byte(`"result"`)) {
			return 0, false, fmt.Errorf("not a greeting: %.500s", message)
		}
		return 0, true, nil
	case m.upgraded:
		message = bytes.TrimPrefix(message, []byte(`{"jsonrpc":"2.0","method":"change","params":{"position":`))
	default:
		message = bytes.TrimPrefix(message, []byte("id: "))
		if bytes.Contains(message[:min(len(message), 50)], []byte("event: ping")) {
			return 0, false, nil
		}
	}
	digits := 0
	for digits < len(message) && '0' <= message[digits] && message[digits] <= '9' {
		digits++
	}
	position, err = strconv.ParseInt(string(message[:digits]), 10, 64)
	if err != nil {
		return 0, false, fmt.Errorf("not a change: %.300s", message)
	}
	return position, false, nil
}
