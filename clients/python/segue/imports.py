"""How an import is written: a stream of numbered batches that resumes, and the wait for the build."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from . import errors, results, values
from .v1 import import_service_pb2

_DELAY = 0.2  # seconds before the first repetition; then twice as long each time
_MAX_DELAY = 10.0


class Deadline:
    """A time by which something must have ended, or none."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self, most: float | None = None) -> float | None:
        """Seconds that are left, at least a millisecond (so that the call made with it reports it), at most ``most``."""
        if self._end is None:
            return most
        left = max(self._end - time.monotonic(), 0.001)
        return left if most is None else min(left, most)

    def passed(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end


@dataclass
class Rows:
    """The rows of an import. Batch s, counted from 1, is the rows from (s - 1) * batch on: the same whenever it is made."""

    collection: str
    job: str
    ids: Sequence[str]
    vectors: np.ndarray
    attributes: Sequence[values.Attributes | None] | None
    batch: int
    failure: Exception | None = None
    """What went wrong while a batch was made: gRPC, which makes them, does not pass it on."""

    def last(self) -> int:
        return -(-len(self.ids) // self.batch)

    def behind(self, acked: int) -> Iterator[import_service_pb2.WriteImportRequest]:
        try:
            for sequence in range(acked + 1, self.last() + 1):
                yield self._request(sequence)
        except Exception as error:
            self.failure = error
            raise

    def _request(self, sequence: int) -> import_service_pb2.WriteImportRequest:
        part = slice((sequence - 1) * self.batch, sequence * self.batch)
        attributes = None if self.attributes is None else self.attributes[part]
        return import_service_pb2.WriteImportRequest(
            collection=self.collection,
            job_id=self.job,
            sequence=sequence,
            items=values.items(self.ids[part], self.vectors[part], attributes),
        )


def write(method, rows: Rows, acked: int, deadline: Deadline, retries: int, metadata) -> None:
    """Streams what is behind batch ``acked``, and returns once all of it is acknowledged, that is durable."""
    failed, delay = 0, _DELAY
    while acked < rows.last():
        before = acked
        call = method(rows.behind(acked), timeout=deadline.left(), metadata=metadata)
        try:
            for answer in call:
                acked = max(acked, answer.sequence)
            if acked < rows.last():
                raise errors.ImportFailed(f"the server acknowledged batch {acked} of {rows.last()}")
        except grpc.RpcError as rpc_error:
            if rows.failure is not None:
                raise rows.failure from None
            error = errors.decode(rpc_error)
            if acked > before:
                failed, delay = 0, _DELAY
            failed += 1
            if error.code != grpc.StatusCode.UNAVAILABLE or failed > retries:
                raise error from rpc_error
        else:
            return
        finally:
            call.cancel()
        time.sleep(delay)
        delay = min(2 * delay, _MAX_DELAY)


def wait(state: Callable[[], results.Import], deadline: Deadline) -> results.Import:
    """Asks until the release of a committed import can be published."""
    delay = 0.02
    while True:
        now = state()
        if now.cancelled or now.state in ("dropping", "dropped"):
            raise errors.ImportFailed(f"import {now.job!r} was cancelled or its release {now.release} removed")
        if now.error:
            raise errors.ImportFailed(f"the build of import {now.job!r} stopped: {now.error}")
        if now.state in ("ready", "published", "retired"):
            return now
        if deadline.passed():
            message = f"import {now.job!r} is still {now.state}, {now.built} items built"
            raise errors.SegueError(grpc.StatusCode.DEADLINE_EXCEEDED, message)
        time.sleep(delay)
        delay = min(1.5 * delay, 1.0)
