package simulation

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/sim/network"
)

// Options of a run.
type Options struct {
	// Seed decides all that is not said here.
	Seed uint64
	// Steps is how many things users do, one each 15 s on average; 0 is 40. The run
	// ends after the last, and after all has become quiet. A prefix of a run's steps
	// is the run with fewer.
	Steps int
	// Only, if set, is what fails alone: Writers, Members or Late.
	Only string
	// Upgrade, if set, is called when the system runs and nothing failed yet, while all
	// controllers are stopped. They are started again after it, so that what it switches
	// on is a change of what ran well.
	Upgrade func() `json:"-"`
	// Trace, if set, records each request of each part.
	Trace *network.Trace `json:"-"`
}

// What may fail alone.
const (
	Writers = "writers" // controllers end
	Members = "members" // traffic managers end
	Late    = "late"    // writes land late, or twice
)

// Result is what came of a run.
type Result struct {
	Options
	Violations []Violation // none: all held
	Timeline   []string    // what was done and failed, an entry a line, in its order
	Last       []string    // of a run with violations: the last writes, and log lines of controllers
	Simulated  time.Duration
	Faults     int // that were injected
	Writes     int // of configuration, by all controllers
	// Requests by clients, those of them that failed, and those that failed while a
	// fault of the data path excuses it.
	Requests, Failed, Excused int
	// Elsewhere are requests that failed, while a traffic manager was stopped, on an
	// address that it did not have.
	Elsewhere int
	// LongestLoss is the longest time from the beginning of a fault of the data path to a
	// request that failed because of it.
	LongestLoss time.Duration
	// TakeOvers are the times from a writer's end to the next one's lease: of those that
	// were killed, and of those that were stopped in an orderly way, while another one
	// could have it at once.
	TakeOvers, HandOvers []time.Duration
	// Drifts is how often what nobody wants was written: by hand, late, or a second time;
	// and LongestDrift the longest time until it was put right.
	Drifts       int
	LongestDrift time.Duration
}

// Violation is something that must not be.
type Violation struct {
	At        time.Duration // since the run began
	Invariant int           // its number in docs/simulation.md; 0: the run itself went wrong
	Text      string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s invariant %d: %s", clock(v.At), v.Invariant, v.Text)
}

// String is the result for whoever looks into it.
func (r *Result) String() string {
	var b strings.Builder
	for _, line := range r.Timeline {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "seed %d, %d steps, %s simulated, %d faults, %d writes, %d requests of which %d failed and %d of these excused, %d drifts of %s at most\n",
		r.Seed, r.Steps, clock(r.Simulated), r.Faults, r.Writes, r.Requests, r.Failed, r.Excused, r.Drifts, r.LongestDrift.Round(time.Millisecond))
	for _, line := range r.Last {
		fmt.Fprintln(&b, line)
	}
	for _, v := range r.Violations {
		fmt.Fprintln(&b, v)
	}
	return b.String()
}

func clock(d time.Duration) string {
	d = d.Round(time.Millisecond)
	return fmt.Sprintf("%02d:%02d:%06.3f", int(d.Hours()), int(d.Minutes())%60, (d % time.Minute).Seconds())
}

// chance draws from the seed: the same for the same name and number.
type chance struct{ seed uint64 }

// below is at least 0 and less than n.
func (c chance) below(n int, name string, number int) int {
	return int(network.Hash(c.seed, "simulation/"+name, uint64(number)) % uint64(n))
}

// between is at least low and less than high, by the nanosecond.
func (c chance) between(low, high time.Duration, name string, number int) time.Duration {
	return low + time.Duration(network.Hash(c.seed, "simulation/"+name, uint64(number))%uint64(high-low))
}

// run is one run at work.
type run struct {
	Options
	chance
	begin  time.Time
	system *system
	pods   sync.Map // path of a Pod: whether it can't become ready
	// stepping: a user is about to change something.
	stepping atomic.Bool

	mu     sync.Mutex // guards result and what clients share
	result Result
	active []activeFault // data path faults, and those that ended
	// underWay are the faults that last at this moment, by number.
	underWay map[int]Fault
	worlds   []*world // what Kubernetes held lately, the present one last
	// hadSecond: secondClass was there when it was last looked; secondLost is when it was
	// found gone last, 0: never.
	hadSecond  bool
	secondLost time.Duration
	known      look // when the present one was made; zero: it must be looked at anew
	// fingerprints of all certificates that Secrets ever held.
	fingerprints map[string]bool
	kept         map[string]string // those of the Secrets that faults take away
	keys         []string          // pieces of all private keys so far
	// ended is the identity of a writer that ended, when, and how; none waits for its
	// successor if endedHow is empty.
	ended    string
	endedAt  time.Duration
	endedHow string
	// writerEnded has something once endedHow is set; its capacity is 1.
	writerEnded chan struct{}
	// manifests of objects that faults take away, and those that are away, by kind and
	// name.
	manifests map[string]string
	// repeated is when requests to traffic managers were, or may still have been, repeated.
	repeated time.Time
	// settingsBefore are the values of settings before faults changed them.
	settingsBefore map[string]string
	takenAway      map[string]taken
}

