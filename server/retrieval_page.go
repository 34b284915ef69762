package server

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// The cursor of a page token of NearestNeighbors is
//
//	offset uvarint | seed u64 little-endian | time of decays, varint, microseconds since 1970 UTC (0 none) | last item id
//
// The token's scope holds a fingerprint of the request, so that a token goes with the request that it came with and no other.
const searchScope = "NearestNeighbors"

// searchFingerprint names all of a request that the list of neighbors depends on.
func searchFingerprint(req *seguev1.NearestNeighborsRequest) string {
	bare := proto.CloneOf(req)
	bare.PageToken, bare.ReadMask, bare.IncludeVectors, bare.Explain, bare.MinRevision = "", nil, false, false, 0
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		panic(err) // it was unmarshalled: its strings are UTF-8
	}
	h := fnv.New128a()
	_, _ = h.Write(b)
	return searchScope + string(h.Sum(nil))
}

func encodeSearchCursor(req *seguev1.NearestNeighborsRequest, c engine.Cursor, info engine.SearchInfo) string {
	b := binary.AppendUvarint(nil, uint64(c.Offset))
	b = binary.LittleEndian.AppendUint64(b, info.Seed)
	now := int64(0)
	if !info.Now.IsZero() {
		now = info.Now.UnixMicro()
	}
	b = binary.AppendVarint(b, now)
	return encodePageToken(searchFingerprint(req), string(append(b, c.ItemID...)))
}

// searchCursor decodes page_token into the search: the place, and the chance and the clock of the first page.
func (d *decoder) searchCursor(req *seguev1.NearestNeighborsRequest, search *engine.SearchRequest) {
	if req.GetPageToken() == "" {
		return
	}
	if req.GetPageSize() <= 0 {
		d.add(engine.ReasonRequired, "page_size", "must be positive with a page_token")
		return
	}
	const numbers = binary.MaxVarintLen64 + 8 + binary.MaxVarintLen64
	cursor := []byte(d.pageToken(searchFingerprint(req), req.GetPageToken(), numbers+d.limits.MaxIDBytes))
	if len(cursor) == 0 {
		return // a violation was added
	}
	bad := func() {
		d.add(reasonInvalidPageToken, "page_token", "must be a next_page_token of the same request: begin again without one")
	}
	offset, n := binary.Uvarint(cursor)
	if n <= 0 || offset > uint64(d.limits.MaxK) || len(cursor) < n+8 {
		bad()
		return
	}
	cursor = cursor[n:]
	seed := binary.LittleEndian.Uint64(cursor)
	now, n := binary.Varint(cursor[8:])
	if n <= 0 {
		bad()
		return
	}
	search.After = engine.Cursor{Offset: int(offset), ItemID: string(cursor[8+n:])}
	search.Seed = seed
	if now != 0 {
		search.Now = time.UnixMicro(now).UTC()
	}
}
