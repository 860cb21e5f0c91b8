package postgres

import (
	"testing"

	"tandem/internal/pgtest"
	"tandem/internal/store/driver"
)

// TestASearchIsOneProcessOfTheServer : it has no workers beside it, which would take the processors from all others.
func TestASearchIsOneProcessOfTheServer(t *testing.T) {
	t.Parallel()
	p, err := New(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var workers string
	err = p.Read(t.Context(), driver.Search, func(c driver.Conn) error {
		_, err := driver.Row(t.Context(), c, []any{&workers}, `SELECT current_setting('max_parallel_workers_per_gather')`)
		return err
	})
	if err != nil || workers != "0" {
		t.Errorf("%q workers, %v", workers, err)
	}
}

// TestSlowTransaction : the time that a commit gets begins with the commit.
func TestSlowTransaction(t *testing.T) {
	t.Parallel()
	p, err := New(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = p.Write(t.Context(), func(c driver.Conn) error {
		_, err := c.Exec(t.Context(), `SELECT pg_sleep($1)`, pingDeadline.Seconds()+0.5)
		return err
	})
	if err != nil {
		t.Errorf("a transaction that takes longer than %v: %v", pingDeadline, err)
	}
}
