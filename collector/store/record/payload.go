package record

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// The types below are the payloads. They are apart from the ledger's so that what is on
// disk changes only if that is intended. Those in forms have the fields of another type,
// in its order, so that the compiler refuses to convert one to the other when a field is
// added. Durations are in nanoseconds.
type (
	metaRecord struct {
		FirstContact  time.Time          `json:"first_contact,omitzero"`
		ContactFrom   time.Time          `json:"contact_from,omitzero"`
		Line          time.Time          `json:"line,omitzero"`
		Watermark     *ledger.Watermark  `json:"watermark,omitzero"`
		LastSweep     time.Time          `json:"last_sweep,omitzero"`
		LastWideSweep time.Time          `json:"last_wide_sweep,omitzero"`
		SweptAt       time.Time          `json:"swept_at,omitzero"`
		SweepInterval time.Duration      `json:"sweep_interval,omitzero"`
		Resets        uint64             `json:"resets,omitzero"`
		Skipped       map[string]uint64  `json:"skipped,omitempty"`
		Zone          string             `json:"zone,omitzero"`
		Bounds        []float64          `json:"bounds,omitempty"`
		Clock         *verdict.ClockGate `json:"clock,omitzero"`
		JudgedAt      time.Time          `json:"judged_at,omitzero"`
		Unreadable    *ledger.Unreadable `json:"unreadable,omitzero"`
	}
	unreadableRecord struct {
		From     time.Time `json:"from,omitzero"`
		Sessions int       `json:"sessions"`
	}
	clockRecord struct {
		Offset   time.Duration `json:"offset,omitzero"`
		Known    bool          `json:"-"`
		ClosedAt time.Time     `json:"closed_at,omitzero"`
		Polls    int           `json:"polls,omitzero"`
	}
	watermarkRecord struct {
		USN int64     `json:"usn"`
		ID  ledger.ID `json:"id"`
	}
	seriesRecord struct {
		keyRecord
		Counters []*ledger.Counter `json:"counters,omitempty"`
		Last     ledger.Last       `json:"last,omitzero"`
		History  verdict.History   `json:"history,omitzero"`
	}
	keyRecord struct {
		Type         string `json:"type"`
		ExtendedType string `json:"extended_type,omitzero"`
		Policy       string `json:"policy,omitzero"`
	}
	historyRecord struct {
		Recent       []verdict.Session `json:"recent,omitempty"`
		Success      time.Time         `json:"success,omitzero"`
		Failures     int               `json:"failures,omitzero"`
		FirstFailure time.Time         `json:"first_failure,omitzero"`
	}
	finishedRecord struct {
		Start  time.Time `json:"start,omitzero"`
		End    time.Time `json:"end,omitzero"`
		Status string    `json:"status"`
		ID     uint32    `json:"id,omitzero"`
	}
	lastRecord struct {
		ID       ledger.ID     `json:"id,omitzero"`
		Status   string        `json:"status,omitzero"`
		End      time.Time     `json:"end,omitzero"`
		Duration time.Duration `json:"duration,omitzero"`
	}
	counterRecord struct {
		Status    string            `json:"status"`
		Born      time.Time         `json:"born,omitzero"`
		Held      bool              `json:"held,omitzero"`
		Count     uint64            `json:"count,omitzero"`
		End       time.Time         `json:"end,omitzero"`
		Exemplar  *ledger.Exemplar  `json:"exemplar,omitzero"`
		Histogram *ledger.Histogram `json:"histogram,omitzero"`
	}
	histogramRecord struct {
		Born      time.Time             `json:"born,omitzero"`
		Base      uint64                `json:"base,omitzero"`
		Sum       int64                 `json:"sum,omitzero"`
		Buckets   []uint64              `json:"buckets,omitempty"`
		Exemplars []*ledger.Exemplar    `json:"exemplars,omitempty"`
		Zero      uint64                `json:"zero,omitzero"`
		Native    []ledger.NativeBucket `json:"native,omitempty"`
	}
	nativeRecord struct {
		Index int32  `json:"i"`
		Count uint64 `json:"n"`
	}
	exemplarRecord struct {
		SessionID string        `json:"session_id"`
		Duration  time.Duration `json:"duration,omitzero"`
		End       time.Time     `json:"end,omitzero"`
	}
	unfinishedRecord struct {
		sessionRecord
		Policy     string `json:"policy,omitzero"`
		Counted    bool   `json:"counted,omitzero"`
		Countable  bool   `json:"countable,omitzero"`
		Unresolved bool   `json:"unresolved,omitzero"`
		Missing    int    `json:"missing,omitzero"`
	}
	sessionRecord struct {
		ID           string        `json:"id"`
		Type         string        `json:"type,omitzero"`
		ExtendedType string        `json:"extended_type,omitzero"`
		Status       string        `json:"status,omitzero"`
		Result       string        `json:"result,omitzero"`
		Reason       string        `json:"reason,omitzero"`
		Name         string        `json:"name,omitzero"`
		Start        time.Time     `json:"start,omitzero"`
		Stop         time.Time     `json:"stop,omitzero"`
		Duration     time.Duration `json:"duration,omitzero"`
		USN          int64         `json:"usn,omitzero"`
	}
	policyRecord struct {
		policyKeyRecord
		Name          string          `json:"name,omitzero"`
		Enabled       bool            `json:"enabled,omitzero"`
		Schedule      *vbaws.Schedule `json:"schedule,omitzero"`
		LastReadable  *vbaws.Schedule `json:"last_readable,omitzero"`
		Since         time.Time       `json:"since,omitzero"`
		InitialSync   bool            `json:"initial_sync,omitzero"`
		DisabledSince time.Time       `json:"disabled_since,omitzero"`
		Decided       verdict.Decided `json:"decided,omitempty"`
		Former        *ledger.Former  `json:"former,omitzero"`
		Missing       int             `json:"missing,omitzero"`
		Listed        time.Time       `json:"listed,omitzero"`
		LookedUp      bool            `json:"looked_up,omitzero"`
	}
	policyKeyRecord struct {
		Workload string `json:"workload"`
		ID       string `json:"id"`
	}
	formerRecord struct {
		Name      string                     `json:"name"`
		Until     time.Time                  `json:"until,omitzero"`
		Histories map[string]verdict.History `json:"histories,omitempty"`
	}
	instanceRecord struct {
		At       time.Time `json:"at,omitzero"`
		LookedUp time.Time `json:"looked_up,omitzero"`
	}
	savedRecord struct {
		At time.Time `json:"at"`
	}
)

