"""Python values as messages, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Union

import numpy as np

from .v1 import attribute_pb2, filter_pb2, item_pb2, vector_pb2


class Markets(frozenset):
    """The value of an attribute of type MARKETS: a set of codes of two capital letters. Empty means nowhere."""


Value = Union[str, Sequence[str], bool, int, float, datetime, Markets]
"""A value of an attribute. KEYWORD is a string or several; TIMESTAMP a datetime with a time zone."""

Attributes = Mapping[str, Value]


def vector(v: Any) -> vector_pb2.Vector:
    """A row of n numbers as a message."""
    a = floating(v)
    if a.ndim != 1:
        raise ValueError(f"a vector has 1 axis, not {a.ndim}")
    return _encode(a)


def matrix(m: Any, rows: int) -> np.ndarray:
    """An array [rows, n] of float16 or float32."""
    a = floating(m)
    if a.ndim != 2 or a.shape[0] != rows:
        raise ValueError(f"vectors must have shape [{rows}, dimension], one row for each id, not {list(a.shape)}")
    return a


def floating(v: Any) -> np.ndarray:
    """Numbers as float16, if that is what they are, else as float32."""
    a = np.asarray(v)
    if a.dtype.kind not in "fiu":
        raise TypeError(f"a vector is of numbers, not of {a.dtype}")
    if a.dtype.kind == "f" and a.dtype.itemsize == 2:
        return a
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes an infinity, which the server names
        return a.astype(np.float32, copy=False)


def _encode(row: np.ndarray) -> vector_pb2.Vector:
    if row.dtype.itemsize == 2:
        return vector_pb2.Vector(float16_le=row.astype("<f2", copy=False).tobytes())
    return vector_pb2.Vector(float32_le=row.astype("<f4", copy=False).tobytes())


def array(v: vector_pb2.Vector) -> np.ndarray:
    """The vector of a response as a float32 array of its own."""
    if v.WhichOneof("encoding") == "float32_le":
        return np.frombuffer(v.float32_le, dtype="<f4").astype(np.float32)
    return np.asarray(v.floats.values, dtype=np.float32)


def value(v: Value) -> attribute_pb2.AttributeValue:
    """A value of an attribute as a message, of the kind that its Python type stands for."""
    out = attribute_pb2.AttributeValue()
    if isinstance(v, str):
        out.keywords.values.append(v)
    elif isinstance(v, Markets):
        out.markets.SetInParent()
        out.markets.codes.extend(sorted(v))
    elif isinstance(v, (bool, np.bool_)):
        out.bool_value = bool(v)
    elif isinstance(v, (int, np.integer)):
        out.int_value = int(v)
    elif isinstance(v, (float, np.floating)):
        out.float_value = float(v)
    elif isinstance(v, datetime):
        if v.utcoffset() is None:
            raise ValueError(f"{v!r} has no time zone")
        out.timestamp_value.FromDatetime(v.astimezone(timezone.utc).replace(tzinfo=None))
    elif isinstance(v, Sequence) and not isinstance(v, (bytes, bytearray)) and all(isinstance(s, str) for s in v):
        out.keywords.SetInParent()
        out.keywords.values.extend(v)
    else:
        raise TypeError(f"{type(v).__name__} is no type of attribute values")
    return out


def python(v: attribute_pb2.AttributeValue) -> Value:
    """The value of an attribute of a response. A KEYWORD is always a list, since it may hold several strings."""
    kind = v.WhichOneof("kind")
    if kind == "keywords":
        return list(v.keywords.values)
    if kind == "markets":
        return Markets(v.markets.codes)
    if kind == "timestamp_value":
        return v.timestamp_value.ToDatetime().replace(tzinfo=timezone.utc)
    return getattr(v, kind)


def attributes(message: Mapping[str, attribute_pb2.AttributeValue]) -> dict[str, Value]:
    return {name: python(v) for name, v in message.items()}


def items(
    ids: Sequence[str],
    m: np.ndarray,
    rows: Sequence[Attributes | None] | None,
    expires: Sequence[datetime | None] | None = None,
    if_revisions: Sequence[int | None] | None = None,
) -> Iterator[item_pb2.Item]:
    """The rows of an upload, made as they are asked for."""
    for i, row in enumerate(m):
        out = item_pb2.Item(id=ids[i], vector=_encode(row))
        if expires is not None and expires[i] is not None:
            out.expire_time.CopyFrom(value(expires[i]).timestamp_value)
        if if_revisions is not None and if_revisions[i] is not None:
            out.if_revision = int(if_revisions[i])
        for name, v in (rows[i] or {} if rows is not None else {}).items():
            out.attributes[name].CopyFrom(value(v))
        yield out


def strings(what: str, v: Iterable[str]) -> list[str]:
    """A list of strings. One string is refused, since as an iterable it would be its letters."""
    if isinstance(v, str):
        raise TypeError(f"{what} must be several strings, not the string {v!r}")
    return list(v)


def attribute_in(name: str, values: Iterable[Value]) -> filter_pb2.AttributeIn:
    if isinstance(values, str):
        raise TypeError(f"the values of {name} must be several, not the string {values!r}")
    return filter_pb2.AttributeIn(attribute=name, values=[value(v) for v in values])
