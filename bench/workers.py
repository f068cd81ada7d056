"""Processes that do one task at a time for the runner, and sleep in between, so that others have the machine."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

DEADLINE_SECS = 30.0
_PR_SET_PDEATHSIG = 1

Opener = Callable[[], Any]
Task = tuple[Callable[..., Any], tuple[Any, ...]]


class ContenderFailed(Exception):
    """A contender raised, crashed or hung; the run goes on without it."""


def serve(control: Connection, openers: Sequence[Opener]) -> None:
    """Opens the ends, then does tasks until told to stop: the life of a worker, in whatever process it lives."""
    ends: list[Any] = []
    try:
        ends += [opener() for opener in openers]
        # No collector in anybody's measured loop.
        gc.collect()
        gc.freeze()
        gc.disable()
        control.send((True, "ready"))
        while (task := control.recv()) is not None:
            function, args = task
            control.send((True, function(*ends, *args)))
    except EOFError:
        pass
    except BaseException as error:
        control.send((False, "".join(traceback.format_exception_only(error)).strip()))
    finally:
        for end in ends:
            end.close()


def _main(control: Connection, cpu: int | None, parent: int, openers: Sequence[Opener]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner ends the workers
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    serve(control, openers)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals wait until a process just started is also known, and can be ended.

    By handlers, not by a mask: a library's threads would take the signal, and Python raise it here all the same.
    """
    came: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, frame: came.append(number)) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


class Team:
    """Processes of one contender that do a piece of work together."""

    task_secs = 0.0
    """How long a task takes if all goes well; it is late ``DEADLINE_SECS`` after that."""

    def __init__(self, roles: Sequence[Sequence[Opener]], cpus: Sequence[int | None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._controls: list[Connection] = []
        self._processes = []
        try:
            for openers, cpu in zip(roles, cpus, strict=True):
                mine, theirs = context.Pipe()
                self._controls.append(mine)
                process = context.Process(target=_main, args=(theirs, cpu, os.getpid(), openers), daemon=True)
                with _uninterrupted():
                    process.start()
                    self._processes.append(process)
                theirs.close()
        except BaseException:
            self.kill()
            raise

    def wait_ready(self) -> None:
        """Returns when every end is open. A failure ends all processes, here as in ``play``."""
        self._gather()

    @property
    def pids(self) -> list[int]:
        """The processes that it started, not those that they have started."""
        return [process.pid for process in self._processes if process.pid is not None]

    def play(self, *tasks: Task) -> list[Any]:
        """One task for each process; their results."""
        self.ask(*tasks)
        return self.answers()

    def ask(self, *tasks: Task) -> None:
        """One task for each process; ``answers`` has the results."""
        for control, task in zip(self._controls, tasks, strict=True):
            with suppress(OSError):  # its end is noticed when the answers are awaited
                control.send(task)

    def answers(self) -> list[Any]:
        """The results of what was asked, when all are there."""
        return self._gather()

    def _gather(self) -> list[Any]:
        try:
            return gather(self._controls, self.task_secs + DEADLINE_SECS)
        except ContenderFailed:
            self.kill()
            raise

    def dismiss(self) -> None:
        """Tells the processes to end, without waiting for it."""
        for control in self._controls:
            with suppress(OSError):
                control.send(None)

    def close(self) -> None:
        """Lets the processes close their ends and exit; kills those that do not."""
        self.dismiss()
        for process in self._processes:
            process.join(5)
        self.kill()

    def kill(self) -> None:
        """Whatever they do."""
        for process in self._processes:
            process.kill()
            process.join()
            process.close()
        self._processes = []
        for control in self._controls:
            control.close()
        self._controls = []


def gather(controls: Sequence[Connection], late_secs: float) -> list[Any]:
    """One answer of each; ContenderFailed at the first that fails, ends, or is late."""
    answers: dict[Connection, Any] = {}
    while len(answers) < len(controls):
        ready = wait([control for control in controls if control not in answers], late_secs)
        if not ready:
            raise ContenderFailed(f"no answer within {late_secs:g} s")
        for control in ready:
            assert isinstance(control, Connection)
            try:
                ok, answer = control.recv()
            except (EOFError, OSError):
                raise ContenderFailed("a process ended without an answer") from None
            if not ok:
                raise ContenderFailed(answer)
            answers[control] = answer
    return [answers[control] for control in controls]