// The types below are a vbaws.Schedule.
type (
	scheduleRecord struct {
		Daily      *vbaws.DailySchedule   `json:"daily,omitzero"`
		Weekly     *vbaws.WeeklySchedule  `json:"weekly,omitzero"`
		Monthly    *vbaws.MonthlySchedule `json:"monthly,omitzero"`
		Yearly     *vbaws.YearlySchedule  `json:"yearly,omitzero"`
		Every      time.Duration          `json:"every,omitzero"`
		Unreadable string                 `json:"err,omitzero"`
	}
	dailyRecord struct {
		Days            vbaws.Weekdays
		RunsPerHour     int
		RunsMakeBackups bool `json:",omitzero"`

		Snapshot, Replica, Backup *vbaws.Hours
	}
	weeklyRecord struct {
		At time.Duration

		Snapshot, Replica, Backup *vbaws.Weekdays
	}
	monthlyRecord struct {
		At  time.Duration
		Day vbaws.DayInMonth

		Snapshot, Replica, Backup *vbaws.Months

		Archive bool `json:",omitzero"`
	}
	yearlyRecord struct {
		At      time.Duration
		Month   time.Month
		Day     vbaws.DayInMonth
		Archive bool `json:",omitzero"`
	}
)

// forms are the types that are encoded as others.
var forms = []form{
	as(func(v *time.Time) *instant { return (*instant)(v) }),
	as(func(v *ledger.ID) *hexID { return (*hexID)(v) }),
	as(func(v *verdict.ClockGate) *clockRecord { return (*clockRecord)(v) }),
	as(func(v *ledger.Unreadable) *unreadableRecord { return (*unreadableRecord)(v) }),
	as(func(v *ledger.Watermark) *watermarkRecord { return (*watermarkRecord)(v) }),
	as(func(v *verdict.History) *historyRecord { return (*historyRecord)(v) }),
	as(func(v *verdict.Session) *finishedRecord { return (*finishedRecord)(v) }),
	as(func(v *ledger.Last) *lastRecord { return (*lastRecord)(v) }),
	as(func(v *ledger.Counter) *counterRecord { return (*counterRecord)(v) }),
	as(func(v *ledger.Histogram) *histogramRecord { return (*histogramRecord)(v) }),
	as(func(v *ledger.NativeBucket) *nativeRecord { return (*nativeRecord)(v) }),
	as(func(v *ledger.Exemplar) *exemplarRecord { return (*exemplarRecord)(v) }),
	as(func(v *ledger.Former) *formerRecord { return (*formerRecord)(v) }),
	as(func(v *vbaws.Schedule) *scheduleRecord { return (*scheduleRecord)(v) }),
	as(func(v *vbaws.DailySchedule) *dailyRecord { return (*dailyRecord)(v) }),
	as(func(v *vbaws.WeeklySchedule) *weeklyRecord { return (*weeklyRecord)(v) }),
	as(func(v *vbaws.MonthlySchedule) *monthlyRecord { return (*monthlyRecord)(v) }),
	as(func(v *vbaws.YearlySchedule) *yearlyRecord { return (*yearlyRecord)(v) }),
}

