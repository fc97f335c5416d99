package simulation

import (
	"flag"
	"testing"
	"time"

	"vbaws_exporter/collector/verdict/oracle"
)

type oracleEra = oracle.Era

func unix(s string) int64 {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t.Unix()
}

func stamp(t int64) string { return time.Unix(t, 0).UTC().Format("01-02 15:04Z") }

var (
	seeds    = flag.Int("seeds", 1, "")
	from     = flag.Int("from", 0, "")
	policies = flag.Int("policies", 20, "")
	days     = flag.Int("days", 4, "")
)

func TestSpeed(t *testing.T) {
	for seed := *from; seed < *from+*seeds; seed++ {
		begin := time.Now()
		w := drawWorld(uint64(seed), *policies, *days)
		p := newPlay(t, w, "../../prometheus/alerts.yml")
		p.run()
		t.Log(seed, time.Since(begin), p.prometheus.parts, len(p.prometheus.series), len(p.prometheus.fired))
		begin = time.Now()
		res := compare(p)
		t.Logf("%v: %.1f policy-days, %.1f lost; incidents %v, short %v, delayed %v, again %v, mismatches %d", time.Since(begin), res.policyDays, res.lost, res.incidents, res.short, res.delayed, res.again, len(res.mismatches))
		for i, m := range res.mismatches {
			if i < 5 {
				t.Error(m)
			}
		}
	}
}
