package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/storage"
)

// plantedStore makes a store that holds every kind of row that there is, and closes it:
//
//	tracks   release 1 retired, with two snapshots and a log behind them; release 2 published, of an import with a reject and a
//	         profile; release 3 being imported, with a reject. Requests, profiles, exclusions, an alias, what expires.
//	plain    one release without a snapshot, an open schema
func plantedStore(t *testing.T, fs vfs.FS) {
	t.Helper()
	ctx := t.Context()
	e, err := Open(ctx, "store", testOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(7, 7))
	items := func(n int) []Item {
		all := make([]Item, n)
		for i := range all {
			all[i] = Item{ID: fmt.Sprintf("track-%03d", i), Vector: randomVector(rng, 8), Attributes: Attributes{
				{Name: "artist", Value: Value{Type: Keyword, Keywords: []string{fmt.Sprint("artist ", i%7)}}},
				{Name: "year", Value: Value{Type: Int, Int: int64(1970 + i%50)}},
			}}
		}
		return all
	}
	later := time.Now().Add(time.Hour)
	c, err := e.CreateCollection(ctx, CollectionConfig{Name: "tracks", Dim: 8, Metric: Cosine, Attributes: []AttributeSpec{{Name: "artist", Type: Keyword}, {Name: "year", Type: Int}}})
	must(nil, err)
	must(c.UpsertWith(ctx, items(120), WriteOptions{RequestID: "load"}))
	must(c.UpsertProfiles(ctx, []Profile{
		{UserID: "anna", Interests: []Interest{{Vector: randomVector(rng, 8)}, {Vector: randomVector(rng, 8), Weight: 2}}},
		{UserID: "ben", Interests: []Interest{{Vector: randomVector(rng, 8)}}, ExpireTime: later},
	}))
	must(c.CreateSnapshot(ctx))
	some := items(20)
	some[3].ExpireTime = later
	must(c.Upsert(ctx, some))
	must(c.CreateSnapshot(ctx))
	_, _, err = c.Delete(ctx, []string{"track-100", "track-101"})
	must(nil, err)
	must(nil, c.AddExclusions(ctx, "anna", []string{"track-005", "track-006"}, later))
	must(e.SetAlias(ctx, "live", "tracks"))

	bad := Item{ID: "bad", Vector: []float32{float32(math.NaN()), 0, 0, 0, 0, 0, 0, 0}}
	for _, job := range []string{"day 1", "day 2"} {
		must(c.StartImport(ctx, ImportOptions{JobID: job}))
		must(c.WriteImport(ctx, job, ImportRows{Sequence: 1, Items: append(items(60), bad), Profiles: []Profile{{UserID: "carl", Interests: []Interest{{Vector: randomVector(rng, 8)}}}}}, true))
		if job == "day 1" {
			must(c.CommitImport(ctx, job))
			info, err := c.WaitImport(ctx, job)
			must(nil, err)
			mustPublish(t, c, info.Release)
			must(c.CreateSnapshot(ctx))
			must(c.UpsertWith(ctx, items(5), WriteOptions{RequestID: "morning"}))
		}
	}
	plain, err := e.CreateCollection(ctx, CollectionConfig{Name: "plain", Dim: 8, Metric: L2})
	must(nil, err)
	must(plain.Upsert(ctx, items(10)))
	must(nil, e.Close())
}

// raw is the rows of a store, past everything that storage does.
type raw struct {
	t  *testing.T
	db *pebble.DB
}

