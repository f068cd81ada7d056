"""``MultiprocessNode.emit()``: what a node says from tasks of its own."""

from __future__ import annotations

from typing import Any

import pytest

from remotemedia.core.multiprocessing import NodeInitializationError

pytestmark = pytest.mark.usefixtures("leak_check")


def numbered(name: str, times: int) -> list[str]:
    return [f"{name}.{number}" for number in range(times)]


def test_without_a_message_to_answer(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-emit", "t-echo") as session:
            await session.send("n0", px.text("a 3"))
            for expected in numbered("a", 3):
                data = await session.receive("n1")
                assert data is not None and data.payload == expected

    px.run(main())


def test_waits_for_room_and_comes_before_the_end(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-emit", channel_capacity=4) as session:
            await px.send_all(session, "n0", ["a 50"])
            await px.until(lambda: session.get_channel_stats("n0_to_session").blocked_now_secs > 0)
            assert session.get_channel_stats("n0_to_session").message_count == 4
            assert await px.received(session, "n0") == numbered("a", 50)

    px.run(main())


def test_several_tasks_wait_for_room_at_once(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-emit", {"beside": 20}), channel_capacity=1) as session:
            await px.send_all(session, "n0", ["a 20", "b 20"])
            words = await px.received(session, "n0")
            for name, times in (("a", 20), ("b", 20)):
                assert [word for word in words if word.startswith(name)] == numbered(name, times)
            assert sum(word.startswith("process") for word in words) == 40

    px.run(main())


def test_one_gives_up_while_another_waits(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-emit", channel_capacity=1) as session:
            for order in ("a 20", "b 20", "a stop"):
                await session.send("n0", px.text(order))
            await px.until(lambda: session.node_stats()[0].messages == 3)
            words = []
            while len(words) < 20:
                data = await session.receive("n0")
                assert data is not None
                words += [data.payload] if data.payload.startswith("b") else []
            assert words == numbered("b", 20)

    px.run(main(), patience_secs=20)


def test_an_interruption_drops_what_waits(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-emit", "t-echo", channel_capacity=2) as session:
            for turn in range(20):
                await session.send("n0", px.text(f"old{turn} 1000"))
                assert (await session.receive("n1")).payload == f"old{turn}.0"
                await session.interrupt()
                await session.send("n0", px.text(f"new{turn} 3"))
                for expected in numbered(f"new{turn}", 3):
                    data = await session.receive("n1")
                    assert data is not None and data.payload == expected

    px.run(main())


def test_it_keeps_its_own_number(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-emit", {"beside": 1})) as session:
            order = px.text("a 1")
            order.origin = 7
            await px.send_all(session, "n0", [order])
            origins = {data.payload: data.origin async for _, data in session.outputs()}
            assert origins == {"process.0": 7, "a.0": 0}

    px.run(main())


def test_not_before_the_node_is_connected(px: Any) -> None:
    async def main() -> None:
        with pytest.raises(NodeInitializationError, match=r"emit\(\) works once the node is connected"):
            async with px.session(("t-emit", {"early": True})):
                pass

    px.run(main())
