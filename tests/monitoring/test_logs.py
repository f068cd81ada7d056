"""Log records as JSON: every one about a session or a node says so."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("pythonjsonlogger")

from remotemedia.core.multiprocessing import ProcessCrashError
from remotemedia.monitoring import json_log_formatter

pytestmark = pytest.mark.usefixtures("leak_check")


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the loggers of remotemedia write, through the formatter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(json_log_formatter())
    logger = logging.getLogger("remotemedia")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_record_of_a_session_says_whose_it_is(px: Any, logged: io.StringIO) -> None:
    async def main() -> None:
        async with px.session("t-echo", "t-do") as session:

            def fails(error: ProcessCrashError) -> None:
                raise ValueError("in the callback")

            session.on_process_crash(fails)
            for order in ("print hello", "complain oh", "raise no", "complain-and-die SIGKILL"):
                await session.send("n0", px.text(order))
            with pytest.raises(ProcessCrashError):
                while True:
                    await session.receive("n1", on_failure="report")

    px.run(main())
    found = records(logged)
    assert {(record["session_id"], record["node_id"]) for record in found} == {("s", "n1")}
    said = {(record["logger"], record["level"], record["message"].splitlines()[0]) for record in found}
    assert said >= {
        ("remotemedia.node.n1", "INFO", "hello"),
        ("remotemedia.node.n1", "WARNING", "oh"),
        ("remotemedia.session", "ERROR", "session 's': Node 'n1' failed on message 2 of port 'input': ValueError: no"),
        ("remotemedia.session", "ERROR", "session 's': Process n1 crashed with code 137 (killed by SIGKILL)"),
    }
    assert any("ValueError: in the callback" in record["message"] for record in found)
    assert all(record["timestamp"].endswith("+00:00") for record in found)


def test_what_is_of_no_single_node(px: Any, logged: io.StringIO) -> None:
    async def main() -> None:
        async with px.session("t-slow-cleanup", cleanup_grace_period_secs=0.1):
            pass

    px.run(main())
    by_node = {record["node_id"]: record for record in records(logged)}
    assert "did not stop within" in by_node[None]["message"]
    assert by_node["n0"]["message"] == "node 'n0' ended with killed by signal 15 while the session stopped"
    assert {record["session_id"] for record in records(logged)} == {"s"}


def test_a_record_of_nobody(logged: io.StringIO) -> None:
    logging.getLogger("remotemedia").info("%s \udcff\n", "ä", extra={"more": {1, 2}})
    (record,) = records(logged)
    assert record["message"] == "ä \udcff\n"
    assert (record["session_id"], record["node_id"]) == (None, None)
