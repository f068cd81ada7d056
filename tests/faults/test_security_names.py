"""Strangers at the name of a channel: they cannot join it, end it, block it, or use up what its owner has."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel import rendezvous
from remotemedia.core.multiprocessing import ChannelClosedError, ChannelError, Publisher, Subscriber

pytestmark = pytest.mark.usefixtures("leak_check")
strangers_promise = pytest.mark.promise(
    "security",
    "a stranger at a channel's name cannot join it, block it, or use up its owner's descriptors",
    "garbage, wrong descriptors, memory that is unsealed, shrinks or is read-only, a thousand silent connections",
)
squatters_promise = pytest.mark.promise(
    "security",
    "a name held by a process that answers wrongly, or not at all: a clear error, soon",
    "squatters that do not listen, hang up, answer garbage, or never",
)
SIDES = [Publisher, Subscriber]
SEALS = 0x2 | 0x4  # shrink, grow


def address(name: str) -> str:
    return f"\0remotemedia/{os.geteuid()}/{name}"


def works(publisher: Publisher, subscriber: Subscriber) -> None:
    publisher.publish(RuntimeData.text("still here"))
    data = subscriber.receive()
    assert data is not None and data.payload == "still here"


def works_with_its_own(holder: Publisher | Subscriber) -> None:
    other = Subscriber if isinstance(holder, Publisher) else Publisher
    with other(holder.channel_name) as side:
        works(*((holder, side) if isinstance(holder, Publisher) else (side, holder)))  # type: ignore[arg-type]


@pytest.fixture
def name() -> str:
    return f"security-{os.getpid()}"


@contextlib.contextmanager
def connected(name: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(address(name))
        yield stranger


def is_hung_up_on(stranger: socket.socket) -> bool:
    """Returns once it is; a refusal may come before."""
    with contextlib.suppress(ConnectionError):
        while stranger.recv(4096):
            pass
    return True


# --- of the same user ------------------------------------------------------------------------------------------


def _copy(fd: int, seals: int) -> int:
    copy = os.memfd_create("stranger", os.MFD_ALLOW_SEALING)
    os.write(copy, os.pread(fd, os.fstat(fd).st_size, 0))
    fcntl.fcntl(copy, 1033, seals)
    return copy


def _read_only(fd: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)


def _nothing_but_a_path(fd: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", os.O_PATH)


Hello = Callable[[str, list[int]], tuple[bytes, list[int]]]


def _greeting(role: str, **more: Any) -> bytes:
    return json.dumps({"version": 1, "role": role, **more}).encode()


def _instead(number: int, forge: Callable[[int], int]) -> Hello:
    """A greeting that is right but for one of its descriptors; counted from the last, as both sides have it."""

    def hello(role: str, fds: list[int]) -> tuple[bytes, list[int]]:
        fds.append(forge(fds[number]))
        order = fds[:-1]
        order[number] = fds[-1]
        return _greeting(role), order

    return hello


SEGMENT, DOORBELL = -2, -1
STRANGERS: dict[str, Hello] = {
    "nothing": lambda role, fds: (b"", []),
    "bytes": lambda role, fds: (bytes(range(256)), []),
    "half a message": lambda role, fds: (_greeting(role)[:20], fds),
    "a deep message": lambda role, fds: (b"[" * 4000, []),
    "a message too long": lambda role, fds: (_greeting(role, more="x" * 5000), fds),
    "fields of other types": lambda role, fds: (b'{"version": [1], "role": {"a": 1}}', fds),
    "no descriptors": lambda role, fds: (_greeting(role), []),
    "more descriptors": lambda role, fds: (_greeting(role), fds * 80),
    "no memory": lambda role, fds: (_greeting(role), [fds[DOORBELL]] * len(fds)),
    "the first twice": lambda role, fds: (_greeting(role), [fds[0], *fds[:-2], fds[DOORBELL]]),
    "memory that is not sealed": _instead(SEGMENT, lambda fd: _copy(fd, 0)),
    "memory that may shrink": _instead(SEGMENT, lambda fd: _copy(fd, 0x4)),
    "memory cut short": _instead(SEGMENT, lambda fd: os.memfd_create("short")),
    "memory to read": _instead(SEGMENT, _read_only),
    "memory as a path": _instead(SEGMENT, _nothing_but_a_path),
    "a doorbell as a path": _instead(DOORBELL, _nothing_but_a_path),
}


@strangers_promise
@pytest.mark.parametrize("side", SIDES)
def test_what_a_stranger_says_changes_nothing(name: str, side: Any, ledger: Any) -> None:
    role = "subscriber" if side is Publisher else "publisher"
    with side(name) as holder:
        for what, hello in STRANGERS.items():
            ring = [_ring.create_ring(4)] if role == "publisher" else []
            fds = [*ring, _ring.create_segment(4096, 0), os.eventfd(0, os.EFD_CLOEXEC)]
            if what == "the first twice" and role == "subscriber":
                fds.reverse()  # it has one memory only, and sends it where the doorbell should be
            with connected(name) as stranger:
                said, sent = hello(role, fds)
                before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
                socket.send_fds(stranger, [said], sent)
                assert is_hung_up_on(stranger)
                # The one connection that the owner had is closed, and nothing of what was sent is kept.
                assert len(os.listdir("/proc/self/fd")) <= before, what  # noqa: PTH208
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, 0)  # whoever had mapped it would die of it
                os.close(fd)
            ledger.count("strangers")
        works_with_its_own(holder)


@strangers_promise
def test_whoever_goes_on_talking_is_no_peer(name: str, ledger: Any) -> None:
    """Nothing is said after the greeting: it could be said for ever."""
    fds = [_ring.create_segment(4096, 0), os.eventfd(0, os.EFD_CLOEXEC)]
    with Publisher(name) as publisher, connected(name) as stranger:
        socket.send_fds(stranger, [_greeting("subscriber")], fds)
        _, theirs, _, _ = socket.recv_fds(stranger, 4096, 3, socket.MSG_CMSG_CLOEXEC)
        assert len(theirs) == 3
        stranger.send(b"and another thing")
        assert is_hung_up_on(stranger)
        with pytest.raises(ChannelClosedError, match="has died"):
            while True:
                publisher.publish(RuntimeData.text("x"))
    for fd in (*fds, *theirs):
        os.close(fd)
    ledger.count("strangers")


@strangers_promise
@pytest.mark.parametrize("side", SIDES)
def test_a_thousand_that_say_nothing(name: str, side: Any, ledger: Any, scale: Any) -> None:
    count = scale(1000, 20_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 200, hard), hard))
    try:
        with contextlib.ExitStack() as stack, side(name) as holder:
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            strangers = [stack.enter_context(connected(name)) for _ in range(min(count, hard - 200))]
            assert all(is_hung_up_on(stranger) for stranger in strangers[:-16])
            assert len(os.listdir("/proc/self/fd")) - before - len(strangers) <= 16  # noqa: PTH208
            works_with_its_own(holder)
            ledger.count("strangers", len(strangers))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


OUT_OF_DESCRIPTORS = """
import resource, threading
from remotemedia.core.multiprocessing import ChannelClosedError, Publisher, Subscriber
from remotemedia.core.data import RuntimeData

