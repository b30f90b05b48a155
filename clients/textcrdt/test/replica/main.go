// Replica is a document of the Go library for the tests of the TypeScript one: it reads commands from stdin, a JSON object to a line, and answers
// each with one.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/textcrdt"
)

type command struct {
	Do      string        `json:"do"`
	Site    textcrdt.Site `json:"site"`
	Session uint32        `json:"session"`
	Pos     int           `json:"pos"` // in code points
	Deleted int           `json:"deleted"`
	Text    string        `json:"text"`
	Bytes   []byte        `json:"bytes"`
}

type answer struct {
	Bytes []byte `json:"bytes"`
	Text  string `json:"text"`
	Early int    `json:"early"`
	Error string `json:"error,omitzero"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	in := jsontext.NewDecoder(os.Stdin)
	out := jsontext.NewEncoder(os.Stdout)
	d := textcrdt.New(0, 0)
	for {
		var c command
		switch err := json.UnmarshalDecode(in, &c); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		var a answer
		var err error
		if c.Do == "open" {
			d, err = open(c)
		} else {
			a, err = do(d, c)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := json.MarshalEncode(out, a); err != nil {
			return err
		}
	}
}

func open(c command) (*textcrdt.Doc, error) {
	if c.Bytes == nil {
		return textcrdt.New(c.Site, c.Session), nil
	}
	return textcrdt.Load(c.Site, c.Session, c.Bytes)
}

func do(d *textcrdt.Doc, c command) (a answer, err error) {
	switch c.Do {
	case "edit":
		var ops, inserted []textcrdt.Op
		if ops, err = d.Delete(c.Pos, c.Deleted); err == nil {
			inserted, err = d.Insert(c.Pos, c.Text)
		}
		a.Bytes = textcrdt.AppendOps(nil, append(ops, inserted...))
	case "apply":
		var ops []textcrdt.Op
		if ops, err = textcrdt.DecodeOps(c.Bytes); err == nil {
			err = d.Apply(ops, nil)
		}
	case "history":
		var ops []textcrdt.Op
		if ops, err = d.Operations(d.Base()); err == nil {
			a.Bytes, err = textcrdt.Pack(textcrdt.AppendOps(nil, ops))
		}
	case "snapshot":
		a.Bytes = d.AppendSnapshot(nil)
	default:
		err = fmt.Errorf("%q is not known", c.Do)
	}
	a.Text, a.Early = d.String(), d.Early()
	return a, err
}
