package vbawstest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Server serves an Appliance.
type Server struct {
	*Appliance
	// URL is the scheme, the host and the port; no path.
	URL string

	inner *httptest.Server
	dial  func(ctx context.Context, network, address string) (net.Conn, error) // nil: the network

	mu         sync.Mutex
	transports []*http.Transport
}

// NewServer serves a over TLS on the loopback interface, with a certificate that
// only CertPool vouches for. The caller must Close it.
func NewServer(a *Appliance) *Server {
	s := newServer(a)
	s.start(true)
	return s
}

// NewHTTPServer is NewServer without TLS.
func NewHTTPServer(a *Appliance) *Server {
	s := newServer(a)
	s.start(false)
	return s
}

// NewPipeServer serves a without TLS over pipes in memory. Only DialContext,
// Transport and Client reach it. It needs no network and so works in a bubble of
// testing/synctest, where it must be closed before the bubble ends.
func NewPipeServer(a *Appliance) *Server {
	s := newServer(a)
	pipes := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s.inner.Listener.Close()
	s.inner.Listener = pipes
	s.dial = pipes.dial
	s.start(false)
	return s
}

// Listen serves a on a TCP address, such as "127.0.0.1:11005", with TLS or
// without. The caller must Close it. The certificate is for 127.0.0.1, ::1 and
// example.com.
func Listen(a *Appliance, address string, encrypted bool) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve the simulated appliance: %w", err)
	}
	s := newServer(a)
	s.inner.Listener.Close()
	s.inner.Listener = l
	s.start(encrypted)
	return s, nil
}

func newServer(a *Appliance) *Server {
	inner := httptest.NewUnstartedServer(a)
	// Refused handshakes and broken connections are what clients are tested
	// with.
	inner.Config.ErrorLog = log.New(io.Discard, "", 0)
	return &Server{Appliance: a, inner: inner}
}

func (s *Server) start(encrypted bool) {
	if encrypted {
		c, err := certificate()
		if err != nil {
			panic("make a certificate: " + err.Error()) // as net/http/httptest does
		}
		s.inner.TLS = &tls.Config{Certificates: []tls.Certificate{c}}
		s.inner.StartTLS()
	} else {
		s.inner.Start()
	}
	s.URL = s.inner.URL
}

// Close breaks all connections and waits until the last request has ended.
func (s *Server) Close() {
	s.mu.Lock()
	for _, t := range s.transports {
		t.CloseIdleConnections()
	}
	s.mu.Unlock()
	s.inner.CloseClientConnections()
	s.inner.Close()
}

// BreakConnections closes all connections, busy ones too. New ones are
// accepted.
func (s *Server) BreakConnections() { s.inner.CloseClientConnections() }

// Certificate returns the server's certificate, which is its own authority, or
// nil without TLS.
func (s *Server) Certificate() *x509.Certificate { return s.inner.Certificate() }

// CertPEM returns Certificate in PEM form, for a file of trusted authorities. It
// is nil without TLS.
func (s *Server) CertPEM() []byte {
	c := s.Certificate()
	if c == nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// CertPool returns a pool with Certificate alone.
func (s *Server) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	if c := s.Certificate(); c != nil {
		pool.AddCert(c)
	}
	return pool
}

// DialContext connects to the server whatever the address says. It is meant for
// http.Transport.
func (s *Server) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	if s.dial != nil {
		return s.dial(ctx, network, "")
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.inner.Listener.Addr().String())
}

// Transport returns a new transport that reaches and trusts the server. Close
// closes its idle connections.
func (s *Server) Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.MaxIdleConnsPerHost = 16 // a handshake is most of what a request costs
	t.DialContext = s.DialContext
	t.TLSHandshakeTimeout = 0 // on a slow machine a test takes as long as it takes
	if s.inner.TLS != nil {
		t.TLSClientConfig = s.inner.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transports = append(s.transports, t)
	return t
}

// Client returns a new client over a new Transport.
func (s *Server) Client() *http.Client { return &http.Client{Transport: s.Transport()} }

// pipeListener accepts connections from dial.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial the simulated appliance: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "127.0.0.1:11005" }
