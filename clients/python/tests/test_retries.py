"""What is repeated, seen from a server that is UNAVAILABLE for a while."""

import importlib
import pkgutil
import threading
import unittest
from concurrent import futures

import grpc
import numpy as np
from google.protobuf import descriptor_pb2

import segue
import segue.v1
from segue import connection
from segue.v1 import item_service_pb2


class Flaky(grpc.GenericRpcHandler):
    """Answers the first calls with UNAVAILABLE, the others with an empty message, and counts them by method."""

    def __init__(self, failures: int) -> None:
        self._failures, self._lock = failures, threading.Lock()
        self.calls: dict[str, int] = {}
        self.requests: dict[str, list[bytes]] = {}

    def service(self, details):
        name = details.method.rpartition("/")[2]
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._answer(name, request, context))

    def _answer(self, name: str, request: bytes, context) -> bytes:
        with self._lock:
            self.requests.setdefault(name, []).append(request)
            self.calls[name] = self.calls.get(name, 0) + 1
            if self.calls[name] <= self._failures:
                context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return b""


class Retries(unittest.TestCase):
    def dial(self, failures: int) -> tuple[segue.Client, Flaky]:
        handler = Flaky(failures)
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: server.stop(None).wait(10))
        client = segue.Client(f"127.0.0.1:{port}", timeout=30)
        self.addCleanup(client.close)
        return client, handler

    def test_never(self):
        client, handler = self.dial(1000)
        for call in [lambda: client.create_collection("c", 2), lambda: client.rollback("c")]:
            with self.assertRaises(segue.SegueError) as caught:
                call()
            self.assertEqual(caught.exception.code, grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(handler.calls, {"CreateCollection": 1, "RollbackCollection": 1})

    def test_what_is_safe(self):
        client, handler = self.dial(2)
        client.neighbors("c", item="x")
        client.delete("c", ["x"])
        self.assertEqual(handler.calls, {"NearestNeighbors": 3, "BatchDeleteItems": 3})

    def test_a_write_keeps_its_request_id(self):
        client, handler = self.dial(7)
        client.upsert("c", ["x", "y"], np.ones((2, 2)), batch=1)
        ids = [item_service_pb2.BatchUpsertItemsRequest.FromString(r).request_id for r in handler.requests["BatchUpsertItems"]]
        self.assertEqual(len(ids), 9)
        self.assertEqual(len(set(ids[:8])), 1)
        self.assertNotIn(ids[8], ["", ids[0]])

    def test_upserts_longer(self):
        client, handler = self.dial(7)  # more than a call is repeated of itself
        result = client.upsert("c", ["a", "b", "c"], np.zeros((3, 2), np.float32), batch=2)
        self.assertEqual((result.written, handler.calls), (3, {"BatchUpsertItems": 9}))

    def test_a_call_is_about_a_mebibyte(self):
        client, handler = self.dial(0)
        result = client.upsert("c", [str(i) for i in range(100)], np.zeros((100, 4096), np.float32), batch=10_000)
        self.assertEqual((result.written, handler.calls), (100, {"BatchUpsertItems": 2}))

    def test_not_for_ever(self):
        client, handler = self.dial(1000)
        with self.assertRaises(segue.UpsertError) as caught:
            client.upsert("c", ["a"], np.zeros((1, 2), np.float32), patience=0.3)
        self.assertIn(caught.exception.code, (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED))
        self.assertEqual(caught.exception.written, 0)


class RoundRobin(unittest.TestCase):
    """A replica stands for a server of which only its health, and how many calls it had, matter here."""

    class Replica(grpc.GenericRpcHandler):
        WATCH = "/grpc.health.v1.Health/Watch"
        SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse.status

        def __init__(self, state: bytes) -> None:
            self.calls, self._state, self._end = 0, state, threading.Event()
            self._server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(self,))
            self.port = self._server.add_insecure_port("127.0.0.1:0")
            self._server.start()

        def service(self, details):
            if details.method == self.WATCH:
                return grpc.unary_stream_rpc_method_handler(self._watch)
            return grpc.unary_unary_rpc_method_handler(self._answer)

        def _watch(self, request: bytes, context):
            yield self._state
            self._end.wait()

        def _answer(self, request: bytes, context) -> bytes:
            self.calls += 1
            return b""

        def close(self) -> None:
            self._end.set()
            self._server.stop(None).wait(10)

    def dial(self, states: list[bytes], round_robin: bool) -> tuple[segue.Client, list[Replica]]:
        replicas = [self.Replica(state) for state in states]
        target = "ipv4:" + ",".join(f"127.0.0.1:{r.port}" for r in replicas)
        client = segue.Client(target, allow_plaintext=True, round_robin=round_robin, timeout=30)
        self.addCleanup(lambda: [r.close() for r in replicas])
        self.addCleanup(client.close)
        return client, replicas

    def test_turns_of_those_that_serve(self):
        serving, not_serving = self.Replica.SERVING, self.Replica.NOT_SERVING
        client, replicas = self.dial([serving, not_serving, serving], round_robin=True)
        while not all(r.calls for r in (replicas[0], replicas[2])):  # connections come when they come
            client.neighbors("c", item="x")
        before = [r.calls for r in replicas]
        for _ in range(30):
            client.neighbors("c", item="x")
        turns = [r.calls - b for r, b in zip(replicas, before)]
        self.assertEqual((turns[1], sum(turns)), (0, 30))
        self.assertGreaterEqual(min(turns[0], turns[2]), 10)  # a change of what is connected begins the turns anew

    def test_one_server_otherwise(self):
        client, replicas = self.dial([self.Replica.NOT_SERVING, self.Replica.SERVING], round_robin=False)
        for _ in range(10):
            client.neighbors("c", item="x")
        self.assertEqual([r.calls for r in replicas], [10, 0])


class Policy(unittest.TestCase):
    def test_follows_the_api(self):
        """The methods of the policy are those that the API declares idempotent, but for streams."""
        methods = connection.retried()
        files = [m.name for m in pkgutil.iter_modules(segue.v1.__path__, "segue.v1.") if m.name.endswith("_service_pb2")]
        self.assertGreaterEqual(len(files), 8)
        for file in map(importlib.import_module, files):
            proto = descriptor_pb2.FileDescriptorProto()
            file.DESCRIPTOR.CopyToProto(proto)
            for service in proto.service:
                name = f"{proto.package}.{service.name}"
                got = {method for of, method in methods if of == name}
                safe = {m.name for m in service.method if m.options.idempotency_level != 0}
                streams = {m.name for m in service.method if m.client_streaming or m.server_streaming}
                self.assertEqual(got, safe - streams, name)
                self.assertTrue(got, name)


if __name__ == "__main__":
    unittest.main()
