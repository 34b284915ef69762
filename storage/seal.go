package storage

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// sealName is the file that says how much of Pebble's own bookkeeping must be intact.
//
// Why it exists: Pebble takes the first bad record of its MANIFEST, or of its last write-ahead log, for the
// end of the file, since a torn tail looks like that. A flipped bit in the MANIFEST then silently takes
// away every table added after it, and Open deletes the tables as garbage. The seal tells the two apart: what
// it covers was synced, so damage there is damage. It is a lower bound and lags behind by milliseconds; what it
// does not cover yet is treated as Pebble treats it.
//
// A clean seal, written by Close, covers the write-ahead logs as well. It is replaced before anything else
// when the store is opened for writing.
const sealName = "SEAL"

const sealVersion = 1

// maxSealBytes bounds what is read of a seal; a real one has a few lines.
const maxSealBytes = 64 << 10

// sealedFile says that the first size bytes of a file have this crc32c.
type sealedFile struct {
	name string
	size int64
	sum  uint32
}

type sealState struct {
	clean    bool
	manifest sealedFile
	options  sealedFile   // the whole file; name "" if unknown
	wals     []sealedFile // whole files; only if clean
}

// encodeSeal renders a seal as text, one fact a line, the last of them the checksum of the others:
//
//	segue seal 1
//	clean true
//	manifest MANIFEST-000004 312 0a1b2c3d
//	options OPTIONS-000005 1834 0a1b2c3d
//	wal 000003.log 0 00000000
//	crc32c 0a1b2c3d
func encodeSeal(st sealState) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "segue seal %d\nclean %t\n", sealVersion, st.clean)
	line := func(kind string, f sealedFile) {
		if f.name != "" {
			fmt.Fprintf(&b, "%s %s %d %08x\n", kind, f.name, f.size, f.sum)
		}
	}
	line("manifest", st.manifest)
	line("options", st.options)
	for _, w := range st.wals {
		line("wal", w)
	}
	fmt.Fprintf(&b, "crc32c %08x\n", crc32.Checksum(b.Bytes(), castagnoli))
	return b.Bytes()
}

var errSealDamaged = errors.New("storage: damaged seal")

// decodeSeal returns errSealDamaged, or a *FormatError for an intact seal of a newer version.
func decodeSeal(data []byte) (st sealState, err error) {
	body, last, ok := bytes.Cut(data, []byte("\ncrc32c "))
	if !ok {
		return st, errSealDamaged
	}
	body = data[:len(body)+1]
	if string(last) != fmt.Sprintf("%08x\n", crc32.Checksum(body, castagnoli)) {
		return st, errSealDamaged
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	version, ok := strings.CutPrefix(lines[0], "segue seal ")
	if !ok {
		return st, errSealDamaged
	}
	if version != strconv.Itoa(sealVersion) {
		return st, &FormatError{What: "seal", Where: sealName, Reason: "version " + version}
	}
	for _, l := range lines[1:] {
		f := strings.Split(l, " ")
		if len(f) == 2 && f[0] == "clean" {
			st.clean = f[1] == "true"
			continue
		}
		if len(f) != 4 {
			return st, errSealDamaged
		}
		size, err1 := strconv.ParseInt(f[2], 10, 64)
		sum, err2 := strconv.ParseUint(f[3], 16, 32)
		if err1 != nil || err2 != nil || size < 0 {
			return st, errSealDamaged
		}
		sf := sealedFile{name: f[1], size: size, sum: uint32(sum)}
		switch f[0] {
		case "manifest":
			st.manifest = sf
		case "options":
			st.options = sf
		case "wal":
			st.wals = append(st.wals, sf)
		default:
			return st, errSealDamaged
		}
	}
	return st, nil
}

// checkSeal compares the files of a store that is not open with its seal. A missing or damaged seal proves
// nothing and is reported as ok == false without an error: it is redundant, and the store may be intact.
func checkSeal(fsys vfs.FS, dir string, desc *pebble.DBDesc) (st sealState, ok bool, err error) {
	data, err := readFile(fsys, fsys.PathJoin(dir, sealName), maxSealBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return st, false, err
	}
	st, err = decodeSeal(data)
	if errors.Is(err, errSealDamaged) {
		return st, false, nil
	}
	if err != nil {
		return st, false, err
	}
	if !desc.Exists {
		return st, false, &CorruptionError{File: dir, Reason: "the MANIFEST marker is missing, but the store has a " + sealName}
	}
	// A MANIFEST other than the sealed one is newer: the process died between making it and sealing it.
	if fsys.PathBase(desc.ManifestFilename) == st.manifest.name {
		if err := st.manifest.check(fsys, dir, false); err != nil {
			return st, false, err
		}
	}
	if st.options.name != "" && fsys.PathBase(desc.OptionsFilename) == st.options.name {
		if err := st.options.check(fsys, dir, true); err != nil {
			return st, false, err
		}
	}
	for _, w := range st.wals {
		if err := w.check(fsys, dir, true); err != nil {
			return st, false, err
		}
	}
	return st, true, nil
}

// check compares the file's first size bytes, or all of it, with the seal.
func (f sealedFile) check(fsys vfs.FS, dir string, whole bool) error {
	path := fsys.PathJoin(dir, f.name)
	got, err := sumFile(fsys, path, f.size)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &CorruptionError{File: path, Reason: "the file is missing", Err: err}
	case err != nil:
		return err
	case got.total < f.size || whole && got.total != f.size:
		return &CorruptionError{File: path, Reason: fmt.Sprintf("the file has %d bytes where %d were synced", got.total, f.size)}
	case got.sum != f.sum:
		return &CorruptionError{File: path, Reason: fmt.Sprintf("checksum mismatch in the first %d bytes", f.size)}
	}
	return nil
}

// sealWhole describes a file as it is now.
func sealWhole(fsys vfs.FS, dir, name string) (sealedFile, error) {
	got, err := sumFile(fsys, fsys.PathJoin(dir, name), -1)
	return sealedFile{name: name, size: got.total, sum: got.sum}, err
}

type fileSum struct {
	total int64  // size of the file
	sum   uint32 // of its first bytes, as many as were asked
}

// sumFile sums the first limit bytes of a file, all of them if limit is negative.
func sumFile(fsys vfs.FS, path string, limit int64) (r fileSum, err error) {
	f, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return r, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return r, err
	}
	r.total = info.Size()
	if limit < 0 {
		limit = r.total
	}
	h := crc32.New(castagnoli)
	_, err = io.Copy(h, io.LimitReader(f, limit))
	r.sum = h.Sum32()
	return r, err
}

// readFile reads at most limit bytes of a file.
func readFile(fsys vfs.FS, path string, limit int64) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// writeSeal replaces the seal: a new file, synced, renamed over the old one, and the directory synced. At any
// moment of a crash one of the two is there, and either is true.
func writeSeal(fsys vfs.FS, dir string, st sealState) error {
	tmp, path := fsys.PathJoin(dir, sealName+".tmp"), fsys.PathJoin(dir, sealName)
	f, err := fsys.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(encodeSeal(st))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(tmp))
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}
