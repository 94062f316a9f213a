package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"vtm-ingress/testenv"
)

// availability is what scenarios of high availability have to remember.
type availability struct {
	names  []string // of the controllers
	member map[string]string
	writer string    // when it was last asked for
	holder string    // its name in the Lease: another one with each start
	term   int       // of that writer
	since  time.Time // when something was done to it
	lost   []string  // addresses that a traffic manager served when it was killed
	// who is cut off, from whom
	cutOff, cutFrom string
}

// addAvailabilitySteps adds the words about several controllers and traffic managers.
func (s *scenario) addAvailabilitySteps(steps map[string]any) {
	maps.Copy(steps, map[string]any{
		`^a cluster with (\d+) nodes and (\d+) traffic managers$`:                                s.clusterOfManagers,
		`^a cluster with (\d+) nodes and (\d+) traffic managers that replicate late$`:            s.clusterOfLateManagers,
		`^requests all the time to "([^"]*)" at (\S+)$`:                                          s.probes,
		`^each traffic manager has a controller$`:                                                s.controllerEach,
		`^the writer is (killed|stopped)$`:                                                       s.writerEnds,
		`^the writer is cut off from (Kubernetes|the traffic managers|everything)$`:              s.writerCut,
		`^it is no longer cut off$`:                                                              s.writerHealed,
		`^the writer's traffic manager is killed$`:                                               s.writersManagerKilled,
		`^the traffic manager is started again$`:                                                 s.managersHealed,
		`^the writer and its traffic manager are killed$`:                                        s.writerAndManagerKilled,
		`^the cluster of traffic managers is split in two$`:                                      s.split,
		`^the traffic managers find each other again$`:                                           s.managersHealed,
		`^Kubernetes' API server goes away$`:                                                     func() error { return s.env.KubernetesFaults("away") },
		`^Kubernetes' API server misbehaves by "([^"]*)"$`:                                       func(faults string) error { return s.env.KubernetesFaults(faults) },
		`^Kubernetes' API server is (?:back|well again)$`:                                        func() error { return s.env.KubernetesFaults("") },
		`^another controller is the writer within (the time of the Lease|\d+ seconds?)$`:         s.anotherWrites,
		`^another controller is the writer$`:                                                     s.anotherWritesAtLast,
		`^a controller is the writer$`:                                                           s.somebodyWrites,
		`^the writer is still the same$`:                                                         s.sameWriter,
		`^all controllers are killed and started again$`:                                         s.allRestart,
		`^the controllers are stopped and started again one after the other$`:                    s.rollingUpgrade,
		`^each write names the controller that made it and its term$`:                            s.writesAttributed,
		`^only requests to addresses of that traffic manager have failed, within (\d+) seconds$`: s.failedThereOnly,
		`^each traffic manager has what Ingress "([^"]*)" needs$`:                                s.everywhere,
	})
}

func (s *scenario) clusterOfManagers(ctx context.Context, nodes, managers int) error {
	return s.start(ctx, testenv.Options{Nodes: nodes, TrafficManagers: managers, Lenient: s.lenient, Seed: 1})
}

func (s *scenario) clusterOfLateManagers(ctx context.Context, nodes, managers int) error {
	return s.start(ctx, testenv.Options{Nodes: nodes, TrafficManagers: managers, ReplicateLate: true, Lenient: s.lenient, Seed: 1})
}

// probes is steadyRequests at a pace that lasts for hours of fake time.
func (s *scenario) probes(ctx context.Context, target, address string) error {
	pause := time.Second
	if s.lane.Has(testenv.RealSockets) {
		pause /= 10
	}
	return s.loadOn(ctx, target, address, func(ctx context.Context, actor string) {
		select {
		case <-ctx.Done():
		case <-s.env.World().Clock().After(pause + s.env.World().Jitter(actor, 0, pause/10)):
		}
	}, succeeded)
}

