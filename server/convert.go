package server

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/x448/float16"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/engine/attribute"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// decoder turns messages into the engine's types and gathers what it cannot turn. It checks what the engine cannot
// see (encodings, presence) and what must be checked before memory is taken; all other rules are the engine's.
// Fields are paths of the request.
type decoder struct {
	dim        int
	limits     engine.Limits
	violations []engine.Violation
}

func (d *decoder) add(reason engine.Reason, field, format string, args ...any) {
	if len(d.violations) < engine.MaxViolations {
		d.violations = append(d.violations, engine.Violation{Reason: reason, Field: field, Rule: fmt.Sprintf(format, args...)})
	}
}

// err returns what was gathered as an *engine.InvalidError, or nil.
func (d *decoder) err() error {
	if len(d.violations) == 0 {
		return nil
	}
	return &engine.InvalidError{Violations: d.violations}
}

// vector decodes v. The result has length dim unless a violation was added; where the floats encoding has another
// length the engine reports it.
func (d *decoder) vector(field string, v *seguev1.Vector) []float32 {
	switch e := v.GetEncoding().(type) {
	case *seguev1.Vector_Floats:
		if values := e.Floats.GetValues(); values != nil {
			return values
		}
		return []float32{}
	case *seguev1.Vector_Float32Le:
		if !d.vectorBytes(field, "float32_le", e.Float32Le, 4) {
			return nil
		}
		return decodeFloat32LE(e.Float32Le)
	case *seguev1.Vector_Float16Le:
		if !d.vectorBytes(field, "float16_le", e.Float16Le, 2) {
			return nil
		}
		return decodeFloat16LE(e.Float16Le)
	}
	d.add(engine.ReasonRequired, field, "must be set, in one of the encodings floats, float32_le and float16_le")
	return nil
}

// vectorBytes checks the length of b, which holds numbers of the given width in bytes.
func (d *decoder) vectorBytes(field, encoding string, b []byte, width int) bool {
	switch n := len(b) / width; {
	case len(b)%width != 0:
		d.add(engine.ReasonInvalidFormat, field+"."+encoding, "must be a multiple of %d bytes long, has %d", width, len(b))
	case n != d.dim:
		d.add(engine.ReasonDimensionMismatch, field, "must have %d components, has %d", d.dim, n)
	default:
		return true
	}
	return false
}

