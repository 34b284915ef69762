package background

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// shares is what this package added to GOMAXPROCS, which is one for the process, as this is therefore.
var shares struct {
	mu    sync.Mutex
	base  int // GOMAXPROCS without what was added
	added int
}

// Processors returns GOMAXPROCS without what pools added: how many goroutines can compute at a time.
func Processors() int {
	shares.mu.Lock()
	defer shares.mu.Unlock()
	if shares.added > 0 {
		return shares.base
	}
	return runtime.GOMAXPROCS(0)
}

// share changes what is added by n. Cost: it stops the world for some microseconds.
func share(n int) {
	shares.mu.Lock()
	defer shares.mu.Unlock()
	if shares.added == 0 {
		shares.base = runtime.GOMAXPROCS(0)
	}
	if shares.added += n; shares.added > 0 {
		runtime.GOMAXPROCS(shares.base + shares.added)
		return
	}
	// The default, as opposed to the same number set by hand, follows the limits of the process.
	runtime.SetDefaultGOMAXPROCS()
	if runtime.GOMAXPROCS(0) != shares.base {
		runtime.GOMAXPROCS(shares.base)
	}
}

// Spare adds a share on which nobody is to compute, until release is called, once. While as many goroutines compute as there are Processors, the
// network is looked at on it, at once and not every 10 ms: the system gives its thread, which mostly sleeps, a processor when something comes.
func Spare() (release func()) {
	share(1)
	return func() { share(-1) }
}

// Pool is up to n threads that compute at a time, and what they are allowed to.
type Pool struct {
	n       int
	idle    bool
	start   sync.Once
	tasks   chan func()
	workers sync.WaitGroup
}

// NewPool returns a pool for n computing threads, n positive. It must be closed.
func NewPool(n int) *Pool {
	p := &Pool{n: n, idle: Processors() >= runtime.NumCPU() && canLower(), tasks: make(chan func())}
	if p.idle {
		share(n)
	}
	return p
}

// Idle says that the pool's work gives way to everything else by itself.
func (p *Pool) Idle() bool { return p.idle }

// Close waits for the pool's threads to end. Nobody may use it any more.
func (p *Pool) Close() {
	close(p.tasks)
	p.workers.Wait()
	if p.idle {
		share(-p.n)
	}
}

// Run runs fn on a thread of its own, and returns when fn has. Of what runs at a time through Run and Each no more than n threads should
// compute, or they take the shares of others.
func (p *Pool) Run(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.settle()
		fn()
	}()
	<-done
}

// settle makes the goroutine's thread one of low priority. It stays so: the thread ends with the goroutine.
func (p *Pool) settle() {
	if p.idle {
		runtime.LockOSThread()
		lower()
	}
}

// Each runs fn(worker, 0..n-1) on the pool's n threads and returns the first error, after which no more are begun.
func (p *Pool) Each(n int, fn func(worker, i int) error) error {
	p.start.Do(func() {
		for range p.n {
			p.workers.Go(func() {
				p.settle()
				for task := range p.tasks {
					task()
				}
			})
		}
	})
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for worker := range min(p.n, n) {
		wg.Add(1)
		p.tasks <- func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := fn(worker, i); err != nil {
					once.Do(func() { first = err })
					next.Store(int64(n))
				}
			}
		}
	}
	wg.Wait()
	return first
}

// Do runs fn as Pool.Run does, in a pool of its own.
func Do(fn func()) {
	p := NewPool(1)
	defer p.Close()
	p.Run(fn)
}

// canLower tries it on a thread that ends with the try.
var canLower = sync.OnceValue(func() bool {
	can := make(chan bool)
	go func() {
		runtime.LockOSThread()
		can <- lower()
	}()
	return <-can
})
