package vtm

import (
	"crypto/sha256"
	"encoding/base64"
)

// SameValue reports whether a key that should hold want, and is read as got, needs
// no write; both in normal form. A private key is never read back: the traffic
// manager shows the SHA-256 of the PEM that was sent, in base64 (vtm/rest.md §6).
func SameValue(t Type, section, key string, want, got any) bool {
	if sameNormal(want, got) {
		return true
	}
	sent, ok := want.(string)
	return ok && IsPrivate(t, section, key) && privateHash(sent) == got
}

// IsPrivate reports whether a key holds what must be shown to nobody.
func IsPrivate(t Type, section, key string) bool {
	return t == ServerKeys && section == "basic" && key == "private"
}

// Shown is a key's value as it may be shown: a private key as the traffic manager
// shows it.
func Shown(t Type, section, key string, value any) any {
	text, ok := value.(string)
	if !ok || !IsPrivate(t, section, key) {
		return value
	}
	if sum, err := base64.StdEncoding.DecodeString(text); err == nil && len(sum) == sha256.Size {
		return value // it was read, and is a hash already
	}
	return privateHash(text)
}

func privateHash(pem string) string {
	sum := sha256.Sum256([]byte(pem))
	return base64.StdEncoding.EncodeToString(sum[:])
}
