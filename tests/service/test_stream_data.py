"""Each kind of data through a stream and a node, and back as it was."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

SAMPLES = np.linspace(-1, 1, 480, dtype="<f4")
PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).tobytes()
TENSOR = np.arange(24, dtype="<f4")
WIDE = np.arange(6, dtype="<f8")

# What goes in, and what comes out where that is more than went in.
KINDS: dict[str, tuple[pb.DataBuffer, pb.DataBuffer | None]] = {
    "audio": (
        pb.DataBuffer(
            audio=pb.AudioBuffer(
                samples=SAMPLES.tobytes(), sample_rate=16_000, channels=2, format=pb.AUDIO_FORMAT_F32, num_samples=480
            )
        ),
        None,
    ),
    "audio_i16": (
        pb.DataBuffer(
            audio=pb.AudioBuffer(
                samples=bytes(range(64)), sample_rate=8_000, channels=1, format=pb.AUDIO_FORMAT_I16, num_samples=32
            )
        ),
        None,
    ),
    "audio_i32": (
        pb.DataBuffer(
            audio=pb.AudioBuffer(
                samples=bytes(range(64)), sample_rate=8_000, channels=1, format=pb.AUDIO_FORMAT_I32, num_samples=16
            )
        ),
        None,
    ),
    "audio_of_the_least_words": (
        pb.DataBuffer(audio=pb.AudioBuffer(samples=SAMPLES.tobytes(), sample_rate=16_000)),
        pb.DataBuffer(
            audio=pb.AudioBuffer(
                samples=SAMPLES.tobytes(), sample_rate=16_000, channels=1, format=pb.AUDIO_FORMAT_F32, num_samples=480
            )
        ),
    ),
    "video": (
        pb.DataBuffer(video=pb.VideoFrame(pixel_data=PIXELS, width=6, height=4, format=pb.PIXEL_FORMAT_RGB24, fps=25)),
        None,
    ),
    "video_of_no_format": (pb.DataBuffer(video=pb.VideoFrame(pixel_data=PIXELS, width=6, height=4)), None),
    "video_encoded": (
        pb.DataBuffer(
            video=pb.VideoFrame(
                pixel_data=b"bitstream",
                width=640,
                height=480,
                format=pb.PIXEL_FORMAT_ENCODED,
                codec=pb.VIDEO_CODEC_H264,
                frame_number=7,
                timestamp_us=40_000,
                is_keyframe=True,
            )
        ),
        None,
    ),
    "tensor": (
        pb.DataBuffer(
            tensor=pb.TensorBuffer(data=TENSOR.tobytes(), shape=[2, 3, 4], dtype=pb.TENSOR_DTYPE_F32, layout="NCH")
        ),
        None,
    ),
    "tensor_of_no_dtype": (
        pb.DataBuffer(tensor=pb.TensorBuffer(data=TENSOR.tobytes(), shape=[24])),
        pb.DataBuffer(tensor=pb.TensorBuffer(data=TENSOR.tobytes(), shape=[24], dtype=pb.TENSOR_DTYPE_F32)),
    ),
    "numpy": (
        pb.DataBuffer(
            numpy=pb.NumpyBuffer(data=WIDE.tobytes(), shape=[2, 3], dtype="float64", strides=[24, 8], c_contiguous=True)
        ),
        None,
    ),
    "json": (pb.DataBuffer(json=pb.JsonData(json_payload='{"a": [1, null]}', schema_type="note")), None),
    "text": (
        pb.DataBuffer(text=pb.TextBuffer(text_data="grüß 🜂".encode(), encoding="utf-8", language="de", channel="ui")),
        None,
    ),
    "binary": (pb.DataBuffer(binary=pb.BinaryBuffer(data=bytes(range(256)), mime_type="image/x")), None),
    "file": (
        pb.DataBuffer(file=pb.FileBuffer(path="/a/b.wav", filename="b.wav", mime_type="audio/wav", size=9, offset=1)),
        None,
    ),
    "metadata": (
        pb.DataBuffer(text=pb.TextBuffer(text_data=b"x", encoding="utf-8"), metadata={"who": "me", "why": ""}),
        None,
    ),
}
COUNTED = {"audio": 4, "video": 3, "tensor": 3, "json": 1, "text": 2, "binary": 1, "file": 1}


def plain(buffer: pb.DataBuffer) -> pb.DataBuffer:
    """Without what the way adds."""
    made = pb.DataBuffer()
    made.CopyFrom(buffer)
    made.ClearField("timestamp_secs")
    made.ClearField("port")
    return made


def test_each_kind(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            for number, (sent, _) in enumerate(KINDS.values(), 1):
                await stream.chunk("n0", sent, number)
            await stream.close()
            await stream.finish()
            results = [each.result for each in stream.came if each.HasField("result")]
            for (name, (sent, expected)), result in zip(KINDS.items(), results, strict=True):
                got = plain(result.data_outputs["n0"])
                if "numpy" in name:
                    # A small array of two dimensions is contiguous in one way only.
                    assert got.numpy.c_contiguous and not got.numpy.f_contiguous
                assert got == (expected or sent), name
            counted = stream.came[-1].closed.final_metrics.data_type_breakdown
            assert dict(counted) == COUNTED

    px.run(main())


def test_the_older_form_of_audio(px: Any, sv: Any) -> None:
    sent, expected = KINDS["audio_of_the_least_words"]

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            await stream.send(audio_chunk=pb.AudioChunk(node_id="n0", buffer=sent.audio, sequence=4, timestamp_ms=1500))
            result = await stream.read_a("result")
            assert result.sequence == 4 and plain(result.data_outputs["n0"]) == expected
            await stream.close()
            await stream.finish()

    px.run(main())


def test_times(px: Any, sv: Any) -> None:
    """Of a chunk: since the stream began, or of a clock on the wall."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            times = []
            for number, timestamp_ms in enumerate((0, 1_000, 61_000, 1_700_000_000_500), 1):
                await stream.chunk("n0", "x", number, timestamp_ms=timestamp_ms)
                times.append((await stream.read_a("result")).data_outputs["n0"].timestamp_secs)
            now, second, minute, wall = times
            assert minute - second == pytest.approx(60) and abs(now - second) < 60
            assert wall == 1_700_000_000.5
            await stream.close()
            await stream.finish()

    px.run(main())


