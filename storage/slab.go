package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
)

// Codecs of slabs; the numbers are on disk.
const (
	codecRaw  = 0
	codecZstd = 1
)

const (
	slabVersion = 1
	// slabHeaderLen is the length of what a slab starts with (big-endian); the body follows.
	//
	//	+--------+---------+-------+----------+--------+
	//	| crc32c | version | codec | reserved | length |
	//	+--------+---------+-------+----------+--------+
	//	  4        1         1       2          4
	//
	// length is that of the decoded bytes.
	slabHeaderLen = 12
	// MaxSlabBytes bounds a slab before and after decoding. 256 KiB to 1 MiB is a good size.
	MaxSlabBytes = 16 << 20
	// fragmentBytes is how a stored slab, header included, is cut into values, of which only the last is shorter.
	// Pebble v2.1.7 answers a block checksum mismatch with a search for the flipped bit that sums the block up
	// to 40960*8 times: 26 s of CPU for one damaged block of 1 MiB, 0.7 s for one of 32 KiB.
	fragmentBytes = 32 << 10
	maxFragments  = (slabHeaderLen + MaxSlabBytes + fragmentBytes - 1) / fragmentBytes
)

var errSlabMissing = errors.New("slab is missing")

// encodeSlab fills dst with the stored form of data and returns it. key is the slab's. enc is nil for raw
// bytes; a slab that does not shrink is stored raw.
func encodeSlab(dst, key, data []byte, enc *zstd.Encoder) []byte {
	dst = append(dst[:0], make([]byte, slabHeaderLen)...)
	codec := byte(codecRaw)
	if enc != nil {
		dst = enc.EncodeAll(data, dst)
		codec = codecZstd
	}
	if enc == nil || len(dst)-slabHeaderLen >= len(data) {
		dst = append(dst[:slabHeaderLen], data...)
		codec = codecRaw
	}
	dst[5] = codec
	binary.BigEndian.PutUint32(dst[8:], uint32(len(data)))
	sealEnvelope(key, dst, slabVersion)
	return dst
}

// slabAssembler puts the fragments of one slab together. The body of a raw slab is gathered where the caller
// wants it, without another copy.
type slabAssembler struct {
	key    []byte
	dst    []byte // the caller's buffer
	header [slabHeaderLen]byte
	body   []byte // aliases dst if the slab is raw
	next   int    // fragment
}

// add takes the next fragment.
func (a *slabAssembler) add(fragment int, value []byte) error {
	if fragment != a.next || fragment >= maxFragments {
		return slabError(a.key, rowCorruption(a.key, fmt.Sprintf("fragment %d of the slab is missing", a.next)))
	}
	if fragment == 0 {
		if len(value) < slabHeaderLen {
			return slabError(a.key, rowCorruption(a.key, "slab is shorter than its header"))
		}
		value = value[copy(a.header[:], value):]
		// An unverified codec and length only choose where the body goes.
		if a.header[5] == codecRaw {
			a.body = a.dst[:0]
			if n := int(binary.BigEndian.Uint32(a.header[8:])); cap(a.body) < n && n <= MaxSlabBytes {
				a.body = make([]byte, 0, n)
			}
		}
	}
	a.body = append(a.body, value...)
	a.next++
	return nil
}

// finish verifies the slab and returns its bytes. dec must have a memory limit of MaxSlabBytes.
func (a *slabAssembler) finish(dec *zstd.Decoder) ([]byte, error) {
	if a.next == 0 {
		return nil, errSlabMissing
	}
	h := a.header[:]
	sum := crc32.Checksum(a.key, castagnoli)
	sum = crc32.Update(sum, castagnoli, h[4:])
	if crc32.Update(sum, castagnoli, a.body) != a.sum() {
		return nil, slabError(a.key, rowCorruption(a.key, "slab checksum mismatch"))
	}
	if h[4] == 0 || h[4] > slabVersion {
		return nil, &FormatError{What: "slab", Where: formatKeyForPeople(a.key), Found: uint32(h[4]), Newest: slabVersion}
	}
	if h[5] > codecZstd || h[6] != 0 || h[7] != 0 {
		return nil, &FormatError{What: "slab", Where: formatKeyForPeople(a.key), Reason: "unknown codec or flags"}
	}
	n := binary.BigEndian.Uint32(h[8:])
	if n > MaxSlabBytes {
		return nil, slabError(a.key, rowCorruption(a.key, fmt.Sprintf("slab claims %d bytes", n)))
	}
	out := a.body
	if h[5] == codecZstd {
		if cap(a.dst) < int(n) {
			a.dst = make([]byte, 0, n)
		}
		var err error
		if out, err = dec.DecodeAll(a.body, a.dst[:0]); err != nil {
			return nil, slabError(a.key, &CorruptionError{Key: formatKeyForPeople(a.key), Reason: "slab does not decode", Err: err})
		}
	}
	if len(out) != int(n) {
		return nil, slabError(a.key, rowCorruption(a.key, "slab length does not match its bytes"))
	}
	return out, nil
}

// sum is the stored checksum.
func (a *slabAssembler) sum() uint32 { return binary.BigEndian.Uint32(a.header[:]) }

// slabError adds section and number to a corruption found at a slab's key.
func slabError(key []byte, err error) error {
	var c *CorruptionError
	if errors.As(err, &c) {
		if k, ok := parseKey(key); ok {
			c.Section, c.Slab = string(k.section), int(k.slab)
		}
	}
	return err
}

func newSlabDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxSlabBytes))
}

func newSlabEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
}
