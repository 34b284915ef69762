//go:build !linux

package background

func lower() bool { return false }
