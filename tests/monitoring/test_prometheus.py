"""A real scrape over HTTP: what it says, that docs/monitoring.md has all of it, and how serving begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from remotemedia._install import install_advice
from remotemedia.core.multiprocessing import MultiprocessConfig, MultiprocessExecutor, ProcessCrashError
from remotemedia.monitoring import PrometheusCollector, serve_metrics

pytestmark = pytest.mark.usefixtures("leak_check")

DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"


class Scrape:
    """What Prometheus would take from an answer."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self._samples = [sample for family in self.families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        found = [s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items()]
        assert len(found) <= 1, f"{name} with {labels} is {len(found)} series"
        return found[0] if found else None

    def values_of(self, label: str) -> set[str]:
        return {sample.labels[label] for sample in self._samples if label in sample.labels}

    def counters(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """All that must never fall."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families
            if family.type in ("counter", "histogram")
            for sample in family.samples
        }


def scrape(url: str) -> Scrape:
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return Scrape(answer.read().decode())


def test_a_session(px: Any) -> None:
    async def main() -> None:
        session = px.session("t-echo", "t-do")
        with serve_metrics(session) as server:
            idle = await asyncio.to_thread(scrape, server.url)
            assert idle.value("remotemedia_session_state", state="created") == 1
            assert idle.value("remotemedia_node_state", node_id="n1", state="idle") == 1
            assert idle.value("remotemedia_node_messages_total", node_id="n1") is None
            async with session:
                for order in ("a", "b", "raise c"):
                    await session.send("n0", px.text(order))
                    await session.receive("n1", on_failure="report")
                await px.until(lambda: session.node_stats()[1].messages == 3)
                seen = await asyncio.to_thread(scrape, server.url)
                assert seen.value("remotemedia_session_state", state="running") == 1
                assert seen.value("remotemedia_session_state", state="created") == 0
                assert seen.value("remotemedia_session_processes") == 2
                assert seen.value("remotemedia_node_messages_total", node_id="n1") == 3
                assert seen.value("remotemedia_node_failures_total", node_id="n1") == 1
                assert seen.value("remotemedia_node_failures_total", node_id="n0") == 0
                assert seen.value("remotemedia_node_memory_bytes", node_id="n0") > 1e6
                assert seen.value("remotemedia_node_latency_seconds_count", node_id="n1") == 3
                assert seen.value("remotemedia_node_latency_seconds_bucket", node_id="n1", le="+Inf") == 3
                latency = session.node_stats()[1].latency_max_secs
                assert seen.value("remotemedia_node_latency_seconds_sum", node_id="n1") >= latency
                assert seen.value("remotemedia_node_first_output_seconds_count", node_id="n1") == 3
                assert seen.value("remotemedia_node_first_output_seconds_bucket", node_id="n1", le="+Inf") == 3
                assert seen.value("remotemedia_session_first_output_seconds_count", pipeline="unnamed") == 0
                assert seen.value("remotemedia_sessions_total", pipeline="unnamed") == 1
                assert seen.values_of("session_id") == set()
                ends = {"channel": "n0_to_n1", "publisher": "n0", "subscriber": "n1"}
                assert seen.value("remotemedia_channel_messages_total", **ends) == 3
                assert seen.value("remotemedia_channel_bytes_total", **ends) == len("ab" + "raise c")
                assert seen.value("remotemedia_channel_capacity_messages", **ends) == 100

                await session.send("n0", px.text("stick"))
                assert await session.receive("n1", on_failure="report") is not None
                await px.until(lambda: px.sticks(session.pids["n1"]))
                first = await asyncio.to_thread(scrape, server.url)
                second = await asyncio.to_thread(scrape, server.url)
                assert first.value("remotemedia_node_state", node_id="n1", state="processing") == 1
                busy = [s.value("remotemedia_node_busy_seconds", node_id="n1") for s in (first, second)]
                assert 0 < busy[0] < busy[1]  # type: ignore[operator]

                os.kill(session.pids["n1"], signal.SIGKILL)
                with pytest.raises(ProcessCrashError):
                    await session.receive("n1", on_failure="report")
                crashed = await asyncio.to_thread(scrape, server.url)
                assert crashed.value("remotemedia_node_state", node_id="n1", state="error") == 1
                cpu_secs = first.value("remotemedia_node_cpu_seconds_total", node_id="n1")
                assert crashed.value("remotemedia_node_cpu_seconds_total", node_id="n1") >= cpu_secs  # type: ignore[operator]
                assert crashed.value("remotemedia_node_memory_bytes", node_id="n1") is None
                assert crashed.value("remotemedia_session_failures_total") == 1
            gone = await asyncio.to_thread(scrape, server.url)
            assert gone.value("remotemedia_session_state", state="stopped") == 1
            assert gone.value("remotemedia_node_messages_total", node_id="n0") == 4

    px.run(main())


def test_buckets_are_cumulative_and_hold_what_they_say(px: Any) -> None:
    async def main() -> None:
        async with px.session(("t-work", {"secs": 0.01})) as session:
            for _ in range(5):
                await session.send("n0", px.text("x"))
                await session.receive("n0")
            await px.until(lambda: session.node_stats()[0].messages == 5)
            with serve_metrics(session) as server:
                seen = await asyncio.to_thread(scrape, server.url)
            family = next(f for f in seen.families if f.name == "remotemedia_node_latency_seconds")
            buckets = {float(s.labels["le"]): s.value for s in family.samples if s.name.endswith("_bucket")}
            assert list(buckets) == sorted(buckets)
            assert list(buckets.values()) == sorted(buckets.values())
            highest_secs = session.node_stats()[0].latency_max_secs
            for bound_secs, messages in buckets.items():
                if bound_secs < 0.01:
                    assert messages == 0
                if bound_secs > highest_secs:
                    assert messages == 5

    px.run(main())


def test_the_table_in_the_docs_is_complete(px: Any) -> None:
    async def main() -> None:
        async with px.session("t-echo") as session:
            await session.send("n0", px.text("x"))
            await session.receive("n0")
            with serve_metrics(session) as server:
                seen = await asyncio.to_thread(scrape, server.url)
        served = {}
        for family in seen.families:
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            served[name] = family.type, labels
        rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]+) \|", DOCUMENTED.read_text(), re.MULTILINE)
        assert {name: (kind, set(labels.split(", "))) for name, kind, labels in rows} == served

    px.run(main())


def test_an_executor_whose_sessions_come_and_go(px: Any) -> None:
    """The scraping thread meets sessions in every state; each answer must be whole, and no total may ever fall."""

    async def main() -> None:
        ended = asyncio.Event()
        answers: list[Scrape] = []

        async def keep_scraping(url: str) -> None:
            while not ended.is_set():
                answers.append(await asyncio.to_thread(scrape, url))

        async with MultiprocessExecutor(MultiprocessConfig()) as executor:
            with serve_metrics(executor) as server:
                assert (await asyncio.to_thread(scrape, server.url)).values_of("pipeline") == set()
                scraping = asyncio.create_task(keep_scraping(server.url))
                for number in range(4):
                    session = await executor.create_session(f"call-{number}", px.chain("t-echo", "t-echo"))
                    await session.send("n0", px.text("x"))
                    await session.receive("n1", on_failure="report")
                    await px.until(lambda session=session: session.node_stats()[1].messages == 1)
                    if number:
                        await executor.terminate_session(f"call-{number - 1}")
                ended.set()
                await scraping
                last = await asyncio.to_thread(scrape, server.url)
        assert last.value("remotemedia_sessions_total") == 4
        assert last.value("remotemedia_session_state", state="running") == 1
        assert last.value("remotemedia_node_messages_total", node_id="n1", node_type="t-echo") == 4
        assert last.value("remotemedia_channel_bytes_total", channel="n0_to_n1") == 4
        assert all(len(answer.families) == len(last.families) for answer in answers)
        for before, after in itertools.pairwise([*answers, last]):
            now = after.counters()
            assert {name: value for name, value in before.counters().items() if now.get(name, -1) < value} == {}

    px.run(main())


def test_a_session_that_crashed_between_two_scrapes_is_in_the_totals(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig()) as executor:
            with serve_metrics(executor) as server:
                for name in ("calls", "", "calls"):
                    pipeline = px.chain("t-echo", "t-do")
                    pipeline.name = name
                    session = await executor.create_session("s", pipeline)
                    await session.send("n0", px.text("raise the alarm"))
                    assert await session.receive("n1", on_failure="report") is not None
                    await px.until(lambda session=session: session.node_stats()[1].messages == 1)
                    os.kill(session.pids["n0"], signal.SIGKILL)
                    with pytest.raises(ProcessCrashError):
                        await session.receive("n1", on_failure="report")
                    await executor.terminate_session("s")
                seen = await asyncio.to_thread(scrape, server.url)
        for name, sessions in (("calls", 2), ("unnamed", 1)):
            assert seen.value("remotemedia_sessions_total", pipeline=name) == sessions
            assert seen.value("remotemedia_session_failures_total", pipeline=name) == sessions
            assert seen.value("remotemedia_session_processes", pipeline=name) is None
            node = {"pipeline": name, "node_id": "n1", "node_type": "t-do"}
            assert seen.value("remotemedia_node_messages_total", **node) == sessions
            assert seen.value("remotemedia_node_failures_total", **node) == sessions
            assert seen.value("remotemedia_node_latency_seconds_count", **node) == sessions
            assert seen.value("remotemedia_node_first_output_seconds_count", **node) == sessions
            assert seen.value("remotemedia_node_cpu_seconds_total", **node) > 0
            assert seen.value("remotemedia_node_memory_bytes", **node) is None

    px.run(main())


def test_gauges_of_one_pipeline_stand_together_or_by_session_id(px: Any) -> None:
    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig()) as executor:
            for number in range(2):
                pipeline = px.chain("t-echo", "t-echo")
                pipeline.name = "calls"
                await executor.create_session(f"call-{number}", pipeline)
            with serve_metrics(executor) as together, serve_metrics(executor, session_ids=True) as apart:
                one = await asyncio.to_thread(scrape, together.url)
                two = await asyncio.to_thread(scrape, apart.url)
        assert one.value("remotemedia_session_processes", pipeline="calls") == 4
        assert one.value("remotemedia_session_state", state="running") == 2
        assert one.value("remotemedia_channel_capacity_messages", channel="n0_to_n1") == 200
        assert one.value("remotemedia_node_state", node_id="n0", state="ready") == 2
        assert one.values_of("session_id") == set()
        for number in range(2):
            mine = {"pipeline": "calls", "session_id": f"call-{number}"}
            assert two.value("remotemedia_session_processes", **mine) == 2
            assert two.value("remotemedia_session_state", state="running", **mine) == 1
            assert two.value("remotemedia_channel_capacity_messages", channel="n0_to_n1", **mine) == 100
        assert two.value("remotemedia_sessions_total", pipeline="calls") == 2
        gauges = {family.name for family in two.families if family.type == "gauge"}
        ids = {f.name for f in two.families if any("session_id" in sample.labels for sample in f.samples)}
        assert ids == gauges

    px.run(main())


def test_names_that_clients_invent_have_one_entry_together(px: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remotemedia.core.multiprocess.values.totals.MOST_ENTRIES", 2)

    async def main() -> None:
        async with MultiprocessExecutor(MultiprocessConfig()) as executor:
            with serve_metrics(executor) as server:
                for name in ("a", "b", "c", "d", "a"):
                    pipeline = px.chain("t-echo")
                    pipeline.name = name
                    session = await executor.create_session(f"call-{name}", pipeline)
                    await session.send("n0", px.text("x"))
                    await session.receive("n0")
                    if name != "d":
                        await executor.terminate_session(session.session_id)
                    else:
                        while_d = await asyncio.to_thread(scrape, server.url)
                        await px.until(lambda session=session: session.node_stats()[0].messages == 1)
                seen = await asyncio.to_thread(scrape, server.url)
        assert seen.values_of("pipeline") == while_d.values_of("pipeline") == {"a", "b", "other"}
        assert while_d.value("remotemedia_session_processes", pipeline="other") == 1
        assert seen.value("remotemedia_sessions_total", pipeline="a") == 2
        assert seen.value("remotemedia_sessions_total", pipeline="b") == 1
        assert seen.value("remotemedia_sessions_total", pipeline="other") == 2
        other = {"pipeline": "other", "node_id": "other", "node_type": "other"}
        assert seen.value("remotemedia_node_messages_total", **other) == 2
        assert seen.value("remotemedia_node_state", **other, state="ready") == 1
        assert seen.value("remotemedia_node_messages_total", pipeline="a", node_id="n0") == 2

    px.run(main())


def test_closing_ends_also_a_scrape_under_way(px: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("remotemedia.monitoring._server._Handler.timeout", None)  # nothing else may end it
    server = serve_metrics(px.session("t-echo"))
    with socket.create_connection((server.host, server.port)) as silent:
        silent.sendall(b"GET /metrics HTTP/1.1\r\n")  # and never the rest of it
        while server._server._client is None:  # until then it waits for a connection, not for this one
            os.sched_yield()
        server.close()
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(1) == b""
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port)).close()


def test_an_address_that_is_taken(px: Any) -> None:
    with (
        serve_metrics(px.session("t-echo")) as server,
        pytest.raises(OSError, match=f"cannot serve metrics on {server.host} port {server.port}"),
    ):
        serve_metrics(px.session("t-echo"), port=server.port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65_536), ("no.such.host.invalid", 0)])
def test_an_address_that_is_none(px: Any, host: str, port: int) -> None:
    with pytest.raises(OSError, match=f"cannot serve metrics on {host} port {port}"):
        serve_metrics(px.session("t-echo"), host=host, port=port)


def test_nothing_but_a_session_or_an_executor() -> None:
    with pytest.raises(TypeError, match="MultiprocessExecutor or a Session"):
        PrometheusCollector("s")  # type: ignore[arg-type]


def test_a_registry_of_ones_own_knows_the_names(px: Any) -> None:
    registry = CollectorRegistry()
    registry.register(PrometheusCollector(px.session("t-echo")))
    with pytest.raises(ValueError, match="remotemedia_session_state"):
        registry.register(PrometheusCollector(px.session("t-echo")))


@pytest.mark.parametrize(
    ("name", "missing"), [("serve_metrics", "prometheus_client"), ("json_log_formatter", "pythonjsonlogger")]
)
def test_without_the_extra(name: str, missing: str) -> None:
    script = f"""
import sys
import remotemedia.monitoring
assert not {{"prometheus_client", "pythonjsonlogger", "numpy", "asyncio"}} & set(sys.modules)
sys.modules[{missing!r}] = None
try:
    remotemedia.monitoring.{name}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{name} needs {missing}, which is not installed: {install_advice('monitoring')}\n"
