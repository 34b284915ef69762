"""The client against a real server, with numpy as the oracle."""

import contextlib
import io
import shutil
import subprocess
import tempfile
import threading
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import numpy as np

import segue
from segue import imports, roaring
from segue.v1 import filter_pb2, import_service_pb2, import_service_pb2_grpc, retrieval_service_pb2

from .server import BINARY, ROOT, Server, Trap

DIMENSION = 32
COUNT = 3000


def clustered(seed: int, count: int = COUNT) -> np.ndarray:
    """float32 [count, DIMENSION] around 40 centers."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(40, DIMENSION))
    return (centers[random.integers(40, size=count)] + 0.4 * random.normal(size=(count, DIMENSION))).astype(np.float32)


def scores(metric: str, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    v, q = vectors.astype(np.float64), np.asarray(query, dtype=np.float64)
    if metric == "l2":
        return -((v - q) ** 2).sum(axis=1)
    if metric == "cosine":
        v, q = v / np.linalg.norm(v, axis=1, keepdims=True), q / np.linalg.norm(q)
    return v @ q


def ids_of(rows) -> list[str]:
    return [f"track-{i:05d}" for i in rows]


IDS = ids_of(range(COUNT))
VECTORS = clustered(1)
QUERIES = clustered(2, 20)
ATTRIBUTES = [
    {
        "artist": [f"a{i % 50}", f"b{i % 7}"],
        "explicit": i % 3 == 0,
        "plays": i,
        "tempo": i / 8,
        "released": datetime(1950 + i % 70, 1, 2, tzinfo=timezone.utc),
        "markets": segue.Markets({"SE"} if i % 2 else {"DE", "SE"}),
    }
    for i in range(COUNT)
]


class ServerTest(unittest.TestCase):
    flags: tuple = ()

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.flags)
        cls.addClassCleanup(cls.server.close)
        cls.client = segue.Client(cls.server.target)
        cls.addClassCleanup(cls.client.close)

    def assert_fails(self, code: grpc.StatusCode, reason: str, call, *args, **kwargs) -> segue.SegueError:
        with self.assertRaises(segue.SegueError) as caught:
            call(*args, **kwargs)
        self.assertEqual((caught.exception.code, caught.exception.reason), (code, reason))
        return caught.exception


class Retrieval(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        schema = {"artist": "keyword", "explicit": "bool", "plays": "int", "tempo": "float"}
        schema |= {"released": "timestamp", "markets": "markets"}
        for metric in ["cosine", "inner_product", "l2"]:
            cls.client.create_collection(metric, DIMENSION, metric, schema if metric == "cosine" else None)
            cls.revision = cls.client.upsert(metric, IDS, VECTORS, ATTRIBUTES if metric == "cosine" else None).revision

    def assert_best(self, got: segue.Neighbors, want: np.ndarray, k: int, allowed=None):
        """got is the best k of the allowed rows by the scores want."""
        rows = np.arange(COUNT) if allowed is None else np.flatnonzero(allowed)
        best = rows[np.argsort(-want[rows], kind="stable")[:k]]
        self.assertEqual(got.ids, ids_of(best))
        np.testing.assert_allclose([n.score for n in got], want[best], rtol=1e-4, atol=1e-4)

    def test_exact_and_graph(self):
        for metric in ["cosine", "inner_product", "l2"]:
            found = 0
            for query in QUERIES:
                want = scores(metric, VECTORS, query)
                exact = self.client.neighbors(metric, vector=query, k=10, exact=True)
                self.assert_best(exact, want, 10)
                self.assertEqual((exact.search_info.plan, exact.search_info.completeness), ("exact", "complete"))
                graph = self.client.neighbors(metric, vector=query, k=10, ef=200)
                self.assertEqual((graph.search_info.plan, graph.search_info.ef_used), ("graph", 200))
                self.assertGreater(graph.search_info.distance_count, 0)
                aimed = self.client.neighbors(metric, vector=query, k=10, target_recall=1)
                self.assertEqual((aimed.search_info.plan, aimed.ids), ("exact", exact.ids))
                found += len(set(graph.ids) & set(exact.ids))
            self.assertGreaterEqual(found / (10 * len(QUERIES)), 0.95, metric)

    def test_what_is_returned(self):
        got = self.client.neighbors("cosine", item=IDS[5], k=4, exact=True, attributes=True, vectors=True)
        want = scores("cosine", VECTORS, VECTORS[5])
        self.assert_best(got, want, 4, np.arange(COUNT) != 5)  # never the item itself
        for n in got:
            i = IDS.index(n.id)
            self.assertEqual(n.attributes, ATTRIBUTES[i])
            np.testing.assert_array_equal(n.vector, VECTORS[i])
        some = self.client.neighbors("cosine", item=IDS[5], k=1, attributes=["plays"])[0]
        self.assertEqual((set(some.attributes), some.vector), ({"plays"}, None))
        self.assertEqual(self.client.neighbors("cosine", item=IDS[5], k=1)[0].attributes, {})

    def test_filters_and_exclusions(self):
        rows = np.arange(COUNT)
        want = scores("cosine", VECTORS, QUERIES[0])
        message = filter_pb2.Filter(markets=filter_pb2.AttributeMarkets(attribute="markets", any_of=["DE"]))
        best = ids_of(np.argsort(-want)[:3])
        for options, allowed in [
            ({"filter": 'artist : "a7" AND plays >= 1000'}, (rows % 50 == 7) & (rows >= 1000)),
            ({"filter": "explicit = true AND released < 1960"}, (rows % 3 == 0) & (rows % 70 < 10)),
            ({"filter": message}, rows % 2 == 0),
            ({"exclude": best}, ~np.isin(IDS, best)),
            (
                {"exclude": segue.Exclude(attributes={"artist": ["b1", "b2"], "explicit": [True]})},
                ~np.isin(rows % 7, [1, 2]) & (rows % 3 != 0),
            ),
            ({"filter": "tempo < 1", "exclude": IDS[:3]}, (rows < 8) & (rows >= 3)),
            ({"exclude": segue.Exclude(numbers=("plays", rows[::2]))}, rows % 2 == 1),
            ({"exclude": segue.Exclude(ids=best, numbers=("plays", roaring.encode(rows[:9])))}, ~np.isin(IDS, best) & (rows >= 9)),
        ]:
            with self.subTest(options):
                got = self.client.neighbors("cosine", vector=QUERIES[0], k=5, exact=True, **options)
                self.assert_best(got, want, 5, allowed)
                self.assertEqual(got.search_info.matching_count, allowed.sum())
        self.assertIsNone(self.client.neighbors("cosine", vector=QUERIES[0]).search_info.matching_count)
        few = self.client.neighbors("cosine", vector=QUERIES[0], filter="tempo < 0.5")
        self.assertEqual((len(few), few.search_info.completeness), (4, "exhausted"))
        self.assertEqual(few.search_info.shortfall_reason, "too_few_items")

    def test_profiles(self):
        revision = self.client.upsert_profile("l2", "u1", QUERIES[0])
        got = self.client.neighbors("l2", user="u1", k=10, exact=True, min_revision=revision)
        self.assert_best(got, scores("l2", VECTORS, QUERIES[0]), 10)
        self.assertGreaterEqual(got.search_info.revision, revision)
        self.client.upsert_profile("l2", "u1", QUERIES[:2].astype(np.float16), [3, 1])
        stored = self.client.get_profile("l2", "u1")
        np.testing.assert_array_equal(stored.vectors, QUERIES[:2].astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(stored.weights, [3, 1])
        shares = [n.matched_example for n in self.client.neighbors("l2", user="u1", k=8)]
        self.assertEqual((shares.count(0), shares.count(1)), (6, 2))
        with self.assertRaises(ValueError):
            self.client.upsert_profile("l2", "u1", QUERIES[:2], [1])
        self.client.delete_profile("l2", "u1")
        self.assert_fails(grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND", self.client.get_profile, "l2", "u1")

    def test_examples(self):
        unit = VECTORS.astype(np.float64) / np.linalg.norm(VECTORS, axis=1, keepdims=True)
        query = QUERIES[1].astype(np.float64) / np.linalg.norm(QUERIES[1])
        mean = (2 * unit[3] + query - unit[9]) / 3
        named = ~np.isin(np.arange(COUNT), [3, 9])
        examples = segue.Examples([segue.Example(IDS[3], 2), QUERIES[1], "nobody"], [IDS[9]])
        got = self.client.neighbors("cosine", examples=examples, k=10, exact=True)
        self.assert_best(got, scores("cosine", VECTORS, mean), 10, named)
        self.assertEqual(got.unresolved_ids, ("nobody",))
        best = np.maximum(scores("cosine", VECTORS, VECTORS[3]), scores("cosine", VECTORS, QUERIES[1]))
        examples = segue.Examples([IDS[3], QUERIES[1]], strategy="best_score")
        got = self.client.neighbors("cosine", examples=examples, k=10, exact=True)
        self.assert_best(got, best, 10, np.arange(COUNT) != 3)

    def test_batches(self):
        """Answer i of a batch is what neighbors says of query i, through several calls; a query fails for itself."""
        options = {"k": 7, "exact": True, "filter": "plays >= 100", "attributes": ["plays"]}
        for asked, single in [({"vectors": QUERIES}, "vector"), ({"items": np.array(IDS[90:110])}, "item")]:
            got = self.client.batch_neighbors("cosine", **asked, **options, include_vectors=True, batch=6)
            queries = next(iter(asked.values()))
            self.assertEqual(len(got), len(queries))
            for query, answer in zip(queries, got):
                want = self.client.neighbors("cosine", **{single: query}, **options, vectors=True)
                self.assertEqual((answer.ids, answer.search_info), (want.ids, want.search_info))
                self.assertEqual(answer.neighbors, want.neighbors)
                np.testing.assert_array_equal([n.vector for n in answer], [n.vector for n in want])
        for i, query in enumerate(QUERIES[:3]):
            self.client.upsert_profile("l2", f"b{i}", query)
        self.client.add_exclusions("l2", "b2", [IDS[4]])
        best = [np.argsort(-scores("l2", VECTORS, query), kind="stable") for query in QUERIES[:3]]
        excludes = [(), ids_of(best[1][:2]), segue.Exclude(sets=["b2"], ids=ids_of(best[2][1:2]))]
        got = self.client.batch_neighbors("l2", users=["b0", "b1", "b2"], excludes=excludes, exclude=ids_of(best[0][:1]), k=5, exact=True)
        for i, answer in enumerate(got):
            gone = {best[0][0]} | (set(best[1][:2]) if i == 1 else {best[2][1], 4} if i == 2 else set())
            self.assertEqual(answer.ids, ids_of([row for row in best[i] if row not in gone][:5]))

        mixed = self.client.batch_neighbors("cosine", items=[IDS[0], "nobody", IDS[1]], k=3)
        self.assertEqual([len(mixed[0]), len(mixed[2])], [3, 3])
        self.assertIsInstance(mixed[1], segue.SegueError)
        self.assertEqual((mixed[1].code, mixed[1].reason), (grpc.StatusCode.NOT_FOUND, "ITEM_NOT_FOUND"))
        wrong = self.client.batch_neighbors("cosine", vectors=QUERIES[:1, :5])[0]
        self.assertEqual((wrong.reason, [v.field for v in wrong.violations]), ("DIMENSION_MISMATCH", ["query.vector"]))
        self.assertEqual(self.client.batch_neighbors("cosine", items=[]), [])
        self.assert_fails(grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND", self.client.batch_neighbors, "nothing", items=IDS[:2])
        for options in [{}, {"items": IDS[:2], "users": ["u"]}, {"vectors": QUERIES[0]}, {"items": IDS[:2], "excludes": [()]}, {"items": IDS[:2], "batch": 0}]:
            with self.subTest(list(options)), self.assertRaises(ValueError):
                self.client.batch_neighbors("cosine", **options)
        with self.assertRaises(TypeError):
            self.client.batch_neighbors("cosine", items=IDS[:2], item=IDS[0])

    def test_exclusion_sets(self):
        """A set is what a model of it says after every change, and searches leave out what it holds, as numpy does."""
        want = scores("cosine", VECTORS, QUERIES[3])
        order = np.argsort(-want, kind="stable")
        random = np.random.default_rng(7)
        held: set[str] = set()
        for step in range(6):
            some = np.array(IDS)[random.choice(order[:400], 150, replace=False)]  # an array of strings
            if step % 3 == 2:
                self.client.remove_exclusions("cosine", "heard", some)
                held -= set(some.tolist())
            else:
                self.client.add_exclusions("cosine", "heard", some, ttl=timedelta(days=1) if step == 3 else None)
                held |= set(some.tolist())
            self.assertEqual([e.id for e in self.client.exclusions("cosine", "heard")], sorted(held))
            got = self.client.neighbors("cosine", vector=QUERIES[3], k=20, exact=True, exclude=segue.Exclude(sets=["heard"]))
            self.assert_best(got, want, 20, ~np.isin(IDS, list(held)))
        many = [f"unknown-{i:05d}" for i in range(10_500)]  # more than one call takes, and than a page holds
        self.client.add_exclusions("cosine", "many", many)
        self.assertEqual([e.id for e in self.client.exclusions("cosine", "many")], many)

        end = (datetime.now(timezone.utc) + timedelta(hours=1)).replace(microsecond=7)
        self.client.add_exclusions("cosine", "times", [IDS[0]], expires=end)
        self.client.add_exclusions("cosine", "times", [IDS[1]], ttl=timedelta(hours=2))
        self.client.add_exclusions("cosine", "times", [IDS[2]])
        times = {e.id: e.expires for e in self.client.exclusions("cosine", "times")}
        self.assertEqual((times[IDS[0]], times[IDS[2]]), (end, None))
        self.assertAlmostEqual((times[IDS[1]] - end).total_seconds(), 3600, delta=60)

        for name in ["heard", "many", "times", "never"]:
            self.client.delete_exclusion_set("cosine", name)
            self.assertEqual(list(self.client.exclusions("cosine", name)), [])
        self.assert_best(self.client.neighbors("cosine", vector=QUERIES[3], k=20, exact=True, exclude=segue.Exclude(sets=["heard"])), want, 20)
        add, bad = self.client.add_exclusions, grpc.StatusCode.INVALID_ARGUMENT
        with self.assertRaises(ValueError):
            add("cosine", "u", IDS[:1], expires=end, ttl=timedelta(hours=1))
        with self.assertRaises(TypeError):
            add("cosine", "u", IDS[0])
        self.assert_fails(bad, "FIELD_REQUIRED", add, "cosine", "", IDS[:1])
        self.assert_fails(bad, "OUT_OF_RANGE", add, "cosine", "u", IDS[:1], expires=end - timedelta(hours=2))
        self.assert_fails(grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND", add, "nothing", "u", IDS[:1])

    def test_base(self):
        base = retrieval_service_pb2.NearestNeighborsRequest(page_size=3)
        base.query.vector.floats.values.extend(QUERIES[2].tolist())
        base.exclusions.item_ids.append(IDS[0])
        want = scores("cosine", VECTORS, QUERIES[2])
        got = []
        while True:
            page = self.client.neighbors("cosine", k=8, exact=True, exclude=[IDS[1]], base=base)
            got += page.ids
            base.page_token = page.next_page_token
            if not base.page_token:
                break
        self.assertEqual(got, ids_of([i for i in np.argsort(-want) if i > 1][:8]))

    def test_refused_here(self):
        for options in [{}, {"vector": QUERIES[0], "item": "x"}, {"item": "x", "ef": 10, "exact": True}, {"item": "x", "ef": 10, "target_recall": 0.9}, {"vector": QUERIES}]:
            with self.subTest(list(options)), self.assertRaises(ValueError):
                self.client.neighbors("cosine", **options)
        for options in [{"exclude": IDS[0]}, {"attributes": "plays"}]:
            with self.subTest(options), self.assertRaises(TypeError):
                self.client.neighbors("cosine", item=IDS[0], **options)

    def test_refused_there(self):
        ask, bad, missing = self.client.neighbors, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
        error = self.assert_fails(bad, "DIMENSION_MISMATCH", ask, "cosine", vector=QUERIES[0][:5])
        self.assertEqual([(v.field, v.reason) for v in error.violations], [("query.vector", "DIMENSION_MISMATCH")])
        self.assertIn("5", error.violations[0].rule)
        self.assert_fails(bad, "OUT_OF_RANGE", ask, "cosine", item=IDS[0], k=0)
        self.assert_fails(bad, "OUT_OF_RANGE", ask, "cosine", item=IDS[0], min_revision=self.revision + 10**9)
        self.assert_fails(bad, "UNKNOWN_ATTRIBUTE", ask, "cosine", item=IDS[0], filter="color = red")
        self.assert_fails(missing, "ITEM_NOT_FOUND", ask, "cosine", item="nobody")
        self.assert_fails(missing, "COLLECTION_NOT_FOUND", ask, "nothing", item=IDS[0])
        self.assert_fails(grpc.StatusCode.ALREADY_EXISTS, "COLLECTION_ALREADY_EXISTS", self.client.create_collection, "l2", 3)


class Writes(ServerTest):
    def test_read_your_writes(self):
        for dtype in [np.float32, np.float16, np.float64]:
            name = f"w-{np.dtype(dtype).name}"
            self.client.create_collection(name, DIMENSION, "l2")
            sent = VECTORS[:500].astype(dtype)
            result = self.client.upsert(name, IDS[:500], sent, batch=77)
            self.assertEqual(result.written, 500)
            kept = sent.astype(np.float32)
            got = self.client.neighbors(name, vector=QUERIES[0], k=500, exact=True, min_revision=result.revision)
            self.assertEqual(got.ids, ids_of(np.argsort(-scores("l2", kept, QUERIES[0]), kind="stable")))
            found, missing = self.client.get(name, ["nobody", IDS[7], IDS[2]], vectors=True)
            self.assertEqual(([i.id for i in found], missing), ([IDS[7], IDS[2]], ["nobody"]))
            np.testing.assert_array_equal(found[0].vector, kept[7])
            revision, missing = self.client.delete(name, [IDS[7], "nobody"])
            self.assertEqual(missing, ["nobody"])
            self.assertGreater(revision, result.revision)
            self.assertNotIn(IDS[7], self.client.neighbors(name, vector=kept[7], k=500, min_revision=revision).ids)
            self.assertEqual(self.client.get_collection(name).item_count, 499)
            self.client.delete_collection(name)
            self.assert_fails(grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND", self.client.get_collection, name)

    def test_a_bad_row(self):
        self.client.create_collection("bad", DIMENSION)
        m = VECTORS[:100].copy()
        m[57, 3] = np.nan
        with self.assertRaises(segue.UpsertError) as caught:
            self.client.upsert("bad", IDS[:100], m, batch=25)
        error = caught.exception
        self.assertEqual((error.code, error.reason, error.written), (grpc.StatusCode.INVALID_ARGUMENT, "VECTOR_NOT_FINITE", 50))
        self.assertTrue(error.violations[0].field.startswith("items[57].vector"), error.violations)
        found, missing = self.client.get("bad", IDS[:100])
        self.assertEqual(([i.id for i in found], missing), (IDS[:50], IDS[50:100]))
        self.assertEqual(found[-1].revision, error.revision)
        self.assertEqual(self.client.upsert("bad", [], np.zeros((0, DIMENSION))).written, 0)
        for args in [(IDS[:3], m[:2]), (IDS[:3], m[0]), (IDS[:2], m[:2], [{}]), (IDS[:2], m[:2], None)]:
            options = {"batch": 0} if args[-1] is None else {}
            with self.assertRaises(ValueError):
                self.client.upsert("bad", *args, **options)

    def test_conditions_and_expiry(self):
        self.client.create_collection("cond", DIMENSION)
        end = datetime.now(timezone.utc).replace(microsecond=5) + timedelta(hours=1)
        first = self.client.upsert("cond", IDS[:3], VECTORS[:3], expires=[end, None, end], if_revisions=[0, None, 0]).revision
        found, _ = self.client.get("cond", IDS[:3])
        self.assertEqual([i.expires for i in found], [end, None, end])
        with self.assertRaises(segue.UpsertError) as caught:
            self.client.upsert("cond", IDS[:2], VECTORS[:2], if_revisions=[first, 0])
        self.assertEqual((caught.exception.code, caught.exception.reason), (grpc.StatusCode.ABORTED, "REVISION_MISMATCH"))
        self.client.upsert("cond", IDS[2:3], VECTORS[2:3], if_revisions=[first])
        self.assertIsNone(self.client.get("cond", IDS[2:3])[0][0].expires)
        for column in ["expires", "if_revisions"]:
            with self.assertRaises(ValueError):
                self.client.upsert("cond", IDS[:2], VECTORS[:2], **{column: [None]})

    def test_the_last_of_two_stands(self):
        self.client.create_collection("twice", DIMENSION)
        m = VECTORS[:60]
        self.client.upsert("twice", [f"t{i % 20}" for i in range(60)], m, batch=7)
        found, _ = self.client.get("twice", [f"t{i}" for i in range(20)], vectors=True)
        np.testing.assert_array_equal(np.stack([i.vector for i in found]), m[40:])

    def test_over_a_restart(self):
        """A server that is killed in the middle of an upsert is waited for."""
        server = Server()
        self.addCleanup(server.close)
        with segue.Client(server.target) as client:
            client.create_collection("c", DIMENSION)

            def kill():
                server.kill()
                starter.start()

            starter = threading.Thread(target=server.start)
            result = client.upsert("c", IDS[:400], VECTORS[:400], Trap([None] * 400, 250, kill), batch=50)
            starter.join()
            self.assertEqual(result.written, 400)
            self.assertEqual(client.get_collection("c").item_count, 400)


class Imports(ServerTest):
    def test_import_and_publish(self):
        client = self.client
        client.create_collection("c", DIMENSION, "l2", model=("m", "1"))
        client.upsert("c", IDS[:10], VECTORS[:10])
        m = clustered(3)
        m[1234, 0] = np.inf
        rows = [{"plays": i} for i in range(COUNT)]
        done = client.import_release("c", "night-1", IDS, m, rows, model=("m", "2"), batch=400, timeout=120)
        self.assertEqual((done.state, done.accepted, done.rejected), ("ready", COUNT - 1, 1))
        rejects = list(client.import_rejects("c", "night-1"))
        self.assertEqual([(r.sequence, r.index, r.id, r.reason) for r in rejects], [(4, 34, IDS[1234], "VECTOR_NOT_FINITE")])
        self.assertEqual(client.get_collection("c").item_count, 10)  # what serves is as it was

        again = client.import_release("c", "night-1", IDS, m, batch=400, model=("m", "2"))
        self.assertEqual(again, done)

        refused = grpc.StatusCode.FAILED_PRECONDITION
        self.assert_fails(refused, "CONDITION_NOT_MET", client.publish, "c", done.release, max_reject_ratio=-1)
        published = client.publish("c", done.release, min_recall=0.9, min_item_ratio=1, max_reject_ratio=0.01)
        self.assertEqual((published.id, published.state), (done.release, "published"))
        allowed = np.flatnonzero(np.isfinite(m).all(axis=1))
        want = allowed[np.argsort(-scores("l2", m[allowed], QUERIES[0]), kind="stable")[:10]]
        got = client.neighbors("c", vector=QUERIES[0], exact=True, attributes=["plays"], model=("m", "2"))
        self.assertEqual(got.ids, ids_of(want))
        self.assertEqual([n.attributes["plays"] for n in got], want.tolist())
        ask = {"vector": QUERIES[0], "model": ("m", "1")}
        self.assert_fails(refused, "EMBEDDING_MODEL_MISMATCH", client.neighbors, "c", **ask)

        self.assertEqual(client.rollback("c").id, published.previous)
        self.assertEqual(client.get_collection("c").item_count, 10)
        want = [(done.release, "retired"), (published.previous, "published")]
        self.assertEqual([(r.id, r.state) for r in client.releases("c")], want)

    def test_a_bad_row_is_named(self):
        self.client.create_collection("b", DIMENSION)
        rows = [{}] * 90 + [{"a": object()}] + [{}] * 9
        with self.assertRaisesRegex(TypeError, "object is no type"):
            self.client.import_release("b", "j", IDS[:100], VECTORS[:100], rows, batch=10, timeout=60)
        self.client.cancel_import("b", "j")
        self.assertTrue(self.client.get_import("b", "j").cancelled)
        done = self.client.import_release("b", "j", IDS[:100], VECTORS[:100], batch=10, timeout=60)
        self.assertEqual((done.state, done.accepted), ("ready", 100))

    def test_goes_on(self):
        """A second call with the same job sends only what the first left."""
        self.client.create_collection("g", DIMENSION)
        stub = import_service_pb2_grpc.ImportServiceStub(self.client.channel)
        stub.StartImport(import_service_pb2.StartImportRequest(collection="g", job_id="j"), timeout=10)
        first = imports.Rows("g", "j", IDS[:1000], VECTORS[:1000], None, 100)
        imports.write(stub.WriteImport, first, 0, imports.Deadline(60), 0, ())
        state = self.client.get_import("g", "j")
        self.assertEqual((state.state, state.sequence, state.accepted), ("importing", 10, 1000))
        done = self.client.import_release("g", "j", IDS, VECTORS, Trap([None] * COUNT, 999, self.fail), batch=100, timeout=60)
        self.assertEqual((done.state, done.accepted, done.duplicates), ("ready", COUNT, 0))

    def test_over_a_restart(self):
        """A server that is killed in the middle of a stream: what was acknowledged is not sent again, nothing is missing."""
        server = Server()
        self.addCleanup(server.close)
        with segue.Client(server.target) as client:
            client.create_collection("c", DIMENSION, "l2")

            def restart():
                server.kill()
                server.start()

            rows = Trap([{"plays": i} for i in range(COUNT)], 2000, restart)
            port = server.target
            done = client.import_release("c", "j", IDS, VECTORS, rows, batch=100, timeout=120)
            self.assertEqual((rows.sprung, server.target), (True, port))
            self.assertEqual((done.state, done.accepted, done.rejected, done.duplicates), ("ready", COUNT, 0, 0))
            client.publish("c", done.release)
            got = client.neighbors("c", vector=QUERIES[0], k=50, exact=True)
            self.assertEqual(got.ids, ids_of(np.argsort(-scores("l2", VECTORS, QUERIES[0]), kind="stable")[:50]))

            server.kill()
            starter = threading.Thread(target=server.start)
            starter.start()
            again = client.import_release("c", "j", IDS, VECTORS, batch=100, timeout=60)
            starter.join()
            self.assertEqual((again.state, again.accepted), ("published", COUNT))

    def test_nobody_there(self):
        server = Server()
        server.close()
        with segue.Client(server.target, timeout=1) as client, self.assertRaises(segue.SegueError) as caught:
            client.get_collection("c")
        self.assertIn(caught.exception.code, (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))


class Readme(ServerTest):
    def test_example(self):
        text = (ROOT / "clients" / "python" / "README.md").read_text()
        code = text.split("```python\n")[1].split("```")[0].replace("127.0.0.1:7070", self.server.target)
        names: dict = {}
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "README.md", "exec"), names)
        self.addCleanup(names["client"].close)
        lines = out.getvalue().splitlines()
        self.assertEqual(len(lines), 6)
        unit = names["vectors"] / np.linalg.norm(names["vectors"], axis=1, keepdims=True)
        for line in lines[:5]:
            row, score = int(line.split()[0].removeprefix("song-")), float(line.split()[1])
            self.assertGreaterEqual(row % 70, 40)
            self.assertAlmostEqual(score, float(unit[7] @ unit[row]), places=4)


class Access(unittest.TestCase):
    def test_token_and_tls(self):
        if shutil.which("openssl") is None:
            self.skipTest("no openssl to make a certificate with")
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        path = Path(scratch.name)
        certificate = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=segue"
        certificate += " -addext subjectAltName=IP:127.0.0.1 -keyout key -out crt"
        subprocess.run(certificate.split(), cwd=path, check=True, capture_output=True, timeout=60)
        token = [BINARY, "token", "--name", "radio", "--grant", "read:*"]
        made = subprocess.run(token, check=True, capture_output=True, text=True, timeout=60)
        (path / "access").write_text(made.stderr)
        server = Server("--tls-cert", str(path / "crt"), "--tls-key", str(path / "key"), "--access-file", str(path / "access"))
        self.addCleanup(server.close)
        plain = Server("--access-file", str(path / "access"))
        self.addCleanup(plain.close)
        tls = segue.TLS(ca=(path / "crt").read_bytes())
        cases = [
            (made.stdout.strip(), grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
            (None, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
        ]
        for target, options in [(server.target, {"tls": tls}), (plain.target, {})]:
            for token, code, reason in cases:
                with self.subTest(options=list(options), token=bool(token)), segue.Client(target, token, **options) as client:
                    with self.assertRaises(segue.SegueError) as caught:
                        client.create_collection("c", 3)
                    self.assertEqual((caught.exception.code, caught.exception.reason), (code, reason))


if __name__ == "__main__":
    unittest.main()
