package vtm

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"vtm-ingress/internal/outside"
)

const (
	// DefaultParallel is how many requests are under way at most.
	DefaultParallel = 8
	// DefaultTimeout bounds one request, connecting and reading the answer included.
	DefaultTimeout = 10 * time.Second
	// maxAnswer bounds an answer's body in bytes.
	maxAnswer = 32 << 20
	// userAgent of requests that change nothing, or are made by hand.
	userAgent = "vtm-ingress-controller"
	// hungAfter is after how many requests in a row without an answer a member that
	// accepts connections is taken for dead.
	hungAfter = 3
)

// Options for New.
type Options struct {
	World outside.World
	Log   *slog.Logger
	// Actor names the connections ("controller/a/vtm").
	Actor string
	// Endpoints are the members' REST URLs, e.g. "https://10.0.0.1:9070", at least
	// one. The first that answers is kept as long as it answers.
	Endpoints          []string
	Username, Password string
	TLS                TLS
	// Timeout of one request; 0 is DefaultTimeout.
	Timeout time.Duration
	// Parallel requests at most; 0 is DefaultParallel.
	Parallel int
	// Observe, if set, is told each answered or failed request: its method, the
	// resource's type or folder, and the status (0: no answer).
	Observe func(method, resource string, status int)
}

// Client talks to one traffic manager cluster, through one member at a time,
// since members learn of each other's changes only seconds later (vtm/rest.md
// §5). All methods may be called from several goroutines; what is requested
// through Each is sent in a repeatable order.
type Client struct {
	options   Options
	endpoints []string
	lanes     []*lane
	// authorization is the value of the header of that name.
	authorization []string

	mu         sync.Mutex
	current    int // index of the endpoint in use
	unanswered int // requests in a row that endpoint didn't answer
}

// lane is one connection's worth of requests, sent one after another.
type lane struct {
	token chan struct{} // holds one token: who has it may send
	http  *http.Client  // of which only the Transport sends: no redirect, no cookie
}

// NewClient makes a Client; it connects when it is first used. The errors are
// mistakes in the options.
func NewClient(o Options) (*Client, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Parallel == 0 {
		o.Parallel = DefaultParallel
	}
	if len(o.Endpoints) == 0 {
		return nil, errors.New("traffic manager: no REST URL: set vtm_endpoints")
	}
	c := &Client{options: o, authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(o.Username+":"+o.Password))}}
	for _, endpoint := range o.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
			return nil, fmt.Errorf("traffic manager: %q is not a REST URL: want https://HOST:9070", endpoint)
		}
		c.endpoints = append(c.endpoints, u.Scheme+"://"+u.Host)
	}
	tlsConfig, err := o.TLS.config()
	if err != nil {
		return nil, fmt.Errorf("traffic manager: %w", err)
	}
	for i := range o.Parallel {
		l := &lane{token: make(chan struct{}, 1), http: o.World.HTTPClient(o.Actor+"/"+strconv.Itoa(i), tlsConfig.Clone())}
		l.token <- struct{}{}
		c.lanes = append(c.lanes, l)
	}
	return c, nil
}

// Close closes idle connections. The owner calls it once no request is under way.
func (c *Client) Close() {
	for _, l := range c.lanes {
		l.http.CloseIdleConnections()
	}
}

// Endpoint returns the REST URL of the member in use.
func (c *Client) Endpoint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoints[c.current]
}

// Use goes on with the member of that REST URL, as Endpoint tells it, until it does
// not answer. It reports whether that is one of the endpoints.
func (c *Client) Use(endpoint string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.endpoints, endpoint)
	if i >= 0 && i != c.current {
		c.current, c.unanswered = i, 0
	}
	return i >= 0
}

// Through is for requests to one member alone.
type Through struct {
	c               *Client
	endpoint, agent string
}

// Through is for requests through the member of that REST URL alone: they fail with
// ErrElsewhere once another one is in use, since that one may lack what was written
// through this one. agent is what the traffic manager is told who asks, as
// User-Agent.
func (c *Client) Through(endpoint, agent string) *Through { return &Through{c, endpoint, agent} }

// ErrElsewhere is what errors.Is finds when a request was not sent since its member is
// not the one in use any more.
var ErrElsewhere = errors.New("another traffic manager is in use by now")

// Put is Client.Put through this member.
func (t *Through) Put(ctx context.Context, r *Resource) (*Resource, error) { return t.c.put(ctx, t, r) }

// Delete is Client.Delete through this member.
func (t *Through) Delete(ctx context.Context, id ID) error { return t.c.delete(ctx, t, id) }

