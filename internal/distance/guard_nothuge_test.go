//go:build unix && !linux

package distance

func adviseHuge([]byte) {}
