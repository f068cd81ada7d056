"""Requests of ExecutePipeline that no client should send, each with what it is answered."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import remotemedia_v1_pb2 as pb

INVALID = "INVALID_ARGUMENT"
VALIDATION, RESOURCE_LIMIT = "ERROR_TYPE_VALIDATION", "ERROR_TYPE_RESOURCE_LIMIT"
NODE_EXECUTION = "ERROR_TYPE_NODE_EXECUTION"

MANIFEST = pb.PipelineManifest(version="v1", nodes=[pb.NodeManifest(id="a", node_type="t-echo")])
U32, U64 = 2**32 - 1, 2**64 - 1

Row = tuple[bytes, str, str]


def feeding(**member: Any) -> bytes:
    """A buffer for the one node."""
    return pb.ExecuteRequest(manifest=MANIFEST, data_inputs={"a": pb.DataBuffer(**member)}).SerializeToString()


def of(kind: str, **fields: Any) -> bytes:
    """A buffer of this kind for the one node."""
    makers = {each.name: each.message_type._concrete_class for each in pb.DataBuffer.DESCRIPTOR.fields[:9]}
    return feeding(**{kind: makers[kind](**fields)})


def with_node(**fields: Any) -> bytes:
    """A pipeline of this node."""
    node = pb.NodeManifest(**{"id": "a", "node_type": "t-echo", **fields})
    return pb.ExecuteRequest(manifest=pb.PipelineManifest(version="v1", nodes=[node])).SerializeToString()


def with_settings(**settings: Any) -> bytes:
    request = pb.ExecuteRequest(manifest=MANIFEST)
    request.manifest.metadata.multiprocess.update(settings)
    return request.SerializeToString()


def field(number: int, content: bytes) -> bytes:
    """As it is on the wire."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def struct(depth: int) -> bytes:
    """A pipeline whose node has so deep a Struct for params: what protobuf would not make."""
    value = b"\x08\x00"
    for _ in range(depth):
        value = field(5, field(1, field(1, b"k") + field(2, value)))
    params = field(1, field(1, b"k") + field(2, value))
    return field(1, field(1, b"v1") + field(3, field(1, b"a") + field(2, b"t-echo") + field(101, params)))


def rows() -> Iterator[tuple[str, Row]]:
    good = feeding(text=pb.TextBuffer(text_data=b"good"))
    yield "nothing", (b"", INVALID, "Manifest is required")
    yield "bytes", (bytes(range(255, 155, -1)), INVALID, "100 bytes are not a remotemedia.v1.ExecuteRequest: ")
    yield "cut short", (good[:-3], INVALID, "a field ends after the message")
    yield "a group", (b"\x0b\x0c", INVALID, "wire type 3")
    yield "no UTF-8", (good.replace(b"t-echo", b"t-\xff\xfe\xfd!"), INVALID, "text that is not UTF-8")
    yield "many fields", (field(2, b"") * 100_001, INVALID, "more than 100000 fields")
    yield "a manifest of nodes of no bytes", (field(1, b"\x1a\x00" * (5 << 20)), INVALID, "4194304 are allowed")
    yield "a deep Struct", (struct(10_000), INVALID, "nested too deep")
    yield "a Struct as deep as any", (struct(30), "OK", "")
    yield "two manifests", (good + pb.ExecuteRequest(version="v1").SerializeToString(), INVALID, "a manifest twice")
    yield from _manifests()
    yield from _texts()
    yield from _media()
    yield from _settings()


