"""Two users, one name: neither gets anything of the other's channel, nor can pass for its other end."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import ChannelError, Publisher, Subscriber

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.promise(
        "security",
        "another user's process gets nothing of a named channel, and cannot pass for its other end",
        "processes of two users, as holder and as stranger, and a program with two user ids",
    ),
]

SIDES = [Publisher, Subscriber]
NOBODY = 65534


@pytest.fixture
def name() -> str:
    return f"security-{os.getpid()}"


def works_with_its_own(holder: Any) -> None:
    """The other end, of the same user, is let in."""
    with (Subscriber if isinstance(holder, Publisher) else Publisher)(holder.channel_name) as side:
        publisher, subscriber = (holder, side) if isinstance(holder, Publisher) else (side, holder)
        publisher.publish(RuntimeData.text("still here"))
        assert subscriber.receive().payload == "still here"


AS_NOBODY = """
import json, socket
from remotemedia import _ring
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocess.channel import rendezvous
from remotemedia.core.multiprocessing import Publisher, Subscriber

name, *uids = sys.argv[1:]
os.setresuid(*map(int, uids))  # all is imported: it may not be readable any more
ctypes.CDLL(None).prctl(1, 9)  # was forgotten with the user

def connect(uid, role):
    \"\"\"What the holder of the name answers to a greeting that is right but for the user.\"\"\"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        try:
            stranger.connect(f"\\0remotemedia/{uid}/{name}")
            fds = [_ring.create_ring(4)] if role == "publisher" else []
            fds += [_ring.create_segment(4096, 0), os.eventfd(0)]
            socket.send_fds(stranger, [json.dumps({"version": 1, "role": role}).encode()], fds)
            return stranger.recv(4096).decode() or "hung up"
        except ConnectionRefusedError:
            return "nobody"
        except ConnectionError:
            return "hung up"

def squat(uid):
    squatter = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    squatter.bind(f"\\0remotemedia/{uid}/{name}")
    squatter.listen(16)
    return squatter

say("ready")
while (order := hear()) is not None:
    kept = eval(order[0])
    say(kept if isinstance(kept, str) else "done")
"""


def ask(child: Any, order: str) -> Any:
    child.say(order)
    return child.hear()[0]


@pytest.fixture
def nobody(child_python: Any, name: str) -> Any:
    child = child_python(AS_NOBODY, name, *[str(NOBODY)] * 3)
    child.expect("ready")
    return child


@pytest.mark.parametrize("side", SIDES)
def test_another_user_is_not_even_listened_to(name: str, nobody: Any, side: Any, ledger: Any) -> None:
    with side(name) as holder:
        for role in ("publisher", "subscriber"):
            assert ask(nobody, f"connect(0, {role!r})") == "hung up"
            ledger.count("strangers")
        works_with_its_own(holder)


@pytest.mark.parametrize("side", SIDES)
def test_root_is_another_user_too(name: str, nobody: Any, side: Any, ledger: Any) -> None:
    """And two users may use one name, each for their own."""
    assert ask(nobody, f"{side.__name__}(name)") == "done"
    with side(name) as holder, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(f"\0remotemedia/{NOBODY}/{name}")
        with contextlib.suppress(BrokenPipeError):  # it was hung up on before it could speak
            stranger.send(b'{"version": 1, "role": "subscriber"}')
        with contextlib.suppress(ConnectionError):
            assert stranger.recv(4096) == b""
        works_with_its_own(holder)
    ledger.count("strangers")


def test_a_name_that_another_user_squats(name: str, nobody: Any, ledger: Any) -> None:
    assert ask(nobody, "squat(0)") == "done"
    for side in SIDES:
        with pytest.raises(ChannelError, match=f"channel {name!r} is held by another user"):
            side(name)
        ledger.count("squatters")
    nobody.kill()
    Publisher(name).close()


def test_a_program_with_the_rights_of_another(name: str, nobody: Any, child_python: Any, ledger: Any) -> None:
    """Started by a user, run with root's rights (setuid): its channels are root's, and the user is a stranger."""
    program = child_python(AS_NOBODY, name, str(NOBODY), "0", "0")
    program.expect("ready")
    assert ask(program, "Publisher(name)") == "done"
    assert ask(nobody, "connect(0, 'subscriber')") == "hung up"
    assert ask(nobody, f"connect({NOBODY}, 'subscriber')") == "nobody"
    with Subscriber(name) as subscriber:
        assert subscriber.channel_name == name
    ledger.count("strangers", 2)
