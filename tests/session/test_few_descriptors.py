"""A session of many nodes in a program that may have few descriptors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("leak_check")

# The kernel counts descriptors under way in sockets against this limit, except for the superuser's capabilities: these
# are given up where there are any.
MANY_NODES = """
import asyncio, resource, struct, session_support

SYS_ADMIN, SYS_RESOURCE = 1 << 21, 1 << 24
CAPGET, CAPSET = {"x86_64": (125, 126), "aarch64": (90, 91)}[os.uname().machine]

libc = ctypes.CDLL(None, use_errno=True)
header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
data = ctypes.create_string_buffer(24)
given_up = libc.syscall(CAPGET, header, data) == 0
if given_up:
    words = list(struct.unpack("=6I", data.raw[:24]))
    words[0] &= ~(SYS_ADMIN | SYS_RESOURCE)
    given_up = libc.syscall(CAPSET, header, ctypes.create_string_buffer(struct.pack("=6I", *words))) == 0

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))

async def main():
    count = int(sys.argv[1])
    async with session_support.session(*["t-echo"] * count, init_timeout_secs=90) as session:
        await session_support.send_all(session, "n0", ["x"])
        say(await session_support.received(session, f"n{count - 1}"), given_up)

asyncio.run(main())
"""


def test_many_nodes_with_few_descriptors(px: Any, child_python: Callable[..., Any]) -> None:
    child = child_python(px.PATH_LINES + MANY_NODES, "24")
    payloads, _ = child.hear()
    assert payloads == ["x"]
    assert child.wait() == 0, child.stderr()
