package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"
)

// refused reports whether err is how a decoder may refuse bytes.
func refused(err error) bool {
	var f *FormatError
	return IsCorruption(err) || errors.As(err, &f)
}

// bothWays calls fn with value as it is and with a checksum that fits, so that the fuzzer gets past it.
func bothWays(key, value []byte, fn func(value []byte, sealed bool)) {
	fn(value, false)
	if len(value) >= envelopeLen {
		v := bytes.Clone(value)
		binary.BigEndian.PutUint32(v, envelopeSum(key, v))
		fn(v, true)
	}
}

func FuzzItem(f *testing.F) {
	key := rowKey(kindItem, 1, 2, "id")
	r := item("id", 7)
	v := make([]byte, itemValueLen(&r))
	encodeItem(key, v, &r)
	f.Add(v)
	f.Fuzz(func(t *testing.T, value []byte) {
		bothWays(key, value, func(value []byte, _ bool) {
			r, err := decodeItem(key, value)
			if err != nil {
				if !refused(err) {
					t.Fatal(err)
				}
				return
			}
			again := make([]byte, itemValueLen(&r))
			encodeItem(key, again, &r)
			if !bytes.Equal(again, value) {
				t.Fatalf("decodes to %+v, which encodes to %x, not %x", r, again, value)
			}
		})
	})
}

func FuzzProfile(f *testing.F) {
	key := rowKey(kindProfile, 1, 2, "user")
	r := profile("user", 7)
	v := make([]byte, profileValueLen(&r))
	encodeProfile(key, v, &r)
	f.Add(v)
	f.Fuzz(func(t *testing.T, value []byte) {
		bothWays(key, value, func(value []byte, _ bool) {
			r, err := decodeProfile(key, value)
			if err != nil {
				if !refused(err) {
					t.Fatal(err)
				}
				return
			}
			again := make([]byte, profileValueLen(&r))
			encodeProfile(key, again, &r)
			if !bytes.Equal(again, value) {
				t.Fatalf("decodes to %+v, which encodes to %x, not %x", r, again, value)
			}
		})
	})
}

func FuzzExclusion(f *testing.F) {
	key := append(exclusionSetKey(1, "set"), "item"...)
	f.Add(encodeExclusion(key, 0))
	f.Add(encodeExclusion(key, 1767225600000000))
	f.Fuzz(func(t *testing.T, value []byte) {
		bothWays(key, value, func(value []byte, _ bool) {
			r, err := decodeExclusion(key, value)
			if err != nil {
				if !refused(err) {
					t.Fatal(err)
				}
				return
			}
			if again := encodeExclusion(key, r.ExpireTime); !bytes.Equal(again, value) {
				t.Fatalf("decodes to %+v, which encodes to %x, not %x", r, again, value)
			}
		})
	})
}

func FuzzLogRecord(f *testing.F) {
	key := logKey(1, 2, 3)
	v := make([]byte, logHeaderLen+2)
	encodeLog(key, v, LogDeleteItem, "id")
	f.Add(v)
	f.Add(encodeLogHead(key, 9))
	f.Fuzz(func(t *testing.T, value []byte) {
		bothWays(key, value, func(value []byte, _ bool) {
			if r, err := decodeLog(key, value, 3); err == nil {
				again := make([]byte, logHeaderLen+len(r.ID))
				encodeLog(key, again, r.Kind, r.ID)
				if !bytes.Equal(again, value) {
					t.Fatalf("decodes to %+v, which encodes to %x, not %x", r, again, value)
				}
			} else if !refused(err) {
				t.Fatal(err)
			}
			if first, err := decodeLogHead(key, value); err != nil && !refused(err) || err == nil && first == 0 {
				t.Fatal(first, err)
			}
		})
	})
}

func FuzzCatalog(f *testing.F) {
	key := collectionKey(5)
	f.Add(encodeCollection(key, &CollectionRow{ID: 5, Name: "tracks", Config: []byte("config")}))
	f.Add(encodeCollectionsRow(8))
	f.Add(encodeFormatRow(1, 1))
	f.Fuzz(func(t *testing.T, value []byte) {
		bothWays(key, value, func(value []byte, _ bool) {
			if r, err := decodeCollection(key, value); err == nil {
				if again := encodeCollection(key, &r); !bytes.Equal(again, value) {
					t.Fatalf("decodes to %+v, which encodes to %x, not %x", r, again, value)
				}
			} else if !refused(err) {
				t.Fatal(err)
			}
		})
		bothWays([]byte(collectionsKey), value, func(value []byte, _ bool) {
			if _, err := decodeCollectionsRow(value); err != nil && !refused(err) {
				t.Fatal(err)
			}
		})
		bothWays([]byte(formatKey), value, func(value []byte, _ bool) {
			if version, oldest, err := decodeFormatRow(value); err != nil && !refused(err) || err == nil && oldest > version {
				t.Fatal(version, oldest, err)
			}
		})
	})
}

func FuzzSnapshotHeader(f *testing.F) {
	key := snapshotKey(1, 2, snapshotHeader, 3)
	h := testHeader(3, 9)
	f.Add(encodeSnapshotHeader(key, &h, []section{{"vectors", 500, []uint32{1, 2, 3}}, {"empty", 0, nil}}))
	f.Fuzz(func(t *testing.T, value []byte) {
		bothWays(key, value, func(value []byte, _ bool) {
			h, err := decodeSnapshotHeader(key, value)
			if err != nil {
				if !refused(err) {
					t.Fatal(err)
				}
				return
			}
			if again := encodeSnapshotHeader(key, &h.SnapshotHeader, h.sections); !bytes.Equal(again, value) {
				t.Fatalf("decodes to %+v, which encodes to %x, not %x", h, again, value)
			}
		})
	})
}

