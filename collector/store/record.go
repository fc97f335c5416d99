package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// recordVersion is the first byte of every record.
const recordVersion = 1

// headerSize is the length of what stands before a record's payload: version
// and checksum.
const headerSize = 1 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is where records stand. Its value is the checksum of the names, which
// the records' own begin with: a record that strayed is found out.
type place uint32

// placeOf returns the place of an appliance's bucket.
func placeOf(appliance, bucket string) place {
	sum := crc32.Checksum([]byte(appliance), castagnoli)
	return place(crc32.Update(sum, castagnoli, []byte("\x00"+bucket+"\x00")))
}

func (p place) sum(key []byte, version byte, payload []byte) uint32 {
	sum := crc32.Update(uint32(p), castagnoli, key)
	sum = crc32.Update(sum, castagnoli, []byte{version})
	return crc32.Update(sum, castagnoli, payload)
}

// seal returns the record of payload under key.
func (p place) seal(key, payload []byte) []byte {
	record := make([]byte, headerSize, headerSize+len(payload))
	record[0] = recordVersion
	binary.BigEndian.PutUint32(record[1:], p.sum(key, recordVersion, payload))
	return append(record, payload...)
}

// unseal returns the payload of the record under key. It shares the record's
// memory.
func (p place) unseal(key, record []byte) ([]byte, error) {
	if len(record) < headerSize {
		return nil, fmt.Errorf("%d bytes are no record", len(record))
	}
	payload := record[headerSize:]
	if binary.BigEndian.Uint32(record[1:]) != p.sum(key, record[0], payload) {
		return nil, errors.New("checksum doesn't match")
	}
	if record[0] != recordVersion {
		return nil, fmt.Errorf("record version %d is unknown", record[0])
	}
	return payload, nil
}

// Ids stand under their day and themselves, so that what is looked up together
// shares pages. The day's sign bit is flipped, so that days sort.
const idKeySize = 4 + 16

func idKey(day int32, id ledger.ID) []byte {
	return append(dayKey(day), id[:]...)
}

// dayKey is what the keys of a day begin with.
func dayKey(day int32) []byte {
	return binary.BigEndian.AppendUint32(make([]byte, 0, idKeySize), uint32(day)^1<<31)
}

// dayOf returns the day that a key begins with.
func dayOf(key []byte) int32 {
	return int32(binary.BigEndian.Uint32(key) ^ 1<<31)
}

// rememberedSize is the length of the payload: USN, print and time. A session that is
// owed has a byte 1 more.
const rememberedSize = 8 + 4 + 4

func encodeRemembered(r ledger.SeenSession) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, rememberedSize+1), uint64(r.USN))
	b = binary.BigEndian.AppendUint32(b, r.Fingerprint)
	b = binary.BigEndian.AppendUint32(b, encodeSeconds(r.At))
	if r.Uncounted {
		b = append(b, 1)
	}
	return b
}

func decodeRemembered(key, payload []byte) (ledger.SeenSession, error) {
	if len(key) != idKeySize {
		return ledger.SeenSession{}, fmt.Errorf("key has %d bytes, not %d", len(key), idKeySize)
	}
	owed := len(payload) == rememberedSize+1 && payload[rememberedSize] == 1
	if len(payload) != rememberedSize && !owed {
		return ledger.SeenSession{}, fmt.Errorf("payload has %d bytes, not %d", len(payload), rememberedSize)
	}
	return ledger.SeenSession{
		ID:          ledger.ID(key[4:]),
		Day:         dayOf(key),
		USN:         int64(binary.BigEndian.Uint64(payload)),
		Fingerprint: binary.BigEndian.Uint32(payload[8:]),
		At:          decodeSeconds(binary.BigEndian.Uint32(payload[12:])),
		Uncounted:   owed,
	}, nil
}

// encodeSeconds returns t in whole seconds since 1970, and 0 for the zero time.
// The exporter's clock is what is stored so; where it is off by lifetimes, the
// nearest that can be said has to do.
func encodeSeconds(t time.Time) uint32 {
	if t.IsZero() {
		return 0
	}
	return uint32(min(max(t.Unix(), 1), math.MaxUint32))
}

