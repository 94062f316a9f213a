// Package config holds the controller's settings and reads them from flags,
// environment and file.
//
// It owns their Go form, precedence, validation and errors, and the Kubernetes
// client configuration that follows from them; what settings there are, with
// types, defaults, ranges and meaning, is internal/facts/settings.json. It never
// connects to anyone. It imports internal/facts only. A *Settings is immutable
// once loaded: others compare pointers to see whether settings changed.
package config
