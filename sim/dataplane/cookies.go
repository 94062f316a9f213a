package dataplane

import (
	"net/http"
	"strings"
)

// rewriteCookies changes domain, path and secure flag of the cookies that a node
// sets, as the virtual server's section cookie says. All else of a cookie stays
// as it is written.
func (t *transaction) rewriteCookies(res *http.Response) {
	c := t.conf.Cookie
	domain := ""
	switch c.Domain {
	case "set_to_named":
		domain = c.NewDomain
	case "set_to_request":
		domain, _ = splitHost(t.host, t.scheme())
	}
	if domain == "" && t.conf.cookiePath == nil && c.Secure != "set_secure" && c.Secure != "unset_secure" {
		return
	}
	cookies := res.Header["Set-Cookie"]
	for i, cookie := range cookies {
		changed := t.rewriteCookie(cookie, domain)
		if changed != cookie {
			t.v.stats.inc(vsRewriteCookie)
			cookies[i] = changed
		}
	}
}

func (t *transaction) rewriteCookie(cookie, domain string) string {
	parts := strings.Split(cookie, ";")
	kept := parts[:1]
	secure := false
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(name) {
		case "domain":
			// A cookie without a domain is its host's alone: none is added.
			if domain != "" {
				part = " " + name + "=" + domain
			}
		case "path":
			if re := t.conf.cookiePath; re != nil && re.MatchString(value) {
				part = " " + name + "=" + re.ReplaceAllString(value, t.conf.cookieReplace)
			}
		case "secure":
			secure = true
			if t.conf.Cookie.Secure == "unset_secure" {
				continue
			}
		}
		kept = append(kept, part)
	}
	if t.conf.Cookie.Secure == "set_secure" && !secure {
		kept = append(kept, " secure")
	}
	return strings.Join(kept, ";")
}

// detectType gives a response the type of its path's ending where the node gave
// none, or its default (http!mime_detect, http!mime_default).
func (t *transaction) detectType(res *http.Response) {
	if !t.conf.MimeDetect || res.Body == nil || res.Body == http.NoBody {
		return
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if kind != "" && !strings.EqualFold(strings.TrimSpace(kind), t.conf.MimeDefault) {
		return
	}
	if found := mimeType(t.r.URL.Path); found != "" {
		res.Header.Set("Content-Type", found)
	}
}
