package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowcall/modules/auth"
)

// Errors of this file follow a setting's name in a sentence. Those on secrets do not repeat the value: not even by way of
// the standard library's errors, which do.

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"json", "console"}
)

var errURL = errors.New("must be a URL as postgres://user:password@host:port/database")

func setURL(field *string, text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || strings.Trim(u.Path, "/") == "" {
		return errURL
	}
	*field = text
	return nil
}

// showURL returns what of a database's URL may be seen: not the password, which may be among the parameters too.
func showURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return hide(text)
	}
	q := u.Query()
	for name := range q {
		if strings.Contains(strings.ToLower(name), "pass") {
			q.Set(name, "xxxxx")
		}
	}
	u.RawQuery = q.Encode()
	return u.Redacted()
}

// showBusURL is showURL for a broker, whose user may be a token.
func showBusURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return hide(text)
	}
	if u.User != nil {
		u.User = url.User("xxxxx")
	}
	return showURL(u.String())
}

func hide(string) string { return "[redacted]" }

func setKey(c *config, field *auth.Key, text string) error {
	if c.mode != modeDev && (text == devTokenKey || text == devPasswordKey) {
		return errors.New("is a development secret, which everyone knows: make another with rowcall gen-key")
	}
	key, err := auth.ParseKey(text)
	*field = key
	return err
}

func setInt(field *int, text string, least, most int) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return fmt.Errorf("must be a whole number from %d to %d, not %q", least, most, text)
	}
	*field = n
	return nil
}

func setDuration(field *time.Duration, text string, least, most time.Duration) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < least || d > most {
		return fmt.Errorf(`must be a time from %v to %v, as "90s" or "1h30m", not %q`, least, most, text)
	}
	*field = d
	return nil
}

func setBool(field *bool, text string) error {
	if text != "true" && text != "false" {
		return fmt.Errorf("must be true or false, not %q", text)
	}
	*field = text == "true"
	return nil
}

func setOneOf(field *string, text string, allowed []string) error {
	if !slices.Contains(allowed, text) {
		return fmt.Errorf("must be one of %s, not %q", strings.Join(allowed, ", "), text)
	}
	*field = text
	return nil
}

func setLogLevel(c *config, text string) error {
	var level string
	if err := setOneOf(&level, text, logLevels); err != nil {
		return err
	}
	return c.LogLevel.Set(level)
}

func setAddr(field *string, text string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("must be host:port with a port from 0 to 65535, not %q", text)
	}
	*field = text
	return nil
}

func setProxies(c *config, text string) error {
	for cidr := range strings.SplitSeq(text, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(cidr))
		if err != nil {
			return fmt.Errorf("must be CIDRs separated by commas, as 10.0.0.0/8; %q is none", strings.TrimSpace(cidr))
		}
		c.TrustedProxies = append(c.TrustedProxies, prefix.Masked().String())
	}
	return nil
}

// setPort says where to listen if ROWCALL_ADDR, which is set later, does not. What development serves is open to whoever
// reaches it, so there only this machine does.
func setPort(c *config, text string) error {
	var port int
	if err := setInt(&port, text, 0, 1<<16-1); err != nil {
		return err
	}
	host := ""
	if c.mode == modeDev {
		host = "127.0.0.1"
	}
	c.Addr = net.JoinHostPort(host, strconv.Itoa(port))
	return nil
}

// checkKeys returns the fault of keys that should differ.
func (c *config) checkKeys() []error {
	if c.mode == modeServe && len(c.TokenKey) > 0 && bytes.Equal(c.TokenKey, c.PasswordKey) {
		return []error{errors.New("ROWCALL_PASSWORD_KEY must be another key than ROWCALL_TOKEN_KEY")}
	}
	return nil
}

// checkDatabases returns the faults of the URLs together. Values are those of the whole environment.
func (c *config) checkDatabases(values map[string]string) (faults []error) {
	tenant, platform := values[nameTenantURL] != "", values[namePlatformURL] != ""
	if tenant != platform {
		faults = append(faults, fmt.Errorf("%s and %s must both be set, or none", nameTenantURL, namePlatformURL))
	}
	if c.mode != modeDev {
		return faults
	}
	if (tenant || platform) && values[nameURL] == "" {
		faults = append(faults, fmt.Errorf("%s is needed where other logins to it are named", nameURL))
	}
	for _, u := range []struct{ name, url string }{{nameURL, c.DatabaseURL}, {nameTenantURL, c.TenantURL}, {namePlatformURL, c.PlatformURL}} {
		if u.url != "" && !onThisMachine(u.url, values) {
			faults = append(faults, fmt.Errorf("%s must name a loopback address or a socket's folder: development writes demo data", u.name))
		}
	}
	return faults
}

// onThisMachine tells whether all addresses that the driver may take from a URL are this machine's. An address that it
// would take from elsewhere, a PGHOST or a service file, is not believed.
func onThisMachine(databaseURL string, environ map[string]string) bool {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return false
	}
	q := u.Query()
	if q.Has("service") || environ["PGSERVICE"] != "" {
		return false
	}
	hosts := slices.Concat(q["host"], q["hostaddr"])
	if name := u.Hostname(); name != "" {
		hosts = append(hosts, name)
	}
	if addr := environ["PGHOSTADDR"]; addr != "" {
		hosts = append(hosts, addr)
	}
	remote := func(list string) bool {
		return slices.ContainsFunc(strings.Split(list, ","), func(host string) bool { return !local(host) })
	}
	return len(hosts) > 0 && !slices.ContainsFunc(hosts, remote)
}

func local(host string) bool {
	if host == "localhost" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
