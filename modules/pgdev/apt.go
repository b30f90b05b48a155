package pgdev

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// aptFolder is where Debian's packages are unpacked below the cache.
const aptFolder = "debian"

// fetchApt lets apt download Debian's Postgres with whatever it needs that is not there, and unpacks it into the cache.
// Nothing is installed: no script of a package runs, no cluster is created or started, the system stays as it was. The
// version is the distribution's, and apt checks its signatures.
func (s search) fetchApt(ctx context.Context, cache string) error {
	apt, err := s.lookPath("apt-get")
	if err != nil {
		return err
	}
	making, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(making)                                                           //nolint:errcheck // what stays is small harm
	if err := os.MkdirAll(filepath.Join(making, "debs", "partial"), 0o755); err != nil { //nolint:gosec // public packages
		return err
	}
	download := func() error {
		err := quietly(exec.CommandContext(ctx, apt, "-qq", "-y", "--no-install-recommends", "--download-only",
			"-o", "APT::Sandbox::User=root", "-o", "Dir::Cache::archives="+filepath.Join(making, "debs"), "install", "postgresql"))
		return err
	}
	if download() != nil { // the lists may be missing or old
		if err := quietly(exec.CommandContext(ctx, apt, "-qq", "update")); err != nil {
			return err
		}
		if err := download(); err != nil {
			return err
		}
	}
	packages, _ := filepath.Glob(filepath.Join(making, "debs", "*.deb")) // the pattern is good
	root := filepath.Join(making, "root")
	for _, deb := range packages {
		if err := quietly(exec.CommandContext(ctx, "dpkg-deb", "-x", deb, root)); err != nil {
			return err
		}
	}
	if len(packages) == 0 {
		return fmt.Errorf("apt-get downloaded no package")
	}
	return publish(root, filepath.Join(cache, aptFolder))
}

// unpackedDebian returns what fetchApt has left.
func unpackedDebian(cache string) []installation {
	bins, _ := filepath.Glob(filepath.Join(cache, aptFolder, "usr", "lib", "postgresql", "*", "bin")) // the pattern is good
	libraries, _ := filepath.Glob(filepath.Join(cache, aptFolder, "usr", "lib", "*-linux-gnu*"))
	var list []installation
	for _, bin := range bins {
		list = append(list, installation{bin: bin, library: strings.Join(libraries, ":")})
	}
	return list
}
