"""What nodes print becomes log records, whatever bytes it is; what they are told shows nowhere."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from typing import Any

import pytest

from remotemedia.core.multiprocessing import PipelineError, ProcessCrashError

pytestmark = pytest.mark.usefixtures("leak_check")


def printed(px: Any, caplog: pytest.LogCaptureFixture, *chunks: tuple[str, bytes]) -> list[tuple[str, int, str]]:
    """(logger, level, line) of what a node wrote in these chunks to its stdout ("out") and stderr ("err")."""

    async def main() -> None:
        async with px.session(("t-lines", {"a secret": 1})) as session:
            for stream, raw in chunks:
                await session.send("n0", px.text(f"{stream} {raw.hex()}"))
                assert await session.receive("n0") is not None

    with caplog.at_level(logging.DEBUG, "remotemedia.node"):
        px.run(main())
    return [(r.name, r.levelno, r.getMessage()) for r in caplog.records if r.name.startswith("remotemedia.node")]


def test_lines_go_to_the_logger_of_the_node(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    lines = printed(px, caplog, ("out", b"one\ntwo\n"), ("err", b"three\n"), ("out", b"\nfive\r\nsi"), ("out", b"x\n"))
    out = [line for _, level, line in lines if level == logging.INFO]
    assert out == ["one", "two", "", "five", "six"]
    assert [line for _, level, line in lines if level == logging.WARNING] == ["three"]
    assert {name for name, _, _ in lines} == {"remotemedia.node.n0"}


def test_a_last_line_without_an_end_is_not_lost(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert [line for *_, line in printed(px, caplog, ("out", b"one\nno end"))] == ["one", "no end"]


def test_bytes_that_are_no_text(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    raw = b"caf\xe9 \xff\xfe\0\n\xe2\x82"
    assert [line for *_, line in printed(px, caplog, ("out", raw))] == ["caf\ufffd \ufffd\ufffd\0", "\ufffd"]


def test_percent_signs_are_no_formats(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert [line for *_, line in printed(px, caplog, ("out", b"100 %s %d\n"))] == ["100 %s %d"]


def test_huge_lines_come_in_pieces_and_whole(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    raw = bytes(97 + n % 26 for n in range(500_000))
    lines = [line for *_, line in printed(px, caplog, ("out", raw + b"\nshort\n"))]
    assert "".join(lines[:-1]).encode() == raw
    assert lines[-1] == "short"
    assert len(lines) > 2, "nobody has to hold half a megabyte for want of a newline"


def test_no_character_is_torn_where_a_huge_line_is_cut(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    text = "x" + "\N{EURO SIGN}" * 100_000
    lines = [line for *_, line in printed(px, caplog, ("out", text.encode() + b"\n"))]
    assert "".join(lines) == text


def test_an_exception_that_ends_the_process_is_logged_and_told(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with px.session("t-do") as session:
            await session.send("n0", px.text("complain-and-die os._exit(3)"))
            with pytest.raises(ProcessCrashError) as caught:
                await px.received(session, "n0")
            assert caught.value.stderr_tail == ("the last words",)

    px.run(main())
    assert ("remotemedia.node.n0", logging.WARNING, "the last words") in caplog.record_tuples


def test_many_lines_leave_a_tail_only(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-lines") as session:
            raw = b"".join(b"line %d\n" % n for n in range(1000)) + b"the end"
            await session.send("n0", px.text(f"err {raw.hex()}"))
            assert await session.receive("n0") is not None
            os.kill(session.pids["n0"], 9)
            with pytest.raises(ProcessCrashError) as caught:
                await session.receive("n0")
            tail = caught.value.stderr_tail
            assert tail[-2:] == ("line 999", "the end")
            assert 10 <= len(tail) <= 100

    px.run(main())


# --- config ----------------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "int": 7,
    "big": 2**70,
    "negative": -1,
    "float": 0.1,
    "tiny": 5e-324,
    "text": "Zürich \N{EURO SIGN} \U0001f600 \0 \n",
    "surrogate": "\udc80",
    "list": [1, "two", [3.0, None]],
    "dict": {"a": {"b": [True]}, "": {}},
    "empty": [[], {}],
    "key \N{EURO SIGN}": "x" * 300_000,
}


def facts(px: Any, config: dict[str, Any]) -> dict[str, Any]:
    async def main() -> Any:
        async with px.session(("t-config", config)) as session:
            await px.send_all(session, "n0", ["x"])
            data = await session.receive("n0")
            assert data is not None
            return json.loads(data.payload)

    found: dict[str, Any] = px.run(main())
    return found


def test_every_kind_of_json_value_arrives_as_it_is(px: Any) -> None:
    came = facts(px, VALUES)["config"]
    assert came == VALUES
    assert [type(value) for value in came.values()] == [type(value) for value in VALUES.values()]


def test_tuples_arrive_as_lists(px: Any) -> None:
    assert facts(px, {"shape": (1, (2,))})["config"] == {"shape": [1, [2]]}


def test_nothing_of_a_config_shows_outside(px: Any) -> None:
    found = facts(px, {"api_key": "sw0rdfish", "nested": {"password": "op3nsesame"}})
    for place in ("cmdline", "environ"):
        for secret in ("api_key", "sw0rdfish", "password", "op3nsesame"):
            assert secret not in found[place]
    assert "--node-id" in found["cmdline"]


def test_a_node_inherits_no_descriptors(px: Any, tmp_path: Any) -> None:
    # What a host program left inheritable would keep its pipes and sockets open in every node.
    read_fd, write_fd = os.pipe()
    os.set_inheritable(write_fd, True)
    try:
        alone = facts(px, {})["fds"]
    finally:
        os.close(write_fd)
    try:
        assert os.read(read_fd, 1) == b""
    finally:
        os.close(read_fd)
    assert len(alone) == len(facts(px, {})["fds"])


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"a": {"b": [1, {2}]}}, r"config of node 'n'\['a'\]\['b'\]\[1\] is a set"),
        ({"a": b"x"}, r"config of node 'n'\['a'\] is a bytes"),
        ({"a": {1: 2}}, r"config of node 'n'\['a'\]: key 1 must be a str"),
        ({"a": object()}, r"config of node 'n'\['a'\] is a object"),
        ({"a": asyncio}, r"config of node 'n'\['a'\] is a module"),
        ([1], r"config of node 'n' must be a dict, not list"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(config: Any, place: str) -> None:
    from remotemedia.core.multiprocessing import Pipeline

    with pytest.raises(PipelineError, match=place):
        Pipeline().add_node("t-echo", "n", config)


def test_configs_that_contain_themselves_are_refused() -> None:
    from remotemedia.core.multiprocessing import Pipeline

    circle: dict[str, Any] = {}
    circle["a"] = circle
    with pytest.raises(PipelineError, match="config of node 'n'"):
        Pipeline().add_node("t-echo", "n", circle)


def test_a_config_changed_after_it_was_given(px: Any) -> None:
    config: dict[str, Any] = {"a": [1]}
    pipeline = px.chain(("t-config", config))
    config["a"].append({2})

    async def main() -> None:
        from remotemedia.core.multiprocessing import Session

        async with Session("s", pipeline) as session:
            await px.send_all(session, "n0", ["x"])
            data = await session.receive("n0")
            assert json.loads(data.payload)["config"] == {"a": [1]}

    px.run(main())
