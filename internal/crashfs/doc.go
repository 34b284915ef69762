// Package crashfs is the file system of tests that lose power: in memory, and able to show at any moment what a loss would leave.
package crashfs