func FuzzSlab(f *testing.F) {
	key := slabKey(1, 2, 3, "links0", 4)
	enc, err := newSlabEncoder()
	if err != nil {
		f.Fatal(err)
	}
	data := bytes.Repeat([]byte("links "), 50)
	f.Add(encodeSlab(nil, key, data, enc))
	f.Add(encodeSlab(nil, key, data, nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		bothWays(key, value, func(value []byte, _ bool) {
			got, err := assemble(key, value)
			switch {
			case len(value) == 0 && errors.Is(err, errSlabMissing):
			case err != nil && !refused(err):
				t.Fatal(err)
			case err == nil && len(got) > MaxSlabBytes:
				t.Fatal(len(got))
			}
		})
	})
}

func FuzzKey(f *testing.F) {
	for _, k := range [][]byte{[]byte(formatKey), collectionKey(1), rowKey(kindItem, 1, 2, "x"), logKey(1, 2, 3), pendingKey(1, 2, 3),
		snapshotKey(1, 2, snapshotHeader, 3), fragmentKey(slabKey(1, 2, 3, "s", 4), 5),
		progressKey(1, 2), rejectKey(1, 2, 3), append(exclusionSetKey(1, "set"), "item"...)} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		_ = formatKeyForPeople(key)
		k, ok := parseKey(key)
		if !ok {
			return
		}
		var again []byte
		switch k.kind {
		case kindMeta:
			again = k.name
		case kindCollection:
			again = collectionKey(k.collection)
		case kindItem, kindProfile:
			again = rowKey(k.kind, k.collection, k.release, string(k.id))
		case kindLog:
			again = logKey(k.collection, k.release, k.lsn)
		case kindAlias:
			again = aliasKey(string(k.name))
		case kindRequest:
			again = requestKey(k.collection, k.lsn)
		case kindExclusion:
			again = append(exclusionSetKey(k.collection, string(k.set)), k.id...)
		case kindImport:
			again = progressKey(k.collection, k.release)
			switch k.sub {
			case importReject:
				again = rejectKey(k.collection, k.release, k.number)
			case importGraph:
				again = graphKey(k.collection, k.release, k.number)
			}
		case kindPending:
			again = pendingKey(k.collection, k.release, k.gen)
		case kindSnapshot:
			again = snapshotKey(k.collection, k.release, k.sub, k.gen)
			if k.sub == snapshotSlab {
				again = slabKey(k.collection, k.release, k.gen, string(k.section), k.slab)
				if k.fragment >= 0 {
					again = fragmentKey(again, k.fragment)
				}
			}
		}
		if !bytes.Equal(again, key) {
			t.Fatalf("%x parses to %+v, which is %x", key, k, again)
		}
	})
}

func FuzzSeal(f *testing.F) {
	f.Add(encodeSeal(sealState{clean: true, manifest: sealedFile{"MANIFEST-000001", 5, 6}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := decodeSeal(data); err != nil && !errors.Is(err, errSealDamaged) && !refused(err) {
			t.Fatal(err)
		}
		if _, err := decodeSeal(append(append([]byte("segue seal 1\n"), data...), "crc32c 00000000\n"...)); err != nil && !errors.Is(err, errSealDamaged) && !refused(err) {
			t.Fatal(err)
		}
	})
}

func FuzzLogTail(f *testing.F) {
	f.Add(walBytes(3, 2, 700), uint32(3))
	f.Fuzz(func(t *testing.T, data []byte, number uint32) {
		damaged, witness, err := scanLog(bytes.NewReader(data), number)
		if err != nil || damaged >= 0 && (witness <= damaged || witness >= int64(len(data))) {
			t.Fatal(damaged, witness, err)
		}
	})
}

// A count in a header is not believed before the bytes it counts are there.
func TestDecodersDoNotAllocateByClaim(t *testing.T) {
	key := snapshotKey(1, 2, snapshotHeader, 3)
	h := SnapshotHeader{CreateTime: time.Unix(0, 0)}
	v := encodeSnapshotHeader(key, &h, []section{{"s", 1, nil}})
	binary.BigEndian.PutUint32(v[len(v)-12:], 0xfffffff0) // slabs
	sealEnvelope(key, v, snapshotVersion)
	slab := slabKey(1, 0, 1, "s", 0)
	raw := encodeSlab(nil, slab, []byte("x"), nil)
	binary.BigEndian.PutUint32(raw[8:], 0xffffffff)
	sealEnvelope(slab, raw, slabVersion)
	res := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := decodeSnapshotHeader(key, v); !IsCorruption(err) {
				b.Fatal(err)
			}
			a := slabAssembler{key: slab}
			if err := a.add(0, raw); err != nil {
				b.Fatal(err)
			}
			if _, err := a.finish(nil); !IsCorruption(err) {
				b.Fatal(err)
			}
		}
	})
	if n := res.AllocedBytesPerOp(); n > 10_000 {
		t.Errorf("%d bytes allocated for a row of %d bytes", n, len(v))
	}
}
