"""Runs the user's own code only to find a class in it: how that run ends, and on which threads.

A script is run again in a node's process until it would start a session. There ``StopLoading`` is raised. But that may
happen on another thread, while the main thread serves web pages, or inside an ``except:`` that swallows it. So the
stop is raised again until the run is over: at the next lines of the user's code, by a trace function as debuggers use
it, and by a signal, which also ends a wait. A normal start pays for this with one sleeping thread.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, Self

from remotemedia.core.multiprocess.classes.registry import loaded_node

if TYPE_CHECKING:
    import ast

__all__ = ["Rerun", "StopLoading", "is_stop", "script_threads", "stop_if_loading"]

GUARD: Final = "`if __name__ == '__main__':`"

_TELL_SECS = 2.0
"""The beat while nodes load: a run that takes longer says where it is, and again when it is somewhere else."""

_BUSY_SECS = 3.0
"""How long the main thread may go on with its definitions after another thread would start a session. It is ended
sooner at the last statement of its script."""

_UNWIND_SECS = 0.5
"""How long a stop may take to leave the code it was raised in before it counts as swallowed; doubled each time."""

# Ignored by default, so a late one does no harm; hardly any program uses it. Go's runtime uses it in the same way.
_SIGNAL = signal.SIGURG

_WHY = "the script has defined its nodes; it is not run further in a node's process"


class StopLoading(SystemExit):
    """Ends the run of the user's script in a node's process where the script would start a session.

    A SystemExit, because that leaves asyncio.run() at once from whichever task raises it, awaited or not, and passes
    through task groups and ``except Exception``.
    """


def is_stop(error: BaseException | None) -> bool:
    """Whether ``error`` is a StopLoading; some event loops wrap what a task raises in a group."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(StopLoading) is not None
    return isinstance(error, StopLoading)


_current: Rerun | None = None
# Threads that the run has started, directly or not: they may outlive it, and must not start a session either.
_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
# Of these, those of a script: what a module has started belongs to the node that it is imported for.
_threads_of_scripts: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


@functools.cache
def _mark_descendants() -> None:
    start = threading.Thread.start

    @functools.wraps(start)
    def start_marked(thread: threading.Thread) -> None:
        if _is_of_the_run():
            _threads.add(thread)
            if threading.current_thread() in _threads_of_scripts:
                _threads_of_scripts.add(thread)
        start(thread)

    threading.Thread.start = start_marked  # type: ignore[assignment,method-assign]


def script_threads() -> list[threading.Thread]:
    """The threads of a script's run that are still there."""
    return [thread for thread in _threads_of_scripts if thread.is_alive()]


def _is_of_the_run() -> bool:
    own = threading.get_ident()
    if _current is not None and own == _current.ident:
        return True
    return any(thread.ident == own and thread.is_alive() for thread in list(_threads))


def stop_if_loading() -> None:
    """Called first by everything that starts node processes: a node's process must not start the pipeline again.

    Raises:
        StopLoading: this process, or this thread, runs the user's code only to get at a class.
    """
    rerun = _current
    if rerun is None and not (_threads and _is_of_the_run()):
        return
    _say_nothing_of_stops()
    if rerun is not None:
        rerun.stop(sys._getframe(1))
    raise StopLoading(_WHY)


def _is_no_stop(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], StopLoading))


def _say_nothing_of_stops() -> None:
    # asyncio would report one in a task that nobody awaits as an exception never retrieved.
    logging.getLogger("asyncio").addFilter(_is_no_stop)
    if threading.excepthook is not _excepthook:
        globals()["_excepthook_before"], threading.excepthook = threading.excepthook, _excepthook


_excepthook_before = threading.excepthook


def _excepthook(arguments: threading.ExceptHookArgs) -> None:
    """threading's own hook is silent about SystemExit, but not about its subclasses or about errors that a stop causes.

    A stop may arrive while the thread releases a lock, which then fails.
    """
    if not _comes_of_a_stop(arguments.exc_value):
        _excepthook_before(arguments)