def test_what_a_node_sees(px: Any, sv: Any) -> None:
    """Its input's kind, shape and metadata, whatever the wire made of them."""

    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-see"))
            for sent, _ in KINDS.values():
                await stream.chunk("n0", sent)
            await stream.close()
            seen = {name: json.loads(text) for name, (_, _, text) in zip(KINDS, await stream.results(), strict=True)}
            assert seen["audio"][:3] == ["audio", "float32", [240, 2]]
            assert seen["audio_i16"][:3] == ["audio", "int16", [32]]
            assert seen["video"][:3] == ["video", "uint8", [4, 6, 3]]
            assert seen["tensor"] == ["tensor", "float32", [2, 3, 4], {"layout": "NCH"}]
            assert seen["numpy"] == ["tensor", "float64", [2, 3], None]
            assert seen["json"] == ["json", "str", [16], {"schema_type": "note"}]
            assert seen["text"] == ["text", "str", [6], {"language": "de", "channel": "ui"}]
            assert seen["binary"][3] == {"mime_type": "image/x"}
            assert seen["metadata"][3] == {"who": "me", "why": ""}

    px.run(main())


def test_json_is_text_where_only_text_is_taken(px: Any, sv: Any) -> None:
    """In both calls, and by the port's name or without."""
    sent, _ = KINDS["json"]
    as_text = ["text", "str", [16], {"mime_type": "application/json", "schema_type": "note"}]

    async def main() -> None:
        async with sv.serving() as client:
            for node_type, expected in (
                ("t-see-text", as_text),
                ("t-see-words", ["json", "str", [16], {"schema_type": "note"}]),
            ):
                stream = await client.ready(sv.chain(node_type))
                await stream.chunk("n0", sent)
                await stream.send(data_chunk=pb.DataChunk(node_id="n0", named_buffers={"in": sent}))
                await stream.close()
                seen = [json.loads(said) for _, _, said in await stream.results()]
                result = await client.result(sv.chain(node_type), {"n0": sent})
                seen.append(json.loads(sv.said(result.data_outputs["n0"])))
                for kind, dtype, shape, metadata in seen:
                    assert [kind, dtype, shape, dict(sorted(metadata.items()))] == expected
                assert len(seen) == 3

    px.run(main())


def test_an_output_that_no_message_holds(px: Any, sv: Any) -> None:
    async def main() -> None:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain(("t-flood", {"times": 1}), shm_segment_size=64_000_000))
            await stream.chunk("n0", "17000000")
            error = await stream.error()
            assert error.error_type == pb.ERROR_TYPE_RESOURCE_LIMIT
            assert error.message == (
                "Resource limit exceeded: an output of node 'n0' has 17000000 bytes; a message may have 16842752, all "
                "told"
            )
            # The largest that is promised, both ways.
            stream = await client.ready(sv.chain("t-echo", shm_segment_size=64_000_000))
            await stream.chunk("n0", sv.binary(b"x" * (16 << 20)))
            assert (await stream.read_a("result")).data_outputs["n0"].binary.data == b"x" * (16 << 20)
            await stream.close()
            await stream.finish()

    px.run(main())
