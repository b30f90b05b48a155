package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"rowcall/modules/auth"
	"rowcall/modules/bus"
	"rowcall/modules/changelog"
	"rowcall/modules/limit"
)

// mode is the command that settings are loaded for: it decides what is needed, and what is refused.
type mode string

const (
	modeDev     mode = "dev"     // development: everything has a default, and the secrets are known to everyone
	modeServe   mode = "serve"   // production
	modeMigrate mode = "migrate" // needs DATABASE_URL and nothing else
)

// config is the settings, checked. Printed or logged in any way, it shows no secret.
type config struct {
	mode  mode
	shown []shown

	DatabaseURL string // the owner's, for migrations; "" for a private cluster, in development only
	TenantURL   string // "" to make both logins from the owner's
	PlatformURL string // "" exactly if TenantURL is
	DBConns     int
	DataDir     string
	Broker      bus.Dial // nil for none

	Addr           string // host:port
	AdminAddr      string // "" for none
	TrustedProxies []string
	CallTimeout    time.Duration
	StopTimeout    time.Duration

	Limits           limit.Config
	StatementTimeout time.Duration // 0 for none
	VaultItems       int
	VaultBytes       int

	LogLevel      zapcore.Level
	LogFormat     string        // json or console
	SlowStatement time.Duration // 0 for none
	SlowPlan      bool

	Retention     changelog.Retention
	PruneInterval time.Duration // 0 for none

	TokenKey          auth.Key
	PasswordKey       auth.Key
	LegacyPasswordKey auth.Key // nil for none
	TokenTTL          time.Duration
	RefreshTTL        time.Duration
}

// setting is one name of the environment. All that is known of it is declared once, in settings.
type setting struct {
	name     string
	fallback string // used where the environment has none; "" for none
	help     string
	show     func(text string) string // what of the value may be seen; nil for all
	set      func(c *config, text string) error
	// byMode are fallbacks that stand before the other one.
	byMode map[mode]string
	// needed are the modes that cannot do without.
	needed []mode
}

const (
	prefix = "ROWCALL_"

	nameURL         = "DATABASE_URL"
	nameTenantURL   = "ROWCALL_TENANT_DATABASE_URL"
	namePlatformURL = "ROWCALL_PLATFORM_DATABASE_URL"
	namePort        = "PORT"
	nameAddr        = "ROWCALL_ADDR"
)

// The development secrets are in the source, so that anybody can make tokens with them.
const (
	devTokenKey    = "dGhlIHRva2VuIGtleSBvZiBkZXZlbG9wbWVudCwga25vd24gdG8gZXZlcnlvbmU"
	devPasswordKey = "dGhlIHBhc3N3b3JkIGtleSBvZiBkZXZlbG9wbWVudCwga25vd24gdG8gZXZlcnlvbmU"
)

// settings are in the order of the help, and are set in it.
var settings = slices.Concat(serverSettings, limitSettings, logSettings)

