package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Codecs of slabs; the numbers are on disk.
const (
	codecRaw  = 0
	codecZstd = 1
)

const (
	slabVersion = 1
	// slabHeaderLen is the length of what a slab starts with (big-endian); the bytes follow.
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
)

// encodeSlab fills dst with the stored form of data and returns it. enc is nil for raw bytes; a slab that
// does not shrink is stored raw.
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

// decodeSlab checks a slab and appends its bytes to dst. dec must have a memory limit of MaxSlabBytes.
func decodeSlab(dst, key, value []byte, dec *zstd.Decoder) ([]byte, error) {
	if _, err := openEnvelope(key, value, "slab", slabVersion, slabHeaderLen); err != nil {
		return nil, slabError(key, err)
	}
	if value[6] != 0 || value[7] != 0 || value[5] > codecZstd {
		return nil, &FormatError{What: "slab", Where: formatKeyForPeople(key), Reason: "unknown codec or flags"}
	}
	n, body := binary.BigEndian.Uint32(value[8:]), value[slabHeaderLen:]
	if n > MaxSlabBytes {
		return nil, slabError(key, rowCorruption(key, fmt.Sprintf("slab claims %d bytes", n)))
	}
	if value[5] == codecRaw {
		if len(body) != int(n) {
			return nil, slabError(key, rowCorruption(key, "slab length does not match its bytes"))
		}
		return append(dst, body...), nil
	}
	start := len(dst)
	if cap(dst)-start < int(n) {
		dst = append(make([]byte, 0, start+int(n)), dst...)
	}
	dst, err := dec.DecodeAll(body, dst)
	if err != nil {
		return nil, slabError(key, &CorruptionError{Key: formatKeyForPeople(key), Reason: "slab does not decode", Err: err})
	}
	if len(dst)-start != int(n) {
		return nil, slabError(key, rowCorruption(key, "slab length does not match its bytes"))
	}
	return dst, nil
}

// slabError adds section and number to a corruption found at a slab's key.
func slabError(key []byte, err error) error {
	if c, ok := err.(*CorruptionError); ok {
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
