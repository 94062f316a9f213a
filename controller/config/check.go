package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// normalize validates what was given for s and brings it into the form that
// build expects: one text, or for lists any number. problems is empty if all is
// well; it holds no secret.
func (s Setting) normalize(texts []string, isList bool) (normal, problems []string) {
	list := s.Type == "names" || s.Type == "urls"
	switch {
	case isList && !list:
		return nil, []string{"want one value, not a list"}
	case list && !isList:
		texts = strings.Split(texts[0], ",")
	}
	for _, text := range texts {
		if s.Type != "secret" {
			text = strings.TrimSpace(text)
		}
		if text == "" && !isList {
			continue // an empty text is no value
		}
		text, problem := s.normalizeOne(text)
		if problem != "" {
			problems = append(problems, problem)
		}
		normal = append(normal, text)
	}
	if !list && len(normal) == 0 {
		normal = []string{""}
	}
	return normal, problems
}

func (s Setting) normalizeOne(text string) (normal, problem string) {
	if s.pattern != nil && !s.pattern.MatchString(text) {
		return "", fmt.Sprintf("%s: want %s", printable(text), s.Expects)
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		return "", fmt.Sprintf("%s: want %s", printable(text), strings.Join(s.Enum, " or "))
	}
	switch s.Type {
	case "bool":
		if text != "true" && text != "false" {
			return "", fmt.Sprintf("%s: want true or false", printable(text))
		}
	case "duration":
		return text, s.checkDuration(text)
	case "url", "urls":
		return normalizeURL(text)
	case "address":
		host, port, err := net.SplitHostPort(text)
		if n, convErr := strconv.Atoi(port); err != nil || convErr != nil || n < 0 || n > 65535 || strings.ContainsAny(host, " /") {
			return "", fmt.Sprintf("%s: want host:port or :port", printable(text))
		}
	}
	return text, ""
}

func (s Setting) checkDuration(text string) (problem string) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Sprintf("%s: want a number with a unit, such as %s", printable(text), s.Default)
	}
	least, err1 := time.ParseDuration(s.Min)
	most, err2 := time.ParseDuration(s.Max)
	if err1 == nil && d < least || err2 == nil && d > most {
		return fmt.Sprintf("%s: want %s to %s", text, s.Min, s.Max)
	}
	return ""
}

// normalizeURL accepts https, and http to this machine alone, where nobody can
// listen in on the password.
func normalizeURL(text string) (normal, problem string) {
	want := "want a URL such as https://10.0.0.11:9070"
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" {
		return "", want // not quoted: a password may be in it
	}
	if u.User != nil {
		return "", "a URL holds no user and password: they have settings of their own"
	}
	port := u.Port()
	n, convErr := strconv.Atoi(port)
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "",
		port != "" && (convErr != nil || n < 1 || n > 65535):
		return "", fmt.Sprintf("%s: %s", printable(text), want)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "", fmt.Sprintf("%s: want https: with http anybody in between reads and changes all of it", printable(text))
	}
	return strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), ""
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
