"""What a pipeline checks before anything starts."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotemedia._naming import node_and_port
from remotemedia.core.multiprocessing import Connection, NodeConfig, Pipeline, PipelineError, Session
from remotemedia.manifest import find_problems


@pytest.fixture(autouse=True)
def _nodes(px: Any) -> None:
    """The node types of these tests are registered."""


def nodes(*names: str) -> Pipeline:
    pipeline = Pipeline()
    for name in names:
        pipeline.add_node("t-echo", name)
    return pipeline


def test_what_was_added_is_there() -> None:
    pipeline = Pipeline().add_node("t-echo", "a", {"x": 1}).add_node("t-echo", "b").connect("a", "o", "b", "i")
    assert pipeline.nodes == [NodeConfig("t-echo", "a", {"x": 1}), NodeConfig("t-echo", "b", {})]
    assert pipeline.connections == [Connection("a", "o", "b", "i")]
    assert str(pipeline.connections[0]) == "a.o -> b.i"
    pipeline.validate()


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: nodes("a", "a"), "node id 'a' is used twice"),
        (lambda: nodes("session"), "node id 'session' is what channels call the session itself"),
        (
            lambda: Pipeline().add_node("t-echo", ""),
            "node_id must be a non-empty string without NUL characters, not ''",
        ),
        (lambda: Pipeline().add_node("t-echo", 7), "node_id must be a non-empty string without NUL characters, not 7"),
        (
            lambda: Pipeline().add_node("t-echo", "a\0"),
            r"node_id must be a non-empty string without NUL characters, not 'a\x00'",
        ),
        (lambda: Pipeline().add_node("", "a"), "node_type must be a non-empty string without NUL characters, not ''"),
        (
            lambda: Pipeline().add_node(int, "a"),
            "node_type must be a non-empty string without NUL characters, not <class 'int'>",
        ),
        (lambda: Pipeline().add_node("t-echo", "a", "x"), "config of node 'a' must be a dict, not str"),
        (lambda: nodes("a").connect("a", "", "b", "i"), "connection a. -> b.i: a node id or port must be a non-empty"),
        (lambda: nodes("a").connect("a", "o", "b", 3), "connection a.o -> b.3: a node id or port must be a non-empty"),
        (lambda: nodes("ab").connect("a", "o", "b", "i").connect("a", "o", "b", "i"), "a.o -> b.i is made twice"),
    ],
)
def test_wrong_calls_are_refused_at_once(build: Any, said: str) -> None:
    with pytest.raises(PipelineError, match=re.escape(said)):
        build()


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (Pipeline(), "the pipeline has no nodes; add_node() adds one"),
        (
            nodes("a", "b").connect("a", "o", "c", "i"),
            "connection a.o -> c.i: there is no node 'c'; the nodes are: a, b",
        ),
        (
            nodes("a", "b").connect("c", "o", "a", "i"),
            "connection c.o -> a.i: there is no node 'c'; the nodes are: a, b",
        ),
        (nodes("a").connect("a", "o", "a", "i"), "the connections form a cycle: a -> a"),
        (
            nodes("a", "b", "c").connect("a", "o", "b", "i").connect("b", "o", "c", "i").connect("c", "o", "b", "i2"),
            "the connections form a cycle: b -> c -> b",
        ),
        (nodes("a").add_input("x"), "input node 'x': there is no such node; the nodes are: a"),
        (nodes("a").add_output("x"), "output node 'x': there is no such node; the nodes are: a"),
        (Pipeline().add_node("t-ecko", "a"), "node 'a': Unknown node type 't-ecko'; did you mean 't-echo'"),
    ],
)
def test_wrong_graphs_are_refused_with_the_place_and_the_choices(pipeline: Pipeline, said: str) -> None:
    with pytest.raises(PipelineError, match=re.escape(said)):
        pipeline.validate()
    with pytest.raises(ValueError, match=re.escape(said)):
        pipeline.validate()


def speech(**config: Any) -> Pipeline:
    return Pipeline().add_node("AudioChunkerNode", "chunk", config).add_node("ReplyNode", "reply")


@pytest.mark.parametrize(
    ("pipeline", "place", "said"),
    [
        (
            speech(chunk_size=0),
            "nodes[0].params.chunk_size",
            "node 'chunk': param 'chunk_size' must be a whole number of",
        ),
        (speech(chunk=5), "nodes[0].params.chunk", "there is no param 'chunk'; did you mean 'chunk_size'?"),
        (speech().connect("chunk", "audio", "reply", "txt"), "connections[0].to_port", "did you mean 'text'?"),
        (speech().connect("chunk", "out", "reply", "text"), "connections[0].from_port", "output ports are: 'audio'"),
        (speech().connect("chunk", "audio", "reply", "text"), "connections[0]", "AUDIO cannot go to 'reply'"),
    ],
)
def test_what_nodes_declare_is_checked(pipeline: Pipeline, place: str, said: str) -> None:
    (problem,) = pipeline.find_problems()
    assert problem.place == place
    assert said in problem.message
    with pytest.raises(PipelineError) as caught:
        pipeline.validate()
    assert str(caught.value) == problem.message


def test_every_problem_is_found_and_the_first_is_raised() -> None:
    pipeline = speech(chunk_size=0, x=1).add_node("t-ecko", "a").add_output("b")
    pipeline.connect("chunk", "audio", "reply", "text").connect("reply", "text", "c", "i")
    pipeline.connect("a", "o", "a", "i").connect("a", "o", "a", "j")
    problems = pipeline.find_problems()
    assert [problem.place for problem in problems] == [
        "connections[1].to",
        "outputs[0]",
        "connections[3]",
        "connections[2]",
        "nodes[0].params.chunk_size",
        "nodes[0].params.x",
        "nodes[2].node_type",
        "connections[0]",
    ]
    with pytest.raises(PipelineError, match=re.escape(problems[0].message)):
        pipeline.validate()


def test_a_session_checks_what_nodes_declare_before_it_starts_them() -> None:
    session = Session("s", speech(chunk_size=0))
    with pytest.raises(PipelineError, match="param 'chunk_size' must be"):
        asyncio.run(session.initialize())
    assert session.pids == {}


def test_inputs_and_outputs() -> None:
    pipeline = nodes("a", "b", "c", "lonely").connect("a", "o", "b", "i").connect("b", "o", "c", "i")
    assert pipeline.input_nodes == ["a", "lonely"]
    assert pipeline.output_nodes == ["c", "lonely"]
    pipeline.add_input("c").add_input("a").add_output("a").add_output("a")
    assert pipeline.input_nodes == ["a", "c", "lonely"]
    assert pipeline.output_nodes == ["a", "c", "lonely"]
    assert pipeline.ancestors("c") == {"a", "b"}
    assert pipeline.ancestors("a") == set()


def test_channel_names() -> None:
    pipeline = nodes("a", "b", "c")
    for a, port, b, to in (("a", "o", "b", "i"), ("b", "x", "c", "i"), ("b", "y", "c", "i")):
        pipeline.connect(a, port, b, to)
    assert list(pipeline.channel_names().values()) == ["a_to_b", "b.x_to_c.i", "b.y_to_c.i"]


def test_a_deep_graph_is_no_trouble() -> None:
    names = [f"n{number}" for number in range(3000)]
    pipeline = Pipeline()
    pipeline.nodes = [NodeConfig("t-echo", name) for name in names]
    pipeline.connections = [Connection(a, "o", b, "i") for a, b in itertools.pairwise(names)]
    pipeline.validate()
    pipeline.connections.append(Connection(names[-1], "o", names[0], "i"))
    with pytest.raises(PipelineError, match="cycle: n0 -> n1 -> n2"):
        pipeline.validate()


def test_a_broad_graph_is_no_trouble() -> None:
    # Two nodes wide and thirty deep: two to the thirtieth paths.
    pipeline = nodes(*(f"n{layer}.{side}" for layer in range(30) for side in range(2)))
    for layer in range(29):
        for a, b in itertools.product(range(2), repeat=2):
            pipeline.connect(f"n{layer}.{a}", "o", f"n{layer + 1}.{b}", f"i{a}")
    pipeline.validate()


def has_cycle(edges: set[tuple[int, int]]) -> bool:
    """Take away, again and again, what nothing leads to."""
    while edges:
        targets = {b for _, b in edges}
        left = {(a, b) for a, b in edges if a in targets}
        if left == edges:
            return True
        edges = left
    return False


@given(edges=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14))
def test_cycles_are_found_exactly(edges: set[tuple[int, int]]) -> None:
    pipeline = nodes(*(f"n{number}" for number in range(7)))
    for a, b in sorted(edges):
        pipeline.connect(f"n{a}", "o", f"n{b}", "i")
    if not has_cycle(edges):
        pipeline.validate()
        return
    with pytest.raises(PipelineError) as caught:
        pipeline.validate()
    circle = re.findall(r"n(\d)", str(caught.value))
    assert circle[0] == circle[-1]
    assert all((int(a), int(b)) in edges for a, b in itertools.pairwise(circle)), "what is named is a cycle"


NAMES = st.text(alphabet="a_to.'", min_size=1, max_size=6)


@given(names=st.sets(NAMES, min_size=1, max_size=6), data=st.data())
def test_every_channel_has_a_name_of_its_own(names: set[str], data: st.DataObject) -> None:
    order = sorted(names)
    pipeline = nodes(*order)
    ports = st.sampled_from(["o", "i", "a_to_a", "'"])
    for a, b in itertools.combinations(order, 2):
        for port in data.draw(st.sets(ports, max_size=2)):
            pipeline.connect(a, port, b, data.draw(ports))
    named = list(pipeline.channel_names().values())
    named += [f"session_to_{name}" for name in pipeline.input_nodes]
    named += [f"{name}_to_session" for name in pipeline.output_nodes]
    assert len(named) == len(set(named))


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_values_are_kept(value: Any) -> None:
    pipeline = Pipeline().add_node("t-echo", "a", {"value": value})
    assert pipeline.nodes[0].config == {"value": value}


@given(
    path=st.lists(st.text(max_size=3) | st.integers(0, 2), max_size=5),
    wrong=st.sampled_from([b"", {1}, object(), 1j, {2: 3}, Pipeline]),
)
def test_what_is_no_json_is_found_wherever_it_is(path: list[str | int], wrong: Any) -> None:
    value = wrong
    for step in reversed(path):
        value = {step: value} if isinstance(step, str) else [None] * step + [value]
    with pytest.raises(PipelineError) as caught:
        Pipeline().add_node("t-echo", "a", {"top": value})
    place = "".join(f"[{step!r}]" for step in ["top", *path])
    assert str(caught.value).startswith(f"config of node 'a'{place}")


@pytest.mark.parametrize(
    ("end", "found"),
    [
        ("a", ("a", "")),
        ("a.b", ("a.b", "")),
        ("a.b.c", ("a.b", "c")),
        ("a.c.b", ("a", "c.b")),
        ("a.", ("a.", "")),
        ("c", ("c", "")),
        ("c.a", ("c.a", "")),
        (".a", (".a", "")),
    ],
)
def test_the_longest_id_is_the_node_of_an_end(end: str, found: tuple[str, str]) -> None:
    assert node_and_port(end, {"a", "a.b"}) == found


def test_what_was_added_past_add_node_is_checked_as_well() -> None:
    pipeline = Pipeline()
    pipeline.nodes += [
        NodeConfig("t-echo", ""),
        NodeConfig("t-echo", "a", {"x": [{1}]}),
        NodeConfig("t-echo", "b", memory_limit_bytes=5),
    ]
    assert [(problem.place, problem.message) for problem in pipeline.find_problems()] == [
        ("nodes[0].id", "node_id must be a non-empty string without NUL characters, not ''"),
        (
            "nodes[1].params",
            "config of node 'a'['x'][0] is a set; a config holds JSON values only (None, bool, int, float, str, list, "
            "dict)",
        ),
        (
            "nodes[2].memory_limit_bytes",
            "memory_limit_bytes of node 'b' must be a whole number from 1048576 to 1152921504606846976 or None, not 5",
        ),
    ]


@pytest.mark.parametrize("limit", [None, 1 << 20, 1 << 60, 0, (1 << 20) - 1, (1 << 60) + 1, True, 1e9, "1"])
def test_manifests_and_pipelines_have_the_same_memory_limits(limit: Any) -> None:
    pipeline = Pipeline()
    pipeline.nodes.append(NodeConfig("t-echo", "a", memory_limit_bytes=limit))
    node = {"id": "a", "node_type": "t-echo", "memory_limit_bytes": limit}
    assert bool(find_problems({"version": "v1", "nodes": [node]})) is bool(pipeline.find_problems())


@pytest.mark.parametrize("retries", [0, 1, 100, -1, 101, True, 1e1, "1"])
@pytest.mark.parametrize("failure_marks", [True, False, 0, "yes"])
def test_manifests_and_pipelines_ask_the_same_of_what_fails(retries: Any, failure_marks: Any) -> None:
    pipeline = Pipeline()
    pipeline.nodes.append(NodeConfig("t-echo", "a", retries=retries, failure_marks=failure_marks))
    node = {"id": "a", "node_type": "t-echo", "retries": retries, "failure_marks": failure_marks}
    places = [problem.place for problem in find_problems({"version": "v1", "nodes": [node]})]
    assert sorted(places) == sorted(problem.place for problem in pipeline.find_problems())


def test_two_channels_of_one_name_are_refused() -> None:
    pipeline = Pipeline().add_node("t-direct", "to_session").add_node("t-direct", "session_to")
    with pytest.raises(PipelineError, match="session_to_to_session"):
        pipeline.validate()
    # One of the two alone is a name like any other.
    for name in ("to_session", "session_to"):
        Pipeline().add_node("t-direct", name).validate()


def test_pipelines_without_inputs_or_with_unknown_nodes() -> None:
    with pytest.raises(PipelineError):
        Pipeline().connect("a", "o", "b", "i").validate()
