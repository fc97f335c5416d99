package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"vbaws_exporter/internal/check"
	"vbaws_exporter/internal/healthcheck"
)

// CheckOptions are the flags of check.
type CheckOptions struct {
	Offline bool // use no network
	JSON    bool // write all findings as JSON
	Verbose bool // write all findings in the table
}

// Check writes findings about a configuration and, unless offline, about its
// appliances.
func Check(configFile string, o CheckOptions, stdout io.Writer) error {
	cfg, findings := check.File(configFile)
	switch {
	case cfg == nil:
	case o.Offline:
		findings = append(findings, check.LocalFiles(cfg)...)
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		more, err := check.Appliances(ctx, cfg, time.Now)
		if err != nil {
			return err
		}
		findings = append(findings, more...)
	}
	write := func() error { return check.Table(stdout, findings, o.Verbose) }
	if o.JSON {
		write = func() error { return check.JSON(stdout, findings) }
	}
	if err := write(); err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	if cfg == nil {
		return errors.New("invalid configuration")
	}
	if failed := check.Failed(findings); len(failed) > 0 {
		return fmt.Errorf("cannot be monitored: %s", strings.Join(failed, ", "))
	}
	return nil
}

// Healthcheck queries the health of the exporters at addresses, and writes the results in
// one line.
func Healthcheck(addresses []string, stdout io.Writer) error {
	answers := make([]string, len(addresses))
	for i, address := range addresses {
		answer, err := healthcheck.Ask(context.Background(), address)
		if err != nil {
			return err
		}
		answers[i] = answer
	}
	_, err := fmt.Fprintln(stdout, strings.Join(answers, "; "))
	return err
}
