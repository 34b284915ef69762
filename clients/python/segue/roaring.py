"""Numbers as a 32-bit Roaring bitmap, in the portable form that https://github.com/RoaringBitmap/RoaringFormatSpec describes."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_COOKIE = 12346  # of a bitmap without containers of runs
_ARRAY_MOST = 4096  # the most values of a container that is a list


def encode(numbers: Any) -> bytes:
    """Whole numbers from 0 to 2**32 - 1, in any order; they may repeat."""
    a = np.asarray(numbers)
    if a.size == 0:
        a = a.astype(np.uint32)
    if a.dtype.kind not in "iu":
        raise TypeError(f"a bitmap is of whole numbers, not of {a.dtype}")
    if a.size and not 0 <= int(a.min()) <= int(a.max()) < 1 << 32:
        raise ValueError(f"a bitmap is of numbers from 0 to {2**32 - 1}, not {a.min()} to {a.max()}")
    a = np.unique(a).astype(np.uint32)
    highs, starts, counts = np.unique(a >> 16, return_index=True, return_counts=True)
    bodies = [_container(a[at : at + n] & 0xFFFF) for at, n in zip(starts, counts)]
    lengths = np.array([0, *map(len, bodies)][: len(bodies)], dtype=np.int64)
    offsets = 8 + 8 * len(bodies) + np.cumsum(lengths)
    return b"".join([
        struct.pack("<II", _COOKIE, len(bodies)),
        np.column_stack((highs, counts - 1)).astype("<u2").tobytes(),
        offsets.astype("<u4").tobytes(),
        *bodies,
    ])


def _container(lows: np.ndarray) -> bytes:
    """A list of the low halves, or a bit for each of the 65,536, whichever is shorter."""
    if len(lows) <= _ARRAY_MOST:
        return lows.astype("<u2").tobytes()
    bits = np.zeros(1 << 16, dtype=bool)
    bits[lows] = True
    return np.packbits(bits, bitorder="little").tobytes()