def _manifests() -> Iterator[tuple[str, Row]]:
    def manifest(**fields: Any) -> bytes:
        return pb.ExecuteRequest(manifest=pb.PipelineManifest(version="v1", **fields)).SerializeToString()

    many = [pb.NodeManifest(id=f"n{n}", node_type="t-echo") for n in range(100_000)]
    yield "100,000 nodes", (manifest(nodes=many), RESOURCE_LIMIT, "100000 nodes; 1000 are allowed")
    yield (
        "100,000 nodes at top",
        (
            pb.ExecuteRequest(version="v1", nodes=many[:90_000]).SerializeToString(),
            RESOURCE_LIMIT,
            "90000 nodes; 1000 are allowed",
        ),
    )
    values = {f"p{n}": 1 for n in range(5001)}
    yield "5001 params", (with_node(params=values), RESOURCE_LIMIT, "has 5001 params and settings; 5000 are allowed")
    yield "5001 settings", (with_settings(**values), RESOURCE_LIMIT, "has 5001 params and settings; 5000 are allowed")
    types = [pb.NodeManifest(id=f"n{n}", node_type=f"t{n}") for n in range(51)]
    yield "51 types", (manifest(nodes=types), RESOURCE_LIMIT, "nodes of 51 types; 50 are allowed")
    most, circle = many[:1000], [pb.Connection(**{"from": f"n{n}", "to": f"n{(n + 1) % 1000}"}) for n in range(1000)]
    yield "a circle of 1000", (manifest(nodes=most, connections=circle), VALIDATION, "form a cycle: n0 -> n1 -> ")
    nowhere = [pb.Connection(**{"from": f"x{n}", "to": f"y{n}"}) for n in range(4000)]
    yield "4000 ways to nowhere", (manifest(nodes=most, connections=nowhere), VALIDATION, "and 7980 more problems")
    yield "an id of a megabyte", (with_node(id="x" * (1 << 20)), RESOURCE_LIMIT, "1048576 are allowed")
    yield "a long id", (with_node(id="x" * 256), VALIDATION, "nodes[0].id: has 256 characters; 255 are allowed")
    yield "a long type", (with_node(node_type="x" * 256), VALIDATION, "nodes[0].node_type: has 256 characters")
    yield "NUL in an id", (with_node(id="a\0"), VALIDATION, "nodes[0].id: must not have a NUL")
    yield "no id", (with_node(id=""), VALIDATION, "nodes[0].id: must not be empty")
    deep = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    yield "deep JSON", (with_node(params_json=deep), VALIDATION, "'a': its params are not JSON: it is nested too deep")
    yield "half a character", (with_node(params_json='{"a":"\\ud800"}'), VALIDATION, "half of a character")
    yield (
        "half a character in a map",
        (
            with_node(node_type="t-strict", params_map={"factor": '"\\ud800"'}),
            VALIDATION,
            "half of a character",
        ),
    )
    yield "an infinite param", (with_node(params_json='{"a":1e999}'), VALIDATION, "1e999 is not a JSON value")
    yield "an infinite number of a Struct", (with_node(params={"a": math.inf}), VALIDATION, "inf is not a JSON value")
    yield "digits", (with_node(params_json='{"a":' + "1" * 5000 + "}"), VALIDATION, "a number of 5000 digits")
    yield "a long param", (with_node(node_type="t-strict", params={"factor": "x" * 900_000}), VALIDATION, "characters")
    yield "a large manifest", (with_node(params={"a": "x" * (1 << 20)}), RESOURCE_LIMIT, "1048576 are allowed")


def _texts() -> Iterator[tuple[str, Row]]:
    yield "text that is none", (of("text", text_data=b"\xff"), VALIDATION, "'a']: TextBuffer.text_data is not text")
    yield "UTF-7", (of("text", text_data=b"+2AA-", encoding="utf-7"), VALIDATION, "is not text in utf-7")
    yield "no text encoding", (of("text", text_data=b"00", encoding="hex"), VALIDATION, "is not text in hex")
    yield "a long encoding", (of("text", encoding="x" * 1_000_000), VALIDATION, "is not known; use 'utf-8'")
    yield "JSON", (of("json", json_payload="{"), VALIDATION, "JsonData.json_payload is not JSON")
    yield "deeper JSON", (of("json", json_payload="[" * 100_000), VALIDATION, "it is nested too deep")
    text = pb.TextBuffer(text_data=b"x")
    for name, raw, why in (
        ("no JSON", "[", "is not JSON"),
        ("no object", "1", "is not a JSON object"),
        ("halves", '{"a": ["\\udfff"]}', "half of a character"),
        ("a key of halves", '{"file": {"\\ud800": 1}}', "half of a character"),
        ("infinity", '{"a": 1e400}', "1e400 is not a JSON value"),
    ):
        yield f"metadata: {name}", (feeding(text=text, metadata_json=raw), VALIDATION, why)
    audio = pb.AudioBuffer(samples=bytes(8), sample_rate=1)
    yield "metadata of audio", (feeding(audio=audio, metadata_json="{"), VALIDATION, "metadata_json is not JSON")
    for value in (math.nan, math.inf, -math.inf):
        yield f"the time {value}", (feeding(text=text, timestamp_secs=value), VALIDATION, "timestamp_secs is")


