package changelog

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// The archive has a folder for each tenant, in it one for each epoch, and in that files of entries, one a line, oldest first:
//
//	<tenant>/<epoch>/<first position>-<last position>.ndjson.gz
//
// The positions in the names say what is there already.
const (
	archiveName = "%012d-%012d.ndjson.gz"
	partName    = ".part-*" // of a file that is being written
	archivePage = 100       // entries that are in memory at once; one may have half a megabyte
)

// archive writes the entries after one position up to another to a file, if there is an archive, but for those that a file has
// already. When it returns nil they are on the disk.
func (p *pruning) archive(tenant uuid.UUID, after, to int64) error {
	if p.keep.Archive == "" {
		return nil
	}
	var epoch string
	if err := p.db.Platform(p.ctx).Get(&epoch, `SELECT current_epoch()`); err != nil {
		return err
	}
	dir := filepath.Join(p.keep.Archive, tenant.String(), epoch)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	archived, err := lastArchived(dir)
	if err != nil {
		return err
	}
	if after = max(after, archived); after >= to {
		return nil
	}
	if err := p.writeArchive(dir, tenant, after, to); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	p.done.Archived++
	for range 3 { // and the folders that may be new
		if err := syncFolder(dir); err != nil {
			return err
		}
		dir = filepath.Dir(dir)
	}
	return nil
}

// lastArchived returns the last position that the files of a folder have; 0 for none. It takes away what a run has left that was
// killed while it wrote.
func lastArchived(dir string) (last int64, err error) {
	parts, err := filepath.Glob(filepath.Join(dir, partName))
	for _, part := range parts {
		err = errors.Join(err, os.Remove(part))
	}
	if err != nil {
		return 0, err
	}
	files, err := os.ReadDir(dir)
	for _, f := range files {
		var from, to int64
		if n, _ := fmt.Sscanf(f.Name(), archiveName, &from, &to); n == 2 && f.Name() == fmt.Sprintf(archiveName, from, to) {
			last = max(last, to)
		}
	}
	return last, err
}

func (p *pruning) writeArchive(dir string, tenant uuid.UUID, after, to int64) (err error) {
	f, err := os.CreateTemp(dir, partName)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it may be closed already
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	z := gzip.NewWriter(f)
	if err := p.writeEntries(z, tenant, after, to); err != nil {
		return err
	}
	if err := errors.Join(z.Close(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, fmt.Sprintf(archiveName, after+1, to)))
}

// writeEntries writes entries as lines. An error if one is missing.
func (p *pruning) writeEntries(w io.Writer, tenant uuid.UUID, after, to int64) error {
	var page []string
	for ; after < to; after += archivePage {
		upTo := min(after+archivePage, to)
		page = page[:0]
		err := p.db.Platform(p.ctx).Select(&page, `
			SELECT json_build_object('position', position, 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'actor', actor,
				'method', method, 'entity', entity, 'id', row_id, 'op', op, 'version', version, 'before', before, 'data', data)::text
			FROM change WHERE tenant_id = $1 AND position > $2 AND position <= $3 ORDER BY position`, tenant.String(), after, upTo)
		if err != nil {
			return err
		}
		if int64(len(page)) != upTo-after {
			return fmt.Errorf("the log has %d entries from %d to %d", len(page), after+1, upTo)
		}
		for _, line := range page {
			if _, err := io.WriteString(w, line+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator says where the archive is
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
