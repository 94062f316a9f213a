package sandbox

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"vtm-ingress/sim/control"
	"vtm-ingress/sim/kube"
)

// controlPort is that of the traffic managers' control APIs, too.
const controlPort = 9071

// controlServer is the control API of the API server: its faults.
type controlServer struct {
	listener net.Listener
	server   *http.Server
	serving  sync.WaitGroup
}

func serveControl(o Options, s *kube.Server) (*controlServer, error) {
	at := netip.AddrPortFrom(o.Addresses.APIServer.Addr(), controlPort).String()
	l, err := o.World.Listen("kube-apiserver/control", "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("the control API of the emulated Kubernetes API cannot listen on %s: %w", at, err)
	}
	mux := http.NewServeMux()
	control.HandleFaults(mux, func() string { return kube.FormatFaults(s.Faults()) }, func(text string) error {
		rules, err := kube.ParseFaults(text)
		if err == nil {
			s.SetFaults(rules...)
		}
		return err
	})
	c := &controlServer{listener: l, server: &http.Server{
		Handler: control.Local(mux), ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}}
	c.serving.Go(func() { _ = c.server.Serve(l) }) // ends with close
	return c, nil
}

func (c *controlServer) close() {
	_ = c.server.Close()
	c.serving.Wait()
}

// KubernetesControl is where the faults of the API server are set, "host:port"; empty
// if simulated.
func (s *Sandbox) KubernetesControl() string {
	if s.control == nil {
		return ""
	}
	return s.control.listener.Addr().String()
}
