"""AudioOutputNode: to the program, to a file, and to a sound card of ALSA's, whose sound is a file."""

from __future__ import annotations

import asyncio
import ctypes.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import NodeInitializationError, Pipeline, Session
from remotemedia.nodes import AudioOutputNode
from remotemedia.nodes._sound_card import SoundCard, block_of

RATE = 24_000

# A card that takes all it is given at once, and no other format than the first.
_CARD = """
pcm.!default { type plug slave.pcm "to_file" }
pcm.to_file { type file slave.pcm "nowhere" file "%s" format "raw" }
pcm.nowhere { type null }
ctl.!default { type null }
"""


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what the default sound card plays arrives, as float32; for the nodes of sessions."""
    pytest.importorskip("sounddevice", reason="needs sounddevice, of the extra [sound]")
    system = Path("/usr/share/alsa/alsa.conf")
    if ctypes.util.find_library("portaudio") is None or not system.exists():
        pytest.skip("needs PortAudio and ALSA's configuration: apt install libportaudio2")
    played = tmp_path / "played"
    (tmp_path / "asoundrc").write_text(_CARD % played)
    monkeypatch.setenv("ALSA_CONFIG_PATH", f"{system}:{tmp_path / 'asoundrc'}")
    return played


def audio(samples: Any, channels: int = 1, **fields: Any) -> RuntimeData:
    return RuntimeData.audio(samples, RATE, channels, **fields)


def ramp(count: int) -> Any:
    """No two samples in it are equal, and none is silence."""
    return np.linspace(0.1, 0.9, count, dtype=np.float32)


def test_the_program_gets_what_comes_as_it_is(drive: Any) -> None:
    sent = [audio(ramp(10).reshape(5, 2), 2), audio(np.arange(4, dtype=np.int16)), RuntimeData.control("note")]
    got = drive(AudioOutputNode("out", {}), sent)
    assert [data.payload.dtype.name for data in got[:2]] == ["float32", "int16"]
    assert all(np.array_equal(one.payload, other.payload) for one, other in zip(got[:2], sent[:2], strict=True))
    assert got[2].mark == "note"


def test_a_file_appears_and_nothing_else_comes_out(drive: Any, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "a.wav"
    got = drive(AudioOutputNode("out", {"path": str(path), "subtype": "FLOAT"}), [audio(ramp(700)), audio(ramp(1))])
    assert [(data.port, data.payload) for data in got] == [("path", str(path))]
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE and np.array_equal(samples, np.concatenate([ramp(700), ramp(1)]))


def test_wrong_params(drive: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give param 'path' or param 'device', not both"):
        AudioOutputNode("out", {"path": "a.wav", "device": "default"})
    with pytest.raises(ValueError, match=r"must end in one of \.wav, \.flac"):
        AudioOutputNode("out", {"path": "a.mp3"})
    with pytest.raises(FileNotFoundError, match="no folder"):
        drive(AudioOutputNode("out", {"path": str(tmp_path / "none" / "a.wav")}), [])


def test_a_card_plays_all_of_it_and_says_so(card: Path, px: Any) -> None:
    """Integers, too; a mark comes behind what is played before it."""
    messages = [audio(ramp(30_000), timestamp=1.5), audio((ramp(2400) * 2**15).astype(np.int16)), audio(ramp(1))]

    async def main() -> list[RuntimeData]:
        async with Session("plays", Pipeline().add_node("AudioOutputNode", "out", {"device": "default"})) as session:
            for message in messages:
                await session.send("out", message)
            await session.send("out", RuntimeData.control("note"))
            await session.end_input()
            return [data async for _, data in session.outputs()]

    got = px.run(main(), patience_secs=60)
    assert [data.mark for data in got] == ["", "", "", "note"]
    assert [len(data.payload) for data in got[:3]] == [30_000, 2400, 1] and got[0].timestamp == 1.5
    sound = np.frombuffer(card.read_bytes(), np.float32)
    heard = sound[sound != 0]  # where nothing has come yet the card plays silence
    expected = np.concatenate([data.payload for data in got[:3]])
    assert np.allclose(heard, expected, atol=1e-6) and np.allclose(expected[:30_000], ramp(30_000))


def test_a_card_that_is_not_there(card: Path, px: Any) -> None:
    async def main() -> None:
        async with Session("plays", Pipeline().add_node("AudioOutputNode", "out", {"device": "gramophone"})):
            raise AssertionError("there is one")

    with pytest.raises(NodeInitializationError, match=r"no sound card 'gramophone' plays \(.*\); there is '.*default"):
        px.run(main(), patience_secs=60)


@given(st.lists(st.integers(1, 50), max_size=8), st.lists(st.integers(1, 40), max_size=30), st.integers(0, 30))
def test_whatever_the_card_fetches_it_gets_the_blocks_in_order(blocks: list[int], rooms: list[int], cut: int) -> None:
    """And after them silence, and after an interruption nothing of what was there before."""

    async def main() -> None:
        card = SoundCard(AudioOutputNode("out", {}), "default")
        sent = [block_of(ramp(size) + number, RATE, 1, 0.0) for number, size in enumerate(blocks)]
        card._waiting.extend(sent)
        whole = np.concatenate([np.empty((0, 1), np.float32), *(block.samples for block in sent)])
        fetched, ended = np.empty((0, 1), np.float32), 0
        for turn, size in enumerate(rooms):
            if turn == cut:
                whole = whole[: len(fetched)]
                card.silence()
            room = np.full((size, 1), 7, np.float32)
            ended += len(card._fill(room))
            fetched = np.concatenate([fetched, room])
        taken = min(len(fetched), len(whole))
        assert np.array_equal(fetched[:taken], whole[:taken]) and not fetched[taken:].any()
        ends = np.cumsum(blocks)
        assert ended == (ends <= taken).sum()

    asyncio.run(main())
