// Package clients holds what every generated client has in common.
package clients

import _ "embed" // of the files below

// TypeScript is the hand-written part of the TypeScript client, which a generated module imports as ./client.js.
//
//go:embed ts/src/client.ts
var TypeScript []byte

// TypeScriptEvents is what client.ts imports as ./events.js.
//
//go:embed ts/src/events.ts
var TypeScriptEvents []byte
