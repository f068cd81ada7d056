"""Every way for a node to fail, in every phase of its life, at every place of a graph."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from remotemedia.core.multiprocess.kernel import cgroup
from remotemedia.core.multiprocessing import (
    ChannelCorruptedError,
    InitializationTimeout,
    MultiprocessConfig,
    NodeInitializationError,
    ProcessCrashError,
    SessionStatus,
)


def _load(name: str) -> ModuleType:
    """A module beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


for _name in ("crash_faults", "crash_nodes", "crash_import"):
    _load(_name)
matrix: Any = _load("crash_matrix")
crash_stage: Any = _load("crash_stage")
crash_scene: Any = _load("crash_scene")

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "SC-005",
        "every fault of a node is noticed and named right, its processes and memory are gone, others lose nothing",
        "18 faults × 7 phases of a node's life × 5 places of a graph, where they make sense, beside a busy session",
    ),
]
ENDED_LATE = "ended with killed by signal 15 while the session stopped"
SAMPLE = set(matrix.sample())


@pytest.fixture(scope="module")
def stage(px: Any) -> Iterator[Any]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")  # nobody computes, and there are many nodes to start
        stage = crash_stage.Stage(px, runner, MultiprocessConfig(**crash_scene.CONFIG))
        stage.run(stage.open())
        yield stage
        stage.run(stage.close())


