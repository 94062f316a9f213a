package dataplane

import "time"

// ScriptSettings is section trafficscript of the global settings, but for
// variable_pool_use and max_instr. regex_cache_size is stored only: each run keeps
// the default number of patterns.
type ScriptSettings struct {
	RegexMatchLimit       int // steps of one match; 0: the default
	RegexMatchWarnPercent int // of RegexMatchLimit
	MemoryWarning         int // bytes of a message that a rule keeps in memory before a warning; 0: no warning
	ExecutionTimeWarning  time.Duration
	DataSize              string // of data.*: "5%" of 1 GiB, "64MB"; "": the default
	DataLocalSize         string // of data.local.*
}

// Rate is an entry of rate. 0 is no limit.
type Rate struct{ PerSecond, PerMinute int }

// ServiceLevel is an entry of service_level_monitors.
type ServiceLevel struct {
	ResponseTime     time.Duration // of a response that conforms, at most
	SeriousThreshold int           // percent
}

// BandwidthClass is an entry of bandwidth: rules may name it, nothing is slowed
// down by it.
type BandwidthClass struct{}

// Authenticator is an entry of rule_authenticators. Its server is outside of the
// traffic manager and not asked: auth.query says so.
type Authenticator struct {
	Host string
	Port int
}

// Location is an entry of locations, in degrees.
type Location struct{ Latitude, Longitude float64 }

// TrafficManager is an entry of traffic_managers.
type TrafficManager struct{ Location string }

// storeSize returns the bytes that a store may hold; "" is the default, 5 %.
func storeSize(text string) int {
	if text == "" {
		text = "5%"
	}
	return int(byteSize(text, machineMemory))
}
