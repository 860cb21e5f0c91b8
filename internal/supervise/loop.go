package supervise

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// Executor carries out what Step decides. The Loop calls it from one goroutine only.
type Executor interface {
	// Start starts the process and returns Started or StartFailed.
	Start(ID) Event
	// Send, SendGroup, Suspend, SendStrays and KillAll are the actions of these names. Whoever has gone is no error.
	Send(pid int, a Send)
	SendGroup(pgid int, a SendGroup)
	Suspend()
	SendStrays()
	KillAll()
	// Name is the action; pgid is the group's number, or 0 for everybody.
	Name(pgid int, kills bool)
	// TakeLock and ReleaseLock return at once; answers come as events.
	TakeLock(wish int)
	ReleaseLock()
	Say(Say)

	// Peek returns a child that has ended, without collecting it; false when there is none now.
	Peek() (Child, bool)
	// Suspended says which signal has stopped the leader pid, or that it goes on, which is 0; false for no news.
	Suspended(pid int) (by syscall.Signal, changed bool)
	// Collect lets the child of the last Peek go.
	Collect(pid int)
	// Childless says whether there is no child at all.
	Childless() bool
	// GroupEmpty says whether nobody is left in the group that the ended leader pgid had.
	GroupEmpty(pgid int) bool

	// Publish tells others what has become of the processes; then is called when they can know.
	Publish(s State, orphans int, then func())
	// Emergency ends everything without the policy, which has failed, and returns the status to end with.
	Emergency(reason string) int
}

// Child is a child of init that ended.
type Child struct {
	PID int
	LeaderEnded
}

// Request is an event from another goroutine. Reply, if there is one, is called once: for an Ask with what came of it,
// for any other event once it has been taken in, with the zero Outcome.
type Request struct {
	Event Event
	Reply func(Outcome)
}

// Loop is the one owner of the state.
type Loop struct {
	Config   *Config
	Executor Executor
	Requests <-chan Request   // from control and lock
	Children <-chan os.Signal // SIGCHLD
	Stop     <-chan os.Signal // SIGTERM, SIGINT and SIGQUIT: a burst of others must not hold them up
	Others   <-chan os.Signal
	// OwnGoroutine has the loop go on in a goroutine of its own after Begin. The caller, which is locked to the main
	// thread, then makes no more calls there. The kernel gives signals to that thread first, also while a call of it
	// hangs.
	OwnGoroutine bool

	state   State
	queue   []Event
	reply   func(Outcome) // of the request that is under way
	asked   PendingAsk    // the Ask that is under way
	waiters []waiter
	orphans int
	code    int

	published        State // what others were told last
	publishedOrphans int
}

// waiter is an operator's request that was granted and is not fulfilled yet. At lookAgainAt that may change without an
// event.
type waiter struct {
	PendingAsk
	lookAgainAt time.Time
	reply       func(Outcome)
}

// maxReapsAtOnce is how many children are collected before the loop looks at signals again, in a storm of orphans.
const maxReapsAtOnce = 4096

// Run runs until init is to end and returns the status for it. Where a process is to die with its parent, Run must be
// called on a goroutine that is locked to the main thread, without OwnGoroutine.
func (l *Loop) Run() (code int) {
	defer func() {
		if r := recover(); r != nil {
			code = l.Executor.Emergency(fmt.Sprint("panic: ", r))
		}
	}()
	l.handle(Begin{})
	end := make(chan int, 1)
	if l.OwnGoroutine {
		go l.goOn(end)
	} else {
		l.goOn(end)
	}
	return <-end
}

// goOn is all that comes after Begin. It puts the status into end.
func (l *Loop) goOn(end chan<- int) {
	defer func() {
		if r := recover(); r != nil {
			l.code = l.Executor.Emergency(fmt.Sprint("panic: ", r))
		}
		end <- l.code
	}()
	l.loop()
}

func (l *Loop) loop() {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for again := l.settle(); !l.state.Exited; again = l.settle() {
		timer.Stop()
		if again {
			timer.Reset(0)
		} else if next := l.next(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case r := <-l.Requests:
			l.reply = r.Reply
			l.handle(r.Event)
			l.answer(Outcome{})
		case <-l.Children:
			l.lookAtSuspended()
		case sig := <-l.Stop:
			l.handle(Signal{sig.(syscall.Signal)})
		case sig := <-l.Others:
			l.handle(Signal{sig.(syscall.Signal)})
		case <-timer.C:
			l.lookAtGroups() // first: a group that is empty by now must get no signal
			l.handle(Tick{})
		}
	}
	for _, w := range l.waiters {
		w.reply(refused("init is stopping"))
	}
}

