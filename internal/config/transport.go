package config

import (
	"net/http"
	"sync"

	commoncfg "github.com/prometheus/common/config"
	"github.com/prometheus/common/version"

	"vbaws_exporter/vbaws"
)

// Client returns a client of the appliance, with the settings of the configuration and the
// rest of c.
func (a *Appliance) Client(c vbaws.Config) (*vbaws.Client, error) {
	c.URL, c.Username, c.Password, c.APIVersion = a.URL, a.Username, a.Password, a.APIVersion
	c.UserAgent = UserAgent()
	return vbaws.New(c)
}

// UserAgent returns the User-Agent of requests to appliances.
func UserAgent() string { return "vbaws_exporter/" + version.Version }

// CheckTLS loads the certificates and the key of tls_config, in files or inline. Its
// error is a *vbaws.Error of vbaws.KindConfig.
func (a *Appliance) CheckTLS() error {
	if _, err := commoncfg.NewTLSConfig(&a.Network.TLS); err != nil {
		return &vbaws.Error{Kind: vbaws.KindConfig, Op: "tls_config", Err: err}
	}
	return nil
}

// Transport returns a new transport to the appliance, with its own connections. It
// reads the files of tls_config at the first request, and again when one changed. A
// request that fails while CheckTLS returns an error fails with that error.
func (a *Appliance) Transport() http.RoundTripper { return &transport{appliance: a} }

// transport creates the library's transport once its files can be read.
type transport struct {
	appliance *Appliance

	mu   sync.Mutex
	next http.RoundTripper // nil before the files could be read
}

func (t *transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	next, err := t.made()
	if err == nil {
		resp, err = next.RoundTrip(r)
	} else if r.Body != nil {
		r.Body.Close()
	}
	if err == nil {
		return resp, nil
	}
	// The library's errors have no type. It reads the files at each request and at
	// each handshake, so a broken file is the cause.
	if local := t.appliance.CheckTLS(); local != nil {
		err = local
	}
	return nil, err
}

func (t *transport) made() (_ http.RoundTripper, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == nil {
		t.next, err = commoncfg.NewRoundTripperFromConfig(commoncfg.HTTPClientConfig{
			TLSConfig:   t.appliance.Network.TLS,
			ProxyConfig: commoncfg.ProxyConfig{ProxyURL: commoncfg.URL{URL: t.appliance.Network.Proxy}},
			// HTTP/2 has no advantage for one request at a time, and its connection
			// would be kept after it stopped responding.
			EnableHTTP2: false,
		}, t.appliance.Name)
	}
	return t.next, err
}

// CloseIdleConnections is called by http.Client.CloseIdleConnections.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		(&http.Client{Transport: t.next}).CloseIdleConnections()
	}
}
