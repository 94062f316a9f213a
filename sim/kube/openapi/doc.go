// Package openapi makes the documents in which the emulated API server
// describes its kinds: OpenAPI 2.0 (/openapi/v2, as JSON and as protobuf) and
// 3.0 (/openapi/v3, one document a group and version), and, from the same
// schemas, the type converter that server-side apply needs.
//
// The schemas come from the Go types of k8s.io/api by reflection when first
// asked for: names, fields, texts (SwaggerDoc), patch strategies (struct tags).
// What only comments in those types say (list types and their keys, atomic
// structs, defaults, which fields are optional against their tag) is in
// markers.tsv, which a test writes and compares with the sources.
//
// It never stores or serves objects. It imports sim/kube/kinds, k8s.io/api,
// k8s.io/apimachinery and k8s.io/kube-openapi; sim/kube imports it.
package openapi
