package controllers

import (
	"strings"

	"k8s.io/client-go/rest"
)

// request addresses one object by its kind.
func (g *garbage) request(verb string, k ownedKind, namespace, name string) *rest.Request {
	return g.client.Discovery().RESTClient().Verb(verb).AbsPath(apiPath(k.apiVersion, k.resource, namespace), name)
}

// apiPath is the path of a collection.
func apiPath(apiVersion, resource, namespace string) string {
	root := "/apis/"
	if !strings.Contains(apiVersion, "/") {
		root = "/api/"
	}
	if namespace != "" {
		namespace = "/namespaces/" + namespace
	}
	return root + apiVersion + namespace + "/" + resource
}
