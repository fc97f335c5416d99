package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"vbaws_exporter/collector/ledger"
)

// idsFill is how full, of 1, a page of ids is left when it is split. Within a day
// ids come in no order, so what is split is filled again. Of what was tried this
// gives the smallest file, some 90 bytes a session, whether sessions are saved
// two or a thousand at a time; at 0.5 it is up to 130, at 0.9 up to 160.
const idsFill = 0.65

// releaseAfter is after how many writes the pages are let go that they may have
// read: at most as many.
const releaseAfter = 4000

// Appliance is the state of one appliance in a Store. Its methods may be called by any
// goroutine.
type Appliance struct {
	store *Store
	name  string

	mu   sync.RWMutex
	seen seen
}

// in returns the state that tx sees.
func (a *Appliance) in(tx *bbolt.Tx) applianceTx {
	return applianceTx{
		path:      a.store.path,
		appliance: a.name,
		root:      tx.Bucket([]byte(appliancesBucket)).Bucket([]byte(a.name)),
	}
}

// Load returns what is stored, and an empty State, its maps not nil, for an appliance
// that isn't known. All times are in UTC.
func (a *Appliance) Load() (state *ledger.State, err error) {
	err = a.store.file.View(func(tx *bbolt.Tx) error {
		state, err = a.in(tx).load()
		return err
	})
	if err != nil {
		return nil, err
	}
	return state, nil
}

// NewestDay implements ledger.SeenIndex.
func (a *Appliance) NewestDay() (day int32, found bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.seen.newest()
}

// Lookup implements ledger.SeenIndex.
func (a *Appliance) Lookup(id ledger.ID, near []int32) (r ledger.SeenSession, found bool, err error) {
	a.mu.RLock()
	may, days := a.seen.may(id), a.seen.days
	a.mu.RUnlock()
	if !may {
		// Whether the file is usable is still part of the answer.
		return r, false, a.store.file.Err()
	}
	err = a.store.file.View(func(tx *bbolt.Tx) error {
		r, found, err = a.in(tx).lookup(id, near, days)
		return err
	})
	return r, found, err
}

// Skipped implements ledger.SeenIndex.
func (a *Appliance) Skipped(id ledger.ID) (found bool, err error) {
	err = a.store.file.View(func(tx *bbolt.Tx) error {
		p := a.in(tx)
		_, found, err = p.get(skippedBucket, id[:])
		return err
	})
	return found, err
}

// Forgettable implements ledger.SeenIndex.
func (a *Appliance) Forgettable(before time.Time) (day int32, found bool, err error) {
	err = a.store.file.View(func(tx *bbolt.Tx) error {
		return a.in(tx).expired(before, func(key []byte) {
			day, found = dayOf(key), true
		})
	})
	return day, found, err
}

// Save writes all of changes in one transaction and returns once they are on the disk.
// When it fails, nothing of them is there. ledger.SeenSession.At and the times of
// skipped rows are kept to the second.
func (a *Appliance) Save(c *ledger.Changes) error {
	if c.Empty() {
		return nil
	}
	a.store.crash(CrashBegin)
	writes, err := a.encode(c)
	if err != nil {
		return fmt.Errorf("save appliance %q: %w", a.name, err)
	}
	err = a.store.file.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.Bucket([]byte(appliancesBucket)).CreateBucketIfNotExists([]byte(a.name)); err != nil {
			return err
		}
		p := a.in(tx)
		for _, name := range applianceBuckets {
			if _, err := p.root.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		if err := p.write(writes); err != nil {
			return err
		}
		if !c.Forget.IsZero() {
			if err := p.forget(c.Forget); err != nil {
				return err
			}
		}
		a.store.crash(CrashFilled)
		return nil
	})
	if err != nil {
		return fmt.Errorf("save appliance %q: %w", a.name, err)
	}
	a.index(c)
	if a.store.touched.Add(int64(len(writes))) > releaseAfter {
		a.store.touched.Store(0)
		a.store.file.Release()
	}
	a.store.crash(CrashDone)
	return nil
}

