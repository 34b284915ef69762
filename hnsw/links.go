package hnsw

import "sync/atomic"

// Rows of links are read without locks while the committer writes them, one atomic word at a time. A row holds the ids of
// a node's neighbours and then nilSlot to its end. Removing overwrites the id with the last one and then the last with
// nilSlot, so a reader on the way through may miss the moved id or meet it twice, and never sees a hole.

// row returns the links of slot on a level it has.
func (x *Index) row(slot uint32, level int) []uint32 {
	if level == 0 {
		at := int(slot) * x.m0
		return x.links0[at : at+x.m0 : at+x.m0]
	}
	at := (int(x.upperAt[slot]) + level - 1) * x.m
	return x.upper[at : at+x.m : at+x.m]
}

// rowForWrite returns the row after an open snapshot has put the slab it is in aside. The caller holds mu.
func (x *Index) rowForWrite(slot uint32, level int) []uint32 {
	if level == 0 {
		x.preserve(sectionLinks, slot)
	} else {
		x.preserve(sectionUpper, x.upperAt[slot]+uint32(level-1))
	}
	return x.row(slot, level)
}

// appendLinks appends the links of row to dst.
func appendLinks(dst, row []uint32) []uint32 {
	for i := range row {
		v := atomic.LoadUint32(&row[i])
		if v == nilSlot {
			break
		}
		dst = append(dst, v)
	}
	return dst
}

// degree returns the number of links in row.
func degree(row []uint32) int {
	n := len(row)
	for n > 0 && atomic.LoadUint32(&row[n-1]) == nilSlot {
		n--
	}
	return n
}

// linkIndex returns where id is in row, or -1.
func linkIndex(row []uint32, id uint32) int {
	for i := range row {
		switch atomic.LoadUint32(&row[i]) {
		case id:
			return i
		case nilSlot:
			return -1
		}
	}
	return -1
}

// setRow replaces all links of a row that no reader can reach yet, or that it was emptied for.
func setRow(row, ids []uint32) {
	for i := range row {
		id := uint32(nilSlot)
		if i < len(ids) {
			id = ids[i]
		}
		atomic.StoreUint32(&row[i], id)
	}
}

// addLink appends v to the row of u, which has room. The caller holds mu.
func (x *Index) addLink(u, v uint32, level int) {
	row := x.rowForWrite(u, level)
	atomic.StoreUint32(&row[degree(row)], v)
}

// removeLink takes v out of the row of u; nothing happens if it is not there. The caller holds mu.
func (x *Index) removeLink(u, v uint32, level int) {
	row := x.rowForWrite(u, level)
	at := linkIndex(row, v)
	if at < 0 {
		return
	}
	last := degree(row) - 1
	atomic.StoreUint32(&row[at], atomic.LoadUint32(&row[last]))
	atomic.StoreUint32(&row[last], nilSlot)
}

// join links u and v both ways; both have room. The caller holds mu.
func (x *Index) join(u, v uint32, level int) {
	x.addLink(u, v, level)
	x.addLink(v, u, level)
}

// part removes the link u-v at both ends. The caller holds mu.
func (x *Index) part(u, v uint32, level int) {
	x.removeLink(u, v, level)
	x.removeLink(v, u, level)
}

func (x *Index) hasRoom(slot uint32, level int) bool {
	row := x.row(slot, level)
	return atomic.LoadUint32(&row[len(row)-1]) == nilSlot
}
