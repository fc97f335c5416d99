package record

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record/recordtest"
)

var update = flag.Bool("update", false, "rewrite testdata")

func TestRecord(t *testing.T) {
	t.Run("round trip", testRecordRoundTrip)
	t.Run("every field", testRecordEveryField)
	t.Run("format", testRecordFormat)
	t.Run("of 0.1.0", testRecordOf010)
	t.Run("reason of 0.1.0", testRecordReasonOf010)
	t.Run("seconds", testRecordSeconds)
	t.Run("id keys", testRecordIDKeys)
	t.Run("examples", testRecordExamples)
}

// decodeAs returns the value of a record.
func decodeAs[T any](bucket string, key, payload []byte) (T, error) {
	v, err := decodeAny(bucket, key, payload, decodeOptions)
	t, _ := v.(T)
	return t, err
}

// Each record comes back as it was.
func testRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		equal := func(got, want any, err error) {
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("came back otherwise (-want +got):\n%s", diff)
			}
		}
		m := recordtest.Meta.Draw(t, "meta")
		payload, err := encode(m)
		equal(nil, nil, err)
		gotMeta, err := decodeAs[*ledger.Meta](OwnBucket, []byte(MetaKey), payload)
		equal(gotMeta, m, err)

		s := recordtest.Series.Draw(t, "series")
		payload, err = encode(s)
		equal(nil, nil, err)
		gotSeries, err := decodeAs[*ledger.Series](SeriesBucket, seriesKey(s.Key), payload)
		equal(gotSeries, s, err)

		u, id := recordtest.Unfinished.Draw(t, "unfinished"), recordtest.ID.Draw(t, "id")
		payload, err = encode(u)
		equal(nil, nil, err)
		gotUnfinished, err := decodeAs[*ledger.Unfinished](UnfinishedBucket, id[:], payload)
		equal(gotUnfinished, u, err)

		p := recordtest.Policy.Draw(t, "policy")
		payload, err = encode(p)
		equal(nil, nil, err)
		gotPolicy, err := decodeAs[*ledger.Policy](PoliciesBucket, policyKey(p.PolicyKey), payload)
		equal(gotPolicy, p, err)

		i := recordtest.Instance.Draw(t, "instance")
		payload, err = encode(i)
		equal(nil, nil, err)
		gotInstance, err := decodeAs[*ledger.InstanceBackup](InstancesBucket, id[:], payload)
		equal(gotInstance, i, err)

		at := recordtest.Time.Draw(t, "seen")
		payload, err = encode(saved{at})
		equal(nil, nil, err)
		gotAt, err := DecodeSaved(payload)
		equal(gotAt, at, err)

		r := ledger.SeenSession{
			ID:          id,
			Day:         rapid.Int32().Draw(t, "day"),
			USN:         rapid.Int64().Draw(t, "usn"),
			Fingerprint: rapid.Uint32().Draw(t, "fingerprint"),
			At:          decodeSeconds(rapid.Uint32().Draw(t, "at")),
		}
		gotRemembered, err := DecodeSeen(IDKey(r.Day, r.ID), encodeSeen(r))
		equal(gotRemembered, r, err)
		gotAt, err = DecodeSkipped(id[:], encodeSkipped(r.At))
		equal(gotAt, r.At, err)
	})
}

// fill sets all of v to something.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1e9, 1).UTC()))
			return
		}
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("something")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(0.1)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	default:
		panic("no value for a " + v.Type().String())
	}
}

