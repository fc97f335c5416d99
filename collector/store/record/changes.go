package record

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

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

// putMap adds the values of a map; nil ones are removed. The errors name kind and key.
func putMap[K comparable, V any](w *writes, kind, bucket string, values map[K]*V, key func(K) []byte, encode func(*V) ([]byte, error)) error {
	for k, v := range values {
		if v == nil {
			w.all = append(w.all, Write{bucket, key(k), nil})
			continue
		}
		payload, err := encode(v)
		if err != nil {
			return fmt.Errorf("%s %+v: %w", kind, k, err)
		}
		w.put(bucket, key(k), payload)
	}
	return nil
}

// Encode returns the changes of an appliance, Forget aside, in the order of buckets by
// name and keys. saved is the time of this save.
func Encode(appliance string, c *ledger.Changes, saved time.Time) ([]Write, error) {
	w := &writes{appliance: appliance}
	payload, err := encodeSaved(saved)
	if err != nil {
		return nil, err
	}
	w.put(OwnBucket, []byte(SavedKey), payload)
	if c.Meta != nil {
		payload, err := encodeMeta(c.Meta)
		if err != nil {
			return nil, fmt.Errorf("meta: %w", err)
		}
		w.put(OwnBucket, []byte(MetaKey), payload)
	}
	err = cmp.Or(
		putMap(w, "series", SeriesBucket, c.Series, seriesKey, encodeSeries),
		putMap(w, "unfinished session", UnfinishedBucket, c.Unfinished, func(id ledger.ID) []byte { return id[:] }, encodeUnfinished),
		putMap(w, "policy", PoliciesBucket, c.Policies, policyKey, encodePolicy),
		putMap(w, "instance", InstancesBucket, c.Instances, func(id ledger.ID) []byte { return id[:] }, encodeInstance),
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

// unfinished is a value of the bucket of that name.
type unfinished struct {
	id ledger.ID
	*ledger.Unfinished
}

// instance is a value of the bucket of instances.
type instance struct {
	id ledger.ID
	*ledger.InstanceBackup
}

// decodeAny returns the value of a record that is part of a ledger.State or checked by
// Checker, and nil for others.
func decodeAny(bucket string, key, payload []byte) (any, error) {
	switch bucket {
	case SeriesBucket:
		return decodeSeries(key, payload)
	case UnfinishedBucket:
		return decodeUnfinished(key, payload)
	case PoliciesBucket:
		return decodePolicy(key, payload)
	case InstancesBucket:
		return decodeInstance(key, payload)
	case IDsBucket: // not returned: there are a million
		_, err := DecodeSeen(key, payload)
		return nil, err
	case SkippedBucket:
		_, err := DecodeSkipped(key, payload)
		return nil, err
	}
	switch string(key) {
	case MetaKey:
		return decodeMeta(payload)
	case SavedKey:
		return DecodeSaved(payload)
	}
	return nil, errors.New("is unknown")
}

// Add adds the value of a record to state, whose maps are not nil. What a State doesn't
// have, seen sessions for one, is decoded only.
func Add(state *ledger.State, bucket string, key, payload []byte) error {
	v, err := decodeAny(bucket, key, payload)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *ledger.Meta:
		state.Meta = *v
	case *ledger.Series:
		state.Series[v.Key] = v
	case unfinished:
		state.Unfinished[v.id] = v.Unfinished
	case *ledger.Policy:
		state.Policies[v.PolicyKey] = v
	case instance:
		state.Instances[v.id] = v.InstanceBackup
	}
	return nil
}
