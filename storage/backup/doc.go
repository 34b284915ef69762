// Package backup keeps copies of a store elsewhere: in a directory, or in an object store through gocloud.dev/blob.
//
// # Layout of a target
//
//	backups/00000000000000000007.manifest manifest of backup 7: the commit point, written last
//	files/00000000000000000007/SHA256     a file that backup 7 was the first to need
//
// A manifest names every file of a store with its size and SHA-256, and the backup that brought it. Files of a store never
// change once they are complete, so a backup sends what the one before it does not have. docs/formats/backup.md has the
// bytes.
//
// # Invariants
//
//   - A manifest exists only if every file it names does. A backup is there as a whole or not at all, whatever crashes.
//   - Numbers ascend: a manifest is created, never replaced, and backup n is made from what backup n-1 has. Of two that
//     are made at once one commits; the other fails with ErrConflict.
//   - Prune never removes the newest backup, nor a file above its number. So it cannot take away what a backup under way
//     relies on: that is either a file of the newest backup, or one above it. No lock, no lease, and no clock is needed.
//   - What an attempt that failed has sent is used by the next one, and removed by Prune once that has committed.
//
// # Concurrency
//
// A Target is safe for concurrent use, also by several processes. An object appears as a whole or not at all: object stores
// work like that, and in a directory a file is written under another name, synced, and linked.
//
// Non-goals: encryption and retention by age, which object stores do better; several stores in one target, which works, but
// whose backups cannot be told apart but by their collections.
package backup
