"""WhisperNode in sessions: the quick start's client as it is written, and interruptions one after the other."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session

pytestmark = pytest.mark.usefixtures("leak_check")

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT / "tests" / "recordings"
CLIENT = (ROOT / "tests" / "session" / "data" / "client.txt").read_text()
INTERRUPTIONS = 50

STAND_INS = """
import numpy as np
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import *

@register_node("lfm2_audio")
class StandInForLfm2(MultiprocessNode):
    async def process(self, data):
        print("heard:", data.payload, flush=True)
        return {"output": RuntimeData.text(data.payload)}

@register_node("vibe_voice")
class StandInForVibeVoice(MultiprocessNode):
    async def process(self, data):
        return RuntimeData.audio(np.zeros(len(data.payload), "f4"), 24000)
"""


def test_the_client_of_the_quick_start_as_it_is_written(tmp_path: Path, tiny_en: str) -> None:
    """One file in, one text out. For want of base's weights, tiny.en's lie where the Hub keeps those."""
    kept = tmp_path / "hub" / "models--Systran--faster-whisper-base"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0123abcd")
    (kept / "snapshots").mkdir()
    (kept / "snapshots" / "0123abcd").symlink_to(tiny_en)
    (recording,) = RECORDINGS.glob("*-0930.wav")
    shutil.copy(recording, tmp_path / "input.wav")
    (tmp_path / "client.py").write_text(STAND_INS + CLIENT)
    done = subprocess.run(
        [sys.executable, "client.py"],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    heard = [line for line in done.stderr.splitlines() if "heard: " in line]
    assert len(heard) == 1 and "amiable himself" in heard[0]
    assert (tmp_path / "output.wav").stat().st_size > 44


@pytest.mark.watchdog(300)
def test_interrupted_while_it_decodes_again_and_again(px: Any, tiny_en: str, said: dict[str, Any]) -> None:
    """Each time the turn that follows is all that is heard: no word of the one that was cut off."""
    old = np.concatenate([samples for samples, _ in said.values()])
    (new,) = (samples for name, (samples, _) in said.items() if name.endswith("0930"))
    pipeline = Pipeline().add_node("WhisperNode", "asr", {"model": tiny_en, "segment": "marks", "beam_size": 1})
    mark = RuntimeData.audio(np.zeros(0, np.float32), 16_000)

    async def turn(session: Session, samples: Any) -> None:
        await session.send("asr", RuntimeData.audio(samples, 16_000))
        await session.send("asr", mark)

    async def answer(session: Session) -> str:
        """The words of the turn, once those with their times have come too."""
        text = ""
        while (data := await session.receive("asr")).port != "words":
            text = data.payload if data.port == "text" else text
        return str(text)

    async def main() -> None:
        async with Session("s", pipeline) as session:
            await turn(session, new)
            expected = await answer(session)
            assert "amiable himself" in expected
            for number in range(INTERRUPTIONS):
                await turn(session, old)
                if number % 2:  # a word of it is on its way already
                    assert (await session.receive("asr")).port == "partial"
                else:
                    await asyncio.sleep(0)
                await session.interrupt()
                await turn(session, new)
                assert await answer(session) == expected

    px.run(main(), patience_secs=280)
