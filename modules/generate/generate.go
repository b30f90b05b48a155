// Package generate writes typed clients from an OpenRPC document (https://spec.open-rpc.org): [TypeScript] and [Go].
//
// It knows nothing of Rowcall's entities, only JSON Schema, so every method that the document describes gets its types by
// the same rules. A client may call a method again when an answer is lost if it only reads (the extension "x-safe": true), if a further
// call changes nothing more ("x-idempotent": true), or else if it has a param mutation_id, by which it happens once. The output depends on the document alone, and is formatted.
package generate

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// words splits a name such as "list_tasks", "$notContainsCi", "project.name" or "TaskFilters" into its words.
func words(name string) []string {
	var all []string
	start := -1
	end := func(i int) {
		if start >= 0 {
			all = append(all, name[start:i])
		}
		start = -1
	}
	var before rune
	for i, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end(i)
		case start < 0:
			start = i
		case unicode.IsUpper(r) && !unicode.IsUpper(before):
			end(i)
			start = i
		}
		before = r
	}
	end(len(name))
	return all
}

// pascal makes a name a capitalized identifier: "list_tasks" is ListTasks.
func pascal(name string) string {
	var b strings.Builder
	for _, word := range words(name) {
		first, size := utf8.DecodeRuneInString(word)
		b.WriteRune(unicode.ToUpper(first))
		b.WriteString(word[size:])
	}
	if s := b.String(); s != "" && !unicode.IsDigit(rune(s[0])) {
		return s
	}
	return "X" + b.String()
}

// wrapped breaks a text into lines of at most width characters. Its own line breaks stay.
func wrapped(text string, width int) []string {
	var lines []string
	for paragraph := range strings.Lines(strings.TrimSpace(text)) {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			switch {
			case line == "":
				line = word
			case len(line)+1+len(word) > width:
				lines = append(lines, line)
				line = word
			default:
				line += " " + word
			}
		}
		lines = append(lines, line)
	}
	return lines
}
