package tsrun

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// Run is the command that tries rules against one request and prints what they
// log and do.
type Run struct {
	Sources
	Files     []string `arg:"" placeholder:"FILE" help:"Request rules, in the order in which the virtual server has them."`
	Responses []string `name:"response-rule" placeholder:"FILE" help:"Response rules, in their order; they run when no request rule answered."`

	Request string   `default:"GET http://www.example.com/" placeholder:"TEXT" help:"File with the request: first line, header lines, an empty line, body; or the first line itself, as GET https://host/path."`
	Header  []string `short:"H" sep:"none" placeholder:"'NAME: VALUE'" help:"Header line of the request."`
	Body    string   `help:"Body of the request; @FILE reads a file."`

	Response string   `default:"HTTP/1.1 200 OK" placeholder:"TEXT" help:"File with the node's response, or its first line itself."`
	Pool     []string `sep:"none" placeholder:"NAME=ADDRESS,..." help:"Pool with its nodes, as 10.0.0.1:80; one after ! is failed. Pools that rules name need none."`

	Client        netip.AddrPort `default:"192.0.2.1:40000" help:"Address of the client."`
	Listen        netip.AddrPort `default:"198.51.100.1:80" help:"Address that the client connected to."`
	VirtualServer string         `default:"virtual server" help:"Name of the virtual server."`
	DefaultPool   string         `default:"default" help:"Pool of the virtual server."`

	Extra string    `placeholder:"DIR" help:"Folder of extra files, for resource.get and its like; among them the tables geo.csv, hosts and authenticators.json."`
	Host  string    `default:"vtm.example.com" help:"Name of the machine, for sys.hostname."`
	Time  time.Time `help:"Time that rules see, as 2026-01-02T15:04:05Z; now if not given."`
	Seed  uint64    `default:"1" help:"Seed of what rules take for chance."`
}

// dataSize is what the stores of a run may hold.
const dataSize = 64 << 20

// Execute tries the rules and returns the exit code. now is the clock, for runs
// without a time of their own. The rules see no network.
func (c *Run) Execute(ctx context.Context, out io.Writer, now func() time.Time) int {
	h, err := c.host(out, now)
	if err != nil {
		fmt.Fprintln(out, err)
		return ExitUsage
	}
	request, err := c.rules(c.Files, h)
	if err == nil {
		var response []*trafficscript.Rule
		if response, err = c.rules(c.Responses, h); err == nil {
			return h.try(ctx, request, response)
		}
	}
	if err == errRules {
		return ExitFailed
	}
	fmt.Fprintln(out, err)
	return ExitUsage
}

var errRules = fmt.Errorf("a rule has errors")

// rules compiles all files and prints what is wrong with them.
func (c *Run) rules(paths []string, h *host) (list []*trafficscript.Rule, err error) {
	for _, path := range paths {
		text, readErr := os.ReadFile(path)
		if readErr != nil {
			return nil, readErr
		}
		rule, diags := c.compile(path, text)
		for _, d := range diags {
			fmt.Fprintln(h.out, describe(path, d))
		}
		if rule == nil {
			err = errRules
			continue
		}
		for _, pool := range rule.Pools() {
			if _, known := h.pools[pool]; !known {
				h.pools[pool] = []trafficscript.PoolNode{{Address: "203.0.113.1:80"}}
			}
		}
		list = append(list, rule)
	}
	return list, err
}

