"""``remotemedia run`` stopped in the middle: by signals, failing messages, crashes, readers that leave."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

FOREVER = {"cleanup_grace_period_secs": 3600, "init_timeout_secs": 3600}
"""Nothing ends in time because a node was given time enough."""


def node_pids(pid):
    """The node processes of a command, by node id."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        found[words[words.index("--node-id") + 1]] = int(child)
    return found


@pytest.fixture
def start(rx, tmp_path):
    """``start(manifest, *options)``: a running command that reads a pipe and writes another."""
    started = []

    def start(path, *options, **streams):
        pipe = subprocess.PIPE
        streams = {"stdin": pipe, "stdout": pipe, "stderr": pipe} | streams
        process = subprocess.Popen(rx.arguments(path, *options), cwd=tmp_path, **streams)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@pytest.fixture
def holding(rx, tmp_path):
    """A manifest of a node that holds each message "hold" until the pipe of this name is written to."""
    os.mkfifo(tmp_path / "hold")
    return rx.manifest(tmp_path, ("run-do", {"fifo": str(tmp_path / "hold")}), "run-echo", settings=FOREVER)


def said(process, text):
    """The line on stderr that has this, once it is there."""
    for line in process.stderr:
        if text in line.decode():
            return line.decode()
    pytest.fail(f"it never said {text!r}")


def write(process, text):
    process.stdin.write(text)
    process.stdin.flush()


def in_node(tmp_path):
    """Returns when the node waits at its pipe; closed, the pipe lets it go on."""
    return (tmp_path / "hold").open("w")


def exist(nodes):
    return [node_id for node_id, pid in nodes.items() if Path(f"/proc/{pid}").exists()]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_the_first_signal_drains(start, holding, tmp_path, number, code, word):
    process = start(holding, "-i-", "-O", "out.txt")
    write(process, b"one\nhold\nthree\n")
    with in_node(tmp_path):
        nodes = node_pids(process.pid)
        process.send_signal(number)
        said(process, "the input ends here, the nodes finish what they have; once more ends them at once")
        said(process, "fed stdin to node a: 3 messages")
    assert process.wait() == code
    assert (tmp_path / "out.txt").read_bytes() == b"one\nhold\nthree\n"
    assert process.stderr.read().decode().endswith(f"\nremotemedia: {word}\n")
    assert (len(nodes), exist(nodes)) == (2, [])


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_the_second_signal_kills(start, holding, tmp_path, numbers):
    (tmp_path / "out.txt").write_text("of an earlier run")
    process = start(holding, "-i-", "-O", "out.txt")
    write(process, b"one\nhold\n")
    with in_node(tmp_path):
        nodes = node_pids(process.pid)
        process.send_signal(numbers[0])
        said(process, "once more ends them at once")
        process.send_signal(numbers[1])
        assert process.wait() == 128 + numbers[0]
    assert exist(nodes) == []
    assert (tmp_path / "out.txt").read_text() == "of an earlier run"
    assert names(tmp_path) == ["hold", "m.json", "out.txt"]


def test_a_reader_that_does_not_read_does_not_keep_it(start, rx, tmp_path):
    """Nothing drains into a full pipe; signals are heard all the same."""
    (tmp_path / "long.txt").write_text(("x" * 200_000 + "\n") * 20)
    process = start(rx.manifest(tmp_path, "run-echo", settings=FOREVER), "-i", "long.txt", "-O-")
    said(process, "feeding")
    assert process.stdout.read(10) == b"x" * 10
    process.send_signal(signal.SIGINT)
    said(process, "once more")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130


