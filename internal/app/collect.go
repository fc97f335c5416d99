package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Collect polls every appliance of a configuration once and writes the metrics. With
// an empty storagePath no state is kept.
func Collect(configFile, storagePath string, l *Logging, stdout io.Writer) (err error) {
	logger, _ := l.loggers(os.Stderr)
	cfg, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	// Without the metrics of Go and of the process: the collector that reads the file
	// exposes its own.
	x, err := newExporter(cfg, storagePath, true, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pollErr := x.Poll(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted: nothing is written")
	}
	return errors.Join(pollErr, writeText(stdout, x.registry))
}

// writeText writes the metrics of g in the text format: all of them or, if there is an
// error, none.
func writeText(w io.Writer, g prometheus.Gatherer) error {
	families, err := g.Gather()
	if err != nil {
		return fmt.Errorf("gather the metrics: %w", err)
	}
	var text bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			return fmt.Errorf("write the metrics: %w", err)
		}
	}
	if _, err := w.Write(text.Bytes()); err != nil {
		return fmt.Errorf("write the metrics: %w", err)
	}
	return nil
}
