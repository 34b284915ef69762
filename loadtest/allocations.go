package loadtest

import (
	"cmp"
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"strings"
)

// Allocations is what a process allocates in a call of a server in it, the mean over many.
type Allocations struct {
	Objects, Bytes float64
	// Sites are where, most objects first. Objects of all sites are those above but for what Go's own goroutines allocate.
	Sites []AllocationSite
}

// AllocationSite is a function that allocates: the innermost one of Segue or of gRPC, with what it calls of other libraries.
type AllocationSite struct {
	// Package is that of the function: "grpc" for all of gRPC, else the path below this module's.
	Package, Function string
	Objects, Bytes    float64
}

// Of returns the objects of all sites in a package.
func (a *Allocations) Of(pkg string) (objects float64) {
	for _, s := range a.Sites {
		if s.Package == pkg {
			objects += s.Objects
		}
	}
	return objects
}

// CountAllocations makes calls one after the other of a unary method of a server in this process, and returns what the process
// allocated in each: of the server, if nothing else goes on, since the client allocates nothing. Each call has a deadline.
// Sites are counted in calls of their own, in which every allocation is looked at.
func CountAllocations(ctx context.Context, addr, method string, request []byte, calls int) (_ *Allocations, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	w, err := NewWire(conn, method, "10S")
	if err != nil {
		return nil, err
	}
	call := func(n int) error {
		for range n {
			if _, err := w.Call(request); err != nil {
				return err
			}
		}
		return nil
	}
	if err := call(100); err != nil { // pools and windows are warm
		return nil, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := call(calls); err != nil {
		return nil, err
	}
	runtime.ReadMemStats(&after)
	a := &Allocations{
		Objects: float64(after.Mallocs-before.Mallocs) / float64(calls), Bytes: float64(after.TotalAlloc-before.TotalAlloc) / float64(calls),
	}
	rate := runtime.MemProfileRate
	defer func() { runtime.MemProfileRate = rate }()
	runtime.MemProfileRate = 1
	first := allocated()
	if err := call(calls); err != nil {
		return nil, err
	}
	for site, s := range allocated() {
		s.Objects, s.Bytes = (s.Objects-first[site].Objects)/float64(calls), (s.Bytes-first[site].Bytes)/float64(calls)
		if s.Objects >= 0.01 {
			a.Sites = append(a.Sites, s)
		}
	}
	slices.SortFunc(a.Sites, func(a, b AllocationSite) int {
		return cmp.Or(cmp.Compare(b.Objects, a.Objects), cmp.Compare(a.Function, b.Function))
	})
	return a, nil
}

// module is how the paths of Segue's packages begin, and grpcPath those of gRPC's.
const (
	module   = "github.com/segue-ann/segue/"
	grpcPath = "google.golang.org/grpc"
)

// allocated returns what was allocated until now, by function.
func allocated() map[string]AllocationSite {
	runtime.GC()
	runtime.GC() // a profile shows what was allocated up to the cycle before the last
	var records []runtime.MemProfileRecord
	for n := 1000; ; {
		records = make([]runtime.MemProfileRecord, n)
		got, ok := runtime.MemProfile(records, true)
		if ok {
			records = records[:got]
			break
		}
		n = got + 100
	}
	sites := map[string]AllocationSite{}
	for i := range records {
		frames := runtime.CallersFrames(records[i].Stack())
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			pkg, name := splitFunction(f.Function)
			if pkg == "" {
				continue
			}
			s := sites[f.Function]
			s.Package, s.Function = pkg, name
			s.Objects += float64(records[i].AllocObjects)
			s.Bytes += float64(records[i].AllocBytes)
			sites[f.Function] = s
			break
		}
	}
	return sites
}

// splitFunction returns the package and the name of a function of Segue or gRPC, else nothing.
func splitFunction(f string) (pkg, name string) {
	slash := strings.LastIndexByte(f, '/') + 1
	dot := slash + strings.IndexByte(f[slash:], '.')
	if dot < slash {
		return "", ""
	}
	pkg, name = f[:dot], f[dot+1:]
	if rest, ok := strings.CutPrefix(pkg, grpcPath); ok && (rest == "" || rest[0] == '/') {
		return "grpc", f[slash:]
	}
	if below, ok := strings.CutPrefix(pkg, module); ok {
		return below, name
	}
	return "", ""
}