func openRaw(t *testing.T, fs vfs.FS) raw {
	t.Helper()
	db, err := pebble.Open("store", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatValueSeparation, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	return raw{t, db}
}

// close also removes the seal, which is of the bookkeeping that the opening has replaced.
func (r raw) close(fs vfs.FS) {
	r.t.Helper()
	if err := r.db.Close(); err != nil {
		r.t.Fatal(err)
	}
	if err := fs.Remove("store/SEAL"); err != nil {
		r.t.Fatal(err)
	}
}

type silent struct{}

func (silent) Infof(string, ...any)      {}
func (silent) Errorf(string, ...any)     {}
func (silent) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// all returns every row.
func (r raw) all() map[string][]byte {
	r.t.Helper()
	it, err := r.db.NewIter(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	rows := make(map[string][]byte)
	for ok := it.First(); ok; ok = it.Next() {
		rows[string(it.Key())] = bytes.Clone(it.Value())
	}
	if err := it.Close(); err != nil {
		r.t.Fatal(err)
	}
	return rows
}

func (r raw) get(key string) []byte {
	r.t.Helper()
	value, done, err := r.db.Get([]byte(key))
	if err != nil {
		r.t.Fatalf("%x: %v", key, err)
	}
	defer done.Close()
	return bytes.Clone(value)
}

// set writes a row as it is, seal one with the right checksum.
func (r raw) set(key string, value []byte) {
	r.t.Helper()
	if err := r.db.Set([]byte(key), value, pebble.Sync); err != nil {
		r.t.Fatal(err)
	}
}

func (r raw) seal(key string, value []byte) {
	r.t.Helper()
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(value, crc32.Update(crc32.Checksum([]byte(key), table), table, value[4:]))
	r.set(key, value)
}

func (r raw) edit(key string, change func(value []byte) []byte) { r.seal(key, change(r.get(key))) }

func (r raw) remove(key string) {
	r.t.Helper()
	if err := r.db.Delete([]byte(key), pebble.Sync); err != nil {
		r.t.Fatal(err)
	}
}

// at is a key: a kind, then numbers of 4 bytes (uint32) or 8 (uint64), bytes and strings.
func at(kind byte, parts ...any) string {
	key := []byte{kind}
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			key = binary.BigEndian.AppendUint32(key, uint32(p))
		case uint64:
			key = binary.BigEndian.AppendUint64(key, p)
		case byte:
			key = append(key, p)
		case string:
			key = append(key, p...)
		}
	}
	return string(key)
}

// kindOf names the kind of a row, by docs/formats/store.md.
func kindOf(key string) string {
	switch key[0] {
	case 'm':
		return key
	case 'j', 's':
		return key[:1] + key[9:10]
	case 'l':
		if binary.BigEndian.Uint64([]byte(key[9:])) == 0 {
			return "l head"
		}
	}
	return key[:1]
}

// number sets the integer of 8 bytes at an offset.
func number(offset int, n uint64) func([]byte) []byte {
	return func(v []byte) []byte { binary.BigEndian.PutUint64(v[offset:], n); return v }
}

// byteAt sets one byte.
func byteAt(offset int, b byte) func([]byte) []byte {
	return func(v []byte) []byte { v[offset] = b; return v }
}

// inJSON replaces text in what follows an envelope. The envelope itself is out of reach: its checksum can hold any byte, a brace too.
func inJSON(t *testing.T, was, is string) func([]byte) []byte {
	const envelope = 5
	return func(v []byte) []byte {
		if !bytes.Contains(v[envelope:], []byte(was)) {
			t.Fatalf("no %s in %q", was, v)
		}
		return append(v[:envelope:envelope], bytes.Replace(v[envelope:], []byte(was), []byte(is), 1)...)
	}
}

// record changes a collection's record in its catalog row: 8 bytes of header, the last two of them the length of the name.
func record(t *testing.T, change func(*collectionRecord)) func([]byte) []byte {
	return func(v []byte) []byte {
		at := 8 + int(binary.BigEndian.Uint16(v[6:]))
		rec, err := decodeCollectionRecord(v[at:])
		if err != nil {
			t.Fatal(err)
		}
		change(&rec)
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		return append(v[:at:at], b...)
	}
}

// planted is one corruption that no checksum tells.
type planted struct {
	kind string // of the row that is wrong
	name string
	do   func(r raw)
	want string // in a finding
}

