package admin

import (
	"context"
	"net/netip"
	"time"

	"vtm-ingress/sim/dataplane"
)

// View is what the pages see and change of one traffic manager. Its methods may be
// called from several goroutines, and what they return is not changed afterwards.
type View interface {
	// Name of the traffic manager that shows the pages.
	Name() string
	// Admits tells whether a client's address may see the pages at all
	// (security!basic.access).
	Admits(from netip.Addr) bool
	// LogIn checks a user's password, as the REST API does. It may wait as the
	// login delay says, for as long as ctx lets it.
	LogIn(ctx context.Context, user, password string, from netip.Addr) bool
	// Access is what a user may do with a subject: resources of a type, by its
	// path, or one of AccessHome, AccessDiagnose and AccessLog.
	Access(user, subject string) Access
	// SessionTimeout is how long a user's session lives without a request; 0: it
	// does not end.
	SessionTimeout(user string) time.Duration

	// Types are all resource types, sorted by path, always the same.
	Types() []Type
	// Names are those of a type's resources, sorted; none for a singleton.
	Names(path string) []string
	// Resource is one resource, nil if there is none; a singleton's name is "".
	Resource(path, name string) *Resource

	// State is what the data plane of this traffic manager shows.
	State() dataplane.State
	// Members are the traffic managers of the cluster, in their order; one that is
	// on its own is its only member.
	Members() []Member
	// Problems are what is wrong now, on each member that can be asked.
	Problems() []Problem
	// Events are the lines of all members that can be asked, oldest first, newer
	// than a cursor (nil: all that are kept), and the cursor that follows.
	Events(after Cursor) ([]Line, Cursor)

	// EditLists changes the lists of a resource of type custom, which is made if
	// there is none. edit gets the present lists and returns the new ones; nothing
	// happens between the two. An error of edit is returned as it is.
	EditLists(ctx context.Context, user, name string, edit func([]List) ([]List, error)) error
	// Reactivate lets this traffic manager host Traffic IP addresses again after it
	// has recovered.
	Reactivate(user string)
}

// Access is what somebody may do.
type Access int

const (
	None     Access = iota // not even look
	ReadOnly               // look
	Full                   // look and change
)

// Subjects of View.Access that are no resource types.
const (
	AccessHome     = "status/information"
	AccessDiagnose = "status/state"
	AccessLog      = "log"
)

// Type is a resource type of the REST API.
type Type struct {
	Path  string // below config/active: "ssl/server_keys"
	About string // what it is for
	Kind  Kind
	Keys  []Key // sorted by section and name; none for files
}

// Kind says what the resources of a type are.
type Kind int

const (
	Collection Kind = iota // named resources with keys
	Singleton              // one resource without a name
	Files                  // named files
)

// Key is one key of a type, or a column of a table.
type Key struct {
	Section, Name string
	About         string // what it is for; "" if nobody has said
	Type          string // in words: "a boolean"
	Default       string // as text; "" for none
	Enum          []string
	Range         string // in words: "0 to 65535"; "" for any
	Required      bool
	Expert        bool // hidden over REST unless asked for
	Columns       []Key
}

// Resource is one resource as it may be shown: the values of secret keys are not
// in it.
type Resource struct {
	Path, Name string
	BuiltIn    bool
	Values     []Value // one for each of Type.Keys, in their order
	Content    []byte  // of a file
	Secret     bool    // of a file: Content is left out
	Size       int     // of a file, in bytes
}

// Value is the value of a key: one of Text, List and Rows.
type Value struct {
	Key    *Key
	Set    bool // false: it is the default
	Secret bool // it is left out
	Text   string
	List   []string
	Rows   [][]string // cells in the order of Key.Columns; lists as text
}

// value is that of a key; the zero value if the type has none of that name.
func (r *Resource) value(section, name string) Value {
	if r != nil {
		for _, v := range r.Values {
			if v.Key.Section == section && v.Key.Name == name {
				return v
			}
		}
	}
	return Value{}
}

func (r *Resource) text(section, name string) string   { return r.value(section, name).Text }
func (r *Resource) list(section, name string) []string { return r.value(section, name).List }
func (r *Resource) flag(section, name string) bool     { return r.text(section, name) == "true" }

// Member is a traffic manager of the cluster, as the one that shows it sees it.
type Member struct {
	Name    string
	Address string // of the machine; "" if it is not known
	State   string // "working", "failed", or "pending": works again, hosts nothing yet
	Raised  []string
	Self    bool
}

// Problem is something that is wrong now.
type Problem struct {
	Member  string
	Serious bool // it stops something from working
	Text    string
}

// Line is a line of a member's event log.
type Line struct {
	Time   time.Time
	Member string
	dataplane.Event
}

// Cursor is a place in the members' event logs: how many lines each had.
type Cursor map[string]uint64

// List is a row of string_lists of a resource of type custom.
type List struct {
	Name   string
	Values []string
}
