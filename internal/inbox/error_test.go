package inbox

import (
	"errors"
	"fmt"
	"testing"
)

func TestError(t *testing.T) {
	for _, kind := range Unavailables {
		err := fmt.Errorf("list: %w", &Error{Kind: kind, Reason: "no answer"})
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrConflict) ||
			err.Error() != "list: the database is not available: no answer" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for kind, says := range map[Kind]string{Busy: "the database is busy", TooLong: "this question took too long"} {
		err := fmt.Errorf("list: %w", &Error{Kind: kind, Reason: "try later"})
		if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrConflict) || !TryLater(err) || KindOf(err) != kind ||
			err.Error() != "list: "+says+": try later" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if KindOf(ErrNotFound) != "" || TryLater(ErrNotFound) {
		t.Error("an error without a kind has one")
	}
	err := fmt.Errorf("retry: %w", &Error{Kind: Conflict, Reason: "it was sent"})
	var e *Error
	if errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrConflict) || err.Error() != "retry: conflict: it was sent" ||
		!errors.As(err, &e) || e.Reason != "it was sent" {
		t.Errorf("a conflict: %v", err)
	}
}
