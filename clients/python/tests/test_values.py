"""What needs no server."""

import pickle
import struct
import unittest
from datetime import datetime, timedelta, timezone

import grpc
import numpy as np

import segue
from segue import connection, errors, results, roaring, status_pb2, values
from segue.v1 import attribute_pb2, collection_pb2, vector_pb2


class Vectors(unittest.TestCase):
    def test_encodings(self):
        numbers = np.array([1.5, -0.25, 3.0])
        for dtype, field, wire in [
            ("<f4", "float32_le", "<f4"),
            (">f4", "float32_le", "<f4"),
            ("<f8", "float32_le", "<f4"),
            ("i4", "float32_le", "<f4"),
            ("<f2", "float16_le", "<f2"),
            (">f2", "float16_le", "<f2"),
        ]:
            with self.subTest(dtype):
                a = numbers.astype(dtype)
                got = values.vector(a)
                self.assertEqual(got.WhichOneof("encoding"), field)
                self.assertEqual(getattr(got, field), a.astype(wire).tobytes())
        every_other = np.arange(6, dtype=np.float32)[::2]  # not contiguous
        self.assertEqual(values.vector(every_other).float32_le, np.array([0, 2, 4], "<f4").tobytes())

    def test_arrays(self):
        listed = vector_pb2.Vector(floats=vector_pb2.Floats(values=[1, 2]))
        for message in [listed, values.vector([1, 2])]:
            got = values.array(message)
            self.assertEqual(got.dtype, np.float32)
            np.testing.assert_array_equal(got, [1, 2])
            got[0] = 7  # it is the caller's

    def test_refused(self):
        for bad, error in [(np.zeros((2, 2)), ValueError), (np.float32(1), ValueError), (["a"], TypeError), ([True], TypeError)]:
            with self.subTest(repr(bad)), self.assertRaises(error):
                values.vector(bad)
        for shape in [(3,), (2, 4), (3, 4, 1)]:
            with self.subTest(shape), self.assertRaisesRegex(ValueError, r"\[3, dimension\]"):
                values.matrix(np.zeros(shape, np.float32), 3)


class Attributes(unittest.TestCase):
    def test_round_trip(self):
        moment = datetime(1959, 8, 17, 1, 2, 3, 456789, timezone.utc)
        for v, kind, back in [
            ("a", "keywords", ["a"]),
            (("a", "b"), "keywords", ["a", "b"]),
            (True, "bool_value", True),
            (np.bool_(False), "bool_value", False),
            (-(2**63), "int_value", -(2**63)),
            (np.int32(7), "int_value", 7),
            (0.1, "float_value", 0.1),
            (np.float32(0.5), "float_value", 0.5),
            (moment, "timestamp_value", moment),
            (moment.astimezone(timezone(timedelta(hours=5))), "timestamp_value", moment),
            (segue.Markets({"SE", "DE"}), "markets", segue.Markets({"DE", "SE"})),
            (segue.Markets(), "markets", segue.Markets()),
        ]:
            with self.subTest(repr(v)):
                sent = attribute_pb2.AttributeValue.FromString(values.value(v).SerializeToString())
                self.assertEqual(sent.WhichOneof("kind"), kind)
                got = values.python(sent)
                self.assertEqual((got, type(got)), (back, type(back)))

    def test_refused(self):
        naive = datetime(2026, 1, 1)
        for bad, error in [(None, TypeError), (b"a", TypeError), ([1], TypeError), (naive, ValueError), (2**63, ValueError)]:
            with self.subTest(repr(bad)), self.assertRaises(error):
                values.value(bad)

    def test_one_string_for_several(self):
        for exclude in [segue.Exclude(ids="abc"), segue.Exclude(sets="abc"), segue.Exclude(attributes={"artist": "abc"})]:
            with self.subTest(exclude), self.assertRaises(TypeError):
                exclude.message()