// Each calls do for each id, several at a time, and returns when all calls have.
// Which calls run one after another, and in which order, depends on the ids
// alone. do must make its requests for its id only.
func (c *Client) Each(ids []ID, do func(ID)) {
	byLane := make([][]ID, len(c.lanes))
	for _, id := range ids {
		n := c.laneOf(configPath(id))
		byLane[n] = append(byLane[n], id)
	}
	var all sync.WaitGroup
	for _, mine := range byLane {
		if len(mine) == 0 {
			continue
		}
		if len(mine) == len(ids) {
			// All on one lane: no goroutine needed.
			for _, id := range mine {
				do(id)
			}
			break
		}
		all.Go(func() {
			for _, id := range mine {
				do(id)
			}
		})
	}
	all.Wait()
}

// laneOf spreads paths evenly, whatever names have in common: FNV left every other lane
// empty where an Ingress and its Service had the same name.
func (c *Client) laneOf(path string) int {
	return int(xxhash.Sum64String(path) % uint64(len(c.lanes)))
}

// List returns the names of all resources of a type, sorted.
func (c *Client) List(ctx context.Context, t Type) ([]string, error) {
	return c.children(ctx, string(t), everyName)
}

// Members returns the names of the cluster's traffic managers, sorted.
func (c *Client) Members(ctx context.Context) ([]string, error) {
	return c.children(ctx, "traffic_managers", everyName)
}

// ListSome is List of the names that are wanted. Of the thousands that aren't nothing is
// kept; name lasts until wanted returns.
func (c *Client) ListSome(ctx context.Context, t Type, wanted func(name []byte) bool) ([]string, error) {
	return c.children(ctx, string(t), wanted)
}

// rooms are for answers of which nothing is kept as it came, and for bodies while they
// grow.
var rooms = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// inRoom sends a request, and has read take from the answer what is to be kept.
func (c *Client) inRoom(ctx context.Context, r request, read func(a *answer) error) error {
	room := rooms.Get().(*bytes.Buffer)
	defer rooms.Put(room)
	room.Reset()
	r.into = room
	a, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	return read(a)
}

func everyName([]byte) bool { return true }

