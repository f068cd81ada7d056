"""The entry of a node's process: ``python -m remotemedia.core.multiprocess.runner``, started by a session.

Arguments and a control socket in, an exit code out. Start-up time is a budget: nothing is imported here that a node
does not need.
"""

# May import: node, classes, channel, process, values, _ring

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from remotemedia import __version__, _ring
from remotemedia.core.multiprocess.process.control import CONTROL_FD, NODE_MARK, ORCHESTRATOR_FD, ControlSocket, Message
from remotemedia.core.multiprocess.values.interruption import Interruption, heard_from_json
from remotemedia.core.multiprocess.values.protocol import (
    Connect,
    Failed,
    FromNode,
    Hello,
    Here,
    Interrupt,
    InterruptAnswered,
    Progress,
    Ready,
    Start,
    Stop,
    Unconnected,
    Warned,
    as_json,
    to_node,
)

if TYPE_CHECKING:
    from remotemedia.core.multiprocess.node.loop import NodeLoop

__all__ = ["leave", "main"]

_LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop] | None

EXIT_FAILED_TO_INITIALIZE = 3
EXIT_ABANDONED = 4


class _Life:
    """A node from ``initialize()`` to ``cleanup()``."""

    def __init__(self, node: Any, control: ControlSocket, hello: Hello, fds: list[int]) -> None:
        self._node = node
        self._pid = os.getpid()
        self._control = control
        self._loop = _loop_around(node, self._say, hello)
        self._channels: asyncio.Future[tuple[Message, list[int]]] = asyncio.get_running_loop().create_future()
        if hello.handover is not None:
            self._channels.set_result((hello.handover, fds))
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._initialized = False
        self._ready = False

    async def live(self) -> int:
        """Runs the node; the process's exit code."""
        code = 0
        self._work = asyncio.create_task(self._run_here(), name="node")
        self._control.attach(asyncio.get_running_loop(), self._on_message, self._on_end)
        try:
            await self._work
            await self._stopped.wait()
        except (Exception, asyncio.CancelledError) as error:
            if os.getpid() != self._pid:
                raise  # on uvloop, a forked child runs on for a moment after sys.exit()
            if not self._is_told_to_end(error):
                if self._ready:  # its loop cannot go on after this
                    _print_failure(error)
                    return EXIT_ABANDONED
                self._say(_failure(error))
                code = EXIT_FAILED_TO_INITIALIZE
        if self._initialized:
            await self._cleanup()
        return code

    async def _run_here(self) -> None:
        try:
            await self._run()
        except SystemExit as error:
            _leave_if_forked(self._pid, error)
            raise

    def _is_told_to_end(self, error: BaseException) -> bool:
        """Whether a stop caused the cancellation, not the user's code. One caused by a signal is raised again."""
        if not isinstance(error, asyncio.CancelledError):
            return False
        task = asyncio.current_task()
        if task is not None and task.cancelling() and not self._stopped.is_set():
            raise error
        return self._stopped.is_set()

    async def _run(self) -> None:
        from remotemedia.core.multiprocess.channel.handover import Handover, attach
        from remotemedia.core.multiprocess.node.hooks import settled
        from remotemedia.core.multiprocess.node.node import NodeStatus

        self._node._status = NodeStatus.INITIALIZING
        await settled(self._node.initialize(), "initialize()")
        self._initialized = True
        self._progress("connecting", 0.95)
        if not self._channels.done():
            self._say(Unconnected())
        raw, fds = await self._channels
        handover = Handover.from_json(raw)
        channels = attach(handover, fds)
        channels.segment.note_faults()
        self._loop.connect(channels, backpressure=handover.backpressure, spin_us=handover.spin_us)
        self._node._status = NodeStatus.READY
        self._ready = True
        self._say(Ready())
        await self._started.wait()
        await settled(self._node.run(), "run()")

    def _say(self, message: FromNode) -> None:
        self._control.send(as_json(message))

    def _on_message(self, raw: Message, fds: list[int]) -> None:
        match to_node(raw):
            case Start():
                self._started.set()
            case Connect(handover):
                self._channels.set_result((handover, fds))
            case Interrupt(epoch, nodes, heard):
                self._loop.interrupt(Interruption(epoch, nodes, heard_from_json(heard)))
            case InterruptAnswered(number, why):
                self._loop.asking.answer(number, why)
            case Stop(abort):
                self._stop(abort=abort)

    def _stop(self, *, abort: bool) -> None:
        self._stopped.set()
        # Told to drain, it ends by itself once its inputs have ended; before it runs there is nothing to drain.
        if self._work is not None and (abort or not self._started.is_set()):
            self._loop.abort()
            self._work.cancel()

    def _on_end(self, error: Exception | None) -> None:
        if error is not None and not self._channels.done():
            self._channels.set_exception(error)  # such as: no room for the descriptors that came with them
        else:
            self._stop(abort=True)

    async def _cleanup(self) -> None:
        from remotemedia.core.multiprocess.node.hooks import settled
        from remotemedia.core.multiprocess.node.node import NodeStatus

        self._node._status = NodeStatus.STOPPING
        try:
            await settled(self._node.cleanup(), "cleanup()")
        except (Exception, asyncio.CancelledError) as error:  # awaiting a task that it cancelled itself is not a crash
            print(f"cleanup() of node {self._node.node_id!r} failed:", file=sys.stderr)
            _print_failure(error)

    def _progress(self, status: str, fraction: float) -> None:
        self._say(Progress(status, fraction))


