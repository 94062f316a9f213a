package controller

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/certs"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
)

// metrics are what Prometheus may ask.
type metrics struct {
	rounds    *prometheus.CounterVec
	requests  *prometheus.CounterVec
	writes    *prometheus.CounterVec
	ingresses *prometheus.GaugeVec
	live      prometheus.Histogram
	duration  prometheus.Histogram
	writer    prometheus.Gauge
	usable    prometheus.Gauge
	retries   prometheus.Counter
	drift     prometheus.Counter
	ordering  prometheus.Gauge
	orders    *prometheus.CounterVec
	read      prometheus.Gauge
	heard     *prometheus.Desc
	expiry    *prometheus.Desc
	next      *prometheus.Desc
	home      *prometheus.Desc

	mu       sync.Mutex
	outcomes map[types.NamespacedName]translate.Outcome // of the Ingresses of ours
	counts   map[translate.Outcome]int                  // how many of each
	watcher  *kube.Watcher                              // of the controller that runs; nil: none does
	issuer   *certs.Manager                             // of the same
	at       *reconcile.Home                            // that controller's
	expires  map[*corev1.Secret]time.Time               // what certificates looked up at the last scrape
}

// newMetrics makes them, and registers them unless into is nil.
func newMetrics(into prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		outcomes: map[types.NamespacedName]translate.Outcome{}, counts: map[translate.Outcome]int{},
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vtm_ingress_write_retries_total",
			Help: "Writes to the traffic manager that repeat one that failed.",
		}),
		drift: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "vtm_ingress_drift_total",
			Help: "Resources of ours that somebody else changed or deleted on the traffic manager, and that were put right.",
		}),
		ordering: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vtm_ingress_certificate_orders_under_way",
			Help: "Orders of certificates that are under way at the certificate authority.",
		}),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vtm_ingress_certificate_orders_total",
			Help: "Orders of certificates that have ended, by result: ok, failed.",
		}, []string{"result"}),
		read: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vtm_ingress_traffic_manager_read_timestamp_seconds",
			Help: "When all was read back from the traffic manager the last time, as Unix time; 0: never.",
		}),
		heard: prometheus.NewDesc("vtm_ingress_kubernetes_heard_timestamp_seconds",
			"When the Kubernetes API server last answered or sent something for a resource, as Unix time: how old the cache of it may be.", []string{"resource"}, nil),
		home: prometheus.NewDesc("vtm_ingress_own_traffic_manager_healthy",
			"1 if this instance's own traffic manager answers and is in the cluster: else other instances should be the writer.", nil, nil),
		expiry: prometheus.NewDesc("vtm_ingress_certificate_expiry_timestamp_seconds",
			"When the certificate of a Secret that a served Ingress names expires, as Unix time.", []string{"namespace", "name"}, nil),
		next: prometheus.NewDesc("vtm_ingress_certificate_next_attempt_timestamp_seconds",
			"When the order of a certificate that failed or waits, for a limit say, is tried again, as Unix time.", []string{"namespace", "name"}, nil),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vtm_ingress_reconcile_rounds_total",
			Help: "Passes from what Kubernetes holds to the traffic manager, by result: ok, failed (some writes), trouble (the traffic manager can't be used), standby.",
		}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vtm_ingress_rest_requests_total",
			Help: "Requests to the traffic manager's REST API, by method, type of resource and status (0: no answer).",
		}, []string{"method", "type", "status"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "vtm_ingress_writes_total",
			Help: "Writes to the traffic manager, by result: ok, failed.",
		}, []string{"result"}),
		ingresses: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "vtm_ingress_ingresses",
			Help: "Ingresses of ours, by verdict: programmed, degraded, rejected.",
		}, []string{"verdict"}),
		live: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "vtm_ingress_change_to_live_seconds",
			Help:    "Time from when an Ingress's new verdict was first seen to when all that it needs was on the traffic manager.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "vtm_ingress_reconcile_duration_seconds",
			Help:    "Duration of a round of the writer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		writer: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vtm_ingress_writer",
			Help: "1 if this instance is the one that writes.",
		}),
		usable: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "vtm_ingress_traffic_manager_usable",
			Help: "1 if the traffic manager could be used at the last attempt of the writer.",
		}),
	}
	if into == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.rounds, m.requests, m.writes, m.ingresses, m.live, m.duration, m.writer, m.usable, m.retries, m.drift, m.ordering, m.orders, m.read, m} {
		if err := into.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) request(method, resource string, status int) {
	m.requests.WithLabelValues(method, resource, strconv.Itoa(status)).Inc()
}

