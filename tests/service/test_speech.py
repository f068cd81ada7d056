"""Speech through the service: a spoken question goes in as a stream of audio, the answer comes out as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import remotemedia_v1_pb2 as pb

pytestmark = pytest.mark.usefixtures("leak_check")

CHUNK = 1600


async def spoken_question(client: Any, sv: Any) -> tuple[np.ndarray[Any, Any], int]:
    """Samples and rate of a question that the service itself speaks, and two seconds of silence."""
    manifest = sv.graph([sv.node("tts", "EspeakTTSNode", {"voice": "en-us+klatt6", "rate": 170})])
    result = await client.result(manifest, {"tts": "what time is it"})
    found = result.data_outputs
    keys = sorted(set(found) - {"output"}, key=lambda key: int(key.partition(".")[2] or 0))
    parts = [np.frombuffer(found[key].audio.samples, "<f4") for key in keys]
    rate = found["tts"].audio.sample_rate
    return np.concatenate([*parts, np.zeros(2 * rate, "<f4")]), rate


def test_a_question_is_answered_while_the_client_still_listens(
    px: Any, sv: Any, speech_manifest: dict[str, Any]
) -> None:
    """The answer comes before the stream has ended: it is not made of a whole recording."""

    async def main() -> None:
        async with sv.serving() as client:
            samples, rate = await spoken_question(client, sv)
            stream = await client.ready(pb.PipelineManifest(**speech_manifest))
            for number, at in enumerate(range(0, len(samples), CHUNK), 1):
                part = samples[at : at + CHUNK]
                audio = pb.AudioBuffer(
                    samples=part.tobytes(),
                    sample_rate=rate,
                    channels=1,
                    format=pb.AUDIO_FORMAT_F32,
                    num_samples=len(part),
                )
                await stream.chunk("resample", pb.DataBuffer(audio=audio), number)
            heard, spoken = [], 0
            while not spoken:
                response = await stream.read()
                assert response is not None and not response.HasField("error"), response
                for node_id, buffer in response.result.data_outputs.items():
                    if node_id == "asr" and buffer.port == "text":
                        heard.append(sv.said(buffer))
                    elif node_id == "tts":
                        spoken += buffer.audio.num_samples
            assert heard == ["what time is it"]
            await stream.close()
            for response in await stream.finish():
                spoken += sum(each.audio.num_samples for each in response.result.data_outputs.values())
            assert spoken > 22_050 // 2
            assert stream.came[-1].closed.reason == "Client requested close"

    px.run(main())
