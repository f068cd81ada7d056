"""``session.interrupt(from_node=...)``, and a node that asks for it: what goes, and what stays.

In random graphs: tests/faults/test_cuts.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocess.session.wiring import Wiring
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, PipelineError, ProcessCrashError, Session

pytestmark = pytest.mark.usefixtures("leak_check")


async def said(session: Session, node_id: str, count: int = 1) -> list[Any]:
    found = [await session.receive(node_id) for _ in range(count)]
    return [None if data is None else data.payload for data in found]


async def nothing_more(session: Session, *node_ids: str) -> None:
    for node_id in node_ids:
        with pytest.raises(TimeoutError):
            await session.receive(node_id, timeout=0)


def test_words_spoken_over_the_answer_wait_and_are_answered(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-mouth", "t-mouth", "t-mouth") as session:
            for turn in range(5):
                await session.send("n0", px.text(f"long {turn}"))
                # n0 is at it for ever: everything after it waits there, and none of it may be lost.
                assert await said(session, "n2") == [f"{turn}.0"]
                for word in ("he", "was", "not"):
                    await session.send("n0", px.text(word))
                await session.interrupt(from_node="n0")
                assert await said(session, "n2", 3) == ["he", "was", "not"]
            await session.send("n0", px.text("long ago"))
            assert await said(session, "n2") == ["ago.0"]
            await session.send("n0", px.text("lost"))
            await session.interrupt(from_node=["n0"], drop_queued=True)
            await session.send("n0", px.text("kept"))
            assert await said(session, "n2") == ["kept"]
            await nothing_more(session, "n2")

    px.run(main())


def test_what_is_before_the_cut_hears_nothing_of_it(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-mouth", "t-mouth", "t-mouth") as session:
            await session.send("n0", px.text("long long x"))  # n0 says "long x.0" and goes on; n1 says "x.0.0", too
            assert await said(session, "n2") == ["x.0.0"]
            await session.interrupt(from_node="n1")
            busy = {stats.node_id: bool(stats.current_secs) for stats in session.node_stats()}
            assert busy == {"n0": True, "n1": False, "n2": False}
            await session.interrupt(from_node="n0")
            await session.send("n0", px.text("cuts"))
            assert await said(session, "n2") == ["n0 1"]

    px.run(main())


def joined(**mix: Any) -> Pipeline:
    """Two branches that meet in ``mix``, which has that config, and one that does not."""
    pipeline = Pipeline().add_node("t-mouth", "mix", mix)
    for node_id in ("left", "right", "other"):
        pipeline.add_node("t-mouth", node_id)
    return (
        pipeline.connect("left", "output", "mix", "input")
        .connect("right", "output", "mix", "input")
        .connect("left", "output", "other", "input")
    )


def test_a_join_gives_up_only_what_came_by_the_branch_that_was_cut(px: Any) -> None:
    async def main() -> None:
        async with Session("s", joined()) as session:
            # Of the branch that is cut, a call is at work in the join: it ends, and what waits of the other comes next.
            await session.send("left", px.text("long long a"))
            assert await said(session, "mix") == ["a.0.0"]
            assert await said(session, "other") == ["a.0.0"]
            await session.send("right", px.text("b"))
            await session.interrupt(from_node="left")
            assert await said(session, "mix") == ["b"]
            # Of the other one: it goes on, and on_interrupt() waits for it; the interruption does not.
            await session.send("right", px.text("long long c"))
            assert await said(session, "mix") == ["c.0.0"]
            for word in ("d", "e", "f"):
                await session.send("left", px.text(word))
            assert await said(session, "other", 3) == ["d", "e", "f"]
            await px.until(lambda: session.get_channel_stats("left_to_mix").current_occupancy == 3)
            await session.interrupt(from_node="left")
            assert session.get_channel_stats("left_to_mix").current_occupancy == 0
            (mix,) = (stats for stats in session.node_stats() if stats.node_id == "mix")
            assert mix.current_secs
            await session.interrupt(from_node="right")
            await session.send("left", px.text("cuts"))
            await session.send("right", px.text("cuts"))
            assert sorted(await said(session, "mix", 2)) == ["left 2", "right 1"]
            await nothing_more(session, "mix")

    px.run(main())


def test_a_call_that_stays_is_followed_by_on_interrupt(px: Any, tmp_path: Path) -> None:
    """Also if no message comes any more."""
    gate = tmp_path / "gate"

    async def main() -> None:
        async with Session("s", joined(gate=str(gate))) as session:
            await session.send("right", px.text("long long a"))
            assert await said(session, "mix") == ["a.0.0"]
            await session.interrupt(from_node="left")
            gate.touch()
            await px.until(lambda: not gate.exists())
            await session.stop(abort=True)

    px.run(main())


@pytest.mark.parametrize("drop_queued", [False, True])
def test_what_waits_is_taken_before_the_node_hears_of_the_cut(
    px: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drop_queued: bool
) -> None:
    """It is of the new turn all the same, and on_interrupt() precedes it; unless it was to go."""
    gate = tmp_path / "gate"

    async def main() -> None:
        async with px.session(("t-mouth", {"gate": str(gate)})) as session:
            late: list[Any] = []
            for turn in range(1, 4):
                await session.send("n0", px.text("long a"))
                assert await said(session, "n0") == ["a.0"]
                await session.send("n0", px.text("waits"))
                with monkeypatch.context() as patch:
                    patch.setattr(session._supervisor, "broadcast", lambda *words: late.append(words))
                    interrupting = asyncio.create_task(session.interrupt(from_node="n0", drop_queued=drop_queued))
                    await px.until(lambda: late)
                    gate.touch()
                    if not drop_queued:
                        assert await said(session, "n0") == ["waits"]
                    await session.send("n0", px.text("cuts"))
                    assert await said(session, "n0") == [f"n0 {turn}"]
                session._supervisor.broadcast(*late.pop())
                await interrupting
            await nothing_more(session, "n0")

    px.run(main())


def test_an_output_that_is_here_knows_what_it_came_through(px: Any) -> None:
    async def main() -> None:
        async with Session("s", joined()) as session:
            seen = {}
            for node_id in ("left", "right"):
                await session.send(node_id, px.text(node_id))
                assert await said(session, "mix") == [node_id]
                seen[node_id] = session.provenance("mix")
            assert await said(session, "other") == ["left"]
            seen["other"] = session.provenance("other")
            assert [session.was_cut(one) for one in seen.values()] == [False] * 3
            first = await session.interrupt(from_node=["other", "right"])
            assert {node_id: session.was_cut(one) for node_id, one in seen.items()} == {
                "left": False,
                "right": True,
                "other": True,
            }
            assert [first.cuts(one) for one in seen.values()] == [False, True, True]
            await session.send("right", px.text("again"))
            assert await said(session, "mix") == ["again"]
            again = session.provenance("mix")
            assert not session.was_cut(again) and not first.cuts(again)
            second = await session.interrupt()
            assert all(map(second.cuts, [*seen.values(), again])) and session.was_cut(again)
            with pytest.raises(PipelineError, match="'left' is not an output node"):
                session.provenance("left")
        assert not session.was_cut(again)

    px.run(main())


def test_several_nodes_and_the_whole_one_after_the_other(px: Any) -> None:
    async def main() -> None:
        async with Session("s", joined()) as session:
            for _ in range(3):
                for node_id in ("left", "right"):
                    await session.send(node_id, px.text("long x"))
                assert await said(session, "mix", 2) == ["x.0", "x.0"]
                assert await said(session, "other") == ["x.0"]
                await session.interrupt(from_node=["left", "right"])
                await session.send("left", px.text("long y"))
                assert await said(session, "mix") == ["y.0"]
                await session.interrupt()
                await session.send("left", px.text("z"))
                assert await said(session, "mix") == await said(session, "other") == ["z"]
                await asyncio.gather(*(session.interrupt(from_node=node_id) for node_id in ("left", "mix", "left")))
            await nothing_more(session, "mix")

    px.run(main())


def test_a_node_that_there_is_not(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-mouth") as session:
            with pytest.raises(PipelineError, match="there is no node 'n'; did you mean 'n0'"):
                await session.interrupt(from_node=["n0", "n"])
            with pytest.raises(PipelineError, match="from_node is empty; without from_node everything is interrupted"):
                await session.interrupt(from_node=[])
            await session.send("n0", px.text("x"))
            assert await said(session, "n0") == ["x"]

    px.run(main())


def test_a_node_far_down_a_long_list_cannot_be_cut() -> None:
    pipeline = Pipeline()
    for number in range(66):
        pipeline.add_node("t-mouth", f"n{number}")
    wiring = Wiring("s", pipeline, MultiprocessConfig(shm_segment_size=1 << 16))
    try:
        assert wiring.cut(["n63"], queues=False) == (1, 1 << 63, {})
        with pytest.raises(PipelineError, match=r"node 'n64' is not among the first 64 .* add it before others"):
            wiring.cut(["n64"], queues=False)
    finally:
        wiring.close()


def ears(**interrupt: Any) -> Pipeline:
    """``ears`` hear beside ``mouth``; ``mouth`` speaks to ``out``."""
    return (
        Pipeline()
        .add_node("t-ears", "ears", {"interrupt": interrupt})
        .add_node("t-mouth", "mouth")
        .add_node("t-mouth", "out")
        .connect("mouth", "output", "out", "input")
        .add_input("out")
    )


def test_a_node_interrupts_another(px: Any) -> None:
    async def main() -> None:
        async with Session("s", ears(from_node="mouth")) as session:
            for turn in range(5):
                await session.send("mouth", px.text(f"long {turn}"))
                assert await said(session, "out") == [f"{turn}.0"]
                await session.send("mouth", px.text("next"))
                await session.send("ears", px.text("barge"))
                assert await said(session, "ears") == ["silent"]
                assert await said(session, "out") == ["next"]
            await session.send("out", px.text("cuts"))
            assert await said(session, "out") == ["out 5"]

    px.run(main())


@pytest.mark.parametrize(
    ("interrupt", "error"),
    [
        ({"from_node": "mouht"}, "PipelineError: there is no node 'mouht'; did you mean 'mouth'"),
        ({"from_node": ["mouth", "ears"]}, "PipelineError: interrupt(): an interruption from 'mouth', 'ears' on would"),
        ({"from_node": []}, "PipelineError: interrupt() of a node needs from_node"),
    ],
)
def test_a_node_cannot_interrupt_itself_or_nobody(px: Any, interrupt: dict[str, Any], error: str) -> None:
    async def main() -> None:
        async with Session("s", ears(**interrupt)) as session:
            await session.send("ears", px.text("barge"))
            (answer,) = await said(session, "ears")
            assert answer.startswith(error)

    px.run(main())


@pytest.mark.parametrize("ends", ["crash", "abort"])
def test_a_node_that_asks_in_a_pipeline_that_crashes_or_ends(px: Any, ends: str) -> None:
    """Nobody is left to be silent; what the node asked for ends with the session."""

    async def main() -> None:
        session = Session("s", ears(from_node="mouth"))
        async with session:
            await session.send("mouth", px.text("long x"))
            assert await said(session, "out") == ["x.0"]
            mouth = session.pids["mouth"]
            os.kill(mouth, signal.SIGSTOP)  # it acknowledges nothing
            await session.send("ears", px.text("barge"))
            await px.until(lambda: session._asked._tasks)
            if ends == "crash":
                os.kill(mouth, signal.SIGKILL)
                with pytest.raises(ProcessCrashError):
                    await session.receive("ears")
            else:
                await session.stop(abort=True)
        await px.until(lambda: not session._asked._tasks)

    px.run(main())


def test_a_node_that_asks_while_its_own_call_is_cut(px: Any) -> None:
    """Its question is forgotten with the call; what it asked for happens all the same."""

    async def main() -> None:
        async with Session("s", ears(from_node="mouth")) as session:
            for _ in range(10):
                await session.send("mouth", px.text("long x"))
                assert await said(session, "out") == ["x.0"]
                await session.send("ears", px.text("barge"))
                await session.interrupt()
                await session.send("ears", px.text("hello"))
                await session.send("mouth", px.text("hello"))
                # It may have had its answer before the interruption came.
                assert await said(session, "ears") == ["hello"]
                assert await said(session, "out") == ["hello"]

    px.run(main())