class Rerun:
    """``with Rerun(...)``: in the block the user's code runs only until it would start a session.

    Args:
        node_type: the node type whose class is needed. Until it is registered, nothing is ended.
        tell: called from another thread, with a text for the user, if the code runs long: the line it is at.
    """

    def __init__(self, node_type: str, tell: Callable[[str], None] | None = None) -> None:
        self.ident = threading.get_ident()
        self.stopped = False
        self._node_type = node_type
        self._tell = tell
        self._told = ""
        self._file: str | None = None
        self._is_script = False
        self._over = False
        self._stopped_elsewhere = False
        self._due = False
        self._news = threading.Event()
        self._within: CodeType | None = None
        self._tried: set[tuple[CodeType, int]] = set()
        self._threads_before = set(threading.enumerate())
        self._helper: threading.Thread | None = None
        self._handler_before: Any = None
        self._trace_before: Any = None

    def enters(self, file: str | None, *, script: bool) -> None:
        """Sets the file of the user's code that runs now: a script to be ended, or a module that stays imported."""
        self._file, self._is_script = file, script

    def __enter__(self) -> Self:
        global _current
        _current = self
        self._within = sys._getframe(1).f_code
        self._trace_before = sys.gettrace()
        if threading.current_thread() is threading.main_thread():
            self._handler_before = signal.signal(_SIGNAL, self._on_signal)
        helper = threading.Thread(target=self._watch, name="remotemedia-rerun", daemon=True)
        # A memory limit counts the whole stack of a thread.
        before = threading.stack_size(256 * 1024)
        try:
            # If no thread can be started, a script that does not end by itself is only reported as late.
            with contextlib.suppress(RuntimeError):
                helper.start()
                self._helper = helper
        finally:
            threading.stack_size(before)
        return self

    def __exit__(self, *_: object) -> None:
        global _current
        self._over = True  # see _on_signal
        sys.settrace(self._trace_before)
        self._news.set()
        if self._helper is not None:
            self._helper.join()
        if self._handler_before is not None and signal.getsignal(_SIGNAL) == self._on_signal:
            signal.signal(_SIGNAL, self._handler_before)
        started = set(threading.enumerate()) - self._threads_before
        _threads.update(started)
        if self._is_script:
            _threads_of_scripts.update(started)
        _current = None
        if _threads:
            _mark_descendants()
        if self._is_script and script_threads():
            # They may be about to start a session, and end there by themselves.
            timer = threading.Timer(_UNWIND_SECS, self._end_threads)
            timer.daemon = True
            timer.start()

    def stop(self, frame: FrameType) -> None:
        """Called when the user's code would start a session, in ``frame``; the caller raises StopLoading."""
        elsewhere = threading.get_ident() != self.ident
        if elsewhere or self._is_known():
            self._trace_from(frame)
        if not self.stopped:
            self._stopped_elsewhere = elsewhere
            self.stopped = True
            self._news.set()

    def place(self) -> str:
        """The line that the user's code is at, as FILE:LINE; empty outside its own file."""
        frame = sys._current_frames().get(self.ident)
        while frame is not None:
            if frame.f_code.co_filename == self._file:
                return f"{self._file}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def is_left_to_a_thread(self) -> bool:
        """Whether the class is known and a thread that the run has started is there to start the session."""
        started = set(threading.enumerate()) - self._threads_before - {self._helper}
        return self._is_known() and (self._stopped_elsewhere or bool(started))

    def _is_known(self) -> bool:
        return loaded_node(self._node_type) is not None

    # --- the stop, raised again ---

    def _trace_from(self, frame: FrameType | None) -> None:
        """Makes this thread's next line of the user's code raise the stop, once: then Python ends the tracing."""
        while frame is not None:
            if _is_users(frame.f_code.co_filename):
                frame.f_trace = self._trace
            frame = frame.f_back
        sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if (self._over and threading.get_ident() == self.ident) or not _is_users(frame.f_code.co_filename):
            return None
        place = frame.f_code, frame.f_lineno
        if event == "line" and place not in self._tried and not _is_unwinding(frame):
            self._tried.add(place)
            raise StopLoading(_WHY)
        return self._trace

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._over or not self.stopped:
            return
        module = frame
        while module is not None and not self._is_module(module):
            if module.f_code is Rerun.__exit__.__code__ or (self._is_script and module.f_code is self._within):
                return  # it came when the run had ended: how it ended, such as with an error, must not be lost
            module = module.f_back
        if self._due or module is None or module.f_lineno >= _last_statement(self._file or ""):
            self._trace_from(frame)
            raise StopLoading(_WHY)
        module.f_trace = self._trace_module
        sys.settrace(_no_trace)

    def _is_module(self, frame: FrameType) -> bool:
        return frame.f_code.co_filename == self._file and frame.f_code.co_name == "<module>"

    def _trace_module(self, frame: FrameType, event: str, argument: object) -> Any:
        """Lets a script define things after it has started a thread; its last statement is the one that waits."""
        if event == "line" and not self._over and frame.f_lineno >= _last_statement(self._file or ""):
            self._trace_from(frame)
            raise StopLoading(_WHY)
        return self._trace_module

    # --- the thread that watches the run ---

    def _watch(self) -> None:
        while not (self.stopped and self._is_known()):
            if not self._hears_within(_TELL_SECS):
                self._tell_place()
            if self._over:
                return
        if self._stopped_elsewhere:
            self._signal_main()
        self._hears_within(_BUSY_SECS if self._stopped_elsewhere else _UNWIND_SECS)
        self._due = True
        pause_secs = _UNWIND_SECS
        while not self._over:
            self._signal_main()
            if not self._hears_within(pause_secs):
                self._tell_place()
            pause_secs *= 2

    def _hears_within(self, secs: float) -> bool:
        """Whether the run is stopped or over within so many seconds."""
        heard = self._news.wait(secs)
        self._news.clear()
        return heard

    def _signal_main(self) -> None:
        if self._handler_before is not None and not self._over:
            signal.pthread_kill(self.ident, _SIGNAL)

    def _tell_place(self) -> None:
        place = self.place()
        if self._tell is not None and place and place != self._told and not self._over:
            self._told = place
            self._tell(
                f"its script is still running, at {place}: code that must not run in a node belongs under {GUARD}"
                if self._is_script
                else f"its module is still being imported, at {place}"
            )

    # --- what it leaves behind ---

    def _end_threads(self) -> None:
        """Ends threads that the run has started and that are in the script's own code."""
        _say_nothing_of_stops()
        frames = sys._current_frames()
        for thread in script_threads():
            frame = frames.get(thread.ident or 0)
            while frame is not None and frame.f_code.co_filename != self._file:
                frame = frame.f_back
            if frame is not None:
                _raise_in(thread, _End)


