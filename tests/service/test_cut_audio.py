"""Streams of audio whose chunks are cut anywhere, as by a client that forwards bytes from a socket."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.service._call_metrics import Clock
from remotemedia.service._chunks import Chunks
from remotemedia.service._manifests import BadRequest, session_plan
from remotemedia.service.config import ServiceConfig
from remotemedia.wire.payload import decode

pytestmark = pytest.mark.usefixtures("leak_check")

Control = pb.StreamControl
I16, I32, F32 = pb.AUDIO_FORMAT_I16, pb.AUDIO_FORMAT_I32, pb.AUDIO_FORMAT_F32
WAYS_TO_END = {
    "CLOSE": lambda stream: stream.close(),
    "END_INPUT": lambda stream: stream.command(Control.COMMAND_END_INPUT, node_id="n0"),
    "half-close": lambda stream: stream.call.done_writing(),
}


def audio(samples: bytes, **fields: Any) -> pb.DataBuffer:
    return pb.DataBuffer(audio=pb.AudioBuffer(**({"samples": samples, "sample_rate": 8000, "format": I16} | fields)))


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def pieces(data: bytes, seed: int) -> list[bytes]:
    """``data`` in pieces of 0 to 40 bytes."""
    rng, found = random.Random(seed), []
    while data:
        size = rng.choice([0, 1, 2, 3, 5, 7, 16, 31, 40])
        found.append(data[:size])
        data = data[size:]
    return found


def heard(stream: Any) -> dict[str, bytes]:
    """The samples of all results, by node."""
    found: dict[str, bytes] = {}
    for each in stream.came:
        for node_id, buffer in each.result.data_outputs.items():
            found[node_id] = found.get(node_id, b"") + buffer.audio.samples
    return found


@pytest.mark.parametrize("older", [False, True], ids=["data_chunk", "audio_chunk"])
def test_no_sample_is_lost_or_changed(px: Any, sv: Any, older: bool) -> None:
    """Two nodes at a time, each with rests of its own, whose chunks alternate."""
    forms = {"a": {"format": I16, "channels": 0}, "b": {"format": F32, "channels": 3}, "c": {"format": I32}}
    sent = {"a": noise(2_000, 1), "b": noise(2_400, 2), "c": noise(2_000, 3)}

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.graph([sv.node(name) for name in forms]))
            queues = {name: pieces(data, len(data)) for name, data in sent.items()}
            for number in range(1, max(map(len, queues.values())) + 1):
                for name, queue in queues.items():
                    if number <= len(queue):
                        buffer = audio(queue[number - 1], **forms[name])
                        if older:
                            chunk = pb.AudioChunk(node_id=name, buffer=buffer.audio, sequence=number)
                            await stream.send(audio_chunk=chunk)
                        else:
                            await stream.chunk(name, buffer, number)
            await stream.close()
            assert (await stream.finish())[-1].HasField("closed")
            assert heard(stream) == sent
            results = [each.result for each in stream.came if each.HasField("result")]
            for result in results:
                ((name, buffer),) = result.data_outputs.items()
                frame_bytes = {"a": 2, "b": 12, "c": 4}[name]
                assert not len(buffer.audio.samples) % frame_bytes and buffer.audio.format == forms[name]["format"]
                own = queues[name][result.sequence - 1]
                assert buffer.audio.samples or not own, "a part of a frame is no message"

    px.run(main())


@pytest.mark.parametrize("way", WAYS_TO_END)
def test_a_rest_at_the_end_is_an_error_of_its_chunk(px: Any, sv: Any, way: str) -> None:
    """The last word, once all that was whole has been answered."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo", "t-echo"))
            data = noise(1_001)
            for number in range(11):
                await stream.chunk("n0", audio(data[number * 91 : number * 91 + 91]), number + 1)
            await WAYS_TO_END[way](stream)
            error = await stream.error()
            assert heard(stream) == {"n1": data[:1_000]}
            assert (error.error_type, error.failing_node_id) == (pb.ERROR_TYPE_VALIDATION, "n0")
            assert error.message == (
                "Validation error: chunk 11: AudioBuffer.samples ends with 1 byte of a frame, which has 1 x 2 bytes "
                "(channels x i16), and nothing came after it"
            )
            assert [each.WhichOneof("response") for each in stream.came].count("error") == 1

    px.run(main())


