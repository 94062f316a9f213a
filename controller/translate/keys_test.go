package translate

import (
	"encoding/pem"
	"testing"
)

func TestEncryptedKeysAreTold(t *testing.T) {
	plain := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("key")})
	for name, c := range map[string]struct {
		key  []byte
		want bool
	}{
		"none":    {nil, false},
		"rubbish": {[]byte("rubbish"), false},
		"plain":   {plain, false},
		"PKCS #8": {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("key")}), true},
		"of old": {append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte("curve")}), pem.EncodeToMemory(&pem.Block{
			Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("key"),
		})...), true},
	} {
		if got := encrypted(c.key); got != c.want {
			t.Errorf("%s: encrypted is %v", name, got)
		}
	}
}