// index takes what was saved into a.seen. It reads all ids again if the filter is full,
// and if ids were forgotten. If that fails, the old filter still has all ids that are
// stored, and only makes look-ups slower.
func (a *Appliance) index(c *ledger.Changes) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, r := range c.Seen {
		a.seen.add(r.Day, id)
	}
	if !a.seen.full() && c.Forget.IsZero() {
		return
	}
	_ = a.store.file.View(func(tx *bbolt.Tx) error {
		s, err := a.in(tx).index()
		if err == nil {
			a.seen = s
		}
		return err
	})
	a.store.file.Release()
}

// write is what becomes of one key of a bucket of an appliance, or, where bucket
// is empty, of the appliance itself. A nil record removes the key.
type write struct {
	bucket      string
	key, record []byte
}

// encode returns changes in the order of the file, Forget aside.
func (a *Appliance) encode(c *ledger.Changes) ([]write, error) {
	var writes []write
	put := func(bucket string, key, payload []byte) {
		writes = append(writes, write{bucket, key, placeOf(a.name, bucket).seal(key, payload)})
	}
	remove := func(bucket string, key []byte) { writes = append(writes, write{bucket, key, nil}) }

	seen, err := encodeSeen(a.store.now())
	if err != nil {
		return nil, err
	}
	put("", []byte(seenKey), seen)
	if c.Meta != nil {
		payload, err := encodeMeta(c.Meta)
		if err != nil {
			return nil, fmt.Errorf("meta: %w", err)
		}
		put("", []byte(metaKey), payload)
	}
	for k, s := range c.Series {
		if s == nil {
			remove(seriesBucket, seriesKey(k))
			continue
		}
		payload, err := encodeSeries(s)
		if err != nil {
			return nil, fmt.Errorf("series %+v: %w", k, err)
		}
		put(seriesBucket, seriesKey(k), payload)
	}
	for id, u := range c.Unfinished {
		if u == nil {
			remove(unfinishedBucket, id[:])
			continue
		}
		payload, err := encodeUnfinished(u)
		if err != nil {
			return nil, fmt.Errorf("unfinished session %q: %w", u.Session.ID, err)
		}
		put(unfinishedBucket, id[:], payload)
	}
	for k, p := range c.Policies {
		if p == nil {
			remove(policiesBucket, policyKey(k))
			continue
		}
		payload, err := encodePolicy(p)
		if err != nil {
			return nil, fmt.Errorf("policy %+v: %w", k, err)
		}
		put(policiesBucket, policyKey(k), payload)
	}
	for id, r := range c.Seen {
		put(idsBucket, idKey(r.Day, id), encodeRemembered(r))
	}
	for id, t := range c.Skipped {
		put(skippedBucket, id[:], encodeSkipped(t))
	}
	slices.SortFunc(writes, func(a, b write) int {
		if a.bucket != b.bucket {
			return bytes.Compare([]byte(a.bucket), []byte(b.bucket))
		}
		return bytes.Compare(a.key, b.key)
	})
	return writes, nil
}

// applianceTx is the state of an appliance as a transaction sees it.
type applianceTx struct {
	path, appliance string
	root            *bbolt.Bucket // nil for an appliance that isn't known
}

// damaged returns the error of a record, or of a bucket if key is empty; bucket is
// empty for the appliance's own.
func (p applianceTx) damaged(bucket string, key []byte, err error) error {
	place := fmt.Sprintf("appliance %q", p.appliance)
	if bucket != "" {
		place += ", " + bucket
	}
	if len(key) > 0 {
		place += fmt.Sprintf(", key %x", key)
	}
	return &DamagedError{Path: p.path, Err: fmt.Errorf("%s: %w", place, err)}
}

