package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record"
)

// idsFill is how full, of 1, a page of ids is left when it is split. Within a day
// ids come in no order, so what is split is filled again. Of what was tried this
// gives the smallest file, some 90 bytes a session, whether sessions are saved
// two or a thousand at a time; at 0.5 it is up to 130, at 0.9 up to 160.
const idsFill = 0.65

// releaseAfter is after how many writes the pages that they can have read are released:
// at most as many.
const releaseAfter = 4000

// Appliance is the state of one appliance in a Store. Its methods are not safe for
// concurrent use, those of several appliances are.
type Appliance struct {
	store *Store
	name  string
	seen  seen
}

// in returns the state that tx sees.
func (a *Appliance) in(tx *bbolt.Tx) applianceTx { return a.store.in(tx, a.name) }

// Load returns what is stored, and an empty State, its maps not nil, for an appliance
// that isn't known. All times are in UTC.
func (a *Appliance) Load() (state *ledger.State, err error) {
	err = a.store.file.View(func(tx *bbolt.Tx) error {
		state, err = a.in(tx).load(record.OwnBucket, record.SeriesBucket, record.UnfinishedBucket, record.PoliciesBucket, record.InstancesBucket)
		return err
	})
	if err != nil {
		return nil, err
	}
	return state, nil
}

// NewestDay implements ledger.SeenIndex.
func (a *Appliance) NewestDay() (day int32, found bool) { return a.seen.newest() }

// Lookup implements ledger.SeenIndex.
func (a *Appliance) Lookup(id ledger.ID, near []int32) (r ledger.SeenSession, found bool, err error) {
	if !a.seen.may(id) {
		// Whether the file is usable is still part of the answer.
		return r, false, a.store.file.Err()
	}
	err = a.store.file.View(func(tx *bbolt.Tx) error {
		r, found, err = a.in(tx).lookup(id, near, a.seen.days)
		return err
	})
	return r, found, err
}

// Skipped implements ledger.SeenIndex.
func (a *Appliance) Skipped(id ledger.ID) (found bool, err error) {
	err = a.store.file.View(func(tx *bbolt.Tx) error {
		found, err = a.in(tx).get(record.SkippedBucket, id[:], func([]byte) error { return nil })
		return err
	})
	return found, err
}

