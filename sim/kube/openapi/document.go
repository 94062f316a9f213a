package openapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/munnerz/goautoneg"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"

	"vtm-ingress/sim/kube/kinds"
)

// The media types of documents. The one with @ is no media type by RFC 9110:
// clients ask with it, and are answered with the other.
const (
	mediaJSON        = "application/json"
	mediaProtobuf    = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	mediaProtobufOld = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
)

// Documents are the documents of one server. They are made when first asked for
// and kept; safe for concurrent use. As an http.Handler they serve /openapi/v2,
// /openapi/v3 and /openapi/v3/{api/v1, apis/<group>/<version>}, to GET and HEAD.
type Documents struct {
	table   []kinds.Kind
	version string
	// since has what depends on the version that is presented.
	since struct{ v3, fieldValidation bool }

	v2JSON, v2Protobuf func() (document, error)
	v3                 map[string]func() (document, error) // by "api/v1", "apis/apps/v1"
	index              func() (document, error)
}

// document is one made document, with the hash of its content.
type document struct {
	content []byte
	hash    string // hexadecimal
}

// New gives the documents of a server that serves the kinds of table and
// presents itself as the given Kubernetes version ("1.37", "v1.20.2"). OpenAPI
// 3.0 is served from 1.24 on. It makes nothing yet.
func New(table []kinds.Kind, kubernetes string) (*Documents, error) {
	v, err := version.ParseGeneric(kubernetes)
	if err != nil {
		return nil, fmt.Errorf("version %q of Kubernetes: give major and minor, like 1.37: %w", kubernetes, err)
	}
	d := &Documents{table: table, version: kubernetes, v3: map[string]func() (document, error){}}
	d.since.v3 = v.AtLeast(version.MajorMinor(1, 24))
	d.since.fieldValidation = v.AtLeast(version.MajorMinor(1, 25))

	d.v2JSON = sync.OnceValues(func() (document, error) { return toJSON(d.buildV2()) })
	d.v2Protobuf = sync.OnceValues(d.buildV2Protobuf)
	if d.since.v3 {
		for _, k := range table {
			gv := k.GroupVersionKind.GroupVersion()
			if path := root(gv); d.v3[path] == nil {
				d.v3[path] = sync.OnceValues(func() (document, error) { return toJSON(d.buildV3(gv)) })
			}
		}
		d.index = sync.OnceValues(d.buildIndex)
	}
	return d, nil
}

// root is the path of a group and version, without the first slash.
func root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.Group + "/" + gv.Version
}

// ServeHTTP serves the documents. A path that is none of theirs is answered
// with 404.
func (d *Documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "documents can be read only", http.StatusMethodNotAllowed)
		return
	}
	offered := []string{mediaJSON}
	builds := map[string]func() (document, error){}
	switch path := strings.Trim(r.URL.Path, "/"); {
	case path == "openapi/v2":
		offered = append(offered, mediaProtobuf, mediaProtobufOld)
		builds[mediaJSON], builds[mediaProtobuf], builds[mediaProtobufOld] = d.v2JSON, d.v2Protobuf, d.v2Protobuf
	case path == "openapi/v3" && d.since.v3:
		builds[mediaJSON] = d.index
	default:
		group, is := strings.CutPrefix(path, "openapi/v3/")
		if builds[mediaJSON] = d.v3[group]; !is || builds[mediaJSON] == nil {
			http.NotFound(w, r)
			return
		}
	}

	media := mediaJSON
	if accept := r.Header.Get("Accept"); accept != "" {
		media = goautoneg.Negotiate(accept, offered)
	}
	w.Header().Set("Vary", "Accept")
	if media == "" {
		http.Error(w, "only the following media types are served: "+strings.Join(offered, ", "), http.StatusNotAcceptable)
		return
	}
	doc, err := builds[media]()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	// A client that asks for a certain content by its hash gets what is, and may
	// keep it for good.
	if hash := r.URL.Query().Get("hash"); hash != "" {
		if hash != doc.hash {
			http.Redirect(w, r, withHash(strings.TrimPrefix(r.URL.Path, "/openapi/v3/"), doc.hash), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
	}
	if media == mediaProtobufOld {
		media = mediaProtobuf
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Etag", strconv.Quote(doc.hash))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(doc.content))
}

func (d *Documents) buildV2Protobuf() (document, error) {
	j, err := d.v2JSON()
	if err != nil {
		return document{}, err
	}
	parsed, err := openapi_v2.ParseDocument(j.content)
	if err != nil {
		return document{}, fmt.Errorf("OpenAPI v2 as protobuf: %w", err)
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
	if err != nil {
		return document{}, fmt.Errorf("OpenAPI v2 as protobuf: %w", err)
	}
	return newDocument(content), nil
}

// buildIndex lists the documents with their hashes, by which clients cache them.
func (d *Documents) buildIndex() (document, error) {
	type entry struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for path, build := range d.v3 {
		doc, err := build()
		if err != nil {
			return document{}, err
		}
		paths[path] = entry{withHash(path, doc.hash)}
	}
	return toJSON(map[string]any{"paths": paths})
}

func withHash(path, hash string) string {
	return "/openapi/v3/" + path + "?" + url.Values{"hash": {hash}}.Encode()
}

func toJSON(v any) (document, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return document{}, fmt.Errorf("OpenAPI document: %w", err)
	}
	return newDocument(content), nil
}

func newDocument(content []byte) document {
	sum := sha256.Sum256(content)
	return document{content, fmt.Sprintf("%X", sum)}
}
