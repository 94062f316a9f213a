package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Names of cookies. The prefix makes a browser refuse them unless they are Secure,
// of this host alone and for all paths.
const (
	sessionCookie = "__Host-vtm-session"
	loginCookie   = "__Host-vtm-login" // of whoever sees the login page
)

// Bounds: what a client can make the server keep or read.
const (
	maxSessions   = 1_000
	maxCredential = 1_024 // bytes of a user's name or password
	loginTime     = time.Minute
)

// session is one login. user and csrf never change.
type session struct {
	user string
	csrf string    // token that every form of this session carries
	last time.Time // guarded by sessions.mu; the last request that counts as activity
}

// sessions are those of one traffic manager, by the hash of their cookie's value:
// what is in memory is of no use to whoever reads it.
type sessions struct {
	now     func() time.Time
	timeout func(user string) time.Duration

	mu     sync.Mutex // guards all below
	random io.Reader
	byHash map[[sha256.Size]byte]*session
}

// token makes an unguessable text. mu is held.
func (s *sessions) token() (string, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return "", fmt.Errorf("no randomness for a session: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

func (s *sessions) newToken() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token()
}

// begin makes a session and returns its cookie's value. Sessions that are over go;
// if there are still too many, the one that was idle longest.
func (s *sessions) begin(user string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, err := s.token()
	if err != nil {
		return "", err
	}
	csrf, err := s.token()
	if err != nil {
		return "", err
	}
	if len(s.byHash) >= maxSessions {
		var oldest [sha256.Size]byte
		for hash, other := range s.byHash {
			if s.over(other) {
				delete(s.byHash, hash)
			} else if o := s.byHash[oldest]; o == nil || other.last.Before(o.last) {
				oldest = hash
			}
		}
		if len(s.byHash) >= maxSessions {
			delete(s.byHash, oldest)
		}
	}
	s.byHash[sha256.Sum256([]byte(value))] = &session{user: user, csrf: csrf, last: s.now()}
	return value, nil
}

// over tells whether a session has been idle for too long. mu is held.
func (s *sessions) over(one *session) bool {
	timeout := s.timeout(one.user)
	return timeout > 0 && s.now().Sub(one.last) >= timeout
}

// find returns the session of a request, nil if it has none that lives. A request
// that the user made keeps it alive; one that the page made by itself does not.
func (s *sessions) find(r *http.Request, activity bool) *session {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	hash := sha256.Sum256([]byte(cookie.Value))
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byHash[hash]
	if one == nil {
		return nil
	}
	if s.over(one) {
		delete(s.byHash, hash)
		return nil
	}
	if activity {
		one.last = s.now()
	}
	return one
}

func (s *sessions) end(r *http.Request) {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byHash, sha256.Sum256([]byte(cookie.Value)))
	}
}

// setCookie sets a cookie for as long as the browser runs; an empty value removes
// it.
func setCookie(w http.ResponseWriter, name, value string) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// sameToken compares in a time that does not tell where two differ.
func sameToken(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// loginPage is what the login page shows.
type loginPage struct {
	Token  string // as in its cookie: only our own page can send both
	Next   string // where to go then: a path of these pages
	User   string
	Banner string
	Accept bool // the banner has to be accepted
	Ended  bool // a session has ended
	Failed string
}

// localPath is where a login leads to: a path of these pages, never another site.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

func (p *Pages) showLogin(w http.ResponseWriter, r *http.Request, status int, page loginPage) {
	if c, err := r.Cookie(loginCookie); err == nil && len(c.Value) <= 64 {
		page.Token = c.Value
	}
	if page.Token == "" {
		var err error
		if page.Token, err = p.sessions.newToken(); err != nil {
			p.fail(w, r, nil, http.StatusInternalServerError, err)
			return
		}
		setCookie(w, loginCookie, page.Token)
	}
	settings := p.view.Resource("global_settings", "")
	page.Banner = settings.text("security", "login_banner")
	page.Accept = page.Banner != "" && settings.flag("security", "login_banner_accept")
	p.render(w, r, nil, status, "login", "Log in", page)
}

func (p *Pages) login(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		if p.sessions.find(r, true) != nil {
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		_, err := r.Cookie(sessionCookie)
		p.showLogin(w, r, http.StatusOK, loginPage{Next: localPath(r.URL.Query().Get("next")), Ended: err == nil})
		return
	}
	if err := parseForm(w, r); err != nil {
		p.fail(w, r, nil, http.StatusBadRequest, err)
		return
	}
	page := loginPage{Next: localPath(r.PostForm.Get("next")), User: r.PostForm.Get("user")}
	cookie, err := r.Cookie(loginCookie)
	if err != nil || !sameToken(cookie.Value, r.PostForm.Get("csrf")) {
		page.Failed = "The page was too old, or cookies are switched off. Please try again."
		p.showLogin(w, r, http.StatusForbidden, page)
		return
	}
	settings := p.view.Resource("global_settings", "")
	if settings.text("security", "login_banner") != "" && settings.flag("security", "login_banner_accept") && r.PostForm.Get("accept") != "yes" {
		page.Failed = "Please accept the notice first."
		p.showLogin(w, r, http.StatusForbidden, page)
		return
	}
	password := r.PostForm.Get("password")
	ctx, cancel := contextWithTimeout(r, loginTime)
	defer cancel()
	if len(page.User) > maxCredential || len(password) > maxCredential || !p.view.LogIn(ctx, page.User, password, clientAddress(r)) {
		page.User = clip(page.User, 100)
		page.Failed = "User name or password was invalid."
		p.showLogin(w, r, http.StatusForbidden, page)
		return
	}
	value, err := p.sessions.begin(page.User)
	if err != nil {
		p.fail(w, r, nil, http.StatusInternalServerError, err)
		return
	}
	p.sessions.end(r) // a session that this browser had before
	setCookie(w, sessionCookie, value)
	setCookie(w, loginCookie, "")
	http.Redirect(w, r, page.Next, http.StatusSeeOther)
}

func (p *Pages) logout(w http.ResponseWriter, r *http.Request, _ *visit) {
	p.sessions.end(r)
	setCookie(w, sessionCookie, "")
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

var errForm = errors.New("the form could not be read: send it again from its page")

// parseForm reads a form of bounded size.
func parseForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return errForm
	}
	return nil
}

// clientAddress is where a request came from; invalid if that is unknown.
func clientAddress(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
