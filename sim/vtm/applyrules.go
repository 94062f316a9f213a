package vtm

import (
	"time"

	"vtm-ingress/sim/dataplane"
)

// putNamed adds what rules ask for by name to an update. It returns false when the
// data plane does not know the type.
func putNamed(u *dataplane.Update, path, name string, r *resource) bool {
	switch path {
	case "rate":
		set(&u.Rates, name, r, func(r *resource) *dataplane.Rate {
			return &dataplane.Rate{PerSecond: r.number("basic", "max_rate_per_second"), PerMinute: r.number("basic", "max_rate_per_minute")}
		})
	case "service_level_monitors":
		set(&u.ServiceLevels, name, r, func(r *resource) *dataplane.ServiceLevel {
			return &dataplane.ServiceLevel{
				ResponseTime:     time.Duration(r.number("basic", "response_time")) * time.Millisecond,
				SeriousThreshold: r.number("basic", "serious_threshold"),
			}
		})
	case "bandwidth":
		set(&u.BandwidthClasses, name, r, func(*resource) *dataplane.BandwidthClass { return &dataplane.BandwidthClass{} })
	case "rule_authenticators":
		set(&u.Authenticators, name, r, func(r *resource) *dataplane.Authenticator {
			return &dataplane.Authenticator{Host: r.text("basic", "host"), Port: r.number("basic", "port")}
		})
	case "locations":
		set(&u.Locations, name, r, func(r *resource) *dataplane.Location {
			return &dataplane.Location{Latitude: key[float64](r, "basic", "latitude"), Longitude: key[float64](r, "basic", "longitude")}
		})
	case "traffic_managers":
		set(&u.TrafficManagers, name, r, func(r *resource) *dataplane.TrafficManager {
			return &dataplane.TrafficManager{Location: r.text("basic", "location")}
		})
	default:
		return false
	}
	return true
}

// scriptSettings reads section trafficscript of the global settings.
func scriptSettings(r *resource) dataplane.ScriptSettings {
	const section = "trafficscript"
	return dataplane.ScriptSettings{
		RegexMatchLimit:       r.number(section, "regex_match_limit"),
		RegexMatchWarnPercent: r.number(section, "regex_match_warn_percentage"),
		MemoryWarning:         r.number(section, "memory_warning"),
		ExecutionTimeWarning:  time.Duration(r.number(section, "execution_time_warning")) * time.Millisecond,
		DataSize:              r.text(section, "data_size"),
		DataLocalSize:         r.text(section, "data_local_size"),
	}
}
