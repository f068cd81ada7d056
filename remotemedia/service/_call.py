"""Call: one call that the gate let in, and what it has taken and moved so far."""

from __future__ import annotations

from remotemedia.errors import ResourceLimitError
from remotemedia.service._counters import Counters, MethodCounters
from remotemedia.service._limits import Limits

__all__ = ["Call"]


class Call:
    """One call that was let in.

    Attributes:
        method: what is called.
        client: who calls.
        session_id: of the session that works for it; "" before there is one.
        error_type: name of the in-band error it ended with, if any.
        processes: how many it has taken.
        messages_in, bytes_in, messages_out, bytes_out: what went over the wire so far.
    """

    def __init__(self, method: str, client: str, limits: Limits, counters: Counters) -> None:
        self.method = method
        self.client = client
        self.session_id = ""
        self.error_type = ""
        self.processes = 0
        self.messages_in = self.bytes_in = self.messages_out = self.bytes_out = 0
        self._limits = limits
        self._refused = counters.refused
        self._counters: MethodCounters = counters.of(method)

    def take_processes(self, count: int) -> None:
        """The call is about to start ``count`` processes, which it has until its end.

        ResourceLimitError, with none taken, when all calls together would have too many.
        """
        try:
            self._limits.take_processes(count)
        except ResourceLimitError:
            self._refused["max_processes"] += 1
            raise
        self.processes += count

    def count_in(self, size_bytes: int) -> None:
        """A message of the client has come."""
        self.messages_in += 1
        self.bytes_in += size_bytes
        self._counters.messages_in += 1
        self._counters.bytes_in += size_bytes

    def count_out(self, size_bytes: int) -> None:
        """A message is sent to the client."""
        self.messages_out += 1
        self.bytes_out += size_bytes
        self._counters.messages_out += 1
        self._counters.bytes_out += size_bytes
