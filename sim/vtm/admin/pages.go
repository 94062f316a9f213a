package admin

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed templates static
var files embed.FS

// maxForm bounds a form in bytes.
const maxForm = 64 << 10

// Options say what pages are made of.
type Options struct {
	View View
	// Now tells the time.
	Now func() time.Time
	// Random gives the bytes of session keys. It is read by one goroutine at a time.
	Random io.Reader
	Log    *slog.Logger
}

// Pages is the handler of all admin pages of one traffic manager. It starts no
// goroutine.
type Pages struct {
	view      View
	now       func() time.Time
	log       *slog.Logger
	sessions  *sessions
	types     map[string]*Type
	settings  []Setting
	templates map[string]*template.Template
	mux       *http.ServeMux
}

// New makes the handler. Errors are those of the embedded files, which tests see.
func New(o Options) (*Pages, error) {
	p := &Pages{
		view: o.View, now: o.Now, log: o.Log,
		sessions:  &sessions{now: o.Now, timeout: o.View.SessionTimeout, random: o.Random, byHash: make(map[[32]byte]*session)},
		types:     make(map[string]*Type),
		templates: make(map[string]*template.Template),
		mux:       http.NewServeMux(),
	}
	var err error
	if p.settings, err = readSettings(); err != nil {
		return nil, err
	}
	types := o.View.Types()
	for i := range types {
		p.types[types[i].Path] = &types[i]
	}
	if err := p.parseTemplates(); err != nil {
		return nil, err
	}
	static, err := fs.Sub(files, "static")
	if err != nil {
		return nil, err
	}
	p.mux.Handle("GET /static/", http.StripPrefix("/static/", staticFiles(static)))
	p.mux.HandleFunc("GET /login", p.login)
	p.mux.HandleFunc("POST /login", p.login)
	p.page("POST /logout", "", p.logout)
	p.page("GET /{$}", AccessHome, p.home)
	p.page("GET /log", AccessLog, p.eventLog)
	p.page("GET /log/tail", AccessLog, p.tail)
	p.page("GET /diagnose", AccessDiagnose, p.diagnose)
	p.page("GET /cluster", "traffic_managers", p.cluster)
	p.page("POST /cluster/reactivate", "traffic_ip_groups", p.reactivate)
	p.page("GET /catalogs", "", p.catalogs)
	p.page("GET /catalogs/{path...}", "", p.catalog)
	p.page("GET /system/ingress-controller", "custom", p.ingress)
	p.page("POST /system/ingress-controller", "custom", p.updateIngress)
	p.page("/", "", func(w http.ResponseWriter, r *http.Request, v *visit) {
		p.fail(w, r, v, http.StatusNotFound, errors.New("there is no such page"))
	})
	return p, nil
}

// parseTemplates reads each page together with the frame around it.
func (p *Pages) parseTemplates() error {
	pages, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return err
	}
	for _, name := range pages {
		base := strings.TrimSuffix(path.Base(name), ".html")
		if base == "layout" || base == "parts" {
			continue
		}
		t, err := template.New("layout.html").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/parts.html", name)
		if err != nil {
			return err
		}
		p.templates[base] = t
	}
	return nil
}

var functions = template.FuncMap{
	"join":  strings.Join,
	"clip":  func(n int, s string) string { return clip(s, n) },
	"words": func(name string) string { return strings.ReplaceAll(name, "_", " ") },
	"link":  resourceLink,
	"lower": strings.ToLower,
	"stamp": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"hour":  func(t time.Time) string { return t.UTC().Format("15:04:05") },
}

// clip shortens what is shown to n bytes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// staticFiles serves what is the same for everybody. The folder is not listed.
func staticFiles(of fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, err := fs.ReadFile(of, r.URL.Path)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(r.URL.Path)))
		w.Header().Set("Cache-Control", "private, max-age=300")
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content) // the client may be gone
	})
}