func encodeMeta(m *ledger.Meta) ([]byte, error) {
	r := metaRecord{
		Line:          m.Cutoff,
		Watermark:     m.Watermark,
		LastSweep:     m.LastResync,
		LastWideSweep: m.LastDailyResync,
		SweptAt:       m.ResyncedAt,
		SweepInterval: m.ResyncInterval,
		Resets:        m.Resets,
		Skipped:       m.Skipped,
		Zone:          m.Zone,
		Bounds:        m.Bounds,
		JudgedAt:      m.JudgedAt,
		Unreadable:    m.Unreadable,
	}
	switch m.Phase.Stage {
	case ledger.InitialSync:
		r.ContactFrom = m.Phase.Time
	case ledger.Synced:
		r.FirstContact = m.Phase.Time
	}
	if m.Clock.Known {
		r.Clock = &m.Clock
	}
	return encode(r)
}

func decodeMeta(payload []byte) (*ledger.Meta, error) {
	var r metaRecord
	if err := decode(payload, &r); err != nil {
		return nil, err
	}
	m := &ledger.Meta{
		Cutoff:          r.Line,
		Watermark:       r.Watermark,
		LastResync:      r.LastSweep,
		LastDailyResync: r.LastWideSweep,
		ResyncedAt:      r.SweptAt,
		ResyncInterval:  r.SweepInterval,
		Resets:          r.Resets,
		Skipped:         currentReasons(r.Skipped),
		Zone:            r.Zone,
		Bounds:          r.Bounds,
		JudgedAt:        r.JudgedAt,
		Unreadable:      r.Unreadable,
	}
	switch {
	case !r.FirstContact.IsZero():
		m.Phase = ledger.Phase{Stage: ledger.Synced, Time: r.FirstContact}
	case !r.ContactFrom.IsZero():
		m.Phase = ledger.Phase{Stage: ledger.InitialSync, Time: r.ContactFrom}
	}
	if r.Clock != nil {
		m.Clock = *r.Clock
		m.Clock.Known = true
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

func encodeSeries(s *ledger.Series) ([]byte, error) {
	return encode(seriesRecord{keyRecord: keyRecord(s.Key), Counters: s.Counters, Last: s.Last, History: s.History})
}

func decodeSeries(key, payload []byte) (*ledger.Series, error) {
	var r seriesRecord
	if err := decode(payload, &r); err != nil {
		return nil, err
	}
	s := &ledger.Series{Key: ledger.Key(r.keyRecord), Counters: r.Counters, Last: r.Last, History: r.History}
	if !bytes.Equal(key, seriesKey(s.Key)) {
		return nil, errors.New("series has the key of another")
	}
	return s, nil
}

func encodeInstance(i *ledger.InstanceBackup) ([]byte, error) { return encode(instanceRecord(*i)) }

func decodeInstance(key, payload []byte) (instance, error) {
	if len(key) != len(ledger.ID{}) {
		return instance{}, fmt.Errorf("key has %d bytes, not %d", len(key), len(ledger.ID{}))
	}
	var r instanceRecord
	if err := decode(payload, &r); err != nil {
		return instance{}, err
	}
	return instance{ledger.ID(key), (*ledger.InstanceBackup)(&r)}, nil
}

func encodeUnfinished(u *ledger.Unfinished) ([]byte, error) {
	return encode(unfinishedRecord{
		sessionRecord: sessionRecord(u.Session),
		Policy:        u.Policy,
		Counted:       u.Disposition == ledger.Counted,
		Countable:     u.Disposition == ledger.Countable,
		Unresolved:    u.Unresolved,
		Missing:       u.Missing,
	})
}

func decodeUnfinished(key, payload []byte) (unfinished, error) {
	if len(key) != len(ledger.ID{}) {
		return unfinished{}, fmt.Errorf("key has %d bytes, not %d", len(key), len(ledger.ID{}))
	}
	var r unfinishedRecord
	if err := decode(payload, &r); err != nil {
		return unfinished{}, err
	}
	u := &ledger.Unfinished{
		Session: vbaws.Session(r.sessionRecord), Policy: r.Policy, Unresolved: r.Unresolved, Missing: r.Missing,
	}
	switch {
	case r.Counted:
		u.Disposition = ledger.Counted
	case r.Countable:
		u.Disposition = ledger.Countable
	}
	return unfinished{ledger.ID(key), u}, nil
}

func encodePolicy(p *ledger.Policy) ([]byte, error) {
	return encode(policyRecord{
		policyKeyRecord: policyKeyRecord(p.PolicyKey),
		Name:            p.Name,
		Enabled:         p.Enabled,
		Schedule:        p.Schedule,
		LastReadable:    p.LastReadable,
		Since:           p.Since,
		InitialSync:     p.InitialSync,
		DisabledSince:   p.DisabledSince,
		Decided:         p.Decided,
		Former:          p.Former,
		Missing:         p.Missing,
		Listed:          p.Listed,
		LookedUp:        p.LookedUp,
	})
}

func decodePolicy(key, payload []byte) (*ledger.Policy, error) {
	var r policyRecord
	if err := decode(payload, &r); err != nil {
		return nil, err
	}
	p := &ledger.Policy{
		PolicyKey:     ledger.PolicyKey(r.policyKeyRecord),
		Name:          r.Name,
		Enabled:       r.Enabled,
		Schedule:      r.Schedule,
		LastReadable:  r.LastReadable,
		Since:         r.Since,
		InitialSync:   r.InitialSync,
		DisabledSince: r.DisabledSince,
		Decided:       r.Decided,
		Former:        r.Former,
		Missing:       r.Missing,
		Listed:        r.Listed,
		LookedUp:      r.LookedUp,
	}
	if !bytes.Equal(key, policyKey(p.PolicyKey)) {
		return nil, errors.New("policy has the key of another")
	}
	return p, nil
}

func encodeSaved(t time.Time) ([]byte, error) { return encode(savedRecord{t}) }

// DecodeSaved returns when an appliance was last saved from the record of SavedKey.
func DecodeSaved(payload []byte) (time.Time, error) {
	var r savedRecord
	err := decode(payload, &r)
	return r.At, err
}

// Move says how often the state was exported, and whether it belongs to another exporter
// since. It is the record of MoveKey, in which the time is as in RFC 3339.
type Move struct {
	Number   uint64    `json:"number"`
	Exported time.Time `json:"exported"`
	Away     bool      `json:"away,omitzero"`
}

// EncodeMove returns the payload of MoveKey.
func EncodeMove(m Move) ([]byte, error) { return json.Marshal(m) }

// DecodeMove is the reverse of EncodeMove.
func DecodeMove(payload []byte) (m Move, err error) {
	err = json.Unmarshal(payload, &m, json.RejectUnknownMembers(true))
	return m, err
}
