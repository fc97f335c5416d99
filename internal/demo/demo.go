// Package demo sets up a simulated appliance, and a configuration for it. Package
// vbawstest decides what happens on the appliance.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"vbaws_exporter/vbaws/vbawstest"
)

// Demo is a running appliance. Its files are in a folder of its own.
type Demo struct {
	// Dir is the folder.
	Dir string
	// ConfigFile is the configuration, CertFile the appliance's certificate.
	ConfigFile, CertFile string
	// URL is that of the appliance. Its account is vbawstest's default.
	URL string

	config []byte // the content of ConfigFile
	server *vbawstest.Server
	fleet  *vbawstest.Fleet
}

// history is how far back the sessions of the appliance reach at the start.
const history = 24 * time.Hour

// Start sets up an appliance with a day of history, serves it on the loopback interface,
// and writes the files. Its policies run only while Run does. The caller must Close it.
func Start(seed uint64) (*Demo, error) { return start(seed, time.Now) }

// start is Start with another clock.
func start(seed uint64, clock func() time.Time) (_ *Demo, err error) {
	dir, err := os.MkdirTemp("", "vbaws_exporter-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the demo: %w", err)
	}
	d := &Demo{
		Dir:        dir,
		ConfigFile: filepath.Join(dir, "config.yml"),
		CertFile:   filepath.Join(dir, "appliance.pem"),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	now := clock()
	world := vbawstest.DemoConfig(seed, now)
	world.Now = clock
	appliance := vbawstest.New(world)
	d.fleet = vbawstest.NewFleet(appliance, vbawstest.DemoFleet(seed, now))
	d.fleet.Backfill(now.Add(-history))
	d.server, err = vbawstest.Listen(appliance, "127.0.0.1:0", true)
	if err != nil {
		return nil, err
	}
	d.URL = d.server.URL
	if err := os.WriteFile(d.CertFile, d.server.CertPEM(), 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's certificate: %w", err)
	}
	certFile, err := yaml.Dump(d.CertFile, yaml.WithLineWidth(-1)) // the path can need quotes
	if err != nil {
		return nil, fmt.Errorf("make the demo's configuration: %w", err)
	}
	d.config = fmt.Appendf(nil, configuration, d.URL, vbawstest.DefaultUsername, vbawstest.DefaultPassword, certFile)
	if err := os.WriteFile(d.ConfigFile, d.config, 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's configuration: %w", err)
	}
	return d, nil
}

// configuration is the configuration file. new_series_hold is twice a scrape interval of
// 15 s.
const configuration = `poll_interval: 5s
new_series_hold: 30s
instances: true
appliances:
- name: demo
  url: %s
  username: %s
  password: %s
  tls_config:
    ca_file: %s`

// StoragePath returns the state directory of the demo.
func (d *Demo) StoragePath() string { return filepath.Join(d.Dir, "data") }

// Run runs the policies of the appliance until ctx ends.
func (d *Demo) Run(ctx context.Context) { d.fleet.Run(ctx) }

// Close stops the appliance and removes the folder with its files.
func (d *Demo) Close() error {
	if d.server != nil {
		d.server.Close()
	}
	if err := os.RemoveAll(d.Dir); err != nil {
		return fmt.Errorf("remove the demo's folder: %w", err)
	}
	return nil
}

// Describe writes the URLs of an exporter that listens on addresses, and the configuration.
// The scheme is http or https.
func (d *Demo) Describe(w io.Writer, scheme string, addresses []string, telemetryPath string) error {
	var text strings.Builder
	text.WriteString("A simulated appliance and the exporter that polls it are running. A day of it takes a minute.\n" +
		"One policy always fails, one has missed its last start, and one has been running for hours.\n\n")
	for _, address := range addresses {
		base := scheme + "://" + visible(address)
		text.WriteString(fmt.Sprintf("  status page  %s/\n  metrics      %s%s\n", base, base, telemetryPath))
	}
	text.WriteString(fmt.Sprintf(`
A configuration for another exporter process, as long as this one runs (%s):

%s
Ctrl-C ends it, and removes %s.

`, d.ConfigFile, d.config, d.Dir))
	_, err := io.WriteString(w, text.String())
	return err
}

// visible returns the address for a browser of an address to listen on.
func visible(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
