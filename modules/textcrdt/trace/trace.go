// Package trace reads editing histories recorded from real people, in the format of github.com/josephg/editing-traces, for tests and
// benchmarks.
package trace

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Trace is a history: from StartContent, its transactions in their order come to EndContent.
type Trace struct {
	Kind         string `json:"kind"` // "concurrent": transactions have parents and agents
	StartContent string `json:"startContent"`
	EndContent   string `json:"endContent"`
	NumAgents    int    `json:"numAgents"`
	Txns         []Txn  `json:"txns"`
}

// Txn is what one author did at once. In a concurrent trace its positions are those of the text after all its ancestors, and no others: Parents
// are indexes of earlier transactions, none for the start.
type Txn struct {
	Parents []int   `json:"parents"`
	Agent   int     `json:"agent"`
	Patches []Patch `json:"patches"`
}

// Patch takes Deleted characters away at Pos and puts Text there. It counts code points.
type Patch struct {
	Pos, Deleted int
	Text         string
}

// UnmarshalJSONFrom reads [position, deleted, inserted].
func (p *Patch) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
		return errors.Join(err, errors.New("a patch is no array"))
	}
	for _, part := range []any{&p.Pos, &p.Deleted, &p.Text} {
		if err := json.UnmarshalDecode(d, part); err != nil {
			return err
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != ']' {
		return errors.Join(err, errors.New("a patch has more than three parts"))
	}
	return nil
}

// Folder names the environment's variable for the folder of the traces. Without it, Read looks for shared/data/traces beside the working directory
// and all above it.
const Folder = "TEXTCRDT_TRACES"

// Read reads the trace of that name. If there is no such file, the error is fs.ErrNotExist and says where it was looked for.
func Read(name string) (*Trace, error) {
	dir, err := folder()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, name+".json.gz"))
	if err != nil {
		return nil, fmt.Errorf("%w (%s names the folder)", err, Folder)
	}
	defer f.Close() //nolint:errcheck // it was only read
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	var t Trace
	if err := json.UnmarshalRead(z, &t); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return &t, nil
}

func folder() (string, error) {
	if dir := os.Getenv(Folder); dir != "" {
		return dir, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		traces := filepath.Join(dir, "shared", "data", "traces")
		if _, err := os.Stat(traces); err == nil {
			return traces, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("shared/data/traces, in %s or above: %w (%s names the folder)", start, fs.ErrNotExist, Folder)
		}
	}
}

// Merged returns for each transaction which others its author has to merge before it: its ancestors, without what the author knew before, oldest first.
func (t *Trace) Merged() [][]int {
	merged := make([][]int, len(t.Txns))
	known := map[int]map[int]bool{} // by agents
	for i, txn := range t.Txns {
		mine := known[txn.Agent]
		if mine == nil {
			mine = map[int]bool{}
			known[txn.Agent] = mine
		}
		for todo := slices.Clone(txn.Parents); len(todo) > 0; {
			at := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if !mine[at] {
				mine[at] = true
				merged[i] = append(merged[i], at)
				todo = append(todo, t.Txns[at].Parents...)
			}
		}
		slices.Sort(merged[i])
		mine[i] = true
	}
	return merged
}