def test_an_interruption_drops_the_rest(px: Any, sv: Any) -> None:
    """A new turn begins with a whole frame, and the incomplete frame of the old one is no longer an error."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"), data_inputs={"n0": audio(b"old")})
            await stream.read_a("result")
            await stream.command(Control.COMMAND_INTERRUPT)
            await stream.read_a("interrupted")
            await stream.chunk("n0", audio(b"new one"))
            await stream.read_a("result")
            await stream.command(Control.COMMAND_INTERRUPT)
            await stream.close()
            assert (await stream.finish())[-1].HasField("closed")
            assert heard(stream) == {"n0": b"olnew on"}

    px.run(main())


# --- without a service ------------------------------------------------------------------------------------------


@pytest.fixture
def chunks(px: Any, sv: Any) -> Any:
    """What reads the chunks of a stream of two nodes."""
    manifest = sv.graph([sv.node("n0"), sv.node("two")])
    limits = pb.ResourceLimits()
    return Chunks(session_plan(manifest, limits, MultiprocessConfig(), ServiceConfig()).pipeline, limits, Clock())


def read(chunks: Chunks, node_id: str = "n0", sequence: int = 0, **members: Any) -> tuple[bytes, list[Any]]:
    """The request as it came, and the payloads that are made of it."""
    request = pb.StreamRequest(data_chunk=pb.DataChunk(node_id=node_id, sequence=sequence, **members))
    raw = request.SerializeToString()
    envelope = decode(pb.StreamRequest, raw)
    found = chunks.data(envelope.message.data_chunk, envelope.payloads)
    return raw, [chunk.data.payload for chunk in found]


def test_whole_frames_are_not_copied(chunks: Chunks) -> None:
    for samples in (noise(64), noise(65)):  # nothing is left of a chunk before
        raw, (payload,) = read(chunks, buffer=audio(samples))
        assert np.shares_memory(payload, np.frombuffer(raw, np.uint8)) and payload.tobytes() == samples[:64]
    _, (payload,) = read(chunks, buffer=audio(noise(3)))
    assert payload.tobytes() == noise(65)[64:] + noise(3)
    raw, (payload,) = read(chunks, buffer=audio(noise(64)))
    assert np.shares_memory(payload, np.frombuffer(raw, np.uint8))
    chunks.frames.check_complete()


def test_each_input_of_a_node_has_its_own(chunks: Chunks) -> None:
    read(chunks, "two", named_buffers={"left": audio(b"abc"), "right": audio(b"xyzuv")})
    _, payloads = read(chunks, "two", named_buffers={"right": audio(b"123"), "left": audio(b"d")})
    assert sorted(payload.tobytes() for payload in payloads) == [b"cd", b"v123"]
    # A node with one input has it under whatever name.
    read(chunks, buffer=audio(b"abc"))
    assert read(chunks, named_buffers={"input": audio(b"d")})[1][0].tobytes() == b"cd"


def test_how_many_samples_a_client_counts(chunks: Chunks) -> None:
    """With those that it has a part of, or without."""
    for size, counts in ((3, (1, 2)), (4, (2,)), (1, (0, 1)), (3, (1, 2)), (5, (2, 3))):
        for count in counts:
            chunks.frames.drop()
            read(chunks, buffer=audio(b"x"))
            read(chunks, buffer=audio(bytes(size), num_samples=count))
        with pytest.raises(BadRequest, match="num_samples is 9, but samples has"):
            read(chunks, buffer=audio(bytes(size), num_samples=9))


@pytest.mark.parametrize("change", [{"format": F32}, {"channels": 2}, {"sample_rate": 8001}])
def test_what_was_cut_is_to_blame_where_other_audio_follows(chunks: Chunks, change: dict[str, Any]) -> None:
    read(chunks, sequence=1, buffer=audio(b"abc"))
    read(chunks, sequence=2, buffer=pb.DataBuffer(text=pb.TextBuffer(text_data=b"in between")))
    with pytest.raises(
        BadRequest, match=r"^chunk 1: AudioBuffer.samples ends with 1 byte of a frame, which has 1 x 2 "
    ):
        read(chunks, sequence=3, buffer=audio(bytes(24), **change))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"format": 9}, "format 9 is not one of"),
        ({"channels": 2**32 - 1}, "not a whole number of frames of 4294967295 x 2 bytes"),
        ({"channels": 513}, "not a whole number of frames of 513 x 2 bytes"),
        ({"metadata_json": b"["}, "metadata_json is not JSON"),
    ],
)
def test_other_mistakes_are_told_at_once(chunks: Chunks, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=f"^chunk 0: AudioBuffer.*{message}"):
        read(chunks, buffer=audio(b"x", **fields))


def test_what_a_client_can_make_the_service_keep(chunks: Chunks) -> None:
    """Inputs that a node does not declare have as many names as the client thinks of."""
    with pytest.raises(BadRequest, match="not a whole number of frames"):
        read(chunks, named_buffers={"x" * 256: audio(b"x"), "y": audio(b"")})
    with pytest.raises(BadRequest, match="not a whole number of frames"):
        for number in range(2_000):
            read(chunks, named_buffers={f"port {number}": audio(b"x"), "y": audio(b"")})
    assert number == 1024
    with pytest.raises(BadRequest) as raised:
        chunks.frames.check_complete()
    assert raised.value.node_id == "n0"
