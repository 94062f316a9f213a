package acme

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// The paths of the CA's resources. Below those that end in a slash is a number.
const (
	pathDirectory     = "/directory"
	pathNonce         = "/nonce"
	pathNewAccount    = "/new-account"
	pathNewOrder      = "/new-order"
	pathRevoke        = "/revoke"
	pathRenewalInfo   = "/renewal-info"
	pathAccount       = "/account/"
	pathOrder         = "/order/"
	pathFinalize      = "/finalize/"
	pathAuthorization = "/authorization/"
	pathChallenge     = "/challenge/"
	pathCertificate   = "/certificate/"
)

// maxBody of a request. A CSR for a hundred hosts is a tenth of that.
const maxBody = 256 << 10

// Problem is a problem document (RFC 7807) of RFC 8555, section 6.7.
type Problem struct {
	Type        string    `json:"type"`
	Detail      string    `json:"detail"`
	Status      int       `json:"status"`
	Subproblems []Problem `json:"subproblems,omitempty"`
	// Identifier that a subproblem is about.
	Identifier *identifier `json:"identifier,omitempty"`
}

// Error is the problem in one line.
func (p *Problem) Error() string { return p.Type + ": " + p.Detail }

// statuses of problems that are not 400.
var statuses = map[string]int{
	"accountDoesNotExist": http.StatusBadRequest, "unauthorized": http.StatusForbidden, "userActionRequired": http.StatusForbidden,
	"orderNotReady": http.StatusForbidden, "externalAccountRequired": http.StatusForbidden,
	"rateLimited": http.StatusTooManyRequests, "serverInternal": http.StatusInternalServerError, "alreadyReplaced": http.StatusConflict,
}

func problem(kind, format string, args ...any) *Problem {
	status := statuses[kind]
	if status == 0 {
		status = http.StatusBadRequest
	}
	return &Problem{Type: "urn:ietf:params:acme:error:" + kind, Detail: fmt.Sprintf(format, args...), Status: status}
}

func notFound(what string) *Problem {
	p := problem("malformed", "there is no such %s", what)
	p.Status = http.StatusNotFound
	return p
}

// signed is a request whose signature was checked.
type signed struct {
	payload []byte
	account *account         // nil with a key that has none yet
	key     *jose.JSONWebKey // that signed
}

// get says whether it is a POST-as-GET (RFC 8555, section 6.3).
func (s *signed) get() bool { return len(s.payload) == 0 }

// handler dispatches by path.
func (ca *CA) handler() http.Handler {
	mux := http.NewServeMux()
	plain := func(path, name string, serve func(w http.ResponseWriter, r *http.Request)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			ca.nonce(w)
			if ca.refused(w, name) {
				return
			}
			serve(w, r)
		})
	}
	plain("GET "+pathDirectory, "directory", ca.serveDirectory)
	plain("GET "+pathNonce, "newNonce", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	plain("HEAD "+pathNonce, "newNonce", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	plain("GET "+pathRenewalInfo+"/{id}", "renewalInfo", ca.serveRenewalInfo)

	post := func(path, name string, serve func(w http.ResponseWriter, r *http.Request, s *signed) *Problem) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			ca.nonce(w)
			if ca.refused(w, name) {
				return
			}
			s, p := ca.verify(r, name == "newAccount")
			if p == nil {
				p = serve(w, r, s)
			}
			if p != nil {
				send(w, p)
			}
		})
	}
	post(pathNewAccount, "newAccount", ca.newAccount)
	post(pathAccount+"{n}", "account", ca.serveAccount)
	post(pathNewOrder, "newOrder", ca.newOrder)
	post(pathOrder+"{n}", "order", ca.serveOrder)
	post(pathFinalize+"{n}", "finalize", ca.finalize)
	post(pathAuthorization+"{n}", "authorization", ca.serveAuthorization)
	post(pathChallenge+"{n}/{kind}", "challenge", ca.challenge)
	post(pathCertificate+"{n}", "certificate", ca.serveCertificate)
	post(pathCertificate+"{n}"+otherChain, "certificate", ca.serveCertificate)
	post(pathRevoke, "revoke", ca.revoke)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { send(w, notFound("resource")) })
	return mux
}

// url is the whole one of a path.
func (ca *CA) url(path string) string {
	return strings.TrimSuffix(ca.directory, pathDirectory) + path
}

// nonce gives each answer a new one.
func (ca *CA) nonce(w http.ResponseWriter) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	nonce := "n" + strconv.Itoa(ca.name())
	ca.nonces[nonce] = true
	w.Header().Set("Replay-Nonce", nonce)
	w.Header().Set("Cache-Control", "no-store")
	// By the CA's own clock, which may be another than this process's.
	w.Header().Set("Date", ca.o.World.Clock().Now().UTC().Format(http.TimeFormat))
	w.Header().Add("Link", "<"+ca.url(pathDirectory)+`>;rel="index"`)
}

