package engine

import (
	"time"

	"github.com/segue-ann/segue/engine/rank"
)

// Query says what the neighbors should be like. Exactly one field is set.
type Query struct {
	// Vector is the query embedding, length Dim.
	Vector []float32
	// ItemID asks for "more like this".
	ItemID string
	// UserID asks with the user's stored profile.
	UserID string
	// Examples asks for "more like these, not like those".
	Examples *Examples
	// Interests asks with a profile that is not stored.
	Interests []Interest
}

// Strategy says how several examples work together; the API's ExampleStrategy has the definitions.
type Strategy uint8

const (
	// Average is one query with the weighted mean of the positives less the negatives.
	Average Strategy = iota + 1
	// BestScore scores an item by the positive that it is nearest to, and leaves out what is at least as near to a negative.
	BestScore
	// Sum adds up the weighted scores, negatives subtracted.
	Sum
	// Each gives every positive its share of the result; negatives as in BestScore.
	Each
)

// Examples are what to be like and what to be unlike.
type Examples struct {
	Positive, Negative []Example
	// Strategy 0 means Average.
	Strategy Strategy
}

// Example is an item or a vector: exactly one of the two is set.
type Example struct {
	ItemID string
	Vector []float32
	// Weight is above 0 and at most MaxWeight; 0 means 1. It must be 0 under BestScore.
	Weight float32
}

// Interest is one direction of a user's taste.
type Interest struct {
	// Vector has length Dim and is kept as written.
	Vector []float32
	// Weight is the share of the neighbors beside the other interests: above 0 and at most MaxWeight; 0 means 1.
	Weight float32
}

// MaxWeight bounds the weights of examples and interests.
const MaxWeight = 1000

// SearchRequest is one retrieval.
type SearchRequest struct {
	Query Query
	// K is how many neighbors are asked for, 1..Limits.MaxK.
	K int
	// Ef is the beam width; 0 means the default, DefaultEf(K). Raised to K where it is lower.
	Ef int
	// Exact asks for an exact scan: recall 1, cost O(items * Dim).
	Exact bool
	// TargetRecall asks for the least effort that reaches a mean recall, above 0 and at most 1, in place of Ef or Exact; 1 is an
	// exact scan, and 0 means none. It counts the nearest that filter and exclusions allow.
	TargetRecall float64
	// MinRevision makes the search wait until every write up to it is visible (read your writes).
	MinRevision LSN
	// Filter is what neighbors must fulfil; nil for nothing.
	Filter *Filter
	// Exclusions are never neighbors.
	Exclusions Exclusions
	// WithAttributes returns attributes: all of them where AttributeNames is empty, else those named.
	WithAttributes bool
	AttributeNames []string
	// WithVectors returns each neighbor's embedding as it was written. Costs one store read a neighbor.
	WithVectors bool

	// Model, where it is declared, must be that of the release which answers: *ModelMismatchError.
	Model EmbeddingModel

	// IncludeSeeds lets items that the query names be neighbors.
	IncludeSeeds bool
	// MinScore leaves out items of a lower score where HasMinScore is set.
	MinScore    float32
	HasMinScore bool
	// Crowding are limits on how many neighbors share a value; all hold.
	Crowding []CrowdingLimit
	// Dedupe names an attribute of which no two neighbors share a value; "" for none.
	Dedupe string
	// Diversity is MMR's: 0 none, 1 most. See package rank.
	Diversity float64
	// Boosts raise and lower candidates beyond their score.
	Boosts []Boost
	// Now is the time from which Decay counts ages where a boost has no time of its own; the zero time is the clock's.
	Now time.Time
	// Temperature lets chance into the order where it is above 0, under Seed; 0 means that a seed is drawn.
	Temperature float64
	Seed        uint64
	// Candidates is how many of the best-scored candidates Diversity, Boosts and Temperature choose from, and turns from of each
	// interest or example; 0 is the default.
	Candidates int
	// AllowPartial returns what there is shortly before the context's deadline instead of failing at it.
	AllowPartial bool
	// PageSize returns only so many of the K neighbors, from those after the cursor; 0 returns all.
	PageSize int
	After    Cursor
	// Explain fills Neighbor.Explanation.
	Explain bool
}

// CrowdingLimit bounds how many neighbors share a value of an attribute. Every value of several counts; items without the
// attribute are not limited.
type CrowdingLimit struct {
	Attribute string
	Most      int
}

