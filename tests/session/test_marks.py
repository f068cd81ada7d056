"""Marks: messages that say where something ends, in order with the data."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import AudioMetadata, DataType, RuntimeData
from remotemedia.core.marks import END_OF_TURN, end_of_utterance, zero_samples
from remotemedia.core.multiprocessing import MultiprocessNode, Pipeline, register_node
from remotemedia.errors import PayloadError
from remotemedia.testing import NodeHost
from tests.session import mark_nodes

pytestmark = pytest.mark.usefixtures("leak_check")

FORM = AudioMetadata(16_000, 1, "f32")


def shown(data: RuntimeData) -> str:
    return f"<{data.mark}>" if data.mark else str(data.payload)


async def through(px: Any, pipeline: Pipeline, messages: list[RuntimeData], into: str = "a") -> list[RuntimeData]:
    async with px.Session("s", pipeline) as session:
        for message in messages:
            await session.send(into, message)
        await session.end_input()
        return [data async for _, data in session.outputs()]


def test_a_mark_keeps_its_place_through_nodes_that_do_not_know_it(px: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "a").add_node("t-echo", "b").connect("a", "output", "b", "input")
    texts = [RuntimeData.text(str(number)) for number in range(20)]
    mark = RuntimeData.control("here", {"at": [1, None, "ü"]}, timestamp=1.5, origin=9)
    came = px.run(through(px, pipeline, [*texts[:7], mark, *texts[7:]]))
    assert [shown(data) for data in came] == [*map(str, range(7)), "<here>", *map(str, range(7, 20))]
    there = came[7]
    assert (there.type, there.metadata, there.origin, there.timestamp) == (
        DataType.CONTROL,
        {"name": "here", "value": {"at": [1, None, "ü"]}},
        9,
        1.5,
    )
    assert there.size == 0


def test_it_goes_down_every_branch(px: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "a").add_node("t-echo", "b").add_node("t-echo", "c")
    pipeline.connect("a", "output", "b", "input").connect("a", "output", "c", "input")
    came = px.run(through(px, pipeline, [RuntimeData.text("x"), RuntimeData.control(END_OF_TURN)]))
    assert sorted(map(shown, came)) == ["<end_of_turn>"] * 2 + ["x"] * 2


def test_a_node_that_knows_it_gives_what_it_kept_before_it(px: Any) -> None:
    pipeline = Pipeline().add_node("mark-gather", "a").add_node("t-echo", "b").connect("a", "output", "b", "input")
    turn = RuntimeData.control(END_OF_TURN)
    messages = [RuntimeData.text(text) for text in ("one", "two")]
    came = px.run(through(px, pipeline, [*messages, turn, RuntimeData.text("three"), turn]))
    assert [shown(data) for data in came] == ["one two", "<end_of_turn>", "three", "<end_of_turn>"]


def test_the_end_of_an_utterance_is_zero_samples_for_who_knows_no_marks(px: Any) -> None:
    mark = end_of_utterance(FORM, timestamp=2.0)
    assert zero_samples(mark).timestamp == 2.0
    (came,) = px.run(through(px, Pipeline().add_node("mark-ignorant", "a"), [mark]))
    assert came.payload == f"audio of 0 bytes at {FORM}"


@pytest.mark.parametrize(
    "mark",
    [
        RuntimeData.control(END_OF_TURN),
        RuntimeData.control("end_of_utterance"),
        RuntimeData.control("end_of_utterance", {"sample_rate": "16000", "channels": 1}),
        RuntimeData.control("end_of_utterance", {"sample_rate": 16000, "channels": 0}),
        RuntimeData(DataType.CONTROL, b"", metadata={"name": 5}),
        RuntimeData(DataType.CONTROL, b""),
    ],
    ids=["turn", "no form", "wrong rate", "no channels", "wrong name", "no name"],
)
def test_any_other_mark_passes_it_by(px: Any, mark: RuntimeData) -> None:
    (came,) = px.run(through(px, Pipeline().add_node("mark-ignorant", "a"), [mark]))
    assert came.type is DataType.CONTROL
    assert came.metadata == mark.metadata


def test_a_node_may_keep_marks_and_fail_at_one(px: Any) -> None:
    async def main() -> None:
        async with px.session("mark-swallow") as session:
            for message in (RuntimeData.control("fail"), RuntimeData.control("x"), RuntimeData.text("words")):
                await session.send("n0", message)
            await session.end_input()
            assert [data.payload async for _, data in session.outputs(on_failure="report")] == ["words"]
            status = session.get_status().nodes["n0"]
            assert (status.messages, status.failures) == (3, 1)
            assert "asked to fail" in status.last_error

    px.run(main())


def test_what_is_no_mark_is_refused(px: Any) -> None:
    with pytest.raises(TypeError, match=r"RuntimeData\.control takes for its name a str, not int"):
        RuntimeData.control(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name is empty; say what the mark means"):
        RuntimeData.control("")
    assert RuntimeData.text("words").mark == ""

    async def main() -> None:
        async with px.session("t-echo") as session:
            with pytest.raises(PayloadError, match=r"metadata\['value'\]\[1\]"):
                await session.send("n0", RuntimeData.control("x", [1, np.ones(3)]))

    px.run(main())


def test_in_one_process() -> None:
    async def main() -> list[str]:
        async with NodeHost(mark_nodes.Gather("g", {})) as host:
            came = [await host.feed(RuntimeData.text("a")), await host.feed(RuntimeData.control(END_OF_TURN))]
        return [shown(data) for some in came for data in some]

    assert asyncio.run(main()) == ["a", "<end_of_turn>"]


def test_a_wrong_hook_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(
        TypeError, match=r"on_mark.*takes the wrong arguments; write `async def on_mark\(self, mark\):`"
    ):

        @register_node("mark-wrong")
        class Wrong(MultiprocessNode):
            async def process(self, data: RuntimeData) -> None: ...

            async def on_mark(self) -> None:  # type: ignore[override]
                ...
