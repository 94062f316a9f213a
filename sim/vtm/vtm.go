package vtm

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/internal/facts"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/trafficscript"
)

// AnyPort as Options.RESTPort picks a free port.
const AnyPort = -1

// Options say what a traffic manager is.
type Options struct {
	World outside.World
	Log   *slog.Logger

	// Name of the traffic manager, as in traffic_managers and in the machines of
	// Traffic IP Groups: a host name or an IP address.
	Name string
	// Address is this machine's IP address: where the REST API listens, and what
	// listen_on_any means.
	Address string
	// RESTPort is the port of the REST API; 0 is 9070.
	RESTPort int
	// AdminPort is the port of the admin pages; 0: there are none, AnyPort picks a
	// free one. They need TLS, so not PlainHTTP.
	AdminPort int
	// Users may use the REST API and the admin pages: name -> password.
	Users map[string]string
	// Groups of users: user -> name of an entry of user_groups, whose permission
	// "all" says what they may do. Users without one are of the group Admin.
	Groups map[string]string
	// Strict refuses what a real traffic manager accepts although it can't work:
	// dangling references, rules that do not compile, keys that do not match their
	// certificate, deletion of what is in use.
	Strict bool
	// AddressMap says where addresses of Traffic IP Groups and nodes are on this
	// machine; nil leaves every address as it is.
	AddressMap *dataplane.AddressMap
	// Certificate of the REST API; nil makes a self-signed one.
	Certificate *tls.Certificate
	// PlainHTTP serves REST without TLS, for simulation.
	PlainHTTP bool
	// Data is a folder that keeps the configuration; empty: it is kept in memory
	// only.
	Data string
	// ReplicateAtOnce sets replicate_lull to 0 when the configuration is made, so
	// that a change is on all members when it is answered.
	ReplicateAtOnce bool
	// AllowPrograms lets actions of the type program run on this machine; whoever may
	// write over REST then chooses what runs.
	AllowPrograms bool
	// PerClientTransports is the data plane's option of that name, for simulation.
	PerClientTransports bool
}

// TrafficManager is one emulated traffic manager. Its methods may be called from
// several goroutines.
type TrafficManager struct {
	// Set by Start, never changed.
	o           Options
	schema      *schema
	store       *store
	data        *dataplane.DataPlane
	strict      *strict // nil unless Options.Strict
	uuid        string
	started     time.Time
	certificate *tls.Certificate // nil with PlainHTTP
	server      *http.Server
	stop        context.CancelFunc // ends the context of all requests
	ended       <-chan struct{}    // closed by that
	serving     sync.WaitGroup     // the server's goroutine, and one for each connection
	admin       *adminServer       // nil without AdminPort

	// writing holds one token; whoever has it may write to the store. A channel,
	// not a mutex: the data plane may take its time to apply a change, and under
	// fake time only a wait on a channel lets time pass.
	writing chan struct{}

	// Of a member of a cluster; nil and unused otherwise.
	cluster     *Cluster
	gate        *gate
	replication replication
	health      *health
	sessions    sessionExchange
	loops       sync.WaitGroup // heartbeat, replication, and requests that are repeated

	disk  *disk // nil: memory only
	shelf *backupShelf

	eventFile *eventFile // nil: memory only

	// Guarded by themselves.
	sockets   restListeners
	record    record
	reactions reactions
	fault     atomic.Pointer[Fault]
	// otherCertificate is what the REST API presents by a fault; nil: its own.
	otherCertificate atomic.Pointer[tls.Certificate]
	lastWrite        atomic.Int64 // when the configuration last changed, Unix nanoseconds
	logins           logins
	admission        admission
}

// Limits of the REST API's server.
const (
	headerTimeout = 10 * time.Second // until a request's header is complete
	bodyTimeout   = 60 * time.Second // until its body is
	idleTimeout   = 60 * time.Second // unless rest_api!http_keep_alive_timeout is set
	writeTimeout  = 60 * time.Second // for another change to take effect first
	maxHeader     = 64 << 10         // whatever rest_api!http_max_header_length says
)

// Start makes a traffic manager on its own, with the configuration of a new one
// unless Options.Data holds another. Its REST API answers when Start returns.
// Errors name the address that cannot be used, or the file that is damaged.
func Start(o Options) (*TrafficManager, error) {
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		return nil, err
	}
	return start(o, sch, nil)
}

