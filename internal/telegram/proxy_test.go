package telegram

import (
	"context"
	"net"
	"net/url"
	"testing"
	"time"
)

// TestAProxyThatIsSilent : it is named, and nothing was sent by way of it.
func TestAProxyThatIsSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, scheme := range []string{"http", "https", "socks5"} {
		proxy := &url.URL{Scheme: scheme, User: url.UserPassword("u", "pr0xy-Pass"), Host: l.Addr().String()}
		c := unfenced(newEndpoint("https://example.com", mustToken(t), proxy))
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		resp := c.call(ctx, "getMe", struct{}{}, maxResponseBytes)
		cancel()
		c.close()
		if want := "the proxy at " + proxy.Host + " cannot be used: no answer in time"; resp.class != broken ||
			resp.maybeTaken || resp.Error() != want {
			t.Errorf("%s: %+v, want %q", scheme, resp, want)
		}
	}
}
