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
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"vbaws_exporter/collector"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/internal/daemon"
)

// Collect polls every appliance of a configuration once and writes the metrics. With
// an empty storagePath nothing is kept.
func Collect(configFile, storagePath string, l *Logging, stdout io.Writer) (err error) {
	logger, _ := l.loggers(os.Stderr)
	cfg, err := config.Load(configFile)
	if err != nil {
		return err
	}
	storage, closeStorage, err := openStorage(storagePath, cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStorage()) }()

	// Without Go's own metrics: beside those of others, in one file, they would be
	// there twice.
	reg := prometheus.NewRegistry()
	instruments := collector.NewInstruments(reg)
	instruments.Reloaded(true, time.Now())
	d, err := daemon.New(daemon.Options{
		Config: cfg, Storage: storage, Once: true, Instruments: instruments, Logger: logger,
	})
	if err != nil {
		return err
	}
	reg.MustRegister(collector.New(d.Sources))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pollErr := d.Poll(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted: nothing is written")
	}
	return errors.Join(pollErr, writeText(stdout, reg))
}

// writeText writes what g gathers in the text format, or nothing.
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
