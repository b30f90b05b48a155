package store

import (
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"rowcall/modules/filter"
)

// maxFound is how many rows an index may find for a condition, for which they are fetched one by one. Where it finds more, reading in
// the order of the list is likely to meet the first of them sooner.
const maxFound = 5000

// common remembers which conditions of a tenant found more than maxFound rows, and when, so that the index is not asked again soon.
type common = lru.Cache[string, time.Time]

const (
	maxCommon    = 10_000
	maxCommonKey = 256 // bytes
	commonFor    = time.Minute
)

// found returns the filter with the ids that its probes find.
func (tx *Tx) found(f *filter.Filter) (*filter.Filter, error) {
	f = orAll(f)
	probes := f.Probes()
	if len(probes) == 0 {
		return f, nil
	}
	ids := make([]any, len(probes))
	for i, probe := range probes {
		key := fmt.Sprintf("%s %s %v", tx.tenant, probe.Function, probe.Argument)
		if since, ok := tx.db.common.Get(key); ok && tx.now.Sub(since) < commonFor {
			continue
		}
		text := fmt.Sprintf(`SELECT %q($1) LIMIT %d`, probe.Function, maxFound+1)
		var n int
		var err error
		if planBy(probe.Schema).keyed() {
			ids[i], n, err = selectIDs[string](tx, text, probe.Argument)
		} else {
			ids[i], n, err = selectIDs[int64](tx, text, probe.Argument)
		}
		if err != nil {
			return nil, tx.explain(planBy(probe.Schema), reading, err)
		}
		if n > maxFound {
			ids[i] = nil
			if len(key) <= maxCommonKey {
				tx.db.common.Add(key, tx.now)
			}
		}
	}
	return f.Found(ids), nil
}

func selectIDs[T any](tx *Tx, text string, arg any) (any, int, error) {
	ids := []T{}
	err := tx.Select(&ids, text, arg)
	return ids, len(ids), err
}