def main(argv: list[str] | None = None) -> int:
    """Runs one node; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="remotemedia.core.multiprocess.runner",
        description="Runs one node of a remotemedia session. Started by the session, never by hand.",
    )
    parser.add_argument("--node-type", required=True)
    parser.add_argument("--node-id", required=True)
    parser.add_argument("--session", default="")
    arguments = parser.parse_args(argv)
    os.environ.pop(NODE_MARK, None)
    try:
        control = ControlSocket(socket.socket(fileno=CONTROL_FD))
    except OSError:
        parser.error("there is no control socket: a node's process is started by a session")
    try:
        return _run_node(arguments, control)
    finally:
        control.leave()


def _run_node(arguments: argparse.Namespace, control: ControlSocket) -> int:
    # Whatever else the host program left inheritable is not this node's: a pipe held open here would never end there.
    os.set_inheritable(CONTROL_FD, False)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  not up to a limit: the host may have lowered that
        if int(name) > ORCHESTRATOR_FD:
            with contextlib.suppress(OSError):  # what listed them
                os.close(int(name))
    faulthandler.enable()
    faulthandler.register(signal.SIGQUIT)  # all stacks, to the log, even of a node that is stuck in C code

    try:
        # Before a word is said: any other holder of the session's end of the control socket, such as a forked child of
        # the orchestrator, keeps it from being closed.
        _ring.start_deathwatch(ORCHESTRATOR_FD, CONTROL_FD)
        os.close(ORCHESTRATOR_FD)
        # The answer carries descriptors; it is sent once somebody is there to take them.
        control.send(as_json(Here(__version__, _ring.ABI_VERSION)))
        received = control.receive()
        if received is None:
            return EXIT_ABANDONED
        hello, fds = to_node(received[0]), received[1]
        if not isinstance(hello, Hello):
            return 0  # stopped before it knew what it is
        loop_factory = _prepare(hello)
        control.send(as_json(Progress("loading", 0.0)))
        node = _load(hello, arguments.node_type, arguments.node_id, control)
    except BaseException as error:
        control.send(as_json(_failure(error)))
        return EXIT_FAILED_TO_INITIALIZE
    pid = os.getpid()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            return runner.run(_live(node, control, hello, fds))
        except BaseException as error:
            _leave_if_forked(pid, error)
            raise


async def _live(node: Any, control: ControlSocket, hello: Hello, fds: list[int]) -> int:
    try:
        life = _Life(node, control, hello, fds)
    except Exception as error:  # for example, the user's class has its own __setattr__
        control.send(as_json(_failure(error)))
        return EXIT_FAILED_TO_INITIALIZE
    return await life.live()


def _loop_around(node: Any, report: Callable[[FromNode], None], hello: Hello) -> NodeLoop:
    from remotemedia.core.multiprocess.node.loop import NodeLoop

    if not hello.retries and not hello.failure_marks:
        return NodeLoop(node, report)
    from remotemedia.core.multiprocess.node.retrying import RetryingLoop

    return RetryingLoop(node, report, retries=hello.retries, failure_marks=hello.failure_marks)


def _leave_if_forked(pid: int, error: BaseException) -> None:
    """Ends this process at once if the user's code has forked it: its event loop shares an epoll with the node's.

    Whatever it closes would also be closed for the node, which would then receive nothing any more.
    """
    if os.getpid() == pid:
        return
    code = 1
    if not isinstance(error, SystemExit):
        _print_failure(error)
    elif error.code is None or isinstance(error.code, int):
        code = (error.code or 0) & 0xFF
    else:
        print(error.code, file=sys.stderr)
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _loop_factory(use_uvloop: bool) -> _LoopFactory:
    if use_uvloop:
        try:
            import uvloop

            return uvloop.new_event_loop
        except ImportError:
            pass
    return None


def _prepare(hello: Hello) -> _LoopFactory:
    """Imports what every node needs, and then limits the memory: what exceeds the limit is the user's own."""
    from remotemedia.core.multiprocess.classes.imports import adopt_search_path

    sys.path[:0] = hello.extra_paths
    adopt_search_path(**hello.node_class["path"])
    import remotemedia.core.multiprocess.node.loop  # noqa: F401

    loop_factory = _loop_factory(hello.use_uvloop)
    if hello.rlimit_data_bytes is not None:
        _limit_memory(hello.rlimit_data_bytes)
    return loop_factory


