"""How two sides find each other, who is refused, and when a name is free again."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber
from remotemedia.errors import ChannelError, ChannelInUseError

Names = Callable[[], str]
Children = Callable[..., Any]

PATIENCE_SECS = 20
"""Nothing is expected to take this long: it makes one test fail where the watchdog would end the whole run."""

HOLD = """
from remotemedia.core.multiprocessing import Publisher, Subscriber
side = {"publisher": Publisher, "subscriber": Subscriber}[sys.argv[1]](sys.argv[2])
say("holds")
hear()
side.close()
say("closed")
hear()
"""


def works(publisher: Publisher, subscriber: Subscriber) -> None:
    for text in ("one", "two"):
        publisher.publish(RuntimeData.text(text))
        got = subscriber.receive()
        assert got is not None
        assert got.payload == text


@pytest.mark.parametrize("first", [Publisher, Subscriber])
def test_either_side_first(channel_name: Names, first: type) -> None:
    name = channel_name()
    one = first(name)
    with one, (Subscriber if first is Publisher else Publisher)(name) as other:
        works(*((one, other) if first is Publisher else (other, one)))


def test_what_was_published_before_the_subscriber_came(channel_name: Names) -> None:
    name = channel_name()
    with Publisher(name, 3) as publisher:
        assert [publisher.try_publish(RuntimeData.text(str(i))) for i in range(4)] == [True, True, True, False]
        with Subscriber(name) as subscriber:
            assert [subscriber.receive().payload for _ in range(3)] == ["0", "1", "2"]  # type: ignore[union-attr]
            works(publisher, subscriber)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("second", [Publisher, Subscriber])
def test_second_of_a_side_is_refused(channel_name: Names, second: type, held: bool) -> None:
    """Whether the holder of the name is of the same side or of the other."""
    name = channel_name()
    order = (Publisher, Subscriber) if (second is Publisher) == held else (Subscriber, Publisher)
    one = order[0](name)
    with one, order[1](name) as other:
        word = "publisher" if second is Publisher else "subscriber"
        with pytest.raises(ChannelInUseError, match=rf"already has a {word} \(pid {os.getpid()}\)"):
            second(name)
        works(*((one, other) if order[0] is Publisher else (other, one)))


@pytest.mark.parametrize("side", [Publisher, Subscriber])
def test_second_alone_is_refused(channel_name: Names, side: type) -> None:
    name = channel_name()
    with side(name), pytest.raises(ChannelInUseError):
        side(name)
    side(name).close()


@pytest.mark.parametrize("side", ["publisher", "subscriber"])
@pytest.mark.parametrize("end", ["close", "kill", "term"])
def test_name_is_free_after(child_python: Children, channel_name: Names, side: str, end: str) -> None:
    name = channel_name()
    same = Publisher if side == "publisher" else Subscriber
    child = child_python(HOLD, side, name)
    child.expect("holds")
    with pytest.raises(ChannelInUseError, match=rf"pid {child.pid}"):
        same(name)
    if end == "close":
        child.say("close")
        child.expect("closed")
    else:
        child.signal(signal.SIGKILL if end == "kill" else signal.SIGTERM)
        child.wait()
    with same(name):
        pass


@pytest.mark.parametrize("side", [Publisher, Subscriber])
def test_name_is_free_after_garbage_collection(channel_name: Names, side: type) -> None:
    name = channel_name()
    one = side(name)
    del one
    gc.collect()
    side(name).close()


def test_name_is_free_after_garbage_collection_of_a_pair(channel_name: Names) -> None:
    name = channel_name()
    for _ in range(3):
        one, other = Publisher(name), Subscriber(name)
        works(one, other)
        del one, other
        gc.collect()


@pytest.mark.parametrize("side", [Publisher, Subscriber])
def test_program_that_never_closes_exits_silently(child_python: Children, channel_name: Names, side: type) -> None:
    child = child_python(
        """
        from remotemedia.core.data import RuntimeData
        from remotemedia.core.multiprocessing import Publisher, Subscriber
        publisher, subscriber = Publisher(sys.argv[1]), Subscriber(sys.argv[1])
        publisher.publish(RuntimeData.text("x"))
        publisher.publish(RuntimeData.text("y"))
        held = subscriber.receive()
        if sys.argv[2] == "Publisher":
            circle = [publisher, subscriber]
            circle.append(circle)
        """,
        channel_name(),
        side.__name__,
    )
    assert child.wait() == 0
    assert child.stderr() == ""


@pytest.mark.parametrize(
    "name",
    ["a", " ", "a/b", "../x", "a\0b", "\0", "ä", "日本語 🎧", "\ud800", "x" * 60, "x" * 61, "x" * 10_000, "a\nb", "%s"],
)
def test_any_name(name: str) -> None:
    name = f"{name}-{os.getpid()}" if len(name) < 20 else name
    with Publisher(name) as publisher, Subscriber(name) as subscriber:
        assert publisher.channel_name == subscriber.channel_name == name
        works(publisher, subscriber)


def test_long_names_differ() -> None:
    long = "x" * 5000
    with Publisher(long + "a"), Publisher(long + "b"):
        pass


def test_many_channels_share_one_thread(channel_name: Names) -> None:
    before = threading.active_count()
    names = [channel_name() for _ in range(20)]
    publishers = [Publisher(name) for name in names]
    subscribers = [Subscriber(name) for name in names]
    assert threading.active_count() == before + 1
    for publisher, subscriber in zip(publishers, subscribers, strict=True):
        works(publisher, subscriber)
    for side in (*publishers, *subscribers):
        side.close()
    del publisher, subscriber, side
    assert threading.active_count() == before


def _address(name: str) -> str:
    return f"\0remotemedia/{os.getuid()}/{name}"


GARBAGE: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"hello", 0),
    "no dict": (b"[1]", 0),
    "no role": (json.dumps({"version": 1}).encode(), 0),
    "a role unknown": (json.dumps({"version": 1, "role": "spy"}).encode(), 2),
    "too few descriptors": (json.dumps({"version": 1, "role": "subscriber"}).encode(), 1),
    "too many descriptors": (json.dumps({"version": 1, "role": "subscriber"}).encode(), 3),
    "descriptors of something else": (json.dumps({"version": 1, "role": "subscriber"}).encode(), 2),
    "another version": (json.dumps({"version": 99, "role": "subscriber"}).encode(), 2),
    "too long": (b" " * 5000 + b"{}", 0),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_stranger_on_the_socket_changes_nothing(channel_name: Names, what: str) -> None:
    hello, count = GARBAGE[what]
    name = channel_name()
    with Publisher(name) as publisher:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger, Path(os.devnull).open() as null:
            stranger.connect(_address(name))
            socket.send_fds(stranger, [hello], [null.fileno()] * count)
            # Refused or hung up on: both are an answer.
            while True:
                try:
                    if not stranger.recv(4096):
                        break
                except ConnectionError:
                    break
        with Subscriber(name) as subscriber:
            works(publisher, subscriber)


def test_stranger_that_says_nothing_blocks_nobody(channel_name: Names) -> None:
    name = channel_name()
    with Publisher(name) as publisher, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(_address(name))
        with Subscriber(name) as subscriber:
            works(publisher, subscriber)


def test_holder_with_other_descriptors_is_refused(channel_name: Names, in_thread: Callable[..., Any]) -> None:
    """Whoever holds the name answers with what is no channel."""
    name = channel_name()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as holder:
        holder.bind(_address(name))
        holder.listen()

        def answer() -> None:
            connection, _ = holder.accept()
            with connection, Path(os.devnull).open() as null:
                _, fds, _, _ = socket.recv_fds(connection, 4096, 8)
                for fd in fds:
                    os.close(fd)
                socket.send_fds(
                    connection, [json.dumps({"version": 1, "role": "subscriber"}).encode()], [null.fileno()] * 2
                )

        task = in_thread(answer)
        with pytest.raises(ChannelError, match="not a usable segment"):
            Publisher(name)
        task.result()


@pytest.mark.parametrize("side", [Publisher, Subscriber])
def test_descriptor_limit_reached(channel_name: Names, side: type) -> None:
    """At any point of opening: an error, nothing left behind, and later it works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    failures = 0
    for spare in range(1, 40):
        name = channel_name()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, hard))
        try:
            opened = side(name)
        except (OSError, ChannelError):
            failures += 1
            opened = None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if opened is not None:
            opened.close()
            break
        with Publisher(name) as publisher, Subscriber(name) as subscriber:
            works(publisher, subscriber)
    assert failures > 2
    assert opened is not None


