package simulation

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	policyDays = flag.Int("policy-days", 24, "simulate about so many days of a policy")
	firstSeed  = flag.Uint64("seed", 0, "the seed of the first world; the others follow")
	days       = flag.Int("days", 0, "how long a world lasts; 0: 1, 3 or 9 days, by -policy-days")
)

// perWorld is the largest number of policies of a world.
const perWorld = 50

func unix(s string) int64 {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t.Unix()
}

func stamp(t int64) string { return time.Unix(t, 0).UTC().Format("01-02 15:04Z") }

// rulesFile edits the shipped rules, writes them without their annotations, and returns
// the path. Annotations take half of the time and have no effect.
func rulesFile(t *testing.T, edits ...[2]string) string {
	b, err := os.ReadFile("../../prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, e := range edits {
		re := regexp.MustCompile(e[0])
		if !re.MatchString(text) {
			t.Fatalf("the rules have no %s", e[0])
		}
		text = re.ReplaceAllString(text, e[1])
	}
	text = regexp.MustCompile(`(?m)^ {8}annotations:\n( {10}.*\n)+`).ReplaceAllString(text, "")
	if strings.Contains(text, "summary:") {
		t.Fatal("the rules still have annotations")
	}
	path := filepath.Join(t.TempDir(), "alerts.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// simulate plays a world and compares it with the oracle.
func simulate(t *testing.T, w *world, rules string) *result {
	p := newPlay(t, w, rules)
	p.run()
	return compare(p)
}

// TestSimulation plays worlds with -policy-days in total. These run a longer simulation, and
// the world of one seed:
//
//	go test ./simulation -run TestSimulation -v -timeout 0 -args -policy-days 10000
//	go test ./simulation -run TestSimulation -v -timeout 0 -args -policy-days 450 -days 9 -seed 7
func TestSimulation(t *testing.T) {
	length := *days
	switch {
	case length > 0:
	case *policyDays < 100:
		length = 1
	case *policyDays < 5000:
		length = 3
	default: // a policy is silent after a week
		length = 9
	}
	n := *policyDays*21/20/length + 1 // policies, of which some are created later
	worlds := max((n+perWorld-1)/perWorld, min(len(scenes), n/(perWorld/2)))
	each := (n + worlds - 1) / worlds
	begin := time.Now()
	results := make(chan *result, worlds)
	t.Run("worlds", func(t *testing.T) {
		for i := range worlds {
			w := drawWorld(*firstSeed+uint64(i), each, length)
			t.Run(fmt.Sprintf("seed %d", w.seed), func(t *testing.T) {
				t.Parallel()
				res := simulate(t, w, rulesFile(t))
				t.Logf("seed %d, %s: %s", w.seed, w.scene.name, res)
				for _, m := range res.mismatches[:min(len(res.mismatches), 3)] {
					t.Error(m)
				}
				results <- res
			})
		}
	})
	close(results)
	all := newResult()
	for res := range results {
		all.add(res)
	}
	t.Logf("%d worlds in %s: %s", worlds, time.Since(begin).Round(time.Second), all)
	if *policyDays >= 500 {
		for name := range conditions {
			if all.incidents[name] == 0 && (length > 7 || name != "VbawsPolicySilent") {
				t.Errorf("there was no incident for %s", name)
			}
		}
	}
}

// TestShortcuts plays a world with annotations, and with all rules each minute. The same
// alerts fire as without, and no annotation has an error.
func TestShortcuts(t *testing.T) {
	t.Parallel()
	with := newPlay(t, drawWorld(1, 12, 1), "../../prometheus/alerts.yml")
	with.thorough = true
	with.run()
	without := newPlay(t, drawWorld(1, 12, 1), rulesFile(t))
	without.run()
	if len(with.prometheus.fired) == 0 || !maps.EqualFunc(with.prometheus.fired, without.prometheus.fired, slices.Equal) {
		t.Errorf("with annotations %v fired, without %v", with.prometheus.fired, without.prometheus.fired)
	}
}

// TestMutations checks that the simulation finds wrong rules.
func TestMutations(t *testing.T) {
	t.Parallel()
	for name, e := range map[string][2]string{
		"failing waits for 3 hours":  {`(alert: VbawsPolicyFailing\n(?:.*\n){1,3}? +for:) 10m`, "$1 3h"},
		"no rule for overdue":        {`(alert: VbawsPolicyOverdue\n(?:.*\n){1,3}? +expr:) .*`, "$1 vector(1) == 0"},
		"stuck is read from failing": {`problem="stuck"`, `problem="failing"`},
		"critical after one run":     {`overdue_runs\) >= 2`, "overdue_runs) >= 1"},
		"nothing bridges a restart":  {`keep_firing_for: .*`, "keep_firing_for: 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(6) {
				if res := simulate(t, drawWorld(seed, 12, 1), rulesFile(t, e)); len(res.mismatches) > 0 {
					t.Logf("seed %d: %s", seed, strings.SplitN(res.mismatches[0], "\nthe world", 2)[0])
					return
				}
			}
			t.Error("no world has a mismatch")
		})
	}
}
