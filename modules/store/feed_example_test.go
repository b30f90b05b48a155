package store_test

import (
	"context"
	"sync"
	"time"

	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Several readers, each with a file of its own, write into one transaction: either all files are imported, or none.
func ExampleDB_Feed() {
	var db *store.DB // as store.Open returns it
	ctx := auth.WithRequest(context.Background(), &auth.Request{
		Now:   time.Now,
		Actor: &auth.Actor{Tenant: tenantA, User: 1000, Role: auth.Member, Scope: auth.ScopeWrite},
	})
	err := importLabels(ctx, db, [][]string{{"red", "green"}, {"blue"}})
	if err != nil {
		return // nothing was imported
	}
}

func importLabels(ctx context.Context, db *store.DB, files [][]string) error {
	feed, err := db.Feed(ctx, 100)
	if err != nil {
		return err
	}
	defer feed.Rollback()
	var readers sync.WaitGroup
	for _, labels := range files {
		readers.Go(func() {
			for _, label := range labels {
				err := feed.Send(ctx, func(tx *store.Tx) error {
					_, err := things.Create(tx, thing{Label: label})
					return err
				})
				if err != nil {
					return // the transaction has ended: Commit says why
				}
			}
		})
	}
	readers.Wait()
	return feed.Commit()
}