def _limit_memory(limit_bytes: int) -> None:
    import resource
    from pathlib import Path

    status = Path("/proc/self/status").read_text()
    used_bytes = int(status.partition("VmData:")[2].split(None, 1)[0]) * 1024
    if used_bytes >= limit_bytes:
        raise MemoryError(f"Python and numpy alone need {used_bytes / 1e6:.0f} MB here")
    _, hard_bytes = resource.getrlimit(resource.RLIMIT_DATA)
    if hard_bytes != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def _load(hello: Hello, node_type: str, node_id: str, control: ControlSocket) -> Any:
    from remotemedia.core.multiprocess.classes.checks import why_unfit
    from remotemedia.core.multiprocess.classes.reference import load_class

    def tell(where: str) -> None:
        control.send(as_json(Progress("loading", 0.0, where)))

    def warn(what: str) -> None:
        control.send(as_json(Warned(what)))

    cls = load_class(hello.node_class, node_type, tell, warn)
    node = cls(node_id, hello.config)
    if unfit := why_unfit(cls, node):
        raise _Unfit(unfit)
    return node


class _Unfit(Exception):
    """One sentence for the user, without a traceback, which would only show this file."""


def _failure(error: BaseException) -> Failed:
    if isinstance(error, _Unfit):
        return Failed(str(error), traceback="", out_of_memory=False)
    from remotemedia.core.multiprocess.node.failure import describe_failure

    return describe_failure(error)


def leave(code: int) -> NoReturn:
    """Ends the process, without waiting for threads that the user's script started while it was run again."""
    from remotemedia.core.multiprocess.classes.rerun import script_threads

    if all(thread.daemon for thread in script_threads()):
        sys.exit(code)
    atexit._run_exitfuncs()
    _flush()
    os._exit(code)


def _print_failure(error: BaseException) -> None:
    from remotemedia.core.multiprocess.node.failure import print_failure

    print_failure(error)


if __name__ == "__main__":
    leave(main())