@pytest.fixture
def prepare(stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """``prepare(scenario)`` gives the Scene; the fixture does not keep it, and what it maps, alive."""

    def refuse() -> Path:
        raise PermissionError("not in this test")

    def make(scenario: Any) -> Any:
        # The same limit everywhere; test_memory_limit.py has both.
        monkeypatch.setattr(cgroup, "_delegated_group", refuse)
        scene = crash_scene.Scene(stage, scenario, tmp_path)
        if scenario.phase == matrix.STARTING and scenario.fault != "memory limit":
            (tmp_path / "sitecustomize.py").write_text(scene.sitecustomize())
            monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        return scene

    return make


def scenarios(*phases: str) -> Any:
    chosen = [
        pytest.param(scenario, id=str(scenario), marks=[] if scenario in SAMPLE else pytest.mark.long)
        for scenario in matrix.everything()
        if scenario.phase in phases
    ]
    return pytest.mark.parametrize("scenario", chosen)


@scenarios(matrix.STARTING, matrix.LOADING)
def test_before_it_is_ready(stage: Any, prepare: Any, scenario: Any, ledger: Any) -> None:
    async def play(scene: Any) -> None:
        error, ending = await scene.initialize(), scene.scenario.ending
        if isinstance(ending, matrix.Nothing):
            assert error is None, error
            await scene.session.start()
            await goes_on(scene)
        else:
            assert scene.session.status is SessionStatus.ERROR
            if isinstance(ending, matrix.Crash):
                is_the_crash(scene, error, ledger)
            elif isinstance(ending, matrix.Refused):
                assert isinstance(error, NodeInitializationError), error
                assert error.node_id == scene.victim and ending.says in error.reason
            else:
                assert isinstance(error, InitializationTimeout), error
                assert f"{scene.victim!r} ({scene.scenario.phase}, " in str(error)
        await is_over(scene, ledger)

    stage.play(play, prepare(scenario))


@scenarios(*matrix.RUNNING)
def test_while_it_runs(stage: Any, prepare: Any, scenario: Any, ledger: Any) -> None:
    async def play(scene: Any) -> None:
        assert await scene.initialize() is None
        await scene.session.start()
        await scene.reach_phase()
        await scene.strike()
        await AFTERWARDS[type(scene.scenario.ending)](scene, ledger)
        await is_over(scene, ledger)

    stage.play(play, prepare(scenario))


async def everybody_hears(scene: Any, ledger: Any) -> None:
    errors = await asyncio.gather(*scene.calls, return_exceptions=True)
    is_the_crash(scene, errors[0], ledger)
    assert all(error is errors[0] for error in errors), errors
    for call in (scene.session.send("source", scene.px.text("x")), scene.session.receive("sink")):
        with pytest.raises(ProcessCrashError) as caught:
            await call
        assert caught.value is errors[0]


async def one_message_fails(scene: Any, ledger: Any) -> None:
    await scene.px.until(lambda: scene.failures)
    (failure,) = scene.failures
    assert (failure.node_id, failure.sequence) == (scene.victim, 0)
    assert scene.scenario.ending.says in failure.reason
    await goes_on(scene)


async def nothing_happens(scene: Any, ledger: Any) -> None:
    await scene.px.until(lambda: len(scene.living()) > len(scene.pids))
    if scene.scenario.phase == matrix.FULL:
        await scene.session.interrupt()
    await goes_on(scene)


async def it_sticks(scene: Any, ledger: Any) -> None:
    await scene.px.until(lambda: scene.px.sticks(scene.pids[scene.victim]))
    assert scene.session.status is SessionStatus.RUNNING
    await scene.stop()
    found = last_errors(scene)  # of those behind it too: nobody tells them that the stream has ended
    assert scene.victim in found and set(found.values()) == {ENDED_LATE}


async def whoever_looks_says_so(scene: Any, ledger: Any) -> None:
    async def keep_sending() -> None:
        while True:
            await scene.session.send(scene.victim if phase == matrix.FULL else "source", scene.px.text("x"))

    await scene.px.until(scene.struck)
    phase = scene.scenario.phase
    at_rest = phase in (matrix.IDLE, matrix.RECEIVING)
    (error,) = await asyncio.gather(scene.flows() if at_rest else keep_sending(), return_exceptions=True)
    if isinstance(error, ProcessCrashError):
        assert error.exit_code == 4 and "ChannelCorruptedError: " in str(error)
        assert error.node_id in crash_scene.neighbours(scene.victim)
    else:
        # An empty channel works on when both sides have written their positions before they looked at the other's.
        assert isinstance(error, ChannelCorruptedError) or (at_rest and error is None), error
    assert not scene.failures


AFTERWARDS = {
    matrix.Crash: everybody_hears,
    matrix.Failed: one_message_fails,
    matrix.Nothing: nothing_happens,
    matrix.Stuck: it_sticks,
    matrix.Corrupted: whoever_looks_says_so,
}


@scenarios(matrix.STOPPING)
def test_while_it_stops(stage: Any, prepare: Any, scenario: Any, ledger: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def play(scene: Any) -> None:
        assert await scene.initialize() is None
        await scene.session.start()
        await scene.stop()
        assert scene.session.status is SessionStatus.STOPPED
        ending, found = scene.scenario.ending, last_errors(scene)
        if isinstance(ending, matrix.Crash):
            ways = {f"ended with {how(*way)} while the session stopped": says for way, says in ending.ways().items()}
            assert list(found) == [scene.victim]
            assert f"node {scene.victim!r} {found[scene.victim]}" in caplog.text
            assert ways[found[scene.victim]] in caplog.text
        elif isinstance(ending, matrix.Stuck):
            assert scene.victim in found and set(found.values()) == {ENDED_LATE}
            assert re.search(rf"nodes \[.*{scene.victim!r}.*\] did not stop within", caplog.text)
        elif isinstance(ending, matrix.Corrupted):
            assert "killed by signal 11" not in str(found)
        else:
            assert not found
            assert not isinstance(ending, matrix.Complaint) or ending.says in caplog.text
        await is_over(scene, ledger)

    stage.play(play, prepare(scenario))
    caplog.clear()


# --- what is checked in all of them ---


def how(code: int, number: int | None) -> str:
    return f"exit code {code}" if number is None else f"killed by signal {number}"


def is_the_crash(scene: Any, error: BaseException | None, ledger: Any) -> None:
    """Everything is gone when a call raises it."""
    assert not [pid for pid in scene.pids.values() if scene.px.exists(pid)]
    assert isinstance(error, ProcessCrashError), error
    assert error.node_id == scene.victim
    says = scene.scenario.ending.ways()[error.exit_code, error.signal]
    assert says in str(error)
    assert [seen for _, seen in scene.crashes] == scene.stage.crashes == [error]
    ledger.took("detection, ms", scene.detection_ms, p95_at_most=10)


def last_errors(scene: Any) -> dict[str, str]:
    reports = scene.session.get_status().nodes
    return {node_id: report.last_error for node_id, report in reports.items() if report.last_error is not None}


async def goes_on(scene: Any) -> None:
    """The pipeline is as it was, and stops as usual."""
    await scene.flows()
    known = last_errors(scene)
    await scene.stop()
    assert last_errors(scene) == known


async def is_over(scene: Any, ledger: Any) -> None:
    """Nothing of it is left, and the session beside it has lost nothing."""
    if not isinstance(scene.scenario.ending, matrix.Crash) or scene.scenario.phase == matrix.STOPPING:
        assert not scene.stage.crashes or isinstance(scene.scenario.ending, matrix.Corrupted)
    await scene.session.cleanup()
    assert scene.session.status is SessionStatus.STOPPED
    assert scene.session.pids == {}
    # They were killed before; when the kernel has taken them down is the kernel's business.
    await scene.px.until(lambda: not scene.living())
    ledger.count("scenarios")
    bystander = scene.stage.bystander
    ledger.count("messages of the session beside", await bystander.catch_up())
    ledger.lose(bystander.lost)
    assert not bystander.lost and bystander.goes_on


def test_the_sample_has_every_pair(ledger: Any) -> None:
    def pairs(chosen: Any) -> set[tuple[str, str]]:
        return {pair for scenario in chosen for pair in scenario.pairs}

    assert pairs(matrix.sample()) == pairs(matrix.everything())
    assert len(matrix.sample()) >= 120
    left_out = {fault for fault, phases in matrix.ENDINGS.items() if len(phases) < len(matrix.PHASES)}
    assert left_out == set(matrix.WHY_NOT)
