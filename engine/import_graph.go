package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"iter"
	"slices"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/engine/filter"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/storage"
)

// An import may bring the graph over its rows, built elsewhere (release_export.go). The graph is links and which slot each row
// has, no vectors, no ids: those come from the rows, which stay the truth. It is taken if and only if the rows are exactly
// those that it was built over; else the release is built from the rows, as if no graph had come.
//
// Parts of the graph are staged beside the import's bookkeeping, are durable in the order in which they came as rows are, and are
// dropped once the graph is in a snapshot.

// GraphInfo describes a graph that an import brings.
type GraphInfo struct {
	// Build tells builds apart: what belongs together has the same.
	Build string
	// Index is the header of the graph's image, which says what it was built with.
	Index []byte
	// Parts is how many parts it has.
	Parts int
}

// GraphPart is a part of a graph: a slab of a section.
type GraphPart struct {
	Section string
	Slab    int
	Data    []byte
}

// Sections of a graph beside those of its image. All integers are little-endian.
const (
	// sectionGraph has one slab, of JSON: graphHeader.
	sectionGraph = "graph"
	// sectionRows says, a u32 each, which slots the items have, in ascending order of id.
	sectionRows  = "rows"
	rowsSlabRows = 1 << 16
)

const (
	graphFormat       = 1
	maxGraphParts     = 1 << 20
	maxGraphPartBytes = 1 << 20
	maxBuildBytes     = 64
)

// graphHeader says over which rows a graph was built.
type graphHeader struct {
	Format int `json:"format"`
	Items  int `json:"items"`
	// Digest is that of all items, in ascending order of id: rowsDigest.
	Digest string `json:"digest"`
}

// rowsDigest is the SHA-256 of rows: of each the length of its id, u16, the id, and the vector as float32.
type rowsDigest struct {
	hash hash.Hash
	buf  []byte
}

func newRowsDigest() *rowsDigest { return &rowsDigest{hash: sha256.New()} }

func (d *rowsDigest) add(id string, vector []float32) {
	d.buf = binary.LittleEndian.AppendUint16(d.buf[:0], uint16(len(id)))
	d.buf = append(d.buf, id...)
	d.buf = appendVector(d.buf, vector)
	d.hash.Write(d.buf)
}

func (d *rowsDigest) String() string { return hex.EncodeToString(d.hash.Sum(nil)) }

// graphRecord is what the catalog keeps of the graph of an import.
type graphRecord struct {
	Build string `json:"build"`
	Parts int    `json:"parts"`
	// Taken says that the release has this graph, Refused why it does not; before the build neither is set.
	Taken   bool   `json:"taken,omitempty"`
	Refused string `json:"refused,omitempty"`
}

// graph checks that a graph fits the collection.
func (p *problems) graph(field string, g *GraphInfo, want hnsw.Options) {
	if n := len(g.Build); n < 1 || n > maxBuildBytes {
		p.add(ReasonOutOfRange, field+".build", "must have between 1 and %d bytes, has %d", maxBuildBytes, n)
	}
	p.inRange(field+".parts", g.Parts, 1, maxGraphParts)
	got, slots, _, err := hnsw.ImageOptions(g.Index)
	if err != nil {
		p.add(ReasonInvalidFormat, field+".index", "%v", err)
		return
	}
	if slots > want.MaxSlots {
		p.add(ReasonOutOfRange, field+".index", "must have at most %d slots, has %d", want.MaxSlots, slots)
	}
	for _, o := range []struct {
		what      string
		got, want any
	}{
		{"dimension", got.Dim, want.Dim}, {"metric", got.Metric, want.Metric}, {"m", got.M, want.M},
		{"ef_construction", got.EfConstruction, want.EfConstruction},
	} {
		if o.got != o.want {
			p.add(ReasonGraphMismatch, field+".index", "must be of %s %v like the collection, is of %v", o.what, o.want, o.got)
		}
	}
}

// bring sets the graph that an import under way will bring, or says why it cannot. c.admin is held.
func (c *Collection) bring(rel *releaseRecord, g *GraphInfo) error {
	var p problems
	switch {
	case rel.State != ReleaseImporting:
		return nil // its rows, and its graph, came
	case rel.Graph != nil && rel.Graph.Build == g.Build:
		return nil
	case rel.Graph != nil:
		p.add(ReasonGraphMismatch, "graph.build", "must be %q, which import %q was begun with, is %q: finish that, or cancel it", rel.Graph.Build, clip(rel.Job), clip(g.Build))
		return p.err()
	}
	j, err := c.openJob(rel)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.received > 0 {
		p.add(ReasonGraphMismatch, "graph.build", "must come before the rows: import %q has taken %d batches without a graph", clip(rel.Job), j.received)
		return p.err()
	}
	made := &graphRecord{Build: g.Build, Parts: g.Parts}
	if err := c.changeRelease(rel.ID, func(r *releaseRecord) error { r.Graph = made; return nil }); err != nil {
		return err
	}
	j.graph, rel.Graph = made, made
	return nil
}

