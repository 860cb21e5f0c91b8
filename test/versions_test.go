package test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tandem/internal/pgtest"
	"tandem/internal/proctest"
	"tandem/internal/status"
)

// TestASchemaOfALaterVersion: another container has been updated to a version that changes the schema beyond what this
// one can use. The bot ends and says why. Web stays and says it too, and goes on by itself when the update is taken
// back.
func TestASchemaOfALaterVersion(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	r := newRig(t, address, "WEB_OPS_ADDR="+proctest.FreeAddr(t)).start().waitWeb().waitPolling()
	stays := r.webMustStay()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	if _, err := admin.Exec(ctx, `UPDATE schema_compat SET oldest = 1000`); err != nil {
		t.Fatal(err)
	}
	const words = "asks for programs that know version 1000"
	bot := r.waitBot(status.Failed)
	if r.WaitLine(soon, `"process":"bot"`, words); bot.LastEnd == nil || bot.LastEnd.Code != 78 {
		t.Errorf("the bot ended with %+v", bot.LastEnd)
	}
	proctest.Eventually(t, soon, "/readyz on the operations port says why", func() bool {
		code, body := r.readiness()
		return code == 503 && strings.Contains(body, words)
	})
	if _, err := admin.Exec(ctx, `UPDATE schema_compat SET oldest = 2`); err != nil {
		t.Fatal(err)
	}
	r.waitReady()
	stays()
	r.stop()
}