func decodeSeconds(s uint32) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}

// encodeSkipped is the payload of a row skipped at t, decodeSkipped its reverse.
func encodeSkipped(t time.Time) []byte {
	return binary.BigEndian.AppendUint32(nil, encodeSeconds(t))
}

func decodeSkipped(key, payload []byte) (time.Time, error) {
	if len(key) != len(ledger.ID{}) {
		return time.Time{}, fmt.Errorf("key has %d bytes, not %d", len(key), len(ledger.ID{}))
	}
	if len(payload) != 4 {
		return time.Time{}, fmt.Errorf("payload has %d bytes, not 4", len(payload))
	}
	return decodeSeconds(binary.BigEndian.Uint32(payload)), nil
}

// hashKey is the key of what is identified by words, which may be longer than a
// key can be.
func hashKey(words ...string) []byte {
	h := sha256.New()
	for _, w := range words {
		h.Write(binary.AppendUvarint(nil, uint64(len(w))))
		h.Write([]byte(w))
	}
	return h.Sum(nil)[:16]
}

func seriesKey(k ledger.Key) []byte       { return hashKey(k.Type, k.ExtendedType, k.Policy) }
func policyKey(k ledger.PolicyKey) []byte { return hashKey(k.Workload, k.ID) }

// instant is a time as text: whole seconds since 1970, rounded down, a point,
// and nine digits of nanoseconds. Any time can be said so, also those of years
// that RFC 3339 has no words for. The zero time is left out.
type instant time.Time

func (i instant) IsZero() bool { return time.Time(i).IsZero() }

func (i instant) MarshalText() ([]byte, error) {
	t := time.Time(i)
	if t.IsZero() {
		return nil, nil
	}
	return appendInstant(nil, t), nil
}

func appendInstant(b []byte, t time.Time) []byte {
	b = strconv.AppendInt(b, t.Unix(), 10)
	// Nine digits, with a one before them that the point takes the place of.
	at := len(b)
	b = strconv.AppendInt(b, int64(1e9+t.Nanosecond()), 10)
	b[at] = '.'
	return b
}

func (i *instant) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*i = instant{}
		return nil
	}
	whole, fraction, _ := strings.Cut(string(text), ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return fmt.Errorf("time %q: %w", text, err)
	}
	nsec, err := strconv.ParseUint(fraction, 10, 32)
	if err != nil || len(fraction) != 9 {
		return fmt.Errorf("time %q: nanoseconds are nine digits", text)
	}
	*i = instant(time.Unix(sec, int64(nsec)).UTC())
	return nil
}

// hexID is an id as text.
type hexID ledger.ID

func (h hexID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

func (h *hexID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("id %q has %d digits, not %d", text, len(text), 2*len(h))
	}
	if _, err := hex.Decode(h[:], text); err != nil {
		return fmt.Errorf("id %q: %w", text, err)
	}
	return nil
}

