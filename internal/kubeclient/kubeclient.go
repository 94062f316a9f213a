// Package kubeclient makes Kubernetes clients whose connections come from an
// outside.World.
//
// It owns nothing but that one step: client-go keeps transports in a
// process-wide cache that no one can close, and dials by itself; production
// code, emulators and test lanes all need clients that do neither. Everything
// may import it; it imports internal/outside and client-go only.
package kubeclient

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"vtm-ingress/internal/outside"
)

// Client is a clientset together with the HTTP client beneath it, which its
// owner closes by Close once nothing uses the clientset any more.
type Client struct {
	kubernetes.Interface
	base *http.Client
}

// New makes a clientset for config whose connections are made by world in the
// name of actor. Client-side throttling is off: the callers bound their own work.
// Without a UserAgent, the client has the name of the program. config is not
// modified; its Timeout must be 0, since each request carries a
// context with a deadline of its own.
func New(world outside.World, actor string, config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	if config.UserAgent == "" { // else the API server takes all clients for one manager of fields
		config.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	tlsConfig, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client of %s: TLS settings: %w", actor, err)
	}
	base := world.HTTPClient(actor, tlsConfig)
	transport, err := rest.HTTPWrappersForConfig(config, base.Transport)
	if err != nil {
		return nil, fmt.Errorf("kubernetes client of %s: credentials: %w", actor, err)
	}
	clientset, err := kubernetes.NewForConfigAndClient(config, &http.Client{Transport: transport})
	if err != nil {
		return nil, fmt.Errorf("kubernetes client of %s: %w", actor, err)
	}
	return &Client{Interface: clientset, base: base}, nil
}

// Close closes idle connections. Requests under way are ended by their contexts.
func (c *Client) Close() { c.base.CloseIdleConnections() }
