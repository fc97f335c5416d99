package vbawstest

import (
	"fmt"
	"net"
)

// Refusing returns an address on the loopback interface that refuses connections, and
// that no process can listen on until release is called.
//
// The address is the local end of a connection: the address of a closed listener
// could be reused.
func Refusing() (address string, release func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("keep an address that refuses: %w", err)
	}
	// The system gives a port that is bound explicitly to no dialer. A dialer with that port
	// would connect to itself.
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	c, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		l.Close()
		return "", nil, fmt.Errorf("keep an address that refuses: %w", err)
	}
	return c.LocalAddr().String(), func() { c.Close(); l.Close() }, nil
}
