package hnsw

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Calibration says what recall beams reach on an index, as Calibrate has measured it. It does not change and is safe for
// concurrent use. The zero value knows nothing.
type Calibration struct {
	sample int    // queries
	live   int    // vectors then
	at     uint64 // Index.changes then; see Churn
	before uint64 // changes before at
	curves [len(calibratedShares) * len(calibratedKs)]Curve
}

// Curve is the recall of K results where a share of the slots is allowed, by the width of the beam.
type Curve struct {
	K      int
	Share  float64
	Points []CurvePoint // ascending by Ef
}

// CurvePoint is the recall at one width: the mean over the sample, and its standard error.
type CurvePoint struct {
	Ef            int
	Recall, Error float32
}

// sureOf is how many standard errors below its mean recall is believed: one in twenty samples is luckier.
const sureOf = 1.64

func (p CurvePoint) believed() float64 { return float64(p.Recall) - sureOf*float64(p.Error) }

// Sample returns how many queries the calibration rests on; 0 means that it knows nothing.
func (c *Calibration) Sample() int { return c.sample }

// Curves returns what was measured. It belongs to c.
func (c *Calibration) Curves() []Curve { return c.curves[:] }

// EfFor returns the width of the beam for a mean recall of target, 0..1, in the k nearest where a share of the slots is
// allowed; and the recall to expect. Where even the widest beam that was tried falls short, it is that one, and what is
// expected is below target. Without knowledge it is 0, 0.
//
// The promise is that mean recall is at least target, by 95 % of all samples that could have been drawn. A k between two that
// were measured is bounded by both: the nearest are found more easily than those farther off, so the beam for the larger is
// enough; and beams grow more slowly than k, so that for the smaller grown in proportion is enough. A share takes the beam of the
// measured one below it and of all above: a smaller one may have been easy only because its slots were few enough to scan, which
// those of a share between need not be. Cost: O(1).
func (c *Calibration) EfFor(target float64, k int, share float64) (ef int, expected float64) {
	if c.sample == 0 {
		return 0, 0
	}
	expected = target
	for i, measured := range calibratedShares {
		wide, reached := c.efForShare(i, target, k)
		ef, expected = max(ef, wide), min(expected, reached)
		if measured <= share {
			break
		}
	}
	return max(k, ef), expected
}

// efForShare is EfFor at the i-th of calibratedShares.
func (c *Calibration) efForShare(i int, target float64, k int) (ef int, expected float64) {
	j := 0
	for j < len(calibratedKs)-1 && k > calibratedKs[j] {
		j++
	}
	ef, expected = c.curves[i*len(calibratedKs)+j].efFor(target)
	if largest := calibratedKs[j]; k > largest {
		ef = grown(ef, k, largest)
	} else if k < largest && j > 0 {
		below, reached := c.curves[i*len(calibratedKs)+j-1].efFor(target)
		if below = grown(below, k, calibratedKs[j-1]); reached >= target && (below < ef || expected < target) {
			ef, expected = below, reached
		}
	}
	return ef, expected
}

// grown returns ef grown from one number of results to another.
func grown(ef, k, from int) int { return int(math.Ceil(float64(ef) * float64(k) / float64(from))) }

// efFor is Calibration.EfFor of one curve.
func (u *Curve) efFor(target float64) (ef int, expected float64) {
	low := CurvePoint{}
	for _, p := range u.Points {
		if p.believed() < target {
			low = p
			continue
		}
		if low.Ef == 0 {
			return p.Ef, target
		}
		// Recall is concave in ef, so a straight line between two points lies below it.
		from, to := max(0, low.believed()), p.believed()
		ef = low.Ef + int(math.Ceil(float64(p.Ef-low.Ef)*(target-from)/max(to-from, 1e-9)))
		return min(max(ef, low.Ef), p.Ef), target
	}
	return low.Ef, max(0, low.believed())
}

// staleChurn is the share of vectors that may have changed before a calibration should be made anew.
const staleChurn = 0.2

// Churn returns how many links and deletions there were in x since it was calibrated, as a share of the vectors it had.
func (c *Calibration) Churn(x *Index) float64 {
	return float64(c.before+x.changes()-c.at) / float64(max(1, c.live))
}

// Stale reports whether x has changed by more than a fifth since, or c knows nothing of an index that is not empty.
func (c *Calibration) Stale(x *Index) bool {
	if c.sample == 0 {
		return x.Len() > 0
	}
	return c.Churn(x) > staleChurn
}

