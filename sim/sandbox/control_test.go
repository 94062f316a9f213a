package sandbox

import (
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

func TestFaultsOfTheAPIServerAreSetByText(t *testing.T) {
	server, err := kube.Start(kube.Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	addresses := AddressesIn(77, 78) // of no other test
	c, err := serveControl(Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Addresses: addresses}, server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	at := "http://" + netip.AddrPortFrom(addresses.APIServer.Addr(), controlPort).String() + "/faults"
	ask := func(method, body string, headers ...string) (int, string) {
		t.Helper()
		request, err := http.NewRequest(method, at, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range headers {
			request.Header.Set(name, "https://evil.example")
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
	const two = "status 409 user=vtm-ingress chance=0.5\naway\n"
	if status, answer := ask("PUT", "status 409 user=vtm-ingress chance=0.5 # half of all\n\naway\nforgets\n"); status != 200 || answer != two {
		t.Errorf("two that last are set: %d %q", status, answer)
	}
	if status, answer := ask("GET", ""); status != 200 || answer != two {
		t.Errorf("shown are %d %q", status, answer)
	}
	if status, answer := ask("PUT", "explode"); status != 400 || !strings.Contains(answer, "line 1") {
		t.Errorf("nonsense: %d %q", status, answer)
	}
	if status, _ := ask("DELETE", "", "Origin"); status != 403 {
		t.Errorf("a browser gets %d", status)
	}
	if status, _ := ask("DELETE", ""); status != 204 || len(server.Faults()) != 0 {
		t.Errorf("healing: %d, %v is left", status, server.Faults())
	}
}
