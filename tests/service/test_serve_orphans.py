"""``remotemedia serve`` where orphans come to it: it waits for all of them, and leaves no zombies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")

import grpc.aio

pytestmark = pytest.mark.usefixtures("leak_check")

# What exec keeps: the process below is a child subreaper, and has one child already, a zombie.
SUBREAPER = (
    sys.executable,
    "-c",
    "import ctypes, os, subprocess, sys; ctypes.CDLL(None).prctl(36, 1); p = subprocess.Popen(['true']);"
    "os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT); os.execv(sys.argv[1], sys.argv[1:])",
)
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture(params=["first process of a container", "child subreaper"])
def under(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What the service is started under."""
    if request.param == "child subreaper":
        return SUBREAPER
    for command in (NAMESPACE, (*NAMESPACE, "--map-root-user")):
        try:
            if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
                return command
        except FileNotFoundError:
            pytest.skip("there is no unshare here")
    pytest.skip("this user may not make a process namespace here (unshare --pid)")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_no_call_leaves_a_zombie(px: Any, start: Any, serving: Any, under: tuple[str, ...]) -> None:
    async def main() -> None:
        server = start("--json", under=under)
        address = server.address()
        pid = server.process.pid if under is SUBREAPER else children(server.process.pid)[0]
        async with grpc.aio.insecure_channel(address) as channel:
            for _ in range(2):
                client = serving.Client(channel)
                await client.open(serving.LITTERING)
                assert await client.echo("here") == "here"
                assert await client.finish() == "OK"
        await px.until(lambda: children(pid) == [])

    px.run(main())