// refused answers with the fault that this request meets, if any.
func (ca *CA) refused(w http.ResponseWriter, request string) bool {
	r := ca.refusal(request)
	if r == nil {
		return false
	}
	if r.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(r.RetryAfter/time.Second)))
	}
	if r.Garbage {
		garbage(w)
		return true
	}
	detail := r.Detail
	if detail == "" {
		detail = "refused on demand"
	}
	p := problem(r.Problem, "%s", detail)
	if r.Status != 0 {
		p.Status = r.Status
	}
	send(w, p)
	return true
}

func send(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (ca *CA) serveDirectory(w http.ResponseWriter, _ *http.Request) {
	profiles := map[string]string{}
	for name, life := range ca.o.Profiles {
		profiles[name] = life.String() + " of life"
	}
	meta := map[string]any{
		"termsOfService": "https://sandbox.invalid/terms", "profiles": profiles, "caaIdentities": []string{"sandbox.invalid"},
	}
	if len(ca.o.ExternalAccounts) > 0 {
		meta["externalAccountRequired"] = true
	}
	reply(w, http.StatusOK, map[string]any{
		"newNonce": ca.url(pathNonce), "newAccount": ca.url(pathNewAccount), "newOrder": ca.url(pathNewOrder),
		"revokeCert": ca.url(pathRevoke), "renewalInfo": ca.url(pathRenewalInfo), "meta": meta,
	})
}

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.RS256}

// verify checks a request's form and signature (RFC 8555, section 6.2).
func (ca *CA) verify(r *http.Request, byKey bool) (*signed, *Problem) {
	if r.Header.Get("Content-Type") != "application/jose+json" {
		p := problem("malformed", "Content-Type is not application/jose+json")
		p.Status = http.StatusUnsupportedMediaType
		return nil, p
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return nil, problem("malformed", "the request can't be read: %v", err)
	}
	message, err := jose.ParseSigned(string(body), algorithms)
	if err != nil {
		if algorithm := (*jose.ErrUnexpectedSignatureAlgorithm)(nil); errors.As(err, &algorithm) {
			return nil, problem("badSignatureAlgorithm", "%v", err)
		}
		return nil, problem("malformed", "no JSON Web Signature: %v", err)
	}
	if len(message.Signatures) != 1 {
		return nil, problem("malformed", "%d signatures instead of one", len(message.Signatures))
	}
	header := message.Signatures[0].Protected
	s := &signed{}
	switch {
	case header.JSONWebKey != nil && header.KeyID != "":
		return nil, problem("malformed", "both jwk and kid are given")
	case header.JSONWebKey != nil:
		if !byKey {
			return nil, problem("malformed", "kid is needed, not jwk")
		}
		if !header.JSONWebKey.Valid() || !header.JSONWebKey.IsPublic() {
			return nil, problem("badPublicKey", "the key can't be used")
		}
		s.key = header.JSONWebKey
	case byKey:
		return nil, problem("malformed", "jwk is needed")
	default:
		path, ok := strings.CutPrefix(header.KeyID, ca.url(""))
		ca.mu.Lock()
		s.account = ca.accounts[path]
		ca.mu.Unlock()
		if !ok || s.account == nil {
			return nil, problem("accountDoesNotExist", "there is no account %s", header.KeyID)
		}
		if !s.account.valid {
			return nil, problem("unauthorized", "the account is deactivated")
		}
		s.key = s.account.key
	}
	if s.payload, err = message.Verify(s.key); err != nil {
		return nil, problem("malformed", "the signature is not that of the key")
	}
	if url, _ := header.ExtraHeaders["url"].(string); url != ca.url(r.URL.Path) {
		return nil, problem("unauthorized", "signed for %q, sent to %q", url, ca.url(r.URL.Path))
	}
	ca.mu.Lock()
	known := ca.nonces[header.Nonce]
	delete(ca.nonces, header.Nonce)
	ca.mu.Unlock()
	if !known {
		return nil, problem("badNonce", "the nonce %q is not known", header.Nonce)
	}
	return s, nil
}

// read decodes the payload.
func (s *signed) read(into any) *Problem {
	if err := json.Unmarshal(s.payload, into); err != nil {
		return problem("malformed", "the payload can't be read: %v", err)
	}
	return nil
}

// thumbprint of a key (RFC 7638), as the second half of a key authorization.
func thumbprint(key *jose.JSONWebKey) (string, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}
