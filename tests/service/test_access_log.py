"""The access log: a line for each call at its end, with what became of it, and never a token."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

pytest.importorskip("grpc")

pytestmark = pytest.mark.usefixtures("leak_check")


@pytest.mark.parametrize(
    ("orders", "status", "error_type"),
    [
        ("", "OK", ""),
        ("error NODE_EXECUTION", "OK", "NODE_EXECUTION"),
        ("abort", "INTERNAL", ""),
        ("code", "DATA_LOSS", ""),
        ("raise", "UNKNOWN", ""),
        ("processes 9", "UNKNOWN", ""),
    ],
)
def test_what_became_of_a_call(gated: Any, caplog: Any, orders: str, status: str, error_type: str) -> None:
    async def main() -> None:
        async with gated.serve_client(max_processes=8) as (server, run):
            assert (await gated.status_of(run(orders)))[0] == status
            await server.gate.wait_idle()
            assert server.gate.counters.calls == {("Run", status, error_type): 1}

    caplog.set_level(logging.INFO, logger="remotemedia.access")
    asyncio.run(main())
    (record,) = (record for record in caplog.records if record.name == "remotemedia.access")
    sent = 4 if status in ("OK", "DATA_LOSS") else 0
    expected = {
        "method": "Run",
        "status": status,
        "error_type": error_type,
        "client": "127.0.0.1",
        "session_id": "s-1",
        "messages_in": 1,
        "bytes_in": len(orders),
        "messages_out": int(sent > 0),
        "bytes_out": sent,
    }
    assert {name: getattr(record, name) for name in expected} == expected
    words = dict(word.split("=") for word in record.getMessage().split())
    assert words.pop("seconds") == str(record.seconds)
    assert words == {name: "-" if value == "" else str(value) for name, value in expected.items()}


def test_a_client_that_leaves_and_one_whose_time_is_up(gated: Any, caplog: Any) -> None:
    async def main() -> None:
        async with gated.serve_client() as (server, run):
            leaving = run("hold")
            await server.wait_held(1)
            leaving.cancel()
            await server.gate.wait_idle()
            assert server.gate.counters.calls == {("Run", "CANCELLED", ""): 1}
            assert (await gated.status_of(run("hold", timeout=0.05)))[0] == "DEADLINE_EXCEEDED"
            await server.gate.wait_idle()
            assert server.gate.counters.calls["Run", "DEADLINE_EXCEEDED", ""] == 1

    caplog.set_level(logging.INFO, logger="remotemedia.access")
    asyncio.run(main())
    assert [record.status for record in caplog.records] == ["CANCELLED", "DEADLINE_EXCEEDED"]


def test_no_token_in_any_log(gated: Any, caplog: Any) -> None:
    async def main() -> None:
        async with gated.serve_client(tokens=("secret-1",)) as (_, run):
            await gated.status_of(run("", token="secret-1"))
            await gated.status_of(run("raise", token="secret-1"))
            await gated.status_of(run("", token="secret-2"))
            await gated.status_of(run("", metadata=[("authorization", "secret-3")]))

    caplog.set_level(logging.DEBUG)
    asyncio.run(main())
    records = [record for record in caplog.records if record.name == "remotemedia.access"]
    assert [record.status for record in records] == ["OK", "UNKNOWN", "UNAUTHENTICATED", "UNAUTHENTICATED"]
    assert records[0].client == records[1].client != records[2].client == "127.0.0.1"
    assert "secret" not in repr([vars(record) for record in caplog.records])


def test_switched_off(gated: Any, caplog: Any) -> None:
    async def main() -> None:
        async with gated.serve_client(access_log=False) as (server, run):
            await run("")
            await server.gate.wait_idle()

    caplog.set_level(logging.DEBUG)
    asyncio.run(main())
    assert [record for record in caplog.records if record.name == "remotemedia.access"] == []


def test_as_json(gated: Any, caplog: Any) -> None:
    pytest.importorskip("pythonjsonlogger")
    from remotemedia.monitoring import json_log_formatter

    async def main() -> None:
        async with gated.serve_client() as (server, run):
            await run("")
            await server.gate.wait_idle()

    caplog.set_level(logging.INFO, logger="remotemedia.access")
    asyncio.run(main())
    found = json.loads(json_log_formatter().format(caplog.records[0]))
    assert (found["logger"], found["method"], found["status"], found["session_id"]) == (
        "remotemedia.access",
        "Run",
        "OK",
        "s-1",
    )
    assert found["bytes_out"] == 4
