package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"rowcall/modules/changelog"
	"rowcall/modules/pgdev"
	"rowcall/modules/store"
)

// prune takes from the change log what need not be kept, and ends. It works with the settings of the server, which are those of
// development if there is no DATABASE_URL, or if it is marked as development and no key of another server is set.
func prune(ctx context.Context, args, environ []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("prune", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	archive := flags.String("archive", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return errors.Join(errUsage, err)
	}
	m, err := pruneMode(ctx, environ)
	if err != nil {
		return err
	}
	cfg, err := loadConfig(environ, m)
	if err != nil {
		return err
	}
	if *archive != "" {
		cfg.Retention.Archive = *archive
	}
	ownerURL := cfg.DatabaseURL
	if m == modeDev {
		var cluster *pgdev.Cluster
		if ownerURL, cluster, err = developmentDatabase(ctx, cfg, newLog(cfg, stderr)); err != nil {
			return err
		}
		if cluster != nil {
			defer func() { err = errors.Join(err, cluster.Close()) }()
		}
	}
	var d database
	if err := d.connect(ctx, cfg, ownerURL); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	done, err := changelog.Prune(ctx, d.DB, cfg.Retention)
	_, failed := fmt.Fprintf(stdout, "pruned %d entries of %d tenants, %d mutations and %d replicas; wrote %d files\n",
		done.Entries, done.Tenants, done.Mutations, done.Replicas, done.Archived)
	return errors.Join(err, failed)
}

// pruneMode returns whose settings prune works with. The logins' passwords come from the keys, so others than the server's would not do.
func pruneMode(ctx context.Context, environ []string) (mode, error) {
	if !slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, nameURL+"=") && v != nameURL+"=" }) {
		return modeDev, nil
	}
	cfg, err := loadConfig(environ, modeMigrate)
	if err != nil || cfg.TokenKey != nil || cfg.PasswordKey != nil {
		return modeServe, err
	}
	marked, _, err := store.Development(ctx, cfg.DatabaseURL)
	if marked {
		return modeDev, err
	}
	return modeServe, err
}

// newEpoch tells all clients that have followed the change log to start over: for after a restore that Postgres cannot know of.
func newEpoch(ctx context.Context, environ []string, stdout io.Writer) error {
	cfg, err := loadConfig(environ, modeMigrate)
	if err != nil {
		return err
	}
	epoch, err := store.NewEpoch(ctx, cfg.DatabaseURL)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, "the epoch is now", epoch)
	return err
}
