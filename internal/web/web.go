// Package web serves HTTP: metrics, a status page for people, and probes.
//
// It describes the published state of the appliances. No request waits for an appliance.
// TLS and authentication are done by the exporter toolkit, which wraps the handler.
package web

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"net/http/pprof"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vbaws_exporter/collector"
)

// Options are the options of a Handler.
type Options struct {
	// Gatherer collects the metrics.
	Gatherer prometheus.Gatherer
	// Sources returns the appliances. Several goroutines can call it at once.
	Sources func() []collector.Source
	// TelemetryPath is the path of the metrics.
	TelemetryPath string
	// CreatedSamples adds the _created samples to OpenMetrics text, which
	// Prometheus stores as series of their own.
	CreatedSamples bool
	// Version is shown on the status page.
	Version string
	// Rejected returns the configuration that the last reload rejected; nil if the reload
	// succeeded. Several goroutines can call it at once.
	Rejected func() *Rejection
	// Config returns the configuration in use, as YAML and without secrets.
	Config func() ([]byte, error)
	// Reload reloads the configuration, and returns the mistakes in it. Nil: reloading by
	// HTTP is off.
	Reload func() error
	// Pprof serves Go's profiles.
	Pprof bool
	// Now is the clock of the status page; nil is time.Now.
	Now func() time.Time
	// ErrorLog logs errors of requests. It must not be nil.
	ErrorLog *log.Logger
}

const (
	// maxScrapes and maxPages are the maximum numbers of concurrent requests. Further
	// ones are answered with 503, so that the answers to clients that don't read them
	// can't fill memory.
	maxScrapes, maxPages = 40, 20
	// maxHeader is more than the headers of any browser, in bytes.
	maxHeader = 64 << 10
)

// site answers requests.
type site struct {
	Options
	// wasReady is true after every appliance was polled once. An appliance that a reload
	// adds later doesn't make the process unready.
	wasReady atomic.Bool
}

// Handler returns the handler of all paths. It fails if the telemetry path is invalid or
// taken.
func Handler(o Options) (http.Handler, error) {
	if !validPath(o.TelemetryPath) {
		return nil, fmt.Errorf("telemetry path %q: it must begin with / and have neither spaces, braces nor dots as elements", o.TelemetryPath)
	}
	for _, taken := range []string{"/-/", "/api/", "/config/", "/debug/pprof/"} {
		if o.TelemetryPath == "/" || strings.HasPrefix(o.TelemetryPath+"/", taken) {
			return nil, fmt.Errorf("telemetry path %q is taken: choose another, such as /metrics", o.TelemetryPath)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &site{Options: o}
	mux := http.NewServeMux()
	mux.Handle("GET "+o.TelemetryPath, promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		ErrorLog:                            oneLine{o.ErrorLog},
		MaxRequestsInFlight:                 maxScrapes,
		EnableOpenMetrics:                   true,
		EnableOpenMetricsTextCreatedSamples: o.CreatedSamples,
		// No Timeout: it would buffer every page. A scrape waits only for its client,
		// which the server's timeouts bound.
	}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "vbaws_exporter is healthy.\n")
	})
	mux.HandleFunc("GET /-/ready", s.ready)
	pages := make(chan struct{}, maxPages)
	mux.Handle("GET /{$}", limited(pages, s.page))
	mux.Handle("GET /api/v1/status", limited(pages, s.json))
	mux.Handle("GET /config", limited(pages, s.config))
	// A web page of another site must not be able to reload.
	reload := http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.reload))
	mux.Handle("POST /-/reload", reload)
	mux.Handle("PUT /-/reload", reload)
	if o.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux, nil
}

// limited answers 503 while the capacity of places is used by other requests.
func limited(places chan struct{}, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			h(w, r)
		default:
			plain(w, http.StatusServiceUnavailable, "Too many requests are under way; try again.\n")
		}
	})
}

// validPath reports whether http.ServeMux matches the path p literally.
func validPath(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || p == clean+"/" && clean != "/") &&
		!strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("{}%?#", r) })
}

// NewServer returns a server of h, with timeouts for slow clients.
func NewServer(h http.Handler, errorLog *log.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ErrorLog:          errorLog,
		ReadHeaderTimeout: 10 * time.Second,
		// No request has a large body.
		ReadTimeout: 30 * time.Second,
		// Far beyond any scrape: Prometheus' default is 10 s, and series go stale
		// after five minutes.
		WriteTimeout:   5 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: maxHeader,
	}
}