// host makes what surrounds the rules.
func (c *Run) host(out io.Writer, now func() time.Time) (*host, error) {
	text, err := fileOr(c.Request)
	if err != nil {
		return nil, err
	}
	request, body, tls, err := parseRequest(text)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	for _, line := range c.Header {
		name, v, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("--header '%s' must be NAME: VALUE", line)
		}
		if v = strings.TrimSpace(v); strings.EqualFold(name, "Host") {
			request.Host = v
		} else {
			request.Header.Add(name, v)
		}
	}
	if c.Body != "" {
		if body, err = textOrFile(c.Body); err != nil {
			return nil, err
		}
		request.Header.Set("Content-Length", fmt.Sprint(len(body)))
	}
	if text, err = fileOr(c.Response); err != nil {
		return nil, err
	}
	response, responseBody, err := parseResponse(text)
	if err != nil {
		return nil, fmt.Errorf("response: %w", err)
	}
	h := &host{
		out: out, requestBody: body, response: response, responseBody: responseBody,
		pools: map[string][]trafficscript.PoolNode{c.DefaultPool: {{Address: "203.0.113.1:80"}}},
		now:   c.Time, clock: now, random: c.Seed,
	}
	for _, p := range c.Pool {
		name, nodes, err := parsePool(p)
		if err != nil {
			return nil, err
		}
		h.pools[name] = nodes
	}
	h.tx = trafficscript.Transaction{
		VirtualServer: c.VirtualServer, DefaultPool: c.DefaultPool, Remote: c.Client, Local: c.Listen, Resendable: true,
		Started: h.Now(), Request: request,
		Machine: &trafficscript.Machine{HostName: c.Host, ProcessID: 1, RESTPort: 9070, Counters: new(trafficscript.Counters), File: extraFiles(c.Extra)},
		Sockets: new(trafficscript.Sockets),
		Data:    trafficscript.NewStore(dataSize), LocalData: trafficscript.NewStore(dataSize), ConnectionData: trafficscript.NewStore(dataSize),
	}
	if err := c.tables(h.tx.Machine); err != nil {
		return nil, err
	}
	h.tx.Streamer = h
	if tls {
		name, _, _ := strings.Cut(request.Host, ":")
		h.tx.TLS = &trafficscript.TLS{ServerName: name}
	}
	return h, nil
}

// tables lets rules ask those of the extra files.
func (c *Run) tables(m *trafficscript.Machine) error {
	if m.File == nil {
		return nil
	}
	t, err := trafficscript.ReadTables(m.File)
	if err != nil {
		return err
	}
	m.Place, m.Resolver, m.Authenticate = t.Place, t, t.Authenticate
	return nil
}

// fileOr reads a file, or returns s when it is a first line: it holds a blank and
// names no file.
func fileOr(s string) (string, error) {
	text, err := os.ReadFile(s)
	if err == nil {
		return string(text), nil
	}
	if strings.Contains(s, " ") {
		return s, nil
	}
	return "", err
}

func textOrFile(s string) (string, error) {
	path, ok := strings.CutPrefix(s, "@")
	if !ok {
		return s, nil
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// parsePool reads NAME=ADDRESS,!ADDRESS.
func parsePool(s string) (string, []trafficscript.PoolNode, error) {
	name, list, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return "", nil, fmt.Errorf("--pool '%s' must be NAME=ADDRESS,...", s)
	}
	var nodes []trafficscript.PoolNode
	for a := range strings.SplitSeq(list, ",") {
		node := trafficscript.PoolNode{Address: strings.TrimPrefix(a, "!")}
		if node.Address != a {
			node.State = trafficscript.NodeFailed
		}
		if _, err := netip.ParseAddrPort(node.Address); err != nil && list != "" {
			return "", nil, fmt.Errorf("--pool '%s': '%s' is no address with port", s, a)
		}
		if list != "" {
			nodes = append(nodes, node)
		}
	}
	return name, nodes, nil
}

// extraFiles serves the files of a folder, read when a rule asks.
func extraFiles(folder string) func(string) (trafficscript.File, bool) {
	if folder == "" {
		return nil
	}
	return func(name string) (trafficscript.File, bool) {
		path := filepath.Join(folder, filepath.Base(name))
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return trafficscript.File{}, false
		}
		text, err := os.ReadFile(path)
		return trafficscript.File{Content: string(text), Modified: info.ModTime()}, err == nil
	}
}

// host is the trafficscript.Host of a run.
type host struct {
	out          io.Writer
	tx           trafficscript.Transaction
	requestBody  string
	response     *trafficscript.Response
	responseBody string
	pools        map[string][]trafficscript.PoolNode
	now          time.Time // zero: the clock's
	clock        func() time.Time
	slept        time.Duration
	random       uint64
}

// Transaction returns the one transaction there is.
func (h *host) Transaction() *trafficscript.Transaction { return &h.tx }

// RequestBody returns what the request was given.
func (h *host) RequestBody(_ context.Context, max int) (string, error) {
	return first(h.requestBody, max), nil
}