// The bytes of a calibration; docs/formats/calibration.md has them.
const (
	calibrationMagic   = "SegueCal"
	calibrationVersion = 1
	calibrationHeader  = 8 + 4 + 4 + 8 + 8 + 4
	calibrationPoint   = 4 + 4 + 4
	maxCurvePoints     = 64
)

// CalibrationError says what is wrong with the bytes of a calibration.
type CalibrationError struct{ Detail string }

func (e *CalibrationError) Error() string { return "hnsw: not a calibration: " + e.Detail }

// AppendCalibration appends the bytes of c to dst, to be stored with a snapshot of x: Churn goes on where it was.
func (x *Index) AppendCalibration(dst []byte, c *Calibration) []byte {
	first := len(dst)
	le := binary.LittleEndian
	dst = append(dst, calibrationMagic...)
	dst = le.AppendUint32(dst, calibrationVersion)
	dst = le.AppendUint32(dst, uint32(c.sample))
	dst = le.AppendUint64(dst, uint64(c.live))
	dst = le.AppendUint64(dst, c.before+x.changes()-c.at)
	dst = le.AppendUint32(dst, uint32(len(c.curves)))
	for _, curve := range c.curves {
		dst = le.AppendUint32(dst, uint32(len(curve.Points)))
		for _, p := range curve.Points {
			dst = le.AppendUint32(dst, uint32(p.Ef))
			dst = le.AppendUint32(dst, math.Float32bits(p.Recall))
			dst = le.AppendUint32(dst, math.Float32bits(p.Error))
		}
	}
	return le.AppendUint32(dst, crc32.Checksum(dst[first:], crc32.MakeTable(crc32.Castagnoli)))
}

// ParseCalibration is the inverse of AppendCalibration; x is the index as it was restored, before it is changed. Errors:
// *CalibrationError.
func (x *Index) ParseCalibration(b []byte) (*Calibration, error) {
	wrong := func(format string, args ...any) (*Calibration, error) {
		return nil, &CalibrationError{Detail: fmt.Sprintf(format, args...)}
	}
	le := binary.LittleEndian
	if len(b) < calibrationHeader+4 || string(b[:8]) != calibrationMagic {
		return wrong("%d bytes that do not begin with %s", len(b), calibrationMagic)
	}
	if v := le.Uint32(b[8:]); v != calibrationVersion {
		return wrong("version %d, this version reads %d", v, calibrationVersion)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != le.Uint32(b[len(body):]) {
		return wrong("its checksum does not match")
	}
	c := &Calibration{at: x.changes()}
	sample, live, curves := le.Uint32(b[12:]), le.Uint64(b[16:]), le.Uint32(b[32:])
	c.before = le.Uint64(b[24:])
	if sample > maxSample || live > maxSlots || int(curves) != len(c.curves) {
		return wrong("%d queries, %d vectors, %d curves", sample, live, curves)
	}
	c.sample, c.live = int(sample), int(live)
	body = body[calibrationHeader:]
	for i := range c.curves {
		if len(body) < 4 {
			return wrong("curve %d is cut off", i)
		}
		n := le.Uint32(body)
		body = body[4:]
		if n > maxCurvePoints || len(body) < int(n)*calibrationPoint || n == 0 && sample > 0 {
			return wrong("curve %d of %d points", i, n)
		}
		curve := Curve{K: calibratedKs[i%len(calibratedKs)], Share: calibratedShares[i/len(calibratedKs)]}
		last := 0
		for range n {
			ef := le.Uint32(body)
			p := CurvePoint{Ef: int(ef), Recall: math.Float32frombits(le.Uint32(body[4:])), Error: math.Float32frombits(le.Uint32(body[8:]))}
			body = body[calibrationPoint:]
			if ef > maxSlots || p.Ef <= last || !(p.Recall >= 0 && p.Recall <= 1) || !(p.Error >= 0 && p.Error <= 1) {
				return wrong("curve %d has recall %g with error %g at ef %d after %d", i, p.Recall, p.Error, ef, last)
			}
			last = p.Ef
			curve.Points = append(curve.Points, p)
		}
		c.curves[i] = curve
	}
	if len(body) > 0 {
		return wrong("%d bytes too many", len(body))
	}
	return c, nil
}