// The types below are the payloads. They are apart from the ledger's so that what
// is on disk changes only if that is intended. Durations are in nanoseconds.
type (
	metaRecord struct {
		FirstContact  instant           `json:"first_contact,omitzero"`
		ContactFrom   instant           `json:"contact_from,omitzero"`
		Line          instant           `json:"line,omitzero"`
		Watermark     *watermarkRecord  `json:"watermark,omitzero"`
		LastSweep     instant           `json:"last_sweep,omitzero"`
		LastWideSweep instant           `json:"last_wide_sweep,omitzero"`
		SweptAt       instant           `json:"swept_at,omitzero"`
		SweepInterval int64             `json:"sweep_interval,omitzero"`
		Resets        uint64            `json:"resets,omitzero"`
		Skipped       map[string]uint64 `json:"skipped,omitempty"`
		Zone          string            `json:"zone,omitzero"`
		Bounds        []float64         `json:"bounds,omitempty"`
		Clock         *clockRecord      `json:"clock,omitzero"`
		Unreadable    *unreadableRecord `json:"unreadable,omitzero"`
	}
	unreadableRecord struct {
		From     instant `json:"from,omitzero"`
		Sessions int64   `json:"sessions"`
	}
	clockRecord struct {
		Offset   int64   `json:"offset,omitzero"`
		ClosedAt instant `json:"closed_at,omitzero"`
		Polls    int     `json:"polls,omitzero"`
		JudgedAt instant `json:"judged_at,omitzero"`
	}
	watermarkRecord struct {
		USN int64 `json:"usn"`
		ID  hexID `json:"id"`
	}
	seriesRecord struct {
		Type         string          `json:"type"`
		ExtendedType string          `json:"extended_type,omitzero"`
		Policy       string          `json:"policy,omitzero"`
		Counters     []counterRecord `json:"counters,omitempty"`
		Last         lastRecord      `json:"last,omitzero"`
		History      historyRecord   `json:"history,omitzero"`
	}
	historyRecord struct {
		Recent       []finishedRecord `json:"recent,omitempty"`
		Success      instant          `json:"success,omitzero"`
		Failures     int64            `json:"failures,omitzero"`
		FirstFailure instant          `json:"first_failure,omitzero"`
	}
	finishedRecord struct {
		Start  instant `json:"start,omitzero"`
		End    instant `json:"end,omitzero"`
		Status string  `json:"status"`
		ID     uint32  `json:"id,omitzero"`
	}
	lastRecord struct {
		ID       hexID   `json:"id,omitzero"`
		Status   string  `json:"status,omitzero"`
		End      instant `json:"end,omitzero"`
		Duration int64   `json:"duration,omitzero"`
	}
	counterRecord struct {
		Status    string           `json:"status"`
		Born      instant          `json:"born,omitzero"`
		Held      bool             `json:"held,omitzero"`
		Count     uint64           `json:"count,omitzero"`
		End       instant          `json:"end,omitzero"`
		Exemplar  *exemplarRecord  `json:"exemplar,omitzero"`
		Histogram *histogramRecord `json:"histogram,omitzero"`
	}
	histogramRecord struct {
		Born      instant           `json:"born,omitzero"`
		Base      uint64            `json:"base,omitzero"`
		Sum       int64             `json:"sum,omitzero"`
		Buckets   []uint64          `json:"buckets,omitempty"`
		Exemplars []*exemplarRecord `json:"exemplars,omitempty"`
		Zero      uint64            `json:"zero,omitzero"`
		Native    []nativeRecord    `json:"native,omitempty"`
	}
	nativeRecord struct {
		Index int32  `json:"i"`
		Count uint64 `json:"n"`
	}
	exemplarRecord struct {
		SessionID string  `json:"session_id"`
		Duration  int64   `json:"duration,omitzero"`
		End       instant `json:"end,omitzero"`
	}
	unfinishedRecord struct {
		ID           string  `json:"id"`
		Type         string  `json:"type,omitzero"`
		ExtendedType string  `json:"extended_type,omitzero"`
		Status       string  `json:"status,omitzero"`
		Result       string  `json:"result,omitzero"`
		Reason       string  `json:"reason,omitzero"`
		Name         string  `json:"name,omitzero"`
		Start        instant `json:"start,omitzero"`
		Stop         instant `json:"stop,omitzero"`
		Duration     int64   `json:"duration,omitzero"`
		USN          int64   `json:"usn,omitzero"`
		Policy       string  `json:"policy,omitzero"`
		Counted      bool    `json:"counted,omitzero"`
		Countable    bool    `json:"countable,omitzero"`
		Unresolved   bool    `json:"unresolved,omitzero"`
		Missing      int     `json:"missing,omitzero"`
	}
	policyRecord struct {
		Workload      string                    `json:"workload"`
		ID            string                    `json:"id"`
		Name          string                    `json:"name,omitzero"`
		Enabled       bool                      `json:"enabled,omitzero"`
		Schedule      *scheduleRecord           `json:"schedule,omitzero"`
		LastReadable  *scheduleRecord           `json:"last_readable,omitzero"`
		Since         instant                   `json:"since,omitzero"`
		InitialSync   bool                      `json:"initial_sync,omitzero"`
		DisabledSince instant                   `json:"disabled_since,omitzero"`
		Decided       map[schedule.Kind]instant `json:"decided,omitempty"`
		Former        *formerRecord             `json:"former,omitzero"`
		Missing       int                       `json:"missing,omitzero"`
		Listed        instant                   `json:"listed,omitzero"`
		LookedUp      bool                      `json:"looked_up,omitzero"`
	}
	formerRecord struct {
		Name      string                   `json:"name"`
		Until     instant                  `json:"until,omitzero"`
		Histories map[string]historyRecord `json:"histories,omitempty"`
	}
	seenRecord struct {
		At instant `json:"at"`
	}
)

