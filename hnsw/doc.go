// Package hnsw is an approximate-nearest-neighbour index over vectors in slots: a Hierarchical Navigable Small World graph
// (Malkov & Yashunin 2018) that can be searched, extended and thinned out at the same time.
//
// It is an algorithm and its memory, nothing else: no I/O, no item ids, no clock, no goroutine of its own.
//
// # Vocabulary
//
// A slot is a dense uint32: the position of one vector, of its node and of the node's links. A slot is live from the end of
// Link to the beginning of Delete, and in limbo from then until nobody can stand on it. A link of level l joins two nodes
// whose level is l or more. The entry point is the node where every search begins. The committer is whoever holds Index.mu.
//
// # Layout
//
// Vectors, links of level 0, links of the levels above, and what little else there is lie in arenas: pointer-free memory
// that is reserved once for Options.MaxSlots slots, never moves, and becomes resident where it is touched. On Linux arenas
// are outside the Go heap and on huge pages (arena_mmap.go, the only file here that uses unsafe); elsewhere, and under the
// race detector, they are slices.
//
//	vectors   slot x stride float32    stride = Dim rounded up to 16, zeros after Dim; or half floats, to 32 (vectors.go)
//	links0    slot x 2M uint32         neighbours on level 0, then nil to the end of the row; no count
//	upper     row x M uint32           slot has one row a level, at upperAt[slot]+level-1
//	parents   slot uint32              parent in the tree of links, or the state of the slot
//	live      slot bit
//	codes     slot x 7-bit codes, Dim rounded up to 64 bytes, or nibbles in half of that; only while walks read them (codes.go)
//
// # Invariants
//
// Check verifies them all:
//
//   - u has a two-way link to v if and only if v has one to u, on every level. So the in-neighbours of a node are known
//     without a search, and a deletion leaves no two-way link to it behind.
//   - Rows hold live nodes that have the level, no self, no duplicate. Only InnerProduct has one-way links, and only they
//     may lead to a slot that is not live.
//   - A live node has at least min(4, n-1) links on level 0, n being the number of live nodes; min(1, n-1) two-way ones
//     under InnerProduct.
//   - The tree of links spans the live nodes: every one but the root has a parent among its level-0 neighbours, and such a
//     link is never dropped to make room. Therefore every live node is reachable from every other on level 0.
//   - The entry point is live and on the highest level of any live node.
//   - A vector does not change while its slot is live or in limbo.
//
// # Where this departs from the paper
//
// Links are two-way, so a full row that drops a link drops it at both ends. The paper lets the other end keep its half;
// with links on both ends or none, deletion needs no reverse lists, and finds every in-neighbour in O(M). A full row gives
// up one dominated link instead of being chosen anew (victims.victim). Under InnerProduct the other end does keep
// its half, as a one-way link (links.go): hubs of large norm cannot link back to everybody whose neighbours they are.
//
// Links between clusters. A graph grown at random has them from its first nodes. Replacing its nodes wears them out: a node
// that comes into a cluster wider than its beam meets nobody else, rows that fill up drop the farthest first, and a deletion
// pairs off neighbours of one cluster. Then searches end in the wrong cluster, at any ef. So a new node also picks among what its
// walk saw of level 1 (Searcher.lookFurther), a full row gives up the link with the shortest detour (victims.victim), and a
// deletion keeps together what the deleted node connected (committer.connect). See docs/adr/0008-links-between-clusters.md.
//
// A new node takes up to M diverse links on level 0 and is filled to M/2 (Index.linkBudget). Levels come from a hash of the
// slot (level.go). The tree of links is not in the paper; see tree.go. At most 4 candidates at one distance are linked,
// because thousands of copies of one vector would otherwise be each other's only neighbours.
//
// # Searches
//
// Search walks from the entry point down to level 0 (searcher_descend.go) and there widens a beam until nothing near is left
// (searcher_reach.go). With a filter the beam holds allowed slots only
// and the walk goes through others where it must (searcher_filter.go); or it scans what is allowed, whichever costs less
// (cost.go). Begin and More are a search that can be continued, of one or several queries (searcher_more.go,
// searcher_apart.go). No search returns fewer than K where K slots are allowed and live: the scan has the last word.
//
// # Backlog
//
// A slot that was allocated can be found before it is linked (Index.Await), and a live one kept out of results before it is
// deleted (Index.Hide); see backlog.go.
//
// # Concurrency
//
// Readers are wait-free: they load link words atomically, and whatever mixture of old and new links they see names slots
// that they may read. A held Searcher pins an epoch, and no slot it could meet is reused before Release. Link has two
// phases: any number of goroutines search for neighbours, and for the links that full rows will give up; then, one at a time,
// they commit. A commit drops candidates that died and compares with the nodes committed since its search began, writes the
// node's own rows, then its neighbours' rows, whose victims it chooses itself only where they have changed meanwhile.
// Delete and BeginSnapshot are commits too. There is one lock order: Index.mu, then Index.allocMu; growMu and Snapshot.mu are
// taken last.
//
// # Determinism
//
// The same calls in the same order give the same graph and the same results. Results are ordered by distance and then by
// slot. Concurrent Links commit in an order that is not determined.
//
// # Non-goals
//
// What a filter means: it comes as a set of slots. Persistence belongs to the caller: BeginSnapshot and NewRestorer exchange
// bytes, never files.
package hnsw
