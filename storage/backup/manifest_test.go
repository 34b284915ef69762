package backup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/storage"
)

// seal adds the checksum of a manifest.
func seal(body string) []byte {
	return fmt.Appendf(nil, "%ssha256 %x\n", body, sha256.Sum256([]byte(body)))
}

func writer(data []byte) func(io.Writer) error {
	return func(w io.Writer) error { _, err := w.Write(data); return err }
}

func sampleManifest() *manifest {
	sum := func(c string) string { return strings.Repeat(c, 64) }
	return &manifest{
		Info: Info{Number: 7, CreateTime: time.Date(2026, 3, 1, 4, 5, 6, 0, time.UTC), Files: 3, SizeBytes: 1100, SentBytes: 100,
			Positions: []Position{{"tracks", 1, 500}, {"tracks", 2, 500}}},
		Files: []file{{"000004.sst", 1000, sum("a"), 5}, {"MANIFEST-000001", 100, sum("0"), 7}, {"marker.manifest.000001.MANIFEST-000001", 0, sum("e"), 1}},
	}
}

// The bytes of a manifest, and what a reader makes of them: the right thing, or it says that they are damaged.
func TestGoldenManifest(t *testing.T) {
	m := sampleManifest()
	text, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "manifest-v1.txt")
	if os.Getenv("SEGUE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("the format has changed; if that is meant, see docs/formats/backup.md: %s", diff)
	}
	got, err := decodeManifest(manifestObject(7), want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Error(diff)
	}
	var damage *DamageError
	for i := range want {
		flipped := []byte(string(want))
		flipped[i] ^= 4
		for how, b := range map[string][]byte{"flipped": flipped, "cut": want[:i]} {
			if _, err := decodeManifest(manifestObject(7), b); !errors.As(err, &damage) || damage.Object != manifestObject(7) {
				t.Errorf("%s at %d: %v", how, i, err)
			}
		}
	}
	if _, err := decodeManifest(manifestObject(8), want); !errors.As(err, &damage) {
		t.Errorf("under another number: %v", err)
	}
}

// Manifests with a right checksum that no program of ours writes: what they would make a restore do is refused.
func TestImpossibleManifests(t *testing.T) {
	for name, change := range map[string]func(*manifest){
		"a path":             func(m *manifest) { m.Files[0].Name = "../../etc/passwd" },
		"an absolute path":   func(m *manifest) { m.Files[0].Name = "/etc/passwd" },
		"the parent":         func(m *manifest) { m.Files[0].Name = ".." },
		"no name":            func(m *manifest) { m.Files[0].Name = "" },
		"the lock":           func(m *manifest) { m.Files[0].Name = "LOCK" },
		"the mark":           func(m *manifest) { m.Files[0].Name = "RESTORING" },
		"a name twice":       func(m *manifest) { m.Files[0].Name = m.Files[1].Name },
		"a negative size":    func(m *manifest) { m.Files[0].Size, m.SizeBytes = -1, 99 },
		"a wrong sum":        func(m *manifest) { m.SizeBytes++ },
		"a path as checksum": func(m *manifest) { m.Files[0].SHA256 = "../../x" },
		"a later backup":     func(m *manifest) { m.Files[0].Backup = 8 },
		"no backup":          func(m *manifest) { m.Files[0].Backup = 0 },
		"another number":     func(m *manifest) { m.Number = 6 },
	} {
		m := sampleManifest()
		change(m)
		text, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		var damage *DamageError
		if _, err := decodeManifest(manifestObject(7), text); !errors.As(err, &damage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A manifest of a newer version is refused as such, and everything that needs it with it.
func TestNewerManifestIsRefused(t *testing.T) {
	target := targets(t)["directory"]
	s := newSource(t)
	s.create(t, target)
	text, err := sampleManifest().encode()
	if err != nil {
		t.Fatal(err)
	}
	newer := seal(strings.Replace(string(text[:len(text)-len("sha256 \n")-64]), "segue backup 1", "segue backup 2", 1))
	if err := target.create(t.Context(), manifestObject(7), false, writer(newer)); err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"restore": func() error { _, err := target.Restore(t.Context(), 0, vfs.NewMem(), "new"); return err },
		"create":  func() error { _, err := s.tryCreate(t, target); return err },
		"verify":  func() error { return target.Verify(t.Context(), nil, func(*DamageError) {}) },
		"prune":   func() error { _, err := target.Prune(t.Context(), 1); return err },
	} {
		if err := try(); !errors.Is(err, storage.ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := target.Restore(t.Context(), 1, vfs.NewMem(), "new"); err != nil {
		t.Errorf("the older one: %v", err)
	}
}

func TestNumberOf(t *testing.T) {
	for name, want := range map[string]uint64{
		manifestObject(3):                                      3,
		fileObject(12, strings.Repeat("a", 64)):                12,
		manifestObject(3) + partSuffix + "abc":                 3,
		"backups/x":                                            0,
		"files/00000000000000000000/x":                         0,
		"files/-0000000000000000001/x":                         0,
		"other/00000000000000000001":                           0,
		fmt.Sprintf("files/%s/x", strings.Repeat("9", 20)):     0,
		fmt.Sprintf("backups/%020d.manifest", uint64(1<<64-1)): 1<<64 - 1,
	} {
		if n, ok := numberOf(name); n != want && ok || ok != (want != 0) {
			t.Errorf("%q: %d, %v", name, n, ok)
		}
	}
}

// What is decoded is refused, or encodes to a manifest that decodes to the same.
func FuzzDecodeManifest(f *testing.F) {
	text, err := sampleManifest().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text[:len(text)-len("sha256 \n")-64]))
	f.Add("segue backup 1\n{}")
	f.Fuzz(func(t *testing.T, body string) {
		m, err := decodeManifest(manifestObject(7), seal(body))
		if err != nil {
			var damage *DamageError
			if !errors.As(err, &damage) && !errors.Is(err, storage.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		m2, err := decodeManifest(manifestObject(7), again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, m2); diff != "" {
			t.Error(diff)
		}
		for _, f := range m.Files {
			if filepath.Base(f.Name) != f.Name || f.Name == ".." {
				t.Errorf("file name %q", f.Name)
			}
		}
	})
}

// A backup that format 1 made restores, for ever. SEGUE_UPDATE_GOLDEN=1 makes it anew where it is missing.
func TestGoldenBackup(t *testing.T) {
	target := &Target{objects: &directory{fs: vfs.Default, root: filepath.Join("testdata", "backup-v1")}, log: slogDiscard()}
	const lsn = 12
	if os.Getenv("SEGUE_UPDATE_GOLDEN") != "" && numbersOf(t, target) == nil {
		s := newSource(t)
		for range 2 {
			if err := s.write(lsn / 2); err != nil {
				t.Fatal(err)
			}
			if err := s.store.Close(); err != nil {
				t.Fatal(err)
			}
			s.open(t)
			s.create(t, target)
		}
	}
	if diff := cmp.Diff([]uint64{1, 2}, numbersOf(t, target)); diff != "" {
		t.Fatal(diff)
	}
	if found := verify(t, target); found != nil {
		t.Error(found)
	}
	for n, at := range []uint64{lsn / 2, lsn} {
		if diff := cmp.Diff(expect(at), restored(t, target, uint64(n+1))); diff != "" {
			t.Errorf("backup %d: %s", n+1, diff)
		}
	}
}