var serverSettings = []setting{
	{
		name: nameURL, needed: []mode{modeServe, modeMigrate}, show: showURL,
		help: "postgres:// URL of the database's owner, who applies migrations; in development it must be on this machine, and without it there is a private cluster in ROWCALL_DATA_DIR",
		set:  func(c *config, s string) error { return setURL(&c.DatabaseURL, s) },
	},
	{
		name: nameTenantURL, show: showURL,
		help: "URL for a separate login of tenants' work; both this and the platform's, or none",
		set:  func(c *config, s string) error { return setURL(&c.TenantURL, s) },
	},
	{
		name: namePlatformURL, show: showURL,
		help: "URL for a separate login of the platform's work",
		set:  func(c *config, s string) error { return setURL(&c.PlatformURL, s) },
	},
	{
		name: "ROWCALL_DB_CONNS", fallback: "10",
		help: "connections to the database for tenants' work, 1 to 1000; more than about 10 seldom gives more",
		set:  func(c *config, s string) error { return setInt(&c.DBConns, s, 1, 1000) },
	},
	{
		name: "ROWCALL_BUS_URL", show: showBusURL,
		help: "URL of a broker by which servers wake each other, in programs that are built with -tags brokers: nats, rabbit, kafka, awssns, gcppubsub or azuresb (docs/operations.md); without it, by Postgres's NOTIFY",
		set: func(c *config, s string) (err error) {
			c.Broker, err = openBroker(s)
			return err
		},
	},
	{
		name: "ROWCALL_DATA_DIR", fallback: ".data",
		help: "folder for what the server keeps outside the database",
		set:  func(c *config, s string) error { c.DataDir = s; return nil },
	},
	{
		name: namePort,
		help: "used if ROWCALL_ADDR is not set: the port to listen on, at every address (in development at 127.0.0.1 only)",
		set:  setPort,
	},
	{
		name: nameAddr, fallback: "127.0.0.1:8080",
		help: "host:port to listen on; port 0 for any that is free",
		set:  func(c *config, s string) error { return setAddr(&c.Addr, s) },
	},
	{
		name: "ROWCALL_ADMIN_ADDR",
		help: "host:port to serve /metrics and /debug/pprof/ on, which must not be public: they ask nobody who they are; without it there are none",
		set:  func(c *config, s string) error { return setAddr(&c.AdminAddr, s) },
	},
	{
		name: "ROWCALL_TRUSTED_PROXIES",
		help: "CIDRs, separated by commas, of the proxies whose X-Forwarded-For is believed",
		set:  setProxies,
	},
	{
		name: "ROWCALL_CALL_TIMEOUT", fallback: "10s",
		help: "longest time for one call, 100ms to 5m",
		set: func(c *config, s string) error {
			return setDuration(&c.CallTimeout, s, 100*time.Millisecond, 5*time.Minute)
		},
	},
	{
		name: "ROWCALL_STOP_TIMEOUT", fallback: "15s",
		help: "how long running calls may go on after a signal to stop, 100ms to 5m",
		set: func(c *config, s string) error {
			return setDuration(&c.StopTimeout, s, 100*time.Millisecond, 5*time.Minute)
		},
	},
	{
		name: "ROWCALL_LOG_LEVEL", fallback: "info",
		help: "least level that is logged: " + strings.Join(logLevels, ", "),
		set:  setLogLevel,
	},
	{
		name: "ROWCALL_LOG_FORMAT", fallback: "json", byMode: map[mode]string{modeDev: "console"},
		help: strings.Join(logFormats, " or "),
		set:  func(c *config, s string) error { return setOneOf(&c.LogFormat, s, logFormats) },
	},
	{
		name: "ROWCALL_SLOW_STATEMENT", fallback: "500ms",
		help: "statements that take as long are logged, without their values; 0 for none, at most 5m",
		set:  func(c *config, s string) error { return setDuration(&c.SlowStatement, s, 0, 5*time.Minute) },
	},
	{
		name: "ROWCALL_SLOW_STATEMENT_PLAN", fallback: "false",
		help: "true to log with them how Postgres would run them for any values (EXPLAIN, which runs nothing), one at a time",
		set:  func(c *config, s string) error { return setBool(&c.SlowPlan, s) },
	},
	{
		name: "ROWCALL_TOKEN_KEY", byMode: map[mode]string{modeDev: devTokenKey}, needed: []mode{modeServe}, show: hide,
		help: "signs the tokens of logins; a key of rowcall gen-key; in development there is one that everyone knows",
		set:  func(c *config, s string) error { return setKey(c, &c.TokenKey, s) },
	},
	{
		name: "ROWCALL_PASSWORD_KEY", byMode: map[mode]string{modeDev: devPasswordKey}, needed: []mode{modeServe}, show: hide,
		help: "the pepper of stored passwords: another key of rowcall gen-key; without it nobody can log in any more, so keep it",
		set:  func(c *config, s string) error { return setKey(c, &c.PasswordKey, s) },
	},
	{
		name: "ROWCALL_LEGACY_PASSWORD_KEY", show: hide,
		help: "the key of stored passwords with the scheme #01#, if there are any",
		set:  func(c *config, s string) error { return setKey(c, &c.LegacyPasswordKey, s) },
	},
	{
		name: "ROWCALL_TOKEN_TTL", fallback: "15m",
		help: "how long an access token lives, 1s to 24h",
		set:  func(c *config, s string) error { return setDuration(&c.TokenTTL, s, time.Second, 24*time.Hour) },
	},
	{
		name: "ROWCALL_REFRESH_TTL", fallback: "720h",
		help: "how long a login lasts without a refresh, 1s to 8760h",
		set:  func(c *config, s string) error { return setDuration(&c.RefreshTTL, s, time.Second, 8760*time.Hour) },
	},
}