// Forgettable implements ledger.SeenIndex.
func (a *Appliance) Forgettable(before time.Time) (day int32, found bool, err error) {
	err = a.store.file.View(func(tx *bbolt.Tx) error {
		return a.in(tx).expired(before, func(_ []byte, r ledger.SeenSession) { day, found = r.Day, true })
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
	writes, err := record.Encode(a.name, c, a.store.now())
	if err != nil {
		return fmt.Errorf("save appliance %q: %w", a.name, err)
	}
	err = a.store.file.Update(func(tx *bbolt.Tx) error {
		p, err := a.store.create(tx.Bucket([]byte(appliancesBucket)), a.name)
		if err != nil {
			return err
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

// applianceTx is the state of an appliance as a transaction sees it.
type applianceTx struct {
	path, appliance string
	root            *bbolt.Bucket // nil for an appliance that isn't known
}

// in returns the state of an appliance that tx sees.
func (s *Store) in(tx *bbolt.Tx, appliance string) applianceTx {
	return applianceTx{s.path, appliance, tx.Bucket([]byte(appliancesBucket)).Bucket([]byte(appliance))}
}

// create returns the state of an appliance in the bucket all, and makes what is missing of
// its buckets.
func (s *Store) create(all *bbolt.Bucket, appliance string) (applianceTx, error) {
	root, err := all.CreateBucketIfNotExists([]byte(appliance))
	if err != nil {
		return applianceTx{}, err
	}
	for _, name := range record.Buckets[1:] {
		if _, err := root.CreateBucketIfNotExists([]byte(name)); err != nil {
			return applianceTx{}, err
		}
	}
	return applianceTx{s.path, appliance, root}, nil
}

// damaged returns the error of a record, or of a bucket if key is empty; bucket is
// empty for the appliance's own.
func (p applianceTx) damaged(bucket string, key []byte, err error) error {
	place := fmt.Sprintf("appliance %q", p.appliance)
	if bucket != record.OwnBucket {
		place += ", " + bucket
	}
	if len(key) > 0 {
		place += fmt.Sprintf(", key %x", key)
	}
	return &DamagedError{Path: p.path, Err: fmt.Errorf("%s: %w", place, err)}
}

// bucket returns one of the buckets of a known appliance. It is nil for what 0.1.0 didn't
// have.
func (p applianceTx) bucket(name string) (*bbolt.Bucket, error) {
	if name == record.OwnBucket {
		return p.root, nil
	}
	b := p.root.Bucket([]byte(name))
	if b == nil && name != record.InstancesBucket {
		return nil, p.damaged(name, nil, errors.New("bucket is missing"))
	}
	return b, nil
}

// get calls fn with the payload under key, and returns whether there is any; an error of
// fn's is the record's. The payload is valid for the transaction.
func (p applianceTx) get(bucket string, key []byte, fn func(payload []byte) error) (found bool, err error) {
	if p.root == nil {
		return false, nil
	}
	b, err := p.bucket(bucket)
	if err != nil {
		return false, err
	}
	sealed := b.Get(key)
	if sealed == nil {
		return false, nil
	}
	payload, err := record.PlaceOf(p.appliance, bucket).Unseal(key, sealed)
	if err == nil {
		err = fn(payload)
	}
	if err != nil {
		return false, p.damaged(bucket, key, err)
	}
	return true, nil
}

// each calls fn with the records of a bucket, in order, up to the key end if that is not
// nil; an error of fn's is the record's. Keys and payloads are valid for the transaction.
func (p applianceTx) each(bucket string, end []byte, fn func(key, payload []byte) error) error {
	if p.root == nil {
		return nil
	}
	b, err := p.bucket(bucket)
	if b == nil {
		return err
	}
	place := record.PlaceOf(p.appliance, bucket)
	c := b.Cursor()
	for key, sealed := c.First(); key != nil && (end == nil || bytes.Compare(key, end) < 0); key, sealed = c.Next() {
		if sealed == nil && bucket == record.OwnBucket {
			continue // it is another bucket
		}
		payload, err := place.Unseal(key, sealed)
		if err == nil {
			err = fn(key, payload)
		}
		if err != nil {
			return p.damaged(bucket, key, err)
		}
	}
	return nil
}

// saved returns when the appliance was last saved.
func (p applianceTx) saved() (t time.Time, err error) {
	found, err := p.get(record.OwnBucket, []byte(record.SavedKey), func(payload []byte) error {
		t, err = record.DecodeSaved(payload)
		return err
	})
	if err == nil && !found {
		err = p.damaged(record.OwnBucket, []byte(record.SavedKey), errors.New("record is missing"))
	}
	return t, err
}

// newState returns an empty one.
func newState() *ledger.State {
	return &ledger.State{
		Series:     map[ledger.Key]*ledger.Series{},
		Unfinished: map[ledger.ID]*ledger.Unfinished{},
		Policies:   map[ledger.PolicyKey]*ledger.Policy{},
		Instances:  map[ledger.ID]*ledger.InstanceBackup{},
	}
}

// load returns the state. It reads every record of the buckets.
func (p applianceTx) load(buckets ...string) (*ledger.State, error) {
	s := newState()
	for _, bucket := range buckets {
		err := p.each(bucket, nil, func(key, payload []byte) error { return record.Add(s, bucket, key, payload) })
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// lookup finds an id under one of the days, those of near first.
func (p applianceTx) lookup(id ledger.ID, near, days []int32) (r ledger.SeenSession, found bool, err error) {
	for _, some := range [][]int32{near, days} {
		for _, day := range some {
			if _, has := slices.BinarySearch(days, day); !has {
				continue
			}
			key := record.IDKey(day, id)
			found, err = p.get(record.IDsBucket, key, func(payload []byte) error {
				r, err = record.DecodeSeen(key, payload)
				return err
			})
			if found || err != nil {
				return r, found, err
			}
		}
	}
	return r, false, nil
}

// index returns the index of all ids that are stored.
func (p applianceTx) index() (seen, error) {
	if p.root == nil || p.root.Bucket([]byte(record.IDsBucket)) == nil {
		return newSeen(0), nil
	}
	b := p.root.Bucket([]byte(record.IDsBucket))
	s := newSeen(b.Stats().KeyN)
	c := b.Cursor()
	for key, _ := c.First(); key != nil; key, _ = c.Next() {
		day, id, err := record.SplitIDKey(key)
		if err != nil {
			return s, p.damaged(record.IDsBucket, key, err)
		}
		s.add(day, id)
	}
	return s, nil
}

// expired calls fn with the ids that are forgotten by Changes.Forget = t, in order. A
// session is dealt with after it has started, so the first day that begins after t ends
// the search.
func (p applianceTx) expired(t time.Time, fn func(key []byte, r ledger.SeenSession)) error {
	return p.each(record.IDsBucket, record.IDKey(ledger.DayOf(t)+1, ledger.ID{}), func(key, payload []byte) error {
		r, err := record.DecodeSeen(key, payload)
		if err == nil && expired(r, t) {
			fn(key, r)
		}
		return err
	})
}

// write makes the changes.
func (p applianceTx) write(writes []record.Write) error {
	for _, w := range writes {
		b, err := p.bucket(w.Bucket)
		if err != nil {
			return err
		}
		if w.Bucket == record.IDsBucket {
			b.FillPercent = idsFill
		}
		if w.Record == nil {
			err = b.Delete(w.Key)
		} else {
			err = b.Put(w.Key, w.Record)
		}
		if err != nil {
			return fmt.Errorf("write key %x of bucket %q: %w", w.Key, w.Bucket, err)
		}
	}
	return nil
}

// forget removes the ids, and the skipped rows, that were dealt with before t.
func (p applianceTx) forget(t time.Time) error {
	// Removing moves what a cursor walks over.
	var removed []record.Write
	remove := func(bucket string, key []byte) {
		removed = append(removed, record.Write{Bucket: bucket, Key: bytes.Clone(key)})
	}
	err := p.expired(t, func(key []byte, _ ledger.SeenSession) { remove(record.IDsBucket, key) })
	if err != nil {
		return err
	}
	err = p.each(record.SkippedBucket, nil, func(key, payload []byte) error {
		at, err := record.DecodeSkipped(key, payload)
		if err == nil && at.Before(t) {
			remove(record.SkippedBucket, key)
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.write(removed)
}

// check reads every record.
func (p applianceTx) check() error {
	err := p.root.ForEachBucket(func(name []byte) error {
		if slices.Contains(record.Buckets[1:], string(name)) {
			return nil
		}
		return p.damaged(record.OwnBucket, name, errors.New("is unknown"))
	})
	if err == nil {
		_, err = p.load(record.Buckets...)
	}
	if err == nil {
		_, err = p.saved() // which must be there
	}
	return err
}
