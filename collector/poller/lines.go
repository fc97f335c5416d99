package poller

import (
	"slices"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// This file limits the log lines that one poll writes.

// maxLines is how many log lines of one kind a poll writes, and valueLength how many
// bytes of a value: a line stays below 1 KiB.
const (
	maxLines    = 100
	valueLength = 300
)

// lineLimit is a logger that leaves out further lines of one kind (level and msg)
// until end, and shortens what an appliance sent. It belongs to the goroutine that polls.
type lineLimit struct {
	next    log.Logger
	written map[lineKind]int
}

type lineKind struct {
	level any
	msg   any
}

func (l *lineLimit) Log(keyvals ...any) error {
	var k lineKind
	for i := 0; i+1 < len(keyvals); i += 2 {
		switch keyvals[i] {
		case level.Key():
			k.level = keyvals[i+1]
		case "msg":
			k.msg = keyvals[i+1]
		}
	}
	if l.written[k]++; l.written[k] > maxLines {
		return nil
	}
	short := slices.Clone(keyvals)
	for i := 1; i < len(short); i += 2 {
		switch v := short[i].(type) {
		case string:
			short[i] = logged(v, valueLength)
		case error:
			short[i] = logged(v.Error(), valueLength)
		}
	}
	return l.next.Log(short...)
}

// end starts counting again, and writes to logger, which ends here, a line for each
// kind of which lines were left out.
func (l *lineLimit) end(logger log.Logger) {
	written := l.written
	l.written = make(map[lineKind]int)
	for k, n := range written {
		if n > maxLines {
			_ = logger.Log(level.Key(), k.level, "msg", "log lines omitted", "of", k.msg, "lines", n-maxLines)
		}
	}
}
