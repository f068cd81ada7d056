"""What nodes print becomes log records, whatever bytes it is; what they are told shows nowhere."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
from types import SimpleNamespace
from typing import Any

import pytest

from remotemedia.core.multiprocess.process.output import Output
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


# --- carriage returns ------------------------------------------------------------------------------------------


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``passed_on((seconds, bytes), ...)``: what is passed on of what comes at these times, what was last said, and
    what is passed on at the end.

    The pipe is real. The clock is not: these tests do not wait.
    """
    now = 1000.0
    monkeypatch.setattr("remotemedia.core.multiprocess.process.output.time", SimpleNamespace(monotonic=lambda: now))

    async def play(chunks: tuple[tuple[float, bytes], ...]) -> tuple[list[str], str, list[str]]:
        nonlocal now
        lines: list[str] = []
        read_fd, write_fd = os.pipe()
        os.set_blocking(read_fd, False)
        output = Output(read_fd, asyncio.get_running_loop(), lines.append)
        output.start()
        for secs, raw in chunks:
            now = 1000.0 + secs
            os.write(write_fd, raw)
            while select.select([read_fd], [], [], 0)[0]:
                await asyncio.sleep(0)
        before_the_end, said = lines.copy(), output.last_said
        os.close(write_fd)
        output.close()
        assert list(output.tail) == lines
        return before_the_end, said, lines[len(before_the_end) :]

    return lambda *chunks: asyncio.run(play(chunks))


def test_of_overwritten_lines_the_last_of_a_second_is_passed_on(passed_on: Any) -> None:
    bar = [(n / 10, b"\rdownloading %d %%" % n) for n in range(35)]
    assert passed_on(*bar) == (
        ["downloading 0 %", "downloading 10 %", "downloading 20 %", "downloading 30 %"],
        "downloading 34 %",
        ["downloading 34 %"],
    )


@pytest.mark.parametrize(
    ("chunks", "passed", "said", "at_the_end"),
    [
        # What comes at once is one state; a newline ends the last of them for good.
        ([(0, b"\r1 %\r2 %\r3 %\n")], ["3 %"], "3 %", []),
        ([(0, b"1 %\r2 %\r3 %\r")], ["3 %"], "3 %", []),
        ([(0, b"1 %\r"), (0.5, b"2 %\r"), (0.6, b"done\n")], ["1 %", "done"], "done", []),
        ([(0, b"1 %\r"), (0.5, b"2 %\r"), (0.6, b"\n")], ["1 %", "2 %"], "2 %", []),
        ([(0, b"1 %\r"), (0.5, b"2 %\r")], ["1 %"], "2 %", ["2 %"]),
        ([(0, b"1 %\r"), (9, b"2 %\r")], ["1 %", "2 %"], "2 %", []),
        # A bar that is wiped out, and beginnings of bars, say nothing.
        ([(0, b"\r1 %"), (2, b"\r    \r"), (2.1, b"done\n")], ["1 %", "done"], "done", []),
        ([(0, b"\r\r\r")], [], "", []),
        # Ends of lines as Windows writes them, whole and cut in two.
        ([(0, b"one\r\n\r\ntwo\r\n")], ["one", "", "two"], "two", []),
        ([(0, b"one\r"), (0, b"\n"), (0, b"two\r"), (0, b"\n"), (0, b"\r"), (0, b"\n")], ["one", "two", ""], "two", []),
        ([(0, b"one\r"), (0, b"\ntwo")], ["one"], "two", ["two"]),
        ([(0, b"a\rb"), (0, b"c\n")], ["a", "bc"], "bc", []),
    ],
)
def test_carriage_returns_end_lines(
    passed_on: Any, chunks: list[tuple[float, bytes]], passed: list[str], said: str, at_the_end: list[str]
) -> None:
    assert passed_on(*chunks) == (passed, said, at_the_end)


