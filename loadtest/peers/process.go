package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// How long a driver may take for one command before it is ended.
const (
	startTime  = 10 * time.Second
	buildTime  = 15 * time.Minute
	searchTime = 2 * time.Minute
	quitTime   = 10 * time.Second
)

// A process is a running driver. It belongs to one goroutine.
type process struct {
	name    string
	command *exec.Cmd
	stdin   io.WriteCloser
	replies chan string // lines of stdout; closed at its end
	stop    context.CancelFunc
}

// reply is what a driver answers. Which fields are there depends on the command.
type reply struct {
	Error       string `json:"error"`
	Unsupported bool   `json:"unsupported"`

	Engine  string `json:"engine"`
	Version string `json:"version"`
	Note    string `json:"note"`

	WallSeconds float64 `json:"wall_seconds"`
	CPUSeconds  float64 `json:"cpu_seconds"`
	Bytes       float64 `json:"bytes"`
	Queries     int     `json:"queries"`
	Distances   float64 `json:"distances_per_query"`
}

// UnsupportedError says that a library cannot do what was asked of it.
type UnsupportedError struct {
	Library string
	What    string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s does not support %s", e.Library, e.What)
}

// start runs program in dir, where its commands find their files, and reads its greeting. The caller closes it.
func start(ctx context.Context, name, dir, program string, args ...string) (*process, reply, error) {
	ctx, cancel := context.WithCancel(ctx)
	command := exec.CommandContext(ctx, program, args...)
	command.Dir = dir
	command.WaitDelay = quitTime
	stdin, err := command.StdinPipe()
	if err != nil {
		cancel()
		return nil, reply{}, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		cancel()
		return nil, reply{}, err
	}
	if err := command.Start(); err != nil {
		cancel()
		return nil, reply{}, fmt.Errorf("starting driver %s: %w", name, err)
	}
	p := &process{name: name, command: command, stdin: stdin, replies: make(chan string), stop: cancel}
	go func() { // ends with the pipe, which ends with the process; close drains replies
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			p.replies <- lines.Text()
		}
		close(p.replies)
	}()
	greeting, err := p.read(ctx, startTime)
	if err != nil {
		return nil, reply{}, errors.Join(err, p.close())
	}
	return p, greeting, nil
}

// ask sends a command and waits for its reply, at most for limit.
func (p *process) ask(ctx context.Context, limit time.Duration, command string) (reply, error) {
	if _, err := io.WriteString(p.stdin, command+"\n"); err != nil {
		return reply{}, fmt.Errorf("driver %s: %w", p.name, err)
	}
	return p.read(ctx, limit)
}

func (p *process) read(ctx context.Context, limit time.Duration) (reply, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return reply{}, ctx.Err()
	case <-timer.C:
		return reply{}, fmt.Errorf("driver %s: no reply within %v", p.name, limit)
	case line, ok := <-p.replies:
		if !ok {
			return reply{}, fmt.Errorf("driver %s ended without a reply", p.name)
		}
		var r reply
		if err := json.NewDecoder(strings.NewReader(line)).Decode(&r); err != nil {
			return reply{}, fmt.Errorf("driver %s: reply %q: %w", p.name, line, err)
		}
		if r.Unsupported {
			return reply{}, &UnsupportedError{p.name, r.Error}
		}
		if r.Error != "" {
			return reply{}, fmt.Errorf("driver %s: %s", p.name, r.Error)
		}
		return r, nil
	}
}

// close ends the process, by force if it does not go by itself, and waits for it.
func (p *process) close() error {
	defer p.stop()
	end := time.AfterFunc(quitTime, p.stop)
	defer end.Stop()
	err := p.stdin.Close() // the end of commands is the end of a driver
	for range p.replies {  // what was not read
	}
	if waited := p.command.Wait(); waited != nil {
		err = errors.Join(err, fmt.Errorf("driver %s: %w", p.name, waited))
	}
	return err
}
