"""Gate: who comes in, who does not and is told why, and that whatever a call took is given back once."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("grpc")

pytestmark = pytest.mark.usefixtures("leak_check")

TOKENS = {"tokens": ("secret-1", "secret-2")}
BEARER = "the metadata 'authorization' must be 'Bearer TOKEN'"
MISSING = "authentication required: send the metadata 'authorization: Bearer TOKEN'"


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ([], MISSING),
        ([("x-client", "a"), ("authorization-x", "Bearer secret-1")], MISSING),
        ([("authorization", "secret-1")], BEARER),
        ([("authorization", "Basic secret-1")], BEARER),
        ([("authorization", "Bearer")], BEARER),
        ([("authorization", "Bearer secret-3")], "unknown token"),
        ([("authorization", "Bearer secret-")], "unknown token"),
        ([("authorization", "Bearer SECRET-1")], "unknown token"),
        ([("authorization", "Bearer secret-1,secret-2")], "unknown token"),
        ([("authorization", "Bearer wrong"), ("authorization", "Bearer secret-1")], "unknown token"),
        ([("authorization", "Bearer secret-1")], None),
        ([("authorization", "Bearer secret-2"), ("x-client", "a")], None),
    ],
)
def test_authentication(gated: Any, metadata: list[tuple[str, str]], text: str | None) -> None:
    async def main() -> None:
        async with gated.serve_client(**TOKENS) as (server, run):
            expected = ("OK", "") if text is None else ("UNAUTHENTICATED", text)
            assert await gated.status_of(run("", metadata=metadata)) == expected
            assert server.gate.counters.of("Run").messages_in == (text is None)
            assert server.has_given_back()

    asyncio.run(main())


@pytest.mark.parametrize("values", [{}, {**TOKENS, "require_auth": False}])
def test_no_authentication(gated: Any, values: dict[str, Any]) -> None:
    async def main() -> None:
        async with gated.serve_client(**values) as (_, run):
            assert await gated.status_of(run("")) == ("OK", "")
            assert await gated.status_of(run("", token="whatever")) == ("OK", "")

    asyncio.run(main())


def test_no_more_sessions_than_the_limit(gated: Any) -> None:
    async def main() -> None:
        async with gated.serve_client(max_sessions=3) as (server, run):
            holding = [run("hold") for _ in range(3)]
            await server.wait_held(3)
            status, text = await gated.status_of(run(""))
            assert status == "RESOURCE_EXHAUSTED"
            assert text == "the service has 3 sessions, the most it may (max_sessions); try again later"
            holding[0].cancel()
            await server.wait_held(2)
            assert await gated.status_of(run("")) == ("OK", "")
            server.free()
            assert [await gated.status_of(call) for call in holding[1:]] == [("OK", "")] * 2
            await server.gate.wait_idle()
            assert server.has_given_back()

    asyncio.run(main())


def test_no_more_sessions_of_one_client_than_its_limit(gated: Any) -> None:
    async def main() -> None:
        async with gated.serve_client(max_sessions_per_client=1, **TOKENS) as (server, run):
            first = run("hold", token="secret-1")
            await server.wait_held(1)
            status, text = await gated.status_of(run("", token="secret-1"))
            assert status == "RESOURCE_EXHAUSTED"
            assert text == "this client has 1 sessions, the most one may (max_sessions_per_client); try again later"
            assert await gated.status_of(run("", token="secret-2")) == ("OK", "")
            server.free()
            await first
            assert await gated.status_of(run("", token="secret-1")) == ("OK", "")

    asyncio.run(main())


def test_a_client_without_a_token_is_its_address_whatever_the_port(gated: Any) -> None:
    async def main() -> None:
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        async with (
            gated.serve(max_sessions_per_client=1) as (server, port),
            gated.grpc.aio.insecure_channel(f"127.0.0.1:{port}", own_connection) as one,
            gated.grpc.aio.insecure_channel(f"127.0.0.1:{port}", own_connection) as other,
        ):
            first = gated.caller(one)("hold")
            await server.wait_held(1)
            assert set(server.gate.limits._by_client) == {"127.0.0.1"}
            assert (await gated.status_of(gated.caller(other)("")))[0] == "RESOURCE_EXHAUSTED"
            server.free()
            await first

    asyncio.run(main())


def test_a_refused_call_uses_up_no_start(gated: Any) -> None:
    async def main() -> None:
        # One start an hour: what was taken stays taken for this test.
        async with gated.serve_client(max_starts_per_sec=1 / 3600, **TOKENS) as (server, run):
            for _ in range(3):
                assert (await gated.status_of(run("", token="wrong")))[0] == "UNAUTHENTICATED"
            assert await gated.status_of(run("", token="secret-1")) == ("OK", "")
            status, text = await gated.status_of(run("", token="secret-2"))
            assert status == "RESOURCE_EXHAUSTED"
            assert text.startswith("more than 0.000277778 sessions per second would start (max_starts_per_sec)")
            assert server.has_given_back()

    asyncio.run(main())


def test_processes_of_all_calls_together(gated: Any) -> None:
    async def main() -> None:
        async with gated.serve_client(max_processes=5) as (server, run):
            first = run("processes 2,processes 1,hold")
            await server.wait_held(1)
            # The handler's exception is ResourceLimitError; the service says it in band.
            assert (await gated.status_of(run("processes 3")))[0] == "UNKNOWN"
            assert await gated.status_of(run("processes 2")) == ("OK", "")
            assert server.gate.limits.processes == 3
            server.free()
            await first
            assert await gated.status_of(run("processes 5")) == ("OK", "")
            assert server.gate.counters.refused == {"max_processes": 1}

    asyncio.run(main())


def test_stopping(gated: Any) -> None:
    async def main() -> None:
        async with gated.serve_client(**TOKENS) as (server, run):
            await server.gate.wait_idle()
            holding, leaving = run("hold", token="secret-1"), run("hold", token="secret-2")
            await server.wait_held(2)
            server.gate.close()
            server.gate.close()
            refused = ("UNAVAILABLE", "the service is stopping")
            assert await gated.status_of(run("", token="secret-1")) == refused
            assert (await gated.status_of(run("")))[0] == "UNAUTHENTICATED"
            idle = asyncio.create_task(server.gate.wait_idle())
            leaving.cancel()
            while server.gate.limits.sessions == 2:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not idle.done()
            server.free()
            assert await gated.status_of(holding) == ("OK", "")
            await idle
            assert await gated.status_of(run("", token="secret-1")) == refused
            await server.gate.wait_idle()
            assert server.has_given_back()

    asyncio.run(main())


ENDS = ["", "raise", "abort", "code", "processes 2", "processes 99", "error VALIDATION", "hold", "hold,raise"]


@settings(max_examples=25)
@given(orders=st.lists(st.sampled_from(ENDS), max_size=12), seed=st.integers())
def test_whatever_ends_a_call_it_gives_back_what_it_took(gated: Any, orders: list[str], seed: int) -> None:
    async def main() -> None:
        async with gated.serve_client(max_sessions=8, max_sessions_per_client=6, max_processes=9, **TOKENS) as (
            server,
            run,
        ):
            choose = random.Random(seed)
            calls = [run(f"processes 1,{x}", token=choose.choice([*TOKENS["tokens"], "wrong"])) for x in orders]
            for call in calls:
                if choose.random() < 0.3:
                    await asyncio.sleep(0)
                    call.cancel()
            server.free()
            for call in calls:
                await gated.status_of(call)
            await server.gate.wait_idle()
            assert server.has_given_back()
            counters = server.gate.counters
            # What was cancelled before it reached the server never was a call.
            assert counters.calls.total() <= len(orders)
            assert (
                counters.of("Run").seconds_counts and sum(counters.of("Run").seconds_counts) == counters.calls.total()
            )

    asyncio.run(main())


def test_a_client_is_named_without_its_token(gated: Any) -> None:
    async def main() -> None:
        async with gated.serve_client(**TOKENS) as (server, run):
            call = run("hold", token="secret-2")
            await server.wait_held(1)
            digest = hashlib.sha256(b"secret-2").hexdigest()[:12]
            assert dict(server.gate.limits._by_client) == {f"token:{digest}": 1}
            server.free()
            await call

    asyncio.run(main())
