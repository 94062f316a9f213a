package controller

import (
	"context"
	"fmt"
	"net/url"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// eventLogRelay is the Relay together with its client of the REST API.
type eventLogRelay struct {
	*report.Relay
	close func()
}

// newRelay makes the relay of log lines to the traffic manager's event log, and
// what translation must know of it; nil if there is to be none. self is asked for once
// it runs.
func newRelay(o Options, self func() *report.Self) (*eventLogRelay, *translate.Relay, error) {
	s := o.Settings
	if !s.EventLogRelay || !s.EnableIngctrl {
		return nil, nil, nil
	}
	relayed, token, err := relayOf(s)
	if err != nil {
		return nil, nil, err
	}
	client, err := newClient(o, s, o.Actor+"/relay/rest", nil)
	if err != nil {
		return nil, nil, err
	}
	key := vtm.ID{Type: vtm.ServerKeys, Name: translate.RelayName(s.ControllerID)}
	relay := report.NewRelay(report.RelayOptions{
		World: o.World, Log: o.Log, Actor: o.Actor + "/relay", Endpoint: client.Endpoint, Port: s.EventLogRelayPort, Token: token,
		Certificate: func(ctx context.Context) ([]byte, error) {
			r, err := client.Get(ctx, key)
			if err != nil {
				return nil, err
			}
			text, _ := r.Get("basic", "public").(string)
			return []byte(text), nil
		},
		Warn: func(reason, message string) { self().Warn(reason, message) }, Over: func(reason string) { self().Over(reason) },
		MaxRequest: translate.RelayRequest, MaxLine: translate.RelayLine,
	})
	return &eventLogRelay{relay, client.Close}, relayed, nil
}

// RelayOf is what translation must know of the relay with these settings; nil if
// there is to be none.
func RelayOf(s *config.Settings) (*translate.Relay, error) {
	if !s.EventLogRelay {
		return nil, nil
	}
	relayed, _, err := relayOf(s)
	return relayed, err
}

func relayOf(s *config.Settings) (relayed *translate.Relay, token string, err error) {
	token, sum, err := report.RelayToken(s.VTMPassword.Reveal(), s.ControllerID)
	if err != nil {
		return nil, "", err
	}
	relayed = &translate.Relay{Port: s.EventLogRelayPort, TokenSum: sum}
	for _, endpoint := range s.VTMEndpoints {
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, "", fmt.Errorf("vtm_endpoints: %s: %w", endpoint, err)
		}
		relayed.Hosts = append(relayed.Hosts, u.Hostname())
	}
	return relayed, token, nil
}
