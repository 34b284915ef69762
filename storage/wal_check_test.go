package storage

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// walBytes is a log of n records of the given size, written here and not by Pebble, each synced before the next.
func walBytes(number uint32, n, size int) []byte {
	var log []byte
	synced := 0
	for i := range n {
		left := size
		for first := true; first || left > 0; first = false {
			room := walBlockLen - len(log)%walBlockLen
			if room < walHeaderLen {
				log = append(log, make([]byte, room)...)
				room = walBlockLen
			}
			part := min(left, room-walHeaderLen)
			left -= part
			typ := byte(walTypeFirst + 2)
			switch {
			case first && left == 0:
				typ = walTypeFirst
			case first:
				typ = walTypeFirst + 1
			case left == 0:
				typ = walTypeLast
			}
			c := make([]byte, walHeaderLen+part)
			binary.LittleEndian.PutUint16(c[4:], uint16(part))
			c[6] = typ
			binary.LittleEndian.PutUint32(c[7:], number)
			binary.LittleEndian.PutUint64(c[11:], uint64(synced))
			for j := range part {
				c[walHeaderLen+j] = byte(i + j)
			}
			binary.LittleEndian.PutUint32(c, bits.RotateLeft32(crc32.Checksum(c[6:], castagnoli), 17)+0xa282ead8)
			log = append(log, c...)
		}
		synced = len(log)
	}
	return log
}

// Pebble's own reader reads the logs these tests make.
func TestLogTailTestsWriteRealLogs(t *testing.T) {
	for _, size := range []int{0, 10, 700, walBlockLen - walHeaderLen, 3*walBlockLen + 5} {
		r := record.NewReader(bytes.NewReader(walBytes(9, 20, size)), 9)
		for i := range 20 {
			rec, err := r.Next()
			if err != nil {
				t.Fatalf("size %d, record %d: %v", size, i, err)
			}
			got, err := io.ReadAll(rec)
			if err != nil || len(got) != size {
				t.Fatalf("size %d, record %d: %d bytes, %v", size, i, len(got), err)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatal(err)
		}
	}
}

// Damage anywhere but in the last record is found; a log that is cut anywhere is not damage.
func TestLogTailFindsDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{10, 700, 5000, 2*walBlockLen + 5} {
		const n = 12
		log := walBytes(9, n, size)
		last := len(walBytes(9, n-1, size))
		if damaged, _, err := scanLog(bytes.NewReader(log), 9); damaged >= 0 || err != nil {
			t.Fatalf("size %d: intact log is damaged at %d, %v", size, damaged, err)
		}
		for range 80 {
			at := rng.IntN(last)
			bad := bytes.Clone(log)
			bad[at] ^= 1 << rng.IntN(8)
			damaged, witness, err := scanLog(bytes.NewReader(bad), 9)
			inZeros := bytes.Equal(log[at:min(at+1, len(log))], []byte{0}) && walBlockLen-at%walBlockLen < walHeaderLen
			if err != nil || damaged < 0 && !inZeros || damaged > int64(at) {
				t.Errorf("size %d, flip at %d of %d: damage at %d, witness %d, %v", size, at, len(log), damaged, witness, err)
			}
			cut := rng.IntN(len(log) + 1)
			for _, tail := range [][]byte{nil, make([]byte, 40_000), walBytes(8, 20, size)} {
				torn := append(bytes.Clone(log[:cut]), tail...)
				if damaged, witness, err := scanLog(bytes.NewReader(torn), 9); damaged >= 0 || err != nil {
					t.Errorf("size %d, cut at %d, then %d bytes of an older log: damage at %d, witness %d, %v", size, cut, len(tail), damaged, witness, err)
				}
			}
		}
	}
}

func TestNewestLog(t *testing.T) {
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll(testDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if name, _, err := newestLog(fsys, testDir); name != "" || err != nil {
		t.Fatal(name, err)
	}
	for _, n := range []string{"000009.log", "000123.log", "000099.log", "x.log", "000200.sst"} {
		f, err := fsys.Create(testDir+"/"+n, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if name, number, err := newestLog(fsys, testDir); name != "000123.log" || number != 123 || err != nil {
		t.Fatal(name, number, err)
	}
}
