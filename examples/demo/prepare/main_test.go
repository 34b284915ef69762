package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/x448/float16"
)

const (
	trackLines = `{"id": "a", "title": "\u00c9 & <3", "artist_ids": ["x"], "artists": ["X"], "album_id": "p", "album": "P", "duration_s": 200, "added": "2021-04-29", "playlists": 2}
{"id": "b", "title": "B", "artist_ids": ["x", "y"], "artists": ["X", "Y"], "album_id": "p", "album": "P", "duration_s": 201, "added": "3:59", "playlists": 1}
{"id": "c", "title": "C", "artist_ids": ["y"], "artists": ["Y"], "album_id": "q", "album": "Q", "duration_s": 202, "added": "2021-04-27", "playlists": 0}
`
	playlistLines = `{"id": "k", "name": "K", "tracks": ["a", "b"]}
{"id": "l", "name": "L", "tracks": ["a"]}
`
)

var (
	trackValues    = []float32{0.6, 0.8, 1e-5, -1, 0.0625 + 1.0/(1<<15), -0.3}
	playlistValues = []float32{0.1, -0.2, 0.6, 0.8}
)

// source writes a small source into a new directory and returns run's arguments for it.
func source(t *testing.T, trackLines, playlistLines string, trackNpy, playlistNpy []byte) (args []string, out string) {
	t.Helper()
	dir, out := t.TempDir(), t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return []string{
		"-tracks", write("tracks.jsonl.gz", zip(t, trackLines)), "-track-vectors", write("tracks.npy", trackNpy),
		"-playlists", write("playlists.jsonl.gz", zip(t, playlistLines)), "-playlist-vectors", write("playlists.npy", playlistNpy),
		"-out", out,
	}, out
}

func zip(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// npy encodes values, given in C order, as a .npy file in either order.
func npy(fortran bool, rows, dim int, values []float32) []byte {
	order := "False"
	if fortran {
		order = "True"
	}
	header := fmt.Sprintf("{'descr': '<f4', 'fortran_order': %s, 'shape': (%d, %d), }\n", order, rows, dim)
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), 0)
	b = append(b, header...)
	for i := range values {
		at := i
		if fortran {
			at = i%rows*dim + i/rows
		}
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(values[at]))
	}
	return b
}

