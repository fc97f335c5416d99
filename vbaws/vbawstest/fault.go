package vbawstest

import (
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
)

// FaultKind is a kind of fault.
type FaultKind int

const (
	// FaultStatus answers with Fault.Status, as a problem document or, with
	// Fault.HTML, a page of a proxy.
	FaultStatus FaultKind = iota
	// FaultReset resets the connection without an answer.
	FaultReset
	// FaultTruncate sends half of the body that the header announces, then
	// breaks the connection.
	FaultTruncate
	// FaultSlow sends the header and then the body in pieces of Fault.Chunk bytes,
	// each when Injection.Step is called.
	FaultSlow
	// FaultHang sends nothing until Injection.Release, then answers normally.
	FaultHang
	// FaultStartPage answers 200 with the HTML of a portal's start page.
	FaultStartPage
	// FaultGarbage answers 200 with application/json that is not valid.
	FaultGarbage
	// FaultGrow adds a session of type Policy, which ends when it starts, after the
	// answer was made: a list that grows as fast as it is read. With Count -1 it has no
	// end.
	FaultGrow
)

// silent reports whether no answer is sent.
func (k FaultKind) silent() bool { return k == FaultReset }

// Fault is a fault of chosen requests. It replaces the answer. With FaultTruncate, FaultSlow
// and FaultHang the normal answer is sent in another way, and with FaultGrow unchanged.
type Fault struct {
	Kind FaultKind
	// Method and Route, a template such as /api/v1/sessions/{id}, choose the
	// requests; empty is any.
	Method, Route string
	// Skip is how many of these requests are answered normally before that.
	Skip int
	// Count is how many fail; 0 is one, negative is all.
	Count int
	// Probability, if it isn't 0, is the probability with which each of these requests
	// fails. It is drawn from Seed.
	Probability float64
	Seed        uint64

	// Status, ErrorCode, RetryAfter (seconds or an HTTP date) and HTML describe the
	// answer of FaultStatus. An empty ErrorCode is ServiceUnavailable for 503,
	// NotImplemented for 501 and UnknownError for others.
	Status     int
	ErrorCode  string
	RetryAfter string
	HTML       bool
	// Chunk is the length of FaultSlow's pieces; 0 is 16.
	Chunk int
}

// Injection is an active Fault. Its methods can be called by several goroutines at once.
type Injection struct {
	Fault
	rng *rand.Rand

	a    *Appliance // whose mutex guards the following
	skip int
	left int
	hits int

	steps   chan struct{}
	entered chan struct{}
	release chan struct{}
	once    sync.Once
}

// Inject adds a fault. If several match a request, the oldest is used.
func (a *Appliance) Inject(f Fault) *Injection {
	in := &Injection{
		Fault:   f,
		rng:     rand.New(rand.NewPCG(f.Seed, 1)),
		a:       a,
		skip:    f.Skip,
		left:    orElse(f.Count, 1),
		steps:   make(chan struct{}),
		entered: make(chan struct{}, 1<<10),
		release: make(chan struct{}),
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, in)
	return in
}

// Hits returns how many requests the fault has struck.
func (in *Injection) Hits() int {
	in.a.mu.Lock()
	defer in.a.mu.Unlock()
	return in.hits
}

// Entered returns a channel that gets a value when a request is struck by the fault. It
// buffers a thousand values; further ones are dropped.
func (in *Injection) Entered() <-chan struct{} { return in.entered }

// Step lets a response send one more piece of a slow body. It waits for the response, and
// returns false if the fault was released instead.
func (in *Injection) Step() bool {
	select {
	case in.steps <- struct{}{}:
		return true
	case <-in.release:
		return false
	}
}

// Release makes the fault hold back nothing from now on.
func (in *Injection) Release() { in.once.Do(func() { close(in.release) }) }

// Remove ends the fault and releases what it holds back.
func (in *Injection) Remove() {
	in.a.mu.Lock()
	in.a.faults = slices.DeleteFunc(in.a.faults, func(f *Injection) bool { return f == in })
	in.a.mu.Unlock()
	in.Release()
}

// fault returns the fault that strikes this request, or nil.
func (a *Appliance) fault(method, template string) *Injection {
	for i, in := range a.faults {
		if in.Method != "" && in.Method != method || in.Route != "" && in.Route != template {
			continue
		}
		if in.skip > 0 {
			in.skip--
			continue
		}
		if in.Probability != 0 && in.rng.Float64() >= in.Probability {
			continue
		}
		in.hits++
		select {
		case in.entered <- struct{}{}:
		default:
		}
		if in.left > 0 {
			in.left--
		}
		if in.left == 0 {
			a.faults = slices.Delete(a.faults, i, i+1)
		}
		return in
	}
	return nil
}

const startPage = `<!DOCTYPE html><html><head><title>Veeam Backup for AWS</title></head><body><div id="root"></div></body></html>`

// answer returns what the fault answers by itself, or nil.
func (in *Injection) answer(base string) *answer {
	switch in.Kind {
	case FaultStatus:
		var ans *answer
		if in.HTML {
			ans = html(in.Status, "<html><body><h1>"+http.StatusText(in.Status)+"</h1></body></html>")
		} else {
			ans = in.problem().answer(base, "")
		}
		if in.RetryAfter != "" {
			ans.header.Set("Retry-After", in.RetryAfter)
		}
		return ans
	case FaultReset:
		return &answer{header: http.Header{}}
	case FaultStartPage:
		return html(http.StatusOK, startPage)
	case FaultGarbage:
		return ok([]byte(`{"totalCount":3,"results":[{"id":`))
	default:
		return nil
	}
}

// grow adds a session to the list.
func (a *Appliance) grow() {
	now := a.ownNow()
	a.commit(Session{ID: a.uuid(), Type: "Policy", ExtendedType: "PolicySnapshot", Name: "Growing",
		Status: StatusSucceeded, Start: now, Stop: now}, nil, nil)
}

func (in *Injection) problem() problem {
	p := problem{in.Status, in.ErrorCode, "unknownError", http.StatusText(in.Status)}
	switch {
	case p.code != "":
	case in.Status == http.StatusServiceUnavailable:
		p.code, p.page = "ServiceUnavailable", "serviceUnavailable"
	case in.Status == http.StatusNotImplemented:
		p.code, p.page = "NotImplemented", "notImplemented"
	default:
		p.code = "UnknownError"
	}
	return p
}

// write sends ans in the fault's way.
func (in *Injection) write(w http.ResponseWriter, r *http.Request, ans *answer) {
	switch in.Kind {
	case FaultReset:
		reset(w)
	case FaultTruncate:
		ans.announce(w)
		w.Write(ans.body[:len(ans.body)/2])
		flush(w)
		panic(http.ErrAbortHandler)
	case FaultSlow:
		ans.announce(w)
		flush(w)
		size := orElse(in.Chunk, 16)
		for body := ans.body; len(body) > 0; {
			select {
			case <-in.steps:
			case <-in.release:
				size = len(body)
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
			n := min(size, len(body))
			w.Write(body[:n])
			flush(w)
			body = body[n:]
		}
	case FaultHang:
		select {
		case <-in.release:
			ans.write(w)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	default:
		ans.write(w)
	}
}

// reset closes the connection so that the client sees a reset. If the connection cannot
// be hijacked, it aborts the answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	inner := conn
	if t, ok := inner.(*tls.Conn); ok {
		inner = t.NetConn()
	}
	if t, ok := inner.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	inner.Close()
}

func flush(w http.ResponseWriter) {
	// A ResponseWriter that can't flush sends everything at the end.
	_ = http.NewResponseController(w).Flush()
}
