package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rowcall/modules/limit"
)

const off = "off"

// isOff tells whether a limit's value says that there is none.
func isOff(text string) bool { return text == off || text == "0" }

// limitSettings bound what callers take. In development, where one person is all of them, only tenants' concurrency and
// statements' time are bounded.
var limitSettings = []setting{
	rateSetting("ROWCALL_USER_CALLS", "1000:2000", "calls of one user in a tenant: how many per second, and how many at once after a pause, or off",
		func(c *config) *limit.Rate { return &c.Limits.User.Calls }),
	rateSetting("ROWCALL_USER_COST", "50000:200000", "the same for the cost of a user's calls: 1 for each call and 1 for each row that it reads or writes",
		func(c *config) *limit.Rate { return &c.Limits.User.Cost }),
	rateSetting("ROWCALL_KEY_CALLS", "1000:2000", "calls by one API key",
		func(c *config) *limit.Rate { return &c.Limits.Key.Calls }),
	rateSetting("ROWCALL_KEY_COST", "50000:200000", "cost of the calls by one API key",
		func(c *config) *limit.Rate { return &c.Limits.Key.Cost }),
	rateSetting("ROWCALL_ADDRESS_CALLS", "2000:4000", "requests from one IP address (of IPv6, a /64), whoever calls; set ROWCALL_TRUSTED_PROXIES where there are any",
		func(c *config) *limit.Rate { return &c.Limits.Address.Calls }),
	rateSetting("ROWCALL_ADDRESS_COST", "1000:5000", "cost of one address's anonymous calls, and of its refused credentials, which are 50 each",
		func(c *config) *limit.Rate { return &c.Limits.Address.Cost }),
	{
		name: "ROWCALL_TENANT_CONCURRENCY", fallback: "auto",
		help: "requests of one tenant that run at once, 1 to 1000, or off; auto is four fifths of ROWCALL_DB_CONNS, so that no tenant takes them all",
		set:  setConcurrency,
	},
	{
		name: "ROWCALL_TENANT_WAIT", fallback: "5s", byMode: map[mode]string{modeDev: "30s"},
		help: "how long further requests of a tenant wait for their turn, 1ms to 5m",
		set: func(c *config, s string) error {
			return setDuration(&c.Limits.Wait, s, time.Millisecond, 5*time.Minute)
		},
	},
	{
		name: "ROWCALL_USER_STREAMS", fallback: "100", byMode: map[mode]string{modeDev: off},
		help: "streams (SSE and WebSocket) of one user in a tenant that are open at once on a node, 1 to 1000000, or off; also of an address as long as its WebSockets have not authenticated",
		set:  func(c *config, s string) error { return setStreams(&c.Limits.Streams.User, s) },
	},
	{
		name: "ROWCALL_TENANT_STREAMS", fallback: "10000", byMode: map[mode]string{modeDev: off},
		help: "the same for all streams of one tenant",
		set:  func(c *config, s string) error { return setStreams(&c.Limits.Streams.Tenant, s) },
	},
	{
		name: "ROWCALL_STATEMENT_TIMEOUT", fallback: "8s",
		help: "longest time for one statement in the database, migrations excepted, 100ms to 1h, or off; less than ROWCALL_CALL_TIMEOUT, after which the call's connection is closed too",
		set: func(c *config, s string) error {
			if isOff(s) {
				return nil
			}
			return orOff(setDuration(&c.StatementTimeout, s, 100*time.Millisecond, time.Hour))
		},
	},
	{
		name: "ROWCALL_VAULT_ITEMS", fallback: "100000",
		help: "most vault items in the collections of one owner, 0 to 1000000000",
		set:  func(c *config, s string) error { return setInt(&c.VaultItems, s, 0, 1_000_000_000) },
	},
	{
		name: "ROWCALL_VAULT_BYTES", fallback: "1073741824",
		help: "most bytes of their payloads (base64), 0 to 1000000000000; neither counts what the change log keeps of them",
		set:  func(c *config, s string) error { return setInt(&c.VaultBytes, s, 0, 1_000_000_000_000) },
	},
}

func rateSetting(name, fallback, help string, field func(*config) *limit.Rate) setting {
	return setting{
		name: name, fallback: fallback, byMode: map[mode]string{modeDev: off}, help: help,
		set: func(c *config, s string) error { return setRate(field(c), s) },
	}
}

const maxRate = 1_000_000_000

func setRate(field *limit.Rate, text string) error {
	if isOff(text) {
		return nil
	}
	perSecond, burst, ok := strings.Cut(text, ":")
	if !ok || setInt(&field.PerSecond, perSecond, 1, maxRate) != nil || setInt(&field.Burst, burst, 1, maxRate) != nil {
		return fmt.Errorf("must be a rate per second and a burst, as 100:200, each from 1 to %d, or off; not %q", maxRate, text)
	}
	return nil
}

// setConcurrency comes after the connections' setting.
func setConcurrency(c *config, text string) error {
	switch {
	case isOff(text):
		return nil
	case text == "auto":
		text = strconv.Itoa(max(1, c.DBConns*4/5))
	}
	return orOff(setInt(&c.Limits.Concurrency, text, 1, 1000))
}

func setStreams(field *int, text string) error {
	if isOff(text) {
		return nil
	}
	return orOff(setInt(field, text, 1, 1_000_000))
}

func orOff(err error) error {
	if err != nil {
		return errors.New(err.Error() + "; or off")
	}
	return nil
}
