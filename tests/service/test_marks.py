"""Marks on the wire: control buffers for clients that ask for them, what they always got for all others."""

from __future__ import annotations

import json
from typing import Any

import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

FORM = {"sample_rate": 16_000, "channels": 2, "format": "f32"}


def control(name: Any, **value: Any) -> pb.DataBuffer:
    return pb.DataBuffer(control=pb.ControlMessage(metadata=json.dumps({"name": name, **value})))


MARKS = [control("end_of_utterance", value=FORM), control("end_of_turn"), control("mine", value=[1, {"a": None}])]


async def sent(client: Any, sv: Any, **init: Any) -> list[pb.DataBuffer]:
    """What comes of the marks and of a word behind them."""
    stream = await client.ready(sv.chain("t-marks", "t-marks"), **init)
    for number, buffer in enumerate([*MARKS, sv.text("word")], 1):
        await stream.chunk("n0", buffer, number)
    await stream.close()
    results = [each.result for each in await stream.finish() if each.HasField("result")]
    assert [result.sequence for result in results] == sorted(result.sequence for result in results)
    return [buffer for result in results for buffer in result.data_outputs.values()]


def test_a_client_that_asks_gets_marks(px: Any, sv: Any) -> None:
    async def main() -> list[pb.DataBuffer]:
        async with sv.serving() as client:
            return await sent(client, sv, marks=True)

    *marks, word = px.run(main())
    assert [json.loads(buffer.control.metadata) for buffer in marks] == [
        {"name": "end_of_utterance", "value": FORM},
        {"name": "end_of_turn"},
        {"name": "mine", "value": [1, {"a": None}]},
    ]
    assert all(buffer.control.timestamp_ms > 0 for buffer in marks)
    assert sv.said(word) == "word"


def test_any_other_client_gets_audio_without_samples_or_nothing(px: Any, sv: Any) -> None:
    async def main() -> list[pb.DataBuffer]:
        async with sv.serving() as client:
            return await sent(client, sv)

    end, word = px.run(main())
    audio = pb.AudioBuffer(sample_rate=16_000, channels=2, format=pb.AUDIO_FORMAT_F32)
    assert end.audio == audio
    assert sv.said(word) == "word"


def test_a_unary_call_gets_none(px: Any, sv: Any) -> None:
    async def main() -> dict[str, pb.DataBuffer]:
        async with sv.serving() as client:
            results = [await client.result(sv.chain("t-marks"), {"n0": buffer}) for buffer in MARKS]
            return [dict(result.data_outputs) for result in results]

    assert [sorted(outputs) for outputs in px.run(main())] == [["n0", "output"], [], []]


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ("", "holds control, which is not data; set one of audio, video"),
        ("not JSON", "ControlMessage.metadata"),
        ("[1]", "ControlMessage.metadata is not a JSON object, but a list"),
        ("{}", "ControlMessage.metadata has None for a name"),
        ('{"name": ""}', "has '' for a name; a mark has the name of what it marks"),
        ('{"name": 5}', "has 5 for a name"),
    ],
)
def test_what_is_no_mark_is_refused(px: Any, sv: Any, metadata: str, why: str) -> None:
    async def main() -> str:
        async with sv.serving() as client:
            stream = await client.ready(sv.chain("t-echo"))
            await stream.chunk("n0", pb.DataBuffer(control=pb.ControlMessage(metadata=metadata)), 1)
            return str((await stream.error()).message)

    assert why in px.run(main())
