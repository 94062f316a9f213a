// Package facts embeds the project's data about the outside: the resources of
// the traffic manager's REST API 8.3, the functions of TrafficScript, and the
// controller's settings.
//
// It holds data and no logic, and imports nothing of the project. Both sides,
// controller and emulators, read the same facts with code of their own, so that
// an error in one side's code is found by the other.
package facts

import _ "embed"

// RESTSchema is rest-8.3.schema.json: under "config", path -> kind (collection,
// singleton, files), sections and keys with type, default, enum, min, max,
// pattern, required, read_only, expert and columns; under "status", path ->
// root, fields, per_name.
//
//go:embed rest-8.3.schema.json
var RESTSchema []byte

// TrafficScriptFunctions is trafficscript-functions.tsv: a function name, a tab
// and its parameters a line; lines that begin with # are comments. Names ignore
// case.
//
//go:embed trafficscript-functions.tsv
var TrafficScriptFunctions []byte

// Settings is settings.json: under "settings", the controller's settings in the
// order of the documentation, each with key, type (bool, string, names, secret,
// file, url, urls, duration, address), meaning, and where they apply default (as
// text), required, enum, pattern with expects (the pattern in words), min, max
// and example. Those marked local are never kept on the traffic manager.
//
//go:embed settings.json
var Settings []byte

// Descriptions is descriptions.tsv: a resource type, or type, a blank and
// section/key, then a tab and what it is for, a line each. Every type is described;
// of the keys all but those that nothing public explains. Lines that begin with # are
// comments.
//
//go:embed descriptions.tsv
var Descriptions []byte
