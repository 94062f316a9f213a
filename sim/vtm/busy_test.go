package vtm

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vtm-ingress/sim/network"
)

func TestAWriteThatCannotBeginIsRefusedAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{})
		tm, err := Start(Options{World: n.World(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "127.1.0.1", PlainHTTP: true, Users: map[string]string{"admin": "secret"}})
		if err != nil {
			t.Fatal(err)
		}
		send := func(method string) int {
			r := httptest.NewRequest(method, "/api/tm/8.3/config/active/pools/p", strings.NewReader(`{}`))
			r.SetBasicAuth("admin", "secret")
			w := httptest.NewRecorder()
			tm.serve(w, r)
			return w.Code
		}
		tm.writing <- struct{}{} // as another change that takes long
		began := time.Now()
		if status := send("PUT"); status != 503 || time.Since(began) != writeTimeout {
			t.Errorf("%d after %v", status, time.Since(began))
		}
		if status := send("GET"); status != 404 {
			t.Errorf("after the refusal GET answers %d", status)
		}
		<-tm.writing
		if status := send("PUT"); status != 201 {
			t.Errorf("after the other change PUT answers %d", status)
		}
		tm.Close()
		n.Close()
	})
}