// bucket returns one of the buckets of a known appliance.
func (p applianceTx) bucket(name string) (*bbolt.Bucket, error) {
	b := p.root.Bucket([]byte(name))
	if b == nil {
		return nil, p.damaged(name, nil, errors.New("bucket is missing"))
	}
	return b, nil
}

// get returns the payload under key, and whether there is any. It is valid for
// the transaction.
func (p applianceTx) get(bucket string, key []byte) (payload []byte, found bool, err error) {
	if p.root == nil {
		return nil, false, nil
	}
	b := p.root
	if bucket != "" {
		if b, err = p.bucket(bucket); err != nil {
			return nil, false, err
		}
	}
	record := b.Get(key)
	if record == nil {
		return nil, false, nil
	}
	payload, err = placeOf(p.appliance, bucket).unseal(key, record)
	if err != nil {
		return nil, false, p.damaged(bucket, key, err)
	}
	return payload, true, nil
}

// each calls fn with every record of a bucket; an error of fn's is the record's.
func (p applianceTx) each(bucket string, fn func(key, payload []byte) error) error {
	if p.root == nil {
		return nil
	}
	b, err := p.bucket(bucket)
	if err != nil {
		return err
	}
	place := placeOf(p.appliance, bucket)
	return b.ForEach(func(key, record []byte) error {
		payload, err := place.unseal(key, record)
		if err == nil {
			err = fn(key, payload)
		}
		if err != nil {
			return p.damaged(bucket, key, err)
		}
		return nil
	})
}

func (p applianceTx) seen() (time.Time, error) {
	payload, found, err := p.get("", []byte(seenKey))
	if err != nil {
		return time.Time{}, err
	}
	if !found {
		return time.Time{}, p.damaged("", []byte(seenKey), errors.New("record is missing"))
	}
	t, err := decodeSeen(payload)
	if err != nil {
		return time.Time{}, p.damaged("", []byte(seenKey), err)
	}
	return t, nil
}

