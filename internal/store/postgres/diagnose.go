package postgres

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
	"tandem/internal/store/driver"
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

// Diagnose reads SQLSTATE (PostgreSQL, appendix A) and the errors of the network.
func (p *DB) Diagnose(err error) *driver.Trouble {
	c := p.config.ConnConfig
	switch {
	case errors.Is(err, driver.ErrNewer):
		return &driver.Trouble{Kind: inbox.TooNew, Reason: err.Error(), Mends: driver.ByPerson}
	case errors.Is(err, errStandby):
		return &driver.Trouble{Kind: inbox.ReadOnly, Reason: err.Error(), Reading: true}
	case errors.Is(err, errReadOnly):
		return &driver.Trouble{Kind: inbox.ReadOnly, Reading: true, Fresh: true, Reason: fmt.Sprintf(
			"default_transaction_read_only is on for user %q in database %q, so nothing can be written: "+
				"run ALTER DATABASE ... RESET default_transaction_read_only, or the same with ALTER ROLE or "+
				"ALTER SYSTEM, or take it out of %s, wherever it was set", c.User, c.Database, p.setting)}
	case errors.Is(err, puddle.ErrClosedPool):
		return &driver.Trouble{Kind: inbox.NotConnected, Reason: "closed", Mends: driver.ByRestart}
	}
	var encoding encodingError
	if errors.As(err, &encoding) {
		return p.wrongEncoding(encoding.encoding, "")
	}
	var noSchema schemaError
	if errors.As(err, &noSchema) {
		return &driver.Trouble{Kind: inbox.NotConfigured, Fresh: true, Reason: fmt.Sprintf(
			"user %q finds no schema in database %q: its search_path is %s, and names none that is there and that it "+
				"may use. Run ALTER DATABASE ... RESET search_path (or ALTER ROLE ...), or CREATE SCHEMA, or "+
				"GRANT USAGE, CREATE ON SCHEMA ... TO ...",
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
		// A connection asks for UTF-8, which PostgreSQL translates into every encoding but this one.
		if errors.As(err, &connect) {
			return p.wrongEncoding("MULE_INTERNAL", "; "+said)
		}
		return nil
	case "28P01":
		return &driver.Trouble{Kind: inbox.Refused, Mends: driver.ByPerson,
			Reason: fmt.Sprintf("%s: the server refuses the password of user %q; %s", p.setting, c.User, said)}
	case "28000":
		return &driver.Trouble{Kind: inbox.Refused, Mends: driver.ByPerson,
			Reason: fmt.Sprintf("%s: the server refuses user %q; %s", p.setting, c.User, said)}
	case "3D000":
		return &driver.Trouble{Kind: inbox.Refused, Mends: driver.ByPerson,
			Reason: fmt.Sprintf("%s: the server has no database %q: create it (createdb), or name another; %s",
				p.setting, c.Database, said)}
	case "42501":
		return &driver.Trouble{Kind: inbox.Refused, Reason: fmt.Sprintf("user %q lacks a right in database %q: "+
			"make it the owner (ALTER DATABASE ... OWNER TO ...); %s", c.User, c.Database, said)}
	case "25006":
		return &driver.Trouble{Kind: inbox.ReadOnly, Reason: said, Reading: true, Fresh: true}
	case "57014", "55P03", "25P03", "25P04", "40001", "40P01":
		return &driver.Trouble{Kind: inbox.Overloaded, Reason: "it was too busy; " + said, Mends: driver.InTime}
	case "53100":
		return &driver.Trouble{Kind: inbox.Full, Reason: "the disk of the server is full; " + said, Reading: true}
	case "42P01", "3F000": // the tables are gone: the database was replaced by an empty one
		return &driver.Trouble{Kind: inbox.Damaged, Reason: said}
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "28":
		return &driver.Trouble{Kind: inbox.Refused, Reason: said}
	case "53":
		return &driver.Trouble{Kind: resources[e.Code], Reason: said}
	case "08", "57":
		return &driver.Trouble{Kind: inbox.Unreachable, Reason: said}
	case "58", "F0", "XX":
		return &driver.Trouble{Reason: said}
	}
	return nil
}

// Late is false for a connection that could not be made in time.
func (p *DB) Late(err error) bool {
	var connect *pgconn.ConnectError
	return errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &connect)
}

func (p *DB) wrongEncoding(encoding, said string) *driver.Trouble {
	name := p.config.ConnConfig.Database
	return &driver.Trouble{Kind: inbox.NotConfigured, Mends: driver.ByPerson, Reason: fmt.Sprintf(
		"%s: database %q has the encoding %s, which cannot hold what people write: want UTF8. An encoding cannot be "+
			"changed: make another database (createdb -E UTF8 -T template0 NAME) and name that one, or drop this one "+
			"if it is empty and make it so%s",
		p.setting, name, encoding, said)}
}

func (p *DB) diagnoseNetwork(err error) *driver.Trouble {
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
		return &driver.Trouble{Kind: inbox.NotConfigured, Mends: driver.ByPerson,
			Reason: (&driver.BadURL{Rule: driver.Rule}).Error()}
	case errors.As(err, &dns):
		return &driver.Trouble{Kind: inbox.Unreachable, Reason: fmt.Sprintf("the name %q does not resolve", dns.Name)}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return &driver.Trouble{Kind: inbox.Unreachable, Reason: "no PostgreSQL listens at " + server}
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return &driver.Trouble{Kind: inbox.Unreachable, Reason: "PostgreSQL at " + server + " did not answer in time"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.As(err, &network), pgconn.SafeToRetry(err):
		return &driver.Trouble{Kind: inbox.Unreachable, Reason: "the connection to PostgreSQL at " + server + " broke"}
	case errors.As(err, &connect):
		return &driver.Trouble{Kind: inbox.Unreachable,
			Reason: fmt.Sprintf("no connection to PostgreSQL at %s: %v", server, connect.Unwrap())}
	}
	return nil
}
