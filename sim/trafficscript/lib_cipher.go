package trafficscript

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// cipherFunctions encrypt by AES-256 in counter mode, with a MAC over all of it.
// The traffic manager's own format is not published: this one is base64 of nonce,
// text and MAC, which a cookie can carry.
var cipherFunctions = []function{
	fn("string.encrypt", 2, 2, func(r *run, a []value) value {
		text, pass := r.toString(a[0]), r.toString(a[1])
		if !r.alloc(2 * len(text)) {
			return value{}
		}
		sealed := binary.BigEndian.AppendUint64(make([]byte, 0, 2*aes.BlockSize+len(text)+sha256.Size), r.host.Random())
		sealed = binary.BigEndian.AppendUint64(sealed, r.host.Random())
		sealed = append(sealed, text...)
		crypt(pass, sealed)
		sealed = append(sealed, sealMAC(pass, sealed)...)
		return stringValue(base64.StdEncoding.EncodeToString(sealed))
	}),
	fn("string.decrypt", 2, 2, func(r *run, a []value) value {
		text, pass := r.toString(a[0]), r.toString(a[1])
		if !r.alloc(len(text)) {
			return value{}
		}
		sealed, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(sealed) < aes.BlockSize+sha256.Size {
			return value{}
		}
		sealed, mac := sealed[:len(sealed)-sha256.Size], sealed[len(sealed)-sha256.Size:]
		if !hmac.Equal(mac, sealMAC(pass, sealed)) {
			return value{}
		}
		crypt(pass, sealed)
		return stringValue(string(sealed[aes.BlockSize:]))
	}),
}

// passKey expands a pass phrase for one use.
func passKey(use, pass string) []byte {
	key := sha256.Sum256([]byte(use + "\x00" + pass))
	return key[:]
}

// crypt encrypts or decrypts what follows the nonce.
func crypt(pass string, sealed []byte) {
	block, err := aes.NewCipher(passKey("encrypt", pass))
	if err != nil {
		panic(err) // the key has one of the lengths that AES knows
	}
	cipher.NewCTR(block, sealed[:aes.BlockSize]).XORKeyStream(sealed[aes.BlockSize:], sealed[aes.BlockSize:])
}

func sealMAC(pass string, sealed []byte) []byte {
	h := hmac.New(sha256.New, passKey("mac", pass))
	h.Write(sealed)
	return h.Sum(nil)
}
