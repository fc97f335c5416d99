// Package child runs parts of this program in processes of their own, so that
// the CPU and the memory of each can be told apart, and calls them by net/rpc
// over their standard input and output.
package child

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
)

// env is the environment variable that says which part a process is.
const env = "VBAWS_BENCH_PART"

// Parts are the values whose methods a child serves, by name.
type Parts map[string]any

// Main serves one of the parts, and ends the process with it, where it was
// started by Start; else it does nothing. A program calls it before all else.
func Main(parts Parts) {
	name := os.Getenv(env)
	if name == "" {
		return
	}
	s := rpc.NewServer()
	err := errors.New("this program has no such part")
	if part := parts[name]; part != nil {
		err = s.RegisterName(name, part)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "be the part %q: %v\n", name, err)
		os.Exit(1)
	}
	s.ServeConn(pipe{os.Stdin, os.Stdout}) // until the parent ends, or closes it
	os.Exit(0)
}

// Process is a running part.
type Process struct {
	name  string
	cmd   *exec.Cmd
	calls *rpc.Client
}

// Start starts a part of this program. It must be closed.
func Start(name string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start the part %q: %w", name, err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), env+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the part %q: %w", name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the part %q: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the part %q: %w", name, err)
	}
	return &Process{name, cmd, rpc.NewClient(pipe{out, in})}, nil
}

// Call calls a method of the part.
func (p *Process) Call(method string, args, reply any) error {
	if err := p.calls.Call(p.name+"."+method, args, reply); err != nil {
		return fmt.Errorf("part %q: %s: %w", p.name, method, err)
	}
	return nil
}

// Close ends the process and waits for it.
func (p *Process) Close() error {
	p.calls.Close() // which ends its standard input
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("part %q: %w", p.name, err)
	}
	return nil
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// pipe is a connection of two files.
type pipe struct {
	io.ReadCloser
	w io.WriteCloser
}

func (p pipe) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p pipe) Close() error                { return errors.Join(p.w.Close(), p.ReadCloser.Close()) }
