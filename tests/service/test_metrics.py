"""The service's figures for Prometheus, by a real scrape, and that docs/service.md has all of them."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("prometheus_client")

from prometheus_client.parser import text_string_to_metric_families

from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessExecutor
from remotemedia.monitoring import serve_metrics
from remotemedia.service._counters import REASONS
from remotemedia.service._gate import Gate
from remotemedia.service._prometheus import ServiceCollector
from remotemedia.service.config import ServiceConfig

pytestmark = pytest.mark.usefixtures("leak_check")

DOCUMENT = (Path(__file__).parents[2] / "docs" / "service.md").read_text()


def scrape(url: str) -> dict[str, float]:
    """Value by name and the values of labels, these in the order of their names."""
    with urllib.request.urlopen(url) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return {" ".join([s.name, *(s.labels[name] for name in sorted(s.labels))]): s.value for s in samples}


def test_a_scrape(gated: Any) -> None:
    async def main() -> None:
        executor = MultiprocessExecutor(MultiprocessConfig())
        settings = {"tokens": ("secret-1",), "max_sessions": 1, "max_processes": 4}
        async with executor, gated.serve_client(**settings) as (server, run):
            with serve_metrics(executor, also=[ServiceCollector(server.gate)]) as page:
                call = run("processes 3,hold", token="secret-1")
                await server.wait_held(1)
                assert (await gated.status_of(run("", token="secret-1")))[0] == "RESOURCE_EXHAUSTED"
                assert (await gated.status_of(run("", token="wrong")))[0] == "UNAUTHENTICATED"
                seen = await asyncio.to_thread(scrape, page.url)
                assert seen["remotemedia_service_sessions"] == 1
                assert seen["remotemedia_service_processes"] == 3
                assert seen["remotemedia_service_messages_total in Run"] == 1
                assert seen["remotemedia_service_messages_total out Run"] == 0
                server.free()
                await call
                await server.gate.wait_idle()
                assert (await gated.status_of(run("processes 9", token="secret-1")))[0] == "UNKNOWN"
                await server.gate.wait_idle()
                seen = await asyncio.to_thread(scrape, page.url)
        assert seen["remotemedia_service_sessions"] == seen["remotemedia_service_processes"] == 0
        assert seen["remotemedia_service_calls_total  Run OK"] == 1
        assert seen["remotemedia_service_calls_total  Run RESOURCE_EXHAUSTED"] == 1
        assert seen["remotemedia_service_calls_total  Run UNAUTHENTICATED"] == 1
        assert seen["remotemedia_service_calls_total  Run UNKNOWN"] == 1
        assert seen["remotemedia_service_bytes_total in Run"] == len("processes 3,hold" + "processes 9")
        assert seen["remotemedia_service_bytes_total out Run"] == 4
        assert seen["remotemedia_service_call_seconds_count Run"] == 4
        assert seen["remotemedia_service_call_seconds_bucket +Inf Run"] == 4
        assert seen["remotemedia_service_call_seconds_sum Run"] > 0
        refused = {reason: seen[f"remotemedia_service_refused_total {reason}"] for reason in REASONS}
        expected = {"authentication": 1, "max_sessions": 1, "max_processes": 1}
        assert refused == {reason: expected.get(reason, 0) for reason in REASONS}

    asyncio.run(main())


@pytest.mark.parametrize("session_ids", [False, True])
def test_what_calls_counted_stays_when_they_end(sv: Any, session_ids: bool) -> None:
    async def main() -> None:
        async with sv.serving(metrics_port=0, metrics_session_ids=session_ids) as client:
            url = client.service.metrics_url
            for _ in range(2):
                await client.result(sv.chain("t-echo"), {"n0": "abc"})
            stream = await client.ready(sv.chain("t-echo"))
            during = await asyncio.to_thread(scrape, url)
            await stream.chunk("n0", "abc")
            await stream.result()
            await stream.close()
            await stream.finish()
            await sv.until(lambda: not client.service.executor.sessions)
            after = await asyncio.to_thread(scrape, url)
        assert during["remotemedia_sessions_total test"] == after["remotemedia_sessions_total test"] == 3
        assert [x["remotemedia_node_messages_total n0 t-echo test"] for x in (during, after)] == [2, 3]
        assert after["remotemedia_node_first_output_seconds_count n0 t-echo test"] == 3
        assert after["remotemedia_channel_bytes_total session_to_n0 test session n0"] == 9
        processes = {name: value for name, value in during.items() if name.startswith("remotemedia_session_processes")}
        (name,) = processes
        assert processes[name] == 1
        assert len(name.split()) == (3 if session_ids else 2)
        assert not any(name.startswith("remotemedia_session_processes") for name in after)

    asyncio.run(main())


def test_every_metric_is_documented() -> None:
    families = list(ServiceCollector(Gate(ServiceConfig())).collect())
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    documented = re.findall(r"^\| `(remotemedia_service_\w+)` \| (\w+) \|", DOCUMENT, re.MULTILINE)
    assert {name for name, _ in documented} == names
    assert {kind for _, kind in documented} == {family.type for family in families}
    assert all(f"`{reason}`" in DOCUMENT for reason in REASONS)
