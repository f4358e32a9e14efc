package storage

// Health is how a store fares.
type Health struct {
	State HealthState

	// Open: the store didn't answer lately. Until it does again, which is tried
	// ten times a second, calls fail at once; in a store of several nodes those
	// that need a node which doesn't answer.
	Open bool
}

// HealthState is how much of its work a store can do.
type HealthState string

// The states, from best to worst.
const (
	Healthy  HealthState = "ok"        // all of it
	Evicting HealthState = "evicting"  // all of it, until there is no room: then it forgets what it holds, revocations too
	Full     HealthState = "full"      // there is no room: grants are loaded and ended, but none is created or swapped
	Refusing HealthState = "refusing"  // writes are refused for another reason, the ending of grants included; grants are loaded
	Partial  HealthState = "partial"   // some of its nodes don't answer
	ReadOnly HealthState = "read-only" // it is a copy: what it answers may be outdated by a revocation
	Down     HealthState = "down"      // none
)