func decodeFloat32LE(b []byte) []float32 {
	out := make([]float32, len(b)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return out
}

func decodeFloat16LE(b []byte) []float32 {
	out := make([]float32, len(b)/2)
	for i := range out {
		out[i] = float16.Frombits(binary.LittleEndian.Uint16(b[2*i:])).Float32()
	}
	return out
}

// item decodes one item; field is its path.
func (d *decoder) item(field string, m *seguev1.Item) engine.Item {
	if m == nil {
		d.add(engine.ReasonRequired, field, "must be set")
		return engine.Item{}
	}
	return engine.Item{
		ID:         m.GetId(),
		Vector:     d.vector(field+".vector", m.GetVector()),
		Attributes: d.attributes(field+".attributes", m.GetAttributes()),
		ExpireTime: d.expireTime(field+".expire_time", m.GetExpireTime()),
		IfRevision: d.ifRevision(field+".if_revision", m.IfRevision, 0),
	}
}

// expireTime decodes a time of expiry; absent is the zero time.
func (d *decoder) expireTime(field string, m *timestamppb.Timestamp) time.Time {
	if m == nil {
		return time.Time{}
	}
	if err := m.CheckValid(); err != nil {
		d.add(engine.ReasonOutOfRange, field, "must lie in the years 1 to 9999, with 0 to 999,999,999 nanoseconds")
		return time.Time{}
	}
	return m.AsTime()
}

// ifRevision decodes the revision that a write asks for, which is at least least.
func (d *decoder) ifRevision(field string, revision *int64, least int64) *engine.LSN {
	if revision == nil {
		return nil
	}
	if *revision < least {
		d.add(engine.ReasonOutOfRange, field, "must be at least %d, is %d", least, *revision)
		return nil
	}
	lsn := engine.LSN(*revision)
	return &lsn
}

// items decodes a batch; more than the limit are refused unseen.
func (d *decoder) items(field string, ms []*seguev1.Item) []engine.Item {
	if !d.batch(field, len(ms)) {
		return nil
	}
	out := make([]engine.Item, len(ms))
	for i, m := range ms {
		if len(d.violations) == engine.MaxViolations {
			break
		}
		out[i] = d.item(fmt.Sprintf("%s[%d]", field, i), m)
	}
	return out
}

func (d *decoder) batch(field string, n int) bool {
	if n > d.limits.MaxBatch {
		d.add(engine.ReasonOutOfRange, field, "must be at most %d, are %d", d.limits.MaxBatch, n)
		return false
	}
	return true
}

// attributes decodes a map into ascending order of name.
func (d *decoder) attributes(field string, m map[string]*seguev1.AttributeValue) engine.Attributes {
	if len(m) == 0 {
		return nil
	}
	if len(m) > d.limits.MaxAttributes {
		d.add(engine.ReasonOutOfRange, field, "must be at most %d, are %d", d.limits.MaxAttributes, len(m))
		return nil
	}
	out := make(engine.Attributes, 0, len(m))
	for name, v := range m {
		out = append(out, engine.Attribute{Name: name, Value: d.value(field, name, v)})
	}
	slices.SortFunc(out, func(a, b engine.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// value decodes one attribute's value; a value without a kind becomes the zero Value, which the engine refuses.
func (d *decoder) value(field, name string, v *seguev1.AttributeValue) engine.Value {
	switch k := v.GetKind().(type) {
	case *seguev1.AttributeValue_Keywords:
		return engine.Value{Type: engine.Keyword, Keywords: k.Keywords.GetValues()}
	case *seguev1.AttributeValue_BoolValue:
		return engine.Value{Type: engine.Bool, Bool: k.BoolValue}
	case *seguev1.AttributeValue_IntValue:
		return engine.Value{Type: engine.Int, Int: k.IntValue}
	case *seguev1.AttributeValue_FloatValue:
		return engine.Value{Type: engine.Float, Float: k.FloatValue}
	case *seguev1.AttributeValue_TimestampValue:
		if err := k.TimestampValue.CheckValid(); err != nil {
			d.add(engine.ReasonOutOfRange, field+"["+clip(name)+"]", "must lie in the years 1 to 9999, with 0 to 999,999,999 nanoseconds")
			return engine.Value{Type: engine.Timestamp}
		}
		return engine.Value{Type: engine.Timestamp, Time: k.TimestampValue.AsTime()}
	case *seguev1.AttributeValue_Markets:
		return engine.Value{Type: engine.Markets, Markets: attribute.NewMarketSet(d.markets(field+"["+clip(name)+"]", k.Markets.GetCodes())...)}
	}
	return engine.Value{}
}

// markets decodes codes of markets; field is what they are of.
func (d *decoder) markets(field string, codes []string) []attribute.Market {
	if len(codes) > maxMarketCodes {
		d.add(engine.ReasonOutOfRange, field, "must be at most %d, are %d", maxMarketCodes, len(codes))
		return nil
	}
	out := make([]attribute.Market, len(codes))
	for i, code := range codes {
		m, ok := attribute.ParseMarket(code)
		if !ok {
			d.add(engine.ReasonInvalidFormat, field, "must be codes of two capital letters, number %d is %q", i, clip(code))
			continue
		}
		out[i] = m
	}
	return out
}

// maxMarketCodes bounds a list of markets: there are 676 codes.
const maxMarketCodes = 1000

// profile decodes one profile; field is its path.
func (d *decoder) profile(field string, m *seguev1.Profile) engine.Profile {
	if m == nil {
		d.add(engine.ReasonRequired, field, "must be set")
		return engine.Profile{}
	}
	p := engine.Profile{
		UserID:     m.GetUserId(),
		ExpireTime: d.expireTime(field+".expire_time", m.GetExpireTime()),
		IfRevision: d.ifRevision(field+".if_revision", m.IfRevision, 0),
	}
	p.Interests = d.interests(field+".interests", m.GetInterests())
	return p
}

// profiles decodes a batch; more than the limit are refused unseen.
func (d *decoder) profiles(field string, ms []*seguev1.Profile) []engine.Profile {
	if !d.batch(field, len(ms)) {
		return nil
	}
	out := make([]engine.Profile, len(ms))
	for i, m := range ms {
		if len(d.violations) == engine.MaxViolations {
			break
		}
		out[i] = d.profile(fmt.Sprintf("%s[%d]", field, i), m)
	}
	return out
}

// pageSize returns the size of a page: the default for 0, and the largest there is for more than that (AIP-158).
func (d *decoder) pageSize(size int32) int {
	if size < 0 {
		d.add(engine.ReasonOutOfRange, "page_size", "must not be negative, is %d", size)
	}
	if size == 0 {
		size = defaultPage
	}
	return min(int(size), d.limits.MaxPage)
}

// decodeEnum gives the engine what it does not know as what it refuses.
func decodeEnum[To engine.VectorStorage | engine.VectorPrecision, From ~int32](v From) To {
	if v < 0 || v > math.MaxUint8 {
		v = math.MaxUint8
	}
	return To(v)
}

// config decodes the configuration of a new collection.
func (d *decoder) config(field string, m *seguev1.Collection) engine.CollectionConfig {
	if m == nil {
		d.add(engine.ReasonRequired, field, "must be set")
		return engine.CollectionConfig{}
	}
	c := engine.CollectionConfig{
		Name:            m.GetName(),
		Dim:             int(m.GetDimension()),
		Metric:          decodeMetric(m.GetMetric()),
		M:               int(m.GetIndexConfig().GetM()),
		EfConstruction:  int(m.GetIndexConfig().GetEfConstruction()),
		VectorStorage:   decodeEnum[engine.VectorStorage](m.GetIndexConfig().GetVectorStorage()),
		VectorPrecision: decodeEnum[engine.VectorPrecision](m.GetIndexConfig().GetVectorPrecision()),
		Model:           decodeModel(m.GetEmbeddingModel()),
	}
	if len(m.GetAttributes()) > d.limits.MaxAttributes {
		d.add(engine.ReasonOutOfRange, field+".attributes", "must be at most %d, are %d", d.limits.MaxAttributes, len(m.GetAttributes()))
		return c
	}
	for _, a := range m.GetAttributes() {
		c.Attributes = append(c.Attributes, engine.AttributeSpec{
			Name: a.GetName(), Type: decodeAttributeType(a.GetType()), NotFilterable: a.GetNotFilterable(),
		})
	}
	return c
}

// decodeMetric returns 0, which the engine refuses, for what is no metric.
func decodeMetric(m seguev1.Metric) engine.Metric {
	switch m {
	case seguev1.Metric_METRIC_COSINE:
		return engine.Cosine
	case seguev1.Metric_METRIC_INNER_PRODUCT:
		return engine.InnerProduct
	case seguev1.Metric_METRIC_L2:
		return engine.L2
	}
	return 0
}

func encodeMetric(m engine.Metric) seguev1.Metric {
	switch m {
	case engine.Cosine:
		return seguev1.Metric_METRIC_COSINE
	case engine.InnerProduct:
		return seguev1.Metric_METRIC_INNER_PRODUCT
	case engine.L2:
		return seguev1.Metric_METRIC_L2
	}
	return seguev1.Metric_METRIC_UNSPECIFIED
}

// decodeAttributeType returns 0, which the engine refuses, for what is no type.
func decodeAttributeType(t seguev1.AttributeType) engine.AttributeType {
	switch t {
	case seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD:
		return engine.Keyword
	case seguev1.AttributeType_ATTRIBUTE_TYPE_BOOL:
		return engine.Bool
	case seguev1.AttributeType_ATTRIBUTE_TYPE_INT:
		return engine.Int
	case seguev1.AttributeType_ATTRIBUTE_TYPE_FLOAT:
		return engine.Float
	case seguev1.AttributeType_ATTRIBUTE_TYPE_TIMESTAMP:
		return engine.Timestamp
	case seguev1.AttributeType_ATTRIBUTE_TYPE_MARKETS:
		return engine.Markets
	}
	return 0
}

func encodeAttributeType(t engine.AttributeType) seguev1.AttributeType {
	switch t {
	case engine.Keyword:
		return seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD
	case engine.Bool:
		return seguev1.AttributeType_ATTRIBUTE_TYPE_BOOL
	case engine.Int:
		return seguev1.AttributeType_ATTRIBUTE_TYPE_INT
	case engine.Float:
		return seguev1.AttributeType_ATTRIBUTE_TYPE_FLOAT
	case engine.Timestamp:
		return seguev1.AttributeType_ATTRIBUTE_TYPE_TIMESTAMP
	case engine.Markets:
		return seguev1.AttributeType_ATTRIBUTE_TYPE_MARKETS
	}
	return seguev1.AttributeType_ATTRIBUTE_TYPE_UNSPECIFIED
}

// encodeVector shares v's memory with the message; nil stays nil.
func encodeVector(v []float32) *seguev1.Vector {
	if v == nil {
		return nil
	}
	return &seguev1.Vector{Encoding: &seguev1.Vector_Floats{Floats: &seguev1.Floats{Values: v}}}
}

func encodeAttributes(as engine.Attributes) map[string]*seguev1.AttributeValue {
	if len(as) == 0 {
		return nil
	}
	m := make(map[string]*seguev1.AttributeValue, len(as))
	for _, a := range as {
		m[a.Name] = encodeValue(a.Value)
	}
	return m
}

func encodeValue(v engine.Value) *seguev1.AttributeValue {
	switch v.Type {
	case engine.Keyword:
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Keywords{Keywords: &seguev1.Keywords{Values: v.Keywords}}}
	case engine.Bool:
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_BoolValue{BoolValue: v.Bool}}
	case engine.Int:
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_IntValue{IntValue: v.Int}}
	case engine.Float:
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_FloatValue{FloatValue: v.Float}}
	case engine.Markets:
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Markets{Markets: &seguev1.Markets{Codes: v.Markets.Codes()}}}
	case engine.Timestamp:
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_TimestampValue{TimestampValue: timestamppb.New(v.Time)}}
	}
	return &seguev1.AttributeValue{}
}