// plants lists them, several for each kind of row.
func plants(t *testing.T) []planted {
	const vectorAt = 24 // of an item's row
	item := func(release int, id string) string { return at('i', 1, release, id) }
	newAttributes := func(a ...Attribute) func([]byte) []byte {
		return func(v []byte) []byte { return append(v[:vectorAt+32:vectorAt+32], encodeAttributes(a, time.Time{})...) }
	}
	nan := func(offset int) func([]byte) []byte {
		return func(v []byte) []byte {
			binary.LittleEndian.PutUint32(v[offset:], math.Float32bits(float32(math.NaN())))
			return v
		}
	}
	edit := func(key string, change func([]byte) []byte) func(raw) { return func(r raw) { r.edit(key, change) } }
	catalog := func(change func(*collectionRecord)) func(raw) { return edit(at('c', 1), record(t, change)) }
	newest := func(r raw, prefix string) string {
		keys := slices.Sorted(maps.Keys(r.all()))
		i, _ := slices.BinarySearch(keys, prefix+"\xff\xff\xff\xff\xff\xff\xff\xff\xff")
		if i == 0 || !strings.HasPrefix(keys[i-1], prefix) {
			t.Fatalf("no row below %x", prefix)
		}
		return keys[i-1]
	}
	return []planted{
		{"m/format", "versions that cannot be", edit("m/format", byteAt(11, 0)), "impossible versions"},
		{"m/format", "missing", func(r raw) { r.remove("m/format") }, "m/format: missing"},
		{"m/collections", "below a collection", edit("m/collections", byteAt(11, 1)), "c/2: above the highest collection id"},
		{"m/collections", "missing", func(r raw) { r.remove("m/collections") }, "above the highest collection id"},

		{"c", "no JSON", edit(at('c', 1), inJSON(t, `{"config"`, `["config"`)), "collection tracks: catalog"},
		{"c", "of another name", edit(at('c', 1), record(t, func(r *collectionRecord) { r.Config.Name = "other" })), `the configuration is that of "other"`},
		{"c", "two of a name", func(r raw) {
			r.edit(at('c', 2), func(v []byte) []byte {
				one := r.get(at('c', 1))
				return one
			})
		}, "there are two of that name"},
		{"c", "no published release", catalog(func(r *collectionRecord) { r.Published = 9 }), "published release 9 is not among"},
		{"c", "two published releases", catalog(func(r *collectionRecord) { r.Releases[0].State = ReleasePublished }), "release 1 is PUBLISHED, release 2 is published"},
		{"c", "a state there is not", catalog(func(r *collectionRecord) { r.Releases[2].State = "BAKING" }), `unknown state "BAKING"`},
		{"c", "a release forgotten", catalog(func(r *collectionRecord) { r.Releases = r.Releases[:2] }), "release 3: there are rows of it, the catalog does not know it"},
		{"c", "a release dropped too early", catalog(func(r *collectionRecord) { r.Releases[0].State = ReleaseDropped }), "release 1: there are rows of it, though it was dropped"},
		{"c", "releases out of order", catalog(func(r *collectionRecord) { slices.Reverse(r.Releases) }), "stands behind"},
		{"c", "another dimension", catalog(func(r *collectionRecord) { r.Config.Dim = 4 }), "another type or dimension"},
		{"c", "an impossible dimension", catalog(func(r *collectionRecord) { r.Config.Dim = -1 }), "dim"},
		{"c", "another metric", catalog(func(r *collectionRecord) { r.Config.Metric = InnerProduct }), "image of dimension 8, metric"},
		{"c", "another type in the schema", catalog(func(r *collectionRecord) { r.Config.Attributes[1].Type = Float }), `attribute "year" is INT, the schema has FLOAT`},
		{"c", "other counts of an import", catalog(func(r *collectionRecord) { r.Releases[1].Counts.Accepted = 7 }), "the catalog has 7"},
		{"c", "missing", func(r raw) { r.remove(at('c', 1)) }, "rows of a collection that the catalog does not know"},

		{"a", "of no collection", edit(at('a', "live"), byteAt(11, 99)), `a/"live": alias of a collection that the catalog does not know`},
		{"a", "of a collection's name", func(r raw) { r.seal(at('a', "plain"), r.get(at('a', "live"))) }, "alias plain: is the name of a collection"},

		{"i", "missing", func(r raw) { r.remove(item(1, "track-050")) }, "119 items stored"[3:]},
		{"i", "missing, and written since the log begins", func(r raw) { r.remove(item(2, "track-003")) }, `i/1/2/"track-003": missing`},
		{"i", "beyond the log", edit(item(1, "track-050"), number(8, 9999)), "LSN 9999 is beyond the end of the log"},
		{"i", "older than its log record", edit(item(2, "track-003"), number(8, 1)), "has LSN 1, the log wrote it last at"},
		{"i", "older than in the graph", edit(item(1, "track-050"), number(8, 1)), "is stored at LSN 1, in the graph at"},
		{"i", "another dimension", edit(item(1, "track-050"), byteAt(19, 4)), "another type or dimension"},
		{"i", "another type", edit(item(1, "track-050"), byteAt(6, 9)), "another type or dimension"},
		{"i", "a component that is no number", edit(item(1, "track-050"), nan(vectorAt)), "component 0 is NaN"},
		{"i", "a zero vector", edit(item(1, "track-050"), func(v []byte) []byte { clear(v[vectorAt : vectorAt+32]); return v }), "the vector is zero"},
		{"i", "another vector", func(r raw) {
			other := r.get(item(1, "track-051"))[vectorAt : vectorAt+32]
			r.edit(item(1, "track-050"), func(v []byte) []byte { copy(v[vectorAt:], other); return v })
		}, "in the graph,"},
		{"i", "under another id", func(r raw) {
			v := r.get(item(1, "track-050"))
			r.remove(item(1, "track-050"))
			r.seal(item(1, "track-xyz"), v)
		}, `"track-xyz": is stored but not in the graph`},
		{"i", "twice, by two ids", func(r raw) { r.seal(item(1, "track-xyz"), r.get(item(1, "track-050"))) }, `"track-xyz": is stored but not in the graph`},
		{"i", "attributes that do not decode", edit(item(1, "track-050"), func(v []byte) []byte { return append(v, 1) }), "attributes: "},
		{"i", "an attribute of another type", edit(item(1, "track-050"), newAttributes(Attribute{Name: "year", Value: Value{Type: Keyword, Keywords: []string{"1999"}}})), `attribute "year" is KEYWORD, the schema has INT`},
		{"i", "an attribute that is not declared", edit(item(1, "track-050"), newAttributes(Attribute{Name: "mood", Value: Value{Type: Int, Int: 1}})), `attribute "mood" is not in the schema`},
		{"i", "attributes out of order", edit(item(1, "track-050"), newAttributes(Attribute{Name: "year", Value: Value{Type: Int, Int: 1}}, Attribute{Name: "artist", Value: Value{Type: Keyword, Keywords: []string{"x"}}})), "is out of order"},
		{"i", "other attributes", edit(item(1, "track-050"), newAttributes(Attribute{Name: "year", Value: Value{Type: Int, Int: 1}})), "other attributes in memory"},
		{"i", "of no release", func(r raw) { r.seal(item(8, "track-050"), r.get(item(1, "track-050"))) }, "release 8: there are rows of it"},
		{"i", "of no collection", func(r raw) { r.seal(at('i', 7, 1, "x"), r.get(item(1, "track-050"))) }, "i/7/1: rows of a collection that the catalog does not know"},
		{"i", "a bad vector in an import that is under way", edit(item(3, "track-020"), nan(vectorAt)), "release 3, item \"track-020\": component 0 is NaN"},
		{"i", "another dimension where there is no snapshot", edit(at('i', 2, 1, "track-004"), byteAt(19, 4)), "collection plain"},

		{"p", "another dimension", edit(at('p', 1, 1, "anna"), byteAt(19, 4)), `profile of "anna": stored vector has another type`},
		{"p", "another count", edit(at('p', 1, 1, "anna"), byteAt(27, 3)), `profile of "anna"`},
		{"p", "no number", edit(at('p', 1, 1, "anna"), nan(28)), "interest 0: component 0 is NaN"},
		{"p", "a weight of nothing", edit(at('p', 1, 1, "anna"), func(v []byte) []byte { binary.LittleEndian.PutUint32(v[28+64:], 0); return v }), "interest 0 has weight 0"},
		{"p", "attributes that do not decode", edit(at('p', 1, 1, "anna"), func(v []byte) []byte { return append(v, 99) }), `profile of "anna": attributes`},
		{"p", "beyond the log", edit(at('p', 1, 1, "anna"), number(8, 9999)), `p/1/1/"anna": LSN 9999 is beyond the end of the log`},
		{"p", "of a log record of something else", edit(at('p', 1, 1, "anna"), number(8, 143)), `p/1/1/"anna": LSN 143 is of another row's log record`},

		{"l head", "ahead of the log", func(r raw) { r.edit(at('l', 1, 1, uint64(0)), number(8, 141)) }, "log record below the start of the log"},
		{"l head", "missing", func(r raw) { r.remove(at('l', 1, 1, uint64(0))) }, "are missing"},
		{"l", "a gap", func(r raw) { r.remove(at('l', 1, 1, uint64(143))) }, "l/1/1/143: log records 143..143 are missing"},
		{"l", "a delete that was a put", func(r raw) { r.edit(newest(r, at('l', 1, 2)), byteAt(5, byte(storage.LogDeleteItem))) }, "the log deleted it at LSN"},
		{"l", "of another item", func(r raw) {
			key := newest(r, at('l', 1, 2))
			r.edit(key, func(v []byte) []byte { return append(v[:6:6], "nobody"...) })
		}, `"nobody": missing, the log wrote it at LSN`},
		{"l", "of no kind", func(r raw) { r.edit(newest(r, at('l', 1, 2)), byteAt(5, 77)) }, "unknown kind"},
		{"l", "the end is gone", func(r raw) { r.remove(newest(r, at('l', 1, 2))) }, "is beyond the end of the log"},

		{"sh", "beyond the log", func(r raw) { r.edit(newest(r, at('s', 1, 1, "h")), number(8, 9999)) }, "snapshot of LSN 9999, the log ends at"},
		{"sh", "another count of items", func(r raw) { r.edit(newest(r, at('s', 1, 1, "h")), inJSON(t, `"items":120`, `"items":119`)) }, "cannot be recovered"},
		{"sh", "another count of slots", func(r raw) { r.edit(newest(r, at('s', 1, 1, "h")), inJSON(t, `"slots":1`, `"slots":2`)) }, "cannot be recovered"},
		{"sh", "a checksum of a slab", func(r raw) {
			r.edit(newest(r, at('s', 1, 1, "h")), func(v []byte) []byte { v[len(v)-1] ^= 1; return v })
		}, "slab is not the one the header was committed with"},
		{"sh", "missing", func(r raw) { r.remove(newest(r, at('s', 1, 1, "h"))) }, "slabs of a snapshot without an intact header"},
		{"ss", "missing", func(r raw) { r.remove(newest(r, at('s', 1, 1, "s"))) }, "slab is missing"},
		{"ss", "of nothing", func(r raw) { r.set(newest(r, at('s', 1, 1, "s"))+"xx", []byte("x")) }, "malformed key"},

		{"w", "of a snapshot that has its header", func(r raw) {
			r.seal(at('w', 1, 1, uint64(2)), []byte{0, 0, 0, 0, 1})
		}, "w/1/1/2: mark of a snapshot that has its header"},
		{"w", "too long", func(r raw) { r.seal(at('w', 1, 1, uint64(9)), []byte{0, 0, 0, 0, 1, 7}) }, "pending mark is too long"},
		{"w", "of no collection", func(r raw) { r.seal(at('w', 7, 1, uint64(9)), []byte{0, 0, 0, 0, 1}) }, "w/7/1: rows of a collection"},

		{"jp", "no JSON", edit(at('j', 1, 3, "p"), inJSON(t, `{`, `[`)), "release 3, import: progress"},
		{"jp", "another count of rejects", edit(at('j', 1, 3, "p"), inJSON(t, `"kept_rejects":1`, `"kept_rejects":0`)), "1 rejects are stored, 0 were kept"},
		{"jp", "another count of rows", edit(at('j', 1, 2, "p"), inJSON(t, `"accepted":6`, `"accepted":5`)), "release 2, import: 5"},
		{"jp", "more kept than rejected", edit(at('j', 1, 3, "p"), inJSON(t, `"rejected":1`, `"rejected":0`)), "impossible progress"},
		{"jp", "missing", func(r raw) { r.remove(at('j', 1, 2, "p")) }, "reject of an import without progress"},
		{"jr", "no JSON", edit(at('j', 1, 2, "r", uint64(0)), inJSON(t, `{`, `[`)), "release 2, import, reject 0"},
		{"jr", "of a batch that did not come", edit(at('j', 1, 2, "r", uint64(0)), inJSON(t, `"sequence":1`, `"sequence":5`)), "of batch 5 of 1"},
		{"jr", "under another number", func(r raw) {
			r.seal(at('j', 1, 2, "r", uint64(3)), r.get(at('j', 1, 2, "r", uint64(0))))
			r.remove(at('j', 1, 2, "r", uint64(0)))
		}, "j/1/2/r/0: rejects 0..2 are missing"},
		{"jr", "missing", func(r raw) { r.remove(at('j', 1, 2, "r", uint64(0))) }, "0 rejects are stored, 1 were kept"},

		{"q", "no JSON", func(r raw) { r.edit(newest(r, at('q', 1)), inJSON(t, `{`, `[`)) }, "collection tracks, requests"},
		{"q", "without an id", func(r raw) { r.edit(newest(r, at('q', 1)), inJSON(t, `"id":"morning"`, `"id":""`)) }, "an id of 0 bytes"},
		{"q", "beyond the log", func(r raw) { r.seal(at('q', 1, uint64(9999)), r.get(newest(r, at('q', 1)))) }, "q/1/9999: request at LSN 9999, the log ends at"},
		{"q", "of no collection", func(r raw) { r.seal(at('q', 7, uint64(3)), r.get(newest(r, at('q', 1)))) }, "request of a collection that the catalog does not know"},

		{"x", "expires before 1970", func(r raw) { r.edit(newest(r, at('x', 1)), byteAt(8, 0xff)) }, "exclusion expires before 1970"},
		{"x", "of no collection", func(r raw) { r.seal("x\x00\x00\x00\x07"+newest(r, at('x', 1))[5:], r.get(newest(r, at('x', 1)))) }, "entry of a collection that the catalog does not know"},
		{"x", "flags of a later program", func(r raw) { r.edit(newest(r, at('x', 1)), byteAt(6, 1)) }, "unknown flags"},
		{"x", "a set longer than the key", func(r raw) {
			key := []byte(newest(r, at('x', 1)))
			key[5] = 0x20
			r.seal(string(key), r.get(newest(r, at('x', 1))))
		}, "malformed key"},
	}
}

