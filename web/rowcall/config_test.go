package main

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/limit"
)

const ownerURL = "postgres://owner:s3cret@db.example/rowcall"

// production is an environment that modeServe takes, with more names.
func production(more ...string) []string {
	return append(more, "PATH=/bin", nameURL+"="+ownerURL, "ROWCALL_TOKEN_KEY="+auth.NewKey(), "ROWCALL_PASSWORD_KEY="+auth.NewKey())
}

func load(t *testing.T, m mode, environ ...string) config {
	t.Helper()
	c, err := loadConfig(environ, m)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDevelopmentNeedsNothing(t *testing.T) {
	c := load(t, modeDev)
	if c.DatabaseURL != "" || c.Addr != "127.0.0.1:8080" || c.DataDir != ".data" || c.LogFormat != "console" ||
		c.LogLevel != zapcore.InfoLevel || c.DBConns != 10 || c.TrustedProxies != nil ||
		c.TokenTTL != 15*time.Minute || c.RefreshTTL != 720*time.Hour || c.CallTimeout != 10*time.Second || c.StopTimeout != 15*time.Second ||
		c.AdminAddr != "" || c.SlowStatement != 500*time.Millisecond || c.SlowPlan || c.PruneInterval != time.Hour ||
		c.Retention != (changelog.Retention{Age: 90 * day, SeenAge: 30 * day, Lease: 30 * day, Mutations: 30 * day}) {
		t.Errorf("%v", c)
	}
	if c.TokenKey == nil || c.PasswordKey == nil || bytes.Equal(c.TokenKey, c.PasswordKey) || c.LegacyPasswordKey != nil {
		t.Error("the development keys are missing or the same")
	}
}

func TestProduction(t *testing.T) {
	legacy := auth.NewKey()
	c := load(t, modeServe, production("ROWCALL_LEGACY_PASSWORD_KEY="+legacy, "ROWCALL_TENANT_DATABASE_URL=postgres://t@db/r",
		"ROWCALL_PLATFORM_DATABASE_URL=postgres://p@db/r", "ROWCALL_LOG_LEVEL=debug", "ROWCALL_DATA_DIR=/srv/data",
		"ROWCALL_TRUSTED_PROXIES=10.1.2.3/8, ::1/128", "ROWCALL_DB_CONNS=20", "ROWCALL_TOKEN_TTL=1h",
		"ROWCALL_REFRESH_TTL=24h", "ROWCALL_CALL_TIMEOUT=30s", "ROWCALL_STOP_TIMEOUT=1m", "ROWCALL_TOKEN_TTL=2h",
		"ROWCALL_ADMIN_ADDR=10.0.0.1:9100", "ROWCALL_SLOW_STATEMENT=0", "ROWCALL_SLOW_STATEMENT_PLAN=true")...)
	want, err := auth.ParseKey(legacy)
	if err != nil {
		t.Fatal(err)
	}
	if c.DatabaseURL != ownerURL || c.TenantURL != "postgres://t@db/r" || c.PlatformURL != "postgres://p@db/r" ||
		!bytes.Equal(c.LegacyPasswordKey, want) || c.LogLevel != zapcore.DebugLevel || c.LogFormat != "json" || c.DataDir != "/srv/data" ||
		!slices.Equal(c.TrustedProxies, []string{"10.0.0.0/8", "::1/128"}) || c.DBConns != 20 || c.TokenTTL != time.Hour ||
		c.RefreshTTL != 24*time.Hour || c.CallTimeout != 30*time.Second || c.StopTimeout != time.Minute ||
		c.AdminAddr != "10.0.0.1:9100" || c.SlowStatement != 0 || !c.SlowPlan {
		t.Errorf("%v", c)
	}
}

func TestMigrateNeedsTheDatabaseOnly(t *testing.T) {
	if c := load(t, modeMigrate, nameURL+"="+ownerURL); c.DatabaseURL != ownerURL || c.TokenKey != nil {
		t.Errorf("%v", c)
	}
	if _, err := loadConfig(nil, modeMigrate); err == nil {
		t.Error("went without a database")
	}
}

func TestEmptyCountsAsUnset(t *testing.T) {
	var empty []string
	for _, s := range settings {
		empty = append(empty, s.name+"= ")
	}
	if got, want := load(t, modeDev, empty...), load(t, modeDev); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

func TestAddr(t *testing.T) {
	for _, c := range []struct {
		m       mode
		environ []string
		want    string
	}{
		{modeServe, nil, "127.0.0.1:8080"},
		{modeServe, []string{"PORT=5000"}, ":5000"},
		{modeDev, []string{"PORT=5000"}, "127.0.0.1:5000"},
		{modeServe, []string{"ROWCALL_ADDR=[::1]:0", "PORT=5000"}, "[::1]:0"},
		{modeServe, []string{"ROWCALL_ADDR=", "PORT=5000"}, ":5000"},
		{modeDev, []string{"ROWCALL_ADDR=:80"}, ":80"},
	} {
		environ := c.environ
		if c.m == modeServe {
			environ = production(environ...)
		}
		if got := load(t, c.m, environ...).Addr; got != c.want {
			t.Errorf("%s %v: %s, not %s", c.m, c.environ, got, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ setting, fault string }{
		{"ROWCALL_ADR=x", "ROWCALL_ADR is not a setting: did you mean ROWCALL_ADDR?"},
		{"ROWCALL_TOKENTTL=1h", "did you mean ROWCALL_TOKEN_TTL?"},
		{"ROWCALL_DATABASE=x", "ROWCALL_DATABASE is not a setting"},
		{"ROWCALL_addr=x", "ROWCALL_addr is not a setting"},
		{"ROWCALL_ADDR=localhost", "ROWCALL_ADDR must be host:port"},
		{"ROWCALL_ADDR=localhost:70000", "ROWCALL_ADDR must be host:port"},
		{"ROWCALL_ADDR=localhost:http", "ROWCALL_ADDR must be host:port"},
		{"ROWCALL_ADMIN_ADDR=9100", "ROWCALL_ADMIN_ADDR must be host:port"},
		{"ROWCALL_SLOW_STATEMENT=-1s", "ROWCALL_SLOW_STATEMENT must be a time from 0s to 5m"},
		{"ROWCALL_SLOW_STATEMENT_PLAN=yes", "ROWCALL_SLOW_STATEMENT_PLAN must be true or false"},
		{"PORT=-1", "PORT must be a whole number from 0 to 65535"},
		{"PORT=http", "PORT must be a whole number"},
		{"ROWCALL_DB_CONNS=0", `from 1 to 1000, not "0"`},
		{"ROWCALL_DB_CONNS=1001", "from 1 to 1000"},
		{"ROWCALL_DB_CONNS=8.0", "from 1 to 1000"},
		{"ROWCALL_TOKEN_TTL=15", "ROWCALL_TOKEN_TTL must be a time"},
		{"ROWCALL_TOKEN_TTL=25h", "ROWCALL_TOKEN_TTL must be a time from 1s to 24h"},
		{"ROWCALL_TOKEN_TTL=-1h", "ROWCALL_TOKEN_TTL must be a time"},
		{"ROWCALL_REFRESH_TTL=0", "ROWCALL_REFRESH_TTL must be a time"},
		{"ROWCALL_CALL_TIMEOUT=1ms", "ROWCALL_CALL_TIMEOUT must be a time"},
		{"ROWCALL_STOP_TIMEOUT=1h", "ROWCALL_STOP_TIMEOUT must be a time"},
		{"ROWCALL_USER_CALLS=100", "ROWCALL_USER_CALLS must be a rate per second and a burst, as 100:200"},
		{"ROWCALL_KEY_COST=0:5", "ROWCALL_KEY_COST must be a rate"},
		{"ROWCALL_ADDRESS_CALLS=5:-1", "ROWCALL_ADDRESS_CALLS must be a rate"},
		{"ROWCALL_TENANT_CONCURRENCY=x", "ROWCALL_TENANT_CONCURRENCY must be a whole number from 1 to 1000, not \"x\"; or off"},
		{"ROWCALL_LOG_RETENTION=-1s", "ROWCALL_LOG_RETENTION must be a time"},
		{"ROWCALL_LOG_SEEN_RETENTION=1ms", "ROWCALL_LOG_SEEN_RETENTION must be 0 or at least 1s"},
		{"ROWCALL_REPLICA_LEASE=0", "ROWCALL_REPLICA_LEASE must be a time from 1s"},
		{"ROWCALL_MUTATION_RETENTION=719h", "ROWCALL_MUTATION_RETENTION must be a time from 720h"},
		{"ROWCALL_PRUNE_INTERVAL=hourly", "ROWCALL_PRUNE_INTERVAL must be a time"},
		{"ROWCALL_TENANT_WAIT=off", "ROWCALL_TENANT_WAIT must be a time"},
		{"ROWCALL_STATEMENT_TIMEOUT=5", "ROWCALL_STATEMENT_TIMEOUT must be a time from 100ms to 1h"},
		{"ROWCALL_LOG_LEVEL=loud", "ROWCALL_LOG_LEVEL must be one of debug, info, warn, error"},
		{"ROWCALL_LOG_LEVEL=fatal", "ROWCALL_LOG_LEVEL must be one of"},
		{"ROWCALL_LOG_FORMAT=xml", "ROWCALL_LOG_FORMAT must be one of"},
		{"ROWCALL_TRUSTED_PROXIES=10.0.0.0/8,10.0.0.1", `"10.0.0.1" is none`},
		{"ROWCALL_LEGACY_PASSWORD_KEY=c2hvcnQ", "ROWCALL_LEGACY_PASSWORD_KEY must be 32 to 128 bytes"},
		{"ROWCALL_TENANT_DATABASE_URL=postgres://t@db/r", "must both be set, or none"},
		{"ROWCALL_PLATFORM_DATABASE_URL=postgres://t@db/r", "must both be set, or none"},
	} {
		_, err := loadConfig(production(c.setting), modeServe)
		if err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v", c.setting, err)
		}
	}
}

func TestLimits(t *testing.T) {
	if c := load(t, modeDev); c.Limits.User != (limit.Rule{}) || c.Limits.Key != (limit.Rule{}) || c.Limits.Address != (limit.Rule{}) ||
		c.Limits.Concurrency != 8 || c.StatementTimeout != 8*time.Second {
		t.Errorf("development: %+v", c.Limits)
	}
	rule := limit.Rule{Calls: limit.Rate{PerSecond: 1000, Burst: 2000}, Cost: limit.Rate{PerSecond: 50_000, Burst: 200_000}}
	if c := load(t, modeServe, production("ROWCALL_DB_CONNS=1")...); c.Limits.User != rule || c.Limits.Key != rule || c.Limits.Address.Calls.Burst != 4000 ||
		c.Limits.Address.Cost.PerSecond != 1000 || c.Limits.Concurrency != 1 || c.Limits.Wait != 5*time.Second || c.StatementTimeout != 8*time.Second {
		t.Errorf("production: %+v", c.Limits)
	}
	c := load(t, modeServe, production("ROWCALL_USER_CALLS=off", "ROWCALL_USER_COST=1:2", "ROWCALL_KEY_CALLS=3:4", "ROWCALL_KEY_COST=5:6",
		"ROWCALL_ADDRESS_CALLS=7:8", "ROWCALL_ADDRESS_COST=0", "ROWCALL_TENANT_CONCURRENCY=off", "ROWCALL_TENANT_WAIT=1s", "ROWCALL_STATEMENT_TIMEOUT=off")...)
	want := limit.Config{
		User:    limit.Rule{Cost: limit.Rate{PerSecond: 1, Burst: 2}},
		Key:     limit.Rule{Calls: limit.Rate{PerSecond: 3, Burst: 4}, Cost: limit.Rate{PerSecond: 5, Burst: 6}},
		Address: limit.Rule{Calls: limit.Rate{PerSecond: 7, Burst: 8}},
		Wait:    time.Second,
		Streams: c.Limits.Streams, // by default
	}
	if c.Limits != want || c.StatementTimeout != 0 {
		t.Errorf("set: %+v", c.Limits)
	}
	if c := load(t, modeServe, production("ROWCALL_TENANT_CONCURRENCY=40")...); c.Limits.Concurrency != 40 {
		t.Errorf("concurrency: %+v", c.Limits)
	}
}

func TestProductionRefuses(t *testing.T) {
	_, err := loadConfig(nil, modeServe)
	for _, name := range []string{nameURL, "ROWCALL_TOKEN_KEY", "ROWCALL_PASSWORD_KEY"} {
		if err == nil || !strings.Contains(err.Error(), "\n"+name+" is needed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, secret := range []string{devTokenKey, devPasswordKey} {
		for _, name := range []string{"ROWCALL_TOKEN_KEY", "ROWCALL_PASSWORD_KEY", "ROWCALL_LEGACY_PASSWORD_KEY"} {
			_, err := loadConfig(append([]string{name + "=" + secret}, production()...), modeServe)
			if err == nil || !strings.Contains(err.Error(), name+" is a development secret") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestTheErrorHasEveryFault(t *testing.T) {
	_, err := loadConfig([]string{"ROWCALL_X=1", "ROWCALL_DB_CONNS=many", "PORT=x", "ROWCALL_TOKEN_TTL=x"}, modeServe)
	if err == nil {
		t.Fatal("no error")
	}
	// The heading, four wrong settings, three missing ones.
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 8 {
		t.Errorf("%d lines:\n%v", len(lines), err)
	}
}

func TestDevelopmentKeepsToThisMachine(t *testing.T) {
	for _, c := range []struct {
		url  string
		more string
		ok   bool
	}{
		{"postgres://localhost/r", "", true},
		{"postgres://u:p@127.0.0.1:5433/r", "", true},
		{"postgres://u@[::1]:5432/r", "", true},
		{"postgresql:///r?host=/run/postgresql", "", true},
		{"postgres:///r?host=/run/postgresql", "PGHOST=db.example", true},
		{"postgres:///r?host=@abstract", "", true},
		{"postgres://db.example/r", "", false},
		{"postgres://10.0.0.1/r", "", false},
		{"postgres://localhost.evil.example/r", "", false},
		{"postgres://localhost/r?host=db.example", "", false},
		{"postgres://localhost/r?hostaddr=10.0.0.1", "", false},
		{"postgres:///r?host=/tmp,db.example", "", false},
		{"postgres:///r", "", false},
		{"postgres://localhost/r?service=production", "", false},
		{"postgres://localhost/r", "PGSERVICE=production", false},
		{"postgres://localhost/r", "PGHOSTADDR=10.0.0.1", false},
	} {
		_, err := loadConfig([]string{nameURL + "=" + c.url, c.more}, modeDev)
		if (err == nil) != c.ok {
			t.Errorf("%s %s: %v", c.url, c.more, err)
		}
	}
	logins := []string{"ROWCALL_TENANT_DATABASE_URL=postgres://localhost/r", "ROWCALL_PLATFORM_DATABASE_URL=postgres://db.example/r"}
	if _, err := loadConfig(append(logins, nameURL+"=postgres://localhost/r"), modeDev); err == nil || !strings.Contains(err.Error(), "\nROWCALL_PLATFORM_DATABASE_URL must name a loopback") {
		t.Errorf("a login far away: %v", err)
	}
	if _, err := loadConfig(logins, modeDev); err == nil || !strings.Contains(err.Error(), "DATABASE_URL is needed") {
		t.Errorf("logins without a database: %v", err)
	}
}

func TestConfigShowsNoSecret(t *testing.T) {
	secrets := []string{"s3cret", "p4ss", auth.NewKey(), auth.NewKey(), auth.NewKey()}
	c := load(t, modeServe, nameURL+"=postgres://o:s3cret@db/r?password=p4ss&sslmode=disable",
		nameTenantURL+"=postgres://t:s3cret@db/r", namePlatformURL+"=postgres://p:s3cret@db/r?sslpassword=p4ss",
		"ROWCALL_TOKEN_KEY="+secrets[2], "ROWCALL_PASSWORD_KEY="+secrets[3], "ROWCALL_LEGACY_PASSWORD_KEY="+secrets[4])
	key := fmt.Sprintf("%d", []byte(c.TokenKey)[:4])
	secrets = append(secrets, strings.Trim(key, "[]"), fmt.Sprintf("%x", []byte(c.TokenKey)))

	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+"\n"+verb+"\n", c, &c)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&b), zap.InfoLevel))
	log.Info("config", zap.Any("value", c), zap.Object("object", c), zap.Any("key", c.TokenKey), zap.Reflect("reflected", c.TokenKey))
	log.Sugar().Infow("config", "c", c, "p", &c)
	for _, secret := range secrets {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%q shows in:\n%s", secret, b.String())
		}
	}
	for _, wanted := range []string{"postgres://o:xxxxx@db/r", "ROWCALL_TOKEN_KEY", "720h"} {
		if !strings.Contains(b.String(), wanted) {
			t.Errorf("%q does not show", wanted)
		}
	}
}

func TestFaultsShowNoSecret(t *testing.T) {
	for _, m := range []mode{modeDev, modeServe, modeMigrate} {
		for _, url := range []string{"postgres://u:s3cret%zz@db/r", "mysql://u:s3cret@db/r", "postgres://u:s3cret@db", "password=s3cret", "postgres://u:s3cret@db/r\x7f"} {
			var environ []string
			for _, s := range settings {
				if s.show != nil {
					environ = append(environ, s.name+"="+url)
				}
			}
			if _, err := loadConfig(environ, m); err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: %v", m, err)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	var b bytes.Buffer
	if err := printHelp(&b); err != nil {
		t.Fatal(err)
	}
	for _, s := range settings {
		if !strings.Contains(b.String(), "  "+s.name) || !strings.Contains(b.String(), s.fallback) {
			t.Errorf("%s or its default is missing", s.name)
		}
	}
	for _, c := range commands {
		if !strings.Contains(b.String(), "\n  "+c.name+" ") {
			t.Errorf("%s is missing", c.name)
		}
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > helpWidth+10 {
			t.Errorf("a long line: %s", line)
		}
	}
	if strings.Contains(b.String(), devTokenKey) || strings.Contains(b.String(), devPasswordKey) {
		t.Error("a key shows")
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"same", "same", 0}, {"ab", "ba", 2}} {
		if got, back := distance(c.a, c.b), distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("%q to %q: %d and %d, not %d", c.a, c.b, got, back, c.want)
		}
	}
}
