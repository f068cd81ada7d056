"""``remotemedia run`` from files and pipes to files and pipes: every byte is what the Python API gives."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")

LINES = ["one", "", "drei  \t", "vier ü", "with\u2028separator", "last"]
TEXT = "\n".join(LINES).encode()


def sound(path, rate=16_000, channels=1, secs=0.73, subtype=None):
    """Noise, with values beyond full scale where the format has them."""
    samples = np.random.default_rng(1).normal(0, 0.5, (int(rate * secs), channels)).astype(np.float32)
    soundfile.write(path, samples, rate, subtype)
    return path


def pipeline_of(path):
    from remotemedia.core.multiprocessing import Pipeline

    return Pipeline.from_manifest(path)


# --- text --------------------------------------------------------------------------------------------------------


def test_text_is_what_the_api_gives(rx, tmp_path):
    from remotemedia.core.data import RuntimeData

    path = rx.manifest(tmp_path, "run-echo", "run-echo")
    (tmp_path / "in.txt").write_bytes(TEXT)
    expected = b"".join(raw + b"\n" for raw, _ in rx.api(pipeline_of(path), map(RuntimeData.text, LINES), "b"))
    assert expected == TEXT + b"\n"
    done = rx.run(path, "-i", "in.txt", "-O", "out.txt")
    assert (done.returncode, done.stdout) == (0, b"")
    assert (tmp_path / "out.txt").read_bytes() == expected
    piped = rx.run(path, "-i", "-", "-O", "-", "--quiet", data=TEXT)
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, expected, b"")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.txt", "m.json", "out.txt"]


def test_whole_text_is_one_message(rx, tmp_path):
    path = rx.manifest(tmp_path, "run-echo")
    done = rx.run(path, "-i", "-", "-O", "out.txt", "--whole-text", "--json", data=b"\xef\xbb\xbfa\r\nb\n")
    assert done.returncode == 0
    assert json.loads(done.stdout)["inputs"][0]["messages"] == 1
    assert (tmp_path / "out.txt").read_bytes() == b"a\r\nb\n\n"


def test_json_by_the_line(rx, tmp_path):
    path = rx.manifest(tmp_path, "run-json")
    values = b'{"a": 1, "b": [null]}\n\n  \r\n["\xc3\xbc"]\r\n'
    done = rx.run(path, "-i", "-", "-O", "-", "--quiet", data=values)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b'[2,{"a":1,"b":[null]}]\n[1,["\xc3\xbc"]]\n'
    (tmp_path / "in.json").write_text(json.dumps({"a": [1, 2]}, indent=2))
    done = rx.run(path, "-i", "in.json", "-O", "out.jsonl", "--whole-text")
    assert (tmp_path / "out.jsonl").read_bytes() == b'[1,{"a":[1,2]}]\n'


def test_a_json_value_is_one_line(rx, tmp_path):
    done = rx.run(rx.manifest(tmp_path, "run-kinds"), "-i", "-", "-O", "-", "--quiet", data=b"json\ntext\n")
    assert done.stdout.decode().split("\n") == ['{"a":   ["ü", "\u2028"]} ', "text", ""]


def test_line_ends_and_byte_order_mark_are_no_text(rx, tmp_path):
    done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "-", "-O", "-", data=b"\xef\xbb\xbfa\r\nb\n")
    assert (done.returncode, done.stdout) == (0, b"a\nb\n")


@pytest.mark.parametrize("line", [b"R\n", b"\n", b"fL\n", b"RIFF\n" + b"x" * 20 + b"\n"])
def test_a_short_line_is_answered_at_once(rx, tmp_path, line):
    """Whether it is text must not wait for bytes that are not there yet."""
    pipe = subprocess.PIPE
    command = rx.arguments(rx.manifest(tmp_path, "run-echo"), "-i-", "-O-", "-q")
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline() == line.splitlines(keepends=True)[0]
        process.communicate()
    assert process.returncode == 0


def test_no_text_is_no_message(rx, tmp_path):
    path = rx.manifest(tmp_path, "run-echo")
    done = rx.run(path, "-i", "/dev/null", "-O", "out.txt", "--json")
    assert (done.returncode, json.loads(done.stdout)["inputs"][0]["messages"]) == (0, 0)
    assert (tmp_path / "out.txt").read_bytes() == b""


def test_a_line_longer_than_any_read(rx, tmp_path):
    data = b"x" * 300_000 + b"\n" + b"y" * 300_000 + b"\n"
    done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "-", "-O", "-", data=data)
    assert (done.returncode, done.stdout) == (0, data)


# --- audio -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rate", "channels"), [("in.wav", 16_000, 1), ("in.flac", 44_100, 2), ("in.ogg", 48_000, 1)]
)
def test_audio_is_what_the_api_gives(rx, tmp_path, name, rate, channels):
    source = sound(tmp_path / name, rate, channels)
    path = rx.manifest(tmp_path, "run-double", "run-echo")
    expected = b"".join(raw for raw, _ in rx.api(pipeline_of(path), rx.blocks(source), "b"))
    assert len(expected) == 4 * channels * int(rate * 0.73)
    done = rx.run(path, "-i", name, "-O", "out.wav")
    assert done.returncode == 0
    out = (tmp_path / "out.wav").read_bytes()
    assert rx.samples_of(out) == expected
    assert struct.unpack("<I", out[4:8]) == (len(out) - 8,)
    assert struct.unpack("<I", out[-len(expected) - 4 : -len(expected)]) == (len(expected),)
    read, read_rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert (read.tobytes(), read_rate) == (expected, rate)
    # To a pipe its length is not known; redirected into a file it is the very same file.
    piped = rx.run(path, "-i", name, "-O", "-")
    assert (piped.returncode, rx.samples_of(piped.stdout)) == (0, expected)
    assert soundfile.read(io.BytesIO(piped.stdout), dtype="float32")[0].tobytes() == expected
    with (tmp_path / "redirected.wav").open("wb") as file:
        subprocess.run(rx.arguments(path, "-i", name, "-O", "-", "-q"), cwd=tmp_path, stdout=file, check=True)
    assert (tmp_path / "redirected.wav").read_bytes() == out


def test_a_wav_on_stdin_is_fed_like_the_file(rx, tmp_path):
    source = sound(tmp_path / "in.wav", 8000, 3, subtype="PCM_24")
    done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i-", "-Oout.wav", "--json", data=source.read_bytes())
    assert (done.returncode, json.loads(done.stdout)["inputs"][0]["messages"]) == (0, 8)
    expected = soundfile.read(source, dtype="float32")[0]
    assert rx.samples_of((tmp_path / "out.wav").read_bytes()) == expected.tobytes()


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_that_does_not_know_its_length(rx, tmp_path, size):
    data = sound(tmp_path / "in.wav", 8000, subtype="PCM_16").read_bytes()
    at = data.index(b"data") + 4
    data = data[:at] + struct.pack("<I", size) + data[at + 4 :]
    done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "-", "-O", "out.wav", data=data)
    assert done.returncode == 0, done.stderr
    expected = soundfile.read(tmp_path / "in.wav", dtype="float32")[0]
    assert rx.samples_of((tmp_path / "out.wav").read_bytes()) == expected.tobytes()


def test_what_follows_the_samples_is_no_sound(rx, tmp_path):
    data = sound(tmp_path / "in.wav", 8000, subtype="PCM_16").read_bytes()
    done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "-", "-O", "out.wav", data=data + b"LIST\4\0\0\0abcd")
    assert done.returncode == 0
    assert soundfile.info(tmp_path / "out.wav").frames == soundfile.info(tmp_path / "in.wav").frames


@pytest.mark.parametrize(
    ("kind", "channels", "subtype"), [("int16", 1, "PCM_16"), ("audio", 1, "FLOAT"), ("stereo", 2, "FLOAT")]
)
def test_a_wav_has_the_format_of_the_data(rx, tmp_path, kind, channels, subtype):
    done = rx.run(rx.manifest(tmp_path, "run-kinds"), "-i-", "-Oout.wav", "-q", data=f"{kind}\nend\n{kind}".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    with soundfile.SoundFile(tmp_path / "out.wav") as file:
        assert (file.frames, file.channels, file.samplerate, file.subtype) == (200, channels, 8000, subtype)
        if subtype == "PCM_16":
            assert file.read(dtype="int16").tolist() == [*range(100), *range(100)]


def test_flac_holds_the_samples(rx, tmp_path):
    source = sound(tmp_path / "in.wav", 8000, 2, subtype="PCM_16")
    done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "in.wav", "-O", "out.flac")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(soundfile.read(tmp_path / "out.flac")[0], soundfile.read(source)[0])


def test_the_speech_manifest(rx, tmp_path, speech_libraries):
    """File, pipe and API: the same bytes, with seven processes between."""
    from remotemedia.manifest import load_manifest

    # The replies to these are the same at any time of the day.
    question = tmp_path / "question.flac"
    subprocess.run([sys.executable, rx.IN_ONE_PROCESS, "ask", question, "what can you do", "thank you"], check=True)

    path = rx.EXAMPLES / "speech.yaml"
    pipeline = load_manifest(path).pipeline
    (output,) = pipeline.output_nodes
    expected = b"".join(raw for raw, _ in rx.api(pipeline, rx.blocks(question), output))
    assert len(expected) > 4 * 22_050
    done = subprocess.run([*rx.COMMAND, path, "-i", question, "-O", "out.wav"], cwd=tmp_path)
    assert done.returncode == 0
    assert rx.samples_of((tmp_path / "out.wav").read_bytes()) == expected
    samples, rate = soundfile.read(question, dtype="float32")
    soundfile.write(tmp_path / "question.wav", samples, rate, "FLOAT")
    with (tmp_path / "question.wav").open("rb") as file:
        piped = subprocess.run([*rx.COMMAND, path, "-i", "-", "-O", "-"], stdin=file, capture_output=True)
    assert (piped.returncode, rx.samples_of(piped.stdout)) == (0, expected)


# --- several -----------------------------------------------------------------------------------------------------


def test_the_seeds_manifest_as_written(rx, tmp_path):
    """It names ``python``, which needs to be neither in PATH nor what is found there."""
    source = sound(tmp_path / "in.wav", subtype="PCM_16")
    path = shutil.copy(rx.EXAMPLES.parent / "tests" / "manifest" / "data" / "with-settings.json", tmp_path)
    bare = os.environ | {"PATH": "/usr/bin:/bin"}
    done = rx.run(path, "--nodes", rx.STAND_INS, "-i", source, "-O", "out.wav", env=bare)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert soundfile.read(tmp_path / "out.wav")[0].tobytes() == soundfile.read(source)[0].tobytes()


def test_several_inputs_outputs_and_ports(rx, tmp_path):
    path = rx.manifest(tmp_path, "run-echo", "run-ports", "run-echo", connections=[])
    files = {"a": b"1\n2\n", "b": b"xyz\n", "c": b"z\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = rx.run(
        path, "--json",
        *(f"-i{name}={name}" for name in files),
        "-O", "a=a=1.txt", "-O", "b.letters=letters.txt", "-O", "b.number=number.txt", "-Oc.any=/dev/null",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = {name: (tmp_path / name).read_text() for name in ("a=1.txt", "letters.txt", "number.txt")}
    assert written == {"a=1.txt": "1\n2\n", "letters.txt": "xyz\n", "number.txt": "3\n"}
    summary = json.loads(done.stdout)
    assert [(fed["node_id"], fed["messages"]) for fed in summary["inputs"]] == [("a", 2), ("b", 1), ("c", 1)]
    assert [(out["node_id"], out["port"], out["messages"]) for out in summary["outputs"]] == [
        ("a", None, 2),
        ("b", "letters", 1),
        ("b", "number", 1),
        ("c", "any", 1),
    ]
    assert (summary["session_id"], summary["failed_messages"], summary["unwritten_messages"]) == ("test", 0, 0)
    assert len({node["pid"] for node in summary["nodes"]}) == 3
    assert [node["first_outputs"] for node in summary["nodes"]] == [2, 1, 1]
    assert all(0 < node["first_output_p50_secs"] <= node["first_output_p95_secs"] for node in summary["nodes"])
    assert {channel["name"] for channel in summary["channels"]} >= {"session_to_a", "b_to_session"}


def test_what_has_no_output_option_is_counted(rx, tmp_path):
    done = rx.run(rx.manifest(tmp_path, "run-ports"), "-i", "-", "-O", "a.number=-", data=b"ab\n")
    assert (done.returncode, done.stdout) == (0, b"2\n")
    assert b"\n1 message without -O not written\n" in done.stderr


def test_session_id_and_settings(rx, tmp_path):
    (tmp_path / "other.toml").write_text("[multiprocess]\nchannel_capacity = 5\n")
    path = rx.manifest(tmp_path, "run-echo", settings={"use_uvloop": False})
    done = rx.run(path, "-i-", "--json", "--session-id", "mine", "--config", "other.toml", data=b"a\n")
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["session_id"]) == (0, "mine")
    assert {channel["capacity"] for channel in summary["channels"]} == {5}
    done = rx.run(path, "-i-", "--json", "--config", "other.toml", "--set", "channel_capacity=7", data=b"a\n")
    assert {channel["capacity"] for channel in json.loads(done.stdout)["channels"]} == {7}


# --- what is shown -----------------------------------------------------------------------------------------------


def test_progress_in_plain_lines(rx, tmp_path):
    sound(tmp_path / "in.wav", 8000, secs=1.25)
    done = rx.run(rx.manifest(tmp_path, "run-echo", "run-echo"), "-i", "in.wav", "-O", "out.wav")
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "starting one process per node"
    # On a busy machine a node also says how long it has been starting.
    steps = [line.split()[:2] for line in lines if line.startswith("  ")]
    assert sorted(step for step in steps if step[1] == "ready") == [["a", "ready"], ["b", "ready"]]
    assert lines[1 + len(steps) : -1] == [
        "feeding in.wav (1.2 s) to node a",
        "fed in.wav to node a: 13 messages (1.2 s)",
        "wrote out.wav from node b: 13 messages (1.2 s)",
    ]
    assert lines[-1].startswith("2 processes ready in ")


def test_quiet_says_nothing(rx, tmp_path):
    done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "-", "-O", "-", "-q", data=b"a\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\n", b"")


def on_a_terminal(command, environment, **streams):
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    streams = {name: theirs if stream == "tty" else stream for name, stream in streams.items()}
    try:
        with subprocess.Popen(command, env=environment | {"TERM": "xterm-256color"}, **streams) as process:
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
    return process.returncode, shown.decode()


def test_on_a_terminal(rx, tmp_path, environment):
    sound(tmp_path / "in.wav", 8000, secs=1.25)
    path = rx.manifest(tmp_path, "run-echo", "run-echo")
    command = rx.arguments(path, "-i", tmp_path / "in.wav", "-O", tmp_path / "out.wav")
    code, shown = on_a_terminal(command, environment, stdin="tty", stdout="tty", stderr="tty")
    assert code == 0
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2, "the cursor is shown again"
    for part in ("run-echo", "━", "  in ", "  out ", "13 messages (1.2 s)"):
        assert part in shown


def test_text_on_a_terminal_is_not_drawn_over(rx, tmp_path, environment):
    command = rx.arguments(rx.manifest(tmp_path, "run-echo"), "-i", tmp_path / "in.txt", "-O-")
    (tmp_path / "in.txt").write_text("hello\n")
    code, shown = on_a_terminal(command, environment, stdin="tty", stdout="tty", stderr="tty")
    assert (code, "\x1b" in shown, "\nhello\r\n" in shown) == (0, False, True)


def test_sound_does_not_go_to_a_terminal(rx, tmp_path, environment):
    sound(tmp_path / "in.wav")
    command = rx.arguments(rx.manifest(tmp_path, "run-echo"), "-i", tmp_path / "in.wav", "-O-", "-q")
    code, shown = on_a_terminal(command, environment, stdin="tty", stdout="tty", stderr="tty")
    assert code == 2
    assert shown.startswith("remotemedia: the output cannot be written to -: node 'a' puts out audio and a terminal")


# --- files -------------------------------------------------------------------------------------------------------


def test_an_existing_file_is_replaced_and_a_link_stays_one(rx, tmp_path):
    (tmp_path / "kept.txt").write_text("old")
    (tmp_path / "kept.txt").chmod(0o640)
    (tmp_path / "link.txt").symlink_to("kept.txt")
    done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "-", "-O", "link.txt", data=b"new\n")
    assert done.returncode == 0
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "kept.txt").read_text() == "new\n"
    assert (tmp_path / "kept.txt").stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_not_replaced(rx, tmp_path):
    device = tmp_path / "pipe"
    os.mkfifo(device)
    with subprocess.Popen(["cat", device], stdout=subprocess.PIPE) as reader:
        done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "-", "-O", "pipe", data=b"through\n")
        assert (done.returncode, reader.communicate()[0]) == (0, b"through\n")
    assert device.is_fifo()


def test_a_named_pipe_is_read(rx, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(f"printf 'a\\nb\\n' > '{tmp_path}/pipe'", shell=True):
        done = rx.run(rx.manifest(tmp_path, "run-echo"), "-i", "pipe", "-O", "-")
    assert (done.returncode, done.stdout) == (0, b"a\nb\n")


def test_appending_to_a_file(rx, tmp_path):
    """``>> log`` neither loses what was there nor writes a head into the middle."""
    sound(tmp_path / "in.wav", 8000)
    (tmp_path / "log").write_bytes(b"before")
    with (tmp_path / "log").open("ab") as file:
        command = rx.arguments(rx.manifest(tmp_path, "run-echo"), "-i", "in.wav", "-O", "-", "-q")
        subprocess.run(command, cwd=tmp_path, stdout=file, check=True)
    expected = soundfile.read(tmp_path / "in.wav", dtype="float32")[0].tobytes()
    log = (tmp_path / "log").read_bytes()
    assert log.startswith(b"beforeRIFF")
    assert rx.samples_of(log) == expected


def test_no_sound_is_no_audio_file(rx, tmp_path):
    (tmp_path / "out.wav").write_bytes(b"old")
    done = rx.run(rx.manifest(tmp_path, "run-kinds"), "-i", "-", "-O", "out.wav", "-q", data=b"end\n")
    expected = b"remotemedia: no audio came out of node 'a', so out.wav was not written\n"
    assert (done.returncode, done.stderr) == (3, expected)
    assert (tmp_path / "out.wav").read_bytes() == b"old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.json", "out.wav"]


def test_text_that_is_no_unicode_is_written(rx, tmp_path):
    done = rx.run(rx.manifest(tmp_path, "run-kinds"), "-i", "-", "-O", "-", data=b"surrogate\n")
    assert (done.returncode, done.stdout) == (0, b"\\ud800\n")


def test_messages_for_a_full_channel_are_dropped_and_counted_where_so_configured(rx, tmp_path):
    fifo = tmp_path / "hold"
    os.mkfifo(fifo)
    settings = {"enable_backpressure": False, "channel_capacity": 1}
    path = rx.manifest(tmp_path, ("run-do", {"fifo": str(fifo)}), settings=settings)
    (tmp_path / "in.txt").write_text("hold\n" + "more\n" * 20)
    command = rx.arguments(path, "-i", tmp_path / "in.txt", "-O", tmp_path / "out.txt", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        fed = next(line for line in process.stderr if line.startswith("fed "))
        fifo.write_text("go on")
        summary = json.loads(process.communicate()[0])
    assert process.returncode == 0
    (feed,) = summary["inputs"]
    assert fed.endswith(f" (105 B), {feed['dropped']} messages dropped\n")
    assert feed["messages"] + feed["dropped"] == 21
    assert feed["dropped"] >= 19  # one is held, one may wait
    channels = {channel["name"]: channel for channel in summary["channels"]}
    assert channels["session_to_a"]["drops"] == feed["dropped"]
    written = len((tmp_path / "out.txt").read_text().splitlines())
    assert written == summary["outputs"][0]["messages"] == feed["messages"] - channels["a_to_session"]["drops"]
