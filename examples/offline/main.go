// Command offline shows private notes that are written offline, on several devices of several users, through a Rowcall server that cannot read
// them. It plays all devices itself, says what it does, and exits with 1 if anything is not as it should be.
//
//	offline [-server http://127.0.0.1:8080]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

func main() {
	server := flag.String("server", "http://127.0.0.1:8080", "the server's address")
	flag.Parse()
	if err := run(context.Background(), *server); err != nil {
		fmt.Fprintln(os.Stderr, "\noffline:", err)
		os.Exit(1)
	}
	fmt.Println("\noffline: all of it was as it should be")
}

// show is the scene of the run: the devices, and the collection that they share.
type show struct {
	server               string
	dir                  string
	laptop, phone        *Device // of demo1
	tablet               *Device // of demo2
	collection           uuid.UUID
	milk, rocket, poetry uuid.UUID
}

func run(ctx context.Context, server string) (err error) {
	s := &show{server: server}
	if s.dir, err = os.MkdirTemp("", "rowcall-offline-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	if err := s.devices(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	for _, scene := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"demo1 writes on the laptop, without a network, and then has one", s.writeOffline},
		{"demo1's phone gets a copy", s.secondDevice},
		{"both change the same note offline: the second to sync merges", s.conflict},
		{"the answer to a push is lost: the repeat changes nothing", s.lostAnswer},
		{"demo1 shares the collection with demo2", s.share},
		{"demo2 changes a note while demo1 deletes it: what was changed stays", s.changedAndDeleted},
		{"the server and its admin can read nothing", s.nothingToRead},
		{"payloads that are moved or put back do not open", s.moved},
		{"demo2 is removed, and the keys are changed", s.remove},
		{"the phone starts again, from its file", s.restart},
	} {
		fmt.Printf("\n== %s\n", scene.title)
		if err := scene.play(ctx); err != nil {
			return fmt.Errorf("%s: %w", scene.title, err)
		}
	}
	return nil
}

// devices logs in three devices of two users, who have given each other their contacts.
func (s *show) devices(ctx context.Context) error {
	laptop, err := s.device(ctx, "laptop", "demo1", nil)
	if err != nil {
		return err
	}
	tablet, err := s.device(ctx, "tablet", "demo2", nil)
	if err != nil {
		return err
	}
	phone, err := s.device(ctx, "phone", "demo1", laptop.Identity)
	if err != nil {
		return err
	}
	s.laptop, s.phone, s.tablet = laptop, phone, tablet
	for _, d := range []*Device{laptop, phone} {
		d.Contacts = map[int64]Contact{tablet.Identity.User: tablet.Identity.Contact()}
	}
	tablet.Contacts = map[int64]Contact{laptop.Identity.User: laptop.Identity.Contact()}
	return nil
}

// device returns a device of a user, with a new identity unless there is one.
func (s *show) device(ctx context.Context, name, username string, identity *Identity) (*Device, error) {
	c := rpcclient.New(s.server)
	session, err := c.Login(ctx, username, "welcome", "demo")
	if err != nil {
		if rpcclient.KindOf(err) != "" {
			return nil, err
		}
		return nil, fmt.Errorf("%w\nStart a server first: make run", err)
	}
	if identity == nil {
		if identity, err = NewIdentity(session.User.ID); err != nil {
			return nil, err
		}
	}
	replica, err := OpenReplica(ctx, filepath.Join(s.dir, name+".db"))
	if err != nil {
		return nil, err
	}
	return &Device{Name: name, Client: c, Identity: identity, Replica: replica, Merge: mergeLines}, nil
}

// close leaves the server as it was, and closes the replicas.
func (s *show) close(ctx context.Context) (err error) {
	if s.collection != uuid.Nil {
		filters := map[string]any{"filters": map[string]any{"collection_id": s.collection}}
		err = errors.Join(
			s.laptop.Client.Call(ctx, "delete_vault_items", filters, nil),
			s.laptop.Client.Call(ctx, "delete_vault_collection", map[string]any{"id": s.collection}, nil),
		)
	}
	return errors.Join(err, s.laptop.Replica.Close(), s.phone.Replica.Close(), s.tablet.Replica.Close())
}

// mergeLines is the rule of these notes, which are lists: what either side has added is added, and what either has taken away is gone. A
// note that one side has changed is not deleted by the other.
func mergeLines(base, mine, theirs *string) *string {
	switch {
	case mine == nil && theirs == nil:
		return nil
	case mine == nil:
		return theirs
	case theirs == nil:
		return mine
	}
	was := lines(base)
	merged := lines(theirs)
	for _, line := range lines(mine) {
		if !slices.Contains(merged, line) && !slices.Contains(was, line) {
			merged = append(merged, line)
		}
	}
	merged = slices.DeleteFunc(merged, func(line string) bool {
		return slices.Contains(was, line) && !slices.Contains(lines(mine), line)
	})
	return new(strings.Join(merged, "\n"))
}

func lines(text *string) []string {
	if text == nil {
		return nil
	}
	return strings.Split(*text, "\n")
}

// expect compares the notes of a device with what they should be, and prints them.
func (s *show) expect(ctx context.Context, d *Device, want ...string) error {
	notes, err := d.Notes(ctx, s.collection)
	if err != nil {
		return err
	}
	var got []string
	for _, n := range notes {
		state := ""
		if n.Unsent {
			state = ", not sent"
		}
		if n.Problem != "" {
			state += ", " + n.Problem
		}
		fmt.Printf("   %-6s  %s (version %d%s)\n", d.Name, strings.ReplaceAll(n.Text, "\n", " + "), n.Version, state)
		got = append(got, n.Text)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the %s has %q, not %q", d.Name, got, want)
	}
	return nil
}

// sync lets devices sync in turn.
func sync(ctx context.Context, devices ...*Device) error {
	for _, d := range devices {
		if err := d.Sync(ctx); err != nil {
			return fmt.Errorf("the %s: %w", d.Name, err)
		}
	}
	return nil
}

// refused returns nil if err is the server's refusal, by one of the kinds.
func refused(err error, kinds ...apperr.Kind) error {
	if err != nil && slices.Contains(kinds, rpcclient.KindOf(err)) {
		fmt.Printf("   the server refuses: %v\n", err)
		return nil
	}
	return fmt.Errorf("the server should refuse that, by one of %v: %w", kinds, err)
}

// lossy is a network that loses an answer.
type lossy struct{ lose bool }

var errLost = errors.New("the network was lost")

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && l.lose {
		return nil, errors.Join(errLost, resp.Body.Close())
	}
	return resp, err
}