// A field that the ledger gains has to be stored.
func testRecordEveryField(t *testing.T) {
	var want ledger.State
	fill(reflect.ValueOf(&want).Elem())
	// Of these only one is read.
	want.Meta.BackfillFrom = time.Time{}
	for _, u := range want.Unfinished {
		u.Countable = false
	}
	c := &ledger.Changes{Meta: &want.Meta, Series: map[ledger.Key]*ledger.Series{}, Unfinished: want.Unfinished, Policies: map[ledger.PolicyKey]*ledger.Policy{}, Instances: want.Instances}
	for _, s := range want.Series {
		c.Series[s.Key] = s
	}
	for _, p := range want.Policies {
		c.Policies[p.PolicyKey] = p
	}
	writes, err := Encode("a", c, time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	got := ledger.State{Series: map[ledger.Key]*ledger.Series{}, Unfinished: map[ledger.ID]*ledger.Unfinished{}, Policies: map[ledger.PolicyKey]*ledger.Policy{}, Instances: map[ledger.ID]*ledger.InstanceBackup{}}
	for _, w := range writes {
		payload, err := PlaceOf("a", w.Bucket).Unseal(w.Key, w.Record)
		if err == nil {
			err = Add(&got, w.Bucket, w.Key, payload)
		}
		if err != nil {
			t.Errorf("%s: %v", w.Bucket, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("not all is stored (-want +got):\n%s", diff)
	}
}

// What is on disk is what earlier versions have written: if this test fails
// after a release, files of before it are not read any more, and FormatVersion
// has to say so. A record is a line: its kind, its key, its payload.
func testRecordFormat(t *testing.T) {
	var s ledger.State
	fill(reflect.ValueOf(&s).Elem())
	s.Meta.BackfillFrom = time.Time{} // no state has all at once
	for _, u := range s.Unfinished {
		u.Countable = false
	}
	var got bytes.Buffer
	add := func(kind string, key, payload []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		text := string(payload)
		if !strings.HasPrefix(text, "{") {
			text = fmt.Sprintf("%x", payload)
		}
		fmt.Fprintf(&got, "%s %x %s\n", kind, key, text)
	}
	payload, err := encode(&s.Meta)
	add("meta", []byte(MetaKey), payload, err)
	s.Meta.SyncedAt, s.Meta.BackfillFrom = time.Time{}, s.Meta.SyncedAt
	payload, err = encode(&s.Meta)
	add("meta", []byte(MetaKey), payload, err)
	for _, v := range s.Series {
		payload, err := encode(v)
		add("series", seriesKey(v.Key), payload, err)
	}
	for id, v := range s.Unfinished {
		payload, err := encode(v)
		add("unfinished", id[:], payload, err)
		v.Disposition = ledger.Disposition{Countable: true}
		payload, err = encode(v)
		add("unfinished", id[:], payload, err)
	}
	for _, v := range s.Policies {
		payload, err := encode(v)
		add("policies", policyKey(v.PolicyKey), payload, err)
	}
	for id, v := range s.Instances {
		payload, err := encode(v)
		add("instances", id[:], payload, err)
	}
	payload, err = encode(saved{time.Unix(1e9, 1)})
	add("seen", []byte(SavedKey), payload, err)
	r := ledger.SeenSession{ID: ledger.ID{0: 1, 15: 2}, Day: -1, USN: -2, Fingerprint: 3, At: time.Unix(1e9, 0)}
	add("ids", IDKey(r.Day, r.ID), encodeSeen(r), nil)
	r.Uncounted = true
	add("ids", IDKey(r.Day, r.ID), encodeSeen(r), nil)
	add("skipped", r.ID[:], encodeSkipped(r.At), nil)
	move, err := EncodeMove("a", Move{Number: 7, Exported: time.Unix(1e9, 0).UTC(), Away: true})
	if err == nil {
		payload, err = PlaceOf("a", OwnBucket).Unseal(move.Key, move.Record)
	}
	add("move", move.Key, payload, err)
	if new(Checker).Check(OwnBucket, move.Key, payload) == nil {
		t.Error("the record of the moves is accepted in the file of an exported appliance")
	}
	fmt.Fprintf(&got, "record %x\n", PlaceOf("a", SeriesBucket).Seal([]byte("key"), []byte("payload")))

	file := filepath.Join("testdata", "format-"+FormatVersion+".txt")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("records are written otherwise than %s says (-want +got):\n%s", file, diff)
	}
}

// What 0.1.0 has written is still read: what records have gained since is optional.
func testRecordOf010(t *testing.T) {
	content, err := os.ReadFile("testdata/format-1-of-0.1.0.txt")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for line := range strings.Lines(string(content)) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		hexKey, text, _ := strings.Cut(rest, " ")
		key, err := hex.DecodeString(hexKey)
		if err != nil {
			t.Fatal(err)
		}
		payload := []byte(text)
		if !strings.HasPrefix(text, "{") {
			if payload, err = hex.DecodeString(text); err != nil {
				t.Fatal(err)
			}
		}
		switch kind {
		case "meta":
			// It kept the beginning of the initial sync after its end.
			var m *ledger.Meta
			if m, err = decodeAs[*ledger.Meta](OwnBucket, []byte(MetaKey), payload); err == nil && (m.SyncedAt.IsZero() || !m.BackfillFrom.IsZero()) {
				t.Errorf("synced at %v, backfill from %v", m.SyncedAt, m.BackfillFrom)
			}
		case "series":
			_, err = decodeAs[*ledger.Series](SeriesBucket, key, payload)
		case "unfinished":
			var u *ledger.Unfinished
			if u, err = decodeAs[*ledger.Unfinished](UnfinishedBucket, key, payload); err == nil && u.Disposition != (ledger.Disposition{Counted: true}) {
				t.Errorf("disposition %+v of a session that was counted", u.Disposition)
			}
		case "policies":
			_, err = decodeAs[*ledger.Policy](PoliciesBucket, key, payload)
		case "seen":
			_, err = DecodeSaved(payload)
		case "ids":
			_, err = DecodeSeen(key, payload)
		case "skipped":
			_, err = DecodeSkipped(key, payload)
		case "record":
			_, err = PlaceOf("a", SeriesBucket).Unseal([]byte("key"), key)
		default:
			t.Fatalf("a record of kind %q", kind)
		}
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		read++
	}
	if read != 8 {
		t.Errorf("%d records", read)
	}
}

// 0.1.0 stored the reason before_cutoff under another name. The count continues under
// the new name, and the next save stores that.
func testRecordReasonOf010(t *testing.T) {
	m, err := decodeAs[*ledger.Meta](OwnBucket, []byte(MetaKey), []byte(`{"skipped":{"before_line":3,"gone":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{"before_cutoff": 3, "gone": 2}
	if diff := cmp.Diff(want, m.Skipped); diff != "" {
		t.Errorf("the reasons of 0.1.0 (-want +got):\n%s", diff)
	}
	again, err := encode(m)
	if err != nil || string(again) != `{"skipped":{"before_cutoff":3,"gone":2}}` {
		t.Errorf("saved again: %s, %v", again, err)
	}
}

func testRecordSeconds(t *testing.T) {
	for _, tt := range []struct{ at, want time.Time }{
		{time.Time{}, time.Time{}},
		{time.Unix(0, 0), time.Unix(1, 0)},
		{time.Unix(-5, 0), time.Unix(1, 0)},
		{time.Unix(1, 999), time.Unix(1, 0)},
		{time.Unix(math.MaxUint32+1, 0), time.Unix(math.MaxUint32, 0)},
	} {
		if got := decodeSeconds(encodeSeconds(tt.at)); !got.Equal(tt.want) {
			t.Errorf("%v came back as %v, want %v", tt.at, got, tt.want)
		}
	}
}

// Days are in order on disk, which the search for what is to be forgotten needs.
func testRecordIDKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int32().Draw(t, "a"), rapid.Int32().Draw(t, "b")
		x, y := recordtest.ID.Draw(t, "x"), recordtest.ID.Draw(t, "y")
		if a < b && bytes.Compare(IDKey(a, x), IDKey(b, y)) >= 0 {
			t.Fatalf("day %d sorts after %d", a, b)
		}
		if day, id, err := SplitIDKey(IDKey(a, x)); day != a || id != x || err != nil {
			t.Fatalf("day %d and id %v came back as %d, %v, %v", a, x, day, id, err)
		}
	})
}

func TestUnseal(t *testing.T) {
	t.Run("not sealed", testUnsealNotSealed)
	t.Run("unknown version", testUnsealUnknownVersion)
}

// Any bit of a record, its key or its place that is not as it was written is
// found out.
func testUnsealNotSealed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "key")
		payload := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")
		p := PlaceOf("a", "series")
		record := p.Seal(key, payload)
		got, err := p.Unseal(key, record)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("unseal: %x, %v", got, err)
		}
		bit := rapid.IntRange(0, 8*(len(record)+len(key))-1).Draw(t, "bit")
		if i := bit / 8; i < len(record) {
			record[i] ^= 1 << (bit % 8)
		} else {
			key[i-len(record)] ^= 1 << (bit % 8)
		}
		if _, err := p.Unseal(key, record); err == nil {
			t.Fatal("a flipped bit was accepted")
		}
	})
	key := []byte("key")
	record := PlaceOf("a", "series").Seal(key, []byte("payload"))
	for _, p := range []Place{PlaceOf("b", "series"), PlaceOf("a", "policies"), PlaceOf("a", ""), PlaceOf("aseries", "")} {
		if _, err := p.Unseal(key, record); err == nil {
			t.Error("a record of another place was accepted")
		}
	}
	if _, err := PlaceOf("a", "series").Unseal(key, record[:len(record)-1]); err == nil {
		t.Error("a shortened record was accepted")
	}
}

// A record version that isn't known is said to be that, not damage.
func testUnsealUnknownVersion(t *testing.T) {
	p := PlaceOf("a", "series")
	record := p.Seal([]byte("k"), []byte("payload"))
	record[0]++
	sum := p.sum([]byte("k"), record[0], record[headerSize:])
	record[1], record[2], record[3], record[4] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
	if _, err := p.Unseal([]byte("k"), record); err == nil || err.Error() != "record version 2 is unknown" {
		t.Errorf("got %v", err)
	}
}

// decoders are called with what may be anything. They answer with an error, or
// with what encodes to something that decodes to the same.
var decoders = map[string]func(key, payload []byte) (again func() ([]byte, error), err error){
	"meta": func(_, payload []byte) (func() ([]byte, error), error) {
		m, err := decodeAs[*ledger.Meta](OwnBucket, []byte(MetaKey), payload)
		return func() ([]byte, error) { return encode(m) }, err
	},
	"series": func(key, payload []byte) (func() ([]byte, error), error) {
		s, err := decodeAs[*ledger.Series](SeriesBucket, key, payload)
		return func() ([]byte, error) { return encode(s) }, err
	},
	"unfinished": func(key, payload []byte) (func() ([]byte, error), error) {
		u, err := decodeAs[*ledger.Unfinished](UnfinishedBucket, key, payload)
		return func() ([]byte, error) { return encode(u) }, err
	},
	"policy": func(key, payload []byte) (func() ([]byte, error), error) {
		p, err := decodeAs[*ledger.Policy](PoliciesBucket, key, payload)
		return func() ([]byte, error) { return encode(p) }, err
	},
	"instance": func(key, payload []byte) (func() ([]byte, error), error) {
		i, err := decodeAs[*ledger.InstanceBackup](InstancesBucket, key, payload)
		return func() ([]byte, error) { return encode(i) }, err
	},
	"seen": func(_, payload []byte) (func() ([]byte, error), error) {
		t, err := DecodeSaved(payload)
		return func() ([]byte, error) { return encode(saved{t}) }, err
	},
	"remembered": func(key, payload []byte) (func() ([]byte, error), error) {
		r, err := DecodeSeen(key, payload)
		return func() ([]byte, error) { return encodeSeen(r), nil }, err
	},
	"skipped": func(key, payload []byte) (func() ([]byte, error), error) {
		at, err := DecodeSkipped(key, payload)
		return func() ([]byte, error) { return encodeSkipped(at), nil }, err
	},
}

// examples returns a key and a payload of every kind.
func examples(tb testing.TB, seed int) map[string][2][]byte {
	examples := map[string][2][]byte{}
	add := func(kind string, key, payload []byte, err error) {
		if err != nil {
			tb.Fatal(err)
		}
		examples[kind] = [2][]byte{key, payload}
	}
	payload, err := encode(recordtest.Meta.Example(seed))
	add("meta", []byte(MetaKey), payload, err)
	s := recordtest.Series.Example(seed)
	payload, err = encode(s)
	add("series", seriesKey(s.Key), payload, err)
	id := recordtest.Session(seed)
	payload, err = encode(recordtest.Unfinished.Example(seed))
	add("unfinished", id[:], payload, err)
	p := recordtest.Policy.Example(seed)
	payload, err = encode(p)
	add("policy", policyKey(p.PolicyKey), payload, err)
	payload, err = encode(recordtest.Instance.Example(seed))
	add("instance", id[:], payload, err)
	payload, err = encode(saved{recordtest.Time.Example(seed)})
	add("seen", []byte(SavedKey), payload, err)
	r := ledger.SeenSession{ID: id, Day: 20000, USN: -1, Fingerprint: 5, At: time.Unix(1e9, 0)}
	add("remembered", IDKey(r.Day, r.ID), encodeSeen(r), nil)
	add("skipped", id[:], encodeSkipped(time.Unix(1e9, 0)), nil)
	return examples
}

func FuzzDecode(f *testing.F) {
	for seed := range 4 {
		for kind, e := range examples(f, seed) {
			f.Add(kind, e[0], e[1])
			f.Add(kind, e[0], append(e[1], 0))
			f.Add(kind, e[0][1:], e[1])
			f.Add(kind, e[0], e[1][:len(e[1])/2])
		}
	}
	f.Add("meta", []byte{}, []byte(`{"bounds":[1e999]}`))
	f.Add("meta", []byte{}, []byte(`{"cutoff":"1."}`))
	f.Add("meta", []byte{}, []byte(`{"cutoff":"-9223372036854775808.999999999"}`))
	f.Add("meta", []byte{}, []byte(`{"unknown":1}`))
	f.Fuzz(func(t *testing.T, kind string, key, payload []byte) {
		decode, ok := decoders[kind]
		if !ok {
			return
		}
		encode, err := decode(key, payload)
		if err != nil {
			return
		}
		once, err := encode()
		if err != nil {
			t.Fatalf("what was decoded can't be encoded: %v", err)
		}
		encode, err = decode(key, once)
		if err != nil {
			t.Fatalf("what was encoded can't be decoded: %v", err)
		}
		if twice, err := encode(); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("encoded otherwise the second time: %q, then %q, %v", once, twice, err)
		}
	})
}

// The examples of the fuzz test decode, so that it begins with something.
func testRecordExamples(t *testing.T) {
	for seed := range 4 {
		for kind, e := range examples(t, seed) {
			if _, err := decoders[kind](e[0], e[1]); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

func FuzzUnseal(f *testing.F) {
	p := PlaceOf("a", "series")
	f.Add([]byte("key"), p.Seal([]byte("key"), []byte("payload")))
	f.Add([]byte("key"), []byte{1, 0, 0, 0, 0})
	f.Add([]byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, key, record []byte) {
		payload, err := p.Unseal(key, record)
		if err == nil && !bytes.Equal(p.Seal(key, payload), record) {
			t.Errorf("record %x of key %x was accepted, and not written", record, key)
		}
	})
}
