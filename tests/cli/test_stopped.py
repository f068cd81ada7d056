"""The demo stopped in the middle: by Ctrl-C, by SIGTERM, by the death of a node, by a reader that leaves."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("speech_libraries")


def node_pids(pid):
    """The node processes of a command, by node id."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        found[words[words.index("--node-id") + 1]] = int(child)
    return found


def is_running(pid):
    return Path(f"/proc/{pid}").exists()


@contextlib.contextmanager
def listening_demo(tmp_path, environment, source, *options):
    """The demo, when the first words have been heard and more audio is to come."""
    arguments = [sys.executable, "-m", "remotemedia", "demo", "-i", str(source), "--realtime", *options]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert any("hearing" in line for line in process.stdout), process.stderr.read()
            nodes = node_pids(process.pid)
            assert len(nodes) == 7
            yield process, nodes
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_stops_it_cleanly(tmp_path, environment, stereo_question, number, code, said):
    with listening_demo(tmp_path, environment, stereo_question) as (process, nodes):
        process.send_signal(number)
        _, err = process.communicate()
    assert (process.returncode, err) == (code, f"remotemedia: {said}\n")
    assert not [node for node, pid in nodes.items() if is_running(pid)]
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_nodes_load(tmp_path, environment, stereo_question):
    arguments = [sys.executable, "-m", "remotemedia", "demo", "-i", str(stereo_question)]
    with subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "one process per node" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "remotemedia: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_node_is_named(tmp_path, environment, stereo_question):
    with listening_demo(tmp_path, environment, stereo_question) as (process, nodes):
        os.kill(nodes["asr"], signal.SIGKILL)
        _, err = process.communicate()
    assert (process.returncode, err) == (1, "remotemedia: Process asr crashed with code 137 (killed by SIGKILL)\n")
    assert not [node for node, pid in nodes.items() if is_running(pid)]
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_ends_it_quietly(tmp_path, environment, stereo_question):
    with listening_demo(tmp_path, environment, stereo_question) as (process, nodes):
        process.stdout.close()
        err = process.stderr.read()
        process.wait()
    assert (process.returncode, err) == (1, "")
    assert not [node for node, pid in nodes.items() if is_running(pid)]
    assert list(tmp_path.iterdir()) == []
