package dataplane

import "crypto/tls"

func (c *client) stream(secure *tls.Conn) {
	c.Conn.Close()
	c.end()
}
