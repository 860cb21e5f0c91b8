// Package exitcode names the statuses with which the processes of Tandem end, and says what they mean to the one that
// started them. That is the contract between init and any web or bot, in whatever language. The values are those of
// sysexits(3) and of the shell.
package exitcode

import "errors"

const (
	// OK : done, or switched off. init does not start the bot again.
	OK = 0
	// Failure : an end without a more exact reason. init starts the bot again with backoff.
	Failure = 1
	// Usage (EX_USAGE): the command line or a setting of init itself is wrong.
	Usage = 64
	// Software (EX_SOFTWARE): init's own failure. Not 2, which is what a Go panic leaves.
	Software = 70
	// TempFail (EX_TEMPFAIL): cannot run now for a reason outside, such as another poller. init starts the bot again
	// after BOT_CONFLICT_DELAY.
	TempFail = 75
	// Config (EX_CONFIG): cannot run as configured. init does not start the bot again by itself.
	Config = 78
	// NotExecutable : the command is there but cannot be executed.
	NotExecutable = 126
	// NotFound : there is no such command.
	NotFound = 127
	// Signal is added to the number of the signal that ended a process.
	Signal = 128
)

// Error is an error that knows the status its process should end with.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// With says that err, when it is not nil, ends the process with code.
func With(code int, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// Of returns the status for err: 0 for nil, the code of the outermost *Error in its chain, else Failure.
func Of(err error) int {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Failure
}
