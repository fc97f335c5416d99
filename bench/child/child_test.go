package child

import (
	"os"
	"strings"
	"testing"
)

type echo struct{}

func (echo) Twice(s string, reply *string) error {
	*reply = s + s
	return nil
}

func TestMain(m *testing.M) {
	Main(Parts{"echo": echo{}})
	os.Exit(m.Run())
}

func TestAPartIsAnotherProcess(t *testing.T) {
	p, err := Start("echo")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := p.Call("Twice", "ab", &got); err != nil || got != "abab" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := p.Call("Thrice", "ab", &got); err == nil || !strings.Contains(err.Error(), "Thrice") {
		t.Errorf("a method that isn't there: %v", err)
	}
	if p.Pid() == os.Getpid() {
		t.Error("it is this process")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestAPartThatIsNotThere(t *testing.T) {
	p, err := Start("nobody")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := p.Call("Twice", "ab", &got); err == nil {
		t.Error("nobody answered")
	}
	if err := p.Close(); err == nil {
		t.Error("it ended well")
	}
}
