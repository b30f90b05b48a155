package main

import (
	"errors"
	"time"
)

const (
	day     = 24 * time.Hour
	century = 100 * 365 * day
)

// logSettings say how long the change log is kept, and what is known of those who follow it.
var logSettings = []setting{
	{
		name: "ROWCALL_LOG_RETENTION", fallback: "2160h",
		help: "how old entries of the change log become before they are pruned, at least 1s; 0 to keep them for ever",
		set:  func(c *config, s string) error { return setAge(&c.Retention.Age, s) },
	},
	{
		name: "ROWCALL_LOG_SEEN_RETENTION", fallback: "720h",
		help: "the same for entries that every registered replica of the tenant has acknowledged, if there are any; 0 to make no difference",
		set:  func(c *config, s string) error { return setAge(&c.Retention.SeenAge, s) },
	},
	{
		name: "ROWCALL_LOG_ARCHIVE",
		help: "folder that entries are written to before they are pruned, as compressed NDJSON; without it they are gone",
		set:  func(c *config, s string) error { c.Retention.Archive = s; return nil },
	},
	{
		name: "ROWCALL_REPLICA_LEASE", fallback: "720h",
		help: "how long a replica that acknowledges nothing stays registered, at least 1s",
		set:  func(c *config, s string) error { return setDuration(&c.Retention.Lease, s, time.Second, century) },
	},
	{
		name: "ROWCALL_MUTATION_RETENTION", fallback: "720h",
		help: "how long mutations are remembered, so that a repeated one is not applied again, and after which they are refused; at least 720h",
		set: func(c *config, s string) error {
			return setDuration(&c.Retention.Mutations, s, 30*day, century)
		},
	},
	{
		name: "ROWCALL_PRUNE_INTERVAL", fallback: "1h",
		help: "how often the server prunes, at least 1s; 0 for never, where rowcall prune is run instead",
		set:  func(c *config, s string) error { return setAge(&c.PruneInterval, s) },
	},
}

// setAge sets a time of a second or more, or 0.
func setAge(field *time.Duration, text string) error {
	err := setDuration(field, text, 0, century)
	if err == nil && *field > 0 && *field < time.Second {
		return errors.New("must be 0 or at least 1s")
	}
	return err
}
