package vbawstest_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"vbaws_exporter/vbaws/vbawstest"
)

func TestRefusing(t *testing.T) {
	address, release, err := vbawstest.Refusing()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for range 2 {
		if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dialled: %v, %v", c, err)
		}
		if l, err := net.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listened: %v, %v", l, err)
		}
	}
}