def _no_trace(frame: FrameType, event: str, argument: object) -> None:
    """Traces no new frames: only frames that already have a trace function."""


class _End(StopLoading):
    """The stop for a thread that outlives the run; Python creates it in that thread when it is raised there."""

    def __init__(self, *_: object) -> None:
        super().__init__(_WHY)
        timer = threading.Timer(_UNWIND_SECS, _raise_in, (threading.current_thread(), _Park))
        timer.daemon = True
        timer.start()


class _Park(StopLoading):
    """The stop for a thread that has swallowed ``_End``: it never returns to the code it was in."""

    def __init__(self, *_: object) -> None:
        super().__init__(_WHY)
        threading.Event().wait()


def _raise_in(thread: threading.Thread, stop: type[StopLoading]) -> None:
    """Raises ``stop`` in a thread as soon as it runs Python code again; a wait in C is not interrupted."""
    import ctypes

    if thread.is_alive() and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(stop))


def _is_unwinding(frame: FrameType) -> bool:
    """Whether a stop is passing through this line: ``finally`` and ``with`` may finish, ``except`` may not."""
    # An exception has just reached its handler and is not in exc_info() yet: raising here would corrupt its state.
    if frame.f_code.co_code[frame.f_lasti] == _opcode("PUSH_EXC_INFO"):
        return True
    error = sys.exc_info()[1]
    if is_stop(error):
        return frame.f_lineno not in _handler_lines(frame.f_code.co_filename)
    return _comes_of_a_stop(error)  # such as the CancelledError of a task that the stop ends


def _comes_of_a_stop(error: BaseException | None) -> bool:
    """Whether it is one, or was raised while one was on its way."""
    while error is not None:
        if is_stop(error):
            return True
        error = error.__context__
    return False


@functools.cache
def _opcode(name: str) -> int:
    from opcode import opmap

    return opmap[name]


@functools.cache
def _handler_lines(file: str) -> frozenset[int]:
    """The lines of a file that are inside an ``except``."""
    import ast

    handlers = [node for node in ast.walk(_parsed(file)) if isinstance(node, ast.ExceptHandler)]
    return frozenset(line for node in handlers for line in range(node.lineno, (node.end_lineno or node.lineno) + 1))


@functools.cache
def _last_statement(file: str) -> int:
    """The first line of a file's last statement; past the end if that is a definition, which does not wait."""
    import ast

    statements = _parsed(file).body
    if not statements:
        return 0
    defines = (
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
        ast.Import,
        ast.ImportFrom,
    )
    return sys.maxsize if isinstance(statements[-1], defines) else statements[-1].lineno


def _parsed(file: str) -> ast.Module:
    import ast

    try:
        return ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


@functools.cache
def _is_users(file: str) -> bool:
    """Whether a file belongs neither to the standard library nor to remotemedia."""
    if file.startswith(("<frozen", f"{Path(__file__).parents[3]}/")):
        return False
    library = file.startswith(f"{sysconfig.get_path('stdlib')}/")
    return not library or "site-packages" in file or "dist-packages" in file
