package hnsw

import "github.com/segue-ann/segue/internal/distance"

// The cost of a plan, in nanoseconds of one core of the machine it was measured on (2-core AVX-512 server, quiet; 64
// components as codes, 64 as float32, 784 as codes). Only ratios matter: a plan is chosen by comparing two costs, and its
// result is right whichever is chosen. They are constants, so that the same search takes the same way everywhere.
const (
	// A row of a walk: fetched in a batch of a few dozen, offered to the beam, and its share of the visited checks.
	walkRowCost = 44
	// A row of a scan: the next ones are under way.
	scanRowCost = 6
	// A cache line of a row, in both.
	lineCost = 2.6
	// The links of a node: two lines from anywhere and a check a link.
	linksCost = 100
	// A component where there is no kernel in assembly.
	genericCost = 0.7

	// A walk of a beam of ef reads about rowsPerEf*ef rows, and the links of hopsPerEf*ef nodes. Where the share of allowed
	// slots is s, it passes through passesPerEf*(1-s)/s*ef others. Fitted on tracks, mnist784 and clusters for s of .05 to 1.
	rowsPerEf   = 6
	hopsPerEf   = 1.15
	passesPerEf = 0.6
)

// rowCost returns the cost of reading and comparing one row of what walks read.
func (x *Index) rowCost(c *codes) float64 {
	lines := float64(x.vectors.rowBytes()) / 64
	if c != nil {
		lines = float64(c.stride) / 64
	}
	cost := lineCost * lines
	if distance.Tier() == "generic" {
		cost += genericCost * float64(x.o.Dim)
	}
	return cost
}

// scanCost returns the cost of scanning n allowed slots for q queries.
func (x *Index) scanCost(c *codes, n, q int) float64 {
	return float64(n) * (scanRowCost + x.rowCost(c)*fours(q))
}

// walkCost returns the cost of walking a beam of ef for each of q queries, where share of the slots near them are allowed.
func (x *Index) walkCost(c *codes, ef, q int, share float64) float64 {
	share = max(share, 1e-3)
	rows, hops := rowsPerEf*float64(ef), float64(ef)*(hopsPerEf+passesPerEf*(1-share)/share)
	return float64(q) * (rows*(walkRowCost+x.rowCost(c)) + hops*linksCost)
}

// PrefersScan reports whether a scan of n slots for about ef results reads no more rows than a walk with a beam of ef. Its rows
// cost less, and it keeps as many in order: of 62,461 tracks 8,192 take 3.3 ms by the scan and 3.5 by the walk, 2,048 take 1.6 and .8.
func PrefersScan(n, ef int) bool { return float64(n) <= rowsPerEf*float64(ef) }

// spent returns the cost of the search so far.
func (s *Searcher) spent() float64 {
	q := s.more.queries
	rows := float64(s.scorer.count + s.code.count)
	if q > 1 {
		rows += float64(s.more.many.count / q)
	}
	return rows*(walkRowCost+s.x.rowCost(s.walking)*fours(q)) + float64(s.hops)*linksCost
}

// fours returns by how much comparing a row with q queries costs more than with one: it is read once for four, which are compared in
// the time of two. A scan of 61,239 tracks, 64 components as float32, for 64 queries takes 21 ms, for one .9.
func fours(q int) float64 {
	if q == 1 {
		return 1
	}
	return float64((q + 3) / 4 * 2)
}
