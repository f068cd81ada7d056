"""The published JSON Schema: valid, the same as what the loader accepts, and no other settings than the class."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from remotemedia.core.multiprocessing import MultiprocessConfig
from remotemedia.manifest import find_problems, manifest_schema

DATA = Path(__file__).parent / "data"
EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = manifest_schema()["$defs"]["multiprocess"]["properties"]


def valid(value):
    return Draft202012Validator(manifest_schema()).is_valid(value)


def test_it_is_a_schema():
    Draft202012Validator.check_schema(manifest_schema())
    assert manifest_schema()["$schema"].endswith("2020-12/schema")


def test_its_examples_are_right():
    for example in manifest_schema()["examples"]:
        assert valid(example)
        assert find_problems(example) == []


@pytest.mark.parametrize("path", [*sorted(DATA.glob("*.json")), *sorted(EXAMPLES.glob("*.yaml"))], ids=lambda p: p.name)
def test_manifests_that_are_right(path):
    assert valid(yaml.safe_load(path.read_text()))
    assert find_problems(path) == []


NODE = {"id": "a", "node_type": "Free"}


@pytest.mark.parametrize(
    "change",
    [
        {"version": "v2"},
        {"nodes": []},
        {"nodes": [NODE | {"parms": {}}]},
        {"nodes": [{"id": "a"}]},
        {"nodes": [NODE | {"id": ""}]},
        {"nodes": [NODE | {"id": "a\0"}]},
        {"nodes": [NODE | {"executor": "native"}]},
        {"nodes": [NODE | {"memory_limit_bytes": 5}]},
        {"connections": [{"from": "a"}]},
        {"connections": [{"from": "a", "to": "b", "port": "x"}]},
        {"outputs": ["a", "a"]},
        {"more": 1},
        {"metadata": {"name": 5}},
        {"metadata": {"multiprocess": {"chanel_capacity": 5}}},
        {"metadata": {"multiprocess": {"channel_capacity": 0}}},
    ],
    ids=str,
)
def test_manifests_that_are_wrong(change):
    manifest = {"version": "v1", "nodes": [NODE]}
    assert valid(manifest)
    assert not valid(manifest | change)
    assert find_problems(manifest | change)


def test_it_has_the_settings_of_the_class():
    fields = {field.name: field for field in dataclasses.fields(MultiprocessConfig)}
    assert SETTINGS.keys() == MultiprocessConfig.PIPELINE_RULES.keys()
    for name, field in fields.items():
        if "default" in SETTINGS.get(name, ()):
            assert SETTINGS[name]["default"] == field.default


# Of each type one value, and both sides of every bound there is.
VALUES = [None, True, "", "x", [], ["x"], [""], {}, 0.5, -1, 0, 1, 100, 65_535, 65_536, 1 << 20, (1 << 20) + 1]
VALUES += [1_000_000, 1_000_001, (1 << 20) - 1, 1 << 46, (1 << 46) + 1, 1 << 60, (1 << 60) + 1]


@pytest.mark.parametrize("name", SETTINGS)
def test_it_takes_the_values_that_the_class_takes(name):
    for value in VALUES:
        try:
            MultiprocessConfig(**{name: value})
            right = True
        except (TypeError, ValueError):
            right = False
        manifest = {"version": "v1", "nodes": [NODE], "metadata": {"multiprocess": {name: value}}}
        assert valid(manifest) is right, value
        assert (find_problems(manifest) == []) is right, value


def test_every_key_tells_an_editor_what_it_is():
    def check(schema, at):
        for key, inner in schema.get("properties", {}).items():
            inner = manifest_schema()["$defs"][inner["$ref"].split("/")[-1]] if inner.keys() == {"$ref"} else inner
            assert inner.get("title") or inner.get("description"), f"{at}.{key}"
            check(inner, f"{at}.{key}")

    schema = manifest_schema()
    check(schema, "")
    for name, inner in schema["$defs"].items():
        check(inner, name)
    assert json.loads(json.dumps(schema)) == schema
