"""The program that holds a session is the kernel of a notebook: interrupted, restarted, shut down, killed."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ipykernel")

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "host program",
        "a notebook's kernel is interrupted, restarted or killed: no node outlives it, the next kernel starts afresh",
        "ipykernel: interrupted while it streams, shut down with a session open, killed, restarted",
    ),
]

# It speaks to the kernel as a notebook does, and tells what the cells print.
NOTEBOOK = """
import shutil, warnings
warnings.simplefilter("ignore")
from jupyter_client.manager import KernelManager

manager = KernelManager()

def client():
    found = manager.client()
    found.start_channels()
    found.wait_for_ready()
    return found

def cell(code):
    printed, failed = [], []

    def hear_of(message):
        kind, content = message["msg_type"], message["content"]
        if kind == "stream" and content["name"] == "stdout":
            printed.append(content["text"])
            if content["text"].startswith("streaming"):
                manager.interrupt_kernel()
        elif kind == "error":
            failed.append(content["ename"])

    kernel.execute_interactive(code, output_hook=hear_of)
    say("".join(printed).split(), failed)

OPEN = PATH_LINES + '''
import session_support as px
session = px.session("t-echo", ("t-echo", {"grandchild": True}))
grandchildren = []
await session.initialize(lambda p: grandchildren.extend([px.grandchild(p.message)] if p.message else []))
await session.start()
print(*session.pids.values(), *grandchildren)
'''

manager.start_kernel()
kernel = client()
cell(OPEN)
cell("print('streaming')\\nwhile True: await px.works(session)")
cell("await px.works(session); print('works')")
hear()
kernel.stop_channels()
manager.restart_kernel(now=sys.argv[1] == "killed")
say("restarted")
kernel = client()
cell(OPEN)
cell("await session.cleanup(); print(session.status.value)")
kernel.stop_channels()
manager.shutdown_kernel(now=True)
"""


@pytest.mark.parametrize("how", ["shut down", pytest.param("killed", marks=pytest.mark.long)])
def test_a_kernel_that_is_restarted(
    px: Any, ledger: Any, child_python: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", px.REPOSITORY)
    child = child_python(f"PATH_LINES = {px.PATH_LINES!r}\n" + NOTEBOOK, how)
    pids, failed = child.hear()
    assert len(pids) == 3 and failed == []
    pidfds = [os.pidfd_open(int(pid)) for pid in pids]
    # What an interruption takes away is the cell, not the session.
    child.expect(["streaming"], ["CancelledError"])
    child.expect(["works"], [])
    assert all(map(px.lives, map(int, pids)))
    child.say("go on")
    child.expect("restarted")
    assert all(select.select([fd], [], [], px.PATIENCE_SECS)[0] for fd in pidfds), "left alive"
    for fd in pidfds:
        os.close(fd)
    assert len(child.hear()[0]) == 3
    child.expect(["stopped"], [])
    assert child.wait() == 0, child.stderr()
    ledger.count("kernels", 2)
