package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"tandem/internal/inbox"
)

func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// resources are the kinds of class 53, insufficient resources.
var resources = map[string]inbox.Kind{"53100": inbox.Full, "53300": inbox.Overloaded}

// diagnose reads SQLSTATE (PostgreSQL, appendix A) and the errors of the network.
func (p *postgres) diagnose(err error) *trouble {
	c := p.config.ConnConfig
	switch {
	case errors.Is(err, errNewer):
		return &trouble{kind: inbox.TooNew, reason: err.Error(), mends: byPerson}
	case errors.Is(err, errStandby):
		return &trouble{kind: inbox.ReadOnly, reason: err.Error(), reading: true}
	case errors.Is(err, errReadOnly):
		return &trouble{kind: inbox.ReadOnly, reading: true, fresh: true, reason: fmt.Sprintf("default_transaction_read_only is on for user %q in database %q, so nothing can be written: "+
			"run ALTER DATABASE ... RESET default_transaction_read_only, or the same with ALTER ROLE or ALTER SYSTEM, or take it out of %s, wherever it was set", c.User, c.Database, p.setting)}
	case errors.Is(err, puddle.ErrClosedPool):
		return &trouble{kind: inbox.NotConnected, reason: "closed", mends: byRestart}
	}
	var encoding encodingError
	if errors.As(err, &encoding) {
		return p.wrongEncoding(encoding.encoding, "")
	}
	var noSchema schemaError
	if errors.As(err, &noSchema) {
		return &trouble{kind: inbox.NotConfigured, fresh: true, reason: fmt.Sprintf("user %q finds no schema in database %q: its search_path is %s, and names none that is there and that it may use. "+
			"Run ALTER DATABASE ... RESET search_path (or ALTER ROLE ...), or CREATE SCHEMA, or GRANT USAGE, CREATE ON SCHEMA ... TO ...",
			c.User, c.Database, cmp.Or(noSchema.path, "empty"))}
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return p.diagnoseNetwork(err)
	}
	said := fmt.Sprintf("PostgreSQL says: %s (%s)", e.Message, e.Code)
	switch e.Code {
	case "0A000":
		var connect *pgconn.ConnectError
		if errors.As(err, &connect) { // what it asks for is UTF-8, which PostgreSQL translates into every encoding but this one
			return p.wrongEncoding("MULE_INTERNAL", "; "+said)
		}
		return nil
	case "28P01":
		return &trouble{kind: inbox.Refused, mends: byPerson, reason: p.setting + fmt.Sprintf(": the server refuses the password of user %q; %s", c.User, said)}
	case "28000":
		return &trouble{kind: inbox.Refused, mends: byPerson, reason: p.setting + fmt.Sprintf(": the server refuses user %q; %s", c.User, said)}
	case "3D000":
		return &trouble{kind: inbox.Refused, mends: byPerson, reason: p.setting + fmt.Sprintf(": the server has no database %q: create it (createdb), or name another; %s", c.Database, said)}
	case "42501":
		return &trouble{kind: inbox.Refused, reason: fmt.Sprintf("user %q lacks a right in database %q: make it the owner (ALTER DATABASE ... OWNER TO ...); %s", c.User, c.Database, said)}
	case "25006":
		return &trouble{kind: inbox.ReadOnly, reason: said, reading: true, fresh: true}
	case "57014", "55P03", "25P03", "25P04", "40001", "40P01":
		return &trouble{kind: inbox.Overloaded, reason: "it was too busy; " + said, mends: inTime}
	case "53100":
		return &trouble{kind: inbox.Full, reason: "the disk of the server is full; " + said, reading: true}
	case "42P01", "3F000": // the tables are gone: the database was replaced by an empty one
		return &trouble{kind: inbox.Damaged, reason: said}
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "28":
		return &trouble{kind: inbox.Refused, reason: said}
	case "53":
		return &trouble{kind: resources[e.Code], reason: said}
	case "08", "57":
		return &trouble{kind: inbox.Unreachable, reason: said}
	case "58", "F0", "XX":
		return &trouble{reason: said}
	}
	return nil
}

func (p *postgres) wrongEncoding(encoding, said string) *trouble {
	name := p.config.ConnConfig.Database
	return &trouble{kind: inbox.NotConfigured, mends: byPerson, reason: fmt.Sprintf("%s: database %q has the encoding %s, which cannot hold what people write: want UTF8. "+
		"An encoding cannot be changed: make another database (createdb -E UTF8 -T template0 NAME) and name that one, or drop this one if it is empty and make it so%s",
		p.setting, name, encoding, said)}
}

func (p *postgres) diagnoseNetwork(err error) *trouble {
	c := p.config.ConnConfig
	server := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
	if strings.HasPrefix(c.Host, "/") {
		server = "the socket in " + c.Host
	}
	var dns *net.DNSError
	var network net.Error
	var connect *pgconn.ConnectError
	var parse *pgconn.ParseConfigError
	switch {
	case errors.As(err, &parse):
		return &trouble{kind: inbox.NotConfigured, reason: badURL(rule).Error(), mends: byPerson}
	case errors.As(err, &dns):
		return &trouble{kind: inbox.Unreachable, reason: fmt.Sprintf("the name %q does not resolve", dns.Name)}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return &trouble{kind: inbox.Unreachable, reason: "no PostgreSQL listens at " + server}
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return &trouble{kind: inbox.Unreachable, reason: "PostgreSQL at " + server + " did not answer in time"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.As(err, &network), pgconn.SafeToRetry(err):
		return &trouble{kind: inbox.Unreachable, reason: "the connection to PostgreSQL at " + server + " broke"}
	case errors.As(err, &connect):
		return &trouble{kind: inbox.Unreachable, reason: fmt.Sprintf("no connection to PostgreSQL at %s: %v", server, connect.Unwrap())}
	}
	return nil
}
