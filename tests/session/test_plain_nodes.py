"""Nodes written the short way: without ``async``, and without methods that would do nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import NodeInitializationError, NodeProcessError

pytestmark = pytest.mark.usefixtures("leak_check")


def test_a_node_without_async_is_called_awaited_and_interrupted_like_any_other(
    px: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with px.session("t-plain", "t-plain") as session:
            await session.send("n0", px.text("a"))
            data = await session.receive("n1")
            assert data is not None and data.payload == "a.1.1"
            await session.interrupt()
            await px.send_all(session, "n0", ["b"])
            assert await px.received(session, "n1") == [
                "b.101.101",
                "one more.102",
                "the last.103",
                "one more",
                "the last",
            ]

    px.run(main())
    assert "never awaited" not in caplog.text


def test_a_plain_generator_sends_what_it_yields_until_it_raises(px: Any, tmp_path: Path) -> None:
    errors: list[NodeProcessError] = []
    file = tmp_path / "cleanup"

    async def main() -> None:
        async with px.session(("t-plain-stream", {"cleanup_file": str(file)})) as session:
            session.on_error(errors.append)
            await px.send_all(session, "n0", ["a", "raise", "b"])
            assert await px.received(session, "n0") == ["a", "again", "raise", "b", "again"]

    px.run(main())
    assert [error.reason for error in errors] == ["ValueError: midway"]
    assert file.read_text() == "loaded in a coroutine, closed"


@pytest.mark.parametrize("order", ["flood", "think"])
def test_an_endless_plain_generator_is_interrupted_and_closed(px: Any, order: str, tmp_path: Path) -> None:
    file = tmp_path / "cleanup"

    async def main() -> None:
        async with px.session(("t-plain-stream", {"cleanup_file": str(file)})) as session:
            await session.send("n0", px.text(order))
            assert (await session.receive("n0")) is not None
            await session.interrupt()
            await px.send_all(session, "n0", ["b"])
            assert await px.received(session, "n0") == ["b", "again"]

    px.run(main())
    assert file.read_text() == "loaded in a coroutine, closed"


def test_an_init_that_forgets_its_base_class_is_told_so_in_one_sentence(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-no-super"):
            pass

    with pytest.raises(NodeInitializationError) as caught:
        px.run(main())
    said = "Node 'n0' failed to initialize: NoSuper.__init__() must call super().__init__(node_id, config)"
    assert str(caught.value) == said


def test_other_names_of_ports_stand_for_the_declared_ones(px: Any) -> None:
    async def main() -> None:
        pipeline = (
            px.Pipeline()
            .add_node("t-other-names", "a")
            .add_node("t-other-names", "b")
            .connect("a", "text_out", "b", "text_in")
        )
        assert pipeline.find_problems() == []
        async with px.Session("s", pipeline) as session:
            await session.send("a", px.text("x"), port="text_in")
            await session.send("a", "y", port="in")
            received = [await session.receive("b") for _ in range(2)]
        assert [(data.payload, data.port) for data in received] == [("x in in", "text"), ("y in in", "text")]
        wrong = px.Pipeline().add_node("t-other-names", "a").connect("a", "text_in", "a", "text_out")
        messages = [problem.message for problem in wrong.find_problems()]
        assert any("'a' has no output port 'text_in'" in message for message in messages)
        assert any("'a' has no input port 'text_out'" in message for message in messages)

    px.run(main())
