"""Limits over all calls: how many at a time, how many of one client, how many begin, how many processes they have."""

from __future__ import annotations

from collections import Counter

from remotemedia.errors import ResourceLimitError
from remotemedia.service.config import ServiceConfig

__all__ = ["Limits", "NotAdmitted", "StartRate"]


class NotAdmitted(Exception):
    """A call may not come in.

    Attributes:
        reason: in one word, for figures: the setting whose limit is reached, "authentication" or "stopping".
        status: name of the gRPC status.
        text: for the client.
    """

    def __init__(self, reason: str, status: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.status = status
        self.text = text


class StartRate:
    """A bucket of the starts allowed in one second, at least one, which fills as time passes.

    It is reckoned from the moment it was last full, not from start to start: so no rounding adds up.
    """

    def __init__(self, starts_per_sec: float) -> None:
        self._starts_per_sec = starts_per_sec
        self._room = max(1.0, starts_per_sec)
        self._full_at_secs = 0.0
        self._taken = 0

    def take(self, now_secs: float) -> bool:
        """Takes one start out of the bucket; False when there is none."""
        filled = (now_secs - self._full_at_secs) * self._starts_per_sec
        if filled >= self._taken:
            self._full_at_secs, self._taken, filled = now_secs, 0, 0.0
        if self._taken + 1 > self._room + filled:
            return False
        self._taken += 1
        return True


class Limits:
    """What the calls that are in have taken. A call that has entered leaves once, with all it took.

    Attributes:
        sessions: calls that are in.
        processes: node processes they have taken.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._rate = None if config.max_starts_per_sec is None else StartRate(config.max_starts_per_sec)
        self._by_client: Counter[str] = Counter()
        self.sessions = 0
        self.processes = 0

    def enter(self, client: str, now_secs: float) -> None:
        """Lets a call in; NotAdmitted, with nothing taken, when there are too many."""
        config = self._config
        if config.max_sessions is not None and self.sessions >= config.max_sessions:
            raise _exhausted("max_sessions", f"the service has {config.max_sessions} sessions, the most it may")
        most = config.max_sessions_per_client
        if most is not None and self._by_client[client] >= most:
            raise _exhausted("max_sessions_per_client", f"this client has {most} sessions, the most one may")
        # Last: a call refused for another reason uses up no start.
        if self._rate is not None and not self._rate.take(now_secs):
            text = f"more than {config.max_starts_per_sec:g} sessions per second would start"
            raise _exhausted("max_starts_per_sec", text)
        self.sessions += 1
        self._by_client[client] += 1

    def take_processes(self, count: int) -> None:
        """ResourceLimitError, with nothing taken, when there would be too many."""
        most = self._config.max_processes
        if most is not None and self.processes + count > most:
            raise ResourceLimitError(
                f"{count} processes are needed, and {most - self.processes} of the service's {most} are free"
                " (max_processes)"
            )
        self.processes += count

    def leave(self, client: str, processes: int) -> None:
        """Gives back what a call has taken."""
        self.sessions -= 1
        self.processes -= processes
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]


def _exhausted(setting: str, text: str) -> NotAdmitted:
    return NotAdmitted(setting, "RESOURCE_EXHAUSTED", f"{text} ({setting}); try again later")
