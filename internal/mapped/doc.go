// Package mapped gives memory that lies in a file, so that the system may write it out and read it again instead of keeping
// it resident.
//
// The file has no name and nothing outlives the process: it is scratch memory, not storage. Space on the disk is taken before
// it is written to (File.Back), because a full disk found out by a store to memory kills the process.
//
// Non-goals: durability, sharing between processes, systems other than Linux (ErrUnsupported).
package mapped

import "errors"

// ErrUnsupported means that this system, or the file system of the directory, cannot back memory by a file.
var ErrUnsupported = errors.New("mapped: no memory in files here")
