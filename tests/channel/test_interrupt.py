"""Ctrl-C, in a real process that is blocked: KeyboardInterrupt, and the channel still works."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber

CALLS = ["receive", "receive with a timeout", "publish to a full ring", "publish to a full pool", "loan"]

BLOCKED = """
import numpy as np
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Publisher, Subscriber

name, spin_us = sys.argv[1], int(sys.argv[3])
subscriber = None
publisher = None

def fill(**options):
    global publisher
    publisher = Publisher(name, spin_us=spin_us, **options)
    while publisher.try_publish(RuntimeData.tensor(np.zeros(4096, np.uint8))):
        pass

call = sys.argv[2]
if call.startswith("receive"):
    subscriber = Subscriber(name, spin_us=spin_us)
    hear()
elif call.endswith("ring"):
    fill(capacity=1)
else:
    fill(pool_bytes=4096)
try:
    say("going")
    if call == "receive":
        subscriber.receive()
    elif call == "receive with a timeout":
        subscriber.receive(timeout=3600)
    elif call == "loan":
        publisher.loan(4096, np.uint8)
    else:
        publisher.publish(RuntimeData.text("x"))
except KeyboardInterrupt:
    say("interrupted")
hear()
if subscriber:
    say(subscriber.receive().payload)
else:
    publisher.close()
    say("closed")
"""


@pytest.mark.parametrize("spin_us", [0, 300_000])
@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c(child_python: Callable[..., Any], channel_name: Callable[[], str], call: str, spin_us: int) -> None:
    """Asleep in the kernel, and while it spins: there, a signal must not be slept over."""
    name = channel_name()
    child = child_python(BLOCKED, name, call, str(spin_us))
    receiving = call.startswith("receive")
    with Publisher(name) if receiving else Subscriber(name) as mine:
        if receiving:
            child.say("go")
        child.expect("going")
        if not spin_us:
            child.wait_blocked()
        child.signal(signal.SIGINT)
        child.expect("interrupted")
        child.say("go on")
        if receiving:
            mine.publish(RuntimeData.text("still there"))
            child.expect("still there")
        else:
            child.expect("closed")
            assert mine.receive() is not None
            assert mine.receive() is None
            assert mine.ended
    assert child.wait() == 0


def test_ctrl_c_before_the_publisher_came(child_python: Callable[..., Any], channel_name: Callable[[], str]) -> None:
    child = child_python(
        """
        from remotemedia.core.multiprocessing import Subscriber
        with Subscriber(sys.argv[1]) as subscriber:
            try:
                say("going")
                subscriber.receive()
            except KeyboardInterrupt:
                say("interrupted")
        """,
        channel_name(),
    )
    child.expect("going")
    child.wait_blocked(lock=True)
    child.signal(signal.SIGINT)
    child.expect("interrupted")
    assert child.wait() == 0


def test_other_signals_are_handled_and_the_wait_goes_on(
    child_python: Callable[..., Any], channel_name: Callable[[], str]
) -> None:
    name = channel_name()
    child = child_python(
        """
        from remotemedia.core.multiprocessing import Subscriber
        signal.signal(signal.SIGUSR1, lambda *_: say("handled"))
        with Subscriber(sys.argv[1]) as subscriber:
            say("going")
            say(subscriber.receive().payload)
        """,
        name,
    )
    with Publisher(name) as publisher:
        child.expect("going")
        for _ in range(3):
            child.wait_blocked()
            child.signal(signal.SIGUSR1)
            child.expect("handled")
        publisher.publish(RuntimeData.text("then this"))
        child.expect("then this")
        assert child.wait() == 0