// controllerEach starts a controller for each traffic manager; the first is the writer.
func (s *scenario) controllerEach(ctx context.Context) error {
	s.available.member = map[string]string{}
	for i, member := range s.env.TrafficManagers() {
		name := string(rune('a' + i))
		s.available.names = append(s.available.names, name)
		s.available.member[name] = member
		if err := s.env.StartInstance(ctx, name, member); err != nil {
			return err
		}
		if i == 0 {
			if err := s.somebodyWrites(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// lease is who holds the Lease, "" if nobody does, and in which term.
func (s *scenario) lease(ctx context.Context) (holder string, term int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	lease, err := s.kubernetes.CoordinationV1().Leases("default").Get(ctx, "vtm-ingress-k8s", metav1.GetOptions{})
	if err != nil {
		return "", 0, err
	}
	term, err = strconv.Atoi(lease.Annotations["vtm.pulsesecure.net/term"])
	return ptr.Deref(lease.Spec.HolderIdentity, ""), term, err
}

// awaitWriter waits for a writer that is not was, after a term.
func (s *scenario) awaitWriter(ctx context.Context, was string, after int) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		holder, term, err := s.lease(ctx)
		if err == nil && (holder == "" || holder == was || term <= after) {
			err = fmt.Errorf("%q holds the Lease, term %d", holder, term)
		}
		if err != nil {
			return err
		}
		// "controller/a1_0f3d" is a's first start.
		name, _, _ := strings.Cut(strings.TrimPrefix(holder, "controller/"), "_")
		s.available.writer, s.available.holder, s.available.term = strings.TrimRight(name, "0123456789"), holder, term
		return nil
	})
}

func (s *scenario) somebodyWrites(ctx context.Context) error { return s.awaitWriter(ctx, "", 0) }

// anotherWritesAtLast waits for a writer that is not the one that was.
func (s *scenario) anotherWritesAtLast(ctx context.Context) error {
	return s.awaitWriter(ctx, s.available.holder, s.available.term)
}

// leaseSlack is what a busy machine may add to the time of a take-over.
const leaseSlack = 10 * time.Second

func (s *scenario) anotherWrites(ctx context.Context, limit string) error {
	duration, retry := s.env.LeaseTimes()
	within := duration + retry*44/10 + time.Second
	if seconds, _, number := strings.Cut(limit, " second"); number {
		n, err := strconv.Atoi(seconds)
		if err != nil {
			return err
		}
		within = time.Duration(n) * time.Second
	}
	clock, begin := s.env.World().Clock(), s.available.since
	if err := s.anotherWritesAtLast(ctx); err != nil {
		return err
	}
	if s.lane.Has(testenv.RealSockets) {
		within += leaseSlack
	}
	if took := clock.Since(begin); took > within {
		return fmt.Errorf("another controller became the writer after %v, want %v at most", took, within)
	}
	return nil
}

func (s *scenario) sameWriter(ctx context.Context) error {
	was, term := s.available.holder, s.available.term
	if err := s.somebodyWrites(ctx); err != nil {
		return err
	}
	if s.available.holder != was || s.available.term != term {
		return fmt.Errorf("%q holds the Lease, term %d; it was %s, term %d", s.available.holder, s.available.term, was, term)
	}
	return nil
}

// mark notes when something is done to the writer.
func (s *scenario) mark() { s.available.since = s.env.World().Clock().Now() }

func (s *scenario) writerEnds(how string) {
	s.mark()
	if how == "killed" {
		s.env.KillInstance(s.available.writer)
		return
	}
	s.env.StopInstance(s.available.writer)
	s.mark()
}

var parties = map[string]string{"Kubernetes": "kubernetes", "the traffic managers": "vtm", "everything": "everything"}

func (s *scenario) writerCut(party string) {
	s.mark()
	s.available.cutOff, s.available.cutFrom = s.available.writer, parties[party]
	s.env.Cut(s.available.cutOff, s.available.cutFrom, true)
}

func (s *scenario) writerHealed() { s.env.Cut(s.available.cutOff, s.available.cutFrom, false) }

func (s *scenario) writersManagerKilled() error {
	return s.managerKilled(s.available.member[s.available.writer])
}

// managerKilled notes what a traffic manager serves, and kills it.
func (s *scenario) managerKilled(member string) error {
	s.mark()
	s.available.lost = s.env.Raised(member)
	return s.env.Faults("stop member=" + member)
}

func (s *scenario) writerAndManagerKilled() error {
	s.env.KillInstance(s.available.writer)
	return s.writersManagerKilled()
}

// anotherManagerDown ends the last one: writes go through the first.
func (s *scenario) anotherManagerDown() error {
	members := s.env.TrafficManagers()
	return s.managerKilled(members[len(members)-1])
}

func (s *scenario) managersHealed() error { return s.env.Faults("") }

// split lets the first traffic manager and the others not hear each other.
func (s *scenario) split() error {
	members := s.env.TrafficManagers()
	var rules []string
	for _, other := range members[1:] {
		rules = append(rules, "cut "+other+" member="+members[0])
	}
	return s.env.Faults(strings.Join(rules, "\n"))
}

func (s *scenario) allRestart(ctx context.Context) error {
	s.mark()
	for _, name := range s.available.names {
		s.env.KillInstance(name)
	}
	for _, name := range s.available.names {
		if err := s.env.StartInstance(ctx, name, s.available.member[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) rollingUpgrade(ctx context.Context) error {
	for _, name := range s.available.names {
		s.env.StopInstance(name)
		if err := s.somebodyWrites(ctx); err != nil {
			return err
		}
		if err := s.env.StartInstance(ctx, name, s.available.member[name]); err != nil {
			return err
		}
		if err := s.secondsGoBy(ctx, 3); err != nil {
			return err
		}
	}
	return nil
}

// writesAttributed checks that each write names an instance and a term, that terms only
// grow, and that each is one instance's.
func (s *scenario) writesAttributed() error {
	instances, last := map[int]string{}, 0
	for _, w := range s.env.Writes() {
		var instance string
		var term int
		if _, err := fmt.Sscanf(w.Agent, "vtm-ingress-controller (%s term %d)", &instance, &term); err != nil {
			return fmt.Errorf("%s %s was made by %q", w.Method, w.Path, w.Agent)
		}
		if instances[term] == "" {
			instances[term] = instance
		}
		if instances[term] != instance || term < last {
			return fmt.Errorf("%s %s was made by %s in term %d, after term %d; that one is %s's", w.Method, w.Path, instance, term, last, instances[term])
		}
		last = term
	}
	if last == 0 {
		return errors.New("nothing was written")
	}
	return nil
}

// failedThereOnly checks which of the steady requests failed, and for how long.
func (s *scenario) failedThereOnly(ctx context.Context, seconds int) error {
	s.load.stop()
	within := time.Duration(seconds) * time.Second
	if s.lane.Has(testenv.RealSockets) {
		within += 2 * time.Second
	}
	for _, f := range s.load.failed {
		if after := f.at.Sub(s.available.since); !slices.Contains(s.available.lost, f.address) || after > within {
			return fmt.Errorf("of %d requests %d failed, one of them at %s, %v after the traffic manager was killed, which served %v: %s",
				s.load.total, len(s.load.failed), f.address, after, s.available.lost, f.text)
		}
	}
	if len(s.available.lost) > 0 && len(s.load.failed) == 0 {
		return errors.New("no request failed: they don't show what is lost")
	}
	return nil
}

// everywhere waits until each traffic manager has the virtual server of an Ingress.
func (s *scenario) everywhere(ctx context.Context, ingress string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		path, err := s.resourceOf(ctx, "virtual server", ingress)
		if err != nil {
			return err
		}
		for _, member := range s.env.TrafficManagers() {
			status, _, err := s.env.RESTOf(ctx, member, "GET", path, nil)
			if err != nil || status != 200 {
				return fmt.Errorf("%s: %s: status %d, %w", member, path, status, err)
			}
		}
		return nil
	})
}
