// Command benchpeers compares Segue with other libraries and writes docs/benchmarks.md; see package peers. Run it as `make bench-peers`.
package main
