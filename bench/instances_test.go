package main

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// manyInstances is how many EC2 instances an appliance has in Instances.
const manyInstances = 5000

// BenchmarkInstances runs an exporter without instances and then one with them, and measures
// the difference: requests and answers of a poll that lists instances, and of one that
// looks up restore points; resident memory; the scrape.
func BenchmarkInstances(b *testing.B) {
	for name, ids := range map[string]vbawstest.LicenseIDs{
		"licensed": vbawstest.LicenseIDsOfWorkloads, "restore_points": vbawstest.LicenseIDsOther,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				measureInstances(b, ids)
			}
		})
	}
}

func measureInstances(b *testing.B, ids vbawstest.LicenseIDs) {
	a := vbawstest.New(vbawstest.Config{LicenseIDs: ids})
	items := make([]vbawstest.Item, manyInstances)
	for i := range items {
		items[i] = vbawstest.Item{ID: vbawstest.ID(i), Name: fmt.Sprintf("production-server-%04d", i), Region: "eu-central-1", Status: "Succeeded"}
	}
	p := a.PutPolicy(vbawstest.Policy{Name: "Production servers", Enabled: true, Items: items})
	now := time.Now()
	s := a.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicySnapshot", Name: p.Name, PolicyID: p.ID, Status: "Succeeded",
		Start: now.Add(-2 * time.Hour), Stop: now.Add(-time.Hour)})
	a.SetItems(s.ID, items...)
	server := vbawstest.NewHTTPServer(a)
	defer server.Close()

	without := serve(b, []string{server.URL})
	without.await("inventory", func() bool { return len(without.Series("vbaws_policy_enabled{")) == 1 })
	plain, _ := without.sizes()
	peak := without.peak()
	without.Stop(syscall.SIGTERM)

	a.ResetRequests()
	with := serve(b, []string{server.URL}, "instances: true")
	with.await("list of instances", func() bool { return len(with.Series("vbaws_instance_protected{")) == manyInstances })
	with.await("three polls with look-ups", func() bool {
		return ids == vbawstest.LicenseIDsOfWorkloads || requested(a, vbaws.RouteRestorePoints).n >= 60
	})
	list, lookUps := requested(a, vbaws.RouteInstances, vbaws.RouteLicensed), lookUpsOfAPoll(a)
	text, gzip := with.sizes()
	b.ReportMetric(float64(list.n), "requests/list")
	b.ReportMetric(float64(list.bytes)/1024, "list-KiB")
	b.ReportMetric(float64(1+lookUps.n), "requests/poll") // an idle poll is one request
	b.ReportMetric(float64(lookUps.bytes)/1024, "poll-KiB")
	b.ReportMetric(with.peak()-peak, "more-MiB")
	b.ReportMetric(float64(text-plain)/1024, "scrape-KiB")
	b.ReportMetric(float64(gzip)/1024, "gzip-KiB")
	with.Stop(syscall.SIGTERM)
}

// sizes returns the bytes of a scrape, as text and as Prometheus requests it.
func (p process) sizes() (text, gzip int) {
	_, body := p.Get("/metrics")
	return len(body), int(p.scrape())
}

// answers is a number of answers and of the bytes in them.
type answers struct{ n, bytes int }

func requested(a *vbawstest.Appliance, routes ...string) (of answers) {
	for _, r := range a.Requests() {
		if slices.Contains(routes, r.Route) {
			of = answers{of.n + 1, of.bytes + r.Bytes}
		}
	}
	return of
}

// lookUpsOfAPoll returns the most look-ups of restore points between two requests for
// sessions.
func lookUpsOfAPoll(a *vbawstest.Appliance) (most answers) {
	var n answers
	for _, r := range a.Requests() {
		switch r.Route {
		case vbaws.RouteSessions:
			n = answers{}
		case vbaws.RouteRestorePoints:
			n = answers{n.n + 1, n.bytes + r.Bytes}
			most = answers{max(most.n, n.n), max(most.bytes, n.bytes)}
		}
	}
	return most
}