def _media() -> Iterator[tuple[str, Row]]:
    yield "no data", (feeding(), VALIDATION, "the DataBuffer holds nothing")
    yield "control", (of("control"), VALIDATION, "holds control, which is not data")
    yield "no path", (of("file"), VALIDATION, "FileBuffer.path is empty")
    yield "a short tensor", (of("tensor", data=b"abc", shape=[2], dtype=1), VALIDATION, "has 3 bytes, but shape (2,)")
    for shape in ([2**63, 2], [2**57, 2**10, 0], [0, U64]):
        yield f"a tensor {shape}", (of("tensor", data=b"abcd", shape=shape, dtype=1), VALIDATION, "is too large")
    yield "dimensions", (of("tensor", data=b"abcd", shape=[1] * 100_000, dtype=1), VALIDATION, "8 are allowed")
    yield "a dtype", (of("tensor", data=b"abcd", shape=[1], dtype=99), VALIDATION, "dtype 99 is not one of")
    forty = {"data": bytes(40), "shape": [10], "dtype": "float32"}
    for strides in (-4, 2**62, -(2**63)):
        yield f"strides {strides}", (of("numpy", **forty, strides=[strides]), VALIDATION, "leave the 40 bytes")
    yield (
        "a stride of 0",
        (
            of("numpy", data=bytes(40), shape=[2**40], dtype="float32", strides=[0]),
            VALIDATION,
            "leave the 40 bytes",
        ),
    )
    for dtype in ("O", "S8", "(2,3)f4", "f4,f4", "object", ""):
        yield (
            f"dtype {dtype}",
            (of("numpy", data=bytes(40), shape=[5], dtype=dtype), VALIDATION, "is not a bool or a number"),
        )
    yield "no rate", (of("audio", samples=bytes(8)), VALIDATION, "sample_rate is 0")
    yield "odd audio", (of("audio", samples=bytes(7), sample_rate=1), VALIDATION, "not a whole number of frames")
    yield "channels", (of("audio", samples=bytes(8), sample_rate=1, channels=U32), VALIDATION, "4294967295 x 4 bytes")
    yield "samples", (of("audio", samples=bytes(8), sample_rate=1, num_samples=U64), VALIDATION, "num_samples is")
    yield "a format", (of("audio", samples=bytes(8), sample_rate=1, format=-9), VALIDATION, "format -9 is not one of")
    yield "a frame", (of("video", pixel_data=b"abc", width=U32, height=U32, format=1), VALIDATION, "has 3 bytes, but")
    yield "an odd frame", (of("video", width=3, height=3, format=3), VALIDATION, "an even width and height")
    stranger = pb.ExecuteRequest(manifest=MANIFEST, data_inputs={"z" * 1_000_000: pb.DataBuffer()})
    yield "a node of a megabyte", (stranger.SerializeToString(), VALIDATION, "characters")


def _settings() -> Iterator[tuple[str, Row]]:
    for name, values in {
        "shm_segment_size": [0, 2**47, -1, math.inf],
        "channel_capacity": [0, 2**21, 0.5],
        "init_timeout_secs": [-1, 0, math.nan, "1"],
        "spin_us": [-1, 1_000_001],
        "cleanup_grace_period_secs": [0, None],
        "extra_paths": [{"a": 1}, [["a"]], ["/tmp"]],
    }.items():
        for value in values:
            yield f"{name} {value}", (with_settings(**{name: value}), VALIDATION, "metadata.multiprocess")
    yield "2^46 bytes of shared memory", (with_settings(shm_segment_size=2**46), RESOURCE_LIMIT, "cannot be mapped")
    yield "no time to load", (with_settings(init_timeout_secs=1e-9), "DEADLINE_EXCEEDED", "Node 'a' failed to init")
    yield (
        "settings that are odd, and allowed",
        (
            with_settings(
                channel_capacity=2**20, spin_us=1_000_000, init_timeout_secs=1e300, cleanup_grace_period_secs=1e300
            ),
            "OK",
            "",
        ),
    )
    yield "little memory", (with_node(memory_limit_bytes=1 << 20), NODE_EXECUTION, "MemoryError")
    limited = pb.ExecuteRequest(manifest=MANIFEST, resource_limits={"max_timeout_ms": 1})
    yield "a millisecond", (limited.SerializeToString(), RESOURCE_LIMIT, "not done within the 0.001 s")
    unlimited = pb.ExecuteRequest(manifest=MANIFEST)
    for key in ("max_memory_bytes", "max_timeout_ms", "max_audio_samples"):
        setattr(unlimited.resource_limits, key, U64)
    yield "limits as high as they go", (unlimited.SerializeToString(), "OK", "")