// ServeHTTP answers every request to the pages.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	// Nothing but our own files is loaded, nothing inline runs, nobody frames us.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
	if !p.view.Admits(clientAddress(r)) {
		http.Error(w, "This address may not use the admin pages (security, basic!access).", http.StatusForbidden)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// visit is a request of somebody who is logged in.
type visit struct {
	*session
	access Access // to what the page shows
}

// page registers what only a logged-in user sees, and only if the user may do with
// subject, which View.Access knows, what the request does; an empty one leaves
// that to the page. A form is looked at only with the token of the session.
func (p *Pages) page(pattern, subject string, show func(http.ResponseWriter, *http.Request, *visit)) {
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		byItself := r.URL.Path == "/log/tail" || r.URL.Query().Has("follow")
		s := p.sessions.find(r, !byItself)
		switch {
		case s == nil && r.URL.Path == "/log/tail":
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		case s == nil && r.Method == http.MethodGet:
			http.Redirect(w, r, loginLink(r.URL.RequestURI()), http.StatusSeeOther)
			return
		case s == nil:
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		v := &visit{session: s, access: Full}
		if subject != "" {
			v.access = p.view.Access(s.user, subject)
		}
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		if !reads {
			if err := parseForm(w, r); err != nil {
				p.fail(w, r, v, http.StatusBadRequest, err)
				return
			}
			if !sameToken(s.csrf, r.PostForm.Get("csrf")) {
				p.fail(w, r, v, http.StatusForbidden, errors.New("the form did not come from these pages, or is of an earlier login: nothing was changed; open the page again"))
				return
			}
		}
		switch {
		case v.access == None:
			p.fail(w, r, v, http.StatusForbidden, errForbidden)
		case v.access == ReadOnly && !reads:
			p.fail(w, r, v, http.StatusForbidden, errReadOnly)
		default:
			show(w, r, v)
		}
	})
}

func contextWithTimeout(r *http.Request, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), d)
}

// frame is what surrounds every page.
type frame struct {
	Title, Member string
	User, CSRF    string // "" before login
	Banner        string
	Path          string
	Nav           []navEntry
	Follow        bool // the browser reloads the page by itself
	Page          any
}

type navEntry struct {
	Title, Link string
	Current     bool
	subject     string // of View.Access; "" for everybody
}

var navigation = []navEntry{
	{Title: "Home", Link: "/", subject: AccessHome},
	{Title: "Virtual Servers", Link: "/catalogs/virtual_servers", subject: "virtual_servers"},
	{Title: "Pools", Link: "/catalogs/pools", subject: "pools"},
	{Title: "Catalogs", Link: "/catalogs"},
	{Title: "Cluster", Link: "/cluster", subject: "traffic_managers"},
	{Title: "Diagnose", Link: "/diagnose", subject: AccessDiagnose},
	{Title: "Event Log", Link: "/log", subject: AccessLog},
	{Title: "Ingress Controller", Link: "/system/ingress-controller", subject: "custom"},
}

// render answers with a page. v is nil before login.
func (p *Pages) render(w http.ResponseWriter, r *http.Request, v *visit, status int, name, title string, page any) {
	f := frame{Title: title, Member: p.view.Name(), Path: r.URL.Path, Page: page}
	f.Banner = p.view.Resource("global_settings", "").text("security", "ui_page_banner")
	if v != nil {
		f.User, f.CSRF = v.user, v.csrf
		f.Follow = r.URL.Query().Has("follow")
		best := -1
		for i, entry := range navigation {
			within := r.URL.Path == entry.Link || entry.Link != "/" && strings.HasPrefix(r.URL.Path, entry.Link+"/")
			if within && (best < 0 || len(entry.Link) > len(navigation[best].Link)) {
				best = i
			}
		}
		for i, entry := range navigation {
			entry.Current = i == best
			if entry.subject == "" || p.view.Access(v.user, entry.subject) != None {
				f.Nav = append(f.Nav, entry)
			}
		}
	}
	var b bytes.Buffer
	if err := p.templates[name].Execute(&b, f); err != nil {
		p.log.Error("an admin page could not be made", "page", name, "error", err)
		http.Error(w, "This page could not be made; the traffic manager's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client may be gone
}

// fail answers with what went wrong.
func (p *Pages) fail(w http.ResponseWriter, r *http.Request, v *visit, status int, err error) {
	p.render(w, r, v, status, "error", http.StatusText(status), fmt.Sprintf("%s.", capital(err.Error())))
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