func encodeItem(it engine.Item, withVector bool) *seguev1.Item {
	m := &seguev1.Item{Id: it.ID, Attributes: encodeAttributes(it.Attributes), ExpireTime: encodeExpireTime(it.ExpireTime), Revision: int64(it.Revision)}
	if withVector {
		m.Vector = encodeVector(it.Vector)
	}
	return m
}

// encodeExpireTime leaves out the zero time.
func encodeExpireTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func encodeItems(items []engine.Item, withVectors bool) []*seguev1.Item {
	out := make([]*seguev1.Item, len(items))
	for i, it := range items {
		out[i] = encodeItem(it, withVectors)
	}
	return out
}

func encodeProfile(p engine.Profile) *seguev1.Profile {
	return &seguev1.Profile{
		UserId:     p.UserID,
		Interests:  encodeInterests(p.Interests),
		ExpireTime: encodeExpireTime(p.ExpireTime),
		Revision:   int64(p.Revision),
	}
}

func encodeCollection(c *engine.Collection) *seguev1.Collection {
	m := encodeConfig(c.Config())
	m.EmbeddingModel = encodeModel(c.Model())
	m.CreateTime = timestamppb.New(c.CreateTime())
	m.ItemCount = int64(c.Len())
	m.Revision = int64(c.Revision())
	return m
}

