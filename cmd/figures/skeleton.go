package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/testenv"
	"vtm-ingress/testenv/loopback"
)

// skeleton measures the main job: kubectl apply, and the traffic manager serves it.
func skeleton(ctx context.Context, report func(figure)) error {
	for _, part := range []group{sandboxFigures, latencyFigures, startFigure, writeFigures} {
		if err := part(ctx, report); err != nil {
			return err
		}
	}
	return nil
}

// sandboxFigures starts the sandbox as a user does.
func sandboxFigures(ctx context.Context, report func(figure)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	begin := time.Now()
	box, err := startProgram(ctx, "sandbox")
	if err != nil {
		return err
	}
	defer box.stop()
	if err := box.says("ready"); err != nil {
		return err
	}
	report(atMost("sandbox_ready", round(time.Since(begin).Seconds(), 2), "s", 5))

	if err := pause(ctx, 5*time.Second); err != nil { // what starting left behind settles
		return err
	}
	before, err := box.cpuSeconds()
	if err != nil {
		return err
	}
	const window = 20 * time.Second
	if err := pause(ctx, window); err != nil {
		return err
	}
	after, err := box.cpuSeconds()
	if err != nil {
		return err
	}
	rss, err := box.rssMegabytes()
	if err != nil {
		return err
	}
	report(atMost("sandbox_idle_rss", round(rss, 1), "MB", 200))
	report(atMost("sandbox_idle_cpu", round((after-before)/window.Seconds()*100, 2), "% of a core", 2))
	return nil
}

// bench is a running system with one Deployment, and Ingresses that all lead to it.
type bench struct {
	testenv.Env
	client *kubeclient.Client
}

func newBench(ctx context.Context, settings map[string]string) (*bench, error) {
	return newBenchOf(ctx, testenv.Options{Nodes: 3}, settings)
}

func newBenchOf(ctx context.Context, o testenv.Options, settings map[string]string) (*bench, error) {
	env, err := loopback.Lane{}.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	for name, value := range settings {
		env.Set(name, value)
	}
	b := &bench{Env: env}
	b.client, err = kubeclient.New(env.World(), "figures", env.KubernetesConfig())
	if err == nil {
		err = b.backend(ctx)
	}
	if err != nil {
		env.Close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	b.client.Close()
	b.Env.Close()
}

// address of the n-th Ingress: each has a dedicated one.
func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 20, byte(n / 250), byte(1 + n%250)})
}

// create makes the n-th Ingress.
func (b *bench) create(ctx context.Context, n int) error {
	_, err := b.client.NetworkingV1().Ingresses("default").Create(ctx, ingress(n), metav1.CreateOptions{})
	return err
}

// createMany makes Ingresses from..to-1 with eight clients.
func (b *bench) createMany(ctx context.Context, from, to int) error {
	numbers := make(chan int)
	failures := make(chan error, 8)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for n := range numbers {
				if err := b.create(ctx, n); err != nil {
					select {
					case failures <- err:
					default:
					}
				}
			}
		})
	}
	for n := from; n < to; n++ {
		numbers <- n
	}
	close(numbers)
	clients.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

// untilServed asks for the n-th Ingress until a pod answers.
func (b *bench) untilServed(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return b.Dial(ctx, "figures", netip.AddrPortFrom(address(n), 80))
		},
	}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://host-%d.example/", n), nil)
		if err != nil {
			return err
		}
		response, err := transport.RoundTrip(request)
		if err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("Ingress %d is not served after a minute: %v", n, err)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

func (b *bench) allServed(ctx context.Context, to int) error {
	for n := range to {
		if err := b.untilServed(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// oneMore is the median of the time from the API server's acknowledgement of a new
// Ingress to the first right answer on the data plane.
func (b *bench) oneMore(ctx context.Context, first, samples int) (time.Duration, error) {
	var times []time.Duration
	for n := first; n < first+samples; n++ {
		if err := b.create(ctx, n); err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := b.untilServed(ctx, n); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	fmt.Fprintf(os.Stderr, "one more Ingress live: min %v, median %v, max %v of %d\n", times[0], times[samples/2], times[samples-1], samples)
	return times[samples/2], nil
}

// quiet is a resync period that does not fall into a measurement.
var quiet = map[string]string{"resync_period": "10m"}

func latencyFigures(ctx context.Context, report func(figure)) error {
	b, err := newBench(ctx, quiet)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.StartController(ctx); err != nil {
		return err
	}
	const few, many, samples = 10, 1000, 41
	if err := b.createMany(ctx, 0, few); err != nil {
		return err
	}
	if err := b.allServed(ctx, few); err != nil {
		return err
	}
	withFew, err := b.oneMore(ctx, 5000, samples)
	if err != nil {
		return err
	}
	for n := 5000; n < 5000+samples; n++ {
		if err := b.client.NetworkingV1().Ingresses("default").Delete(ctx, ingress(n).Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	if err := b.createMany(ctx, few, many); err != nil {
		return err
	}
	if err := b.allServed(ctx, many); err != nil {
		return err
	}
	withMany, err := b.oneMore(ctx, 6000, samples)
	if err != nil {
		return err
	}
	report(atMost("new_ingress_live_p50_with_10", milliseconds(withFew), "ms", 30))
	report(atMost("new_ingress_live_p50_with_1000", milliseconds(withMany), "ms", 30))
	report(atMost("new_ingress_live_1000_to_10", round(withMany.Seconds()/withFew.Seconds(), 2), "times", 1.5))
	return nil
}

func startFigure(ctx context.Context, report func(figure)) error {
	b, err := newBench(ctx, quiet)
	if err != nil {
		return err
	}
	defer b.close()
	const ingresses = 1000
	if err := b.createMany(ctx, 0, ingresses); err != nil {
		return err
	}
	begin := time.Now()
	if err := b.StartController(ctx); err != nil {
		return err
	}
	if err := b.allServed(ctx, ingresses); err != nil {
		return err
	}
	report(atMost("start_with_1000_new", round(time.Since(begin).Seconds(), 2), "s", 10))
	return nil
}

func writeFigures(ctx context.Context, report func(figure)) error {
	b, err := newBench(ctx, map[string]string{"resync_period": "1s"})
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.StartController(ctx); err != nil {
		return err
	}
	if err := b.createMany(ctx, 0, 1); err != nil {
		return err
	}
	if err := b.untilServed(ctx, 0); err != nil {
		return err
	}
	before := len(b.Writes())
	_, err = b.client.AppsV1().Deployments("default").Patch(ctx, "figures", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if err := b.replicas(ctx, 2); err != nil {
		return err
	}
	err = b.Eventually(ctx, func(context.Context) error {
		if len(b.Writes()) == before {
			return fmt.Errorf("the new pod's node was not written")
		}
		return nil
	})
	if err != nil {
		return err
	}
	time.Sleep(time.Second) // a second write would be here by now
	// Exactly one: above and below both fall short.
	report(atMost("endpoint_change_writes_beside_1", math.Abs(float64(len(b.Writes())-before)-1), "writes", 0))
	before = len(b.Writes())
	if err := pause(ctx, 10*time.Second+500*time.Millisecond); err != nil {
		return err
	}
	report(atMost("ten_resyncs_writes", float64(len(b.Writes())-before), "writes", 0))
	return nil
}

func milliseconds(d time.Duration) float64 { return round(d.Seconds()*1000, 2) }

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}
