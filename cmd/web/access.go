package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"tandem/internal/inbox"
	"tandem/internal/store"
	"tandem/internal/web"
)

func operatorCommand(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	name, err := nameOf(args)
	if err != nil {
		return err
	}
	switch {
	case name != "" && args[0] == "add":
		return withStore(ctx, environ, func(db *store.Store, s settings) error {
			link, expires, err := web.IssueSignIn(ctx, db, name, s.links())
			if err != nil {
				return err
			}
			fmt.Fprintf(stderr, "Open this link once, before %s, to sign in as %s. Earlier links of %s are void.\n",
				expires.UTC().Format("2 Jan 15:04 MST"), name, name)
			_, err = fmt.Fprintln(stdout, link)
			return err
		})
	case len(args) == 1 && args[0] == "list":
		return withStore(ctx, environ, func(db *store.Store, _ settings) error {
			operators, err := web.Operators(ctx, db)
			if err != nil {
				return err
			}
			if len(operators) == 0 {
				fmt.Fprintln(stderr, "There are no operators yet; make one: web operator add NAME")
			}
			table := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
			for _, o := range operators {
				fmt.Fprintf(table, "%s\tid %d\tsince %s\t%s\n", o.Name, o.ID, day(o.CreatedAt), signedIn(o))
			}
			return table.Flush()
		})
	case name != "" && (args[0] == "sign-out" || args[0] == "remove"):
		return withStore(ctx, environ, func(db *store.Store, _ settings) error {
			end, next := db.SignOutOperator, "To let "+name+" in again: web operator add "+shellWord(name)
			if args[0] == "remove" {
				end, next = db.RemoveOperator, name+" is removed; what was written keeps the name."
			}
			err := end(ctx, name)
			if errors.Is(err, inbox.ErrNotFound) {
				return fmt.Errorf("there is no operator named %q; `web operator list` lists them", name)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(stderr, "%s is signed out everywhere, and any unused link is void. %s\n", name, next)
			return nil
		})
	}
	return usage("want: web operator add NAME, web operator list, web operator sign-out NAME, or web operator remove NAME")
}

func tokenCommand(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	name, err := nameOf(args)
	if err != nil {
		return err
	}
	switch {
	case name != "" && args[0] == "create":
		return withStore(ctx, environ, func(db *store.Store, _ settings) error {
			token, err := web.IssueToken(ctx, db, name)
			if errors.Is(err, inbox.ErrConflict) {
				return fmt.Errorf("there is a token named %q already; choose another name, or revoke it first: "+
					"web token revoke %s", name, shellWord(name))
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(stdout, token)
			return err
		})
	case len(args) == 1 && args[0] == "list":
		return withStore(ctx, environ, func(db *store.Store, _ settings) error {
			tokens, err := db.Tokens(ctx)
			if err != nil {
				return err
			}
			if len(tokens) == 0 {
				fmt.Fprintln(stderr, "There are no tokens yet; make one: web token create NAME")
			}
			table := tabwriter.NewWriter(stdout, 0, 8, 2, ' ', 0)
			for _, t := range tokens {
				fmt.Fprintf(table, "%s\tid %d\tsince %s\n", t.Name, t.ID, day(t.CreatedAt))
			}
			return table.Flush()
		})
	case name != "" && args[0] == "revoke":
		return withStore(ctx, environ, func(db *store.Store, _ settings) error {
			err := db.RevokeToken(ctx, name)
			if errors.Is(err, inbox.ErrNotFound) {
				return fmt.Errorf("there is no token named %q; `web token list` lists them", name)
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(stderr, "The token %s is revoked: requests with it are refused, and its streams end.\n", name)
			return nil
		})
	}
	return usage("want: web token create NAME, web token list, or web token revoke NAME")
}

// nameOf is the name that a command gives after what is to be done, "" if it gives none.
func nameOf(args []string) (string, error) {
	if len(args) != 2 {
		return "", nil
	}
	if err := web.CheckName(args[1]); err != nil {
		return "", usage("%v", err)
	}
	return args[1], nil
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// shellWord is a name as one types it in a command.
func shellWord(name string) string {
	plain := func(c rune) bool {
		return unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("-_.@+", c)
	}
	if strings.IndexFunc(name, func(c rune) bool { return !plain(c) }) < 0 {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// signedIn says where an operator is signed in. The use of a session is written down every ten minutes.
func signedIn(o web.OperatorSeen) string {
	switch o.Sessions {
	case 0:
		return "not signed in"
	case 1:
		return "in 1 browser, last used " + o.LastUse.UTC().Format("2006-01-02 15:04 MST")
	}
	return fmt.Sprintf("in %d browsers, last used %s", o.Sessions, o.LastUse.UTC().Format("2006-01-02 15:04 MST"))
}
