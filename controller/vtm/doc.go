// Package vtm talks to a traffic manager cluster's REST API (version 8.3) and
// holds the resources that the controller uses there.
//
// It owns requests, their deadlines and errors, the resources' shape on the wire
// and the ownership mark. It never decides what should exist (that is translate)
// nor in which order it is sent (that is reconcile). It imports internal/ only.
package vtm
