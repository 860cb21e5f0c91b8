package postgres

// FreeRoom is not known: the server's disk is its own.
func (d *DB) FreeRoom() (bytes int64, known bool) { return 0, false }
