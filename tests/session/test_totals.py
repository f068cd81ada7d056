"""What an executor's sessions did stays when they end, whatever ends them, and is counted once."""

from __future__ import annotations

import gc
import os
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.multiprocess.session.account import Account, Book
from remotemedia.core.multiprocess.values import totals as totals_module
from remotemedia.core.multiprocessing import (
    ChannelPlace,
    Durations,
    MultiprocessConfig,
    MultiprocessError,
    MultiprocessExecutor,
    NodePlace,
    NodeTotals,
    Pipeline,
    PipelinePlace,
    PipelineTotals,
    ProcessCrashError,
    Session,
    Totals,
)

pytestmark = pytest.mark.usefixtures("leak_check")

N0, N1 = NodePlace("calls", "n0", "t-echo"), NodePlace("calls", "n1", "t-do")
CALLS = PipelinePlace("calls")


def calls(px: Any) -> Pipeline:
    pipeline: Pipeline = px.chain("t-echo", "t-do")
    pipeline.name = "calls"
    return pipeline


async def say(px: Any, session: Session, text: str) -> None:
    await session.send("n0", px.text(text))
    assert await session.receive("n1") is not None
    await px.until(lambda: session.node_stats()[1].messages >= 1)


def test_whatever_ends_a_session_its_figures_stay(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig()) as executor:
            assert executor.totals() == Totals()
            stopped = await executor.create_session("stopped", calls(px))
            await say(px, stopped, "raise it")
            await executor.terminate_session("stopped")

            crashed = await executor.create_session("crashed", calls(px))
            await say(px, crashed, "x")
            os.kill(crashed.pids["n1"], signal.SIGKILL)
            with pytest.raises(ProcessCrashError):
                await crashed.receive("n1")
            assert executor.totals().pipelines[CALLS].failures == 1  # it does not take its termination
            await executor.terminate_session("crashed", abort=True)

            dropped = Session("dropped", calls(px), executor=executor)
            await dropped.initialize()
            await dropped.start()
            await say(px, dropped, "x")
            del dropped
            gc.collect()
            assert "dropped" not in executor.sessions

            running = await executor.create_session("running", calls(px))
            await say(px, running, "x")
            found, alone = executor.totals(), running.totals()
        assert found.pipelines == {CALLS: PipelineTotals(4, 1)}
        assert list(found.nodes) == [N0, N1]
        assert (found.nodes[N1].messages, found.nodes[N1].failures, found.nodes[N1].published) == (4, 1, 4)
        assert found.nodes[N1].latency.count == found.nodes[N1].first_output.count == 4
        assert found.nodes[N0].cpu_secs > alone.nodes[N0].cpu_secs > 0
        channel = ChannelPlace("calls", "n0_to_n1", "n0", "n1")
        assert found.channels[channel].message_count == 4
        assert found.channels[channel].bytes_transferred == len("raise it" + "xxx")
        assert alone.pipelines == {CALLS: PipelineTotals(1, 0)}
        assert alone.nodes[N1].messages == 1
        after = executor.totals()
        assert after.nodes[N1].messages == 4 and after.nodes[N1].cpu_secs >= found.nodes[N1].cpu_secs
        assert executor._roll.book._open == set()

    px.run(main())


def test_sessions_that_never_ran(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-echo")
        assert session.totals() == Totals()
        async with MultiprocessExecutor(MultiprocessConfig()) as executor:
            with pytest.raises(MultiprocessError):
                await executor.create_session("s", px.chain(("t-init", {"how": "raise"})))
            assert executor.totals().pipelines == {PipelinePlace("unnamed"): PipelineTotals(1, 1)}
            handle = await executor.execute_node("t-echo", "n0", session_id="by node")
            assert executor.totals().nodes[NodePlace("unnamed", "n0", "t-echo")] == NodeTotals()
            await handle.session.cleanup(abort=True)
            assert executor.totals().pipelines == {PipelinePlace("unnamed"): PipelineTotals(2, 1)}

    px.run(main())


class _Counted(Account):
    """An account that has no session."""

    def __init__(self, book: Book, figures: Totals) -> None:
        self.figures = figures
        self._wiring = None
        self._book = book
        book.open(self)

    def names(self) -> Totals:
        return Totals(dict.fromkeys(self.figures.pipelines, PipelineTotals()))

    def totals(self) -> Totals:
        return self.figures


def test_a_finalizer_that_closes_an_account_never_waits() -> None:
    """It may run in the thread that holds the lock, wherever that allocates."""
    book = Book()
    account = _Counted(book, Totals({CALLS: PipelineTotals(1, 0)}))
    with book._lock:
        account.close()
        account.close()
    assert book.totals().pipelines == {CALLS: PipelineTotals(1, 0)}
    assert book._open == set() and not book._closed
    assert book.totals().pipelines == {CALLS: PipelineTotals(1, 0)}


NAMES = st.sampled_from("abcdef")


@given(st.lists(st.tuples(NAMES, st.sampled_from(["open", "close", "look"]))), st.integers(1, 4))
def test_nothing_is_lost_moved_or_counted_twice(steps: list[tuple[str, str]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(totals_module, "MOST_ENTRIES", most)
        book, opened = Book(), 0
        accounts: dict[str, Account] = {}
        before: dict[PipelinePlace, PipelineTotals] = {}
        for name, step in steps:
            if step == "open" and name not in accounts:
                accounts[name] = _Counted(book, Totals({PipelinePlace(name): PipelineTotals(1)}))
                opened += 1
            elif step == "close" and name in accounts:
                accounts.pop(name).close()
            elif step == "look":
                now = book.totals().pipelines
                assert sum(figures.sessions for figures in now.values()) == opened
                assert len(now) <= most + 1
                assert list(now)[: len(before)] == list(before)
                assert all(now[place].sessions >= figures.sessions for place, figures in before.items())
                before = now


TIMES = st.lists(st.integers(0, 10**12), max_size=20)


def durations(times_ns: list[int]) -> Durations:
    found = Durations.none()
    for time_ns in times_ns:
        buckets = [0] * len(found.buckets)
        buckets[next(n for n, (bound, _) in enumerate(found.histogram()) if time_ns / 1e9 < bound or n == 303)] = 1
        found += Durations.of(buckets, time_ns, time_ns)
    return found


@given(TIMES, TIMES)
def test_durations_add_up(some: list[int], others: list[int]) -> None:
    one, other = durations(some), durations(others)
    both = one + other
    assert both == other + one == durations(sorted(some + others))
    assert both.count == sum(both.buckets) == len(some + others)
    assert both.max_secs == max(some + others, default=0) / 1e9
    assert both.mean_secs == pytest.approx(sum(some + others) / 1e9 / max(1, both.count))
    for quantile in (0.5, 0.95, 0.99, 1.0):
        assert 0 <= both.quantile_secs(quantile) <= both.max_secs
        assert sum(time_ns / 1e9 <= both.quantile_secs(quantile) for time_ns in some + others) >= quantile * both.count
