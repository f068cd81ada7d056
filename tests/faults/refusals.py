"""The kernel refuses memory for real: system calls by a seccomp filter, pages by a mapping with nothing behind it.

Neither can be taken back: for processes that are the test's own, such as scripts and nodes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import struct
from pathlib import Path

_NUMBERS = {
    "x86_64": {
        "mmap": 9,
        "mprotect": 10,
        "fcntl": 72,
        "ftruncate": 77,
        "madvise": 28,
        "eventfd2": 290,
        "memfd_create": 319,
    },
    "aarch64": {
        "mmap": 222,
        "mprotect": 226,
        "fcntl": 25,
        "ftruncate": 46,
        "madvise": 233,
        "eventfd2": 19,
        "memfd_create": 279,
    },
}
_NEWER_NUMBERS = {"pidfd_open": 434}
"""Of calls that have the same number everywhere."""
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_LOAD, _RETURN, _ALLOW, _FAIL = 0x20, 0x06, 0x7FFF0000, 0x00050000
_JUMPS = {"is": 0x15, "at least": 0x35, "has": 0x45}
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID, _MS_PRIVATE_ALL = 0x20000, 0x10000000, 0x20000000, 0x44000
_MB = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


def _prctl(*arguments: object) -> None:
    if _libc.prctl(*arguments):
        raise OSError(ctypes.get_errno(), f"prctl{arguments}")


def refuse(call: str, error: int, *conditions: tuple[int, str, int]) -> None:
    """From now on ``call`` fails with ``error``, here and in all this process starts, where all conditions hold:
    (number of the argument, "is" or "at least" or "has", value), of its lower 32 bits."""
    tests = [(0, "is", (_NUMBERS[platform.machine()] | _NEWER_NUMBERS)[call])]
    tests += [(16 + 8 * argument, how, value) for argument, how, value in conditions]
    program = []
    for left, (offset, how, value) in zip(range(len(tests) - 1, -1, -1), tests, strict=True):
        program.append((_LOAD, 0, 0, offset))
        program.append((_JUMPS[how], 0, 2 * left + 1, value))  # else to the last line
    program += [(_RETURN, 0, 0, _FAIL | error), (_RETURN, 0, 0, _ALLOW)]
    raw = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(raw)))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _prctl(_PR_SET_SECCOMP, _MODE_FILTER, header)


def _unshare(flags: int) -> None:
    """With a namespace of users, where this one may not do without. Before any thread is started."""
    if _libc.unshare(flags) and _libc.unshare(flags | _CLONE_NEWUSER):
        raise PermissionError(ctypes.get_errno(), "this user may make no namespaces here")


def hide(folder: str) -> None:
    """From now on ``folder`` is empty for this process and all that it starts. PermissionError where that cannot be."""
    _unshare(_CLONE_NEWNS)
    for arguments in ((None, b"/", None, _MS_PRIVATE_ALL, None), (b"tmpfs", folder.encode(), b"tmpfs", 0, None)):
        if _libc.mount(*arguments):
            raise PermissionError(ctypes.get_errno(), f"{folder} cannot be hidden here")


def leave_processes() -> None:
    """Goes on in a child that is the first process of a namespace of its own, with the /proc of the one before."""
    _unshare(_CLONE_NEWPID)
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def take_pages() -> None:
    """Nothing is left behind this process's payload pools but their first megabyte: what touches more gets the SIGBUS
    that the kernel sends where it has no page to give."""
    nothing = os.memfd_create("nothing")
    for line in Path("/proc/self/maps").read_text().splitlines():
        if found := re.match(r"(\w+)-(\w+) \S+ (\w+) .*memfd:remotemedia-segment", line):
            start, end, offset = (int(word, 16) for word in found.groups())
            # In front of a pool is its table of blocks: 64 bytes for each of its pages. Where the pool is read-only, it
            # is a mapping apart.
            start += _MB if offset else (end - start) // 64 // mmap.PAGESIZE * mmap.PAGESIZE + _MB
            if start >= end:
                continue
            address = _libc.mmap(start, end - start, 3, 0x11, nothing, 0)  # MAP_SHARED | MAP_FIXED
            if address != start:
                raise OSError(ctypes.get_errno(), "mmap")
    os.close(nothing)
