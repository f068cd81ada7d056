"""Faults that a node's process commits. Only the standard library: some strike before remotemedia is loaded."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import NoReturn

FOREVER_SECS = 3600
FAR_TOO_MUCH_BYTES = 300_000_000
EXIT_CODE = 7
CPP = ctypes.CDLL("libstdc++.so.6")


def strike(fault: str, notice: str) -> None:
    """Writes to the file ``notice`` when it was, and commits the fault."""
    if fault == "scribbled memory":
        # Whoever went to sleep before it has seen nothing, and is woken by nobody: the notice says that it is done.
        FAULTS[fault]()
    fd = os.open(notice, os.O_WRONLY | os.O_CREAT)
    os.write(fd, time.monotonic_ns().to_bytes(8))
    os.close(fd)
    if fault != "scribbled memory":
        FAULTS[fault]()


def wait_for_the_killer() -> NoReturn:
    while True:
        signal.pause()


def read_a_null_pointer() -> None:
    ctypes.string_at(0)


def throw_in_cpp() -> None:
    CPP._ZSt21__throw_runtime_errorPKc(b"no such tensor")


def take_memory() -> None:
    bytes(FAR_TOO_MUCH_BYTES)


def take_memory_in_cpp() -> None:
    """``operator new``, which throws what nobody catches."""
    CPP._Znwm(ctypes.c_size_t(FAR_TOO_MUCH_BYTES))


def raise_an_exception() -> None:
    raise ValueError("no such weights")


def loop_with_the_gil() -> None:
    """In C, the way a library does that never heard of Python's lock."""
    ctypes.PyDLL(None).usleep(ctypes.c_uint(FOREVER_SECS * 1_000_000))


def close_descriptors() -> None:
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def scribble() -> None:
    """Over every ring that is mapped here: both positions and all messages. proof/fuzz_ring.py has the rest."""
    noise = random.Random(5)
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:remotemedia-ring" in line:
            begin, end = (int(address, 16) for address in line.split()[0].split("-"))
            for part in (range(begin + 128, begin + 136), range(begin + 256, begin + 264), range(begin + 4096, end)):
                ctypes.memmove(part.start, noise.randbytes(len(part)), len(part))


def fork() -> None:
    if os.fork() == 0:
        wait_for_the_killer()


def exec_another_program() -> None:
    os.execvp("sleep", ["sleep", str(FOREVER_SECS)])


def leave_a_grandchild() -> None:
    subprocess.Popen(["sleep", str(FOREVER_SECS)])
    os._exit(EXIT_CODE)


FAULTS = {
    "SIGKILL": wait_for_the_killer,
    "SIGSTOP, then SIGKILL": wait_for_the_killer,
    "SIGSEGV": read_a_null_pointer,
    "SIGABRT": os.abort,
    "os._exit": lambda: os._exit(EXIT_CODE),
    "C++ exception": throw_in_cpp,
    "memory limit": take_memory,
    "memory limit in C++": take_memory_in_cpp,
    "exception": raise_an_exception,
    "endless loop with the GIL": loop_with_the_gil,
    "closed descriptors": close_descriptors,
    "scribbled memory": scribble,
    "fork": fork,
    "exec": exec_another_program,
    "grandchild left": leave_a_grandchild,
}