// checked returns what Check says of the store, but that its seal is gone.
func checked(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	return slices.DeleteFunc(findings(t, fs), func(f string) bool { return strings.HasPrefix(f, "store/SEAL: ") })
}

// copyOf is another file system with the store of the one.
func copyOf(t *testing.T, fs vfs.FS) vfs.FS {
	t.Helper()
	to := vfs.NewMem()
	if ok, err := vfs.Clone(fs, to, "store", "store"); err != nil || !ok {
		t.Fatal(ok, err)
	}
	return to
}

// TestCheckFindsEveryPlantedCorruption plants, in a store that holds every kind of row, corruptions that every checksum agrees with,
// and holds that Check names each. Then it damages a row of every kind: a flipped bit, a cut, the value of another row, which checksums
// tell. A kind of row of which nothing is planted fails the test, so that a new kind comes with its checks.
func TestCheckFindsEveryPlantedCorruption(t *testing.T) {
	fs := vfs.NewMem()
	plantedStore(t, fs)
	if got := findings(t, fs); len(got) > 0 {
		t.Fatalf("before anything is planted: %q", got)
	}
	touched := copyOf(t, fs)
	r := openRaw(t, touched)
	rows := r.all()
	r.close(touched)
	if got := checked(t, touched); len(got) > 0 {
		t.Fatalf("opened and closed: %q", got)
	}
	there := make(map[string][]string) // keys, by kind
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		there[kindOf(key)] = append(there[kindOf(key)], key)
	}
	plantedIn := make(map[string]int)
	for _, p := range plants(t) {
		plantedIn[p.kind]++
		t.Run(p.kind+" "+p.name, func(t *testing.T) {
			damaged := copyOf(t, fs)
			r := openRaw(t, damaged)
			p.do(r)
			r.close(damaged)
			if got := strings.Join(checked(t, damaged), "\n"); !strings.Contains(got, p.want) {
				t.Errorf("no %q in:\n%s", p.want, got)
			}
		})
	}
	for kind := range plantedIn {
		if len(there[kind]) == 0 && kind != "w" { // marks are there only while a snapshot is written
			t.Errorf("the store has no row of kind %s", kind)
		}
	}
	rng := rand.New(rand.NewPCG(3, 9))
	tried := 0
	for kind, keys := range there {
		if plantedIn[kind] == 0 {
			t.Errorf("nothing is planted in rows of kind %s: %x", kind, keys[0])
		}
		for name, damage := range map[string]func(v []byte) []byte{
			"a flipped bit": func(v []byte) []byte { v[rng.IntN(len(v))] ^= 1 << rng.IntN(8); return v },
			"a cut":         func(v []byte) []byte { return v[:rng.IntN(len(v))] },
			"another row":   func([]byte) []byte { return bytes.Clone(rows[keys[0]]) },
		} {
			key := keys[rng.IntN(len(keys))]
			if name == "another row" && key == keys[0] {
				continue
			}
			damaged := copyOf(t, fs)
			r := openRaw(t, damaged)
			r.set(key, damage(bytes.Clone(rows[key])))
			r.close(damaged)
			tried++
			if got := checked(t, damaged); len(got) == 0 {
				t.Errorf("%s in a row of kind %s, %x: not found", name, kind, key)
			}
		}
	}
	t.Logf("%d kinds of rows, %d planted corruptions, %d damaged rows", len(there), len(plants(t)), tried)
}
