"""Manifests that are wrong, one for each kind of mistake: all refused with place and line."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.multiprocessing import ManifestError, Pipeline
from remotemedia.manifest import find_problems, load_manifest

# Line 1 is the version; nodes begin in line 3, what {more} stands for in line 6.
YAML = """version: v1
nodes:
- {{id: a, node_type: Free}}
- {{id: b, node_type: Free}}
connections: [{{from: a, to: b}}]
{more}"""


def wrong_nodes(*nodes: str) -> str:
    return "version: v1\nnodes:\n" + "".join(f"- {node}\n" for node in nodes)


def connected(*connections: str) -> str:
    """Nodes a and b that declare nothing, d and e that declare all, s that gives nothing; connections from line 8."""
    nodes = ["{id: a, node_type: Free}", "{id: b, node_type: Free}", "{id: d, node_type: Declared, params: {path: x}}"]
    nodes += ["{id: s, node_type: Sink}"]
    return wrong_nodes(*nodes) + "connections:\n" + "".join(f"- {connection}\n" for connection in connections)


def declared(params: str) -> str:
    return f"version: v1\nnodes:\n- id: d\n  node_type: Declared\n  params:\n    {params}\n"


def settings(text: str) -> str:
    return f"version: v1\nnodes: [{{id: a, node_type: Free}}]\nmetadata:\n  multiprocess:\n    {text}\n"


CASES: dict[str, tuple[str, int | None, str, str]] = {
    # name: (text, line, place, message)
    # --- the text ---
    "empty": ("\n", None, "", "there is nothing in it"),
    "json-syntax": ('{"version": "v1",\n"nodes": [}', 2, "", "it is not JSON: "),
    "json-cut-off": ('{"version": "v1",\n"nodes": [', 2, "", "it is not JSON: "),
    "json-after-the-end": ('{"version": "v1"}\n}', 2, "", "it is not JSON: Extra data"),
    "yaml-syntax": ("version: v1\nnodes: [", 2, "", "it is not YAML: "),
    "yaml-indentation": ("version: v1\n  nodes: x", 2, "", "it is not YAML: "),
    "yaml-tab": ("version: v1\nnodes:\n\t- id: a", 3, "", "it is not YAML: "),
    "yaml-control-character": ("version: v1\nnodes: \x01", 2, "", "a control character (code 1)"),
    "two-documents": ("version: v1\n---\nversion: v1\n", 2, "", "it is not YAML: expected a single document"),
    "deep": ("[\n" * 5000, None, "", "it is nested too deep"),
    "deep-json": ('{"a":' * 50_000 + "\n", None, "", "it is nested too deep"),
    "key-twice": (YAML.format(more="version: v1"), 6, "version", "key 'version' is given twice (first in line 1)"),
    "key-twice-json": (
        '{"version": "v1",\n"nodes": [{"id": "a",\n"id": "b", "node_type": "Free"}]}',
        3,
        "nodes[0].id",
        "key 'id' is given twice (first in line 2)",
    ),
    "tag": (YAML.format(more="metadata: !!set {a}"), 6, "metadata", "the tag !!set is not allowed in a manifest"),
    "own-tag": (YAML.format(more="metadata: {x: !python/name:os 1}"), 6, "metadata.x", "the tag !python/name:os is"),
    "tag-that-lies": (YAML.format(more="metadata: {x: !!int one}"), 6, "metadata.x", "'one' cannot be read as int"),
    "merge-key": (YAML.format(more="metadata: {<<: {name: x}}"), 6, "metadata['<<']", "merge keys (<<) are not"),
    "key-is-a-list": (YAML.format(more="metadata: {? [a, b] : c}"), 6, "metadata", "a key must be one word"),
    "alias-in-itself": (YAML.format(more="metadata: &m {x: *m}"), 6, "metadata.x", "stands for what it is in"),
    "nan": (YAML.format(more="metadata: {x: .nan}"), 6, "metadata.x", "nan is not a number that JSON has"),
    "infinity-json": (
        '{"version": "v1", "nodes": [\n{"id": "a", "node_type": "Free", "params": {\n"x": 1e999}}]}',
        3,
        "nodes[0].params.x",
        "inf is not a number that JSON has",
    ),
    # --- the shape ---
    "not-a-mapping": ("- version: v1\n", 1, "", "must be a mapping, not ["),
    "no-version": ("\nnodes: [{id: a, node_type: Free}]", 1, "version", "'version' is missing"),
    "other-version": ("nodes: [{id: a, node_type: Free}]\nversion: v2", 2, "version", 'must be "v1", not "v2"'),
    "no-nodes": ("version: v1\n", 1, "nodes", "'nodes' is missing"),
    "nodes-empty": ("version: v1\nnodes: []", 2, "nodes", "must not be empty"),
    "nodes-no-list": ("version: v1\nnodes: {id: a}", 2, "nodes", 'must be a list, not {"id": "a"}'),
    "unknown-key": (YAML.format(more="conections: []"), 6, "conections", "did you mean 'connections'?"),
    "node-no-mapping": (wrong_nodes("{id: a, node_type: Free}", "b"), 4, "nodes[1]", 'must be a mapping, not "b"'),
    "node-without-id": (wrong_nodes("{node_type: Free}"), 3, "nodes[0].id", "'id' is missing"),
    "node-without-type": (wrong_nodes("{id: a}"), 3, "nodes[0].node_type", "'node_type' is missing"),
    "id-no-string": (wrong_nodes("id: 7\n  node_type: Free"), 3, "nodes[0].id", "must be a string, not 7"),
    "id-empty": (wrong_nodes("node_type: Free\n  id: ''"), 4, "nodes[0].id", "must not be empty"),
    "id-with-nul": (wrong_nodes('node_type: Free\n  id: "a\\0"'), 4, "nodes[0].id", "must not have a NUL character"),
    "unknown-node-key": (
        wrong_nodes("id: a\n  node_type: Free\n  parms: {}"),
        5,
        "nodes[0].parms",
        "there is no key 'parms' here; did you mean 'params'?",
    ),
    "params-no-mapping": (
        wrong_nodes("id: a\n  node_type: Free\n  params: [1]"),
        5,
        "nodes[0].params",
        "must be a mapping, not [1]",
    ),
    "other-executor": (
        wrong_nodes("id: a\n  node_type: Free\n  executor: native"),
        5,
        "nodes[0].executor",
        'must be "python" or "multiprocess", not "native"',
    ),
    "python-no-mapping": (
        wrong_nodes("id: a\n  node_type: Free\n  python: python3"),
        5,
        "nodes[0].python",
        'must be a mapping or null, not "python3"',
    ),
    "python-two-ways": (
        wrong_nodes("id: a\n  node_type: Free\n  python:\n    executable: python3\n    venv_path: /v"),
        7,
        "nodes[0].python.venv_path",
        "python.venv_path of node 'a': must not stand beside executable: one of them is enough",
    ),
    "python-with-an-option-of-pip": (
        wrong_nodes("id: a\n  node_type: Free\n  python: {requirements: [--pre]}"),
        5,
        "nodes[0].python.requirements",
        "python.requirements of node 'a': must be a list of requirements as pip has them, such as "
        "\"faster-whisper>=1.1,<2\"; options are not among them, not ['--pre']",
    ),
    "env-no-text": (
        wrong_nodes("id: a\n  node_type: Free\n  env: {A: 1}"),
        5,
        "nodes[0].env",
        "env of node 'a' must be environment variables as strings by name",
    ),
    "memory-limit-a-fraction": (
        wrong_nodes("id: a\n  node_type: Free\n  memory_limit_bytes: 5.0e+8"),
        5,
        "nodes[0].memory_limit_bytes",
        "must be a whole number from 1048576 to 1152921504606846976 or null, not 500000000.0",
    ),
    "memory-limit-too-small": (
        wrong_nodes("id: a\n  node_type: Free\n  memory_limit_bytes: 512"),
        5,
        "nodes[0].memory_limit_bytes",
        "must be a whole number from 1048576 to 1152921504606846976 or null, not 512",
    ),
    "retries-too-many": (
        wrong_nodes("id: a\n  node_type: Free\n  retries: 101"),
        5,
        "nodes[0].retries",
        "must be a whole number from 0 to 100, not 101",
    ),
    "retries-null": (
        wrong_nodes("id: a\n  node_type: Free\n  retries: null"),
        5,
        "nodes[0].retries",
        "must be a whole number from 0 to 100, not null",
    ),
    "failure-marks-a-number": (
        wrong_nodes("id: a\n  node_type: Free\n  failure_marks: 1"),
        5,
        "nodes[0].failure_marks",
        "must be true or false, not 1",
    ),
    "connection-without-to": (connected("{from: a}"), 8, "connections[0].to", "'to' is missing"),
    "connection-no-mapping": (connected("a -> b"), 8, "connections[0]", 'must be a mapping, not "a -> b"'),
    "unknown-connection-key": (
        connected("from: a\n  to: b\n  port: x"),
        10,
        "connections[0].port",
        "there is no key 'port' here; did you mean",
    ),
    "name-no-string": (YAML.format(more="metadata: {name: 5}"), 6, "metadata.name", "must be a string, not 5"),
    "outputs-no-list": (YAML.format(more="outputs: a"), 6, "outputs", 'must be a list, not "a"'),
    "output-twice": (YAML.format(more="outputs: [a, a]"), 6, "outputs", "must not have the same twice"),
    # --- settings ---
    "settings-no-mapping": (
        "version: v1\nnodes: [{id: a, node_type: Free}]\nmetadata:\n  multiprocess: 5",
        4,
        "metadata.multiprocess",
        "must be settings by name, not 5",
    ),
    "unknown-setting": (
        settings("channel_capasity: 5"),
        5,
        "metadata.multiprocess.channel_capasity",
        "there is no key 'channel_capasity' here; did you mean 'channel_capacity'?",
    ),
    "setting-of-the-wrong-type": (
        settings("channel_capacity: '5'"),
        5,
        "metadata.multiprocess.channel_capacity",
        'must be a whole number from 1 to 1048576, not "5"',
    ),
    "impossible-setting": (
        settings("init_timeout_secs: 0"),
        5,
        "metadata.multiprocess.init_timeout_secs",
        "must be a positive number of seconds, not 0",
    ),
    # --- the graph ---
    "id-twice": (
        wrong_nodes("{id: a, node_type: Free}", "{id: a, node_type: Free}"),
        4,
        "nodes[1].id",
        "node id 'a' is used twice",
    ),
    "id-session": (wrong_nodes("{id: session, node_type: Free}"), 3, "nodes[0].id", "what channels call the session"),
    "unknown-type": (
        wrong_nodes("id: a\n  node_type: WisperNode"),
        4,
        "nodes[0].node_type",
        "Unknown node type 'WisperNode'; did you mean 'WhisperNode'",
    ),
    "unknown-from": (connected("from: x\n  to: b"), 8, "connections[0].from", "there is no node 'x'; the nodes are: a"),
    "unknown-to": (connected("from: a\n  to: x.in"), 9, "connections[0].to", "there is no node 'x.in'; the nodes are"),
    "unknown-input": (YAML.format(more="inputs: [b, x]"), 6, "inputs[1]", "input node 'x': there is no such node"),
    "unknown-output": (YAML.format(more="outputs: [x]"), 6, "outputs[0]", "output node 'x': there is no such node"),
    "cycle": (
        connected("{from: a, to: b}", "{from: b, to: a}"),
        9,
        "connections[1]",
        "the connections form a cycle: a -> b -> a",
    ),
    "cycle-of-one": (connected("{from: a, to: a}"), 8, "connections[0]", "the connections form a cycle: a -> a"),
    "connection-twice": (
        connected("{from: a, to: b}", "{from: a.output, to: b, to_port: input}"),
        9,
        "connections[1]",
        "connection a.output -> b.input is made twice",
    ),
    "two-ports-at-one-end": (
        connected("{from: a.x, from_port: y, to: b}"),
        8,
        "connections[0].from",
        "'a.x' names the port 'x', and from_port 'y': one of them is enough",
    ),
    "names-of-channels": (
        wrong_nodes("{id: session_to_x, node_type: Free}", "{id: x_to_session, node_type: Free}"),
        2,
        "nodes",
        "two channels would both be called",
    ),
    # --- what the nodes declare ---
    "param-of-the-wrong-type": (
        declared("path: x\n    size: big"),
        7,
        "nodes[0].params.size",
        "node 'd': param 'size' must be a whole number from 1 to 9, not 'big'",
    ),
    "param-out-of-range": (declared("path: x\n    size: 10"), 7, "nodes[0].params.size", "from 1 to 9, not 10"),
    "param-true-for-a-number": (declared("path: x\n    gain: true"), 7, "nodes[0].params.gain", "a number, not True"),
    "param-no-choice": (declared("path: x\n    mode: god"), 7, "nodes[0].params.mode", "must be 'fast' or 'good', not"),
    "param-word-for-a-flag": (declared("path: x\n    on: yes"), 7, "nodes[0].params.on", "true or false, not 'yes'"),
    "param-null": (declared("path: x\n    words: null"), 7, "nodes[0].params.words", "must be a list, not None"),
    "param-missing": (declared("size: 4"), 5, "nodes[0].params.path", "must be a non-empty string; it is missing"),
    "params-missing": (wrong_nodes("{id: d, node_type: Declared}"), 3, "nodes[0].params.path", "it is missing"),
    "unknown-param": (
        declared("path: x\n    sise: 4"),
        7,
        "nodes[0].params.sise",
        "node 'd': there is no param 'sise'; did you mean 'size'?",
    ),
    "param-where-none-is": (
        wrong_nodes("id: s\n  node_type: Sink\n  params: {x: 1}"),
        5,
        "nodes[0].params.x",
        "there is no param 'x'; it takes none",
    ),
    "unknown-output-port": (
        connected("from: d.word\n  to: b"),
        8,
        "connections[0].from",
        "node 'd' has no output port 'word'; did you mean 'words'?",
    ),
    "unknown-from-port": (
        connected("from: d\n  to: b\n  from_port: word"),
        10,
        "connections[0].from_port",
        "node 'd' has no output port 'word'; did you mean 'words'?",
    ),
    "unknown-input-port": (
        connected("from: a\n  to: d\n  to_port: x"),
        10,
        "connections[0].to_port",
        "node 'd' has no input port 'x'; its input ports are: 'sound', 'any'",
    ),
    "port-not-named": (
        connected("from: d\n  to: b"),
        8,
        "connections[0].from",
        "node 'd' has no output port 'output'; its output ports are: 'words', 'both'",
    ),
    "no-ports": (connected("{from: s, to: b}"), 8, "connections[0].from", "'s' has no output port 'output'; it has no"),
    "data-types": (
        connected("{from: d.words, to: d2.sound}").replace(
            "connections", "- {id: d2, node_type: Declared, params: {path: x}}\nconnections", 1
        ),
        9,
        "connections[0]",
        "TEXT cannot go to 'd2', whose port 'sound' takes AUDIO",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_mistake_is_one_problem_with_its_place(name: str) -> None:
    text, line, place, message = CASES[name]
    (problem,) = find_problems(text)
    assert (problem.line, problem.place) == (line, place)
    assert message in problem.message
    with pytest.raises(ManifestError) as caught:
        load_manifest(text)
    assert caught.value.problems == (problem,)


def test_a_file_is_named(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(YAML.format(more="outputs: [x]"))
    with pytest.raises(ManifestError, match=re.escape(f"{path}:6: outputs[0]: output node 'x': there is no such node")):
        Pipeline.from_manifest(path)


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("none.json", None, "none.json: it cannot be read: No such file or directory"),
        ("folder.json", ..., "folder.json: it cannot be read: Is a directory"),
        ("latin.yaml", b"version: v1\n# \xe9t\xe9\n", "latin.yaml:2: it is not UTF-8 text"),
        ("yaml.json", b"version: v1\n", "yaml.json:1: it is not JSON: Expecting value"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, name, raw, said) -> None:
    path = tmp_path / name
    if raw is ...:
        path.mkdir()
    elif raw is not None:
        path.write_bytes(raw)
    (problem,) = find_problems(path)
    assert str(problem).startswith(str(tmp_path / said))


def test_a_path_with_a_nul_is_no_traceback() -> None:
    (problem,) = find_problems("a\0.json")
    assert "it cannot be read: " in problem.message


@pytest.mark.parametrize("source", [None, 5, b"version: v1\n", ["a.json"]])
def test_what_is_no_source_is_a_type_error(source) -> None:
    with pytest.raises(TypeError, match="a manifest is a path, a text or a mapping"):
        find_problems(source)


def test_aliases_do_not_blow_up() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (problem,) = find_problems("\n".join(lines) + "\n")
    assert problem.message == "its aliases repeat more values than a manifest can have"


@pytest.mark.parametrize("value", [b"x", {1}, 1j, object(), Pipeline])
def test_a_mapping_of_what_json_does_not_have(value) -> None:
    node = {"id": "a", "node_type": "Declared", "params": {"path": "x", "words": [1, value]}}
    (problem,) = find_problems({"version": "v1", "nodes": [node]})
    assert problem.place == "nodes[0].params.words[1]"
    assert "is not a JSON value" in problem.message
    (problem,) = find_problems({"version": "v1", "nodes": [{"id": "a", "node_type": "Free", "params": {5: 1}}]})
    assert (problem.place, problem.message) == ("nodes[0].params", "key 5 must be a str")


MANY = """version: v2
nodes:
- {id: a, node_type: Fre}
- {id: b, node_type: Declared, params: {size: 0, mod: x}}
- {id: b, node_type: Free}
- {id: c}
conections: []
connections:
- {from: a, to: x}
- {from: a}
"""
FOUND = [
    "line:1: version: ",
    "line:3: nodes[0].node_type: ",
    "line:4: nodes[1].params.mod: ",
    "line:4: nodes[1].params.path: ",
    "line:4: nodes[1].params.size: ",
    "line:5: nodes[2].id: ",
    "line:6: nodes[3].node_type: ",
    "line:7: conections: ",
    "line:9: connections[0].to: ",
    "line:10: connections[1].to: ",
]


def test_all_mistakes_at_once_in_the_order_of_the_lines() -> None:
    problems = find_problems(MANY)
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
    assert sorted(f"line:{p.line}: {p.place}: " for p in problems) == sorted(FOUND)
    with pytest.raises(ManifestError) as caught:
        Pipeline.from_manifest(MANY)
    assert str(caught.value) == "\n".join(map(str, problems))


def test_what_is_no_node_does_not_shift_the_places_of_the_others() -> None:
    nodes = wrong_nodes("5", "{id: a, node_type: Free}", "{id: b}", "{id: c, node_type: Fre}")
    text = nodes + "connections:\n- {from: a}\n- {from: a, to: x}\noutputs: [7, y]\n"
    assert [(p.line, p.place) for p in find_problems(text)] == [
        (3, "nodes[0]"),
        (5, "nodes[2].node_type"),
        (6, "nodes[3].node_type"),
        (8, "connections[0].to"),
        (9, "connections[1].to"),
        (10, "outputs[0]"),
        (10, "outputs[1]"),
    ]


def test_json_with_tabs_has_lines() -> None:
    text = json.dumps({"version": "v1", "nodes": [{"id": "a\tb", "node_type": "No"}]}, indent="\t")
    (problem,) = find_problems(text)
    assert (problem.line, problem.place) == (6, "nodes[0].node_type")


def test_json_that_is_no_yaml_still_has_its_problems() -> None:
    # YAML does not take the character DEL.
    text = '{"version": "v1",\n"nodes": [{"id": "\x7f", "id": "b", "node_type": "No"}]}'
    problems = find_problems(text)
    assert [problem.line for problem in problems] == [None, None]
    assert problems[0].message == "key 'id' is given twice in one mapping"
    assert problems[1].place == "nodes[0].node_type"


WORDS = ["version", "v1", "nodes", "id", "a", "node_type", "Declared", "params", "size", "connections", "from", "to"]
WORDS += ["from_port", "inputs", "outputs", "metadata", "multiprocess", "spin_us", "name", "memory_limit_bytes", ""]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=5),
)
NEARLY = st.fixed_dictionaries(
    {"version": st.just("v1"), "nodes": st.lists(st.fixed_dictionaries({"id": ANY, "node_type": ANY}), max_size=3)},
    optional={"connections": st.lists(st.fixed_dictionaries({"from": ANY, "to": ANY}), max_size=3), "metadata": ANY},
)


@given(value=st.dictionaries(st.sampled_from(WORDS), ANY) | NEARLY)
def test_any_value_has_problems_or_is_right(value) -> None:
    problems = find_problems(value)
    assert [p.message for p in find_problems(json.dumps(value, indent=1))] or not problems
    if not problems:
        load_manifest(value).pipeline.validate()


@given(data=st.data())
def test_any_text_has_problems_or_is_right(data) -> None:
    text = MANY if data.draw(st.booleans()) else json.dumps({"version": "v1", "nodes": [{"id": "a"}]}, indent=1)
    at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    piece = data.draw(st.text(max_size=5) | st.text(alphabet="{}[]:,-&*!|>'\"%@`#?\n\t 0", max_size=8))
    for problem in find_problems(text[:at] + piece + text[end:] + "\n"):
        assert str(problem)
