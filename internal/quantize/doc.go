// Package quantize makes vectors smaller: the 7-bit codec that graph traversal reads, and half precision for storage.
//
// # The 7-bit codec
//
// U7 maps a component x to the code c = round((x-Lo)/Step), clamped to 0..127, and back to Lo+c*Step. Lo and Step are the
// same for all components and all vectors: there is no training, only a range taken from the first vectors (FitU7), so
// codes exist from the first insert on. Why 7 bits and not 8: every integer instruction set then gives the same result
// (see internal/distance).
//
// One scale also makes the two distances of codes simple. With x' the decoded x, c its codes and a query y:
//
//	L2    |x'-y'|^2 = Step^2 * sum (c_i-d_i)^2          d = codes of y: distance.L2U7
//	dot   x'.y      = Mid*sum y_i + Step * sum (c_i-64) y_i      Mid = Lo+64*Step
//	                ~ Mid*sum y_i + Step*t * (sum c_i s_i - 64*sum s_i)   s_i = round(y_i/t), t = max|y|/127: distance.DotU7S8
//
// so that a bound query carries two numbers, and a row nothing beside its codes. Both are increasing in the integer, which
// can therefore be compared as it is.
//
// For the cosine of normalised vectors, prefer L2 over dot: both order alike, but the error of the first is proportional to
// the distance and vanishes between near neighbours, while that of the second is proportional to the norms (tight clusters
// in TestRecallOfCodes).
//
// # Stated errors
//
// Tests prove each of these; e is U7.ErrorBound(), about Step/2, and D the dimension.
//
//	component   |x-x'| <= e if x was not clipped
//	L2          | |x-y| - |x'-y'| | <= 2*e*sqrt(D) if nothing was clipped (distances, not squared); in general
//	            <= |x-x'| + |y-y'|
//	dot         |x.y - result| <= e*sqrt(D)*|y| + 32*Step*t*D if x was not clipped; in general
//	            <= |x-x'|*|y| + 32*Step*t*D, and rounding of float32
//	f16         relative 2^-11 from 2^-14 to 65504, absolute 2^-25 below
//
// Clipping is counted by Encode; when more than about 0.5 % of components are clipped the range has drifted, and a new
// codec should be fitted.
//
// # Determinism
//
// No function fuses a multiplication with an addition, so codes and bound queries have the same bits on every architecture.
//
// # Concurrency and non-goals
//
// U7 is a value, safe for concurrent use. Nothing here knows metrics, slots or arenas, and input is taken to be finite (a NaN is coded as 0
// and counted as clipped).
package quantize
