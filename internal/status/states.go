package status

// State is what a process is doing, in one word.
type State string

const (
	Starting State = "starting" // runs, and has not said yet that it is ready; only one that init listens to
	Running  State = "running"
	Standby  State = "standby"  // waits for the polling lock, by itself or by init
	Waiting  State = "waiting"  // for its next start
	Finished State = "finished" // ended with 0
	Failed   State = "failed"   // ended with 78, or cannot be started
	Disabled State = "disabled" // ENABLE_TELEGRAM_BOT
	Stopped  State = "stopped"  // by an operator
	Stopping State = "stopping"
)

// nature is what is true of a state. Whoever adds a state says it here, and nowhere else.
type nature struct {
	ended bool // no process is there, and none is about to take the lock
}

var natures = map[State]nature{
	Starting: {},
	Running:  {},
	Standby:  {},
	Waiting:  {ended: true},
	Finished: {ended: true},
	Failed:   {ended: true},
	Disabled: {ended: true},
	Stopped:  {ended: true},
	Stopping: {},
}

// Lives says whether a process may be there, or takes its turn as soon as it may. It is true of a state that is not
// known here: a newer init wrote it, and a process is not taken for dead because of a word.
func (s State) Lives() bool { return !natures[s].ended }
