"""The client."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import grpc

from . import connection, errors, imports, results, values
from .v1 import (
    attribute_pb2,
    collection_pb2,
    collection_service_pb2,
    collection_service_pb2_grpc,
    exclusion_service_pb2,
    exclusion_service_pb2_grpc,
    filter_pb2,
    import_service_pb2,
    import_service_pb2_grpc,
    item_pb2,
    item_service_pb2,
    item_service_pb2_grpc,
    profile_pb2,
    profile_service_pb2,
    profile_service_pb2_grpc,
    release_pb2,
    release_service_pb2,
    release_service_pb2_grpc,
    retrieval_service_pb2,
    retrieval_service_pb2_grpc,
)

_BATCH_BYTES = 1 << 20  # of an upsert; a row that is larger travels alone
_BATCH_IDS = 10_000  # of one call: what the API takes
_PATIENCE = 60.0  # seconds that a write waits for a server that is away


class Client:
    """A connection to one server; safe for use by several threads, and a context manager.

    target is HOST:PORT or any gRPC target, such as ``unix:/run/segue``. A token is sent with every call. A plaintext connection to
    another machine must be allowed, and never carries a token. timeout, in seconds, bounds every call that does not say otherwise.
    Calls that are safe to repeat are repeated up to 5 times while the server is UNAVAILABLE. With round_robin calls take turns over all
    addresses that the name in target has, of those servers that say they serve: for queries of several replicas, which are servers of
    their own; write to each, and use a min_revision only with the server that gave it.

    Every method raises SegueError where the call fails, and ValueError or TypeError for arguments that cannot be sent.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        token: str | None = None,
        *,
        tls: connection.TLS | None = None,
        allow_plaintext: bool = False,
        round_robin: bool = False,
        timeout: float = 10.0,
    ) -> None:
        self.channel = connection.dial(target, token, tls, allow_plaintext, round_robin)
        """The connection below, for stubs of segue.v1. They do not send the token: give them ``metadata``."""
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout = timeout
        self._retrieval = retrieval_service_pb2_grpc.RetrievalServiceStub(self.channel)
        self._items = item_service_pb2_grpc.ItemServiceStub(self.channel)
        self._exclusions = exclusion_service_pb2_grpc.ExclusionServiceStub(self.channel)
        self._profiles = profile_service_pb2_grpc.ProfileServiceStub(self.channel)
        self._collections = collection_service_pb2_grpc.CollectionServiceStub(self.channel)
        self._imports = import_service_pb2_grpc.ImportServiceStub(self.channel)
        self._releases = release_service_pb2_grpc.ReleaseServiceStub(self.channel)

    def close(self) -> None:
        """Ends the connection. Calls under way fail with CANCELLED."""
        self.channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Retrieval.

    def neighbors(
        self,
        collection: str,
        *,
        vector: Any = None,
        item: str | None = None,
        user: str | None = None,
        examples: results.Examples | None = None,
        k: int = 10,
        filter: str | filter_pb2.Filter | None = None,
        exclude: Iterable[str] | results.Exclude = (),
        ef: int | None = None,
        target_recall: float | None = None,
        exact: bool = False,
        attributes: bool | Iterable[str] = False,
        vectors: bool = False,
        min_revision: int = 0,
        min_score: float | None = None,
        model: tuple[str, str] | None = None,
        base: retrieval_service_pb2.NearestNeighborsRequest | None = None,
        timeout: float | None = None,
    ) -> results.Neighbors:
        """The k nearest items to exactly one of vector, item, user and examples, best first, ties by id.

        filter is an expression (``'artists : "Miles Davis" AND released >= 1959'``) or a message; exclude is ids, or an Exclude.
        The search is approximate with a beam of ef (default: the server's choice), or with the least work that the server knows
        to reach target_recall, unless exact is set. attributes says which come
        with each neighbor: True for all, or names. min_revision is what a write answered with: the search sees that write. model
        is the name and version of what made the vector. What has no argument here (diversity, boosts, pages) can be set in
        base: exclude and attributes add to it, other arguments replace what they name.
        """
        given = {"vector": vector, "item": item, "user": user, "examples": examples}
        named = [name for name, v in given.items() if v is not None]
        if len(named) > 1 or (not named and (base is None or not base.HasField("query"))):
            raise ValueError(f"give exactly one of vector, item, user and examples, not {' and '.join(named) or 'none'}")
        request = _search(
            collection,
            k=k,
            filter=filter,
            exclude=exclude,
            ef=ef,
            target_recall=target_recall,
            exact=exact,
            attributes=attributes,
            vectors=vectors,
            min_revision=min_revision,
            min_score=min_score,
            model=model,
            base=base,
        )
        if vector is not None:
            request.query.vector.CopyFrom(values.vector(vector))
        elif item is not None:
            request.query.item_id = item
        elif user is not None:
            request.query.user_id = user
        elif examples is not None:
            request.query.examples.CopyFrom(examples.message())
        return results.neighbors(self._call(self._retrieval.NearestNeighbors, request, timeout))

    def batch_neighbors(
        self,
        collection: str,
        *,
        vectors: Any = None,
        items: Iterable[str] | None = None,
        users: Iterable[str] | None = None,
        excludes: Sequence[Iterable[str] | results.Exclude] | None = None,
        include_vectors: bool = False,
        batch: int = 200,
        timeout: float | None = None,
        **options: Any,
    ) -> list[results.Neighbors | errors.SegueError]:
        """Many queries: one for each row of vectors, [n, dimension], or each id of items, or each of users. options are those of
        neighbors, from k on, and hold for all (its vectors is include_vectors here); excludes[i] is left out of query i besides.

        Answer i is to query i: what neighbors would have returned, or, where the query failed for itself, the SegueError that it would
        have raised. Queries travel in calls of at most ``batch``, 1 to 1,000, which the server answers on all its cores; timeout bounds
        each call. Where a call fails as a whole, its SegueError is raised and the answers before it are lost.
        """
        if (vectors is not None) + (items is not None) + (users is not None) != 1:
            raise ValueError("give exactly one of vectors, items and users")
        if not 1 <= batch <= 1000:
            raise ValueError(f"batch is {batch}, must be 1 to 1,000")
        common = _search(collection, vectors=include_vectors, **options)
        if vectors is not None:
            m = values.floating(vectors)
            if m.ndim != 2:
                raise ValueError(f"vectors must have shape [queries, dimension], not {list(m.shape)}")
            queries = [retrieval_service_pb2.Query(vector=values.vector(row)) for row in m]
        elif items is not None:
            queries = [retrieval_service_pb2.Query(item_id=i) for i in values.strings("items", items)]
        else:
            queries = [retrieval_service_pb2.Query(user_id=u) for u in values.strings("users", users)]
        if excludes is not None and len(excludes) != len(queries):
            raise ValueError(f"{len(excludes)} excludes for {len(queries)} queries")
        answers: list[results.Neighbors | errors.SegueError] = []
        for first in range(0, len(queries), batch):
            request = retrieval_service_pb2.BatchNearestNeighborsRequest(collection=collection)
            for i, query in enumerate(queries[first : first + batch], first):
                one = request.requests.add()
                one.CopyFrom(common)
                one.query.CopyFrom(query)
                if excludes is not None:
                    one.exclusions.MergeFrom(_exclusions(excludes[i]))
            answer = self._call(self._retrieval.BatchNearestNeighbors, request, timeout)
            answers += (results.query_result(r) for r in answer.results)
        return answers

    # Items.

    def upsert(
        self,
        collection: str,
        ids: Sequence[str],
        vectors: Any,
        attributes: Sequence[values.Attributes | None] | None = None,
        *,
        expires: Sequence[datetime | None] | None = None,
        if_revisions: Sequence[int | None] | None = None,
        batch: int = 256,
        model: tuple[str, str] | None = None,
        patience: float = _PATIENCE,
    ) -> results.UpsertResult:
        """Writes items: row i of vectors, [n, dimension] of float32 or float16, under ids[i] with attributes[i].

        Rows travel in order, in batches of at most ``batch`` rows and about 1 MiB, each all or nothing. A batch is repeated while
        the server is UNAVAILABLE, for at most patience seconds: an upsert may be, and no later batch is under way. UpsertError
        says how many rows are written before the batch that failed. Where an id comes twice the later row stands.

        Item i expires at expires[i], and is written only if it is at revision if_revisions[i], or, with 0, if there is none;
        else its batch fails with ABORTED and REVISION_MISMATCH. None is never, and unconditionally.
        """
        rows = _check_rows(ids, attributes, batch)
        for name, column in (("expires", expires), ("if_revisions", if_revisions)):
            if column is not None and len(column) != rows:
                raise ValueError(f"{len(column)} {name} for {rows} ids")
        m = values.matrix(vectors, rows)
        written, revision = 0, 0
        for items in _batches(values.items(ids, m, attributes, expires, if_revisions), batch):
            request = item_service_pb2.BatchUpsertItemsRequest(collection=collection, items=items)
            if model is not None:
                request.embedding_model.CopyFrom(_model(model))
            try:
                answer = self._call_patiently(self._items.BatchUpsertItems, request, patience)
            except errors.SegueError as error:
                raise errors.UpsertError(error, written, revision) from error
            written, revision = written + len(items), answer.revision
        return results.UpsertResult(written, revision)

    def get(
        self, collection: str, ids: Iterable[str], *, vectors: bool = False
    ) -> tuple[list[results.Item], list[str]]:
        """The items of at most 10,000 ids that exist, in the order of ids, and the ids that have none."""
        answer = self._call(
            self._items.BatchGetItems,
            item_service_pb2.BatchGetItemsRequest(
                collection=collection, item_ids=values.strings("ids", ids), include_vectors=vectors
            ),
        )
        return [results.item(m) for m in answer.items], list(answer.missing_ids)

    def delete(self, collection: str, ids: Iterable[str]) -> tuple[int, list[str]]:
        """Deletes the items of at most 10,000 ids. Returns the revision, and the ids that had no item."""
        answer = self._call(
            self._items.BatchDeleteItems,
            item_service_pb2.BatchDeleteItemsRequest(collection=collection, item_ids=values.strings("ids", ids)),
        )
        return answer.revision, list(answer.missing_ids)

    # Profiles.

    def upsert_profile(
        self, collection: str, user: str, vectors: Any, weights: Iterable[float] | None = None
    ) -> int:
        """Writes what a user likes: 1 to 16 interests, [n, dimension] (or one, [dimension]). Returns the revision."""
        m = values.floating(vectors)
        m = m[None, :] if m.ndim == 1 else m
        w = [0.0] * len(m) if weights is None else [float(x) for x in weights]
        if m.ndim != 2 or len(w) != len(m):
            raise ValueError(f"vectors of shape {list(m.shape)} with {len(w)} weights: one weight for each row is needed")
        interests = [profile_pb2.Interest(vector=values.vector(row), weight=x) for row, x in zip(m, w)]
        request = profile_service_pb2.UpsertProfileRequest(
            collection=collection, profile=profile_pb2.Profile(user_id=user, interests=interests)
        )
        return self._call(self._profiles.UpsertProfile, request).revision

    def get_profile(self, collection: str, user: str) -> results.Profile:
        """The profile of a user. NOT_FOUND with USER_NOT_FOUND."""
        request = profile_service_pb2.GetProfileRequest(collection=collection, user_id=user)
        return results.profile(self._call(self._profiles.GetProfile, request).profile)

    def delete_profile(self, collection: str, user: str) -> int:
        """Deletes a profile and returns the revision. NOT_FOUND with USER_NOT_FOUND."""
        request = profile_service_pb2.DeleteProfileRequest(collection=collection, user_id=user)
        return self._call(self._profiles.DeleteProfile, request).revision

    # Exclusion sets.

    def add_exclusions(
        self,
        collection: str,
        name: str,
        ids: Iterable[str],
        *,
        expires: datetime | None = None,
        ttl: timedelta | None = None,
    ) -> None:
        """Puts items into an exclusion set, made by its first entry: typically what a user heard. They exclude until expires, or for
        ttl from now, by the server's clock, or for ever; an item that is in the set already gets the new time. Items need not exist.

        ids travel in order, 10,000 a call. Each call is durable when it answers and seen by every search that starts later; all may
        be repeated, so where one fails, call again with the same ids."""
        request = exclusion_service_pb2.AddExclusionsRequest(collection=collection, exclusion_set=name)
        if expires is not None and ttl is not None:
            raise ValueError("give at most one of expires and ttl")
        if expires is not None:
            request.expire_time.CopyFrom(values.value(expires).timestamp_value)
        elif ttl is not None:
            request.ttl.FromTimedelta(ttl)
        self._send_ids(self._exclusions.AddExclusions, request, ids)

    def remove_exclusions(self, collection: str, name: str, ids: Iterable[str]) -> None:
        """Takes items out of an exclusion set, with the guarantees of add_exclusions. Those that are not in it are no error."""
        request = exclusion_service_pb2.RemoveExclusionsRequest(collection=collection, exclusion_set=name)
        self._send_ids(self._exclusions.RemoveExclusions, request, ids)

    def exclusions(self, collection: str, name: str) -> Iterator[results.Exclusion]:
        """The entries of an exclusion set that have not expired, ascending by the bytes of their ids, read page by page."""
        request = exclusion_service_pb2.GetExclusionSetRequest(collection=collection, exclusion_set=name, page_size=1000)
        while True:
            answer = self._call(self._exclusions.GetExclusionSet, request)
            yield from (results.exclusion(m) for m in answer.exclusions)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    def delete_exclusion_set(self, collection: str, name: str) -> None:
        """Removes every entry of an exclusion set. A set that has none is no error."""
        request = exclusion_service_pb2.DeleteExclusionSetRequest(collection=collection, exclusion_set=name)
        self._call(self._exclusions.DeleteExclusionSet, request)

    def _send_ids(self, method, request, ids: Iterable[str]) -> None:
        rows = values.strings("ids", ids)
        for first in range(0, len(rows), _BATCH_IDS):
            request.item_ids[:] = rows[first : first + _BATCH_IDS]
            self._call(method, request)

    # Collections.

    def create_collection(
        self,
        name: str,
        dimension: int,
        metric: str = "cosine",
        attributes: Mapping[str, str] | None = None,
        *,
        m: int = 0,
        ef_construction: int = 0,
        model: tuple[str, str] | None = None,
    ) -> results.Collection:
        """Makes a collection. metric is ``cosine``, ``inner_product`` or ``l2``; attributes is its schema, types by name
        (``keyword``, ``bool``, ``int``, ``float``, ``timestamp``, ``markets``), none for any. m and ef_construction 0 mean the
        server's."""
        schema = [
            attribute_pb2.AttributeSpec(name=n, type=results.enum(attribute_pb2.AttributeType, "ATTRIBUTE_TYPE_", t))
            for n, t in (attributes or {}).items()
        ]
        message = collection_pb2.Collection(
            name=name,
            dimension=dimension,
            metric=results.enum(collection_pb2.Metric, "METRIC_", metric),
            attributes=schema,
            index_config=collection_pb2.IndexConfig(m=m, ef_construction=ef_construction),
            embedding_model=_model(model) if model is not None else None,
        )
        request = collection_service_pb2.CreateCollectionRequest(collection=message)
        return results.collection(self._call(self._collections.CreateCollection, request).collection)

    def get_collection(self, name: str) -> results.Collection:
        request = collection_service_pb2.GetCollectionRequest(name=name)
        return results.collection(self._call(self._collections.GetCollection, request).collection)

    def delete_collection(self, name: str) -> None:
        """Deletes a collection with all that is in it, at once and for good."""
        self._call(self._collections.DeleteCollection, collection_service_pb2.DeleteCollectionRequest(name=name))

    # Imports and releases.

    def import_release(
        self,
        collection: str,
        job: str,
        ids: Sequence[str],
        vectors: Any,
        attributes: Sequence[values.Attributes | None] | None = None,
        *,
        model: tuple[str, str] | None = None,
        batch: int = 500,
        retries: int = 8,
        timeout: float | None = None,
    ) -> results.Import:
        """Fills a new release beside the one that serves and waits until it is built; publish makes it serve.

        The same call again, with the same job, rows and batch, goes on where the import stands: what is durable is not sent again,
        and an import that is built is returned as it is. A stream that breaks with UNAVAILABLE is begun anew behind the last
        acknowledged batch, up to ``retries`` times in a row without progress; the calls around it wait up to a minute for a server
        that is away. Rows that break a rule are counted in ``rejected`` and listed by import_rejects. timeout, in seconds,
        bounds the whole; None does not. ImportFailed where the build stops or the import was cancelled.
        """
        rows = _check_rows(ids, attributes, batch)
        m = values.matrix(vectors, rows)
        deadline = imports.Deadline(timeout)

        def call(method, request):
            return self._call_patiently(method, request, deadline.left(_PATIENCE))

        start = import_service_pb2.StartImportRequest(
            collection=collection,
            job_id=job,
            embedding_model=_model(model) if model is not None else None,
            expected_item_count=rows,
        )
        started = _import(call(self._imports.StartImport, start))
        if started.state == "importing":
            source = imports.Rows(collection, job, ids, m, attributes, batch)
            imports.write(self._imports.WriteImport, source, started.sequence, deadline, retries, self.metadata)
            call(self._imports.CommitImport, import_service_pb2.CommitImportRequest(collection=collection, job_id=job))
        get = import_service_pb2.GetImportRequest(collection=collection, job_id=job)
        return imports.wait(lambda: _import(call(self._imports.GetImport, get)), deadline)

    def get_import(self, collection: str, job: str) -> results.Import:
        """Where an import stands. NOT_FOUND with IMPORT_NOT_FOUND."""
        request = import_service_pb2.GetImportRequest(collection=collection, job_id=job)
        return _import(self._call(self._imports.GetImport, request))

    def import_rejects(self, collection: str, job: str) -> Iterator[results.Reject]:
        """The rows that an import refused, in order, read page by page. The server keeps at most 10,000."""
        request = import_service_pb2.ListImportRejectsRequest(collection=collection, job_id=job, page_size=1000)
        while True:
            answer = self._call(self._imports.ListImportRejects, request)
            yield from (results.reject(m) for m in answer.rejects)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    def cancel_import(self, collection: str, job: str) -> None:
        """Gives an unfinished import up."""
        request = import_service_pb2.CancelImportRequest(collection=collection, job_id=job)
        self._call(self._imports.CancelImport, request)

    def publish(
        self, collection: str, release: int, *, timeout: float | None = None, **conditions: float
    ) -> results.Release:
        """Makes a release the one that serves, if it meets the conditions: min_item_count, min_item_ratio, min_recall, min_overlap,
        max_reject_ratio. FAILED_PRECONDITION with CONDITION_NOT_MET names those that it does not. Measuring takes a while: the
        default timeout is 60 seconds."""
        request = release_service_pb2.PublishReleaseRequest(collection=collection, release=release)
        if conditions:
            request.conditions.CopyFrom(release_service_pb2.PublishConditions(**conditions))
        answer = self._call(self._releases.PublishRelease, request, 60.0 if timeout is None else timeout)
        return results.release(answer.release)

    def rollback(self, collection: str) -> results.Release:
        """Publishes the release that was published before the one that is. Never repeated of itself: a second would go further."""
        request = release_service_pb2.RollbackCollectionRequest(collection=collection)
        return results.release(self._call(self._releases.RollbackCollection, request).release)

    def releases(self, collection: str) -> list[results.Release]:
        """The releases on disk, newest first."""
        request = release_service_pb2.ListReleasesRequest(collection=collection)
        return [results.release(m) for m in self._call(self._releases.ListReleases, request).releases]

    # The ways every call goes.

    def _call(self, method, request, timeout: float | None = None):
        _identify(request)
        try:
            timeout = self._timeout if timeout is None else timeout
            return method(request, timeout=timeout, metadata=self.metadata)
        except grpc.RpcError as error:
            raise errors.decode(error) from error

    def _call_patiently(self, method, request, patience: float):
        """Repeats a call while the server is UNAVAILABLE or away, and patience lasts."""
        end = time.monotonic() + patience
        delay = 0.1
        while True:
            try:
                return self._call(method, request, max(end - time.monotonic(), 0.001))
            except errors.SegueError as error:
                if error.code != grpc.StatusCode.UNAVAILABLE or time.monotonic() + delay >= end:
                    raise
            time.sleep(delay)
            delay = min(2 * delay, 5.0)


