package kube

import "net/http"

// openAPI are the handlers of the OpenAPI documents, by path pattern.
func openAPI(a *api) map[string]http.Handler {
	return nil
}
