package config

import (
	"fmt"
	"log/slog"
)

const hidden = "[hidden]"

// Secret is a password or token that does not print: fmt, log/slog and
// encoding/json show "[hidden]". The zero value is no secret at all.
type Secret struct {
	// A pointer, so that even fmt's walk over unexported fields, which calls no
	// methods, meets an address and not the text.
	text *string
}

// NewSecret hides text; an empty text is no secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text, "" if there is none.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet tells whether there is a secret.
func (s Secret) IsSet() bool { return s.text != nil }

// Format makes every verb of fmt print "[hidden]", or nothing if unset.
func (s Secret) Format(f fmt.State, _ rune) {
	if s.text != nil {
		_, _ = f.Write([]byte(hidden))
	}
}

// LogValue is for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// MarshalText is for encoders, such as encoding/json.
func (s Secret) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(s)), nil }
