package peers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/segue-ann/segue/loadtest"
)

// Options say what to measure. Zero fields mean their defaults.
type Options struct {
	Root      string   // of the repository; default "."
	Dir       string   // where compiled drivers and prepared sets are kept; default "bin/peers" below Root
	Sets      []string // names of sets; default all
	Libraries []string // names of libraries; default all
	Extra     []Extra  // further drivers
	Limits    Limits
	Rounds    int     // repetitions; default 5
	Shot      float64 // seconds one measurement takes at least; default 0.15

	Note func(format string, args ...any) // told of progress, one line a call; default nobody
}

// Extra is a driver of a library this package does not bring: it speaks the protocol of the package comment.
type Extra struct {
	Name    string
	Command []string // program and arguments
}

// EnsureDefaults replaces zero fields by their defaults.
func (o *Options) EnsureDefaults() {
	if o.Root == "" {
		o.Root = "."
	}
	if o.Dir == "" {
		o.Dir = o.Root + "/bin/peers"
	}
	if o.Rounds == 0 {
		o.Rounds = 5
	}
	if o.Shot == 0 {
		o.Shot = 0.15
	}
	if o.Note == nil {
		o.Note = func(string, ...any) {}
	}
}

// Validate returns a [*loadtest.OptionError] for each field out of its range, joined; call EnsureDefaults first.
func (o *Options) Validate() error {
	var errs []error
	bad := func(field string, value any, want string) {
		errs = append(errs, &loadtest.OptionError{Field: field, Value: value, Range: want})
	}
	var sets []string
	for _, s := range Sets() {
		sets = append(sets, s.Name)
	}
	for _, name := range o.Sets {
		if !slices.Contains(sets, name) {
			bad("set", name, "one of "+strings.Join(sets, ", "))
		}
	}
	for _, name := range o.Libraries {
		if !slices.Contains(LibraryNames(), name) {
			bad("library", name, "one of "+strings.Join(LibraryNames(), ", "))
		}
	}
	for _, e := range o.Extra {
		if e.Name == "" || len(e.Command) == 0 {
			bad("extra", e, "a name and a command")
		}
	}
	if o.Rounds < 1 || o.Rounds > 100 {
		bad("rounds", o.Rounds, "in 1..100")
	}
	if o.Shot < 0.001 || o.Shot > 10 {
		bad("shot", o.Shot, "in 0.001..10 s")
	}
	if o.Limits.Rows < 0 || o.Limits.Rows > 0 && o.Limits.Rows < 2*k || o.Limits.Queries < 0 {
		bad("limits", fmt.Sprintf("%+v", o.Limits), fmt.Sprintf("0, or at least %d rows", 2*k))
	}
	return errors.Join(errs...)
}

// LibraryNames are the libraries [Run] knows, in the order of the report.
func LibraryNames() []string {
	return []string{"segue", "segue-f16", "hnswlib", "faiss-flat", "faiss-sq8", "coder"}
}

// libraries returns what o asks for; drivers are compiled. The error is a [*MissingError] if a library asked for is not installed.
func (o *Options) libraries(ctx context.Context) ([]Library, error) {
	programs := map[string]string{}
	versions := map[string]string{}
	wanted := func(name string) bool { return len(o.Libraries) == 0 || slices.Contains(o.Libraries, name) }
	for _, d := range drivers {
		if !slices.ContainsFunc(LibraryNames(), func(n string) bool { return strings.HasPrefix(n, d.name) && wanted(n) }) {
			continue
		}
		o.Note("compiling driver %s", d.name)
		var err error
		if programs[d.name], versions[d.name], err = d.compile(ctx, o.Root, o.Dir); err != nil {
			return nil, err
		}
	}
	driven := func(program string, m, efConstruction int, args ...string) func(*prepared) (contestant, error) {
		return func(*prepared) (contestant, error) {
			return &foreign{program: program, args: args, m: m, efConstruction: efConstruction}, nil
		}
	}
	segue := fmt.Sprintf("this commit, M %d, efConstruction %d", segueM, segueEfConstruction)
	newSegue := func(engine string) func(*prepared) (contestant, error) {
		return newInProcess(loadtest.ANNOptions{Engine: engine, M: segueM, EfConstruction: segueEfConstruction, BuildThreads: buildThreads})
	}
	faiss := "Faiss " + versions["faiss"] + fmt.Sprintf(", M %d, efConstruction %d, ", faissM, faissEfConstruction)
	all := []Library{
		{"segue", segue, newSegue("segue")},
		{"segue-f16", segue + ", vectors in half precision", newSegue("segue-f16")},
		{
			"hnswlib", fmt.Sprintf("hnswlib %s, M %d, efConstruction %d, float32", versions["hnswlib"], hnswlibM, hnswlibEfConstruction),
			driven(programs["hnswlib"], hnswlibM, hnswlibEfConstruction),
		},
		{"faiss-flat", faiss + "float32", driven(programs["faiss"], faissM, faissEfConstruction, "flat")},
		{"faiss-sq8", faiss + "8-bit codes without rescoring", driven(programs["faiss"], faissM, faissEfConstruction, "sq8")},
		{
			"coder", fmt.Sprintf("coder/hnsw v0.6.1, M %d, EfSearch %d at build, one thread", coderM, coderEfConstruction),
			newInProcess(loadtest.ANNOptions{Engine: "coder", M: coderM, EfConstruction: coderEfConstruction}),
		},
	}
	chosen := slices.DeleteFunc(all, func(l Library) bool { return !wanted(l.Name) })
	for _, e := range o.Extra {
		chosen = append(chosen, Library{e.Name, strings.Join(e.Command, " "), driven(e.Command[0], hnswlibM, hnswlibEfConstruction, e.Command[1:]...)})
	}
	return chosen, nil
}

