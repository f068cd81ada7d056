"""Random manifests: each is refused with an error that says what and where, or runs; nothing is left of any."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import remotemedia_v1_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.errors import ResourceLimitError
from remotemedia.service._errors import response_of
from remotemedia.service._manifests import BadRequest, SessionPlan, session_plan
from remotemedia.service.config import ServiceConfig

pytestmark = pytest.mark.usefixtures("leak_check", "px")

EXECUTED, RUNNING_SHARE = 1000, 0.03
ALONE = 10_000
FIRST_SEED = 0
PLACES = ("version", "nodes", "connections", "connection ", "metadata", "inputs", "outputs", "nested too deep")


def check(fuzzed: Any, error: Any, seed: int) -> None:
    """That it says what is wrong, and where."""
    told = f"seed {seed}, {fuzzed.changes}: {error}"
    assert fuzzed.wrong, told
    assert error.error_type in (pb.ERROR_TYPE_VALIDATION, pb.ERROR_TYPE_RESOURCE_LIMIT), told
    assert not error.stack_trace, told
    ids = {node.id for node in fuzzed.manifest.nodes}
    assert error.failing_node_id in ids | {""}, told
    if fuzzed.to_blame is not None:
        assert error.failing_node_id == fuzzed.to_blame or "nested too deep" in error.message, told
    if error.context:  # about params: JSON, for programs
        assert {report["node_id"] for report in json.loads(error.message)} <= ids, told
    else:
        names = any(repr(node_id)[1:-1] in error.message for node_id in ids - {""})
        assert names or any(place in error.message for place in PLACES), told
    assert len(error.message) < 100_000, told


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


async def stream_until_end(client: Any, manifest: Any) -> Any:
    """The error, or ``closed``, that a stream ends with."""
    stream = await client.open(manifest)
    await stream.call.done_writing()
    last = (await stream.finish())[-1]
    assert last.WhichOneof("response") in ("error", "closed"), last
    if last.WhichOneof("response") == "error":
        assert last.error.message.startswith(("Validation error: ", "Resource limit exceeded: ")), last
        last.error.message = last.error.message.partition(": ")[2]
    return last


def test_by_a_service(px: Any, sv: Any, fuzz: ModuleType) -> None:
    async def main() -> None:
        ran, before = 0, children()
        async with sv.serving({"shm_segment_size": 1 << 20}) as client:
            for seed in range(FIRST_SEED, FIRST_SEED + EXECUTED):
                fuzzed = fuzz.manifest(seed, RUNNING_SHARE)
                answer = await (
                    client.execute(fuzzed.manifest) if seed % 2 else stream_until_end(client, fuzzed.manifest)
                )
                if answer.HasField("error"):
                    check(fuzzed, answer.error, seed)
                else:
                    ran += 1
                    assert not fuzzed.wrong, f"seed {seed}: {fuzzed.changes} ran"
                assert children() == before, f"seed {seed}: {fuzzed.changes} left a process"
            assert 10 < ran < 100
            await client.result(sv.chain("t-echo"), {"n0": "still here"})

    px.run(main(), patience_secs=100)


def test_by_the_checks_alone(fuzz: ModuleType) -> None:
    base, service = MultiprocessConfig(), ServiceConfig()
    for seed in range(FIRST_SEED, FIRST_SEED + ALONE):
        fuzzed = fuzz.manifest(seed, 0.2)
        try:
            plan = session_plan(fuzzed.manifest, pb.ResourceLimits(), base, service)
        except (BadRequest, ResourceLimitError) as error:
            check(fuzzed, response_of(error), seed)
        else:
            assert not fuzzed.wrong, f"seed {seed}: {fuzzed.changes} passed"
            assert plan.config.spin_us <= base.spin_us


# --- not from a manifest that runs, but from anything ------------------------------------------------------------

names = st.sampled_from(["n0", "n1", "t-echo", "t-strict", "n0.x", "session", ""]) | st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(
    st.sampled_from(["factor", "spin_us", "venv_path"]) | st.text(max_size=5), json_values, max_size=3
)
texts_of_json = st.dictionaries(names, json_values.map(json.dumps) | st.text(max_size=8), max_size=3)
nodes = st.builds(
    pb.NodeManifest,
    id=names,
    node_type=names,
    params_json=st.just("") | objects.map(json.dumps) | st.text(max_size=8),
    params=st.none() | objects,
    params_map=texts_of_json,
    memory_limit_bytes=st.integers(0, 2**64 - 1),
    python=st.none() | st.builds(pb.NodePython, executable=names, requirements=st.lists(names, max_size=2)),
    env=st.dictionaries(names, names, max_size=2),
    retries=st.integers(0, 2**32 - 1),
    failure_marks=st.booleans(),
)
connections = st.fixed_dictionaries({"from": names, "to": names, "from_port": names, "to_port": names})
manifests = st.builds(
    pb.PipelineManifest,
    version=st.just("v1") | st.text(max_size=3),
    metadata=st.fixed_dictionaries(
        {}, optional={"name": names, "multiprocess": objects, "multiprocess_map": texts_of_json}
    ),
    nodes=st.lists(nodes, max_size=4),
    connections=st.lists(connections.map(lambda entry: pb.Connection(**entry)), max_size=4),
    inputs=st.lists(names, max_size=2),
    outputs=st.lists(names, max_size=2),
)


@settings(max_examples=400)
@given(made=manifests, limit=st.integers(0, 2**64 - 1))
def test_of_anything(made: Any, limit: int) -> None:
    try:
        plan = session_plan(made, pb.ResourceLimits(max_memory_bytes=limit), MultiprocessConfig(), ServiceConfig())
    except (BadRequest, ResourceLimitError) as error:
        told = response_of(error)
        assert told.message and told.error_type in (pb.ERROR_TYPE_VALIDATION, pb.ERROR_TYPE_RESOURCE_LIMIT)
    else:
        assert isinstance(plan, SessionPlan)