func encodeConfig(cfg engine.CollectionConfig) *seguev1.Collection {
	m := &seguev1.Collection{
		Name:      cfg.Name,
		Dimension: int32(cfg.Dim),
		Metric:    encodeMetric(cfg.Metric),
		IndexConfig: &seguev1.IndexConfig{
			M: int32(cfg.M), EfConstruction: int32(cfg.EfConstruction),
			VectorStorage:   seguev1.VectorStorage(max(cfg.VectorStorage, engine.VectorsInMemory)),
			VectorPrecision: seguev1.VectorPrecision(max(cfg.VectorPrecision, engine.Float32)),
		},
	}
	for _, a := range cfg.Attributes {
		m.Attributes = append(m.Attributes, &seguev1.AttributeSpec{
			Name: a.Name, Type: encodeAttributeType(a.Type), NotFilterable: a.NotFilterable,
		})
	}
	slices.SortFunc(m.Attributes, func(a, b *seguev1.AttributeSpec) int { return strings.Compare(a.Name, b.Name) })
	return m
}

func encodeSnapshot(s engine.SnapshotInfo) *seguev1.Snapshot {
	return &seguev1.Snapshot{
		Generation: int64(s.Generation),
		Revision:   int64(s.LSN),
		ItemCount:  int64(s.Items),
		SizeBytes:  s.Bytes,
		CreateTime: timestamppb.New(s.CreateTime),
	}
}