// start makes a traffic manager; member is what the cluster knows of it, nil for
// one on its own.
func start(o Options, sch *schema, m *member) (*TrafficManager, error) {
	if o.Name == "" || o.Address == "" || o.World == nil || o.Log == nil {
		return nil, errors.New("a traffic manager needs World, Log, Name and Address")
	}
	o.Users, o.Groups = maps.Clone(o.Users), maps.Clone(o.Groups)
	t := &TrafficManager{
		o: o, schema: sch, store: newStore(sch),
		started: o.World.Clock().Now(),
		writing: make(chan struct{}, 1),
	}
	if o.AllowPrograms {
		t.reactions.programs = make(chan programRun, actionQueue)
	}
	var err error
	t.lastWrite.Store(t.started.UnixNano())
	t.fault.Store(&Fault{})
	if t.uuid, err = newUUID(o.World.Rand("vtm/" + o.Name + "/uuid")); err != nil {
		return nil, err
	}
	if o.Data != "" {
		if t.disk, err = openDisk(o.Data, sch); err != nil {
			return nil, err
		}
		if t.uuid, err = t.disk.uuid(t.uuid); err != nil {
			return nil, err
		}
	}
	if t.shelf, err = openBackups(o.Data); err != nil {
		return nil, err
	}
	dataWorld := o.World
	libraries := &trafficscript.Libraries{}
	if m != nil {
		libraries = &m.cluster.libraries
		t.join(m)
		dataWorld = memberWorld{o.World, m.cluster.wire, m.gate}
	}
	if o.Strict {
		t.strict = newStrict(t.store, sch, libraries)
	}
	if !o.PlainHTTP {
		if t.certificate == nil {
			t.certificate = o.Certificate
		}
		if t.certificate == nil {
			if t.certificate, err = selfSigned(o, "certificate"); err != nil {
				return nil, fmt.Errorf("a certificate for traffic manager %s: %w", o.Name, err)
			}
		}
	}
	if err := t.listenHome(); err != nil {
		return nil, fmt.Errorf("traffic manager %s: %w", o.Name, err)
	}
	t.data = dataplane.New(dataplane.Options{
		World: dataWorld, Log: o.Log, Name: o.Name, Address: o.Address, AddressMap: o.AddressMap,
		Events: t.logEvent, PerClientTransports: o.PerClientTransports, AllowPrograms: o.AllowPrograms,
		Elsewhere: t.elsewhere, Libraries: libraries,
	})
	if err = t.openLog(); err == nil {
		err = t.install(m)
	}
	if err != nil {
		t.sockets.end()
		t.data.Close()
		t.closeLogs()
		return nil, err
	}
	t.logEvent(dataplane.Event{Level: "INFO", Section: "general", Tag: "running", Text: "Traffic manager " + o.Name + " is running"})

	ctx, stop := context.WithCancel(context.Background())
	t.stop, t.ended = stop, ctx.Done()
	t.server = &http.Server{
		Handler:           http.HandlerFunc(t.serve),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// The real one speaks HTTP/1.1 only: vtm/rest.md §2.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ErrorLog:     slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		BaseContext:  func(net.Listener) context.Context { return ctx },
		ConnState: func(c net.Conn, state http.ConnState) {
			t.admission.changed(c, state)
			switch state {
			case http.StateNew: // by the server's own goroutine
				t.serving.Add(1)
			case http.StateIdle:
				if conn := cuttable(c); conn != nil {
					conn.idleFor(t.globalSettings().seconds("rest_api", "http_keep_alive_timeout"))
				}
			case http.StateClosed: // the last thing of a connection's goroutine
				t.serving.Done()
			}
		},
	}
	if o.AdminPort != 0 {
		if t.admin, err = t.serveAdmin(); err != nil {
			t.Close()
			return nil, err
		}
	}
	t.sockets.begin(func(l net.Listener) {
		if t.certificate != nil {
			l = tls.NewListener(l, &tls.Config{GetCertificate: t.presented, MinVersion: tls.VersionTLS12, Time: o.World.Clock().Now})
		}
		t.serving.Go(func() { _ = t.server.Serve(l) }) // ends with Close, or when the socket closes
	})
	if t.reactions.programs != nil {
		t.loops.Go(func() { t.runPrograms(ctx) })
	}
	if m != nil {
		t.loops.Go(func() { t.beatLoop(ctx) })
		t.loops.Go(func() { t.replicateLoop(ctx) })
	}
	return t, nil
}

// refuses tells whether new connections to the REST API are closed at once.
func (t *TrafficManager) refuses() bool {
	return t.fault.Load().Down || t.cluster != nil && t.cluster.faulty(t.o.Name, "down")
}

// Close ends the REST API, its open connections and the data plane, and waits
// for all of them. A second call does nothing.
func (t *TrafficManager) Close() {
	t.stop()
	t.admin.close()
	t.sockets.end()
	_ = t.server.Close()
	t.sockets.cut()  // a connection that was accepted while the server closed
	t.serving.Wait() // so no write is under way from here on
	t.loops.Wait()
	t.data.Close()
	t.closeLogs()
}

// RESTAddress is "host:port" of the REST API; the first one if it has several.
func (t *TrafficManager) RESTAddress() string { return t.sockets.address() }

// Fingerprint is the SHA-256 of the REST API's certificate, in lower-case hex;
// empty with Options.PlainHTTP.
func (t *TrafficManager) Fingerprint() string {
	if t.certificate == nil {
		return ""
	}
	sum := sha256.Sum256(t.certificate.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// CertificatePEM is the REST API's certificate with its chain; empty with
// Options.PlainHTTP.
func (t *TrafficManager) CertificatePEM() []byte {
	var out []byte
	if t.certificate != nil {
		for _, der := range t.certificate.Certificate {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
	}
	return out
}

// presented is the certificate that a client of the REST API gets.
func (t *TrafficManager) presented(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if other := t.otherCertificate.Load(); other != nil {
		return other, nil
	}
	return t.certificate, nil
}

// DataPlane is what serves the traffic of this traffic manager.
func (t *TrafficManager) DataPlane() *dataplane.DataPlane { return t.data }

// newUUID makes a version 4 UUID.
func newUUID(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("no randomness for a UUID: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