def test_forked_child_does_not_keep_the_name_or_the_peer(channel_name: Names) -> None:
    """A child forked while channels are open: its parent still closes, and its peers still notice."""
    name = channel_name()
    publisher, subscriber = Publisher(name), Subscriber(name)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(write)
            with pytest.raises(ChannelError, match="before a fork"):
                publisher.publish(RuntimeData.text("x"))
            publisher.close()
            subscriber.close()
            os.read(read, 1)  # until the parent has closed
            code = 0
        finally:
            os._exit(code)
    os.close(read)
    works(publisher, subscriber)
    publisher.close()
    assert subscriber.receive() is None
    assert subscriber.ended
    subscriber.close()
    with Publisher(name) as publisher, Subscriber(name) as subscriber:
        works(publisher, subscriber)
    os.close(write)
    assert os.waitpid(pid, 0)[1] == 0


def test_death_of_a_process_whose_forked_child_lives_on_is_noticed(child_python: Children, channel_name: Names) -> None:
    name = channel_name()
    child = child_python(
        """
        from remotemedia.core.multiprocessing import Publisher
        publisher = Publisher(sys.argv[1])
        read, write = os.pipe()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(1, 0)
            os.write(write, b"x")
            say("forked", os.getpid())
            signal.pause()
        os.read(read, 1)
        signal.pause()
        """,
        name,
    )
    with Subscriber(name) as subscriber:
        _, grandchild = child.hear()
        child.kill()
        with pytest.raises(ChannelError, match="died without closing"):
            subscriber.receive()
    os.kill(grandchild, signal.SIGKILL)