// Options of records: a time.Duration is its number of nanoseconds.
var (
	encodeOptions = json.JoinOptions(json.Deterministic(true), jsonv1.FormatDurationAsNano(true))
	decodeOptions = json.JoinOptions(json.RejectUnknownMembers(true), jsonv1.FormatDurationAsNano(true))
)

// encode returns v as JSON. It fails on strings that are not valid UTF-8, which text
// that was read from JSON always is, and on numbers that JSON can't represent.
func encode(v any) ([]byte, error) { return json.Marshal(v, encodeOptions) }

// decode is strict: a member that it doesn't know was written by a newer exporter,
// whose format has another version.
func decode(payload []byte, v any) error { return json.Unmarshal(payload, v, decodeOptions) }

func encodeMeta(m *ledger.Meta) ([]byte, error) {
	r := metaRecord{
		Line:          instant(m.Cutoff),
		LastSweep:     instant(m.LastResync),
		LastWideSweep: instant(m.LastDailyResync),
		SweptAt:       instant(m.ResyncedAt),
		SweepInterval: int64(m.ResyncInterval),
		Resets:        m.Resets,
		Skipped:       m.Skipped,
		Zone:          m.Zone,
		Bounds:        m.Bounds,
	}
	switch at := instant(m.Phase.Time); m.Phase.Stage {
	case ledger.InitialSync:
		r.ContactFrom = at
	case ledger.Synced:
		r.FirstContact = at
	}
	if c := m.Clock; c.Known {
		r.Clock = &clockRecord{Offset: int64(c.Offset), ClosedAt: instant(c.ClosedAt), Polls: c.Polls, JudgedAt: instant(c.JudgedAt)}
	}
	if u := m.Unreadable; u != nil {
		r.Unreadable = &unreadableRecord{From: instant(u.From), Sessions: int64(u.Sessions)}
	}
	if w := m.Watermark; w != nil {
		r.Watermark = &watermarkRecord{USN: w.USN, ID: hexID(w.ID)}
	}
	return encode(r)
}

func decodeMeta(payload []byte) (ledger.Meta, error) {
	var r metaRecord
	if err := decode(payload, &r); err != nil {
		return ledger.Meta{}, err
	}
	m := ledger.Meta{
		Cutoff:          time.Time(r.Line),
		LastResync:      time.Time(r.LastSweep),
		LastDailyResync: time.Time(r.LastWideSweep),
		ResyncedAt:      time.Time(r.SweptAt),
		ResyncInterval:  time.Duration(r.SweepInterval),
		Resets:          r.Resets,
		Skipped:         currentReasons(r.Skipped),
		Zone:            r.Zone,
		Bounds:          r.Bounds,
	}
	switch {
	case !r.FirstContact.IsZero():
		m.Phase = ledger.Phase{Stage: ledger.Synced, Time: time.Time(r.FirstContact)}
	case !r.ContactFrom.IsZero():
		m.Phase = ledger.Phase{Stage: ledger.InitialSync, Time: time.Time(r.ContactFrom)}
	}
	if c := r.Clock; c != nil {
		m.Clock = verdict.ClockGate{
			Offset: time.Duration(c.Offset), Known: true, ClosedAt: time.Time(c.ClosedAt), Polls: c.Polls,
			JudgedAt: time.Time(c.JudgedAt),
		}
	}
	if u := r.Unreadable; u != nil {
		m.Unreadable = &ledger.Unreadable{From: time.Time(u.From), Sessions: int(u.Sessions)}
	}
	if w := r.Watermark; w != nil {
		m.Watermark = &ledger.Watermark{USN: w.USN, ID: ledger.ID(w.ID)}
	}
	return m, nil
}