// loadConfig returns the settings of an environment ("NAME=value" each), for a mode. A value that is empty or blank counts
// as none. The error names every fault, a line each, and repeats no secret.
func loadConfig(environ []string, m mode) (config, error) {
	c := config{mode: m}
	values, faults := readEnviron(environ)
	for _, s := range settings {
		value := values[s.name]
		if value == "" {
			if slices.Contains(s.needed, m) {
				faults = append(faults, fmt.Errorf("%s is needed", s.name))
				continue
			}
			value = s.fallbackFor(m)
		}
		if value == "" || (s.name == nameAddr && values[s.name] == "" && values[namePort] != "") {
			continue
		}
		if err := s.set(&c, value); err != nil {
			faults = append(faults, fmt.Errorf("%s %w", s.name, err))
			continue
		}
		c.shown = append(c.shown, shown{s.name, s.shownAs(value)})
	}
	faults = append(faults, c.checkDatabases(values)...)
	faults = append(faults, c.checkKeys()...)
	if len(faults) > 0 {
		return config{}, fmt.Errorf("the settings are not right (see rowcall help):\n%w", errors.Join(faults...))
	}
	return c, nil
}

// readEnviron returns the settings' values, and a fault for each name that looks like a setting and is none.
func readEnviron(environ []string) (values map[string]string, faults []error) {
	values = map[string]string{}
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if _, repeated := values[name]; !repeated { // the first counts, as for os.Getenv
			values[name] = strings.TrimSpace(value)
		}
		if strings.HasPrefix(name, prefix) && !slices.ContainsFunc(settings, func(s setting) bool { return s.name == name }) {
			faults = append(faults, unknown(name))
		}
	}
	return values, faults
}

func unknown(name string) error {
	nearest := slices.MinFunc(settings, func(a, b setting) int { return distance(name, a.name) - distance(name, b.name) })
	if distance(name, nearest.name) > max(2, (len(name)-len(prefix))/3) {
		return fmt.Errorf("%s is not a setting", name)
	}
	return fmt.Errorf("%s is not a setting: did you mean %s?", name, nearest.name)
}

// distance is the number of letters to insert, delete or replace to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (s *setting) fallbackFor(m mode) string {
	if v, ok := s.byMode[m]; ok {
		return v
	}
	return s.fallback
}

func (s *setting) shownAs(value string) string {
	if s.show == nil {
		return value
	}
	return s.show(value)
}

// shown is a setting as it may be seen.
type shown struct{ name, value string }

func (c config) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode=%s", c.mode)
	for _, s := range c.shown {
		fmt.Fprintf(&b, " %s=%s", s.name, s.value)
	}
	return b.String()
}

// Format keeps the secrets out of texts made with verbs that do not ask for a String, as %#v.
func (c config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (c config) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddString("mode", string(c.mode))
	for _, s := range c.shown {
		e.AddString(s.name, s.value)
	}
	return nil
}
