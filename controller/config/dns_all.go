//go:build alldns

package config

// everyDNSProvider: the program has all of lego's providers.
const everyDNSProvider = true
