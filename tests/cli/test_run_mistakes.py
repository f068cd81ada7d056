"""What the user of ``remotemedia run`` can put right: exit code 2, one line that says how, and no file touched."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from remotemedia._install import install_advice

soundfile = pytest.importorskip("soundfile")


@pytest.fixture
def folder(rx, tmp_path):
    """Files of every kind, and pipelines: one.json (a), two.json (a and b apart), row.json (a to b)."""
    (tmp_path / "in.txt").write_text("text\n")
    (tmp_path / "latin.txt").write_bytes("eins\nzwölf\n".encode("latin-1"))
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "film").write_bytes(b"\0\0\0\x20ftypisom" + bytes(20))
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("This is no audio.\n")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "old.txt").write_text("of an earlier run")
    (tmp_path / "not-a-folder").touch()
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    soundfile.write(tmp_path / "in.wav", np.zeros((800, 2), np.float32), 8000)
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, np.float32), 8000)
    noise = np.random.default_rng(0).normal(0, 0.1, 80_000)
    soundfile.write(tmp_path / "cut.flac", noise, 8000)
    whole = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    rx.manifest(tmp_path, "run-kinds", name="one.json")
    rx.manifest(tmp_path, "run-kinds", "run-ports", name="two.json", connections=[])
    rx.manifest(tmp_path, "run-json", name="json.json")
    rx.manifest(tmp_path, "run-echo", "run-echo", name="row.json")
    rx.manifest(tmp_path, "PocketSphinxNode", name="speech.json")
    rx.manifest(tmp_path, "SileroVADNode", name="vad.json")
    (tmp_path / "broken.json").write_text('{"version": "v1",\n')
    return tmp_path


UNFIT = "the output cannot be written to old.txt: node 'a' puts out "
# Options, what is said, and stdin.
BEFORE_THE_START = {
    "no manifest": ("none.json -i in.txt", "none.json: "),
    "a manifest that is wrong": ("broken.json -i in.txt", "broken.json:"),
    "no input": ("one.json", "no input for node 'a': -i FILE gives one, /dev/null an empty one"),
    "one input too few": ("two.json -i a=in.txt", "no input for node 'b': -i b=FILE gives one"),
    "which input": ("two.json -i in.txt", "-i in.txt: the pipeline has several input nodes: a, b; -i a=in.txt names"),
    "an input too many": ("one.json -i in.txt -i in.txt", "-i in.txt: node 'a' has an input already, in.txt"),
    "stdin twice": ("two.json -i a=- -i b=-", "-i b=-: stdin can be the input of one node only"),
    "no such input node": ("one.json -i x=in.txt", "-i x=in.txt: there is no node 'x' (input nodes: a); a file of"),
    "a node without input": ("row.json -i b=in.txt", "-i b=in.txt: node 'b' is not an input node of this pipeline (in"),
    "no file named": ("one.json -i a=", "-i 'a=' names no file"),
    "no such output node": ("one.json -i in.txt -O x=o", "-O x=o: there is no node 'x' (output nodes: a)"),
    "no output of that node": ("row.json -i in.txt -O a=o", "-O a=o: node 'a' is not an output node of this pipeline"),
    "which output": ("two.json -i a=in.txt -i b=in.txt -O o", "-O o: the pipeline has several output nodes: a, b;"),
    "no such port": (
        "speech.json -i in.wav -O a.x=o",
        "-O a.x=o: node 'a' has no output port 'x'; its output ports are: 'text', 'partial'",
    ),
    "a port without a name": ("one.json -i in.txt -O a.=o", "-O a.=o: there is no node 'a.' (output nodes: a)"),
    "declared JSON into a WAV": ("json.json -i - -O o.wav", "-O o.wav: node 'a' puts out JSON; .wav and .flac files"),
    "declared text into a WAV": ("speech.json -i in.wav -O o.wav", "-O o.wav: node 'a' puts out TEXT; .wav and .flac"),
    "declared audio into text": ("vad.json -i in.wav -O o.txt", "-O o.txt: node 'a' puts out AUDIO; such a file holds"),
    "two outputs of a node": ("one.json -i in.txt -O 1 -O 2", "-O 2: the output of node 'a' has a file already"),
    "two outputs, one file": (
        "two.json -i a=in.txt -i b=in.txt -O a=o -O b=./o",
        "-O b=./o: two outputs cannot go to one file",
    ),
    "output replaces input": ("one.json -i in.txt -O ./in.txt", "-O ./in.txt: the output would replace the input"),
    "no such file": ("one.json -i none.wav", "there is no file none.wav"),
    "a folder": ("one.json -i folder.wav", "folder.wav is not a file"),
    "a file below a file": ("one.json -i not-a-folder/x", "not-a-folder/x cannot be read: Not a directory"),
    "links in a circle": ("one.json -i loop.wav", "loop.wav cannot be read: Too many levels of symbolic links"),
    "an empty audio file": ("one.json -i empty.wav", "empty.wav is empty"),
    "not audio": ("one.json -i text.wav", "text.wav is not audio that can be read: "),
    "text as audio": ("one.json -i in.txt --input-format audio", "in.txt is not audio that can be read: "),
    "audio of zero length": ("one.json -i zero.wav", "zero.wav has no sound in it: its length is zero"),
    "video": ("one.json -i film", "film is neither audio that can be read (WAV, FLAC and OGG are) nor text; it looks"),
    "neither audio nor text": (
        "one.json -i binary",
        "binary is neither audio that can be read (WAV, FLAC and OGG are)",
    ),
    "no output folder": ("one.json -i in.txt -O none/o", "the output cannot be written to none/o: there is no folder"),
    "output is a folder": ("one.json -i in.txt -O folder.wav", "the output cannot be written to folder.wav: it is a"),
    "output in a circle": ("one.json -i in.txt -O loop.wav", "the output cannot be written to loop.wav: Too many"),
    "output not writable": ("one.json -i in.txt -O /proc/o", "the output cannot be written to /proc/o: "),
    "json and data on stdout": ("one.json -i in.txt -O - --json", "--json prints on stdout, and so does -O -"),
    "json and data of a node": ("one.json -i in.txt -O a=- --json", "--json prints on stdout, and so does -O -"),
    "empty session id": ("one.json -i in.txt --session-id=", "--session-id needs a name"),
    "no such module of nodes": ("one.json -i in.txt --nodes none.py", "none.py: there is no such file"),
    "no such setting": ("one.json -i in.txt --set chanel_capacity=3", "chanel_capacity: "),
    "a wrong setting": ("one.json -i in.txt --set channel_capacity=0", "channel_capacity: "),
    "no setting": ("one.json -i in.txt --set channel_capacity", "--set channel_capacity: write KEY=VALUE"),
    "no runtime.toml": ("one.json -i in.txt --config none.toml", "none.toml: there is no such file"),
    "chunk too short": ("one.json -i in.txt --chunk-ms 0", "Invalid value for '--chunk-ms'"),
    "unknown option": ("one.json --loud", "No such option"),
    "no argument": ("", "Missing argument 'MANIFEST'"),
}
WHILE_IT_RUNS = {
    "a file that is cut off": ("row.json -i cut.flac -O out.wav", "cut.flac cannot be read after ", ""),
    "not UTF-8": ("row.json -i latin.txt -O old.txt", "latin.txt is not UTF-8 text: line 2 has the byte 0xf6", ""),
    "not UTF-8 as a whole": ("row.json -i latin.txt --whole-text", "latin.txt is not UTF-8 text: line 2 has", ""),
    "no WAV on stdin": ("row.json -i - --input-format audio", "stdin is not a WAV, the only audio that can", "text"),
    "MP3 on stdin": ("row.json -i -", "from a pipe: it looks like MP3. Name the file instead, or convert", "ID3\3\0"),
    "samples without a head": ("row.json -i -", "stdin begins with a zero byte: it is neither a WAV nor", "\0\0"),
    "FLAC on stdin": ("row.json -i -", "stdin is not a WAV, the only audio that can be read from a pipe", "fLaC"),
    "WAV of an unknown kind": ("row.json -i -", "stdin is a WAV without samples: it ends", "RIFF\0\0\0\0WAVE"),
    "text into a WAV": ("one.json -i - -O folder.wav/o.wav", UNFIT.replace("old.txt", "folder.wav/o.wav"), "text"),
    "audio into text": ("one.json -i - -O old.txt", UNFIT + "audio which goes into files that end in", "audio"),
    "audio after text": ("one.json -i - -O old.txt", UNFIT + "audio after text; -O NODE.PORT=FILE", "text\naudio"),
    "JSON into a WAV": ("one.json -i - -O folder.wav/o.wav", "'a' puts out JSON and the file is one of audio", "json"),
    "JSON after audio": ("one.json -i - -O -", "node 'a' puts out JSON after audio; -O NODE.PORT=FILE", "audio\njson"),
    "a line that is not JSON": (
        "json.json -i -",
        "line 3 of stdin is not JSON, which its node takes: Expecting",
        "1\n\n{\n",
    ),
    "text after audio": ("one.json -i - -O -", "node 'a' puts out text after audio; -O NODE.PORT=FILE", "audio\ntext"),
    "another rate": ("one.json -i - -O -", "16000 Hz with 1 channels of float32 after 8000 Hz", "audio\nother rate"),
    "other channels": ("one.json -i - -O -", "with 2 channels of float32 after 8000 Hz", "audio\nstereo"),
    "another format": ("one.json -i - -O -", "of int16 after 8000 Hz with 1 channels of float32", "audio\nint16"),
    "a format without file": ("one.json -i - -O -", "of float16; int16, int32, float32, float64 can", "float16"),
    "channels that are none": ("one.json -i - -O -", "of shape (100,) said to be 2 channels at", "wrong channels"),
    "a sample alone": ("one.json -i - -O -", "of shape () said to be 1 channels at", "scalar"),
    "audio without a rate": ("one.json -i - -O -", "that does not say its rate and channels", "no rate"),
    "a rate that no file has": ("one.json -i - -O -", "1 channels at 4294967295 Hz", "great rate"),
    "a rate of zero": ("one.json -i - -O -", "1 channels at 0 Hz", "rate 0"),
    "a tensor": (
        "one.json -i - -O old.txt",
        UNFIT + "TENSOR which cannot be written: text, JSON and audio can",
        "tensor",
    ),
    "a full disk": ("one.json -i - -O /dev/full", "cannot be written to /dev/full: No space left on device", "text"),
}


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else stat.S_IFMT(path.lstat().st_mode)
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("name", BEFORE_THE_START)
def test_refused_before_anything_starts(rx, folder, name):
    options, message = BEFORE_THE_START[name]
    before = files(folder)
    done = rx.warm.call("run", "--nodes", str(rx.NODES), *options.split(), cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().replace(f"{folder}/", "").startswith(f"remotemedia: {message}")
    assert done.stderr.count(b"\n") == 1, "nothing was started"
    assert files(folder) == before


@pytest.mark.parametrize("name", WHILE_IT_RUNS)
def test_refused_while_it_runs(rx, folder, name):
    options, message, data = WHILE_IT_RUNS[name]
    before = files(folder)
    done = rx.run(folder / options.split()[0], *options.split()[1:], "-q", data=data.encode())
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(b"remotemedia: ")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert files(folder) == before


def test_a_sample_rate_that_a_node_does_not_take(rx, folder, speech_libraries):
    path = rx.manifest(folder, "SileroVADNode")
    done = rx.run(path, "-i", "in.wav", "-O", "out.wav", "-q")
    assert done.returncode == 1
    assert done.stderr.startswith(b"remotemedia: Node 'a' failed on message 0 of port ")
    assert b"SileroVADNode takes 16000 Hz mono float32, not 8000 Hz with 2 channels" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(("option", "closed"), [("-i", 0), ("-O", 1)])
def test_a_closed_stream(rx, folder, option, closed):
    other = ["-i", "in.txt"] if closed else []
    done = subprocess.run(
        rx.arguments("one.json", *other, option, "-"),
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.close(closed),
    )
    name = ("stdin", "stdout")[closed]
    assert (done.returncode, done.stderr) == (2, f"remotemedia: {option} -: {name} is closed\n")


def test_a_protected_output_is_kept(rx, folder):
    (folder / "old.txt").chmod(0o400)
    if os.access(folder / "old.txt", os.W_OK):
        pytest.skip("this user may write everything")
    done = rx.run(folder / "one.json", "-i", "in.txt", "-O", "old.txt", "-q")
    assert (done.returncode, done.stderr) == (
        2,
        b"remotemedia: the output cannot be written to old.txt: the file is write-protected\n",
    )


@pytest.mark.parametrize(("options", "what"), [(["-i", "in.wav"], "audio"), (["-i", "-", "-O", "o.flac"], "FLAC")])
def test_a_missing_library_says_what_to_install(rx, folder, options, what):
    code = (
        "import sys; sys.modules['soundfile'] = None\nfrom remotemedia.cli import main\n"
        f"sys.exit(main(['run', 'one.json', '--nodes', {str(rx.NODES)!r}, '-q', *sys.argv[1:]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *options], cwd=folder, capture_output=True, text=True, input="audio\n"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"remotemedia: {what} needs soundfile (")
    assert done.stderr.endswith(f"): {install_advice('speech')}\n")
