package vtm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// apiError is an answer that refuses a request: vtm/rest.md §3. error_info is
// always sent, since public clients fail on answers without it.
type apiError struct {
	status int
	allow  string         // of a 405
	ID     string         `json:"error_id"`
	Text   string         `json:"error_text"`
	Info   map[string]any `json:"error_info"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.ID, e.Text) }

func (e *apiError) body() []byte {
	if e.Info == nil {
		e.Info = map[string]any{}
	}
	b, err := json.Marshal(e)
	if err != nil { // Info holds maps of strings only
		return []byte(`{"error_id":"internal.error","error_text":"","error_info":{}}`)
	}
	return b
}

// innerError is one entry of error_info.
type innerError struct {
	ID   string `json:"error_id"`
	Text string `json:"error_text"`
}

func errAuth() *apiError {
	return &apiError{status: http.StatusUnauthorized, ID: "auth.invalid", Text: "User name or password was invalid"}
}

func errNotFound(path string) *apiError {
	return &apiError{status: http.StatusNotFound, ID: "resource.not_found", Text: fmt.Sprintf("Invalid resource URI: '%s' does not exist", clip(path))}
}

func errForbidden(text string) *apiError {
	return &apiError{status: http.StatusForbidden, ID: "resource.forbidden", Text: text}
}

func errMethod(method, allow string) *apiError {
	return &apiError{status: http.StatusMethodNotAllowed, allow: allow, ID: "resource.method_not_allowed",
		Text: fmt.Sprintf("The method %s is not supported here. Supported are: %s", clip(method), allow)}
}

func errTooLarge(limit int64) *apiError {
	return &apiError{status: http.StatusRequestEntityTooLarge, ID: "resource.too_large", Text: fmt.Sprintf("The body is larger than %d bytes", limit)}
}

func errMediaType(got, want string) *apiError {
	return &apiError{status: http.StatusUnsupportedMediaType, ID: "resource.unsupported_media_type",
		Text: fmt.Sprintf("The Content-Type '%s' is not supported here. Send %s", clip(got), want)}
}

func errName(reason string) *apiError {
	return &apiError{status: http.StatusBadRequest, ID: "resource.invalid_name", Text: "The resource name is invalid: " + reason}
}

func errIncomplete(err error) *apiError {
	return &apiError{status: http.StatusBadRequest, ID: "resource.incomplete_body", Text: "The body ended early: " + clip(err.Error())}
}

func errParse(err error) *apiError {
	return &apiError{status: http.StatusBadRequest, ID: "json.parse_error", Text: "Invalid JSON data: " + clip(err.Error())}
}

func errField(name string) *apiError {
	return &apiError{status: http.StatusBadRequest, ID: "json.field_unknown", Text: fmt.Sprintf("Unexpected field '%s' in main JSON object.", clip(name))}
}

// errBusy answers a write that could not begin before its deadline, because
// another one is still taking effect.
func errBusy() *apiError {
	return &apiError{status: http.StatusServiceUnavailable, ID: "resource.busy", Text: "Another change is still taking effect. Nothing was changed; try again"}
}

// errNoCounters answers for an object that exists but counts nothing.
func errNoCounters(name string) *apiError {
	return &apiError{status: http.StatusBadRequest, ID: "statistics.no_counters", Text: fmt.Sprintf("There are no counters for '%s'", clip(name))}
}

// problems gathers all that is wrong with one body, as error_info shows it:
// section -> key -> error, and section -> table -> row -> column -> error.
type problems map[string]any

// section records a mistake about a section as a whole.
func (ps problems) section(name, id, text string) { ps[clip(name)] = innerError{id, text} }

// key records a mistake about one key.
func (ps problems) key(sectionName, name string, err error) {
	entry := any(innerError{"property.invalid_value", err.Error()})
	var bad *valueError
	if errors.As(err, &bad) {
		entry = innerError{bad.id, bad.text}
		if bad.rows != nil {
			table := make(map[string]any, len(bad.rows))
			for row, cells := range bad.rows {
				columns := make(problems, len(cells))
				for column, err := range cells {
					columns.key(row, column, err)
				}
				table[row] = columns[row]
			}
			entry = table
		}
	}
	ps.put(sectionName, clip(name), entry)
}

func (ps problems) put(sectionName, name string, entry any) {
	keys, ok := ps[sectionName].(map[string]any)
	if !ok {
		keys = make(map[string]any)
		ps[sectionName] = keys
	}
	keys[name] = entry
}

// err is the answer, or nil if nothing is wrong.
func (ps problems) err() *apiError {
	if len(ps) == 0 {
		return nil
	}
	return &apiError{status: http.StatusBadRequest, ID: "resource.validation_error", Text: "The resource provided is invalid", Info: ps}
}

// errDisk answers a write that could not be stored.
func errDisk(err error) *apiError {
	return &apiError{status: http.StatusInsufficientStorage, ID: "resource.not_stored", Text: "The change could not be stored and was not made: " + clip(err.Error())}
}

// errMemberAway answers for the status of another member that does not answer.
func errMemberAway(name string) *apiError {
	return &apiError{status: http.StatusServiceUnavailable, ID: "resource.unavailable", Text: fmt.Sprintf("The traffic manager '%s' cannot be reached", clip(name))}
}

// errHeader answers a request whose header is larger than the settings let it be.
func errHeader(limit int) *apiError {
	return &apiError{status: http.StatusRequestHeaderFieldsTooLarge, ID: "request.header_too_large",
		Text: fmt.Sprintf("The header of the request is larger than %d bytes (rest_api!http_max_header_length)", limit)}
}
