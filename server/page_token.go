package server

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// A page token is the base64url form (without padding) of
//
//	version u8 = 1 | crc32c u32 big-endian of (scope, 0x00, cursor) | cursor
//
// where cursor is the last key of the page before, never empty, and scope names the method and the collection. The
// checksum is no secret: it finds tokens that were cut, made up, or meant for another list.
const (
	pageTokenVersion = 1
	pageTokenHeader  = 5
	defaultPage      = 100
)

func encodePageToken(scope, cursor string) string {
	b := make([]byte, pageTokenHeader, pageTokenHeader+len(cursor))
	b[0] = pageTokenVersion
	binary.BigEndian.PutUint32(b[1:], pageTokenSum(scope, cursor))
	return base64.RawURLEncoding.EncodeToString(append(b, cursor...))
}

// pageToken returns the cursor of a token of at most maxCursor bytes; the empty token has the empty cursor.
func (d *decoder) pageToken(scope, token string, maxCursor int) (cursor string) {
	if token == "" {
		return ""
	}
	enc := base64.RawURLEncoding.Strict()
	if len(token) <= enc.EncodedLen(pageTokenHeader+maxCursor) {
		b, err := enc.DecodeString(token)
		if err == nil && len(b) > pageTokenHeader && b[0] == pageTokenVersion {
			cursor = string(b[pageTokenHeader:])
			if binary.BigEndian.Uint32(b[1:]) == pageTokenSum(scope, cursor) {
				return cursor
			}
		}
	}
	d.add(reasonInvalidPageToken, "page_token", "must be a next_page_token of the same method and collection: begin again without one")
	return ""
}

func pageTokenSum(scope, cursor string) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, []byte(scope))
	sum = crc32.Update(sum, table, []byte{0})
	return crc32.Update(sum, table, []byte(cursor))
}