// handle steps through e and all that follows from it.
func (l *Loop) handle(e Event) {
	l.queue = append(l.queue, e)
	if ask, ok := e.(Ask); ok {
		l.asked = l.state.Pending(ask, time.Now())
	}
	for len(l.queue) > 0 {
		e, l.queue = l.queue[0], l.queue[1:]
		var actions []Action
		l.state, actions = l.state.Step(l.Config, time.Now(), e)
		for _, a := range actions {
			l.carryOut(a)
		}
	}
}

func (l *Loop) carryOut(a Action) {
	switch a := a.(type) {
	case Start:
		l.queue = append(l.queue, l.Executor.Start(a.ID))
	case Send:
		l.Executor.Send(l.state.Procs[a.ID].PID, a)
	case SendGroup:
		l.Executor.SendGroup(l.state.Procs[a.ID].PID, a)
	case Suspend:
		l.Executor.Suspend()
	case SendStrays:
		l.Executor.SendStrays()
	case KillAll:
		l.Executor.KillAll()
	case Name:
		pgid := 0
		if !a.Everybody {
			pgid = l.state.Procs[a.ID].PID
		}
		l.Executor.Name(pgid, a.Kills)
	case TakeLock:
		l.Executor.TakeLock(a.Wish)
	case ReleaseLock:
		l.Executor.ReleaseLock()
	case GrantAsk:
		if l.reply != nil {
			l.waiters = append(l.waiters, waiter{PendingAsk: l.asked, reply: l.reply})
			l.reply = nil
		}
	case RefuseAsk:
		l.answer(refused(a.Reason))
	case Say:
		l.Executor.Say(a)
	case Exit:
		l.code = a.Code
	}
}

// answer replies to the request under way, if nobody did.
func (l *Loop) answer(o Outcome) {
	if l.reply != nil {
		l.reply(o)
		l.reply = nil
	}
}

// settle looks for ended children and empty groups, and tells others what has changed. True says that there is more to
// be looked at.
func (l *Loop) settle() (again bool) {
	again = true
	for range maxReapsAtOnce {
		child, ok := l.Executor.Peek()
		if !ok {
			again = false
			break
		}
		if id, ok := l.leader(child.PID); ok {
			child.LeaderEnded.ID = id
			l.handle(child.LeaderEnded)
		} else {
			l.orphans++
		}
		l.Executor.Collect(child.PID)
	}
	l.lookAtGroups()
	if l.state.Stopping && !again && l.Executor.Childless() {
		l.handle(Childless{})
	}
	// A signal that is passed on changes nothing to be seen, and many a notice does not. So they cost no writing.
	visible, then := l.state.visible(), l.fulfilled()
	if then != nil || visible != l.published || l.orphans != l.publishedOrphans {
		l.published, l.publishedOrphans = visible, l.orphans
		l.Executor.Publish(l.state, l.orphans, then)
	}
	return again
}

// visible is s without what View does not show and what changes often.
func (s State) visible() State {
	for id := range s.Procs {
		s.Procs[id].AliveBy = time.Time{}
	}
	return s
}

func (l *Loop) lookAtGroups() {
	for id := range l.state.Procs {
		if p := l.state.Procs[id]; p.Phase == Emptying && l.Executor.GroupEmpty(p.PID) {
			l.handle(GroupEmpty{ID(id)})
		}
	}
}

func (l *Loop) lookAtSuspended() {
	for id := range l.state.Procs {
		if p := l.state.Procs[id]; p.Phase == Alive || p.Phase == Ending {
			if by, changed := l.Executor.Suspended(p.PID); changed {
				l.handle(Suspended{ID(id), by})
			}
		}
	}
}

func (l *Loop) leader(pid int) (ID, bool) {
	for id, p := range l.state.Procs {
		if p.PID == pid && (p.Phase == Alive || p.Phase == Ending) {
			return ID(id), true
		}
	}
	return 0, false
}

// fulfilled is what answers those whose request is carried out by now, or has come to something else; nil for nobody.
func (l *Loop) fulfilled() func() {
	var done []func()
	var left []waiter
	for _, w := range l.waiters {
		o, lookAgainAt := l.state.Outcome(l.Config, w.PendingAsk, time.Now())
		if o == (Outcome{}) {
			w.lookAgainAt = lookAgainAt
			left = append(left, w)
			continue
		}
		done = append(done, func() { w.reply(o) })
	}
	l.waiters = left
	if done == nil {
		return nil
	}
	return func() {
		for _, reply := range done {
			reply()
		}
	}
}

// next is when there is something to do without an event; zero for never.
func (l *Loop) next() time.Time {
	next := l.state.Next()
	for _, w := range l.waiters {
		if next.IsZero() || w.lookAgainAt.Before(next) {
			next = w.lookAgainAt
		}
	}
	return next
}
