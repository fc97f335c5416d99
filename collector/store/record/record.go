package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"vbaws_exporter/collector/ledger"
)

// idKeySize is the length of a key of IDsBucket: day and id.
const idKeySize = 4 + 16

// IDKey returns the key of a seen session. Ids stand under their day and themselves, so
// that what is looked up together is near. The day's sign bit is flipped, so that days
// sort.
func IDKey(day int32, id ledger.ID) []byte {
	key := binary.BigEndian.AppendUint32(make([]byte, 0, idKeySize), uint32(day)^1<<31)
	return append(key, id[:]...)
}

// SplitIDKey is the reverse of IDKey.
func SplitIDKey(key []byte) (day int32, id ledger.ID, err error) {
	if len(key) != idKeySize {
		return 0, id, fmt.Errorf("key has %d bytes, not %d", len(key), idKeySize)
	}
	return int32(binary.BigEndian.Uint32(key) ^ 1<<31), ledger.ID(key[4:]), nil
}

// seenSize is the length of the payload: USN, fingerprint and time. A session that is not
// counted yet has one byte more, 1.
const seenSize = 8 + 4 + 4

func encodeSeen(r ledger.SeenSession) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, seenSize+1), uint64(r.USN))
	b = binary.BigEndian.AppendUint32(b, r.Fingerprint)
	b = binary.BigEndian.AppendUint32(b, encodeSeconds(r.At))
	if r.Uncounted {
		b = append(b, 1)
	}
	return b
}

// DecodeSeen returns a seen session from a record of IDsBucket.
func DecodeSeen(key, payload []byte) (ledger.SeenSession, error) {
	day, id, err := SplitIDKey(key)
	if err != nil {
		return ledger.SeenSession{}, err
	}
	owed := len(payload) == seenSize+1 && payload[seenSize] == 1
	if len(payload) != seenSize && !owed {
		return ledger.SeenSession{}, fmt.Errorf("payload has %d bytes, not %d", len(payload), seenSize)
	}
	return ledger.SeenSession{
		ID:          id,
		Day:         day,
		USN:         int64(binary.BigEndian.Uint64(payload)),
		Fingerprint: binary.BigEndian.Uint32(payload[8:]),
		At:          decodeSeconds(binary.BigEndian.Uint32(payload[12:])),
		Uncounted:   owed,
	}, nil
}

// encodeSeconds returns t in whole seconds since 1970, and 0 for the zero time.
// It is for times of the exporter's clock. A time out of range is stored as the nearest in
// range.
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

// encodeSkipped is the payload of a row skipped at t.
func encodeSkipped(t time.Time) []byte {
	return binary.BigEndian.AppendUint32(nil, encodeSeconds(t))
}

// DecodeSkipped returns when a row was skipped from a record of SkippedBucket.
func DecodeSkipped(key, payload []byte) (time.Time, error) {
	if err := checkID(key); err != nil {
		return time.Time{}, err
	}
	if len(payload) != 4 {
		return time.Time{}, fmt.Errorf("payload has %d bytes, not 4", len(payload))
	}
	return decodeSeconds(binary.BigEndian.Uint32(payload)), nil
}

// checkID returns why key is not that of an id alone.
func checkID(key []byte) error {
	if len(key) != len(ledger.ID{}) {
		return fmt.Errorf("key has %d bytes, not %d", len(key), len(ledger.ID{}))
	}
	return nil
}

// checkKey returns why key is not the key of what is stored under it.
func checkKey(key, want []byte) error {
	if !bytes.Equal(key, want) {
		return errors.New("has the key of another")
	}
	return nil
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
