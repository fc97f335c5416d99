package app

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/oklog/run"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v4"

	"vbaws_exporter/internal/demo"
)

// Demo is Serve with a simulated appliance. It writes to stdout how to reach both.
func Demo(w *Web, l *Logging, stdout io.Writer) (err error) {
	logger, slogger := l.loggers(os.Stderr)
	d, err := demo.Start(uint64(time.Now().UnixNano()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Describe(stdout, scheme(*w.Toolkit.WebConfigFile), *w.Toolkit.WebListenAddresses, w.TelemetryPath); err != nil {
		return err
	}
	var g run.Group
	addUntil(&g, d.Run)
	return watch(d.ConfigFile, d.StoragePath(), w, logger, slogger, &g)
}

// scheme returns the URL scheme of a web server with that configuration file. It ignores
// errors: the server reports them.
func scheme(webConfigFile string) string {
	var c toolkit.Config
	text, err := os.ReadFile(webConfigFile)
	if err == nil {
		err = yaml.Unmarshal(text, &c)
	}
	if err != nil || c.TLSConfig.TLSCert == "" && c.TLSConfig.TLSCertPath == "" {
		return "http"
	}
	return "https"
}
