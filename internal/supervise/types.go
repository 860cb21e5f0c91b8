package supervise

import (
	"log/slog"
	"strconv"
	"syscall"
	"time"

	"tandem/internal/exitcode"
	"tandem/internal/sdnotify"
	"tandem/internal/status"
)

// ID is one of the two processes, an index into State.Procs.
type ID int

const (
	// Web is the critical process: its end is init's end. In the mode with one command it is that command.
	Web ID = iota
	// Bot is the optional one.
	Bot
	count
)

// Config is what the policy goes by. It does not change while init runs, but for Notify before a start.
type Config struct {
	Names    [count]string // "" for a process that this init does not have
	Disabled string        // why the bot is not to be started at all, "" when it is
	Broken   string        // why the bot cannot be started as configured, "" when it can

	StopTimeout     time.Duration
	RestartDelay    time.Duration
	RestartDelayMax time.Duration
	ConflictDelay   time.Duration
	SuccessExit     []int                 // statuses of web that count as 0
	StopSignal      [count]syscall.Signal // what asks a process to end; 0 for the usual one, see State.stopWith

	// Notify says which process is listened to (sd_notify(3)): it is starting until it says that it is ready.
	Notify       [count]bool
	StartTimeout time.Duration // for the bot to say so; 0 for any time
	Watchdog     time.Duration // within which the bot must show life once it is ready; 0 for no watchdog

	// CommandOnly is for `init -- COMMAND`: no signal means stop, all go to the command's group.
	CommandOnly bool
	SingleChild bool                              // they go to the command alone, and nobody else is waited for or ended
	Rewrite     map[syscall.Signal]syscall.Signal // what is passed on in place of a signal, 0 for nothing
	// Jitter returns a number from [0,1). It is the only thing from outside that Step asks for.
	Jitter func() float64
}

// Times that no setting changes.
const (
	longRun           = 60 * time.Second       // after a run as long as this the delays begin anew
	maxConflictDelay  = 5 * time.Minute        // unless BOT_CONFLICT_DELAY is longer
	secondSignalAfter = 250 * time.Millisecond // docker and the kubelet may send the first one twice
	handOverWait      = 25 * time.Millisecond  // from the lock's release until we compete for it: whoever waits is first
	pollGroupEvery    = 100 * time.Millisecond // while a group empties, whose members may be another's children
	killEvery         = 20 * time.Millisecond  // SIGKILL is repeated, against those who fork meanwhile
	waitAfterKill     = 400 * time.Millisecond // for what SIGKILL has not ended yet
	tryWebFor         = 2 * time.Second        // that cannot be started for now: its file may just be written
	tryWebEvery       = 50 * time.Millisecond  //
	beatEvery         = 250 * time.Millisecond // while something is to end: how init notices that it did not run itself
	timeAfterPause    = time.Second            // at least, to end, for who did not run either
	namedAfter        = time.Second            // whoever keeps a stop waiting so long is named
)

// Phase is where a process is in its life; see the drawing in the package comment.
type Phase uint8

const (
	Resting Phase = iota
	Waiting
	Locking
	Alive
	Ending
	Emptying
)

// Proc is what is known of one process. It has no pointer into anything that changes.
type Proc struct {
	Phase     Phase
	Since     time.Time    // when it came into the state that View shows
	RestState status.State // what a Resting one is called

	Reason      string // why it does not run, or stands by, or is ended; set by because and becauseItEnded
	ReasonOfEnd bool   // Reason tells of LastEnd, and not of what came later
	InARow      int    // with ReasonOfEnd: how many such ends there were in a row; 0 where they are not counted

	PID        int // of the leader while Alive or Ending, and of the group while Emptying
	StartedAt  time.Time
	Starts     int
	Failures   int // crashes in a row, and starts that failed for now
	Conflicts  int // ends with 75 in a row
	LostLocks  int // of these, how many last ones were for a lock that had lost its file
	NextStart  time.Time
	TryUntil   time.Time // web: until when a start that failed for now is tried again; zero for none that did
	StartAgain bool      // once it has ended: an operator's restart
	KillAt     time.Time // when what is left of its group is killed; zero for never
	PollAt     time.Time // when to look at its group again
	NameAt     time.Time // when to name whoever of its group is left; zero for never

	StandsBy    bool           // Locking: another has the lock. Alive: the process says that it waits for one
	Ready       bool           // Alive, and it has said so or is not listened to
	Leaving     bool           // Alive, and it has said that it stops
	StatusText  string         // what it said last that it is doing
	StartBy     time.Time      // when it must be ready; zero for never
	AliveBy     time.Time      // when it must have shown life, or be gone if Leaving; zero for never
	SuspendedBy syscall.Signal // Alive, and this signal has stopped it (state T); 0 for none
	HungReason  string         // why init ends it although nobody asked for that; "" for no such end

	HasEnded bool // LastEnd counts
	LastEnd  End
}

// because says why it does not run.
func (p *Proc) because(reason string) { p.Reason, p.ReasonOfEnd, p.InARow = reason, false, 0 }

// becauseItEnded says that it does not run because of its last end, which was one of n in a row.
func (p *Proc) becauseItEnded(reason string, n int) {
	p.Reason, p.ReasonOfEnd, p.InARow = reason, true, n
}

// End is how a process ended.
type End struct {
	At     time.Time
	Code   int            // 0 to 255; 128+n for signal n
	Signal syscall.Signal // 0 for an ordinary end
	Reason string
	Ran    time.Duration // 0 for one that could not be started
	OOM    bool
}

