"""The splicing of payloads, held against what protobuf itself makes of the same bytes."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import pytest
import remotemedia_v1_pb2 as pb
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.wire import payload as under_test
from remotemedia.wire.payload import Envelope, decode, encode

PAYLOAD_FIELDS = {
    pb.AudioBuffer: "samples",
    pb.VideoFrame: "pixel_data",
    pb.TensorBuffer: "data",
    pb.NumpyBuffer: "data",
    pb.BinaryBuffer: "data",
}


def filled(envelope: Envelope[Any]) -> Message:
    """The message with each payload in the place of its token."""
    message = type(envelope.message)()
    message.CopyFrom(envelope.message)
    fill(message, envelope.payloads)
    return message


def fill(message: Any, payloads: list[memoryview]) -> None:
    name = PAYLOAD_FIELDS.get(type(message))
    if name is not None and (token := getattr(message, name)):
        setattr(message, name, bytes(payloads[struct.unpack("<I", token)[0]]))
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.file is not pb.DESCRIPTOR:
            continue
        if not isinstance(value, Message):
            inner = list(value.values()) if field.message_type.GetOptions().map_entry else list(value)
        else:
            inner = [value]
        for each in inner:
            if isinstance(each, Message):
                fill(each, payloads)


def same(one: Message, other: Message) -> bool:
    """Also of NaN; not of what nobody knows, which protobuf may keep as bytes with tokens in them."""
    copies = []
    for message in (one, other):
        copy = type(message)()
        copy.CopyFrom(message)
        copy.DiscardUnknownFields()
        copies.append(copy.SerializeToString(deterministic=True))
    return copies[0] == copies[1]


# --- messages ----------------------------------------------------------------------------------------------------

# Around each length at which a length takes a byte more.
sizes = st.sampled_from([size + near for size in (128, 16384) for near in (-9, -1, 0, 9)])
payloads = st.binary(max_size=12) | sizes.map(b"x".__mul__)
audio = st.builds(
    pb.AudioBuffer, samples=payloads, sample_rate=st.integers(0, 2**32 - 1), metadata_json=st.none() | payloads
)
buffers = st.builds(
    pb.DataBuffer,
    audio=audio,
    metadata=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    timestamp_secs=st.floats(),
) | st.one_of(
    st.builds(pb.DataBuffer, video=st.builds(pb.VideoFrame, pixel_data=payloads, width=st.integers(0, 300))),
    st.builds(
        pb.DataBuffer, tensor=st.builds(pb.TensorBuffer, data=payloads, shape=st.just([2, 3000]), layout=st.text())
    ),
    st.builds(pb.DataBuffer, numpy=st.builds(pb.NumpyBuffer, data=payloads, strides=st.just([-1, 9]))),
    st.builds(pb.DataBuffer, binary=st.builds(pb.BinaryBuffer, data=payloads)),
    st.builds(pb.DataBuffer, text=st.builds(pb.TextBuffer, text_data=payloads)),
    st.builds(pb.DataBuffer, json=st.builds(pb.JsonData, json_payload=st.text(max_size=200)), port=st.text()),
    st.builds(pb.DataBuffer),
)
by_name = st.dictionaries(st.text(max_size=3), buffers, max_size=3)
manifests = st.builds(
    pb.PipelineManifest, version=st.text(), nodes=st.just([pb.NodeManifest(id="a", params={"b": [1]})])
)
kinds = [
    st.builds(pb.ExecuteRequest, manifest=manifests, data_inputs=by_name, client_version=st.text()),
    st.builds(pb.ExecuteResponse, result=st.builds(pb.ExecutionResult, data_outputs=by_name, status=st.integers(0, 3))),
    st.one_of(
        st.builds(pb.StreamRequest, init=st.builds(pb.StreamInit, manifest=manifests, data_inputs=by_name)),
        st.builds(
            pb.StreamRequest,
            data_chunk=st.builds(pb.DataChunk, node_id=st.text(), buffer=st.none() | buffers, named_buffers=by_name),
        ),
        st.builds(
            pb.StreamRequest, audio_chunk=st.builds(pb.AudioChunk, buffer=audio, sequence=st.integers(0, 2**64 - 1))
        ),
    ),
    st.one_of(
        st.builds(pb.StreamResponse, result=st.builds(pb.ChunkResult, data_outputs=by_name)),
        st.builds(pb.StreamResponse, closed=st.builds(pb.StreamClosed, reason=st.text())),
    ),
]
messages = st.one_of(kinds)


@given(messages)
def test_what_protobuf_writes_is_read(message: Message) -> None:
    raw = message.SerializeToString()
    envelope = decode(type(message), raw)
    assert same(filled(envelope), message)
    assert all(payload.obj is raw and payload.format == "B" and payload.nbytes for payload in envelope.payloads)


@given(messages)
def test_protobuf_reads_what_is_written(message: Message) -> None:
    envelope = decode(type(message), message.SerializeToString())
    raw = encode(envelope)
    assert same(type(message).FromString(raw), message)
    assert same(filled(decode(type(message), raw)), message)


@given(st.one_of(st.tuples(kind, kind) for kind in kinds))
def test_what_comes_twice_is_what_protobuf_makes_of_it(both: tuple[Message, Message]) -> None:
    first, second = both
    raw = first.SerializeToString() + second.SerializeToString()
    assert same(filled(decode(type(first), raw)), type(first).FromString(raw))


@given(messages, st.data())
def test_damaged_bytes(message: Message, data: st.DataObject) -> None:
    raw = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change" if at < len(raw):
                raw[at] = data.draw(st.integers(0, 255))
            case "cut":
                del raw[at : at + data.draw(st.integers(1, 9))]
            case _:
                raw[at:at] = data.draw(st.binary(max_size=9))
    agrees(type(message), bytes(raw))


@given(st.sampled_from([pb.ExecuteRequest, pb.StreamRequest, pb.StreamResponse]), st.binary())
def test_any_bytes(kind: type[Message], raw: bytes) -> None:
    agrees(kind, raw)


def agrees(kind: type[Message], raw: bytes) -> None:
    try:
        ours = filled(decode(kind, raw))
    except ValueError as error:
        assert "are not a remotemedia.v1." in str(error)
        # Stricter than protobuf: it skips groups, and takes lengths with any number of zeros in front.
        if "has wire type" not in str(error) and "too long" not in str(error):
            with pytest.raises(DecodeError):
                kind.FromString(raw)
    else:
        assert same(ours, kind.FromString(raw))


# --- single cases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x12", "ends after the message"),
        (b"\x12\x05\x12", "ends after the message"),
        (b"\x12\x02\x12\x05" + bytes(9), "ends after the message"),  # past its own message, within the whole
        (b"\x12\x01\x19" + bytes(9), "ends after the message"),
        (b"\x12\x03\x1a\xff\xff" + bytes(9), "ends after the message|damaged"),
        (b"\x12\xff\xff\xff\xff\xff\x01", "too long"),
        (b"\xff\xff\xff\xff\x7f\x01", "too long"),
        (b"\x92\x80\x80\x80\x80\x00\x00", "too long"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "too long"),
        (b"\x08" + b"\x80" * 9, "ends after the message"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x12\x02\x13\x14", "wire type 3"),
        (b"\x0f", "wire type 7"),
        (b"\x00\x00", "damaged"),
        (b"\x12\x03\x0a\x01\xff", "not UTF-8"),
        (b"\x09\x01", "ends after the message"),
        (b"\x0d\x01", "ends after the message"),
    ],
)
def test_refused(raw: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{len(raw)} bytes are not a remotemedia.v1.StreamRequest: .*({said})"):
        decode(pb.StreamRequest, raw)


def test_a_field_of_another_wire_type_is_one_that_nobody_knows() -> None:
    raw = b"\x10\x07\x1a\x02\x10\x05"  # data_chunk and audio_chunk.buffer as numbers
    envelope = decode(pb.StreamRequest, raw)
    assert envelope.payloads == []
    assert same(envelope.message, pb.StreamRequest.FromString(raw))


def test_a_client_cannot_have_more_walked_than_a_message_needs() -> None:
    with pytest.raises(ValueError, match="more than 100000 fields"):
        decode(pb.StreamRequest, b"\x12\x00" * 100_001)
    assert decode(pb.StreamRequest, b"\x12\x00" * 100_000).message.HasField("data_chunk")
    outputs = {f"node.{number}": pb.DataBuffer(binary=pb.BinaryBuffer(data=b"ab")) for number in range(30_000)}
    response = pb.ExecuteResponse(result=pb.ExecutionResult(data_outputs=outputs))
    envelope = decode(pb.ExecuteResponse, response.SerializeToString())
    assert len(envelope.payloads) == 30_000
    assert same(pb.ExecuteResponse.FromString(encode(envelope)), response)


@pytest.mark.parametrize("token", [b"\0\0\0\0", b"abc", b"abcde"])
def test_a_token_of_nothing_is_refused(token: bytes) -> None:
    message = pb.StreamRequest(audio_chunk=pb.AudioChunk(buffer=pb.AudioBuffer(samples=token)))
    with pytest.raises(ValueError, match="something other than the token"):
        encode(Envelope(message))


def test_payloads_are_copied_once_to_write_and_never_to_read() -> None:
    size = 8_000_000
    raw = pb.StreamRequest(
        audio_chunk=pb.AudioChunk(buffer=pb.AudioBuffer(samples=bytes(size), sample_rate=1))
    ).SerializeToString()
    tracemalloc.start()
    try:
        envelope = decode(pb.StreamRequest, raw)
        assert tracemalloc.get_traced_memory()[1] < 100_000
        tracemalloc.reset_peak()
        encode(envelope)
        assert size < tracemalloc.get_traced_memory()[1] < size + 100_000
    finally:
        tracemalloc.stop()


def test_all_places_of_payloads_are_known() -> None:
    def names(kind: Any, paths: dict[int, Any] | int | None) -> set[str]:
        if paths is None:
            return {""}
        if isinstance(paths, int):  # part of a manifest
            return set()
        found = set()
        for tag, below in paths.items():
            field = kind.fields_by_number[tag >> 3]
            found |= {f"{field.name}.{rest}".rstrip(".") for rest in names(field.message_type, below)}
        return found

    members = {"audio.samples", "video.pixel_data", "tensor.data", "binary.data", "numpy.data"}
    places = {
        pb.ExecuteRequest: ["data_inputs.value"],
        pb.ExecuteResponse: ["result.data_outputs.value"],
        pb.StreamRequest: ["init.data_inputs.value", "data_chunk.buffer", "data_chunk.named_buffers.value"],
        pb.StreamResponse: ["result.data_outputs.value"],
    }
    for kind, found in places.items():
        expected = {f"{place}.{member}" for place in found for member in members}
        if kind is pb.StreamRequest:
            expected.add("audio_chunk.buffer.samples")
        assert names(kind.DESCRIPTOR, under_test._PATHS[kind]) == expected
    assert under_test._PATHS[pb.VersionRequest] == {}