def is_drafting(process, folder):
    """Whether it has opened a draft there, with a name or, where the file system can, without one."""
    if any(name.startswith(".out-") for name in names(folder)):
        return True
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(fd.readlink()).startswith(f"{folder}/#"):
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_named_pipe_waits_for_a_reader(start, rx, tmp_path, number):
    os.mkfifo(tmp_path / "pipe")
    path = rx.manifest(tmp_path, "run-echo", "run-echo", connections=[])
    process = start(path, "-ia=-", "-ib=/dev/null", "-Oa=out.txt", "-Ob=pipe")
    while not is_drafting(process, tmp_path):
        os.sched_yield()
    process.send_signal(number)
    assert process.wait() == 128 + number
    assert names(tmp_path) == ["m.json", "pipe"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_nodes_load(start, rx, tmp_path, number):
    process = start(rx.manifest(tmp_path, "run-loading", settings=FOREVER), "-i-", "-O", "out.txt")
    said(process, "holding")
    nodes = node_pids(process.pid)
    process.send_signal(number)
    assert process.wait() == 128 + number
    assert (len(nodes), exist(nodes)) == (1, [])
    assert names(tmp_path) == ["m.json"]


def test_the_second_signal_kills_what_loads(start, rx, tmp_path):
    os.mkfifo(tmp_path / "hold")
    path = rx.manifest(tmp_path, ("run-stubborn", {"fifo": str(tmp_path / "hold")}), settings=FOREVER)
    process = start(path, "-i-", "-O", "out.txt")
    with in_node(tmp_path):
        nodes = node_pids(process.pid)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait() in (130, 143)
    assert (len(nodes), exist(nodes)) == (1, [])
    assert names(tmp_path) == ["hold", "m.json"]


def test_the_second_signal_kills_what_takes_leave(start, rx, tmp_path):
    """It comes when all output is there, but before the files are: they stay as they were."""
    os.mkfifo(tmp_path / "hold")
    path = rx.manifest(tmp_path, ("run-leaving", {"fifo": str(tmp_path / "hold")}), settings=FOREVER)
    process = start(path, "-i-", "-O", "out.txt")
    process.stdin.close()
    with in_node(tmp_path):
        nodes = node_pids(process.pid)
        process.send_signal(signal.SIGINT)
        said(process, "once more ends them at once")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
    assert (len(nodes), exist(nodes)) == (1, [])
    assert names(tmp_path) == ["hold", "m.json"]


def test_an_ignored_ctrl_c_stays_ignored(start, holding, tmp_path):
    """As for a shell's background job."""
    process = start(holding, "-i-", "-O-", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    write(process, b"one\n")
    assert process.stdout.readline() == b"one\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(b"two\n")
    assert (process.returncode, out) == (0, b"two\n")
    assert b"ends here" not in err


# --- failures ----------------------------------------------------------------------------------------------------

FAILED = "remotemedia: Node 'a' failed on message 1 of port 'input': ValueError: as it was told\n"


def test_a_message_that_fails_ends_it(rx, tmp_path):
    path = rx.manifest(tmp_path, "run-do", "run-echo")
    (tmp_path / "out.txt").write_text("of an earlier run")
    done = rx.run(path, "-i-", "-Oout.txt", "-q", data=b"one\nraise\nthree\n")
    assert (done.returncode, done.stderr.decode()) == (1, FAILED)
    assert (tmp_path / "out.txt").read_text() == "of an earlier run"
    assert names(tmp_path) == ["m.json", "out.txt"]


def test_a_message_that_fails_ends_it_before_the_input_does(start, rx, tmp_path):
    process = start(rx.manifest(tmp_path, "run-do", "run-echo"), "-i-", "-O-", "-q")
    write(process, b"one\n")
    assert process.stdout.readline() == b"one\n"
    write(process, b"raise\n")
    assert (process.wait(), process.stdout.read(), process.stderr.read().decode()) == (1, b"", FAILED)


def test_going_on_without_what_failed(rx, tmp_path):
    path = rx.manifest(tmp_path, "run-do", "run-echo")
    done = rx.run(path, "-i-", "-Oout.txt", "--keep-going", "--json", data=b"one\nraise\nthree\nraise\n")
    assert (done.returncode, json.loads(done.stdout)["failed_messages"]) == (0, 2)
    assert done.stderr.decode().count("failed on message") == 2
    assert FAILED in done.stderr.decode()
    assert (tmp_path / "out.txt").read_text() == "one\nthree\n"


def test_a_failure_at_the_very_end_is_one(rx, tmp_path):
    done = rx.run(rx.manifest(tmp_path, "run-finish"), "-i-", "-Oout.txt", "-q", data=b"one\n")
    assert done.returncode == 1
    assert b"ValueError: at the very end" in done.stderr
    assert names(tmp_path) == ["m.json"]


def test_a_node_that_crashes_is_named(rx, tmp_path):
    done = rx.run(rx.manifest(tmp_path, "run-echo", "run-do"), "-i-", "-Oout.txt", "-q", data=b"one\ndie\n")
    assert (done.returncode, done.stderr.decode()) == (1, "remotemedia: Process b crashed with code 7\n")
    assert names(tmp_path) == ["m.json"]


def test_a_node_that_is_killed_is_named(start, rx, tmp_path):
    process = start(rx.manifest(tmp_path, "run-echo", "run-echo"), "-i-", "-O-", "-q")
    write(process, b"one\n")
    assert process.stdout.readline() == b"one\n"
    nodes = node_pids(process.pid)
    os.kill(nodes["a"], signal.SIGKILL)
    assert process.wait() == 1
    assert process.stderr.read().decode() == "remotemedia: Process a crashed with code 137 (killed by SIGKILL)\n"
    assert exist(nodes) == []


def test_a_crash_is_noticed_while_nobody_reads(start, rx, tmp_path):
    """Nothing waits for the nodes then: all has been fed, and stdout is full."""
    (tmp_path / "long.txt").write_text(("x" * 200_000 + "\n") * 20)
    process = start(rx.manifest(tmp_path, "run-echo"), "-i", "long.txt", "-O-")
    said(process, "fed long.txt")
    assert process.stdout.read(10) == b"x" * 10
    os.kill(node_pids(process.pid)["a"], signal.SIGKILL)
    assert process.wait() == 1
    assert process.stderr.read() == b"remotemedia: Process a crashed with code 137 (killed by SIGKILL)\n"


# --- readers that leave ------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_ends_it_quietly(start, rx, tmp_path):
    process = start(rx.manifest(tmp_path, "run-echo"), "-i-", "-O-", "-q")
    write(process, b"one\n")
    assert process.stdout.readline() == b"one\n"
    nodes = node_pids(process.pid)
    process.stdout.close()
    write(process, b"two\n")
    assert (process.wait(), process.stderr.read()) == (1, b"")
    assert (len(nodes), exist(nodes)) == (1, [])


def test_nobody_reads_the_progress(start, rx, tmp_path):
    process = start(rx.manifest(tmp_path, "run-echo"), "-i-", "-Oout.txt")
    said(process, "feeding")
    process.stderr.close()
    process.stdin.close()
    assert process.wait() == 1
    assert names(tmp_path) == ["m.json"]