// event is something that the run does at its time.
type event struct {
	at   time.Duration
	name string // tells those of one instant apart
	do   func(ctx context.Context)
}

// Run makes one run, inside a testing/synctest bubble. It returns when every part
// has ended.
func Run(o Options) *Result {
	if o.Steps == 0 {
		o.Steps = 40
	}
	network.SeedChance(o.Seed)
	r := &run{Options: o, chance: chance{o.Seed}, begin: time.Now(), fingerprints: map[string]bool{}, manifests: map[string]string{}, settingsBefore: map[string]string{}, underWay: map[int]Fault{}, kept: map[string]string{}, writerEnded: make(chan struct{}, 1)}
	r.result.Options = o
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		cancel()
		if r.system != nil {
			r.system.close()
		}
		r.result.Simulated = time.Since(r.begin)
		// Dials and unread bodies keep goroutines of net/http for up to 90 s.
		time.Sleep(2 * time.Minute)
	}()
	if err := r.start(ctx); err != nil {
		r.violate(0, "the system does not start: %v", err)
		return &r.result
	}
	if err := r.settle(ctx); err != nil {
		r.violate(0, "before anything failed: %v", err)
		return &r.result
	}
	r.learn()
	clients := r.startClients(ctx)
	defer clients.stop()
	if o.Upgrade != nil {
		r.upgrade()
	}
	r.play(ctx, r.script())
	if !r.violated() {
		r.heal()
		r.quiet(ctx)
	}
	writes := r.system.box.TrafficManagers.Writes()
	r.result.Writes = len(writes)
	r.judgeDrifts(writes)
	if r.violated() {
		for _, w := range writes[max(0, len(writes)-40):] {
			r.result.Last = append(r.result.Last, fmt.Sprintf("%s %s %s by %s", clock(w.Time.Sub(r.begin)), w.Method, w.Path, w.User))
		}
		lines := strings.Split(strings.TrimSpace(r.system.log.String()), "\n")
		r.result.Last = append(r.result.Last, lines[max(0, len(lines)-40):]...)
	}
	return &r.result
}

// upgrade replaces all controllers.
func (r *run) upgrade() {
	for _, c := range r.system.controllers {
		r.system.stop(c)
	}
	r.Upgrade()
	for _, c := range r.system.controllers {
		r.system.launch(c)
	}
	r.note("all controllers are replaced")
}

// script lists what happens, in its order.
func (r *run) script() []event {
	from := r.now()
	var events []event
	at := from
	for n := range r.Steps {
		at += r.between(5*time.Second, 25*time.Second, "gap", n)
		events = append(events, event{at, fmt.Sprintf("step %d", n), func(ctx context.Context) { r.step(ctx, n) }})
	}
	last := at
	for n := 0; ; n++ {
		begin := from + time.Duration(n)*time.Minute + r.between(0, 55*time.Second, "fault/begin", n)
		if begin > last {
			break
		}
		f := r.draw(n)
		end := begin + f.lasts
		events = append(events,
			event{begin, fmt.Sprintf("fault %d begins", n), func(context.Context) { r.inject(f) }},
			event{end, fmt.Sprintf("fault %d ends", n), func(context.Context) { r.undo(f) }})
	}
	sort.Slice(events, func(i, j int) bool {
		if events[i].at != events[j].at {
			return events[i].at < events[j].at
		}
		return events[i].name < events[j].name
	})
	// What begins after the last step is not part of it.
	return slices.DeleteFunc(events, func(e event) bool { return e.at > last })
}

// play does everything at its time, and looks after each whether all holds. It ends
// with the first violation.
func (r *run) play(ctx context.Context, events []event) {
	for _, e := range events {
		if wait := e.at - r.now(); wait > 0 {
			time.Sleep(wait)
		}
		r.stepping.Store(true)
		e.do(ctx)
		r.look()
		r.stepping.Store(false)
		if r.violated() {
			return
		}
	}
}

func (r *run) now() time.Duration { return time.Since(r.begin) }

// note adds a line to the timeline.
func (r *run) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Timeline = append(r.result.Timeline, clock(r.now())+" "+fmt.Sprintf(format, args...))
}

// violate notes what must not be.
func (r *run) violate(invariant int, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := Violation{At: r.now(), Invariant: invariant, Text: fmt.Sprintf(format, args...)}
	for _, known := range r.result.Violations {
		if known.Invariant == v.Invariant && known.Text == v.Text {
			return
		}
	}
	r.result.Violations = append(r.result.Violations, v)
	r.result.Timeline = append(r.result.Timeline, v.String())
}

func (r *run) violated() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.result.Violations) > 0
}
