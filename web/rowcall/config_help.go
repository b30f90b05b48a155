package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

var commands = []struct{ name, help string }{
	{"dev", "serve for development: a private Postgres unless DATABASE_URL names one, migrations, demo data"},
	{"serve", "serve for production: apply migrations, then serve"},
	{"migrate", "apply the migrations and end"},
	{"recreate-db", "drop the development database and make it anew, with the demo data"},
	{"prune", "take from the change log what need not be kept: rowcall prune [--archive FOLDER]"},
	{"new-epoch", "after a restore that Postgres cannot know of: let clients start over"},
	{"gen-key", "print a new key for ROWCALL_TOKEN_KEY or ROWCALL_PASSWORD_KEY"},
	{"generate", "write a typed client: rowcall generate ts|go [-from URL|FILE] [-o FOLDER]"},
	{"help", "print this"},
}

// helpWidth is the most characters in a line of the help.
const helpWidth = 100

// printHelp writes the commands, and the settings with their defaults.
func printHelp(w io.Writer) error {
	var b strings.Builder
	b.WriteString("Rowcall is a multi-tenant JSON-RPC server over PostgreSQL.\n\nUsage: rowcall <command>\n\nCommands:\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-12s %s\n", c.name, c.help)
	}
	b.WriteString("\nSettings, from the environment; an empty value is none, and an unknown name with " + prefix + " an error:\n")
	for _, s := range settings {
		fmt.Fprintf(&b, "  %s%s\n%s", s.name, s.defaults(), wrap(s.help, "      "))
	}
	b.WriteString("\nTraces are sent where the OTEL_ variables of OpenTelemetry say, as OTEL_EXPORTER_OTLP_ENDPOINT.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// defaults describes what holds where the setting is not in the environment.
func (s *setting) defaults() string {
	var notes []string
	if s.fallback != "" {
		notes = append(notes, "default "+s.fallback)
	}
	if v, ok := s.byMode[modeDev]; ok {
		if s.show != nil {
			v = "a known one"
		}
		notes = append(notes, "in dev "+v)
	}
	for _, m := range s.needed {
		notes = append(notes, "needed to "+string(m))
	}
	if len(notes) == 0 {
		return ""
	}
	return " (" + strings.Join(notes, ", ") + ")"
}

func wrap(text, indent string) string {
	var b strings.Builder
	words := strings.Fields(text)
	for len(words) > 0 {
		width := len(indent)
		n := slices.IndexFunc(words, func(word string) bool {
			width += len(word) + 1
			return width > helpWidth+1
		})
		if n <= 0 {
			n = len(words)
		}
		b.WriteString(indent + strings.Join(words[:n], " ") + "\n")
		words = words[n:]
	}
	return b.String()
}
