package record

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"vbaws_exporter/collector/ledger"
)

// Write is what becomes of one key of a bucket. A nil Record removes the key.
type Write struct {
	Bucket      string
	Key, Record []byte
}

// writes collects those of one appliance.
type writes struct {
	appliance string
	all       []Write
}

func (w *writes) put(bucket string, key, payload []byte) {
	w.all = append(w.all, Write{bucket, key, PlaceOf(w.appliance, bucket).Seal(key, payload)})
}

func (w *writes) putJSON(bucket string, key []byte, v any) error {
	payload, err := encode(v)
	if err == nil {
		w.put(bucket, key, payload)
	}
	return err
}

// putMap adds the values of a map; nil ones are removed. The errors name kind and key.
func putMap[K comparable, V any](w *writes, kind, bucket string, values map[K]*V, key func(K) []byte) error {
	for k, v := range values {
		if v == nil {
			w.all = append(w.all, Write{bucket, key(k), nil})
		} else if err := w.putJSON(bucket, key(k), v); err != nil {
			return fmt.Errorf("%s %+v: %w", kind, k, err)
		}
	}
	return nil
}

// saved is the payload of SavedKey.
type saved struct {
	At time.Time `json:"at"`
}

// Encode returns the changes of an appliance, Forget aside, in the order of buckets by
// name and keys. now is the time of this save.
func Encode(appliance string, c *ledger.Changes, now time.Time) ([]Write, error) {
	w := &writes{appliance: appliance}
	if c.Meta != nil {
		if err := w.putJSON(OwnBucket, []byte(MetaKey), c.Meta); err != nil {
			return nil, fmt.Errorf("meta: %w", err)
		}
	}
	err := cmp.Or(
		w.putJSON(OwnBucket, []byte(SavedKey), saved{now}),
		putMap(w, "series", SeriesBucket, c.Series, seriesKey),
		putMap(w, "unfinished session", UnfinishedBucket, c.Unfinished, func(id ledger.ID) []byte { return id[:] }),
		putMap(w, "policy", PoliciesBucket, c.Policies, policyKey),
		putMap(w, "instance", InstancesBucket, c.Instances, func(id ledger.ID) []byte { return id[:] }),
	)
	if err != nil {
		return nil, err
	}
	for id, r := range c.Seen {
		w.put(IDsBucket, IDKey(r.Day, id), encodeSeen(r))
	}
	for id, t := range c.Skipped {
		w.put(SkippedBucket, id[:], encodeSkipped(t))
	}
	slices.SortFunc(w.all, func(a, b Write) int {
		return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), bytes.Compare(a.Key, b.Key))
	})
	return w.all, nil
}

// decodeAny returns the value of a record that is part of a ledger.State or checked by
// Checker, and nil for others.
func decodeAny(bucket string, key, payload []byte, options json.Options) (any, error) {
	switch bucket {
	case SeriesBucket:
		s, err := decode[ledger.Series](payload, options)
		return s, cmp.Or(err, checkKey(key, seriesKey(s.Key)))
	case UnfinishedBucket:
		u, err := decode[ledger.Unfinished](payload, options)
		u.Countable = u.Countable && !u.Counted // what was counted isn't counted again
		return u, cmp.Or(err, checkID(key))
	case PoliciesBucket:
		p, err := decode[ledger.Policy](payload, options)
		return p, cmp.Or(err, checkKey(key, policyKey(p.PolicyKey)))
	case InstancesBucket:
		i, err := decode[ledger.InstanceBackup](payload, options)
		return i, cmp.Or(err, checkID(key))
	case IDsBucket: // not returned: there are a million
		_, err := DecodeSeen(key, payload)
		return nil, err
	case SkippedBucket:
		_, err := DecodeSkipped(key, payload)
		return nil, err
	}
	switch string(key) {
	case MetaKey:
		m, err := decode[ledger.Meta](payload, options)
		upgrade(m)
		return m, err
	case SavedKey:
		return DecodeSaved(payload)
	case MoveKey:
		return DecodeMove(payload)
	}
	return nil, errors.New("is unknown")
}

// beforeLine is what 0.1.0 stored for ledger.SkipBeforeCutoff.
const beforeLine = "before_line"

// upgrade makes what 0.1.0 stored what is stored now.
func upgrade(m *ledger.Meta) {
	if n, ok := m.Skipped[beforeLine]; ok {
		delete(m.Skipped, beforeLine)
		m.Skipped[ledger.SkipBeforeCutoff] += n
	}
	if !m.SyncedAt.IsZero() {
		m.BackfillFrom = time.Time{}
	}
}

// Add adds the value of a record to state, whose maps are not nil. What a State doesn't
// have, seen sessions for one, is decoded only.
func Add(state *ledger.State, bucket string, key, payload []byte) error {
	v, err := decodeAny(bucket, key, payload, decodeOptions)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *ledger.Meta:
		state.Meta = *v
	case *ledger.Series:
		state.Series[v.Key] = v
	case *ledger.Unfinished:
		state.Unfinished[ledger.ID(key)] = v
	case *ledger.Policy:
		state.Policies[v.PolicyKey] = v
	case *ledger.InstanceBackup:
		state.Instances[ledger.ID(key)] = v
	}
	return nil
}

// DecodeSaved returns when an appliance was last saved from the record of SavedKey.
func DecodeSaved(payload []byte) (time.Time, error) {
	s, err := decode[saved](payload, decodeOptions)
	return s.At, err
}

// Move is how often the state was exported, and whether it belongs to another exporter
// since. It is the record of MoveKey, in which the time is as in RFC 3339.
type Move struct {
	Number   uint64    `json:"number"`
	Exported time.Time `json:"exported"`
	Away     bool      `json:"away,omitzero"`
}

// EncodeMove returns how a Move is written.
func EncodeMove(appliance string, m Move) (Write, error) {
	w := &writes{appliance: appliance}
	payload, err := json.Marshal(m)
	w.put(OwnBucket, []byte(MoveKey), payload)
	return w.all[0], err
}

// DecodeMove is the reverse of EncodeMove.
func DecodeMove(payload []byte) (m Move, err error) {
	err = json.Unmarshal(payload, &m, json.RejectUnknownMembers(true))
	return m, err
}
