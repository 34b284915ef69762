package demo_test

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/x448/float16"

	"github.com/segue-ann/segue/examples/demo"
)

type track struct {
	ID        string   `json:"id"`
	Title     string   `json:"title"`
	ArtistIDs []string `json:"artist_ids"`
	Artists   []string `json:"artists"`
	AlbumID   string   `json:"album_id"`
	Album     string   `json:"album"`
	DurationS int      `json:"duration_s"`
	Added     string   `json:"added"`
	Playlists int      `json:"playlists"`
}

type playlist struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	TrackRows []int  `json:"track_rows"`
}

// plain returns the unpacked bytes of an embedded file.
func plain(t *testing.T, name string) []byte {
	t.Helper()
	packed, err := demo.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	raw, err := d.DecodeAll(packed, nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return raw
}

// vectors returns the rows of an embedded .npy file whose header must be exactly the given one.
func vectors(t *testing.T, name, header string, width int, decode func([]byte) float32) [][]float32 {
	t.Helper()
	raw := plain(t, name)
	length := 10 + int(binary.LittleEndian.Uint16(raw[8:10]))
	if got := strings.TrimSpace(string(raw[10:length])); got != header {
		t.Fatalf("%s: header %s, want %s", name, got, header)
	}
	if length%64 != 0 {
		t.Errorf("%s: data begins at %d, not at a multiple of 64", name, length)
	}
	raw = raw[length:]
	if len(raw)%(demo.Dim*width) != 0 {
		t.Fatalf("%s: %d bytes of data are not whole rows", name, len(raw))
	}
	rows := make([][]float32, len(raw)/(demo.Dim*width))
	for i := range rows {
		rows[i] = make([]float32, demo.Dim)
		for j := range rows[i] {
			rows[i][j] = decode(raw[(i*demo.Dim+j)*width:])
		}
	}
	return rows
}

func trackVectors(t *testing.T) [][]float32 {
	t.Helper()
	return vectors(t, demo.TrackVectors, "{'descr': '<f2', 'fortran_order': False, 'shape': (63468, 64), }", 2,
		func(b []byte) float32 { return float16.Frombits(binary.LittleEndian.Uint16(b)).Float32() })
}

func playlistVectors(t *testing.T) [][]float32 {
	t.Helper()
	return vectors(t, demo.PlaylistVectors, "{'descr': '<f4', 'fortran_order': False, 'shape': (250, 64), }", 4,
		func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) })
}

func lines[T any](t *testing.T, name string) []T {
	t.Helper()
	var out []T
	d := json.NewDecoder(strings.NewReader(string(plain(t, name))))
	d.DisallowUnknownFields()
	for {
		var line T
		switch err := d.Decode(&line); err {
		case nil:
			out = append(out, line)
		case io.EOF:
			return out
		default:
			t.Fatalf("%s: line %d: %v", name, len(out)+1, err)
		}
	}
}

func norm(v []float32) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

