"""Errors of the server, decoded."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from . import status_pb2

DOMAIN = "segue.v1"
_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Violation:
    """One broken rule of one field of a request."""

    field: str
    """Path of the field in the request, such as ``items[3].vector``."""
    reason: str
    """A name of ErrorReason without its prefix, such as ``DIMENSION_MISMATCH``."""
    rule: str
    """What was expected and what was seen, in words."""


class SegueError(Exception):
    """A call failed. Branch on ``code`` and ``reason``; the message is for people."""

    def __init__(
        self, code: grpc.StatusCode, message: str, reason: str = "", violations: tuple[Violation, ...] = ()
    ) -> None:
        super().__init__(code, message, reason, violations)
        self.code = code
        self.message = message
        self.reason = reason
        """A name of ErrorReason without its prefix; empty where the error is not the server's own but gRPC's."""
        self.violations = violations
        """The broken rules that INVALID_ARGUMENT lists, in the server's order."""

    def __str__(self) -> str:
        return f"{self.code.name}{' ' + self.reason if self.reason else ''}: {self.message}"


class UpsertError(SegueError):
    """An upsert of several batches ended early. Rows before ``written`` are durable; of those from it on none is known to be."""

    def __init__(self, cause: SegueError, written: int, revision: int) -> None:
        moved = tuple(Violation(_move(v.field, written), v.reason, v.rule) for v in cause.violations)
        super().__init__(cause.code, cause.message, cause.reason, moved)
        self.args = (cause, written, revision)  # so that it can be pickled
        self.written = written
        """How many rows are written, from the first on. Violations count rows as the matrix does."""
        self.revision = revision
        """Revision of the last of them; 0 where there is none."""

    def __str__(self) -> str:
        return f"after {self.written} rows: {super().__str__()}"


class ImportFailed(Exception):
    """An import ended without a release that could be published: its build stopped, or it was cancelled."""


def decode(error: grpc.RpcError) -> SegueError:
    """The error of a call as a SegueError. Details that cannot be parsed are left out."""
    reason = ""
    violations: list[Violation] = []
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS:
            continue
        for detail in _parse(status_pb2.Status, value).details:
            kind = detail.type_url.rpartition("/")[2]
            if kind == "google.rpc.ErrorInfo":
                info = _parse(status_pb2.ErrorInfo, detail.value)
                if info.domain == DOMAIN:
                    reason = info.reason
            elif kind == "google.rpc.BadRequest":
                for v in _parse(status_pb2.BadRequest, detail.value).field_violations:
                    violations.append(Violation(v.field, v.reason, v.description))
    return SegueError(error.code(), error.details() or "", reason, tuple(violations))


def _parse(message_type, data: bytes):
    try:
        return message_type.FromString(data)
    except Exception:  # DecodeError, of whichever protobuf implementation runs
        return message_type()


def _move(field: str, rows: int) -> str:
    """``items[3].vector`` with its row counted from ``rows`` before."""
    if not field.startswith("items["):
        return field
    row, bracket, rest = field[len("items[") :].partition("]")
    return f"items[{int(row) + rows}]{rest}" if bracket and row.isdigit() else field