// ResponseBody returns what the response was given.
func (h *host) ResponseBody(_ context.Context, max int) (string, error) {
	return first(h.responseBody, max), nil
}

func first(s string, max int) string {
	if max > 0 && max < len(s) {
		return s[:max]
	}
	return s
}

// PoolNodes knows the pools that were given, and those that the rules name.
func (h *host) PoolNodes(pool string) ([]trafficscript.PoolNode, bool) {
	nodes, ok := h.pools[pool]
	return nodes, ok
}

// StartResponse prints what the client gets.
func (h *host) StartResponse(_ context.Context, a *trafficscript.Answer, length int64) error {
	h.action("stream", "%d %s, length %d", a.Code, reasonOf(a), length)
	h.printHeaders("stream", nil, a.Header)
	return nil
}

// WriteResponse prints what the client gets.
func (h *host) WriteResponse(_ context.Context, data string) error {
	h.action("stream", "%q", data)
	return nil
}

// ReadResponse takes from what the response was given.
func (h *host) ReadResponse(_ context.Context, max int) (string, error) {
	if h.tx.Phase != trafficscript.ResponsePhase {
		return "", nil
	}
	piece := first(h.responseBody, max)
	h.responseBody = h.responseBody[len(piece):]
	return piece, nil
}

// Log prints.
func (h *host) Log(e trafficscript.Event) {
	fmt.Fprintf(h.out, "log     %s %s: %s\n", e.Level, e.Tag, e.Message)
}

// Now returns the time that the run was given, or the clock's, and later by what
// rules slept.
func (h *host) Now() time.Time {
	if h.now.IsZero() {
		return h.clock().Add(h.slept)
	}
	return h.now.Add(h.slept)
}

// Random returns the next of a sequence that the seed decides (splitmix64).
func (h *host) Random() uint64 {
	h.random += 0x9e3779b97f4a7c15
	z := h.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Sleep takes no time: it moves the run's clock, as far as a virtual server's
// time-out allows.
func (h *host) Sleep(ctx context.Context, d time.Duration) error {
	h.slept += d
	fmt.Fprintf(h.out, "sleep   %s\n", d)
	if h.slept > timeout {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// timeout is the default of a virtual server's connection!timeout.
const timeout = 300 * time.Second

// Waiting needs nothing: only Sleep waits, and not for others.
func (h *host) Waiting() {}

// try runs the rules of both phases and prints what they did.
func (h *host) try(ctx context.Context, request, response []*trafficscript.Rule) int {
	code := ExitOK
	before := *h.tx.Request
	before.Header = before.Header.Clone()
	h.phase(ctx, request, &code)
	h.printRequest(&before)
	h.printDecisions()
	if h.tx.Streaming() || h.tx.Answer != nil || h.tx.Close != nil || h.tx.Discard || len(response) == 0 {
		return code
	}
	h.tx.Phase, h.tx.Response = trafficscript.ResponsePhase, h.response
	h.tx.Node = "203.0.113.1:80"
	if nodes := h.pools[h.poolInUse()]; len(nodes) > 0 {
		h.tx.Node = nodes[0].Address
	}
	was := *h.response
	was.Header = http.Header(was.Header).Clone()
	h.phase(ctx, response, &code)
	h.printResponse(&was)
	if h.tx.Answer != nil {
		h.printAnswer()
	}
	if h.tx.Retry {
		fmt.Fprintln(h.out, "retry")
	}
	return code
}

func (h *host) poolInUse() string {
	if h.tx.Pool != "" {
		return h.tx.Pool
	}
	return h.tx.DefaultPool
}

// phase runs rules until one decides.
func (h *host) phase(ctx context.Context, rules []*trafficscript.Rule, code *int) {
	for _, rule := range rules {
		result := rule.Run(ctx, h, trafficscript.Limits{})
		end := map[trafficscript.End]string{trafficscript.Finished: "finished", trafficscript.Decided: "decided", trafficscript.Aborted: "aborted"}[result.End]
		fmt.Fprintf(h.out, "rule    %s %s after %d instructions\n", rule.Name(), end, result.Instructions)
		if result.End == trafficscript.Aborted {
			*code = ExitFailed
		}
		if result.End == trafficscript.Decided {
			return
		}
	}
}