// Run measures every library on every set and returns what it saw; with an error from a later set, what it saw of those before. Sets are taken one after the other; on each, all indexes are
// built first, one at a time, and then asked in turn. Cost: minutes; ctx bounds it.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	libraries, err := o.libraries(ctx)
	if err != nil {
		return nil, err
	}
	report := newReport(ctx, o)
	for _, s := range Sets() {
		if len(o.Sets) > 0 && !slices.Contains(o.Sets, s.Name) {
			continue
		}
		p, err := s.prepare(ctx, o.Root, o.Dir, o.Limits, o.Note)
		if err != nil {
			return report, err
		}
		result, err := o.contest(ctx, p, libraries)
		if err != nil {
			return report, fmt.Errorf("%s: %w", s.Name, err)
		}
		report.Sets = append(report.Sets, result)
	}
	return report, nil
}

// contest measures libraries on one set.
func (o *Options) contest(ctx context.Context, s *prepared, libraries []Library) (result SetResult, err error) {
	result = SetResult{Name: s.Name, About: s.About, Rows: s.data.Rows(), Dim: s.data.Dim, Queries: s.data.NumQueries(), Metric: s.Metric.String()}
	var runs []*run
	defer func() {
		for _, r := range runs {
			if closed := r.contestant.close(); err == nil {
				err = closed
			}
		}
	}()
	for _, l := range libraries {
		result.Entries = append(result.Entries, Entry{Library: l.Name, About: l.About})
		entry := &result.Entries[len(result.Entries)-1]
		c, err := l.make(s)
		if err == nil {
			runs = append(runs, &run{contestant: c, library: l.Name})
			o.Note("%s: building %s", s.Name, l.Name)
			var b built
			b, err = c.build(ctx, s)
			entry.BuildSeconds, entry.BytesPerVector = b.Seconds, b.Bytes
		}
		var unsupported *UnsupportedError
		switch {
		case errors.As(err, &unsupported):
			entry.Unsupported = unsupported.Error()
			if c != nil {
				runs = runs[:len(runs)-1]
				if err := c.close(); err != nil {
					return result, err
				}
			}
		case err != nil:
			return result, fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	for _, r := range runs {
		if err := r.sweep(ctx, s, o); err != nil {
			return result, fmt.Errorf("%s: %w", r.library, err)
		}
	}
	for round := range o.Rounds {
		o.Note("%s: round %d of %d", s.Name, round+1, o.Rounds)
		for i := range efs {
			for j := range runs { // each round begins with another
				r := runs[(j+round)%len(runs)]
				if err := r.measure(ctx, i, s); err != nil {
					return result, fmt.Errorf("%s: %w", r.library, err)
				}
			}
		}
	}
	for _, r := range runs {
		i := slices.IndexFunc(result.Entries, func(e Entry) bool { return e.Library == r.library })
		result.Entries[i].Points = r.summary()
		for _, p := range result.Entries[i].Points {
			o.Note("%s: %-11s ef %4d  recall %.4f  %8.0f queries/s  %6.0f distances", s.Name, r.library, p.Ef, p.Recall, p.QPS, p.Distances)
		}
	}
	return result, nil
}

// efs are the beam widths asked for, in their order, until a sweep ends.
var efs = []int{10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024}

// A sweep ends at this recall, or when the last flat widths have not brought another thousandth.
const (
	enough = 0.995
	flat   = 4
)

// run is one contestant's measurements on one set.
type run struct {
	contestant contestant
	library    string
	points     []Point // by ef; QPS is filled by summary
	passes     []int
	rates      [][]float64 // by ef, then round
	results    [][]uint32
}

// sweep finds the recall at each ef, once, and how many passes a shot takes.
func (r *run) sweep(ctx context.Context, s *prepared, o *Options) error {
	r.results = make([][]uint32, s.data.NumQueries())
	for i := range r.results {
		r.results[i] = make([]uint32, 0, k)
	}
	for _, ef := range efs {
		shot, err := r.contestant.search(ctx, ef, 1, r.results)
		if err != nil {
			return err
		}
		p := Point{Ef: ef, Recall: s.data.Recall(r.results)}
		if p.Distances, _, err = r.contestant.work(ctx, ef); err != nil {
			return err
		}
		r.points = append(r.points, p)
		r.passes = append(r.passes, max(1, int(math.Ceil(o.Shot/shot.Seconds))))
		if n := len(r.points); p.Recall >= enough || n > flat && p.Recall < r.points[n-1-flat].Recall+0.001 {
			break
		}
	}
	r.rates = make([][]float64, len(r.points))
	return nil
}

// measure takes one shot at the i-th ef, if the sweep went that far: one pass to warm the caches up, then those that count.
func (r *run) measure(ctx context.Context, i int, s *prepared) error {
	if i >= len(r.points) {
		return nil
	}
	if _, err := r.contestant.search(ctx, efs[i], 1, r.results); err != nil {
		return err
	}
	shot, err := r.contestant.search(ctx, efs[i], r.passes[i], r.results)
	if err != nil {
		return err
	}
	r.rates[i] = append(r.rates[i], float64(shot.Queries)/shot.Seconds)
	// The library may have a random start; the curve shows what was timed last.
	r.points[i].Recall = s.data.Recall(r.results)
	return nil
}

// summary takes the median of the rounds.
func (r *run) summary() []Point {
	for i, rates := range r.rates {
		slices.Sort(rates)
		r.points[i].QPS = (rates[(len(rates)-1)/2] + rates[len(rates)/2]) / 2
	}
	return r.points
}