// checkParts judges the parts of a graph in a batch. j.mu is held.
func (j *importJob) checkParts(parts []GraphPart) error {
	if len(parts) == 0 {
		return nil
	}
	var p problems
	if j.graph == nil {
		p.add(ReasonGraphMismatch, "graph_parts", "must be of an import that was started with a graph")
		return p.err()
	}
	if n := j.progress.Parts + j.parts + len(parts); n > j.graph.Parts {
		p.add(ReasonOutOfRange, "graph_parts", "must be %d in all, are at least %d", j.graph.Parts, n)
	}
	for i := range parts {
		field := fmt.Sprintf("graph_parts[%d]", i)
		if n := len(parts[i].Section); n < 1 || n > storage.MaxSectionBytes {
			p.add(ReasonOutOfRange, field+".section", "must have between 1 and %d bytes, has %d", storage.MaxSectionBytes, n)
		}
		p.inRange(field+".slab", parts[i].Slab, 0, maxGraphParts)
		if n := len(parts[i].Data); n > maxGraphPartBytes {
			p.add(ReasonTooLong, field+".data", "must have at most %d bytes, has %d", maxGraphPartBytes, n)
		}
	}
	return p.err()
}

// takeParts adds checked parts to the chunk. j.mu is held.
func (j *importJob) takeParts(parts []GraphPart) {
	for i := range parts {
		pieces := encodePart(&parts[i])
		j.chunk.Graph = append(j.chunk.Graph, pieces...)
		j.bytes += len(parts[i].Data)
	}
	j.parts += len(parts)
}

// hasGraph refuses to go on before all parts of the graph are there. j.mu is held.
func (j *importJob) hasGraph() error {
	var p problems
	if j.graph != nil && j.progress.Parts < j.graph.Parts {
		p.add(ReasonRequired, "graph_parts", "must be %d, only %d came", j.graph.Parts, j.progress.Parts)
	}
	return p.err()
}

// encodePart cuts a part into pieces; the first begins with
//
//	section length u8 | section | slab u32 | data length u32
func encodePart(p *GraphPart) (pieces [][]byte) {
	b := append([]byte{byte(len(p.Section))}, p.Section...)
	b = binary.LittleEndian.AppendUint32(b, uint32(p.Slab))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
	return slices.Collect(slices.Chunk(append(b, p.Data...), storage.MaxGraphBytes))
}

var errGraphParts = errors.New("the parts of the graph are not whole")

// graphParts puts pieces together again. Data is valid until the next part.
func graphParts(pieces iter.Seq2[[]byte, error]) iter.Seq2[GraphPart, error] {
	return func(yield func(GraphPart, error) bool) {
		var (
			part GraphPart
			left = 0 // of part.Data
		)
		for b, err := range pieces {
			if err == nil && left == 0 {
				part, left, b, err = cutPart(part.Data, b)
			}
			if err == nil && len(b) > left {
				err = errGraphParts
			}
			if err != nil {
				yield(GraphPart{}, err)
				return
			}
			part.Data, left = append(part.Data, b...), left-len(b)
			if left == 0 && !yield(part, nil) {
				return
			}
		}
		if left > 0 {
			yield(GraphPart{}, errGraphParts)
		}
	}
}

// cutPart reads what a part begins with off its first piece. buf becomes the part's data.
func cutPart(buf, piece []byte) (part GraphPart, left int, rest []byte, err error) {
	if len(piece) < 1 || len(piece) < 1+int(piece[0])+8 {
		return part, 0, nil, errGraphParts
	}
	n := int(piece[0])
	part.Section = string(piece[1 : 1+n])
	rest = piece[1+n:]
	part.Slab, left = int(binary.LittleEndian.Uint32(rest)), int(binary.LittleEndian.Uint32(rest[4:]))
	if left > maxGraphPartBytes {
		return part, 0, nil, errGraphParts
	}
	part.Data = buf[:0]
	return part, left, rest[8:], nil
}

// takeGraph makes the graph that came the release's, and reports whether it could; the release is as before where not.
func (j *importJob) takeGraph(ctx context.Context, r *release) (taken bool, err error) {
	refused := r.loadGraph(ctx, j.base)
	if refused != nil && ctx.Err() != nil {
		return false, ctx.Err()
	}
	err = j.c.changeRelease(j.release, func(rel *releaseRecord) error {
		made := *rel.Graph
		if made.Taken = refused == nil; refused != nil {
			made.Refused = refused.Error()
		}
		rel.Graph = &made
		return nil
	})
	if err != nil {
		return false, err
	}
	if refused != nil {
		j.c.engine.opts.Logger.Warn("the graph that came with an import is not taken: the release is built from its rows",
			"collection", j.c.cfg.Name, "job", j.id, "err", refused)
		return false, nil //nolint:nilerr // recorded above: why it was refused is part of the job's state
	}
	j.built.Store(int64(r.table.len()))
	j.total.Store(int64(r.table.len()))
	return true, nil
}

