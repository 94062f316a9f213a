package admin

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of the event log page.
const (
	maxTail   = 200 // lines of one answer to the page's script
	maxFilter = 200 // bytes of a filter's text
)

// lengths are how many lines the page may show.
var lengths = []int{100, 500, 2000}

// logLine is a line as the page shows it.
type logLine struct {
	Time   time.Time
	Member string
	Level  Status
	Object string
	Tags   string
	Text   string
}

func newLogLine(l Line) logLine {
	return logLine{
		Time: l.Time, Member: l.Member, Level: levelStatus(l.Level), Object: clip(l.Section, 300),
		Tags: clip(strings.Join(append([]string{l.Tag}, l.More...), " "), 200), Text: clip(l.Text, 2000),
	}
}

// logFilter is what the page's form asks for.
type logFilter struct {
	Level  string // least level; "" for all
	Text   string // somewhere in the line, in any case
	Member string // "" for all
}

func readLogFilter(q url.Values) logFilter {
	f := logFilter{Level: strings.ToUpper(q.Get("level")), Text: clip(q.Get("text"), maxFilter), Member: q.Get("member")}
	if !slices.Contains([]string{"WARN", "SERIOUS", "FATAL"}, f.Level) {
		f.Level = ""
	}
	return f
}

func (f logFilter) fits(l Line) bool {
	if f.Member != "" && l.Member != f.Member || f.Level != "" && levelRank(l.Level) < levelRank(f.Level) {
		return false
	}
	if f.Text == "" {
		return true
	}
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(f.Text)) }
	return has(l.Text) || has(l.Section) || has(l.Tag) || has(l.Member) || slices.ContainsFunc(l.More, has)
}

func (f logFilter) query() url.Values {
	return url.Values{"level": {f.Level}, "text": {f.Text}, "member": {f.Member}}
}

// logPage is the event log of all members, newest first.
type logPage struct {
	logFilter
	Count   int
	Lengths []int
	Members []string
	Lines   []logLine
	Fitting int    // lines that the filter lets through, of All
	All     int    //
	Tail    string // where the script asks for what is new
	Follow  string // this page, reloading by itself
}

func (p *Pages) eventLog(w http.ResponseWriter, r *http.Request, v *visit) {
	page := logPage{logFilter: readLogFilter(r.URL.Query()), Count: lengths[0], Lengths: lengths}
	if n, err := strconv.Atoi(r.URL.Query().Get("count")); err == nil && slices.Contains(lengths, n) {
		page.Count = n
	}
	for _, m := range p.view.Members() {
		page.Members = append(page.Members, m.Name)
	}
	lines, next := p.view.Events(nil)
	page.All = len(lines)
	for _, l := range slices.Backward(lines) {
		if page.fits(l) {
			page.Fitting++
			if len(page.Lines) < page.Count {
				page.Lines = append(page.Lines, newLogLine(l))
			}
		}
	}
	q := page.query()
	q.Set("after", next.String())
	page.Tail = "/log/tail?" + q.Encode()
	q = page.query()
	q.Set("count", strconv.Itoa(page.Count))
	q.Set("follow", "1")
	page.Follow = "/log?" + q.Encode()
	p.render(w, r, v, http.StatusOK, "log", "Event Log", page)
}

// tailAnswer is what the page's script gets.
type tailAnswer struct {
	After string     `json:"after"` // where to go on
	Lines []tailLine `json:"lines"` // oldest first
}

type tailLine struct {
	Time   string `json:"time"`
	Member string `json:"member"`
	Kind   string `json:"kind"` // of Status
	Level  string `json:"level"`
	Object string `json:"object"`
	Tags   string `json:"tags"`
	Text   string `json:"text"`
}

func (p *Pages) tail(w http.ResponseWriter, r *http.Request, _ *visit) {
	after, ok := parseCursor(r.URL.Query().Get("after"))
	if !ok {
		http.Error(w, "open the event log again", http.StatusBadRequest)
		return
	}
	f := readLogFilter(r.URL.Query())
	lines, next := p.view.Events(after)
	answer := tailAnswer{After: next.String(), Lines: []tailLine{}}
	for _, l := range lines {
		if f.fits(l) {
			n := newLogLine(l)
			answer.Lines = append(answer.Lines, tailLine{
				n.Time.UTC().Format("2006-01-02 15:04:05"), n.Member, n.Level.Kind, n.Level.Word, n.Object, n.Tags, n.Text,
			})
		}
	}
	answer.Lines = answer.Lines[max(0, len(answer.Lines)-maxTail):]
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

// String is the cursor as it travels through a page's address.
func (c Cursor) String() string {
	b, _ := json.Marshal(c) // a map of numbers
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (Cursor, bool) {
	if len(s) > 4096 {
		return nil, false
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, false
	}
	c := Cursor{}
	if err := json.Unmarshal(b, &c); err != nil || c == nil {
		return nil, false
	}
	return c, true
}
