"""Params and settings in each of the forms that clients have for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import remotemedia_v1_pb2 as pb

from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.service._manifests import BadRequest, session_plan
from remotemedia.service.config import ServiceConfig

pytestmark = pytest.mark.usefixtures("leak_check")

NESTED = {"chunk_size": 1024, "gain": 0.5, "deep": {"list": [1, "2", None, True, {"x": -3}]}, "none": None, "": "empty"}

# What a node manifest has, and which params the node gets.
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "none": ({}, {}),
    "struct": ({"params": NESTED}, NESTED),
    "empty_struct": ({"params": {}}, {}),
    "json": ({"params_json": json.dumps(NESTED)}, NESTED),
    "json_keeps_floats": ({"params_json": '{"a": 1.0, "b": 1}'}, {"a": 1.0, "b": 1}),
    "map": (
        {
            "params_map": {
                "size": "1024",
                "gain": "0.5",
                "on": "true",
                "off": "null",
                "language": "en",
                "list": "[1, {}]",
                "nan": "NaN",
                "empty": "",
                "quoted": '"7"',
            }
        },
        {
            "size": 1024,
            "gain": 0.5,
            "on": True,
            "off": None,
            "language": "en",
            "list": [1, {}],
            "nan": "NaN",
            "empty": "",
            "quoted": "7",
        },
    ),
}


def test_each_form_of_params(px: Any, sv: Any) -> None:
    async def main() -> None:
        nodes = [pb.NodeManifest(id=name, node_type="t-config", **form) for name, (form, _) in FORMS.items()]
        async with sv.serving() as client:
            result = await client.result(sv.graph(nodes), dict.fromkeys(FORMS, "tell"))
            for name, (_, expected) in FORMS.items():
                got = json.loads(sv.said(result.data_outputs[name]))["config"]
                # As text: 1 and 1.0 are equal, and a node may care.
                assert json.dumps(got, sort_keys=True) == json.dumps(expected, sort_keys=True), name

    px.run(main())


def test_integral_doubles_are_integers(px: Any, sv: Any) -> None:
    """A Struct has no integers, and 1e300 is one, too."""

    async def main() -> None:
        made = pb.NodeManifest(id="a", node_type="t-config")
        made.params.update({"size": 1024.0, "huge": 1e300, "half": 0.5, "negative": -0.0})
        async with sv.serving() as client:
            result = await client.result(sv.graph([made]), {"a": "tell"})
            got = json.loads(sv.said(result.data_outputs["a"]))["config"]
            assert {key: type(value) for key, value in got.items()} == {
                "size": int,
                "huge": int,
                "half": float,
                "negative": int,
            }
            for number in (float("nan"), float("inf"), float("-inf")):
                made.params.update({"size": number})
                error = await client.error(sv.graph([made]), {"a": "tell"})
                assert error.error_type == pb.ERROR_TYPE_VALIDATION and error.failing_node_id == "a", error

    px.run(main())


def test_what_the_operator_allows(px: Any, sv: Any, tmp_path: Path) -> None:
    async def main() -> None:
        python, folder = sys.executable, str(tmp_path)
        async with sv.serving(allowed_pythons=[python], allowed_extra_paths=[folder]) as client:
            manifest = sv.chain("t-echo", python_executable=python, extra_paths=[folder])
            await client.result(manifest, {"n0": "x"})
            error = await client.error(sv.chain("t-echo", extra_paths=[folder, folder + "/.."]))
            assert error.message == (
                f"Manifest validation error: metadata.multiprocess.extra_paths: '{folder}/..' is not allowed by this "
                f"service (allowed: {folder})"
            )

    px.run(main())


def test_a_nodes_own_python_is_the_operators(sv: Any) -> None:
    def problems(service: ServiceConfig | None = None, /, **asked: Any) -> str:
        made = sv.chain("t-echo")
        if env := asked.pop("env", None):
            made.nodes[0].env.update(env)
        if asked:
            made.nodes[0].python.CopyFrom(pb.NodePython(**asked))
        try:
            plan = session_plan(made, pb.ResourceLimits(), MultiprocessConfig(), service or ServiceConfig())
        except BadRequest as error:
            return str(error).removeprefix("Manifest validation error: node 'n0': ")
        assert (plan.pipeline.nodes[0].python, plan.pipeline.nodes[0].env) == (asked or None, env or {})
        return ""

    allowing = ServiceConfig(
        allowed_pythons=["python3.12"], allowed_venvs=["/v"], allowed_env=["A"], allow_requirements=True
    )
    for asked, said in [
        ({"executable": "python3.12"}, "executable 'python3.12' is not allowed by this service"),
        ({"venv_path": "/v"}, "venv_path '/v' is not allowed by this service"),
        ({"requirements": ["x"], "version": "3.12"}, "this service makes no environments for clients"),
        ({"env": {"A": "b"}}, "the environment variable 'A' is not allowed by this service"),
    ]:
        assert problems(**asked) == said
        assert problems(allowing, **asked) == ""
    assert problems(allowing, venv_path="/v/..") == "venv_path '/v/..' is not allowed by this service (allowed: /v)"
    assert (
        problems(allowing, env={"B": "b"}) == "the environment variable 'B' is not allowed by this service (allowed: A)"
    )


def test_a_python_that_is_in_force_anyway(px: Any, sv: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under none of its names is it the client's choice."""
    monkeypatch.setenv("PATH", "/nowhere")

    async def main() -> None:
        async with sv.serving() as client:
            for python in ("python", "python3", sys.executable):
                await client.result(sv.chain("t-echo", python_executable=python), {"n0": "x"})
            for python in ("python3.12", "./python", "/usr/bin/python3"):
                error = await client.error(sv.chain("t-echo", python_executable=python))
                assert error.message == (
                    f"Manifest validation error: metadata.multiprocess.python_executable: {python!r} is not allowed by "
                    f"this service (allowed: python)"
                )

    px.run(main())


def test_what_is_in_force_stays(sv: Any) -> None:
    """A bare python is neither the service's own interpreter where the operator chose one, nor a way out of a venv."""
    own = MultiprocessConfig(python_executable="/opt/python", venv_path="/opt/venv", extra_paths=["/opt/nodes"])

    def config_for(allowed: tuple[str, ...] = (), **asked: Any) -> tuple[str, str | None]:
        service = ServiceConfig(allowed_pythons=allowed)
        config = session_plan(sv.chain("t-echo", **asked), pb.ResourceLimits(), own, service).config
        return config.python_executable, config.venv_path

    for python in ("python", "python3", "/opt/python"):
        assert config_for(python_executable=python) == ("/opt/python", "/opt/venv")
    assert config_for(("python", "python3"), python_executable="python") == ("/opt/python", "/opt/venv")
    assert config_for(venv_path="/opt/venv", extra_paths=["/opt/nodes"]) == ("/opt/python", "/opt/venv")
    # What the operator allows is a choice, also where it is what would run without the venv.
    assert config_for(("/opt/python",), python_executable="/opt/python") == ("/opt/python", None)
    for asked in (
        {"python_executable": sys.executable},
        {"venv_path": "/opt"},
        {"extra_paths": ["/opt/nodes", "/opt"]},
    ):
        with pytest.raises(BadRequest, match="is not allowed by this service"):
            config_for(**asked)
