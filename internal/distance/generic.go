package distance

// The generic kernels: plain Go, no bounds checks inside the loops, eight (float) or four (integer) partial sums. They are
// the twins that the assembly is tested against, and the only tier of race builds.
//
// The kernels of every tier have one contract. They score rows in the order of slots until the list ends or a row is not
// wholly inside rows, and return how many they scored. Callers have checked the shapes. ahead is the prefetch distance in
// rows, which Go cannot use.

// l2Row returns sum (q-r)^2. The explicit conversion of each product forbids fusing it with the addition, so that the
// result has the same bits on every architecture.
func l2Row(q, r []float32) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(q) >= 8 && len(r) >= 8 {
		d0, d1, d2, d3 := q[0]-r[0], q[1]-r[1], q[2]-r[2], q[3]-r[3]
		d4, d5, d6, d7 := q[4]-r[4], q[5]-r[5], q[6]-r[6], q[7]-r[7]
		s0 += float32(d0 * d0)
		s1 += float32(d1 * d1)
		s2 += float32(d2 * d2)
		s3 += float32(d3 * d3)
		s4 += float32(d4 * d4)
		s5 += float32(d5 * d5)
		s6 += float32(d6 * d6)
		s7 += float32(d7 * d7)
		q, r = q[8:], r[8:]
	}
	return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

// dotRow returns sum q*r; see l2Row.
func dotRow(q, r []float32) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(q) >= 8 && len(r) >= 8 {
		s0 += float32(q[0] * r[0])
		s1 += float32(q[1] * r[1])
		s2 += float32(q[2] * r[2])
		s3 += float32(q[3] * r[3])
		s4 += float32(q[4] * r[4])
		s5 += float32(q[5] * r[5])
		s6 += float32(q[6] * r[6])
		s7 += float32(q[7] * r[7])
		q, r = q[8:], r[8:]
	}
	return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

func l2RowU7(q, r []uint8) uint32 {
	var s0, s1, s2, s3 int32
	for len(q) >= 8 && len(r) >= 8 {
		d0, d1 := int32(q[0])-int32(r[0]), int32(q[1])-int32(r[1])
		d2, d3 := int32(q[2])-int32(r[2]), int32(q[3])-int32(r[3])
		d4, d5 := int32(q[4])-int32(r[4]), int32(q[5])-int32(r[5])
		d6, d7 := int32(q[6])-int32(r[6]), int32(q[7])-int32(r[7])
		s0 += d0*d0 + d4*d4
		s1 += d1*d1 + d5*d5
		s2 += d2*d2 + d6*d6
		s3 += d3*d3 + d7*d7
		q, r = q[8:], r[8:]
	}
	return uint32(s0) + uint32(s1) + uint32(s2) + uint32(s3)
}

func dotRowU7S8(q []int8, r []uint8) int32 {
	var s0, s1, s2, s3 int32
	for len(q) >= 8 && len(r) >= 8 {
		s0 += int32(q[0])*int32(r[0]) + int32(q[4])*int32(r[4])
		s1 += int32(q[1])*int32(r[1]) + int32(q[5])*int32(r[5])
		s2 += int32(q[2])*int32(r[2]) + int32(q[6])*int32(r[6])
		s3 += int32(q[3])*int32(r[3]) + int32(q[7])*int32(r[7])
		q, r = q[8:], r[8:]
	}
	return s0 + s1 + s2 + s3
}

func l2F32Generic(query, rows []float32, stride int, slots []uint32, out []float32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		out[j] = l2Row(query, rows[at:at+stride])
	}
	return len(slots)
}

func dotF32Generic(query, rows []float32, stride int, slots []uint32, out []float32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		out[j] = dotRow(query, rows[at:at+stride])
	}
	return len(slots)
}

func l2U7Generic(query, rows []uint8, stride int, slots []uint32, out []uint32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		out[j] = l2RowU7(query, rows[at:at+stride])
	}
	return len(slots)
}

func dotU7S8Generic(query []int8, rows []uint8, stride int, slots []uint32, out []int32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		out[j] = dotRowU7S8(query, rows[at:at+stride])
	}
	return len(slots)
}

func l2F32QuadGeneric(queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		row := rows[at : at+stride]
		for i, q := range queries {
			out[j][i] = l2Row(q, row)
		}
	}
	return len(slots)
}

func dotF32QuadGeneric(queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		row := rows[at : at+stride]
		for i, q := range queries {
			out[j][i] = dotRow(q, row)
		}
	}
	return len(slots)
}

func l2U7QuadGeneric(queries *[4][]uint8, rows []uint8, stride int, slots []uint32, out [][4]uint32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		row := rows[at : at+stride]
		for i, q := range queries {
			out[j][i] = l2RowU7(q, row)
		}
	}
	return len(slots)
}

func dotU7S8QuadGeneric(queries *[4][]int8, rows []uint8, stride int, slots []uint32, out [][4]int32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		row := rows[at : at+stride]
		for i, q := range queries {
			out[j][i] = dotRowU7S8(q, row)
		}
	}
	return len(slots)
}
