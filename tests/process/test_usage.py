"""ProcessUsage: the kernel's figures of one process, in our units."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from remotemedia.core.multiprocess.kernel.procfs import ProcessUsage

pytestmark = pytest.mark.usefixtures("leak_check")


def test_memory_is_that_of_the_process_alone_in_bytes() -> None:
    program = "block = bytearray(30_000_000); print('there', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        usage = ProcessUsage(process.pid).read()
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()  # it waits, so nothing changes meanwhile
        process.kill()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss")}
    assert usage is not None
    assert usage.memory_bytes == (kilobytes["RssAnon"] + kilobytes["RssFile"]) * 1024
    assert usage.memory_bytes > 30_000_000


def test_a_process_that_is_gone_has_no_usage() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        usage = ProcessUsage(process.pid)
        assert not usage.exiting()
        process.kill()
    assert usage.read() is None
