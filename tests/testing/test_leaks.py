"""no_leaks and the pytest plugin: what is left behind is named, and what is not is not."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remotemedia.core.multiprocess.channel.side import new_segment
from remotemedia.testing import no_leaks

PLANTED = {
    "descriptor": ("kept.append(socket.socket())", "descriptor socket"),
    "thread": ("kept.append(threading.Thread(target=done.wait)); kept[-1].start()", "thread Thread-"),
    "child": ("kept.append(subprocess.Popen(['sleep', '60']))", "child process"),
}


def test_what_is_given_back_is_no_leak() -> None:
    with no_leaks():
        with socket.socket():
            pass
        subprocess.run(["true"], check=True)


@pytest.mark.parametrize("kind", PLANTED)
def test_what_stays_is_named(kind: str) -> None:
    plant, found = PLANTED[kind]
    kept: list[object] = []
    done = threading.Event()
    try:
        with pytest.raises(AssertionError, match=f"left behind:\n  (.*\n  )*{found}"), no_leaks():
            exec(plant, globals() | {"kept": kept, "done": done})
    finally:
        done.set()
        for one in kept:
            if isinstance(one, socket.socket):
                one.close()
            elif isinstance(one, threading.Thread):
                one.join()
            elif isinstance(one, subprocess.Popen):
                one.kill()
                one.wait()


def test_a_mapping_that_stays_is_named() -> None:
    kept = []
    with pytest.raises(AssertionError, match="mapping /memfd:remotemedia"), no_leaks():
        segment, memfd = new_segment(65536)
        os.close(memfd)
        kept.append(segment)
    kept.pop().close()


def test_an_error_of_the_block_is_not_replaced() -> None:
    with pytest.raises(ValueError, match="mine"), no_leaks():
        raise ValueError("mine")


def test_the_plugin_is_found_and_its_fixture_fails_the_test(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import os, pytest\n"
        "pytestmark = pytest.mark.usefixtures('remotemedia_leak_check')\n"
        "def test_leaks(): os.dup(1)\n"
        "def test_does_not(): os.close(os.dup(1))\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 error" in done.stdout and "2 passed" in done.stdout, done.stdout
    assert "left behind:" in done.stdout


def test_a_run_that_does_not_use_it_pays_nothing_for_it() -> None:
    program = "import sys, remotemedia.testing.plugin; print([m for m in sys.modules if m in ('numpy', 'asyncio')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "numpy" not in done.stdout
