package contract_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"vtm-ingress/controller/reconcile"
	simvtm "vtm-ingress/sim/vtm"
)

// home runs a Home beside a traffic manager and returns what it judges.
func home(t *testing.T, m *manager, others bool, busy func(string) bool) (h *reconcile.Home, judged func() []bool, stop func()) {
	t.Helper()
	var mu sync.Mutex
	var all []bool
	client := m.clientFor(t, m.world, "controller/home", "secret")
	h = reconcile.NewHome(reconcile.HomeOptions{
		World: m.world, Log: slog.New(slog.DiscardHandler), Actor: "controller", Client: client, Others: others,
		Every: 10 * time.Second, Retry: 2 * time.Second, Moment: 9700 * time.Millisecond, Busy: busy,
		Judge: func(fit bool) { mu.Lock(); all = append(all, fit); mu.Unlock() },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	return h, func() []bool { mu.Lock(); defer mu.Unlock(); return append([]bool{}, all...) },
		func() { cancel(); running.Wait(); client.Close() }
}

func idle(string) bool { return false }

func TestATrafficManagerIsJudgedByWhatLasts(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		h, judged, stop := home(t, m, false, idle)
		defer stop()
		settle(time.Second)
		if all := judged(); len(all) != 1 || !all[0] || h.Endpoint() == "" || h.Err() != nil {
			t.Fatalf("judged %v, %v", all, h.Err())
		}
		m.SetFault(simvtm.Fault{Down: true})
		settle(12 * time.Second)
		m.SetFault(simvtm.Fault{})
		settle(time.Minute)
		if all := judged(); len(all) != 1 {
			t.Errorf("a moment's absence counts: %v", all)
		}
		m.SetFault(simvtm.Fault{Down: true})
		settle(25 * time.Second)
		if all := judged(); len(all) != 2 || all[1] || h.Endpoint() != "" {
			t.Errorf("away for 25 s, judged %v", all)
		}
		m.SetFault(simvtm.Fault{})
		settle(5 * time.Second)
		if len(judged()) != 2 {
			t.Error("back for 5 s counts")
		}
		settle(20 * time.Second)
		if all := judged(); len(all) != 3 || !all[2] {
			t.Errorf("back for 25 s, judged %v", all)
		}
	})
}

func TestATrafficManagerThatLeftItsClusterIsNotFit(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		h, judged, stop := home(t, m, true, idle)
		defer stop()
		settle(time.Second)
		if all := judged(); len(all) != 1 || all[0] || !strings.Contains(h.Err().Error(), "it has left the cluster") {
			t.Errorf("judged %v, %v", all, h.Err())
		}
	})
}

func TestATrafficManagerIsNotAskedWhileAChangeIsNotReplicated(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		_, judged, stop := home(t, m, false, func(endpoint string) bool { return endpoint == "http://"+m.RESTAddress() })
		defer stop()
		settle(time.Second)
		if len(judged()) != 1 {
			t.Fatal("the first look was not made")
		}
		m.SetFault(simvtm.Fault{Down: true})
		settle(time.Hour)
		if all := judged(); len(all) != 1 {
			t.Errorf("it was asked: judged %v", all)
		}
	})
}