def garbage() -> Iterator[bytes]:
    yield b"[" * 4096
    yield b'{"a":' * 819
    yield b""
    yield b"\xff\xfe"
    yield b'{"version": 1, "role": ["publisher"]}'
    yield b'{"version": {}, "role": null}'
    yield b"1" * 4096
    rng = random.Random(7)
    for size in (1, 10, 100, 1000, 4096, 5000):
        yield rng.randbytes(size)


def say_to(name: str, datagram: bytes) -> None:
    """Returns once whoever listens has hung up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.settimeout(PATIENCE_SECS)
        stranger.connect(_address(name))
        if datagram:
            stranger.send(datagram)
        else:
            stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while stranger.recv(4096):
                pass


@pytest.mark.parametrize("first", [Publisher, Subscriber])
def test_garbage_at_a_channels_address_does_not_end_the_rendezvous(
    channel_name: Callable[[], str], first: type[Publisher | Subscriber]
) -> None:
    name, other_name = channel_name(), channel_name()
    with first(name) as waiting:
        for datagram in garbage():
            say_to(name, datagram)
        # The peer it has waited for, and another channel of the same process.
        for known, second in ((waiting, Subscriber if first is Publisher else Publisher), (None, None)):
            with contextlib.ExitStack() as stack:
                if known is None or second is None:
                    sides: list[Any] = [stack.enter_context(Publisher(other_name))]
                    sides.append(stack.enter_context(Subscriber(other_name)))
                else:
                    sides = [known, stack.enter_context(second(name))]
                publisher = next(side for side in sides if isinstance(side, Publisher))
                subscriber = next(side for side in sides if isinstance(side, Subscriber))
                publisher.publish(RuntimeData.text("hello"), timeout=PATIENCE_SECS)
                got = subscriber.receive(PATIENCE_SECS)
                assert got is not None and got.payload == "hello"