func (c *Client) children(ctx context.Context, folder string, wanted func(name []byte) bool) (names []string, err error) {
	err = c.inRoom(ctx, request{method: http.MethodGet, path: folderPath(folder), resource: folder}, func(a *answer) error {
		var err error
		if names, err = decodeChildren(a.body, wanted); err != nil {
			return a.garbage(err.Error())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Get reads one resource, without the keys at their default (Resource.Value).
// Without one the error is ErrNotFound.
func (c *Client) Get(ctx context.Context, id ID) (*Resource, error) {
	get := request{method: http.MethodGet, path: configPath(id), resource: string(id.Type)}
	if id.Type.IsFile() {
		a, err := c.do(ctx, get)
		if err != nil {
			return nil, err
		}
		return a.resource(id)
	}
	return c.resource(ctx, get, id)
}

// resource sends a request that is answered with a JSON resource.
func (c *Client) resource(ctx context.Context, to request, id ID) (r *Resource, err error) {
	err = c.inRoom(ctx, to, func(a *answer) (err error) {
		r, err = a.resource(id)
		return err
	})
	return r, err
}

// Put creates a resource, or sets those keys of it that r names and leaves the
// others. It returns the resource as the traffic manager stores it now, as Get does.
func (c *Client) Put(ctx context.Context, r *Resource) (*Resource, error) { return c.put(ctx, nil, r) }

func (c *Client) put(ctx context.Context, through *Through, r *Resource) (*Resource, error) {
	to := request{through: through, method: http.MethodPut, path: configPath(r.ID), resource: string(r.Type), file: r.Type.IsFile()}
	if to.file {
		if to.body = r.Content; to.body == nil {
			to.body = []byte{}
		}
		if _, err := c.do(ctx, to); err != nil {
			return nil, err
		}
		return r, nil // the answer's body is empty; the bytes are stored as they are
	}
	to.body = encode(r.settings)
	return c.resource(ctx, to, r.ID)
}

// Delete removes a resource. One that is missing already is a success.
func (c *Client) Delete(ctx context.Context, id ID) error { return c.delete(ctx, nil, id) }

func (c *Client) delete(ctx context.Context, through *Through, id ID) error {
	_, err := c.do(ctx, request{through: through, method: http.MethodDelete, path: configPath(id), resource: string(id.Type)})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Information is what the member in use tells about itself.
type Information struct {
	Version string `json:"tm_version"`
	// UUID may be empty while the traffic manager starts.
	UUID string `json:"uuid"`
	// Date is the traffic manager's clock, to the second; zero if it does not tell.
	Date time.Time `json:"-"`
}

// Information reads version and identity of the member in use.
func (c *Client) Information(ctx context.Context) (Information, error) {
	return c.InformationOf(ctx, "local_tm")
}

// InformationOf reads, through the member in use, version and identity of the member of
// that name.
func (c *Client) InformationOf(ctx context.Context, member string) (Information, error) {
	const resource = "status/information"
	path := "status/" + url.PathEscape(member) + "/information"
	var answer struct {
		Information *Information `json:"information"`
	}
	a, err := c.read(ctx, path, resource, &answer)
	if err != nil {
		return Information{}, err
	}
	if answer.Information == nil {
		return Information{}, a.garbage(`no "information" in it`)
	}
	answer.Information.Date, _ = http.ParseTime(a.date) // zero if there is none
	return *answer.Information, nil
}

// NameOf says which of members bears an identity, which Information tells; "" if none
// that is there does.
func (c *Client) NameOf(ctx context.Context, uuid string, members []string) string {
	for _, name := range members {
		// One that is away is not it.
		if other, err := c.InformationOf(ctx, name); err == nil && other.UUID == uuid {
			return name
		}
	}
	return ""
}

// read gets one resource's JSON into a value. The answer is for what else it tells,
// and to say what was wrong with it.
func (c *Client) read(ctx context.Context, path, resource string, into any) (*answer, error) {
	a, err := c.do(ctx, request{method: http.MethodGet, path: path, resource: resource})
	if err != nil {
		return nil, err
	}
	if err := decodeJSON(a.body, into); err != nil {
		return nil, a.garbage(err.Error())
	}
	return a, nil
}

// Replication is when a member tells the others of a change (vtm/rest.md §5).
type Replication struct {
	// Lull is the pause in requests that it waits for, Absolute after what time from
	// the change it waits no longer, Timeout how long it then tries.
	Lull, Absolute, Timeout time.Duration
}

// UsualReplication is a traffic manager's default.
var UsualReplication = Replication{Lull: 5 * time.Second, Absolute: 20 * time.Second, Timeout: 10 * time.Second}

// Ends is how long after a change all members that can be reached have it, whatever
// requests come meanwhile.
func (r Replication) Ends() time.Duration {
	if r.Lull == 0 {
		return r.Timeout // it begins at once
	}
	return r.Absolute + r.Timeout
}

// Replication reads when a member tells the others of a change.
func (c *Client) Replication(ctx context.Context) (Replication, error) {
	const path = "global_settings"
	var answer struct {
		Properties struct {
			API *struct {
				Lull     int64 `json:"replicate_lull"`
				Absolute int64 `json:"replicate_absolute"`
				Timeout  int64 `json:"replicate_timeout"`
			} `json:"rest_api"`
		} `json:"properties"`
	}
	a, err := c.read(ctx, "config/active/"+path, path, &answer)
	if err != nil {
		return Replication{}, err
	}
	api := answer.Properties.API
	if api == nil {
		return Replication{}, a.garbage(`no "rest_api" in it`)
	}
	seconds := func(n int64) time.Duration { return time.Duration(n) * time.Second }
	return Replication{seconds(api.Lull), seconds(api.Absolute), seconds(api.Timeout)}, nil
}

// answer is one successful answer.
type answer struct {
	request, endpoint string
	status            int
	date              string // when it was answered, as it came
	body              []byte
	secret            bool // the body must not be quoted
}

func (a *answer) resource(id ID) (*Resource, error) {
	r, err := decode(id, a.body)
	if err != nil {
		return nil, a.garbage(err.Error())
	}
	return r, nil
}

func (a *answer) garbage(why string) error {
	what := quote(a.body)
	if a.secret {
		what = strconv.Itoa(len(a.body)) + " bytes"
		why = "not the API's JSON"
	}
	return &Error{
		Kind: Garbage, Request: a.request, Endpoint: a.endpoint, Status: a.status,
		Cause: fmt.Errorf("status %d with %s, which is no answer of the REST API (%s): is vtm_endpoints right?", a.status, what, why),
	}
}

// request is one that Client.do sends.
type request struct {
	through      *Through // nil: any member will do
	method, path string   // path below apiPath
	// resource is what Observe and errors about secrets know it by.
	resource string
	body     []byte // nil: none
	file     bool   // body is not JSON
	// into gets the answer's body, if it is set; what the answer holds lasts as long.
	into *bytes.Buffer
}

// do sends a request to the endpoint in use, and to the next ones while no connection
// can be made; with through, to its member or not at all.
func (c *Client) do(ctx context.Context, r request) (*answer, error) {
	l := c.lanes[c.laneOf(r.path)]
	select {
	case <-l.token:
		defer func() { l.token <- struct{}{} }()
	case <-ctx.Done():
		return nil, &Error{Kind: Unreachable, Request: r.method + " " + r.path, Endpoint: c.Endpoint(), Cause: context.Cause(ctx)}
	}
	var err error
	for range c.endpoints {
		c.mu.Lock()
		current := c.current
		c.mu.Unlock()
		agent := userAgent
		if r.through != nil {
			if agent = r.through.agent; c.endpoints[current] != r.through.endpoint {
				return nil, &Error{Kind: Unreachable, Request: r.method + " " + r.path, Endpoint: r.through.endpoint, Cause: ErrElsewhere}
			}
		}
		var a *answer
		a, err = c.send(ctx, l, current, agent, &r)
		if c.options.Observe != nil {
			status := 0
			var e *Error
			if a != nil {
				status = a.status
			} else if errors.As(err, &e) {
				status = e.Status
			}
			c.options.Observe(r.method, r.resource, status)
		}
		c.note(current, err)
		if err == nil {
			return a, nil
		}
		if KindOf(err) != Unreachable || ctx.Err() != nil || r.through != nil {
			return nil, err
		}
	}
	return nil, err
}

// note goes on to the next endpoint when the one used doesn't answer.
func (c *Client) note(used int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != used {
		return // another request went on already
	}
	var e *Error
	switch {
	case err == nil || errors.As(err, &e) && e.Status != 0:
		c.unanswered = 0
		return
	case KindOf(err) == Unreachable:
		c.unanswered = hungAfter
	default:
		c.unanswered++
	}
	if c.unanswered < hungAfter || len(c.endpoints) == 1 {
		return
	}
	c.unanswered = 0
	c.current = (used + 1) % len(c.endpoints)
	c.options.Log.Warn("traffic manager doesn't answer, going on to the next",
		"endpoint", c.endpoints[used], "next", c.endpoints[c.current], "error", err)
}

// What is the same of each request; the transport does not change it.
var contentOfFiles, contentOfResources = []string{"application/octet-stream"}, []string{"application/json"}

func (c *Client) send(ctx context.Context, l *lane, endpoint int, agent string, r *request) (*answer, error) {
	e := &Error{
		Request:  r.method + " " + strings.TrimPrefix(r.path, "config/active/"),
		Endpoint: c.endpoints[endpoint],
	}
	connected := false
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(
		httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { connected = true },
		}),
		r.method, c.endpoints[endpoint]+apiPath+r.path, bytes.NewReader(r.body))
	if err != nil {
		e.Cause = err
		return nil, e
	}
	request.Header = http.Header{
		"User-Agent":    {agent},
		"Authorization": c.authorization,
		// PUT and DELETE mean the same when they arrive twice. With this, which is not
		// sent, the transport repeats a request that met a connection which the traffic
		// manager just closed for being idle.
		"X-Idempotency-Key": {},
	}
	switch {
	case r.file:
		request.Header["Content-Type"] = contentOfFiles
	case r.body != nil:
		request.Header["Content-Type"] = contentOfResources
	}
	// Not by the Client, which follows redirects: a redirected PUT loses its body, and
	// the password must not follow anywhere.
	response, err := l.http.Transport.RoundTrip(request)
	var body []byte
	if err == nil {
		defer response.Body.Close()
		e.Status = response.StatusCode
		read := r.into
		if read == nil {
			read = new(bytes.Buffer)
		}
		read.Grow(int(min(max(response.ContentLength, 0), maxAnswer)) + bytes.MinRead)
		_, err = read.ReadFrom(io.LimitReader(response.Body, maxAnswer+1))
		body = read.Bytes()
		if err == nil && len(body) > maxAnswer {
			err = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
		}
	}
	if err != nil {
		e.Kind = Outage
		if !connected {
			e.Kind = Unreachable
		}
		// An error of the connection tells our own port, other each time.
		var op *net.OpError
		if errors.As(err, &op) && op.Op != "dial" {
			err = op.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v: %w", c.options.Timeout, err)
		}
		e.Cause = err
		e.Status = 0
		return nil, e
	}
	a := &answer{
		request: e.Request, endpoint: e.Endpoint, status: e.Status, body: body,
		secret: strings.HasPrefix(r.resource, string(ServerKeys)), date: response.Header.Get("Date"),
	}
	if a.status >= 200 && a.status < 300 {
		return a, nil
	}
	return nil, a.failure(e)
}

// failure says what an answer without success means.
func (a *answer) failure(e *Error) error {
	known := e.parseErrorBody(a.body)
	switch {
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		e.Kind = Unauthorised
	case a.status >= 500:
		e.Kind = Outage
		if !known {
			e.Cause = fmt.Errorf("status %d", a.status)
		}
	case !known:
		return a.garbage("not an error body either")
	case a.status == http.StatusNotFound:
		e.Kind = NotFound
	default:
		e.Kind = Refused
	}
	return e
}