publisher, other = Publisher(sys.argv[1]), Publisher(sys.argv[1] + "-other")
service, = (t.native_id for t in threading.enumerate() if t.name == "remotemedia-rendezvous")
lowest = os.dup(0)
os.close(lowest)
say("open", service)
hear()
other.wait_subscriber()
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
say("none left")
hear()  # somebody has knocked
try:
    while True:
        other.publish(RuntimeData.text("until the other end is gone"))
except ChannelClosedError:
    say("heard of it")
hear()
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
say("some left")
publisher.wait_subscriber()
publisher.publish(RuntimeData.text("still here"))
hear()
"""


@strangers_promise
def test_an_owner_without_descriptors_sleeps(name: str, child_python: Any, ledger: Any) -> None:
    """Who cannot be let in waits at the door, and the owner is not told of it over and over."""
    epoll = {"x86_64": ("232", "281"), "aarch64": ("22",)}[platform.machine()]
    child = child_python(OUT_OF_DESCRIPTORS, name)
    _, service = child.hear()
    task = Path(f"/proc/{child.pid}/task/{service}")
    with Subscriber(f"{name}-other"):
        child.say("come in")
        child.expect("none left")
        knocking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        knocking.connect(address(name))
        child.say("knock")
    child.expect("heard of it")  # and so its answering thread has heard of the one that knocked before
    while (task / "syscall").read_text().split()[0] not in epoll:
        os.sched_yield()
    switches = [line for line in (task / "status").read_text().splitlines() if "switches" in line]
    for _ in range(300):
        assert (task / "stat").read_text().rpartition(")")[2].split()[0] == "S"
    assert [line for line in (task / "status").read_text().splitlines() if "switches" in line] == switches
    child.say("go on")
    child.expect("some left")
    with Subscriber(name) as subscriber:  # its knocking is news: both are let in
        data = subscriber.receive()
        assert data is not None and data.payload == "still here"
    knocking.close()
    ledger.count("strangers")


# --- who has the name ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def squatting(name: str, *, listens: bool = True) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as squatter:
        squatter.bind(address(name))
        if listens:
            squatter.listen(0)
        yield squatter
        squatter.shutdown(socket.SHUT_RDWR)  # a thread that still waits for somebody waits no more


ANSWERS: dict[str, tuple[bytes, int, str]] = {
    "bytes": (b"\xff\0", 0, "an answer that makes no sense"),
    "no object": (b"[]", 0, "an answer that makes no sense"),
    "deep": (b"[" * 4000, 0, "an answer that makes no sense"),
    "too long": (b" " * 5000, 0, "an answer that makes no sense"),
    "no role": (b"{}", 3, "an answer that makes no sense"),
    "no descriptors": (b'{"version": 1, "role": "OTHER"}', 0, "an answer that makes no sense"),
    "the role that we have": (b'{"version": 1, "role": "OURS"}', -1, "an answer that makes no sense"),
    "no channel": (b'{"version": 1, "role": "OTHER"}', -2, "an answer that makes no sense: not a usable segment"),
}


@squatters_promise
@pytest.mark.parametrize("side", SIDES)
def test_answers_that_make_no_sense(name: str, side: Any, in_thread: Any, ledger: Any) -> None:
    ours, other = ("publisher", "subscriber") if side is Publisher else ("subscriber", "publisher")
    counts = {-1: 3 if ours == "publisher" else 2, -2: 3 if other == "publisher" else 2}
    for what, (answer, count, why) in ANSWERS.items():
        said = answer.replace(b"OURS", ours.encode()).replace(b"OTHER", other.encode())

        def reply(squatter: socket.socket, said: bytes = said, count: int = counts.get(count, count)) -> None:
            connection, _ = squatter.accept()
            with connection:
                for fd in socket.recv_fds(connection, 4096, 3, socket.MSG_CMSG_CLOEXEC)[1]:
                    os.close(fd)
                socket.send_fds(connection, [said], [2] * count)
                is_hung_up_on(connection)

        with squatting(f"{name}-{what}") as squatter:
            replying = in_thread(lambda squatter=squatter, reply=reply: reply(squatter))
            with pytest.raises(ChannelError, match=why):
                side(f"{name}-{what}")
            replying.result()
        ledger.count("squatters")


@squatters_promise
@pytest.mark.parametrize("side", SIDES)
def test_no_answer(name: str, side: Any, in_thread: Any, monkeypatch: pytest.MonkeyPatch, ledger: Any) -> None:
    monkeypatch.setattr(rendezvous, "_ANSWER_TIMEOUT_SECS", 0.2)
    with squatting(name, listens=False), pytest.raises(ChannelError, match=r"has not answered for 0\.2 s"):
        side(name)
    with squatting(name), pytest.raises(ChannelError, match=rf"pid {os.getpid()} holds .* did not answer"):
        side(name)
    with squatting(name), connected(name), pytest.raises(ChannelError, match="too many processes"):
        side(name)
    with squatting(name) as squatter:

        def hang_up() -> None:
            while True:
                connection, _ = squatter.accept()
                with connection:
                    if connection.recv(100) == b"enough":
                        return

        hanging_up = in_thread(hang_up)
        with pytest.raises(ChannelError, match=r"has not answered for 0\.2 s|did not answer within 0\.2 s"):
            side(name)
        with connected(name) as last:
            last.send(b"enough")
            hanging_up.result()
    ledger.count("squatters", 4)
    side(name).close()