def _search(
    collection: str,
    *,
    k: int = 10,
    filter: str | filter_pb2.Filter | None = None,
    exclude: Iterable[str] | results.Exclude = (),
    ef: int | None = None,
    target_recall: float | None = None,
    exact: bool = False,
    attributes: bool | Iterable[str] = False,
    vectors: bool = False,
    min_revision: int = 0,
    min_score: float | None = None,
    model: tuple[str, str] | None = None,
    base: retrieval_service_pb2.NearestNeighborsRequest | None = None,
) -> retrieval_service_pb2.NearestNeighborsRequest:
    """A request with all but what it is near to, unless base has that."""
    request = retrieval_service_pb2.NearestNeighborsRequest()
    if base is not None:
        request.CopyFrom(base)
    request.collection, request.neighbor_count = collection, k
    if isinstance(filter, str):
        request.filter_expression = filter
    elif filter is not None:
        request.filter.CopyFrom(filter)
    request.exclusions.MergeFrom(_exclusions(exclude))
    if exact + (ef is not None) + (target_recall is not None) > 1:
        raise ValueError("give at most one of ef, target_recall and exact")
    if target_recall is not None:
        request.search_effort.target_recall = target_recall
    elif exact:
        request.search_effort.exact = True
    elif ef is not None:
        request.search_effort.ef = ef
    if attributes is True:
        request.read_mask.paths.append("attributes")
    elif attributes is not False:
        request.read_mask.paths.extend(f"attributes.{name}" for name in values.strings("attributes", attributes))
    if vectors:
        request.include_vectors = True
    if min_revision:
        request.min_revision = min_revision
    if min_score is not None:
        request.min_score = min_score
    if model is not None:
        request.embedding_model.CopyFrom(_model(model))
    return request