func unpack(t *testing.T, dir, name string) []byte {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	raw, err := d.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestRun(t *testing.T) {
	var first map[string]string
	for _, fortran := range []bool{true, false, false} {
		args, out := source(t, trackLines, playlistLines, npy(fortran, 3, 2, trackValues), npy(fortran, 2, 2, playlistValues))
		var said bytes.Buffer
		if err := run(args, &said); err != nil || !strings.Contains(said.String(), "1 tracks have no date") {
			t.Fatal(err, said.String())
		}
		files := map[string]string{}
		for _, name := range []string{"tracks.f16.npy.zst", "tracks.jsonl.zst", "playlists.f32.npy.zst", "playlists.jsonl.zst"} {
			b, err := os.ReadFile(filepath.Join(out, name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(b)
			if first != nil && first[name] != files[name] {
				t.Errorf("%s differs between two runs or two orders of the source", name)
			}
		}
		first = files

		if got, want := string(unpack(t, out, "tracks.jsonl.zst")), `{"id":"a","title":"É & <3","artist_ids":["x"],"artists":["X"],"album_id":"p","album":"P","duration_s":200,"added":"2021-04-29","playlists":2}`+"\n"; !strings.HasPrefix(got, want) {
			t.Errorf("tracks begin with %s, want %s", got, want)
		} else if strings.Count(got, `"added":"20`) != 2 || strings.Contains(got, "3:59") {
			t.Errorf("a track whose date is none has one: %s", got)
		}
		if got, want := string(unpack(t, out, "playlists.jsonl.zst")), `{"id":"k","name":"K","track_rows":[0,1]}
{"id":"l","name":"L","track_rows":[0]}
`; got != want {
			t.Errorf("playlists are %s, want %s", got, want)
		}
		raw := unpack(t, out, "tracks.f16.npy.zst")
		for i, want := range trackValues {
			got := float16.Frombits(binary.LittleEndian.Uint16(raw[len(raw)-2*len(trackValues)+2*i:])).Float32()
			// Half a step below 1/4, half a float16 ulp above.
			bound := max(step/2, math.Abs(float64(want))/(1<<11))
			if off := math.Abs(float64(got - want)); off > bound {
				t.Errorf("component %d: %g became %g, off by more than %g", i, want, got, bound)
			}
			if r := float64(got) / step; r != math.Trunc(r) {
				t.Errorf("component %d: %g is no multiple of the step", i, got)
			}
		}
		raw = unpack(t, out, "playlists.f32.npy.zst")
		for i, want := range playlistValues {
			if got := math.Float32frombits(binary.LittleEndian.Uint32(raw[len(raw)-4*len(playlistValues)+4*i:])); got != want {
				t.Errorf("playlist component %d: %g became %g", i, want, got)
			}
		}
	}
}

func TestRunRefuses(t *testing.T) {
	good, goodPlaylists := npy(false, 3, 2, trackValues), npy(false, 2, 2, playlistValues)
	swapped := strings.Replace(trackLines, `"id": "a"`, `"id": "z"`, 1)
	for _, c := range []struct {
		name, tracks, playlists string
		npy                     []byte
		want                    string
	}{
		{"other count", trackLines, playlistLines, npy(false, 2, 2, trackValues[:4]), "3 tracks, 2 playlists"},
		{"order of tracks", swapped, playlistLines, good, "does not ascend"},
		{"unknown track", trackLines, strings.Replace(playlistLines, `["a"]`, `["d"]`, 1), good, `track "d" is not among`},
		{"order in playlist", trackLines, strings.Replace(playlistLines, `["a", "b"]`, `["b", "a"]`, 1), good, "does not ascend"},
		{"unknown field", strings.Replace(trackLines, "album_id", "albumid", 1), playlistLines, good, "unknown field"},
		{"not an npy file", trackLines, playlistLines, []byte("\x93NUMPY\x02\x00\x00\x00"), "not a version 1.0 npy file"},
		{"other type", trackLines, playlistLines, bytes.Replace(good, []byte("<f4"), []byte("<f8"), 1), "not a matrix of '<f4'"},
		{"huge shape", trackLines, playlistLines, bytes.Replace(good, []byte("(3, 2), }"), []byte("(3, 999999999), }"), 1), "header"},
		{"short data", trackLines, playlistLines, good[:len(good)-1], "data is not the 24 bytes"},
		{"long data", trackLines, playlistLines, append(bytes.Clone(good), 0), "data is not the 24 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, _ := source(t, c.tracks, c.playlists, c.npy, goodPlaylists)
			if err := run(args, io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
	if err := run([]string{"-out", t.TempDir()}, io.Discard); err == nil || !strings.Contains(err.Error(), "-tracks is required") {
		t.Errorf("error %v, want the missing flags", err)
	}
}

func TestDecodeMatrixBoundsTheShape(t *testing.T) {
	header := "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 99999999), }\n"
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), 0)
	if _, err := decodeMatrix(bytes.NewReader(append(b, header...))); err == nil || !strings.Contains(err.Error(), "out of bounds") {
		t.Errorf("error %v, want out of bounds", err)
	}
}

func TestAppendHeaderAlignsTheData(t *testing.T) {
	for rows := 1; rows < 1e9; rows *= 7 {
		b := appendHeader(nil, "<f2", rows, 64)
		if len(b)%64 != 0 || len(b) != 10+int(binary.LittleEndian.Uint16(b[8:])) || b[len(b)-1] != '\n' {
			t.Errorf("%d rows: header of %d bytes ends in %q", rows, len(b), b[len(b)-1])
		}
	}
}
