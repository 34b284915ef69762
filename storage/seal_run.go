package storage

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tailSealDelay is how long the write-ahead log must be quiet before its tail is sealed.
const tailSealDelay = 50 * time.Millisecond

// sealer keeps the seal of an open store up to date. It learns what is synced by standing between Pebble and
// the file system (pebbleFS), and writes from a goroutine of its own, since MANIFEST syncs happen under
// Pebble's locks. A seal that cannot be written is logged and no more: the old one stays true.
type sealer struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	// mu guards current and options.
	mu sync.Mutex
	// current is the synced prefix of the MANIFEST that was written last.
	current sealedFile
	options sealedFile

	// sealTail protects the tail of the write-ahead log; see Store.sealTail.
	sealTail func()
	// commits counts synced commits; the tail is sealed when it stands still for tailSealDelay. armed is set
	// while the goroutine watches it, so that commits wake it once and not each time.
	commits atomic.Uint64
	armed   atomic.Bool

	kick chan struct{} // capacity 1: current changed
	tail chan struct{} // capacity 1, sent to by who set armed
	stop chan struct{}
	done chan struct{} // closed when the goroutine has ended

	// writeMu serialises writes of the file.
	writeMu sync.Mutex
	written sealedFile // the manifest of the seal on disk; guarded by writeMu
}

func newSealer(fsys vfs.FS, dir string, log *slog.Logger, sealTail func()) *sealer {
	return &sealer{fs: fsys, dir: dir, log: log, sealTail: sealTail,
		kick: make(chan struct{}, 1), tail: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

// synced records the synced prefix of a MANIFEST.
func (k *sealer) synced(f sealedFile) {
	k.mu.Lock()
	k.current = f
	k.mu.Unlock()
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// start begins sealing. The MANIFEST marker is in place by now: during the creation of a store it is not, and
// a seal then would claim a store that a crash can still undo.
func (k *sealer) start() {
	k.loadOptions()
	k.update()
	go k.run()
}

func (k *sealer) run() {
	defer close(k.done)
	timer := time.NewTimer(tailSealDelay)
	timer.Stop()
	defer timer.Stop()
	var seen uint64
	for {
		select {
		case <-k.kick:
			k.update()
		case <-k.tail:
			seen = k.commits.Load()
			timer.Reset(tailSealDelay)
		case <-timer.C:
			if now := k.commits.Load(); now != seen {
				seen = now
				timer.Reset(tailSealDelay)
				continue
			}
			// A commit that still sees armed set was synced before the tail is sealed now.
			k.armed.Store(false)
			k.sealTail()
		case <-k.stop:
			return
		}
	}
}

// committed notes a synced commit.
func (k *sealer) committed() {
	k.commits.Add(1)
	if k.armed.CompareAndSwap(false, true) {
		k.tail <- struct{}{}
	}
}

// loadOptions notes the OPTIONS file, which Pebble writes once while opening.
func (k *sealer) loadOptions() {
	desc, err := pebble.Peek(k.dir, k.fs)
	if err != nil || desc.OptionsFilename == "" {
		return
	}
	if f, err := sealWhole(k.fs, k.dir, k.fs.PathBase(desc.OptionsFilename)); err == nil {
		k.mu.Lock()
		k.options = f
		k.mu.Unlock()
	}
}

// update writes the seal if it is behind.
func (k *sealer) update() {
	k.writeMu.Lock()
	defer k.writeMu.Unlock()
	k.mu.Lock()
	st := sealState{manifest: k.current, options: k.options}
	k.mu.Unlock()
	if st.manifest.name == "" || st.manifest == k.written {
		return
	}
	if err := writeSeal(k.fs, k.dir, st); err != nil {
		k.log.Warn("storage: cannot write the seal", "err", err)
		return
	}
	k.written = st.manifest
}

// close ends the goroutine. It must not be called before start. It does not wait for a goroutine that met a
// fatal error.
func (k *sealer) close(fatal <-chan struct{}) {
	close(k.stop)
	select {
	case <-k.done:
	case <-fatal:
	}
}

// sealClean writes the seal of a store that was closed in order.
func sealClean(fsys vfs.FS, dir string) error {
	desc, err := pebble.Peek(dir, fsys)
	if err != nil || !desc.Exists {
		return err
	}
	st := sealState{clean: true}
	if st.manifest, err = sealWhole(fsys, dir, fsys.PathBase(desc.ManifestFilename)); err != nil {
		return err
	}
	if desc.OptionsFilename != "" {
		if st.options, err = sealWhole(fsys, dir, fsys.PathBase(desc.OptionsFilename)); err != nil {
			return err
		}
	}
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			w, err := sealWhole(fsys, dir, name)
			if err != nil {
				return err
			}
			st.wals = append(st.wals, w)
		}
	}
	return writeSeal(fsys, dir, st)
}