func dot(a, b []float32) float64 {
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

func TestTracks(t *testing.T) {
	tracks := lines[track](t, demo.Tracks)
	if len(tracks) != demo.TrackCount {
		t.Fatalf("%d tracks, want %d", len(tracks), demo.TrackCount)
	}
	artists, albums := map[string]bool{}, map[string]bool{}
	noAlbum, noDuration, noDate := 0, 0, 0
	for i, tr := range tracks {
		if i > 0 && tr.ID <= tracks[i-1].ID { // ascending, hence unique
			t.Errorf("line %d: id %q does not ascend", i+1, tr.ID)
		}
		if len(tr.ID) != 22 || len(tr.Artists) == 0 || len(tr.Artists) != len(tr.ArtistIDs) {
			t.Errorf("line %d: malformed track %+v", i+1, tr)
		}
		for _, id := range tr.ArtistIDs {
			artists[id] = true
		}
		if tr.DurationS == 0 {
			noDuration++
		}
		if tr.Added == "" {
			noDate++
		} else if _, err := time.Parse(time.DateOnly, tr.Added); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		if tr.AlbumID == "" {
			noAlbum++
		} else {
			albums[tr.AlbumID] = true
		}
		if tr.DurationS < 0 || tr.Playlists < 1 {
			t.Errorf("line %d: malformed track %+v", i+1, tr)
		}
	}
	for _, c := range []struct {
		what      string
		got, want int
	}{{"artists", len(artists), 32_592}, {"albums", len(albums), 56_126}, {"tracks without album", noAlbum, 8},
		{"tracks without duration", noDuration, 64}, {"tracks without date", noDate, 6}} {
		if c.got != c.want {
			t.Errorf("%d %s, want %d", c.got, c.what, c.want)
		}
	}
}

// A component is off by at most half a step: 2^-14 (see prepare). The norm, which was 1, is then off by at
// most 2^-14 times the sum of the components, which is at most sqrt(64): 2^-11, half a float16 ulp of 1.
const halfStep = 1.0 / (1 << 14)

func TestTrackVectorsHaveUnitNorm(t *testing.T) {
	rows := trackVectors(t)
	if len(rows) != demo.TrackCount {
		t.Fatalf("%d rows, want %d", len(rows), demo.TrackCount)
	}
	worst := 0.0
	distinct := make(map[[demo.Dim]float32]bool, len(rows))
	for _, v := range rows {
		worst = max(worst, math.Abs(norm(v)-1))
		distinct[[demo.Dim]float32(v)] = true
	}
	// Components above 1/4 carry float16's own, larger, rounding; 2^-10 leaves room for it.
	if worst > 1.0/(1<<10) {
		t.Errorf("a norm is off by %g", worst)
	}
	if len(distinct) != len(rows) {
		t.Errorf("%d of %d vectors are distinct: rounding merged some", len(distinct), len(rows))
	}
}

// TestNeighborsOfBlindingLights is the sanity fact of the data: the track's neighbors are other songs of
// its artist, so that a limit of one per artist changes the list visibly.
func TestNeighborsOfBlindingLights(t *testing.T) {
	tracks, rows := lines[track](t, demo.Tracks), trackVectors(t)
	// There are two, the single and the album's; the album's is on nine times as many playlists.
	seed := slices.IndexFunc(tracks, func(tr track) bool {
		return tr.Title == "Blinding Lights" && slices.Contains(tr.Artists, "The Weeknd") && tr.Playlists == 63
	})
	if seed < 0 || tracks[seed].ID != "0VjIjW4GlUZAMYd2vXMi3b" {
		t.Fatal("no Blinding Lights by The Weeknd")
	}
	order := make([]int, len(rows))
	score := make([]float64, len(rows))
	for i := range rows {
		order[i], score[i] = i, dot(rows[seed], rows[i])
	}
	slices.SortFunc(order, func(a, b int) int {
		if score[a] != score[b] {
			if score[a] > score[b] {
				return -1
			}
			return 1
		}
		return a - b
	})
	same := 0
	for _, i := range order[:11] {
		if i != seed && slices.Contains(tracks[i].Artists, "The Weeknd") {
			same++
		}
	}
	if same < 8 {
		t.Errorf("%d of the 10 nearest tracks are by The Weeknd, want at least 8", same)
	}
}

func TestPlaylistVectorsAreMeansOfTheirTracks(t *testing.T) {
	tracks, means := trackVectors(t), playlistVectors(t)
	playlists := lines[playlist](t, demo.Playlists)
	if len(playlists) != demo.PlaylistCount || len(means) != demo.PlaylistCount {
		t.Fatalf("%d playlists and %d vectors, want %d", len(playlists), len(means), demo.PlaylistCount)
	}
	memberships, ids := 0, map[string]bool{}
	for i, p := range playlists {
		if ids[p.ID] || p.ID == "" || p.Name == "" || len(p.TrackRows) == 0 {
			t.Fatalf("line %d: malformed or repeated playlist %q", i+1, p.ID)
		}
		ids[p.ID] = true
		memberships += len(p.TrackRows)
		mean := make([]float64, demo.Dim)
		for j, row := range p.TrackRows {
			if row < 0 || row >= len(tracks) || j > 0 && row <= p.TrackRows[j-1] {
				t.Fatalf("line %d: track_rows[%d] = %d is out of range or does not ascend", i+1, j, row)
			}
			for d, x := range tracks[row] {
				mean[d] += float64(x) / float64(len(p.TrackRows))
			}
		}
		for d := range mean {
			// Float16's rounding of components near 1 is four times the step's.
			if off := math.Abs(mean[d] - float64(means[i][d])); off > 4*halfStep {
				t.Errorf("playlist %q: component %d is off by %g", p.Name, d, off)
			}
		}
	}
	if memberships != 92_431 {
		t.Errorf("%d memberships, want 92431", memberships)
	}
}

func TestSizeAndNotice(t *testing.T) {
	total := 0
	for _, name := range []string{demo.TrackVectors, demo.Tracks, demo.PlaylistVectors, demo.Playlists} {
		b, err := demo.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		total += len(b)
	}
	if total > 12_000_000 {
		t.Errorf("%d bytes of data, want at most 12 MB", total)
	}
	notice, err := demo.FS.ReadFile(demo.Notice)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"mackorone/spotify-playlist-archive", "MIT License", "Copyright (c) 2019-Present Mack Ward"} {
		if !strings.Contains(string(notice), part) {
			t.Errorf("NOTICE does not say %q", part)
		}
	}
}
