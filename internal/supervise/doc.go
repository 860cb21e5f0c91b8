// Package supervise decides what init does: when a process is started, stopped, killed or left alone, and with
// which status init ends.
//
// The policy is one pure function, State.Step: a state, an event and the time go in, the next state and a list of
// actions come out. It knows no process, file or clock, so that every order of events can be tried in fake time.
// The loop (Loop.Run) is the only one that calls it. It turns what happens into events, and has an Executor carry the
// actions out, all in one goroutine.
//
//	             ┌────────────────────── operator: start ──────────────────────┐
//	             ▼                                                             │
//	Locking ─────────▶ Alive ──── its leader ended ────▶ Emptying ─────────▶ Resting   finished, failed, stopped
//	 ▲  (the bot's    │   ▲                               ▲    │
//	 │   lock taken)  └─▶ Ending (asked to end) ──────────┘    │
//	 │                                                         ▼
//	 └───────────────────── the delay is over ───────────── Waiting
//
// An Alive process that the Executor listens to is starting until it says that it is ready. A bot that is late with
// that, or silent, is taken for hung: it goes the way of Ending, and counts as crashed. What became of an operator's
// request is another pure function, State.Outcome.
//
// What it promises:
//   - the bot is started only with the polling lock in hand, and only after the group of the one before is empty;
//   - after a stop was asked for, or after the critical process ended, nothing is started any more;
//   - a stop ends at its deadline, whatever the processes do, and within half a second of it;
//   - the bot's end never changes the status that init ends with.
//
// It leaves to the Executor how a process is started, signalled and waited for, and to cmd/init what the settings are.
package supervise
