"""What may be given as a pipeline, and that all of it arrives in the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import remotemedia_v1_pb2 as pb

from remotemedia.client import PipelineClient
from remotemedia.client._manifest import remote_plan
from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline, PipelineError
from remotemedia.service._manifests import BadRequest, session_plan
from remotemedia.service.config import ServiceConfig

pytestmark = pytest.mark.usefixtures("leak_check")

text = RuntimeData.text

CONFIG = {"whole": 1, "float": 1.0, "big": 2**53 + 1, "none": None, "list": [1, {"a": "zwölf"}], "text": "1"}


async def told_config(client: PipelineClient, pipeline: Any) -> Any:
    result = await client.execute(pipeline, {"n.0": text("tell")})
    return json.loads(result.outputs["n.0"][0].payload)["config"]


def test_params_arrive_as_they_were(px: Any, service: Any, tmp_path: Path) -> None:
    pipeline = Pipeline().add_node("t-config", "n.0", CONFIG, memory_limit_bytes=1 << 30)
    assert remote_plan(pipeline, None).message.nodes[0].memory_limit_bytes == 1 << 30
    file = tmp_path / "pipeline.json"
    file.write_text(json.dumps(pipeline.to_manifest()))

    async def main() -> None:
        async with PipelineClient(service.target) as client:
            for source in (pipeline, pipeline.to_manifest(), file, str(file), file.read_text()):
                config = await told_config(client, source)
                assert config == CONFIG
                assert type(config["float"]) is float and type(config["whole"]) is int

    px.run(main())


def test_a_nodes_own_python_and_variables_are_sent() -> None:
    pipeline = Pipeline().add_node(
        "t-config", "a", python={"requirements": ["x", "y"], "version": "3.12"}, env={"A": "b"}
    )
    pipeline.add_node("t-config", "b", python={"venv_path": "/v"}).add_node("t-config", "c")
    a, b, c = remote_plan(pipeline, None).message.nodes
    assert (list(a.python.requirements), a.python.version, dict(a.env)) == (["x", "y"], "3.12", {"A": "b"})
    assert (b.python.venv_path, b.HasField("python"), c.HasField("python")) == ("/v", True, False)


def test_retries_and_failure_marks_arrive() -> None:
    pipeline = Pipeline().add_node("t-echo", "a", retries=3, failure_marks=True).add_node("t-echo", "b")
    message = remote_plan(pipeline, None).message
    plan = session_plan(message, pb.ResourceLimits(), MultiprocessConfig(), ServiceConfig())
    assert [(node.retries, node.failure_marks) for node in plan.pipeline.nodes] == [(3, True), (0, False)]
    message.nodes[0].retries = 101
    with pytest.raises(BadRequest, match="retries: must be a whole number from 0 to 100, not 101"):
        session_plan(message, pb.ResourceLimits(), MultiprocessConfig(), ServiceConfig())


def test_further_inputs_outputs_and_ports(px: Any, service: Any) -> None:
    pipeline = Pipeline().add_node("t-ports", "a.b", {"ports": ["left", "right"]}).add_node("t-tag", "c")
    pipeline.connect("a.b", "left", "c", "one").connect("a.b", "right", "c", "two").add_output("a.b").add_input("c")

    async def main() -> None:
        async with PipelineClient(service.target) as client:
            result = await client.execute(pipeline, {"a.b": text("x"), "c": text("y")})
            assert set(result.outputs) == {"a.b", "c"}
            assert [data.payload for data in result.outputs["a.b"]] == ["x on left", "x on right"]
            expected = {"x on left>c.one", "x on right>c.two", "y>c.input"}
            assert {data.payload for data in result.outputs["c"]} == expected
            assert result.node_results == {"a.b": "SUCCESS", "c": "SUCCESS"}
            assert result.metrics.wall_time_ms > 0

    px.run(main())


def test_many_outputs_of_one_node_are_in_order(px: Any, service: Any) -> None:
    async def main() -> None:
        async with PipelineClient(service.target) as client:
            result = await client.execute(px.chain(("t-repeat", {"times": 12})), {"n0": text("x")})
            expected = [*(f"x.{n}" for n in range(12)), "one more", "the last"]
            assert [data.payload for data in result.outputs["n0"]] == expected
            assert (await client.execute(px.chain("t-echo"))).outputs == {}

    px.run(main())


@pytest.mark.parametrize(
    ("manifest", "inputs", "outputs"),
    [
        ({"connections": []}, "a b a.x", "a b a.x"),
        ({"connections": [{"from": "a", "to": "b"}]}, "a a.x", "b a.x"),
        ({"connections": [{"from": "a.x", "to": "b"}]}, "a a.x", "a b"),
        ({"connections": [{"from": "a.y", "to": "b.z"}]}, "a a.x", "b a.x"),
        ({"connections": [{"from": "a.x.y", "to": "b"}]}, "a a.x", "a b"),
        ({"connections": [{"from": "a", "to": "b"}], "inputs": ["b"], "outputs": ["a"]}, "a b a.x", "a b a.x"),
    ],
)
def test_which_nodes_are_fed_and_read(manifest: dict[str, Any], inputs: str, outputs: str) -> None:
    nodes = [{"id": node_id, "node_type": "no such type here"} for node_id in ("a", "b", "a.x")]
    plan = remote_plan({"version": "v1", "nodes": nodes, **manifest}, None)
    assert (plan.inputs, plan.outputs) == (tuple(inputs.split()), tuple(outputs.split()))


@pytest.mark.parametrize("config", [{"channel_capacity": 7}, MultiprocessConfig(channel_capacity=7)])
def test_settings_go_over_those_of_the_manifest(config: Any) -> None:
    settings = {"channel_capacity": 3, "init_timeout_secs": 2.5}
    manifest = {
        "version": "v1",
        "metadata": {"name": "p", "multiprocess": settings},
        "nodes": [{"id": "a", "node_type": "x"}],
    }
    metadata = remote_plan(manifest, config).message.metadata
    assert dict(metadata.multiprocess) == {"channel_capacity": 7, "init_timeout_secs": 2.5}
    assert metadata.name == "p"
    assert not remote_plan(Pipeline().add_node("x", "a"), MultiprocessConfig()).message.metadata.HasField(
        "multiprocess"
    )


def test_no_number_for_json() -> None:
    with pytest.raises(PipelineError, match="nan is not a number that JSON has"):
        remote_plan({"version": "v1", "nodes": [{"id": "a", "node_type": "x", "params": {"p": float("nan")}}]}, None)
