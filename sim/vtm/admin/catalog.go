package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	resourcesPerPage = 100
	maxShownFile     = 64 << 10 // bytes of a file that its page shows
)

var (
	errReadOnly   = errors.New("your group may read this and not change it: nothing was changed")
	errForbidden  = errors.New("your group does not permit this page")
	errNoSuch     = errors.New("there is no such resource")
	errNoSuchType = errors.New("there is no such resource type")
)

func resourceLink(path, name string) string {
	link := (&url.URL{Path: "/catalogs/" + path}).EscapedPath()
	if name != "" {
		link += "?" + url.Values{"name": {name}}.Encode()
	}
	return link
}

func loginLink(next string) string { return "/login?" + url.Values{"next": {next}}.Encode() }

// catalogsPage lists all resource types.
type catalogsPage struct{ Types []typeRow }

type typeRow struct {
	Path, About string
	Count       int
	Single      bool
}

func (p *Pages) catalogs(w http.ResponseWriter, r *http.Request, v *visit) {
	var page catalogsPage
	for _, t := range p.view.Types() {
		if p.view.Access(v.user, t.Path) != None {
			page.Types = append(page.Types, typeRow{t.Path, t.About, len(p.view.Names(t.Path)), t.Kind == Singleton})
		}
	}
	p.render(w, r, v, http.StatusOK, "catalogs", "Catalogs", page)
}

// catalog answers for a type, or with ?name= for one of its resources.
func (p *Pages) catalog(w http.ResponseWriter, r *http.Request, v *visit) {
	t := p.types[r.PathValue("path")]
	switch {
	case t == nil:
		p.fail(w, r, v, http.StatusNotFound, errNoSuchType)
	case p.view.Access(v.user, t.Path) == None:
		p.fail(w, r, v, http.StatusForbidden, errForbidden)
	case t.Kind == Singleton || r.URL.Query().Has("name"):
		name := ""
		if t.Kind != Singleton {
			name = r.URL.Query().Get("name")
		}
		if resource := p.view.Resource(t.Path, name); resource != nil {
			p.showResource(w, r, v, t, resource)
		} else {
			p.fail(w, r, v, http.StatusNotFound, errNoSuch)
		}
	default:
		p.showType(w, r, v, t)
	}
}

// typePage lists the resources of a type.
type typePage struct {
	Path, About string
	Find        string
	Columns     []string
	Rows        []resourceRow
	Pager       pager
}

type resourceRow struct {
	Name    string
	BuiltIn bool
	Status  *Status
	Cells   []string
}

// columnsOf are the keys of basic, or others with their section, that a type's
// list shows; types that are not named show the required ones and the note.
var columnsOf = map[string][]string{
	"actions":           {"type"},
	"bandwidth":         {"maximum", "sharing"},
	"event_types":       {"actions"},
	"glb_services":      {"enabled", "domains"},
	"monitors":          {"type", "delay", "timeout", "failures"},
	"persistence":       {"type", "cookie"},
	"pools":             {"nodes_table", "load_balancing/algorithm", "monitors", "persistence_class"},
	"protection":        {"enabled"},
	"rate":              {"max_rate_per_minute", "max_rate_per_second"},
	"ssl/client_keys":   {"note"},
	"ssl/server_keys":   {"note"},
	"traffic_ip_groups": {"ipaddresses", "machines", "mode"},
	"user_groups":       {"description", "permissions"},
	"virtual_servers":   {"port", "protocol", "pool", "request_rules"},
}

func (t *Type) listed() []string {
	if columns := columnsOf[t.Path]; columns != nil {
		return columns
	}
	var columns []string
	for _, k := range t.Keys {
		if k.Section == "basic" && (k.Required || k.Name == "note") && !k.Expert {
			columns = append(columns, k.Name)
		}
	}
	slices.SortStableFunc(columns, func(a, b string) int { // the note goes last
		return cmp.Compare(strings.Count(a, "note"), strings.Count(b, "note"))
	})
	return columns[:min(len(columns), 4)]
}