func (p applianceTx) load() (*ledger.State, error) {
	s := &ledger.State{
		Series:     map[ledger.Key]*ledger.Series{},
		Unfinished: map[ledger.ID]*ledger.Unfinished{},
		Policies:   map[ledger.PolicyKey]*ledger.Policy{},
	}
	payload, found, err := p.get("", []byte(metaKey))
	if err != nil {
		return nil, err
	}
	if found {
		if s.Meta, err = decodeMeta(payload); err != nil {
			return nil, p.damaged("", []byte(metaKey), err)
		}
	}
	err = p.each(seriesBucket, func(key, payload []byte) error {
		v, err := decodeSeries(key, payload)
		if err == nil {
			s.Series[v.Key] = v
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = p.each(unfinishedBucket, func(key, payload []byte) error {
		id, v, err := decodeUnfinished(key, payload)
		if err == nil {
			s.Unfinished[id] = v
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = p.each(policiesBucket, func(key, payload []byte) error {
		v, err := decodePolicy(key, payload)
		if err == nil {
			s.Policies[v.PolicyKey] = v
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// lookup finds an id under one of the days, those of near first.
func (p applianceTx) lookup(id ledger.ID, near, days []int32) (ledger.SeenSession, bool, error) {
	for _, some := range [][]int32{near, days} {
		for _, day := range some {
			if _, has := slices.BinarySearch(days, day); !has {
				continue
			}
			key := idKey(day, id)
			payload, found, err := p.get(idsBucket, key)
			if err != nil {
				return ledger.SeenSession{}, false, err
			}
			if !found {
				continue
			}
			r, err := decodeRemembered(key, payload)
			if err != nil {
				return ledger.SeenSession{}, false, p.damaged(idsBucket, key, err)
			}
			return r, true, nil
		}
	}
	return ledger.SeenSession{}, false, nil
}

// index returns the index of all ids that are stored.
func (p applianceTx) index() (seen, error) {
	if p.root == nil || p.root.Bucket([]byte(idsBucket)) == nil {
		return newSeen(0), nil
	}
	b := p.root.Bucket([]byte(idsBucket))
	s := newSeen(b.Stats().KeyN)
	c := b.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		if len(key) != idKeySize {
			return s, p.damaged(idsBucket, key, fmt.Errorf("key has %d bytes, not %d", len(key), idKeySize))
		}
		s.add(dayOf(key), ledger.ID(key[4:]))
	}
	return s, nil
}

// expired calls fn with the keys, valid for the transaction, of ids that are forgotten
// by Changes.Forget = t, in order. A session is dealt with after it has started, so
// the first day that begins after t ends the search.
func (p applianceTx) expired(t time.Time, fn func(key []byte)) error {
	if p.root == nil {
		return nil
	}
	b, err := p.bucket(idsBucket)
	if err != nil {
		return err
	}
	place := placeOf(p.appliance, idsBucket)
	c := b.Cursor()
	for key, record := c.First(); key != nil && !beginsAfter(dayOf(key), t); key, record = c.Next() {
		payload, err := place.unseal(key, record)
		if err != nil {
			return p.damaged(idsBucket, key, err)
		}
		r, err := decodeRemembered(key, payload)
		if err != nil {
			return p.damaged(idsBucket, key, err)
		}
		if expired(r, t) {
			fn(key)
		}
	}
	return nil
}

// beginsAfter reports whether a day begins after t.
func beginsAfter(day int32, t time.Time) bool {
	return ledger.StartOfDay(day).After(t)
}

// write makes the changes.
func (p applianceTx) write(writes []write) error {
	for _, w := range writes {
		b := p.root
		if w.bucket != "" {
			var err error
			if b, err = p.bucket(w.bucket); err != nil {
				return err
			}
		}
		if w.bucket == idsBucket {
			b.FillPercent = idsFill
		}
		var err error
		if w.record == nil {
			err = b.Delete(w.key)
		} else {
			err = b.Put(w.key, w.record)
		}
		if err != nil {
			return fmt.Errorf("write key %x of bucket %q: %w", w.key, w.bucket, err)
		}
	}
	return nil
}

// forget removes the ids, and the skipped rows, that were dealt with before t.
func (p applianceTx) forget(t time.Time) error {
	// Removing moves what a cursor walks over.
	var keys [][]byte
	if err := p.expired(t, func(key []byte) { keys = append(keys, bytes.Clone(key)) }); err != nil {
		return err
	}
	if err := p.remove(idsBucket, keys); err != nil {
		return err
	}
	keys = nil
	err := p.each(skippedBucket, func(key, payload []byte) error {
		at, err := decodeSkipped(key, payload)
		if err == nil && at.Before(t) {
			keys = append(keys, bytes.Clone(key))
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.remove(skippedBucket, keys)
}

func (p applianceTx) remove(bucket string, keys [][]byte) error {
	b, err := p.bucket(bucket)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := b.Delete(key); err != nil {
			return fmt.Errorf("remove key %x of bucket %q: %w", key, bucket, err)
		}
	}
	return nil
}

// check reads every record.
func (p applianceTx) check() error {
	err := p.root.ForEach(func(key, value []byte) error {
		switch k := string(key); {
		case value == nil && slices.Contains(applianceBuckets, k):
			return nil
		case value != nil && (k == metaKey || k == seenKey || k == moveKey):
			return nil
		}
		return p.damaged("", key, errors.New("is unknown"))
	})
	if err != nil {
		return err
	}
	if _, err := p.seen(); err != nil {
		return err
	}
	if _, err := p.move(); err != nil {
		return err
	}
	if _, err := p.load(); err != nil {
		return err
	}
	err = p.each(idsBucket, func(key, payload []byte) error {
		_, err := decodeRemembered(key, payload)
		return err
	})
	if err != nil {
		return err
	}
	return p.each(skippedBucket, func(key, payload []byte) error {
		_, err := decodeSkipped(key, payload)
		return err
	})
}
