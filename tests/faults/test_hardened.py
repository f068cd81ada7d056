"""Places that lack what nodes need, as containers and sandboxes do: one line that names it, and how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import remotemedia
from remotemedia.core.multiprocessing import ProcessSpawnError

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "system limits",
        "a place that lacks what nodes need: one error that names it, before anything is started",
        "no /proc, that of another namespace, no /dev/null; pidfd_open, memfd_create, eventfd refused; nothing built",
    ),
]

PROGRAM = """
from refusals import hide, leave_processes, refuse
import errno
try:
    exec(sys.argv[1])
except PermissionError as error:
    say("skip", str(error))
    sys.exit()

import asyncio, logging, session_nodes, session_support as px
from remotemedia.core.multiprocessing import MultiprocessExecutor, ProcessSpawnError
logging.disable()

async def refusal(awaitable):
    try:
        await awaitable
        return ""
    except ProcessSpawnError as error:
        return str(error)

async def main():
    session, executor = px.session("t-echo", "t-echo"), MultiprocessExecutor()
    say(await refusal(session.initialize()), await refusal(executor.initialize()), session.pids)
    await executor.shutdown()

asyncio.run(main())
"""
ABSENT = "No such file or directory"
PIDFD = "nodes need the system call pidfd_open, which is refused here (%s): it needs Linux 5.4; allow it in the"
PROC = f"nodes need the file system /proc, which is not mounted here ({ABSENT}): mount -t proc proc /proc (bwrap"
REFUSED = {
    'hide("/proc")': PROC,
    "leave_processes()": "nodes need a /proc that shows the processes of this namespace, and this one shows those of a",
    'hide("/dev")': f"nodes need /dev/null, which is refused here ({ABSENT}): mknod -m 666 /dev/null c 1 3",
    'refuse("pidfd_open", errno.EPERM)': PIDFD % "Operation not permitted",
    'refuse("pidfd_open", errno.ENOSYS)': PIDFD % "Function not implemented",
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_missing(px: Any, beside: Any, ledger: Any, child_python: Any, how: str) -> None:
    folder = str(Path(beside("refusals").__file__).parent)
    child = child_python(f"import sys; sys.path[:0] = [{px.NODES_FOLDER!r}, {folder!r}]\n{PROGRAM}", how)
    first, *others = child.hear()
    if first == "skip":
        child.wait()
        pytest.skip(others[0])
    assert first.startswith(REFUSED[how]) and "\n" not in first
    assert others == [first, {}]
    assert child.wait() == 0, child.stderr()
    ledger.count("refusals")


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [("memfd_create", "EPERM", "Operation not permitted"), ("eventfd2", "ENOSYS", "Function not implemented")],
)
def test_a_call_that_is_refused(
    px: Any, beside: Any, ledger: Any, child_python: Any, call: str, error: str, reason: str
) -> None:
    """Once the processes are started: they are gone again."""
    folder = str(Path(beside("refusals").__file__).parent)
    how = f"refuse({call!r}, errno.{error})"
    child = child_python(f"import sys; sys.path[:0] = [{px.NODES_FOLDER!r}, {folder!r}]\n{PROGRAM}", how)
    said, whole, pids = child.hear()
    assert said.startswith("session 's' cannot be started: ") and reason in said
    assert f" ({call.removesuffix('2')} is refused here: {reason}; allow it in the sandbox's seccomp" in said
    assert (whole, pids) == ("", {})
    assert child.wait() == 0, child.stderr()
    ledger.count("refusals")


@pytest.mark.parametrize("setting", ["python_executable", "venv_path"])
def test_a_python_that_may_not_be_executed(px: Any, ledger: Any, tmp_path: Path, setting: str) -> None:
    """It is there: as on a file system that is mounted noexec."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("")
    value = str(python if setting == "python_executable" else tmp_path)

    async def main() -> None:
        with pytest.raises(ProcessSpawnError) as caught:
            await px.session("t-echo", **{setting: value}).initialize()
        assert str(caught.value) == (
            f"{setting} {str(python)!r} may not be executed: check its mode, and whether its file system is mounted "
            "noexec"
        )

    px.run(main())
    ledger.count("refusals")


COMMANDS = [["run", "m.json"], ["demo"], ["serve", "--port", "0"], ["nodes", "list"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_checkout_that_is_not_built(ledger: Any, tmp_path: Path, command: list[str]) -> None:
    shutil.copytree(
        Path(remotemedia.__file__).parent,
        tmp_path / "remotemedia",
        ignore=shutil.ignore_patterns("_ring.*.so", "__pycache__"),
    )
    (tmp_path / "m.json").write_text('{"version": "v1", "nodes": [{"id": "a", "node_type": "AudioChunkerNode"}]}')
    # What finds the modules of an editable installation finds those of its own checkout.
    script = "sys.meta_path = [finder for finder in sys.meta_path if 'ditable' not in repr(finder)]"
    script = f"import sys; {script}; from remotemedia.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"remotemedia: the extension of remotemedia in {tmp_path}/remotemedia is not built for Python {version}: "
        f"in a checkout, make build; elsewhere, {sys.executable} -m pip install CHECKOUT\n"
    )
    ledger.count("refusals")
