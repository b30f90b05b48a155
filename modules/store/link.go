package store

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"rowcall/modules/filter"
)

// Entities refer to each other in circles, and Go initialises their repositories in any order. So references are resolved when
// a schema is first asked for: by then all repositories of a program are there.
var linking sync.Mutex

// link makes the plan's references known to its schema. It panics at one that cannot work.
func (p *plan) link() {
	if p.linked.Load() {
		return
	}
	linking.Lock()
	defer linking.Unlock()
	reached := map[*plan]bool{}
	p.linkAll(reached)
	for p := range reached {
		p.linked.Store(true)
	}
}

// linkAll links the plan and all that can be reached from it. What was linked before is in use, and stays as it is.
func (p *plan) linkAll(reached map[*plan]bool) {
	if p.linked.Load() || reached[p] {
		return
	}
	reached[p] = true
	for _, c := range p.columns {
		if c.ref == "" {
			continue
		}
		to := planOf(c.ref)
		switch {
		case to == nil:
			panic(fmt.Sprintf("store: entity %s, field %s: there is no entity %s", p.entity, c.name, c.ref))
		case to.byDB["id"].kind.goType != c.kind.goType:
			panic(fmt.Sprintf("store: entity %s, field %s: its type is not that of the ids of %s", p.entity, c.name, c.ref))
		}
		p.schema.Link(filter.Ref{Name: c.refName, To: to.schema, Column: c.db, Other: "id", Read: c.read})
	}
	// What refers to this entity comes after what it refers to, so that names do not depend on the order of initialisation.
	for _, from := range sortedPlans() {
		for _, c := range from.columns {
			if c.ref == p.entity && c.many != "" {
				p.schema.Link(filter.Ref{Name: c.many, To: from.schema, Many: true, Column: "id", Other: c.db, Read: c.read})
			}
		}
	}
	for _, r := range p.schema.Refs() {
		planBy(r.To).linkAll(reached)
	}
}

func sortedPlans() []*plan {
	var all []*plan
	plans.Range(func(_, p any) bool {
		all = append(all, p.(*plan))
		return true
	})
	slices.SortFunc(all, func(a, b *plan) int { return strings.Compare(a.table, b.table) })
	return all
}

// planOf returns the plan of an entity, or nil.
func planOf(entity string) *plan {
	for _, p := range sortedPlans() {
		if p.entity == entity {
			return p
		}
	}
	return nil
}

// planBy returns the plan of a schema.
func planBy(s *filter.Schema) *plan {
	p, ok := plans.Load(s.Entity().Table)
	if !ok || p.(*plan).schema != s {
		panic("store: the schema is of no entity here")
	}
	return p.(*plan)
}
