package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
)

// maxBody bounds a request's body in bytes.
const maxBody = 1 << 20

// HandleFaults adds to mux
//
//	GET    /faults    the faults that are set, as text
//	PUT    /faults    replaces them
//	DELETE /faults    heals everything
//
// show gives the text; set takes it, "" for none, and says what is wrong with it.
func HandleFaults(mux *http.ServeMux, show func() string, set func(text string) error) {
	answer := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, show()) // the client may be gone
	}
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	mux.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err == nil {
			err = set(string(body))
		}
		if err != nil {
			Refuse(w, http.StatusBadRequest, err)
			return
		}
		answer(w)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		if err := set(""); err != nil {
			Refuse(w, http.StatusConflict, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// Local refuses requests that come from a browser or by a name: a web page that the
// user looks at must not reach a control API, not even by a name that resolves to its
// address.
func Local(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if a, bad := netip.ParseAddr(host); err != nil || bad != nil || !a.IsLoopback() || r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
			Refuse(w, http.StatusForbidden, errors.New("ask by the loopback address and port, and not from a browser"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// Refuse answers with an error's text.
func Refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, err)
}