// State is everything that the policy remembers.
type State struct {
	Procs    [count]Proc
	LockHeld bool // the Executor has the polling lock for us
	Wish     int  // of the last TakeLock

	Stopping    bool
	StopAt      time.Time // when a signal asked for the stop first; zero while none has
	Quit        bool      // and it was SIGQUIT
	Deadline    time.Time // of the stop
	NameAt      time.Time // when to name whoever is left; zero for never
	Beat        time.Time // the next look at the clock while something is to end; zero while nothing is
	Killed      bool      // SIGKILL to everything was sent
	KilledAt    time.Time // when it was sent first
	KillAt      time.Time // the next round of it
	StraysAsked bool      // what left its group was asked to end
	Code        int       // what init will end with
	StopCause   string    // why init stops
	Fault       bool      // init itself failed: Code is fixed
	Exited      bool
}

// Event is something that happened. Each is a struct of its own below.
type Event interface{ event() }

type (
	// Begin is the first event.
	Begin struct{}
	// Tick says that the time of State.Next has come. One too many changes nothing.
	Tick struct{}
	// Started says that the leader of ID runs.
	Started struct {
		ID  ID
		PID int
	}
	// StartFailed says that ID could not be started.
	StartFailed struct {
		ID        ID
		Code      int  // 126 or 127
		Temporary bool // for lack of memory, processes or disk
		Reason    string
	}
	// LeaderEnded comes while the leader's number still cannot be given to another process.
	LeaderEnded struct {
		ID     ID
		Code   int
		Signal syscall.Signal
		Detail string // what else is known of it, in words
		OOM    bool   // the kernel killed it for want of memory
	}
	// Suspended says that a signal has stopped the leader of ID (state T), or with 0, that SIGCONT has woken it.
	Suspended struct {
		ID ID
		By syscall.Signal
	}
	// GroupEmpty says that nobody is left in the group of ID.
	GroupEmpty struct{ ID ID }
	// Childless says that no descendant of init is left at all. It need only be said while State.Stopping.
	Childless struct{}
	// LockTaken, LockBusy and LockFailed answer the TakeLock with the same Wish; an answer to an older one is
	// nobody's any more.
	LockTaken struct{ Wish int }
	LockBusy  struct {
		Wish   int
		Reason string
	}
	LockFailed struct {
		Wish      int
		Reason    string
		Temporary bool // for lack of memory, descriptors or disk
	}
	// LockLost says that the lock's file had been taken away or replaced by the time the lock of that wish was given up.
	LockLost struct{ Wish int }
	// Noticed is what the process with the leader PID said of itself.
	Noticed struct {
		ID  ID
		PID int
		sdnotify.Notice
	}
	// Signal is one that init received.
	Signal struct{ Signal syscall.Signal }
	// Ask is an operator's request. GrantAsk or RefuseAsk is the action that follows; State.Outcome says what becomes of
	// a granted one.
	Ask struct {
		Verb string // start, stop, restart
		ID   ID
	}
	// Fault says that init itself failed.
	Fault struct{ Reason string }
)

func (Begin) event()       {}
func (Tick) event()        {}
func (Started) event()     {}
func (StartFailed) event() {}
func (LeaderEnded) event() {}
func (Suspended) event()   {}
func (GroupEmpty) event()  {}
func (Childless) event()   {}
func (LockTaken) event()   {}
func (LockBusy) event()    {}
func (LockFailed) event()  {}
func (LockLost) event()    {}
func (Noticed) event()     {}
func (Signal) event()      {}
func (Ask) event()         {}
func (Fault) event()       {}

// Action is something that the Executor is to do, in the order given.
type Action interface{ action() }

type (
	// Start starts ID; Started or StartFailed answers.
	Start struct{ ID ID }
	// Send sends a signal to the leader of ID.
	Send struct {
		ID     ID
		Signal syscall.Signal
	}
	// SendGroup sends a signal to what is left of the group of ID.
	SendGroup struct {
		ID     ID
		Signal syscall.Signal
	}
	// Suspend stops init itself, as a signal of job control wants; PID 1 cannot be stopped.
	Suspend struct{}
	// SendStrays asks every descendant to end.
	SendStrays struct{}
	// KillAll kills every descendant.
	KillAll struct{}
	// TakeLock asks for the polling lock; LockBusy may answer and then LockTaken or LockFailed does.
	TakeLock struct{ Wish int }
	// ReleaseLock gives up the polling lock, or the wait for it.
	ReleaseLock struct{}
	// GrantAsk says that the Ask under way is being carried out.
	GrantAsk struct{}
	// RefuseAsk says that the Ask under way is not.
	RefuseAsk struct{ Reason string }
	// Name has the log name who is left of the group of ID, or with everybody, of all descendants: whom init waits for,
	// or with kills, whom it is about to kill.
	Name struct {
		ID        ID
		Everybody bool
		Kills     bool
	}
	// Say is a line for the log.
	Say struct {
		Level slog.Level
		Text  string
		Attrs []slog.Attr
	}
	// Exit ends init.
	Exit struct{ Code int }
)

func (Start) action()       {}
func (Send) action()        {}
func (SendGroup) action()   {}
func (Suspend) action()     {}
func (SendStrays) action()  {}
func (KillAll) action()     {}
func (TakeLock) action()    {}
func (ReleaseLock) action() {}
func (GrantAsk) action()    {}
func (RefuseAsk) action()   {}
func (Name) action()        {}
func (Say) action()         {}
func (Exit) action()        {}

// meaning is an exit code or a signal in words.
func meaning(code int, sig syscall.Signal) string {
	if sig != 0 {
		return "killed by " + SignalName(sig)
	}
	switch code {
	case exitcode.OK:
		return "0: done"
	case exitcode.TempFail:
		return "75: cannot run now"
	case exitcode.Config:
		return "78: cannot run as configured"
	}
	return "crashed with " + strconv.Itoa(code)
}
