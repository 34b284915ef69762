"""What is asked with, and what is answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Union

import grpc
import numpy as np

from . import errors, roaring, values
from .v1 import (
    collection_pb2,
    exclusion_service_pb2,
    filter_pb2,
    import_service_pb2,
    item_pb2,
    profile_pb2,
    release_pb2,
    retrieval_service_pb2,
)


@dataclass(frozen=True)
class Example:
    """An item (its id) or a vector to be like or unlike. Weights are above 0 and at most 1,000."""

    of: Union[str, Any]
    weight: float = 1.0


@dataclass(frozen=True)
class Examples:
    """More like these, not like those: ids, vectors, or Example where the weight matters."""

    positive: Sequence[Union[str, Any, Example]]
    negative: Sequence[Union[str, Any, Example]] = ()
    strategy: str = "average"
    """``average``, ``best_score``, ``sum`` or ``each``: see ExampleStrategy."""

    def message(self) -> retrieval_service_pb2.Examples:
        return retrieval_service_pb2.Examples(
            positive=[_example(e) for e in self.positive],
            negative=[_example(e) for e in self.negative],
            strategy=enum(retrieval_service_pb2.ExampleStrategy, "EXAMPLE_STRATEGY_", self.strategy),
        )


@dataclass(frozen=True)
class Exclude:
    """What must not be a neighbor."""

    ids: Iterable[str] = ()
    sets: Iterable[str] = ()
    """Names of exclusion sets that the server keeps."""
    attributes: Mapping[str, Iterable[values.Value]] = field(default_factory=dict)
    """Values by attribute: an item that has one of them is excluded."""
    numbers: tuple[str, Any] | None = None
    """Name of an INT attribute and its values, 0 to 2**32 - 1: an array, or a Roaring bitmap as bytes in the portable form (of
    pyroaring, ``BitMap.serialize()``). They travel as a bitmap: for the 20,000 catalogue numbers that a listener heard."""

    def message(self) -> filter_pb2.Exclusions:
        message = filter_pb2.Exclusions(
            item_ids=values.strings("ids", self.ids),
            exclusion_sets=values.strings("sets", self.sets),
            attribute_values=[values.attribute_in(name, v) for name, v in self.attributes.items()],
        )
        if self.numbers is not None:
            name, numbers = self.numbers
            message.bitmap.attribute = name
            message.bitmap.roaring = numbers if isinstance(numbers, bytes) else roaring.encode(numbers)
        return message


@dataclass(frozen=True)
class Neighbor:
    id: str
    score: float
    """Higher is better, whatever the metric."""
    distance: float
    """Lower is closer."""
    attributes: dict[str, values.Value]
    """Those that were asked for and that the item has."""
    vector: np.ndarray | None = field(default=None, compare=False)
    """float32, as it was written; only where vectors were asked for."""
    matched_example: int | None = None
    """Position of the interest or positive example that brought it; None where there is only one query vector."""


@dataclass(frozen=True)
class SearchInfo:
    """What a search used and saw."""

    revision: int
    """A revision up to which the search saw every write."""
    plan: str
    """``graph``, ``exact`` or ``graph_filtered``."""
    completeness: str
    """``complete``, ``exhausted``, ``partial_deadline`` or ``partial_budget``."""
    shortfall_reason: str
    """Why there are fewer than k; empty where there are not."""
    ef_used: int
    distance_count: int
    hop_count: int
    matching_count: int | None
    """How many items filter and exclusions allow; None without any."""
    effort_reduced: bool
    """The server was overloaded and searched with a smaller beam."""
    seed: int
    candidate_count: int


@dataclass(frozen=True)
class Neighbors(Sequence):
    """An answer: a sequence of neighbors, best first, with what the search says of itself."""

    neighbors: tuple[Neighbor, ...]
    search_info: SearchInfo
    unresolved_ids: tuple[str, ...] = ()
    """Examples that do not exist."""
    next_page_token: str = ""

    def __len__(self) -> int:
        return len(self.neighbors)

    def __getitem__(self, i):
        return self.neighbors[i]

    @property
    def ids(self) -> list[str]:
        return [n.id for n in self.neighbors]


@dataclass(frozen=True)
class Exclusion:
    """An entry of an exclusion set."""

    id: str
    expires: datetime | None
    """With a time zone; None where it never does."""


@dataclass(frozen=True)
class Item:
    id: str
    attributes: dict[str, values.Value]
    revision: int
    vector: np.ndarray | None = field(default=None, compare=False)
    expires: datetime | None = None


@dataclass(frozen=True, eq=False)
class Profile:
    user: str
    vectors: np.ndarray
    """float32 [interests, dimension]."""
    weights: np.ndarray
    """float32 [interests]."""
    revision: int


@dataclass(frozen=True)
class Collection:
    name: str
    dimension: int
    metric: str
    """``cosine``, ``inner_product`` or ``l2``."""
    item_count: int
    revision: int
    """The newest that reads see."""


@dataclass(frozen=True)
class UpsertResult:
    written: int
    """Rows that are durable and visible."""
    revision: int
    """A search that sends it as min_revision sees all of them."""


@dataclass(frozen=True)
class Import:
    """Where an import stands."""

    job: str
    release: int
    state: str
    """``importing``, ``building``, ``ready``, ``published``, ``retired``, ``dropping`` or ``dropped``."""
    cancelled: bool
    sequence: int
    """The last batch that is durable, while it is importing."""
    accepted: int
    rejected: int
    duplicates: int
    built: int
    """Items in the graph, while it is building."""
    error: str


@dataclass(frozen=True)
class Reject:
    """A row that an import refused."""

    sequence: int
    index: int
    id: str
    reason: str
    field: str
    rule: str


@dataclass(frozen=True)
class Release:
    id: int
    state: str
    job: str
    previous: int
    """What a rollback goes back to; 0 where there is none."""
    item_count: int


def enum(kind, prefix: str, name: str) -> int:
    """A number of an enum by its name in lower case without its prefix."""
    try:
        return kind.Value(prefix + name.upper())
    except ValueError:
        names = ", ".join(n[len(prefix) :].lower() for n in kind.keys() if kind.Value(n) != 0)
        raise ValueError(f"{name!r} must be one of {names}") from None


def enum_name(kind, prefix: str, number: int) -> str:
    """The reverse. A number that this package does not know is its digits, the number 0 is empty."""
    if number == 0:
        return ""
    return kind.Name(number)[len(prefix) :].lower() if number in kind.values() else str(number)


def neighbors(m: retrieval_service_pb2.NearestNeighborsResponse) -> Neighbors:
    return Neighbors(
        tuple(_neighbor(n) for n in m.neighbors), _search_info(m.search_info), tuple(m.unresolved_ids), m.next_page_token
    )


def query_result(m: retrieval_service_pb2.QueryResult) -> Neighbors | errors.SegueError:
    if m.WhichOneof("result") == "response":
        return neighbors(m.response)
    e = m.error
    violations = (errors.Violation(e.field, e.reason, e.message),) if e.field else ()
    return errors.SegueError(_CODES.get(e.code, grpc.StatusCode.UNKNOWN), e.message, e.reason, violations)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def exclusion(m: exclusion_service_pb2.Exclusion) -> Exclusion:
    return Exclusion(m.item_id, _expires(m))


def item(m: item_pb2.Item) -> Item:
    return Item(
        m.id,
        values.attributes(m.attributes),
        m.revision,
        values.array(m.vector) if m.HasField("vector") else None,
        _expires(m),
    )


def profile(m: profile_pb2.Profile) -> Profile:
    return Profile(
        m.user_id,
        np.stack([values.array(i.vector) for i in m.interests]),
        np.asarray([i.weight or 1.0 for i in m.interests], dtype=np.float32),
        m.revision,
    )


def collection(m: collection_pb2.Collection) -> Collection:
    metric = enum_name(collection_pb2.Metric, "METRIC_", m.metric)
    return Collection(m.name, m.dimension, metric, m.item_count, m.revision)


def import_state(m: import_service_pb2.Import) -> Import:
    return Import(
        job=m.job_id,
        release=m.release,
        state=enum_name(release_pb2.ReleaseState, "RELEASE_STATE_", m.state),
        cancelled=m.cancelled,
        sequence=m.sequence,
        accepted=m.accepted_count,
        rejected=m.rejected_count,
        duplicates=m.duplicate_count,
        built=m.built_count,
        error=m.error,
    )


def reject(m: import_service_pb2.ImportReject) -> Reject:
    return Reject(m.sequence, m.index, m.id, m.reason, m.field, m.description)


def release(m: release_pb2.Release) -> Release:
    state = enum_name(release_pb2.ReleaseState, "RELEASE_STATE_", m.state)
    return Release(m.id, state, m.job_id, m.previous, m.item_count)


def _expires(m) -> datetime | None:
    return m.expire_time.ToDatetime().replace(tzinfo=timezone.utc) if m.HasField("expire_time") else None


def _example(e) -> retrieval_service_pb2.Example:
    weight = 0.0  # not set: strategies that take no weights refuse any
    if isinstance(e, Example):
        e, weight = e.of, e.weight
    if isinstance(e, str):
        return retrieval_service_pb2.Example(item_id=e, weight=weight)
    return retrieval_service_pb2.Example(vector=values.vector(e), weight=weight)


def _neighbor(m: retrieval_service_pb2.Neighbor) -> Neighbor:
    return Neighbor(
        id=m.item_id,
        score=m.score,
        distance=m.distance,
        attributes=values.attributes(m.attributes),
        vector=values.array(m.vector) if m.HasField("vector") else None,
        matched_example=m.matched_example if m.HasField("matched_example") else None,
    )


def _search_info(m: retrieval_service_pb2.SearchInfo) -> SearchInfo:
    pb = retrieval_service_pb2
    return SearchInfo(
        revision=m.revision,
        plan=enum_name(pb.Plan, "PLAN_", m.plan),
        completeness=enum_name(pb.Completeness, "COMPLETENESS_", m.completeness),
        shortfall_reason=enum_name(pb.ShortfallReason, "SHORTFALL_REASON_", m.shortfall_reason),
        ef_used=m.ef_used,
        distance_count=m.distance_count,
        hop_count=m.hop_count,
        matching_count=m.matching_count if m.HasField("matching_count") else None,
        effort_reduced=m.effort_reduced,
        seed=m.seed,
        candidate_count=m.candidate_count,
    )