def decode_roaring(data):
    """The numbers of a bitmap without runs, read by the format's description and checked on the way."""
    cookie, containers = struct.unpack_from("<II", data)
    assert cookie == 12346
    end, out, last = 8 + 8 * containers, [], -1
    for i in range(containers):
        high, count = struct.unpack_from("<HH", data, 8 + 4 * i)
        (offset,) = struct.unpack_from("<I", data, 8 + 4 * containers + 4 * i)
        assert high > last and offset == end
        last, count = high, count + 1
        if count <= 4096:
            lows = struct.unpack_from(f"<{count}H", data, offset)
            end += 2 * count
        else:
            lows = [v for v in range(1 << 16) if data[offset + v // 8] >> (v % 8) & 1]
            end += 8192
        assert len(lows) == count and list(lows) == sorted(set(lows))
        out += [high << 16 | low for low in lows]
    assert end == len(data)
    return out


class Bitmaps(unittest.TestCase):
    def test_round_trip(self):
        rng = np.random.default_rng(3)
        for numbers in [
            [], [0], [2**32 - 1], [7, 3, 7, 2**32 - 1, 0], range(65_530, 65_545), range(4096), range(4097), range(60_000, 200_000),
            rng.integers(0, 2**32, 1000, np.uint32), rng.integers(0, 1 << 18, 30_000), np.arange(9, dtype=np.uint8),
        ]:
            with self.subTest(repr(numbers)[:40]):
                self.assertEqual(decode_roaring(roaring.encode(numbers)), sorted({int(v) for v in numbers}))

    def test_known_bytes(self):
        # Cookie, one container; high half 1, two values; offset 16; 2 and 70000 - 65536.
        self.assertEqual(roaring.encode([70_000, 65_538]).hex(), "3a300000" "01000000" "01000100" "10000000" "02007011")
        message = segue.Exclude(numbers=("plays", [70_000, 65_538])).message()
        self.assertEqual((message.bitmap.attribute, message.bitmap.roaring), ("plays", roaring.encode([65_538, 70_000])))
        self.assertEqual(segue.Exclude(numbers=("plays", b"as it is")).message().bitmap.roaring, b"as it is")
        self.assertFalse(segue.Exclude().message().HasField("bitmap"))

    def test_refused(self):
        for bad, error in [([-1], ValueError), ([2**32], ValueError), ([0.5], TypeError), (["1"], TypeError), ([True], TypeError)]:
            with self.subTest(bad), self.assertRaises(error):
                roaring.encode(bad)


class Names(unittest.TestCase):
    def test_enums(self):
        for name in ["cosine", "inner_product", "l2"]:
            number = results.enum(collection_pb2.Metric, "METRIC_", name)
            self.assertEqual(results.enum_name(collection_pb2.Metric, "METRIC_", number), name)
        self.assertEqual(results.enum_name(collection_pb2.Metric, "METRIC_", 99), "99")
        with self.assertRaisesRegex(ValueError, "cosine, inner_product, l2"):
            results.enum(collection_pb2.Metric, "METRIC_", "euclid")


class Connection(unittest.TestCase):
    def test_local(self):
        for target in ["127.0.0.1:7070", "127.9.9.9", "[::1]:7070", "::1", "localhost:1", "dns:///localhost:1", "ipv4:127.0.0.1:1",
                       "ipv6:[::1]:1", "unix:/run/segue", "[::ffff:127.0.0.1]:1"]:
            self.assertTrue(connection.is_local(target), target)
        for target in ["segue:7070", "10.0.0.1:7070", "dns:///segue:7070", "dns://127.0.0.1/segue:7070", "localhost.example:1",
                       "ipv4:127.0.0.1:1,10.0.0.1:1", "[2001:db8::1]:1", "", ":7070"]:
            self.assertFalse(connection.is_local(target), target)

    def test_plaintext(self):
        for options in [{}, {"token": "t"}, {"token": "t", "allow_plaintext": True}]:
            with self.subTest(options), self.assertRaisesRegex(ValueError, "not on this machine"):
                segue.Client("segue.example:7070", **options)
        segue.Client("segue.example:7070", allow_plaintext=True).close()
        segue.Client("segue.example:7070", "t", tls=segue.TLS()).close()


class FakeRpcError(grpc.RpcError):
    """What gRPC raises, as far as it is read."""

    def __init__(self, metadata):
        self._metadata = metadata

    def code(self):
        return grpc.StatusCode.INVALID_ARGUMENT

    def details(self):
        return "bad"

    def trailing_metadata(self):
        return self._metadata


class Errors(unittest.TestCase):
    def test_foreign_details(self):
        status = status_pb2.Status()
        info = status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo")
        info.value = status_pb2.ErrorInfo(reason="QUOTA", domain="proxy.example").SerializeToString()
        status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
        header = "grpc-status-details-bin"
        for metadata in [None, (), ((header, b"\xff\xff"),), ((header, status.SerializeToString()),)]:
            got = errors.decode(FakeRpcError(metadata))
            self.assertEqual((got.code, got.reason, got.violations), (grpc.StatusCode.INVALID_ARGUMENT, "", ()))
            self.assertEqual(str(got), "INVALID_ARGUMENT: bad")

    def test_rows_of_the_matrix(self):
        fields = ["items[3].vector", "items[0]", "collection", "items[x].id", "items[3"]
        violations = tuple(segue.Violation(f, "R", "rule") for f in fields)
        cause = segue.SegueError(grpc.StatusCode.INVALID_ARGUMENT, "bad", "R", violations)
        error = segue.UpsertError(cause, 100, 7)
        want = ["items[103].vector", "items[100]", "collection", "items[x].id", "items[3"]
        self.assertEqual([v.field for v in error.violations], want)
        for e in (cause, error):
            again = pickle.loads(pickle.dumps(e))
            self.assertEqual((type(again), str(again), again.violations), (type(e), str(e), e.violations))


if __name__ == "__main__":
    unittest.main()
