"""What was heard of an answer that a service makes: as of a local one."""

from __future__ import annotations

from typing import Any

import pytest

from remotemedia.client import PipelineClient, RemoteSession
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Heard, Pipeline, PipelineError, Position

pytestmark = pytest.mark.usefixtures("leak_check")

TALK = (
    Pipeline()
    .add_node("heard-mind", "mind")
    .add_node("heard-voice", "voice")
    .connect("mind", "out", "voice", "input")
    .add_output("mind")
)


async def hear(session: RemoteSession, count: int, origin: int = 0) -> list[int]:
    """The numbers of the messages of the answer."""
    await session.send("mind", RuntimeData.text(str(count), timestamp=100.0, origin=origin))
    came = [await session.receive("voice") for _ in range(count)]
    return [-1 if data is None else data.sequence for data in came]


def test_delivered_and_played(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(TALK) as session:
            assert await hear(session, 5, origin=7) == [0, 1, 2, 3, 4]
            await session.played("voice", sequence=2)
            cut = await session.interrupt()
            assert cut.nodes == 0 and cut.epoch > 0
            assert cut.heard["voice"] == Heard(
                Position(4, pytest.approx(0.5), 7, 104.0), Position(2, pytest.approx(0.3), 7, 102.0)
            )
            # From here on it is counted anew.
            assert (await session.interrupt()).heard["voice"] == Heard(None, None)
            numbers = await hear(session, 3)
            assert numbers == [5, 6, 7]
            await session.played("voice", secs=0.15)
            await session.played("voice", secs=0.25)
            cut = await session.interrupt(from_node="voice")
            assert cut.nodes == 0b10 and set(cut.heard) == {"voice"}
            assert cut.heard["voice"].delivered == Position(7, pytest.approx(0.3), 0, 102.0)
            assert cut.heard["voice"].played == Position(7, pytest.approx(0.25), 0, 102.0)

    px.run(main())


def test_each_node_is_told(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(TALK) as session:
            await hear(session, 4, origin=9)
            await session.played("voice", sequence=1)
            await session.interrupt()
            await session.send("mind", RuntimeData.text("0"))
            told = [await session.receive("mind") for _ in range(2)][1]
            assert told is not None and "voice played (1, 0.2, 1, 101.0)" in told.as_text().split("\n")

    px.run(main())


def test_what_was_cut_off_meanwhile_is_not_minded(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(TALK) as session:
            await session.played("voice", secs=3)
            await session.played("voice", sequence=3)
            assert (await session.interrupt()).heard["voice"] == Heard(None, None)
            assert len(await hear(session, 2)) == 2

    px.run(main())


def test_mistakes(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client, client.session(TALK) as session:
            for wrong in ({}, {"sequence": 1, "secs": 0.1}):
                with pytest.raises(ValueError, match="sequence of the message that was played, or secs; one of them"):
                    await session.played("voice", **wrong)
            for secs in (-0.1, float("nan"), float("inf")):
                with pytest.raises(ValueError, match="secs must be 0 or more"):
                    await session.played("voice", secs=secs)
            for sequence in (-1, 1 << 64):
                with pytest.raises(ValueError, match="sequence must be that of an output"):
                    await session.played("voice", sequence=sequence)
            with pytest.raises(PipelineError, match="'no' is not in the pipeline; the output nodes are"):
                await session.played("no", secs=0.1)
            assert await hear(session, 1) == [0]

    px.run(main())


def test_without_await(px: Any, service: Any) -> None:
    with PipelineClient(service.target) as client, client.session(TALK) as session:
        session.send("mind", RuntimeData.text("2"))
        for _ in range(2):
            assert session.receive("voice") is not None
        session.played("voice", secs=0.05)
        heard = session.interrupt().heard["voice"]
        assert heard.played is not None and heard.played.secs == pytest.approx(0.05)
