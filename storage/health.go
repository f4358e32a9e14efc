package storage

// Health is the state of a store.
type Health struct {
	State HealthState

	// Open: the store didn't answer lately. Calls fail at once until it answers
	// again, which is tried ten times a second. In a store of several nodes,
	// only calls that need a silent node fail.
	Open bool
}

// HealthState is how much of its work a store can do.
type HealthState string

// The states, from best to worst.
const (
	Healthy  HealthState = "ok"        // all of it
	Evicting HealthState = "evicting"  // all of it; but without room it forgets what it holds, revocations too
	Full     HealthState = "full"      // no room: grants can be loaded and ended, but not created or swapped
	Refusing HealthState = "refusing"  // writes are refused for another reason, also the ending of grants; grants can be loaded
	Partial  HealthState = "partial"   // some of its nodes don't answer
	ReadOnly HealthState = "read-only" // a copy: its answers may miss a revocation
	Down     HealthState = "down"      // none of it
)