// ready answers 200 once every appliance had its first poll, successful or not.
func (s *site) ready(w http.ResponseWriter, _ *http.Request) {
	var waiting []string
	for _, source := range s.Sources() {
		if source.Published().Polls == 0 {
			waiting = append(waiting, fmt.Sprintf("%q", source.Name()))
		}
	}
	if len(waiting) > 0 && !s.wasReady.Load() {
		slices.Sort(waiting)
		plain(w, http.StatusServiceUnavailable, "Waiting for the first poll of "+strings.Join(waiting, ", ")+".\n")
		return
	}
	s.wasReady.Store(true)
	plain(w, http.StatusOK, "vbaws_exporter is ready.\n")
}

// reload reloads the configuration.
func (s *site) reload(w http.ResponseWriter, _ *http.Request) {
	if s.Reload == nil {
		plain(w, http.StatusForbidden, "Reloading by HTTP is off; --web.enable-lifecycle turns it on. SIGHUP reloads too.\n")
		return
	}
	if err := s.Reload(); err != nil {
		plain(w, http.StatusInternalServerError, fmt.Sprintf("The configuration was not reloaded: %v\n", err))
		return
	}
	plain(w, http.StatusOK, "The configuration was reloaded.\n")
}

// config answers with the configuration in use.
func (s *site) config(w http.ResponseWriter, _ *http.Request) {
	text, err := s.Config()
	if err != nil {
		s.failed(w, "configuration", err)
		return
	}
	plain(w, http.StatusOK, string(text))
}

// failed answers that a page could not be made.
func (s *site) failed(w http.ResponseWriter, what string, err error) {
	s.ErrorLog.Printf("%s: %v", what, err)
	plain(w, http.StatusInternalServerError, "The page could not be made; the log says why.\n")
}

func plain(w http.ResponseWriter, code int, text string) {
	answer(w, code, "text/plain; charset=utf-8", []byte(text))
}

func answer(w http.ResponseWriter, code int, contentType string, content []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	w.Write(content)
}

//go:embed status.html
var statusHTML string

var statusTemplate = template.Must(template.New("status").Funcs(template.FuncMap{"plural": plural, "statusClass": statusClass, "words": words}).Parse(statusHTML))

// page answers with the status page of all appliances, or of the one that the parameter
// appliance names. The page refreshes itself unless the parameter refresh is off.
func (s *site) page(w http.ResponseWriter, r *http.Request) {
	sources := s.Sources()
	only := r.FormValue("appliance")
	if only != "" {
		i := slices.IndexFunc(sources, func(source collector.Source) bool { return source.Name() == only })
		if i < 0 {
			plain(w, http.StatusNotFound, "There is no appliance of that name.\n")
			return
		}
		sources = sources[i : i+1]
	}
	p := newPage(newStatus(s.Version, s.Now(), sources, s.Rejected()), &s.Options, only)
	if r.FormValue("refresh") != "off" {
		p.Refresh = refresh
	}
	var page bytes.Buffer
	if err := statusTemplate.Execute(&page, p); err != nil {
		s.failed(w, "status page", err)
		return
	}
	h := w.Header()
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	if p.Refresh > 0 {
		h.Set("Refresh", strconv.Itoa(p.Refresh))
	}
	answer(w, http.StatusOK, "text/html; charset=utf-8", page.Bytes())
}

// json answers with the status for programs.
func (s *site) json(w http.ResponseWriter, _ *http.Request) {
	text, err := json.Marshal(newStatus(s.Version, s.Now(), s.Sources(), s.Rejected()))
	if err != nil {
		s.failed(w, "status as JSON", err)
		return
	}
	answer(w, http.StatusOK, "application/json", append(text, '\n'))
}

// oneLine writes all errors of a scrape into one line.
type oneLine struct{ log *log.Logger }

func (l oneLine) Println(v ...any) {
	for i := range v {
		if many, ok := v[i].(prometheus.MultiError); ok {
			v[i] = strings.ReplaceAll(errors.Join(many...).Error(), "\n", "; ")
		}
	}
	l.log.Println(v...)
}
