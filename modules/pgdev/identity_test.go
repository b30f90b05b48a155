package pgdev

import (
	"os"
	"path/filepath"
	"testing"
)

// Every identity that this user can take runs Postgres, and takes over the data of every other.
func TestEveryIdentityRunsTheSameData(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can take other identities")
	}
	dir := newDir(t)
	list := standIns(dir, true)
	for _, who := range append(list, list[0]) {
		if err := who.try(dir); err != nil {
			t.Logf("not possible here as %s: %v", who.name, err)
			continue
		}
		s := machine()
		s.unprivileged = func(string) (identity, error) { return who, nil }
		c, err := start(t.Context(), Config{Dir: dir, Fast: true}, s)
		if err != nil {
			t.Fatalf("as %s: %v", who.name, err)
		}
		wants(t, c.URL("postgres"), `SELECT 'in'`, "in")
		info, err := os.Stat(filepath.Join(dir, "url"))
		if err != nil || !ownedBy(info, who.uid) {
			t.Errorf("as %s the files are another's: %v", who.name, err)
		}
		fatal(t, c.Close())
	}
}
