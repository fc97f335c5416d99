package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// recordVersion is the first byte of every record.
const recordVersion = 1

// headerSize is the length of what stands before a record's payload: version
// and checksum.
const headerSize = 1 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Place is a bucket of an appliance. Its value is the checksum of their names, with which
// the checksums of the records begin: a record in another place is not valid.
type Place uint32

// PlaceOf returns the place of an appliance's bucket.
func PlaceOf(appliance, bucket string) Place {
	sum := crc32.Checksum([]byte(appliance), castagnoli)
	return Place(crc32.Update(sum, castagnoli, []byte("\x00"+bucket+"\x00")))
}

func (p Place) sum(key []byte, version byte, payload []byte) uint32 {
	sum := crc32.Update(uint32(p), castagnoli, key)
	sum = crc32.Update(sum, castagnoli, []byte{version})
	return crc32.Update(sum, castagnoli, payload)
}

// Seal returns the record of payload under key.
func (p Place) Seal(key, payload []byte) []byte {
	record := make([]byte, headerSize, headerSize+len(payload))
	record[0] = recordVersion
	binary.BigEndian.PutUint32(record[1:], p.sum(key, recordVersion, payload))
	return append(record, payload...)
}

// Unseal returns the payload of the record under key. It shares the record's
// memory.
func (p Place) Unseal(key, record []byte) ([]byte, error) {
	if len(record) < headerSize {
		return nil, fmt.Errorf("%d bytes are not a record", len(record))
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