func (p *Pages) showType(w http.ResponseWriter, r *http.Request, v *visit, t *Type) {
	page := typePage{Path: t.Path, About: t.About, Find: clip(r.URL.Query().Get("find"), 200)}
	columns := t.listed()
	for _, c := range columns {
		_, name, ok := strings.Cut(c, "/")
		if !ok {
			name = c
		}
		page.Columns = append(page.Columns, name)
	}
	if t.Kind == Files {
		page.Columns = []string{"size"}
	}
	var names []string
	for _, name := range p.view.Names(t.Path) {
		if strings.Contains(strings.ToLower(name), strings.ToLower(page.Find)) {
			names = append(names, name)
		}
	}
	names, page.Pager = paged(r, names, resourcesPerPage)
	now := p.snapshot()
	for _, name := range names {
		resource := p.view.Resource(t.Path, name)
		if resource == nil {
			continue // deleted meanwhile
		}
		row := resourceRow{Name: name, BuiltIn: resource.BuiltIn, Status: p.statusOf(resource, now)}
		if t.Kind == Files {
			row.Cells = []string{fmt.Sprintf("%d bytes", resource.Size)}
		}
		for _, c := range columns {
			section, key, ok := strings.Cut(c, "/")
			if !ok {
				section, key = "basic", c
			}
			row.Cells = append(row.Cells, resource.value(section, key).summary())
		}
		page.Rows = append(page.Rows, row)
	}
	p.render(w, r, v, http.StatusOK, "type", title(t.Path), page)
}

// title is a type's path as a heading: "SSL server keys".
func title(path string) string {
	words := strings.ReplaceAll(strings.ReplaceAll(path, "_", " "), "/", ": ")
	for _, w := range []string{"ssl", "dns", "glb", "ip", "nat", "saml", "bgp", "api"} {
		for _, edge := range []string{" " + w + " ", " " + w + ":", " " + w + "$"} {
			padded := " " + words + "$"
			padded = strings.ReplaceAll(padded, edge, strings.ToUpper(edge))
			words = strings.TrimSuffix(padded[1:], "$")
		}
	}
	return capital(words)
}

// statusOf is a resource's state, nil for types that have none.
func (p *Pages) statusOf(r *Resource, now *snapshot) *Status {
	var status Status
	switch r.Path {
	case "virtual_servers":
		status = now.serverStatus(r, p.addresses(r, now))
	case "pools":
		status = poolStatus(now.pools[r.Name])
	case "traffic_ip_groups":
		status = now.groupStatus(r)
	case "traffic_managers":
		at := slices.IndexFunc(now.members, func(m Member) bool { return m.Name == r.Name })
		if at < 0 {
			status = Status{"off", "not a member"}
		} else {
			status = memberStatus(now.members[at])
		}
	case "rules", "ssl/server_keys":
		what := map[string]string{"rules": "Rule", "ssl/server_keys": "Server key"}[r.Path]
		status = Status{"ok", "no problems"}
		if now.concerns(what, r.Name) {
			status = Status{"bad", "has problems"}
		}
	default:
		return nil
	}
	return &status
}

// summary is a value in a few words.
func (v Value) summary() string {
	switch {
	case v.Secret:
		return "not shown"
	case len(v.Rows) > 0:
		var first []string
		for _, row := range v.Rows {
			if len(first) == 3 {
				first = append(first, fmt.Sprintf("and %d more", len(v.Rows)-3))
				break
			}
			first = append(first, row[v.Key.primary()])
		}
		return clip(strings.Join(first, ", "), 200)
	case len(v.List) > 0:
		shown := v.List[:min(len(v.List), 3)]
		text := strings.Join(shown, ", ")
		if more := len(v.List) - len(shown); more > 0 {
			text += fmt.Sprintf(", and %d more", more)
		}
		return clip(text, 200)
	}
	return clip(v.Text, 200)
}

