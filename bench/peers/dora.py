"""dora: ``dora run`` starts a daemon and the nodes, which then work for the runner like any other worker.

Only where its receiver may sleep: dora has no busy mode, and where its queues are full it drops.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from bench.contender import Contender, Link, Setting, private_array
from bench.workers import ContenderFailed, Opener, Team

_REPOSITORY = Path(__file__).parents[2]
_SETTLE_SECS = 0.6
_SETTLE_MESSAGES = 20
_SETTLING = -1


class DoraStage:
    """A node: it sends a private array, or the one that came last."""

    def __init__(self, private: npt.NDArray[Any]) -> None:
        import pyarrow
        from dora import Node

        self._node = Node()
        self._wrap = pyarrow.array
        self._private = private.reshape(-1)
        self._event: Any = None

    def send(self, value: int) -> None:
        self._private[0] = self._private[-1] = value
        self._node.send_output("out", self._wrap(self._private))

    def receive(self) -> npt.NDArray[Any]:
        while True:
            event = self._node.next()
            if event["type"] == "INPUT":
                array: npt.NDArray[Any] = event["value"].to_numpy(zero_copy_only=True)
                if array.item(0) != _SETTLING:
                    self._event = event
                    return array

    def drop_for(self, secs: float) -> None:
        """Drops messages that come within that time."""
        until = time.monotonic() + secs
        while (left := until - time.monotonic()) > 0:
            self._node.next(timeout=left)

    def forward(self) -> None:
        self._node.send_output("out", self._event["value"])

    def close(self) -> None:
        self._event = None


def settle(stage: DoraStage, sends: bool) -> None:
    """Sends until messages take their final way: dora's first ones go through its daemon, late and out of order."""
    for _ in range(_SETTLE_MESSAGES):
        if sends:
            stage.send(_SETTLING)
        stage.drop_for(_SETTLE_SECS / _SETTLE_MESSAGES)


class DoraTeam(Team):
    """Nodes in a row, each sending to the next."""

    start_secs = 20.0
    """How long its first process may take to call the runner, and then each next one."""
    # Else large messages go over a socket once a few are under way.
    environment: ClassVar[dict[str, str]] = {"DORA_NODE_SHM_POOL_SIZE": str(256 << 20)}

    def __init__(self, roles: Sequence[Sequence[Opener]], scratch: Path, cpus: Sequence[int | None] = ()) -> None:
        self._controls: list[Connection] = []
        self._processes = []
        self._shared: set[Path] = set()
        self._folder = Path(tempfile.mkdtemp(dir=scratch))
        self._log = (self._folder / "log").open("w+")
        self._dora: subprocess.Popen[bytes] | None = None
        try:
            self._start(roles, cpus or [None] * len(roles))
        except BaseException:
            self.kill()
            raise

    def _start(self, roles: Sequence[Sequence[Opener]], cpus: Sequence[int | None]) -> None:
        address = str(self._folder / "control")
        with Listener(address, "AF_UNIX") as listener:
            (self._folder / "dataflow.yml").write_text(self.dataflow(address, len(roles)))
            beside = Path(sys.executable).with_name("dora")
            self._dora = subprocess.Popen(
                [str(beside) if beside.exists() else "dora", "run", "dataflow.yml"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env={**os.environ, **self.environment, "PYTHONPATH": os.pathsep.join([str(_REPOSITORY), *sys.path])},
                start_new_session=True,
            )
            listening: Any = listener._listener._socket  # Listener has no timeout itself
            listening.settimeout(self.start_secs)
            hellos: dict[int, Connection] = {}
            while len(hellos) < len(roles):
                try:
                    control = listener.accept()
                except TimeoutError:
                    raise ContenderFailed(f"dora's nodes did not start: {self._last_words()}") from None
                self._controls.append(control)
                hellos[control.recv()] = control
        self._controls = [hellos[number] for number in sorted(hellos)]
        for control, openers, cpu in zip(self._controls, roles, cpus, strict=True):
            control.send((cpu, openers))

    def _last_words(self) -> str:
        self._log.flush()
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return " / ".join(lines[-3:])

    def wait_ready(self) -> None:
        super().wait_ready()
        last = len(self._controls) - 1
        self.play(*((settle, (number < last,)) for number in range(last + 1)))

    def dataflow(self, address: str, nodes: int) -> str:
        """The text of the dataflow. Its first ``nodes`` call the runner at ``address``, each with its number."""
        return _dataflow(address, nodes)

    @property
    def pids(self) -> list[int]:
        return [self._dora.pid] if self._dora is not None else []

    def answers(self) -> list[Any]:
        try:
            return super().answers()
        finally:
            self._note_shared_memory()

    def _nodes(self) -> list[int]:
        """The processes that dora started and that still run."""
        assert self._dora is not None
        found: list[int] = []
        with suppress(OSError):
            for task in Path(f"/proc/{self._dora.pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        return found

    def _note_shared_memory(self) -> None:
        if self._dora is not None:
            for pid in (self._dora.pid, *self._nodes()):
                self._shared |= _shared_memory(pid)

    def close(self) -> None:
        self.dismiss()
        if self._dora is not None:
            with suppress(subprocess.TimeoutExpired):
                self._dora.wait(10)
        self.kill()

    def kill(self) -> None:
        if self._dora is not None:
            self._note_shared_memory()
            for pid in self._nodes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.killpg(self._dora.pid, signal.SIGKILL)
            self._dora.wait()
            self._dora = None
        for control in self._controls:
            control.close()
        self._controls = []
        for left in self._shared:
            left.unlink(missing_ok=True)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _shared_memory(pid: int) -> set[Path]:
    """Files in shared memory that a process has mapped: killed, it leaves them."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    return {Path(line[line.index("/dev/shm/") :]) for line in lines if line.endswith(".zenoh") and "/dev/shm/" in line}


def _dataflow(address: str, nodes: int) -> str:
    lines = ["nodes:"]
    for number in range(nodes):
        lines += [
            f"  - id: n{number}",
            f"    path: {sys.executable}",
            f"    args: -m bench.peers.dora_node {address} {number}",
        ]
        if number < nodes - 1:
            lines.append("    outputs: [out]")
        if number > 0:
            lines += ["    inputs:", "      in:", f"        source: n{number - 1}/out", "        queue_size: 100"]
    return "\n".join(lines) + "\n"


def link(setting: Setting) -> Link:
    stage = partial(DoraStage, private_array(setting.size))
    return Link(stage, stage)


CONTENDERS = (Contender("dora", "dora", frozenset({"paced"}), link, team=DoraTeam),)
