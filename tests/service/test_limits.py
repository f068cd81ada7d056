"""The bucket of starts against exact arithmetic, and the limits against a plain account of who took what."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from remotemedia.errors import ResourceLimitError
from remotemedia.service._limits import Limits, NotAdmitted, StartRate
from remotemedia.service.config import ServiceConfig

# Exact as floats, and so is all that a bucket makes of them: it must agree with fractions in every single start.
RATES = st.sampled_from([0.25, 0.5, 1.0, 2.0, 2.5, 3.0])
STEPS = st.one_of(st.just(0.0), st.integers(0, 64).map(lambda eighths: eighths / 8))


@given(rate=RATES, steps=st.lists(STEPS, max_size=200), begin=st.sampled_from([0.0, 4096.0, 1e6]))
def test_the_bucket_is_exact(rate: float, steps: list[float], begin: float) -> None:
    bucket = StartRate(rate)
    room = max(Fraction(1), Fraction(rate))
    content, now = room, begin
    for step in steps:
        now += step
        content = min(room, content + Fraction(step) * Fraction(rate))
        assert bucket.take(now) is (content >= 1)
        if content >= 1:
            content -= 1


def test_nothing_adds_up_over_a_million_starts() -> None:
    # A tenth is no float: what is added a million times is off by far more than what is reckoned once.
    bucket = StartRate(10.0)
    assert sum(bucket.take(100.0) for _ in range(20)) == 10
    taken = sum(bucket.take(100.0 + tick / 100) for tick in range(1, 1_000_001))
    assert taken == 100_000


class LimitsMachine(RuleBasedStateMachine):
    """Calls that enter, take processes and leave in any order; nothing else is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(ServiceConfig(max_sessions=5, max_sessions_per_client=3, max_processes=7))
        self.calls: list[list[object]] = []  # client, processes

    @rule(client=st.sampled_from("abc"))
    def enter(self, client: str) -> None:
        many, own = len(self.calls) == 5, sum(call[0] == client for call in self.calls) == 3
        try:
            self.limits.enter(client, 0.0)
        except NotAdmitted as refused:
            assert refused.status == "RESOURCE_EXHAUSTED"
            assert refused.reason == ("max_sessions" if many else "max_sessions_per_client")
            assert many or own
        else:
            assert not many and not own
            self.calls.append([client, 0])

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), count=st.integers(0, 8))
    def take_processes(self, data: st.DataObject, count: int) -> None:
        call = data.draw(st.sampled_from(self.calls))
        taken = sum(call[1] for call in self.calls)
        if taken + count > 7:
            with pytest.raises(ResourceLimitError, match=f"{count} .* {7 - taken} of the service's 7 are free"):
                self.limits.take_processes(count)
        else:
            self.limits.take_processes(count)
            call[1] += count

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        call = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        self.limits.leave(*call)

    @invariant()
    def counts_are_true(self) -> None:
        assert self.limits.sessions == len(self.calls)
        assert self.limits.processes == sum(call[1] for call in self.calls)
        assert self.limits._by_client == Counter(call[0] for call in self.calls)


TestLimits = LimitsMachine.TestCase


def test_no_limits() -> None:
    limits = Limits(ServiceConfig(max_sessions=None))
    for _ in range(1000):
        limits.enter("a", 0.0)
        limits.take_processes(1000)
    assert (limits.sessions, limits.processes) == (1000, 1_000_000)