// loadGraph replaces index and table by the staged graph over the rows of the store, all of which have LSN base. On error the
// release is as before. Nothing of the graph is trusted.
func (r *release) loadGraph(ctx context.Context, base LSN) error {
	var l graphLoad
	defer func() {
		if l.into != nil {
			l.into.Close()
		}
	}()
	for part, err := range graphParts(r.rows.ImportGraph()) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = l.put(r, part)
		}
		if err != nil {
			return err
		}
	}
	t, x, err := l.fill(ctx, r, base)
	if err != nil {
		return err
	}
	index, err := l.into.Finish()
	if err != nil {
		return err
	}
	old := r.index
	r.index, r.table, r.expiries, r.filters = index, t, x, filter.New(r.cfg.filterSchema(), true)
	return old.Close()
}

// graphLoad is a graph that is read part by part: header, index, then the rest in any order.
type graphLoad struct {
	header *graphHeader
	into   *hnsw.Restorer
	slots  []byte // of sectionRows
}

func (l *graphLoad) put(r *release, part GraphPart) error {
	switch {
	case l.header == nil:
		if part.Section != sectionGraph || part.Slab != 0 {
			return fmt.Errorf("slab %d of section %s comes before the graph's header", part.Slab, part.Section)
		}
		var h graphHeader
		d := json.NewDecoder(bytes.NewReader(part.Data))
		d.DisallowUnknownFields()
		if err := d.Decode(&h); err != nil {
			return fmt.Errorf("header of the graph: %w", err)
		}
		if d.InputOffset() != int64(len(part.Data)) {
			return errors.New("header of the graph: bytes follow it")
		}
		if h.Format != graphFormat {
			return fmt.Errorf("graph of format %d, this version reads %d", h.Format, graphFormat)
		}
		if h.Items < 0 || h.Items > r.maxSlots() {
			return fmt.Errorf("graph of %d items, where %d are possible", h.Items, r.maxSlots())
		}
		l.header = &h
		return nil
	case l.into == nil:
		return l.begin(r, part)
	case part.Section == sectionRows:
		if 4*rowsSlabRows*part.Slab != len(l.slots) || len(l.slots)+len(part.Data) > 4*l.header.Items {
			return fmt.Errorf("section %s: slab %d of %d bytes does not follow %d bytes of %d", sectionRows, part.Slab, len(part.Data), len(l.slots), 4*l.header.Items)
		}
		l.slots = append(l.slots, part.Data...)
		return nil
	}
	return l.into.PutSlab(part.Section, part.Slab, part.Data)
}

// sectionIndex is the one slab of the image's header.
const sectionIndex = "index"

func (l *graphLoad) begin(r *release, part GraphPart) error {
	if part.Section != sectionIndex || part.Slab != 0 {
		return fmt.Errorf("slab %d of section %s comes before the header of the index", part.Slab, part.Section)
	}
	var p problems
	p.graph("graph", &GraphInfo{Build: "-", Index: part.Data, Parts: 1}, r.index.Options())
	if err := p.err(); err != nil {
		return err
	}
	memory, err := r.vectorMemory()
	if err != nil {
		return err
	}
	l.into, err = hnsw.NewRestorer(part.Data, hnsw.RestoreOptions{MaxSlots: r.maxSlots(), Vectors: memory, LateCodes: true, VectorsApart: true})
	if err != nil {
		l.into = nil
		releaseMemory(memory)
	}
	return err
}

// fill puts the vectors of all rows into their slots and makes the table. It fails unless the rows are those of the header.
func (l *graphLoad) fill(ctx context.Context, r *release, base LSN) (*table, *expiries, error) {
	if l.into == nil || len(l.slots) != 4*l.header.Items {
		return nil, nil, errGraphParts
	}
	t, x, digest := newTable(), new(expiries), newRowsDigest()
	for i := range t.shards {
		t.shards[i].reserve(l.header.Items / tableShards)
	}
	n := 0
	var vector []float32
	for row, err := range r.rows.Items("", 0) {
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("read items: %w", err)
		case LSN(row.LSN) != base:
			return nil, nil, fmt.Errorf("item %q was written since", clip(row.ID))
		case n == l.header.Items:
			return nil, nil, fmt.Errorf("there are more rows than the %d that the graph was built over", n)
		case n%4096 == 0 && ctx.Err() != nil:
			return nil, nil, ctx.Err()
		}
		if vector, err = r.decodeVector(vector, row.DType, row.Dim, row.Vector); err != nil {
			return nil, nil, fmt.Errorf("item %q: %w", clip(row.ID), err)
		}
		digest.add(row.ID, vector)
		slot := binary.LittleEndian.Uint32(l.slots[4*n:])
		if err := l.into.PutVector(slot, vector); err != nil {
			return nil, nil, fmt.Errorf("item %q: %w", clip(row.ID), err)
		}
		t.entries.set(slot, row.ID, LSN(row.LSN), row.Attributes)
		t.bind(row.ID, slot)
		x.add(slot, attribute.Expiry(row.Attributes))
		n++
	}
	if n != l.header.Items || digest.String() != l.header.Digest {
		return nil, nil, fmt.Errorf("the %d rows are not the %d that the graph was built over", n, l.header.Items)
	}
	return t, x, nil
}