// primary is the column that names a row: the first required one.
func (k *Key) primary() int {
	return max(0, slices.IndexFunc(k.Columns, func(c Key) bool { return c.Required }))
}

// resourcePage shows one resource.
type resourcePage struct {
	Path, Name, About string
	Single, BuiltIn   bool
	Status            *Status
	Nodes             []Node // of a pool
	Sections          []sectionPart
	File              bool
	Content           string
	Hidden            string // why a file's content is not shown
	Size              int
	Edit              string // page where it can be changed
}

type sectionPart struct {
	Name string
	Keys []keyRow
	Set  int // how many are not at their default
}

type keyRow struct {
	Value
	About string
	Facts []string // type, range, default
}

func (p *Pages) showResource(w http.ResponseWriter, r *http.Request, v *visit, t *Type, resource *Resource) {
	now := p.snapshot()
	page := resourcePage{
		Path: t.Path, Name: resource.Name, About: t.About, Single: t.Kind == Singleton,
		BuiltIn: resource.BuiltIn, Status: p.statusOf(resource, now), File: t.Kind == Files, Size: resource.Size,
	}
	if t.Path == "pools" {
		page.Nodes = poolNodes(now.pools[resource.Name])
	}
	if t.Path == "custom" && resource.Name == settingsName {
		page.Edit = "/system/ingress-controller"
	}
	switch {
	case !page.File:
	case resource.Secret:
		page.Hidden = "It holds secrets."
	case len(resource.Content) > maxShownFile:
		page.Hidden = fmt.Sprintf("It is larger than %d bytes.", maxShownFile)
	case !utf8.Valid(resource.Content) || slices.Contains(resource.Content, 0):
		page.Hidden = "It is no text."
	default:
		page.Content = string(resource.Content)
	}
	for _, v := range resource.Values {
		if len(page.Sections) == 0 || page.Sections[len(page.Sections)-1].Name != v.Key.Section {
			page.Sections = append(page.Sections, sectionPart{Name: v.Key.Section})
		}
		part := &page.Sections[len(page.Sections)-1]
		if v.Set {
			part.Set++
		}
		part.Keys = append(part.Keys, keyRow{p.withoutSecrets(resource, v), v.Key.About, v.Key.facts()})
	}
	slices.SortStableFunc(page.Sections, func(a, b sectionPart) int { // basic goes first
		return cmp.Compare(strings.Count(b.Name, "basic"), strings.Count(a.Name, "basic"))
	})
	heading := title(t.Path)
	if !page.Single {
		heading = resource.Name
	}
	p.render(w, r, v, http.StatusOK, "resource", heading, page)
}

// withoutSecrets leaves out what a user of the controller wrote where everybody
// can read it: the page need not help spreading it.
func (p *Pages) withoutSecrets(r *Resource, v Value) Value {
	if r.Path != "custom" || r.Name != settingsName {
		return v
	}
	rows := make([][]string, len(v.Rows))
	for i, row := range v.Rows {
		rows[i] = slices.Clone(row)
		if setting := p.setting(row[v.Key.primary()]); setting != nil && setting.Type == "secret" {
			for c := range row {
				if c != v.Key.primary() {
					rows[i][c] = "(a secret, not shown)"
				}
			}
		}
	}
	v.Rows = rows
	return v
}

// facts say in words what a key accepts.
func (k *Key) facts() []string {
	list := []string{capital(k.Type)}
	if len(k.Enum) > 0 {
		list = append(list, "one of "+strings.Join(k.Enum, ", "))
	}
	if k.Range != "" {
		list = append(list, k.Range)
	}
	switch {
	case k.Required:
		list = append(list, "required")
	case k.Default != "":
		list = append(list, "default "+k.Default)
	}
	if k.Expert {
		list = append(list, "for experts")
	}
	return list
}