// beforeLine is what 0.1.0 stored for ledger.SkipBeforeCutoff.
const beforeLine = "before_line"

// currentReasons renames the reason that 0.1.0 stored under another name, in place.
func currentReasons(skipped map[string]uint64) map[string]uint64 {
	if n, ok := skipped[beforeLine]; ok {
		delete(skipped, beforeLine)
		skipped[ledger.SkipBeforeCutoff] += n
	}
	return skipped
}

func decodeExemplar(r *exemplarRecord) *ledger.Exemplar {
	if r == nil {
		return nil
	}
	return &ledger.Exemplar{SessionID: r.SessionID, Duration: time.Duration(r.Duration), End: time.Time(r.End)}
}

func decodeHistogram(r *histogramRecord) *ledger.Histogram {
	if r == nil {
		return nil
	}
	h := &ledger.Histogram{Born: time.Time(r.Born), Base: r.Base, Sum: r.Sum, Buckets: r.Buckets, Zero: r.Zero}
	for _, e := range r.Exemplars {
		h.Exemplars = append(h.Exemplars, decodeExemplar(e))
	}
	for _, b := range r.Native {
		h.Native = append(h.Native, ledger.NativeBucket(b))
	}
	return h
}

func encodeHistory(h verdict.History) historyRecord {
	r := historyRecord{
		Success: instant(h.Success), Failures: int64(h.Failures), FirstFailure: instant(h.FirstFailure),
	}
	for _, s := range h.Recent {
		r.Recent = append(r.Recent, finishedRecord{instant(s.Start), instant(s.End), s.Status, s.ID})
	}
	return r
}

func decodeHistory(r historyRecord) verdict.History {
	h := verdict.History{
		Success: time.Time(r.Success), Failures: int(r.Failures), FirstFailure: time.Time(r.FirstFailure),
	}
	for _, s := range r.Recent {
		h.Recent = append(h.Recent, verdict.Session{Start: time.Time(s.Start), End: time.Time(s.End), Status: s.Status, ID: s.ID})
	}
	return h
}

func decodeSeries(key, payload []byte) (*ledger.Series, error) {
	var r seriesRecord
	if err := decode(payload, &r); err != nil {
		return nil, err
	}
	s := &ledger.Series{
		Key: ledger.Key{Type: r.Type, ExtendedType: r.ExtendedType, Policy: r.Policy},
		Last: ledger.Last{
			ID:       ledger.ID(r.Last.ID),
			Status:   r.Last.Status,
			End:      time.Time(r.Last.End),
			Duration: time.Duration(r.Last.Duration),
		},
		History: decodeHistory(r.History),
	}
	for _, c := range r.Counters {
		s.Counters = append(s.Counters, &ledger.Counter{
			Status:    c.Status,
			Born:      time.Time(c.Born),
			Held:      c.Held,
			Count:     c.Count,
			End:       time.Time(c.End),
			Exemplar:  decodeExemplar(c.Exemplar),
			Histogram: decodeHistogram(c.Histogram),
		})
	}
	if !bytes.Equal(key, seriesKey(s.Key)) {
		return nil, errors.New("series has the key of another")
	}
	return s, nil
}

func encodeUnfinished(u *ledger.Unfinished) ([]byte, error) {
	s := u.Session
	return encode(unfinishedRecord{
		ID:           s.ID,
		Type:         s.Type,
		ExtendedType: s.ExtendedType,
		Status:       s.Status,
		Result:       s.Result,
		Reason:       s.Reason,
		Name:         s.Name,
		Start:        instant(s.Start),
		Stop:         instant(s.Stop),
		Duration:     int64(s.Duration),
		USN:          s.USN,
		Policy:       u.Policy,
		Counted:      u.Disposition == ledger.Counted,
		Countable:    u.Disposition == ledger.Countable,
		Unresolved:   u.Unresolved,
		Missing:      u.Missing,
	})
}