func (m *metrics) orderBegan() { m.ordering.Inc() }

func (m *metrics) orderEnded(err error) {
	m.ordering.Dec()
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.orders.WithLabelValues(result).Inc()
}

func (m *metrics) round(r reconcile.Round) {
	result := "ok"
	switch {
	case !r.Writing:
		result = "standby"
	case r.Trouble != nil:
		result = "trouble"
	case r.Failed > 0:
		result = "failed"
	}
	m.rounds.WithLabelValues(result).Inc()
	m.writer.Set(number(r.Writing))
	if !r.ObservedAt.IsZero() {
		m.read.Set(float64(r.ObservedAt.UnixNano()) / 1e9)
	}
	counts := m.judge(r)
	for outcome, name := range map[translate.Outcome]string{
		translate.Complete: "programmed", translate.Degraded: "degraded", translate.Rejected: "rejected",
	} {
		m.ingresses.WithLabelValues(name).Set(float64(counts[outcome]))
	}
	if !r.Writing {
		return
	}
	m.usable.Set(number(r.Trouble == nil))
	m.duration.Observe(r.Ended.Sub(r.Began).Seconds())
	m.writes.WithLabelValues("ok").Add(float64(r.Writes - r.Failed))
	m.writes.WithLabelValues("failed").Add(float64(r.Failed))
	m.retries.Add(float64(r.Retries))
	m.drift.Add(float64(r.Drift))
	for _, d := range r.Live {
		m.live.Observe(d.Seconds())
	}
}

// judge takes over the verdicts that changed, and returns how many Ingresses have
// which outcome: its work is not proportional to all of them.
func (m *metrics) judge(r reconcile.Round) map[translate.Outcome]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range r.Judged {
		if old, ok := m.outcomes[name]; ok {
			m.counts[old]--
			delete(m.outcomes, name)
		}
		if v := r.Says.Of(r.Result.Verdicts[name]); v != nil {
			m.outcomes[name] = v.Outcome
			m.counts[v.Outcome]++
		}
	}
	return maps.Clone(m.counts)
}

// begin notes which controller the metrics are of from now on.
func (m *metrics) begin(watcher *kube.Watcher, issuer *certs.Manager, home *reconcile.Home) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watcher, m.issuer, m.at, m.expires = watcher, issuer, home, nil
	clear(m.outcomes)
	clear(m.counts)
}

// Describe is a prometheus.Collector's, of what is looked up at each scrape.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.heard
	to <- m.expiry
	to <- m.next
	to <- m.home
}

// Collect is a prometheus.Collector's.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watcher == nil {
		return
	}
	to <- prometheus.MustNewConstMetric(m.home, prometheus.GaugeValue, number(m.at.Err() == nil))
	for resource, at := range m.watcher.Heard() {
		to <- prometheus.MustNewConstMetric(m.heard, prometheus.GaugeValue, float64(at.UnixNano())/1e9, resource)
	}
	for name, state := range m.issuer.State().States {
		if !state.Next.IsZero() {
			to <- prometheus.MustNewConstMetric(m.next, prometheus.GaugeValue, float64(state.Next.Unix()), name.Namespace, name.Name)
		}
	}
	snapshot := m.watcher.Snapshot()
	if snapshot == nil {
		return
	}
	// Parsed once as long as the Secret stays what it is.
	expires := map[*corev1.Secret]time.Time{}
	for name, outcome := range m.outcomes {
		ingress := snapshot.Ingresses.Get(name)
		if outcome == translate.Rejected || ingress == nil {
			continue
		}
		for _, entry := range ingress.Spec.TLS {
			secret := snapshot.Secrets.Get(types.NamespacedName{Namespace: name.Namespace, Name: entry.SecretName})
			if _, done := expires[secret]; secret == nil || done {
				continue
			}
			at, known := m.expires[secret]
			if !known {
				at = expiryOf(secret)
			}
			expires[secret] = at
			if !at.IsZero() {
				to <- prometheus.MustNewConstMetric(m.expiry, prometheus.GaugeValue, float64(at.Unix()), secret.Namespace, secret.Name)
			}
		}
	}
	m.expires = expires
}

// expiryOf is the end of a Secret's certificate, the first in it; zero if it holds
// none.
func expiryOf(secret *corev1.Secret) time.Time {
	block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
	if block == nil {
		return time.Time{}
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{} // its Ingresses are told
	}
	return certificate.NotAfter
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
