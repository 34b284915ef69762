package engine

import (
	"fmt"
	"regexp"

	"github.com/segue-ann/segue/hnsw"
)

// Metric says what "near" means.
type Metric = hnsw.Metric

// The metrics.
const (
	// Cosine: distance 1 - cosine of the angle. Vectors are normalised inside; zero vectors are refused.
	Cosine = hnsw.Cosine
	// InnerProduct: distance minus the inner product.
	InnerProduct = hnsw.InnerProduct
	// L2: squared Euclidean distance.
	L2 = hnsw.L2
)

// CollectionConfig is what a collection is created with. Only Name, Dim and Metric are required.
type CollectionConfig struct {
	// Name matches [A-Za-z0-9_][A-Za-z0-9_.-]* and is at most Limits.MaxNameBytes long.
	Name string `json:"name"`
	// Dim is the length of every vector, 1..Limits.MaxDim.
	Dim int `json:"dim"`
	// Metric is one of Cosine, InnerProduct, L2.
	Metric Metric `json:"metric"`
	// M is the number of links a node aims for above level 0; level 0 has 2M. 0 means 16; else 4..64.
	M int `json:"m"`
	// EfConstruction is the beam width of an insert. 0 means 100; else M..2000, at least 8.
	EfConstruction int `json:"ef_construction"`
	// VectorStorage says where the index keeps vectors. 0 means VectorsInMemory.
	VectorStorage VectorStorage `json:"vector_storage,omitempty"`
	// VectorPrecision says in what precision the index keeps vectors. 0 means Float32.
	VectorPrecision VectorPrecision `json:"vector_precision,omitempty"`
	// Attributes is the schema. Where it is empty any attribute of any type is taken; else an attribute
	// that is not declared, or of another type, is refused.
	Attributes []AttributeSpec `json:"attributes,omitempty"`
	// Model is the embedding model of the first release; each import declares that of its own.
	Model EmbeddingModel `json:"model,omitzero"`
}

// VectorStorage says where the index keeps the vectors that it compares with at full precision. Links and codes are in memory.
type VectorStorage uint8

const (
	// VectorsInMemory keeps them in memory.
	VectorsInMemory VectorStorage = iota + 1
	// VectorsInFile keeps them in a scratch file in the data directory, which the system caches as it has memory: walks read codes,
	// and only the best of a beam are looked up there. Where codes do not tell neighbors apart walks read vectors, and are slow
	// unless all of the file is cached. Linux only.
	VectorsInFile
)

// VectorPrecision says in what precision the index keeps vectors, and so what distances are of. Items keep the vectors they were
// written with, and queries are as they come.
type VectorPrecision = hnsw.Precision

const (
	// Float32 keeps them as they are written.
	Float32 = hnsw.Float32
	// Float16 rounds them to half precision: half of the bytes. Without Cosine, which normalises before, a vector with a component
	// beyond 65504 or one so small that rounding moves it by more than 1/1024 of its norm is refused.
	Float16 = hnsw.Float16
)

const (
	defaultM              = 16
	defaultEfConstruction = 100
)

// Limits bound what a caller may ask for; every one is enforced before memory of its size is taken.
type Limits struct {
	MaxDim            int // of a vector
	MaxK              int // neighbors asked for
	MaxEf             int // beam width asked for
	MaxBatch          int // items, profiles or ids of one call
	MaxIDBytes        int // of an item or user id
	MaxNameBytes      int // of a collection or attribute name
	MaxAttributes     int // of one item, and of a schema
	MaxAttributeBytes int // of one item's encoded attributes
	MaxPage           int // items of one page
	MaxCollections    int
	MaxExamples       int // positive ones, and negative ones, of a query
	MaxInterests      int // of a profile
	MaxCandidates     int // that boosts and exploration choose from
	MaxDiverse        int // candidates that diversity chooses from; K is at most half of it
	MaxCrowding       int // crowding limits of a query
	MaxBoosts         int // of a query
	MaxQueries        int // of one call
}

// DefaultLimits are the limits where Options names none.
func DefaultLimits() Limits {
	return Limits{
		MaxDim:            4096,
		MaxK:              10_000,
		MaxEf:             20_000,
		MaxBatch:          10_000,
		MaxIDBytes:        256,
		MaxNameBytes:      64,
		MaxAttributes:     64,
		MaxAttributeBytes: 16 << 10,
		MaxPage:           1_000,
		MaxCollections:    256,
		MaxExamples:       64,
		MaxInterests:      16,
		MaxCandidates:     10_000,
		MaxDiverse:        2_000,
		MaxCrowding:       4,
		MaxBoosts:         8,
		MaxQueries:        1_000,
	}
}

// DefaultEf is the beam width of a search that names none: wide enough for recall@10 above 0.95 on the
// data sets of docs/benchmarks.md, and growing with k because a beam narrower than 1.5k loses recall.
func DefaultEf(k int) int { return max(64, k+k/2) }

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func (c *CollectionConfig) ensureDefaults() {
	if c.M == 0 {
		c.M = defaultM
	}
	if c.VectorStorage == 0 {
		c.VectorStorage = VectorsInMemory
	}
	if c.VectorPrecision == 0 {
		c.VectorPrecision = Float32
	}
	if c.EfConstruction == 0 {
		c.EfConstruction = max(defaultEfConstruction, c.M)
	}
}

// validate returns every broken rule.
func (c CollectionConfig) validate(l Limits) error {
	var p problems
	p.name("name", c.Name, l)
	p.inRange("dim", c.Dim, 1, l.MaxDim)
	if c.Metric != Cosine && c.Metric != InnerProduct && c.Metric != L2 {
		p.add(ReasonRequired, "metric", "must be COSINE, INNER_PRODUCT or L2")
	}
	p.inRange("m", c.M, 4, 64)
	p.inRange("ef_construction", c.EfConstruction, max(c.M, 8), 2000)
	if c.VectorStorage > VectorsInFile {
		p.add(ReasonOutOfRange, "vector_storage", "must be MEMORY or FILE")
	}
	if c.VectorPrecision > Float16 {
		p.add(ReasonOutOfRange, "vector_precision", "must be FLOAT32 or FLOAT16")
	}
	p.model("model", c.Model, l)
	if len(c.Attributes) > l.MaxAttributes {
		p.add(ReasonOutOfRange, "attributes", "must be at most %d, are %d", l.MaxAttributes, len(c.Attributes))
		return p.err()
	}
	seen := make(map[string]bool, len(c.Attributes))
	for i, a := range c.Attributes {
		field := fmt.Sprintf("attributes[%d]", i)
		p.name(field+".name", a.Name, l)
		if seen[a.Name] {
			p.add(ReasonDuplicateAttribute, field+".name", "%q is declared twice", a.Name)
		}
		seen[a.Name] = true
		if a.Type < Keyword || a.Type > Markets {
			p.add(ReasonRequired, field+".type", "must be KEYWORD, BOOL, INT, FLOAT, TIMESTAMP or MARKETS")
		}
	}
	return p.err()
}