def _exclusions(exclude: Iterable[str] | results.Exclude) -> filter_pb2.Exclusions:
    if not isinstance(exclude, results.Exclude):
        exclude = results.Exclude(ids=exclude)
    return exclude.message()


def _identify(request) -> None:
    """Gives a write an id, under which the server makes it once however often it is repeated."""
    if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
        request.request_id = uuid.uuid4().hex


def _model(model: tuple[str, str]) -> release_pb2.EmbeddingModel:
    name, version = model
    return release_pb2.EmbeddingModel(name=name, version=version)


def _import(answer) -> results.Import:
    return results.import_state(getattr(answer, "import"))  # a word of Python's own


def _check_rows(ids: Sequence[str], attributes: Sequence | None, batch: int) -> int:
    """How many rows an upload has."""
    if isinstance(ids, str):
        raise TypeError(f"ids must be several strings, not the string {ids!r}")
    if not 1 <= batch <= 10_000:
        raise ValueError(f"batch is {batch}, must be 1 to 10,000")
    if attributes is not None and len(attributes) != len(ids):
        raise ValueError(f"{len(attributes)} attributes for {len(ids)} ids")
    return len(ids)


def _batches(items: Iterable[item_pb2.Item], rows: int) -> Iterator[list[item_pb2.Item]]:
    """Cuts rows into lists of at most so many, and about _BATCH_BYTES."""
    batch: list[item_pb2.Item] = []
    size = 0
    for item in items:
        n = item.ByteSize()
        if batch and (len(batch) == rows or size + n > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += n
    if batch:
        yield batch