func decodeUnfinished(key, payload []byte) (ledger.ID, *ledger.Unfinished, error) {
	if len(key) != len(ledger.ID{}) {
		return ledger.ID{}, nil, fmt.Errorf("key has %d bytes, not %d", len(key), len(ledger.ID{}))
	}
	var r unfinishedRecord
	if err := decode(payload, &r); err != nil {
		return ledger.ID{}, nil, err
	}
	disposition := ledger.Excluded
	switch {
	case r.Counted:
		disposition = ledger.Counted
	case r.Countable:
		disposition = ledger.Countable
	}
	return ledger.ID(key), &ledger.Unfinished{
		Session: vbaws.Session{
			ID:           r.ID,
			Type:         r.Type,
			ExtendedType: r.ExtendedType,
			Status:       r.Status,
			Result:       r.Result,
			Reason:       r.Reason,
			Name:         r.Name,
			Start:        time.Time(r.Start),
			Stop:         time.Time(r.Stop),
			Duration:     time.Duration(r.Duration),
			USN:          r.USN,
		},
		Policy:      r.Policy,
		Unresolved:  r.Unresolved,
		Disposition: disposition,
		Missing:     r.Missing,
	}, nil
}

func encodePolicy(p *ledger.Policy) ([]byte, error) {
	r := policyRecord{
		Workload:      p.Workload,
		ID:            p.ID,
		Name:          p.Name,
		Enabled:       p.Enabled,
		Schedule:      recordSchedule(p.Schedule),
		LastReadable:  recordSchedule(p.LastReadable),
		Since:         instant(p.Since),
		InitialSync:   p.InitialSync,
		DisabledSince: instant(p.DisabledSince),
		Missing:       p.Missing,
		Listed:        instant(p.Listed),
		LookedUp:      p.LookedUp,
	}
	if len(p.Decided) > 0 {
		r.Decided = make(map[schedule.Kind]instant, len(p.Decided))
		for kind, at := range p.Decided {
			r.Decided[kind] = instant(at)
		}
	}
	if f := p.Former; f != nil {
		r.Former = &formerRecord{f.Name, instant(f.Until), make(map[string]historyRecord, len(f.Histories))}
		for extendedType, h := range f.Histories {
			r.Former.Histories[extendedType] = encodeHistory(h)
		}
	}
	return encode(r)
}

func decodePolicy(key, payload []byte) (*ledger.Policy, error) {
	var r policyRecord
	if err := decode(payload, &r); err != nil {
		return nil, err
	}
	p := &ledger.Policy{
		PolicyKey:     ledger.PolicyKey{Workload: r.Workload, ID: r.ID},
		Name:          r.Name,
		Enabled:       r.Enabled,
		Schedule:      r.Schedule.schedule(),
		LastReadable:  r.LastReadable.schedule(),
		Since:         time.Time(r.Since),
		InitialSync:   r.InitialSync,
		DisabledSince: time.Time(r.DisabledSince),
		Missing:       r.Missing,
		Listed:        time.Time(r.Listed),
		LookedUp:      r.LookedUp,
	}
	if len(r.Decided) > 0 {
		p.Decided = make(verdict.Decided, len(r.Decided))
		for kind, at := range r.Decided {
			p.Decided[kind] = time.Time(at)
		}
	}
	if f := r.Former; f != nil {
		p.Former = &ledger.Former{Name: f.Name, Until: time.Time(f.Until)}
		for extendedType, h := range f.Histories {
			if p.Former.Histories == nil {
				p.Former.Histories = make(map[string]verdict.History, len(f.Histories))
			}
			p.Former.Histories[extendedType] = decodeHistory(h)
		}
	}
	if !bytes.Equal(key, policyKey(p.PolicyKey)) {
		return nil, errors.New("policy has the key of another")
	}
	return p, nil
}

func encodeSeen(t time.Time) ([]byte, error) {
	return encode(seenRecord{At: instant(t)})
}

func decodeSeen(payload []byte) (time.Time, error) {
	var r seenRecord
	err := decode(payload, &r)
	return time.Time(r.At), err
}
