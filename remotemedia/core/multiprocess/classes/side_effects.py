"""Side effects of a script while it is run again in a node's process: none at its exit, and a warning for the others.

What the script registers for the end of the program does not run: a node is not that program. If its own lines open a
file for writing, or bind, rename or delete something, the name and line are recorded for a warning. Nothing is refused,
because such a line may be intended, for example to write a cache. Imports do not count as the script's own lines.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from remotemedia._telling import said
from remotemedia.core.multiprocess.classes.rerun import GUARD

__all__ = ["SideEffects"]

_MOST_LINES: Final = 8
"""How many lines the warning lists; more would not add to the advice."""

_running: list[SideEffects] = []


class SideEffects:
    """``with effects.of(file)`` records the side effects of the file's own lines, in every thread."""

    def __init__(self) -> None:
        self._file = ""
        self._done: dict[int, str] = {}
        self._own: set[str] = set()

    def __str__(self) -> str:
        """The warning for the user; empty if there were no side effects."""
        if not self._done:
            return ""
        told = "; ".join(f"line {line} {what}" for line, what in sorted(self._done.items())[:_MOST_LINES])
        more = "; and more" if len(self._done) > _MOST_LINES else ""
        return (
            f"{self._file} is run again in each node's process to find its classes, up to where it starts a session, "
            f"and did this again: {told}{more}. Code that must run only once belongs under {GUARD}"
        )

    @contextlib.contextmanager
    def of(self, file: str) -> Iterator[None]:
        """While the block runs the file."""
        self._file = file
        _install_hook()
        register, finalize = atexit.register, weakref.finalize.__init__

        @functools.wraps(register)  # type: ignore[arg-type]
        def register_unless_ours(call: Callable[..., Any], /, *arguments: Any, **more: Any) -> Any:
            if _running and self._is_own(sys._getframe(1)):
                return call
            return register(call, *arguments, **more)

        @functools.wraps(finalize)
        def finalize_at_exit_unless_ours(made: Any, /, *arguments: Any, **more: Any) -> None:
            finalize(made, *arguments, **more)
            if _running and self._is_own(sys._getframe(1)):
                made.atexit = False

        atexit.register = register_unless_ours
        weakref.finalize.__init__ = finalize_at_exit_unless_ours  # type: ignore[method-assign]
        _running.append(self)
        try:
            yield
        finally:
            _running.clear()
            atexit.register = register
            weakref.finalize.__init__ = finalize  # type: ignore[method-assign]

    def failed(self, error: Exception) -> None:
        """The run has ended with an error that its program did not have."""
        at, line = error.__traceback__, 0
        while at is not None:
            if self._is_own(at.tb_frame):
                line = at.tb_lineno
            at = at.tb_next
        done = self._done.get(line)
        self._done[line] = f"{done}, and failed" if done else "failed"
        self._done[line] += f" ({said(error)})"

    def _is_own(self, frame: FrameType) -> bool:
        return frame.f_code.co_filename == self._file

    def opened(self, path: object, _: object, flags: int) -> None:
        if flags & os.O_EXCL:
            self.made(path)
        elif flags & (os.O_WRONLY | os.O_RDWR):
            self._note("opened for writing", path)

    def made(self, path: object, *_: object) -> None:
        """Anything new, such as a temporary folder, is this process's own: changing it harms nobody."""
        name = _name(path)
        if name is not None and not os.path.lexists(name):
            self._own.add(name)

    def removed(self, path: object, folder_fd: int | None = None, *_: object) -> None:
        if folder_fd is not None and folder_fd >= 0 and (name := _name(path)) is not None:
            with contextlib.suppress(OSError):
                path = f"{os.readlink(f'/proc/self/fd/{folder_fd}')}/{name}"  # noqa: PTH115
        self._note("deleted", path)

    def renamed(self, path: object, *_: object) -> None:
        self._note("renamed", path)

    def cut(self, path: object, *_: object) -> None:
        self._note("truncated", path)

    def bound(self, _: object, address: object) -> None:
        if not isinstance(address, tuple):
            self._note("listened on", address)
        elif len(address) >= 2 and address[1] != 0:  # port 0 means a free port, which cannot clash
            self._note("listened on", f"{address[0] or '*'}:{address[1]}")

    def _note(self, what: str, path: object) -> None:
        name = _name(path)
        if name is None or name in self._own or name.startswith(tuple(f"{own}/" for own in self._own)):
            return
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not self._is_own(frame):
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return
            frame = frame.f_back
        if frame is not None:
            self._done.setdefault(frame.f_lineno, f"{what} {name!r}")


_EVENTS: Final[dict[str, Callable[..., None]]] = {
    "open": SideEffects.opened,
    "os.mkdir": SideEffects.made,
    "os.remove": SideEffects.removed,
    "os.rmdir": SideEffects.removed,
    "shutil.rmtree": SideEffects.removed,
    "os.rename": SideEffects.renamed,
    "os.truncate": SideEffects.cut,
    "socket.bind": SideEffects.bound,
}


def _name(path: object) -> str | None:
    if not isinstance(path, str | bytes | os.PathLike):
        return None  # an open descriptor
    name = os.fsdecode(path)
    return None if name.startswith(("/dev/", "/proc/")) else name


@functools.cache
def _install_hook() -> None:
    """Stays for the life of the process, as Python cannot remove a hook: it must be cheap, and never fail."""
    events, running = _EVENTS, _running  # at interpreter shutdown a module's globals are cleared

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in events:
            for effects in running:
                events[event](effects, *arguments)

    sys.addaudithook(hook)
