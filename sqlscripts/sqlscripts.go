// Package sqlscripts holds the database's scripts: the migrations, the development seed, and what recreates a
// development database. Each can be read, and run, by a person with psql.
package sqlscripts

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the numbered goose migrations, at the root of the file system.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// Seed fills a development database with the demo tenants and users. It reads the stored password that all of them get
// from the session setting seed.pwd, and may be run again.
//
//go:embed dev/seed.sql
var Seed string

// Recreate drops and creates a development database, whose name stands in it as :"db".
//
//go:embed dev/recreate.sql
var Recreate string