def test_what_was_last_said_is_cut_short(passed_on: Any) -> None:
    assert passed_on((0, b"x" * 5000))[1] == "x" * 200


def test_a_progress_bar_of_a_node_becomes_log_records(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    lines = printed(px, caplog, ("err", b"\r 1 %"), ("err", b"\r100 %"), ("err", b"\n"))
    assert lines[-1] == ("remotemedia.node.n0", logging.WARNING, "100 %")
    assert {line for *_, line in lines} <= {" 1 %", "100 %"}, "the first too, unless all came at once"


# --- programs that set up no log -------------------------------------------------------------------------------

PLAIN_PROGRAM = """
import asyncio, io, logging
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import Pipeline, Session

class Closed(io.StringIO):
    def write(self, text):
        raise ValueError("I/O operation on closed file")

async def main():
    async with Session("s", Pipeline().add_node("t-do", "asr")) as session:
        child = session._supervisor.children["asr"]

        async def heard(order, stderr):
            # What comes out on stderr of a line that the node writes.
            before, sys.stderr = sys.stderr, stderr
            await session.send("asr", RuntimeData.text(order))
            await session.receive("asr")
            while child.last_said != order.partition(" ")[2]:
                await asyncio.sleep(0.002)
            sys.stderr = before
            return stderr.getvalue() if stderr else ""

        package, root = logging.getLogger("remotemedia"), logging.getLogger()
        say("nothing", await heard("print one", io.StringIO()), await heard("complain two", io.StringIO()))
        package.setLevel(logging.WARNING)
        say("a level", await heard("print three", io.StringIO()), await heard("complain four", io.StringIO()))
        package.setLevel(logging.NOTSET)
        root.setLevel(logging.INFO)
        say("a level of the root", await heard("print five", io.StringIO()))
        logging.disable(logging.WARNING)
        say("disabled", await heard("complain six", io.StringIO()))
        logging.disable(logging.NOTSET)
        root.setLevel(logging.WARNING)
        for number, logger in enumerate((root, package, logging.getLogger("remotemedia.node.asr"))):
            logger.addHandler(handler := logging.NullHandler())
            say("a handler", await heard(f"complain seven {number}", io.StringIO()))
            logger.removeHandler(handler)
            say("none again", await heard(f"complain eight {number}", io.StringIO()))
        await heard("complain nine", Closed())
        await heard("complain ten", None)
        say("still alive", await heard("print \\N{EURO SIGN}", io.StringIO()))

asyncio.run(main())
"""


def test_a_program_without_a_log_gets_the_lines_on_stderr_with_the_nodes_id(px: Any, child_python: Any) -> None:
    child = child_python(px.PATH_LINES + PLAIN_PROGRAM)
    child.expect("nothing", "[asr] one\n", "[asr] two\n")
    child.expect("a level", "", "[asr] four\n")
    child.expect("a level of the root", "[asr] five\n")
    child.expect("disabled", "")
    for number in range(3):
        child.expect("a handler", "")
        child.expect("none again", f"[asr] eight {number}\n")
    child.expect("still alive", "[asr] \N{EURO SIGN}\n")
    assert child.wait() == 0, child.stderr()
    assert child.stderr() == ""


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


def test_an_interrupted_log_record_does_not_matter(px: Any, caplog: pytest.LogCaptureFixture) -> None:
    # A handler that raises is the user's own trouble, and logging's to report: the pipeline goes on.
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.handleError(record)

    logger = logging.getLogger("remotemedia.node.n0")
    handler = Broken()
    logger.addHandler(handler)
    raising, logging.raiseExceptions = logging.raiseExceptions, False
    try:

        async def main() -> None:
            async with px.session("t-do") as session:
                await px.send_all(session, "n0", ["print a", "b"])
                assert await px.received(session, "n0") == ["print a", "b"]

        px.run(main())
    finally:
        logging.raiseExceptions = raising
        logger.removeHandler(handler)
