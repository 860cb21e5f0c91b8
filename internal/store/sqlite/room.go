package sqlite

import (
	"path/filepath"
	"syscall"
)

// FreeRoom is what is free in the file system of the database.
func (d *DB) FreeRoom() (bytes int64, known bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(d.path), &fs); err != nil {
		return 0, false
	}
	return int64(fs.Bavail) * fs.Bsize, true
}
