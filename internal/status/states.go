package status

// State is what a process is doing, in one word.
type State string

const (
	Starting  State = "starting" // runs, and has not said yet that it is ready; only one that init listens to
	Running   State = "running"
	Suspended State = "suspended" // there, but a signal has stopped it (state T)
	Standby   State = "standby"   // waits for the lock file, or by itself for the lock between hosts
	Waiting   State = "waiting"   // for its next start, or takes the lock file
	Finished  State = "finished"  // ended with 0
	Failed    State = "failed"    // ended with 78, or cannot be started
	Disabled  State = "disabled"  // ENABLE_TELEGRAM_BOT
	Stopped   State = "stopped"   // by an operator, or because init stops
	Stopping  State = "stopping"
)

// nature is what is true of a state. Whoever adds a state says it here, and nowhere else.
type nature struct {
	ended bool // init has no process of it: a heartbeat that is older than its end is nobody's
}

var natures = map[State]nature{
	Starting:  {},
	Running:   {},
	Suspended: {},
	Standby:   {},
	Waiting:   {ended: true},
	Finished:  {ended: true},
	Failed:    {ended: true},
	Disabled:  {ended: true},
	Stopped:   {ended: true},
	Stopping:  {},
}

// Lives says whether a process may be there, or takes its turn as soon as it may. It is true of a state that is not
// known here: a newer init wrote it, and a process is not taken for dead because of a word.
func (s State) Lives() bool { return !natures[s].ended }
