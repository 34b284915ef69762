package engine

// Query says what the neighbors should be like. Exactly one field is set.
type Query struct {
	// Vector is the query embedding, length Dim.
	Vector []float32
	// ItemID asks for "more like this"; the seed item itself is never returned.
	ItemID string
	// UserID asks with the user's stored profile.
	UserID string
}

// SearchRequest is one retrieval.
type SearchRequest struct {
	Query Query
	// K is how many neighbors are asked for, 1..Limits.MaxK.
	K int
	// Ef is the beam width; 0 means the default, DefaultEf(K). Raised to K where it is lower.
	Ef int
	// Exact asks for an exact scan: recall 1, cost O(items * Dim).
	Exact bool
	// MinRevision makes the search wait until every write up to it is visible (read your writes).
	MinRevision LSN
	// WithAttributes returns attributes: all of them where AttributeNames is empty, else those named.
	WithAttributes bool
	AttributeNames []string
	// WithVectors returns each neighbor's embedding as it was written. Costs one store read a neighbor.
	WithVectors bool
}

// Neighbor is one result.
type Neighbor struct {
	ItemID string
	// Score is higher for better, whatever the metric: the cosine (COSINE), the inner product
	// (INNER_PRODUCT), or minus the squared Euclidean distance (L2).
	Score float32
	// Distance is lower for closer: 1 - cosine, minus the inner product, or the squared Euclidean distance.
	Distance   float32
	Attributes Attributes
	Vector     []float32

	revision LSN // of the version that was found
}

// SearchResult holds at most K neighbors, best score first, ties by item id.
type SearchResult struct {
	Neighbors []Neighbor
	Info      SearchInfo
}

// Plan says how a search was answered.
type Plan uint8

const (
	// PlanGraph is a beam search of the HNSW graph.
	PlanGraph Plan = iota + 1
	// PlanExact is an exact scan.
	PlanExact
)

// Completeness says whether the result has all that was asked for.
type Completeness uint8

const (
	// Complete: K neighbors.
	Complete Completeness = iota + 1
	// Exhausted: fewer than K items match; all of them are there.
	Exhausted
)

// SearchInfo is what a search used and saw.
type SearchInfo struct {
	// Revision is a lower bound of what the search saw: every write up to it was visible.
	Revision     LSN
	Plan         Plan
	Completeness Completeness
	// EfUsed is the beam width used; 0 under PlanExact.
	EfUsed int
	// Distances is how many distances were computed; Hops how many nodes were expanded.
	Distances int
	Hops      int
}