// Transform says how a boost turns a value into a number.
type Transform = rank.Transform

// The transforms.
const (
	Linear    = rank.Linear
	Log       = rank.Log
	TimeDecay = rank.Decay
)

// Boost adds Weight times the transformed value of an attribute to the score.
type Boost struct {
	Attribute string
	Transform Transform
	Weight    float64
	// HalfLife and Reference are TimeDecay's; the zero Reference is SearchRequest.Now.
	HalfLife  time.Duration
	Reference time.Time
}

// Cursor is a place in a result of several pages; the zero value is its beginning.
type Cursor struct {
	// Offset is how many neighbors come before the place.
	Offset int
	// ItemID is the last of them: where it is still in the result the place is after it, wherever that is now.
	ItemID string
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
	// Match is the position, from 1, of the interest or positive example that brought the neighbor; 0 where there is only
	// one query vector.
	Match int
	// Explanation is set only with Explain.
	Explanation *Explanation

	revision LSN // of the version that was found
}

// Revision is that of the version of the item that was found.
func (n *Neighbor) Revision() LSN { return n.revision }

// Explanation says why a neighbor stands where it does.
type Explanation struct {
	// RankValue = score + boosts + Exploration is what candidates are ordered by.
	RankValue   float64
	Boosts      []BoostContribution
	Exploration float64
	// Nearness and Objective are MMR's.
	Nearness, Objective float64
	// CandidateRank is the place by RankValue, from 1.
	CandidateRank int
}

// BoostContribution is what one boost added.
type BoostContribution struct {
	Attribute    string
	Contribution float64
}

// SearchResult holds at most K neighbors, best score first, ties by item id; with Diversity, Boosts, Temperature or several
// interests in the order of those.
type SearchResult struct {
	Neighbors []Neighbor
	// Unresolved are the ids of examples that do not exist, each once.
	Unresolved []string
	// Next is where the next page begins; nil where this is the last, or there are no pages.
	Next *Cursor
	Info SearchInfo
}

// Plan says how a search was answered.
type Plan uint8

const (
	// PlanGraph is a beam search of the HNSW graph.
	PlanGraph Plan = iota + 1
	// PlanExact is an exact scan.
	PlanExact
	// PlanFiltered is a beam search of the HNSW graph that goes by a filter.
	PlanFiltered
)

// Completeness says whether the result has all that was asked for.
type Completeness uint8

const (
	// Complete: K neighbors.
	Complete Completeness = iota + 1
	// Exhausted: fewer than K items can be returned; all of them are there.
	Exhausted
	// PartialDeadline: the deadline ended the search.
	PartialDeadline
	// PartialBudget: fewer than K, and the bound on candidates ended the search.
	PartialBudget
)

// Shortfall says why there are fewer than K neighbors; of several reasons the first.
type Shortfall uint8

const (
	// NoShortfall: there are K.
	NoShortfall Shortfall = iota
	// ShortOfTime: the deadline ended the search.
	ShortOfTime
	// ShortOfBudget: the bound on candidates ended the search.
	ShortOfBudget
	// ShortByCrowding: other items exceed a crowding limit.
	ShortByCrowding
	// ShortByNegatives: other items are at least as near to a negative example as to every positive.
	ShortByNegatives
	// ShortByMinScore: other items score below MinScore.
	ShortByMinScore
	// ShortOfItems: there are no other items.
	ShortOfItems
)

// SearchInfo is what a search used and saw.
type SearchInfo struct {
	// Release is the release that was searched.
	Release uint32
	// Revision is a lower bound of what the search saw: every write up to it was visible.
	Revision     LSN
	Plan         Plan
	Completeness Completeness
	// EfUsed is the beam width used; 0 under PlanExact.
	EfUsed int
	// ExpectedRecall is the mean recall to expect of such searches: 1 of a scan of vectors; where TargetRecall is set
	// that, or less where no beam reaches it; 0 where it is not known.
	ExpectedRecall float64
	// Matching is how many items filter and exclusions allow, where Filtered says that there are any.
	Matching int
	Filtered bool
	// Distances is how many distances were computed; Hops how many nodes were expanded.
	Distances int
	Hops      int
	Shortfall Shortfall
	// Seed is the seed of the exploration, and Now the time of decays without one; zero where neither was used.
	Seed uint64
	Now  time.Time
	// Candidates is how many candidates the neighbors were chosen from; 0 where they are simply the nearest.
	Candidates int
}
