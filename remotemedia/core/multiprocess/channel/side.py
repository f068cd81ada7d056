"""What both sides of a channel have in common: being set up, being left, and never being forgotten half-closed."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from remotemedia import _ring
from remotemedia._rules import TEXT, whole_number
from remotemedia.core.multiprocess.channel.doorbell import Doorbell
from remotemedia.errors import ChannelCorruptedError

if TYPE_CHECKING:
    from remotemedia.core.multiprocess.channel.rendezvous import Meeting

    class SideCounters(_ring.ChannelCounters):
        """What ``statistics()`` of a Publisher or Subscriber returns; a plain dict at run time."""

        waiting: int
        pool_used_bytes: int


__all__ = [
    "DEFAULT_SPIN_US",
    "Side",
    "check_count",
    "check_name",
    "deadline_ns_after",
    "new_eventfd",
    "new_meeting",
    "new_segment",
    "peer_segment",
]

DEFAULT_SPIN_US = 20


class Side(ABC):
    """Base of Publisher and Subscriber."""

    _meeting: Meeting | None
    _closed: bool

    def _set_up_side(self, name: str, segment: _ring.Segment, doorbell: Doorbell, spin_us: int) -> None:
        self.channel_name = name
        self._segment = segment
        self._doorbell = doorbell
        self._spin_ns = spin_us * 1000
        self._waiting = 0
        self._meeting = None
        self._owns_segment = False
        self._closed = False

    @abstractmethod
    def close(self) -> None:
        """Leaves the channel. May be repeated."""

    @abstractmethod
    def _end_of_interpreter(self) -> None:
        """What closing still means when no other thread runs any more."""

    async def _sleep(self, ready: Callable[[], bool]) -> None:
        """Waits at the doorbell, and is counted among those that do."""
        self._waiting += 1
        try:
            await self._doorbell.wait(ready)
        finally:
            self._waiting -= 1

    def _counters(self, ring: _ring.Producer | _ring.Consumer, pool_used_bytes: int) -> SideCounters:
        return {**ring.statistics(), "waiting": self._waiting, "pool_used_bytes": pool_used_bytes}

    def _leave(self, peer: _ring.Segment | None) -> None:
        """Gives up the name and the descriptors of a named channel; mappings go with the last view into them."""
        if self._meeting is not None:
            self._meeting.close()
        if self._owns_segment:
            self._doorbell.close()
            self._segment.close()
            if peer is not None:
                peer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A name must not stay taken because somebody forgot to close.
        if not getattr(self, "_closed", True) and self._owns_segment:
            if sys.is_finalizing():
                # The rendezvous thread never runs again: waiting for it would be for ever, and the kernel tidies up.
                self._end_of_interpreter()
            else:
                self.close()


def new_eventfd() -> int:
    """An eventfd for a doorbell."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def new_segment(pool_bytes: int) -> tuple[_ring.Segment, int]:
    """A segment of this process's own, and a memfd to give to a peer; both are the caller's."""
    memfd = _ring.create_segment(pool_bytes, 0)
    try:
        eventfd = new_eventfd()
        try:
            mapped = os.dup(memfd)
        except BaseException:
            os.close(eventfd)
            raise
        return _ring.Segment(mapped, eventfd, True), memfd  # takes both over, whatever happens
    except BaseException:
        os.close(memfd)
        raise


def peer_segment(segment_fd: int, event_fd: int) -> _ring.Segment:
    """The other side's segment. Takes both descriptors over, whatever happens."""
    try:
        os.set_blocking(event_fd, False)
    except OSError as error:
        os.close(segment_fd)
        os.close(event_fd)
        raise ChannelCorruptedError(f"the other side sent something that is not a doorbell: {error}") from None
    return _ring.Segment(segment_fd, event_fd, False)


def new_meeting(*arguments: Any) -> Meeting:
    """The place of a named channel's side at its name; the arguments are Meeting's."""
    # Here: a node's channels have no names, and its start-up time is a budget.
    from remotemedia.core.multiprocess.channel.rendezvous import Meeting

    return Meeting(*arguments)


def deadline_ns_after(timeout: float | None) -> int:
    """On the monotonic clock; 0 = none."""
    if timeout is None:
        return 0
    if not timeout >= 0:
        raise ValueError(f"timeout must be a number of seconds from 0, or None, not {timeout!r}")
    return _ring.now_ns() + int(min(timeout * 1e9, float(1 << 62)))


def check_name(name: object) -> None:
    TEXT.check("channel_name", name)


def check_count(what: str, value: object, low: int, high: int) -> None:
    whole_number(low, high).check(what, value)
