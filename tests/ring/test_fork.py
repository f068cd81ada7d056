"""A forked child inherits everything and owns nothing: what it drops stays the parent's, what it uses raises."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from remotemedia import _ring
from remotemedia.errors import ChannelError


def in_forked_child(body: Callable[[], None]) -> None:
    """Runs ``body`` in a forked child; its traceback is the test's failure."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    if status:
        pytest.fail(f"the child ended with status {status}\n{said}")


def test_views_dropped_by_a_forked_child_stay_the_parents(pair: Callable[..., Any]) -> None:
    p = pair(4)
    p.put(np.arange(100))
    loan = [p.own.loan(500)]
    views = [p.take_payload()]

    def child() -> None:
        assert views[0][99] == 99
        views.clear()
        loan.clear()

    in_forked_child(child)
    assert p.own.used_bytes == 832 + 512
    assert loan[0].references == 1
    assert views[0].tolist() == list(range(100))
    views.clear()
    assert p.own.used_bytes == 512


def test_using_the_parents_ring_in_a_forked_child_raises(pair: Callable[..., Any]) -> None:
    p = pair(4)
    p.put(b"first")

    def child() -> None:
        for use in (
            lambda: p.put(b"x"),
            lambda: p.consumer.take(),
            lambda: p.own.loan(10),
            lambda: p.consumer.receive(0, 0),
            lambda: p.producer.wait_room(0, 0),
            lambda: p.own.wait_memory(0, 0, 0),
        ):
            with pytest.raises(ChannelError, match="before a fork"):
                use()
        # Neither ends the parent's stream.
        p.producer.close()
        p.consumer.close()

    in_forked_child(child)
    assert not p.consumer.ended
    assert p.take_payload() == b"first"
    assert p.put(b"second") == _ring.OK
    assert p.take_payload() == b"second"


def test_a_forked_childs_own_ring_works(pair: Callable[..., Any]) -> None:
    def child() -> None:
        p = pair(4)
        p.put(b"in the child")
        assert p.take_payload() == b"in the child"

    in_forked_child(child)


def test_a_forked_child_that_gives_up_waiting_silences_nobody(pair: Callable[..., Any]) -> None:
    """It ends the coroutines it inherited, and each says that it waits no more: the parent still does."""
    p = pair(1)
    p.put(b"x")
    view = p.take_payload()
    p.producer.begin_room_wait()
    p.own.begin_memory_wait()
    p.own.arm()

    def child() -> None:
        p.producer.end_room_wait()
        p.own.end_memory_wait()
        p.own.disarm()

    in_forked_child(child)
    assert p.peek_ring("I", p.PRODUCER_WAITING) == 1
    assert p.peek_segment("I", p.MEMORY_WANTED) == 1
    assert p.peek_segment("I", p.BELL_ARMED) == 1
    del view


def test_a_forked_child_collects_nothing(pair: Callable[..., Any]) -> None:
    """What came back is on one list: taken off by the child, it would be lost to the parent."""
    p = pair(1)
    p.put(b"x")
    assert p.take_payload() == b"x"
    in_forked_child(lambda: p.own.begin_rest())
    assert p.own.used_bytes == 0
