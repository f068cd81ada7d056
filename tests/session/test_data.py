"""What goes in comes out: fan-out, fan-in, ports, ends of streams, backpressure, and random graphs against a model."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import (
    ChannelClosedError,
    ChannelFullError,
    MultiprocessConfig,
    PayloadError,
    Pipeline,
    PipelineError,
    Session,
    SessionStatus,
)

pytestmark = pytest.mark.usefixtures("leak_check")


def test_fan_out_gives_everything_to_everybody_in_order(px: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "a")
    for name in "bcd":
        pipeline.add_node("t-tag", name).connect("a", "output", name, "input")

    async def main() -> None:
        async with Session("s", pipeline, MultiprocessConfig(channel_capacity=3)) as session:
            words = [str(number) for number in range(50)]
            sending = asyncio.create_task(px.send_all(session, "a", words))
            found = await px.collect(session.outputs())
            await sending
            assert found == {name: [f"{word}>{name}.input" for word in words] for name in "bcd"}

    px.run(main())


def test_fan_in_says_which_port_and_keeps_the_order_of_each(px: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "a").add_node("t-echo", "b").add_node("t-tag", "c")
    pipeline.connect("a", "output", "c", "left").connect("b", "output", "c", "right")

    async def main() -> None:
        async with Session("s", pipeline) as session:
            for number in range(20):
                await session.send("a", px.text(f"a{number}"))
                await session.send("b", px.text(f"b{number}"))
            await session.end_input()
            found = await px.received(session, "c")
            assert [word for word in found if word[0] == "a"] == [f"a{n}>c.left" for n in range(20)]
            assert [word for word in found if word[0] == "b"] == [f"b{n}>c.right" for n in range(20)]
            assert len(found) == 40

    px.run(main())


def test_the_session_sends_to_the_port_it_names(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-tag") as session:
            await session.send("n0", px.text("a"))
            await session.send("n0", px.text("b"), "voice")
            await session.end_input()
            assert await px.received(session, "n0") == ["a>n0.input", "b>n0.voice"]

    px.run(main())


def test_without_a_name_the_session_sends_to_the_only_port_that_is_declared(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-declared") as session:
            await session.send("n0", px.text("a"))
            await session.send("n0", px.text("b"), port="words")
            with pytest.raises(PipelineError, match="'n0' has no input port 'wörds'; did you mean 'words'"):
                await session.send("n0", px.text("c"), port="wörds")
            await session.end_input()
            assert await px.received(session, "n0") == ["a>n0.words", "b>n0.words"]

    px.run(main())


def test_outputs_by_port(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    pipeline = (
        Pipeline()
        .add_node("t-ports", "a", {"ports": ["left", "right", "nowhere"]})
        .add_node("t-tag", "b")
        .add_node("t-tag", "c")
        .connect("a", "left", "b", "in")
        .connect("a", "right", "c", "in")
    )

    async def main() -> None:
        async with Session("s", pipeline) as session:
            await px.send_all(session, "a", ["x", "y"])
            assert await px.collect(session.outputs()) == {
                "b": ["x on left>b.in", "y on left>b.in"],
                "c": ["x on right>c.in", "y on right>c.in"],
            }
            assert session.node_stats()[0].unrouted == 2
            assert session.node_stats()[0].published == 4

    with caplog.at_level("INFO", "remotemedia.node"):
        px.run(main())
    assert caplog.text.count("output port 'nowhere' is not connected") == 1
    assert "(connected: left, right)" in caplog.text


def test_the_session_is_told_the_output_port(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-ports", {"ports": ["left", "right"]})) as session:
            await px.send_all(session, "n0", ["x"])
            found = [(data.port, data.payload) async for _, data in session.outputs()]
            assert found == [("left", "x on left"), ("right", "x on right")]

    px.run(main())


ARRAY = np.zeros(3, np.float32)


# Of plain values: the port, the value, and what the node says of it, or the error.
PLAIN: list[tuple[str, Any, str]] = [
    ("text", "a", "TEXT str"),
    ("both", "a", "TEXT str"),
    ("both", ARRAY, "TENSOR ndarray"),
    ("tensor", ARRAY, "TENSOR ndarray"),
    ("tensor", b"a", "TENSOR memoryview"),
    ("tensor", bytearray(b"a"), "TENSOR memoryview"),
    ("json", {"a": 1}, "JSON str"),
    ("json", "{}", "takes JSON on port 'json', not str; RuntimeData.json(json.loads(x)) makes one"),
    ("any", "a", r"takes RuntimeData on port 'any', not str; RuntimeData.text(x) makes one"),
    ("any", ARRAY, "not ndarray; RuntimeData.audio(x, sample_rate) or RuntimeData.video(x, format) or Run"),
    ("media", ARRAY, "takes AUDIO or TENSOR on port 'media', not ndarray; RuntimeData.audio(x, sample_rate) or "),
    ("audio", ARRAY, "takes AUDIO on port 'audio', not ndarray; RuntimeData.audio(x, sample_rate) makes one"),
    ("audio", b"a", "RuntimeData.audio(np.frombuffer(x, np.int16), sample_rate) makes one"),
    ("audio", "a", "takes AUDIO on port 'audio', not str; it cannot become AUDIO"),
    ("both", b"a", "not bytes; RuntimeData.text(bytes(x).decode()) or RuntimeData.tensor(x) makes one"),
    ("text", ARRAY, "takes TEXT on port 'text', not ndarray; it cannot become TEXT"),
    ("tensor", [1.5], "not list; RuntimeData.tensor(np.asarray(x)) makes one"),
]


def test_plain_values_go_where_the_declaration_makes_them_plain(px: Any) -> None:
    pipeline = Pipeline().add_node("t-takes", "a").add_node("t-declared", "b").add_node("t-echo", "c")

    async def main() -> None:
        async with Session("s", pipeline) as session:
            for port, value, said in PLAIN:
                if said.startswith(("TE", "JSON")):
                    await session.send("a", value, port)
                    data = await session.receive("a")
                    assert data is not None and data.payload == f"{said} on {port}"
                    continue
                with pytest.raises(TypeError, match=r"^node 'a' takes ") as caught:
                    await session.send("a", value, port)
                assert said in str(caught.value)
            await session.send("b", "hello")
            data = await session.receive("b")
            assert data is not None and (data.payload, data.session_id) == ("hello>b.words", "s")
            for value in ("hello", ARRAY):
                with pytest.raises(
                    TypeError, match=f"'c' takes RuntimeData on port 'input', not {type(value).__name__}; "
                ):
                    await session.send("c", value)
            # Of a message that is one the error stays what it was.
            with pytest.raises(TypeError, match="must be a numpy array, bytes or str, not list"):
                await session.send("b", RuntimeData.tensor([1]))  # type: ignore[arg-type]

    px.run(main())


def test_an_array_that_waits_for_room_is_sent_as_a_tensor(px: Any) -> None:
    """A plain value is not a message before its meaning is known, even if it is not sent at once."""

    async def main() -> None:
        async with px.session("t-takes", channel_capacity=1) as session:
            sending = asyncio.create_task(_send_all(session, 20))
            for _ in range(20):
                data = await session.receive("n0")
                assert data is not None and data.payload == "TENSOR ndarray on tensor"
            await sending

    px.run(main())


async def _send_all(session: Session, count: int) -> None:
    for _ in range(count):
        await session.send("n0", ARRAY, "tensor")


def test_a_plain_result_has_the_only_port_that_is_declared(px: Any) -> None:
    pipeline = (
        Pipeline()
        .add_node("t-strict", "a")
        .add_node("t-takes", "b")
        .add_node("t-tag", "c")
        .connect("a", "words", "b", "text")
        .add_output("a")
    )

    async def main() -> None:
        async with Session("s", pipeline) as session:
            await session.send("a", "x")
            await session.send("c", RuntimeData.text("x"), port="in")
            found = [await session.receive(node_id) for node_id in "abc"]
            assert [(data.port, data.payload) for data in found if data] == [
                ("words", "x"),
                ("said", "TEXT str on text"),
                ("", "x>c.in"),
            ]

    px.run(main())


def test_a_result_that_is_no_message_says_how_to_make_one(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-wrong") as session:
            said: list[str] = []
            session.on_error(lambda error: said.append(error.reason))
            await px.send_all(session, "n0", ["plain", "dict"])
            assert await px.received(session, "n0") == []
            await px.until(lambda: len(said) == 2)
            assert said[0].endswith("any number of them; RuntimeData.text(x) makes one")
            assert "gave {'out': bytes}" in said[1] and said[1].endswith("RuntimeData.tensor(x) makes one")

    px.run(main())


def test_async_generators_in_process_and_finish(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-repeat", {"times": 2}), "t-echo") as session:
            await px.send_all(session, "n0", ["x", "y"])
            assert await px.received(session, "n1") == ["x.0", "x.1", "y.0", "y.1", "one more", "the last"]

    px.run(main())


def test_the_end_of_a_stream_goes_through_a_diamond(px: Any) -> None:
    pipeline = Pipeline()
    for name in "abcd":
        pipeline.add_node("t-tag", name, {"says_end": True})
    for a, b in ("ab", "ac", "bd", "cd"):
        pipeline.connect(a, "output", b, a)

    async def main() -> None:
        async with Session("s", pipeline) as session:
            await px.send_all(session, "a", ["x"])
            found = await px.received(session, "d")
            assert found[-1] == "end>d", "d finishes after both of its inputs have"
            assert sorted(found) == sorted(
                [f"x>a.input>{n}.a>d.{n}" for n in "bc"]
                + [f"end>a>{n}.a>d.{n}" for n in "bc"]
                + [f"end>{n}>d.{n}" for n in "bc"]
                + ["end>d"]
            )
            assert await session.receive("d") is None
            assert await session.receive("d", timeout=0) is None
            assert await px.collect(session.outputs()) == {}

    px.run(main())


def test_inputs_end_one_by_one(px: Any) -> None:
    pipeline = Pipeline()
    for name in "abc":
        pipeline.add_node("t-tag", name)
    pipeline.connect("a", "output", "c", "a").connect("b", "output", "c", "b")

    async def main() -> None:
        async with Session("s", pipeline) as session:
            await session.end_input("a")
            await session.end_input("a")
            with pytest.raises(ChannelClosedError):
                await session.send("a", px.text("x"))
            await session.send("b", px.text("x"))
            data = await session.receive("c")
            assert data is not None and data.payload == "x>b.input>c.b"
            with pytest.raises(TimeoutError):
                await session.receive("c", timeout=0)
            with pytest.raises(PipelineError, match=r"'c' is not an input node .*those are: a, b"):
                await session.end_input("c")
            await session.end_input()
            assert await session.receive("c") is None

    px.run(main())


def test_further_inputs_and_outputs(px: Any) -> None:
    pipeline = px.chain("t-tag", "t-tag", "t-tag").add_input("n1").add_output("n1").add_output("n0")

    async def main() -> None:
        async with Session("s", pipeline) as session:
            await session.send("n0", px.text("x"))
            await session.send("n1", px.text("y"))
            await session.end_input()
            found = await px.collect(session.outputs())
            assert found["n0"] == ["x>n0.input"]
            assert sorted(found["n1"]) == ["x>n0.input>n1.input", "y>n1.input"]
            assert found["n2"] == [f"{word}>n2.input" for word in found["n1"]]

    px.run(main())


def test_wrong_nodes_are_named_with_the_choices(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-echo") as session:
            with pytest.raises(PipelineError, match=r"'n1' is not an input node .*those are: n0.*add_input\('n1'\)"):
                await session.send("n1", px.text("x"))
            with pytest.raises(PipelineError, match=r"'n0' is not an output node .*those are: n1.*add_output\('n0'\)"):
                await session.receive("n0")
            with pytest.raises(PipelineError, match=r"'nx' is not an output node .*those are: n1\)$"):
                await px.collect(session.outputs("nx"))
            with pytest.raises(KeyError, match="the channels are: session_to_n0, n0_to_n1, n1_to_session"):
                session.get_channel_stats("n1_to_n0")
            with pytest.raises(TypeError):
                await session.send("n0", "x")
            with pytest.raises(PayloadError):
                await session.send("n0", RuntimeData.tensor(np.array([object()])))
            await px.send_all(session, "n0", ["still here"])
            assert await px.received(session, "n1") == ["still here"]

    px.run(main())


def test_node_ids_whose_channel_names_look_alike(px: Any) -> None:
    # Plain names of the channels would be: twice a_to_b_to_c, twice session_to_y_to_z.
    pipeline = Pipeline()
    for name in ("a", "b_to_c", "a_to_b", "c", "session_to_y", "z", "y_to_z"):
        pipeline.add_node("t-tag", name)
    pipeline.connect("a", "o", "b_to_c", "i").connect("a_to_b", "o", "c", "i").connect("session_to_y", "o", "z", "i")

    async def main() -> None:
        async with Session("s", pipeline) as session:
            for name in pipeline.input_nodes:
                await session.send(name, px.text(name))
            await session.end_input()
            assert await px.collect(session.outputs()) == {
                "b_to_c": ["a>a.input>b_to_c.i"],
                "c": ["a_to_b>a_to_b.input>c.i"],
                "z": ["session_to_y>session_to_y.input>z.i"],
                "y_to_z": ["y_to_z>y_to_z.input"],
            }
            names = [stats.name for stats in session.channel_stats()]
            assert len(names) == len(set(names)) == 11
            assert all(session.get_channel_stats(name).message_count == 1 for name in names)

    px.run(main())


def test_passing_on_copies_nothing(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-echo", "t-echo") as session:
            for _ in range(3):
                await session.send("n0", RuntimeData.tensor(np.full(100_000, 7, "f4")))
            await session.end_input()
            for _ in range(3):
                data = await session.receive("n2")
                assert data is not None and (data.as_numpy() == 7).all()
                del data
            assert await session.receive("n2") is None
            first, *others = session.channel_stats()
            assert (first.bytes_copied, first.bytes_transferred) == (1_200_000, 1_200_000)
            assert [stats.bytes_copied for stats in others] == [0, 0, 0]
            assert {stats.bytes_transferred for stats in others} == {1_200_000}

    px.run(main())


def test_a_payload_outlives_its_session(px: Any) -> None:
    async def main() -> Any:
        async with px.session("t-echo") as session:
            await session.send("n0", RuntimeData.tensor(np.arange(1000)))
            data = await session.receive("n0")
            assert data is not None
        return data.as_numpy()

    array = px.run(main())
    assert (array == np.arange(1000)).all()


def test_a_cancelled_send_does_not_silence_another(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-do", channel_capacity=1) as session:
            await session.send("n0", px.text("block 0.2"))
            assert await session.receive("n0") is not None
            await session.send("n0", px.text("a"))
            first = asyncio.create_task(session.send("n0", px.text("b")))
            second = asyncio.create_task(session.send("n0", px.text("c")))
            await px.until(lambda: session.get_channel_stats("session_to_n0").blocked_count >= 0)
            await asyncio.sleep(0)
            first.cancel()
            ending = asyncio.create_task(px.received(session, "n0"))
            await second
            await session.end_input()
            assert await ending == ["blocked no more", "a", "c"]
            assert first.cancelled()

    px.run(main())


def test_sizes_of_all_kinds_through_tiny_channels_lose_nothing(px: Any) -> None:
    random = np.random.default_rng(7)
    sizes = [0, 1, 60_000, *random.integers(0, 20_000, 150)]

    async def main() -> None:
        pipeline = px.chain("t-echo", "t-echo", "t-tag").add_node("t-echo", "side").connect("n0", "output", "side", "i")
        config = MultiprocessConfig(channel_capacity=2, shm_segment_size=64 * 1024)
        async with Session("s", pipeline, config) as session:

            async def send() -> None:
                for number, size in enumerate(sizes):
                    await session.send("n0", RuntimeData.tensor(np.full(size, number % 251, "u1")))
                await session.end_input()

            async def take(node_id: str) -> int:
                for number, size in enumerate(sizes):
                    data = await session.receive(node_id)
                    assert data is not None
                    array = data.as_numpy()
                    assert array.shape == (size,) and (array == number % 251).all()
                    del data, array  # what is held here while waiting for more would starve the sender
                assert await session.receive(node_id) is None
                return len(sizes)

            assert await asyncio.gather(send(), take("n2"), take("side")) == [None, len(sizes), len(sizes)]
            assert session.get_channel_stats("session_to_n0").blocked_count > 0

    px.run(main())


def test_memory_that_the_session_itself_gives_back_lets_its_send_go_on(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", shm_segment_size=64 * 1024) as session:
            await session.send("n0", RuntimeData.tensor(np.zeros(40_000, "u1")))
            data = await session.receive("n0")  # the very block that was sent
            await session.send("n0", px.text("x"))
            assert await session.receive("n0") is not None  # the node has let go of the block
            sending = asyncio.create_task(session.send("n0", RuntimeData.tensor(np.ones(40_000, "u1"))))
            await asyncio.sleep(0)
            assert not sending.done()
            del data
            await sending
            data = await session.receive("n0")
            assert data is not None and (data.as_numpy() == 1).all()

    px.run(main(), patience_secs=10)


def test_a_message_that_can_never_fit_is_refused_at_once(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo", shm_segment_size=64 * 1024) as session:
            with pytest.raises(PayloadError):
                await session.send("n0", RuntimeData.tensor(np.zeros(1 << 20, "u1")))

    px.run(main())


def test_a_node_that_keeps_views_is_never_overwritten(px: Any) -> None:
    async def main() -> None:
        config = {"shm_segment_size": 256 * 1024, "channel_capacity": 4}
        async with px.session("t-echo", ("t-hold", {"keep": 12}), **config) as session:
            sizes = np.random.default_rng(3).integers(1, 12_000, 200)
            arrays = [RuntimeData.tensor(np.full(size, n % 251, "u1")) for n, size in enumerate(sizes)]
            await px.send_all(session, "n0", arrays)
            assert await px.received(session, "n1") == ["0 wrong"]

    px.run(main())


def test_without_backpressure_drops_are_counted_and_the_rest_keeps_its_order(
    px: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> int:
        async with px.session(
            ("t-repeat", {"times": 200}), ("t-work", {"secs": 0.001}), channel_capacity=4, enable_backpressure=False
        ) as session:
            await px.send_all(session, "n0", ["x"])
            found = []
            while (data := await session.receive("n1")) is not None:
                found.append(data.payload)
            numbers = [int(word.partition(".")[2]) for word in found if word.startswith("x.")]
            assert all(a < b for a, b in pairwise(numbers))
            source = session.node_stats()[0]
            dropped = session.get_channel_stats("n0_to_n1").drops
            assert dropped > 0
            assert source.drops == dropped
            worker = session.node_stats()[1]
            assert worker.messages + dropped == 202
            assert len(found) + worker.drops == worker.messages
        await session.cleanup()
        return dropped

    dropped = px.run(main())
    said = [record.message for record in caplog.records if "dropped" in record.message]
    assert len(said) == 1
    assert f"{dropped} in 'n0_to_n1'" in said[0]


# --- random graphs ---------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], list[tuple[int, int]], list[list[str]]]:
    """Node types, edges (from a lower to a higher number), and what is sent to each node that takes input."""
    count = draw(st.integers(1, 5))
    types = [draw(st.sampled_from(["t-tag", "t-echo", "t-repeat"])) for _ in range(count)]
    pairs = [(a, b) for b in range(count) for a in range(b)]
    edges = sorted(draw(st.sets(st.sampled_from(pairs)))) if pairs else []
    words = st.lists(st.text(max_size=12), max_size=8)
    return types, edges, [draw(words) for _ in range(count)]


def model(types: list[str], edges: list[tuple[int, int]], sent: list[list[str]]) -> dict[str, list[str]]:
    """For each sink: everything it puts out, in no particular order."""
    inbox: dict[int, list[tuple[str, str]]] = defaultdict(list)
    sinks = {}
    fed = {b for _, b in edges}
    for node, node_type in enumerate(types):
        if node not in fed:
            inbox[node] += [(word, "input") for word in sent[node]]
        out = []
        for word, port in inbox[node]:
            if node_type == "t-tag":
                out.append(f"{word}>n{node}.{port}")
            elif node_type == "t-repeat":
                out += [f"{word}.{number}" for number in range(2)]
            else:
                out.append(word)
        if node_type == "t-repeat":
            out += ["one more", "the last"]
        for a, b in edges:
            if a == node:
                inbox[b] += [(word, f"from{a}") for word in out]
        if node not in {a for a, _ in edges}:
            sinks[f"n{node}"] = out
    return sinks


def one_path(edges: list[tuple[int, int]], sink: int) -> bool:
    """Whether only one stream reaches the sink, so that the order of all it puts out is known."""
    while True:
        feeding = [a for a, b in edges if b == sink]
        if len(feeding) != 1:
            return not feeding
        sink = feeding[0]


@pytest.mark.watchdog(300)
@settings(max_examples=20)
@given(graph=graphs(), capacity=st.integers(1, 4))
def test_random_graphs_do_what_the_model_says(
    px: Any, graph: tuple[list[str], list[tuple[int, int]], list[list[str]]], capacity: int
) -> None:
    types, edges, sent = graph
    pipeline = Pipeline()
    for number, node_type in enumerate(types):
        pipeline.add_node(node_type, f"n{number}", {"times": 2})
    for a, b in edges:
        pipeline.connect(f"n{a}", "output", f"n{b}", f"from{a}")

    async def main() -> dict[str, list[str]]:
        config = MultiprocessConfig(channel_capacity=capacity, shm_segment_size=64 * 1024)
        async with Session("s", pipeline, config) as session:
            inputs = [px.send_all(session, node_id, sent[int(node_id[1:])]) for node_id in pipeline.input_nodes]
            *_, found = await asyncio.gather(*inputs, px.collect(session.outputs()))
            assert all(stats.drops == stats.current_occupancy == 0 for stats in session.channel_stats())
            return found

    found = px.run(main())
    for sink, words in model(types, edges, sent).items():
        came = found.get(sink, [])
        assert sorted(came) == sorted(words)
        if one_path(edges, int(sink[1:])):
            assert came == words


def test_a_full_channel_without_backpressure(px: Any) -> None:
    async def main() -> None:
        async with px.session(
            "t-do", channel_capacity=2, enable_backpressure=False, cleanup_grace_period_secs=0.1
        ) as session:
            await session.send("n0", px.text("stick"))
            assert await session.receive("n0") is not None
            await px.until(lambda: px.sticks(session.pids["n0"]))
            await session.send("n0", px.text("a"))
            await session.send("n0", px.text("b"))
            for _ in range(3):
                with pytest.raises(ChannelFullError, match=r"'session_to_n0'.* full .*2 messages"):
                    await session.send("n0", px.text("c"))
            assert session.get_channel_stats("session_to_n0").drops == 3
            assert session.status is SessionStatus.RUNNING

    px.run(main())
