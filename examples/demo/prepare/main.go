package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/x448/float16"
)

// track is one line of the tracks, in the order of the source's fields.
type track struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	ArtistIDs []string `json:"artist_ids"`
	Artists   []string `json:"artists"`
	AlbumID   string   `json:"album_id"`
	Album     string   `json:"album"`
	DurationS int      `json:"duration_s"`
	Added     string   `json:"added,omitempty"`
	Playlists int      `json:"playlists"`
}

// sourcePlaylist is one line of the source's playlists.
type sourcePlaylist struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Tracks []string `json:"tracks"`
}

// playlist is one line of what we write.
type playlist struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	TrackRows []int  `json:"track_rows"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("prepare", flag.ContinueOnError)
	tracks := flags.String("tracks", "", "gzipped JSON `file` of tracks, one a line")
	trackVectors := flags.String("track-vectors", "", ".npy `file` of float32, row i for line i of -tracks")
	playlists := flags.String("playlists", "", "gzipped JSON `file` of playlists, one a line")
	playlistVectors := flags.String("playlist-vectors", "", ".npy `file` of float32, row i for line i of -playlists")
	out := flags.String("out", "", "existing `directory` to write into")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var missing error
	flags.VisitAll(func(f *flag.Flag) {
		if f.Value.String() == "" {
			missing = errors.Join(missing, fmt.Errorf("-%s is required", f.Name))
		}
	})
	if missing != nil {
		return missing
	}

	ts, err := readLines[track](*tracks)
	if err != nil {
		return err
	}
	if n := dropBadDates(ts); n > 0 {
		fmt.Fprintf(stdout, "%d tracks have no date where it should be: dropped\n", n)
	}
	tv, err := readMatrix(*trackVectors)
	if err != nil {
		return err
	}
	ps, err := readLines[sourcePlaylist](*playlists)
	if err != nil {
		return err
	}
	pv, err := readMatrix(*playlistVectors)
	if err != nil {
		return err
	}
	if tv.rows != len(ts) || pv.rows != len(ps) || tv.dim != pv.dim {
		return fmt.Errorf("%d tracks, %d playlists, but their vectors are (%d, %d) and (%d, %d)",
			len(ts), len(ps), tv.rows, tv.dim, pv.rows, pv.dim)
	}
	rowed, err := withRows(ps, ts)
	if err != nil {
		return err
	}

	total := 0
	for _, file := range []struct {
		name string
		data func() ([]byte, error)
	}{
		{"tracks.f16.npy.zst", func() ([]byte, error) { return encodeFloat16(tv), nil }},
		{"tracks.jsonl.zst", func() ([]byte, error) { return encodeLines(ts) }},
		{"playlists.f32.npy.zst", func() ([]byte, error) { return encodeFloat32(pv), nil }},
		{"playlists.jsonl.zst", func() ([]byte, error) { return encodeLines(rowed) }},
	} {
		plain, err := file.data()
		if err != nil {
			return fmt.Errorf("encode %s: %w", file.name, err)
		}
		packed, err := compress(plain)
		if err != nil {
			return fmt.Errorf("compress %s: %w", file.name, err)
		}
		if err := os.WriteFile(filepath.Join(*out, file.name), packed, 0o644); err != nil {
			return err
		}
		total += len(packed)
		fmt.Fprintf(stdout, "%-24s %9d bytes, %9d unpacked\n", file.name, len(packed), len(plain))
	}
	fmt.Fprintf(stdout, "%-24s %9d bytes\n", "total", total)
	return nil
}

// readLines reads gzipped JSON lines and refuses fields it does not know.
func readLines[T any](path string) ([]T, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var lines []T
	d := json.NewDecoder(z)
	d.DisallowUnknownFields()
	for {
		var line T
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return lines, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, len(lines)+1, err)
		}
		lines = append(lines, line)
	}
}

// dropBadDates empties what is no date in the field for one, and counts: the archive has a duration there for some.
func dropBadDates(ts []track) (dropped int) {
	for i := range ts {
		if _, err := time.Parse(time.DateOnly, ts[i].Added); err != nil {
			ts[i].Added = ""
			dropped++
		}
	}
	return dropped
}

// withRows replaces track ids by row numbers. Both the tracks and each playlist's tracks must ascend by
// id, so that the row numbers ascend.
func withRows(ps []sourcePlaylist, ts []track) ([]playlist, error) {
	rows := make(map[string]int, len(ts))
	for i, t := range ts {
		if i > 0 && t.ID <= ts[i-1].ID {
			return nil, fmt.Errorf("track %q of line %d does not ascend", t.ID, i+1)
		}
		rows[t.ID] = i
	}
	out := make([]playlist, len(ps))
	for i, p := range ps {
		out[i] = playlist{ID: p.ID, Name: p.Name, TrackRows: make([]int, len(p.Tracks))}
		for j, id := range p.Tracks {
			row, ok := rows[id]
			if !ok {
				return nil, fmt.Errorf("playlist %q: track %q is not among the tracks", p.ID, id)
			}
			if j > 0 && row <= out[i].TrackRows[j-1] {
				return nil, fmt.Errorf("playlist %q: track %q does not ascend", p.ID, id)
			}
			out[i].TrackRows[j] = row
		}
	}
	return out, nil
}

func encodeLines[T any](lines []T) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, line := range lines {
		if err := e.Encode(line); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// step is the grid that track vectors are rounded to before they become float16; see the package doc.
const step = 1.0 / (1 << 13)

func encodeFloat16(m matrix) []byte {
	dst := appendHeader(nil, "<f2", m.rows, m.dim)
	for _, x := range m.data {
		rounded := math.RoundToEven(float64(x)/step) * step
		dst = binary.LittleEndian.AppendUint16(dst, float16.Fromfloat32(float32(rounded)).Bits())
	}
	return dst
}

func encodeFloat32(m matrix) []byte {
	dst := appendHeader(nil, "<f4", m.rows, m.dim)
	for _, x := range m.data {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(x))
	}
	return dst
}

func compress(plain []byte) ([]byte, error) {
	// One thread: blocks then depend on the input alone.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, err
	}
	return e.EncodeAll(plain, nil), e.Close()
}
