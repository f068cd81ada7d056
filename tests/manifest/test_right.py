"""Manifests that are right: the seeds' as they are written, JSON and YAML alike, and back again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from remotemedia.core.multiprocessing import Connection, MultiprocessConfig, NodeConfig, Pipeline
from remotemedia.manifest import Manifest, find_problems, load_manifest

DATA = Path(__file__).parent / "data"
EXAMPLES = Path(__file__).parents[2] / "examples"


def graph(pipeline):
    extra = (dict.fromkeys(pipeline.extra_inputs), dict.fromkeys(pipeline.extra_outputs))
    return pipeline.nodes, pipeline.connections, *map(list, extra)


@pytest.mark.parametrize("name", ["speech-to-speech.json", "with-settings.json", "overrides.json"])
def test_the_seeds_manifests_as_written(name):
    manifest = load_manifest(DATA / name)
    assert manifest.path == DATA / name
    assert manifest.pipeline.nodes == [
        NodeConfig("AudioChunkerNode", "input_chunker", {"chunk_size": 1024}),
        NodeConfig("WhisperNode", "whisper_asr", {"model": "base", "language": "en"}),
        NodeConfig("LFM2AudioNode", "lfm2_s2s", {"model": "large"}),
        NodeConfig("VibeVoiceNode", "vibe_tts", {"voice": "sarah"}),
    ]
    # The chunker declares one output; the others declare nothing.
    assert list(map(str, manifest.pipeline.connections)) == [
        "input_chunker.audio -> whisper_asr.input",
        "whisper_asr.output -> lfm2_s2s.input",
        "lfm2_s2s.output -> vibe_tts.input",
    ]
    MultiprocessConfig(**manifest.settings)


def test_what_a_manifest_has():
    manifest = load_manifest(DATA / "with-settings.json")
    settings = {
        "max_processes_per_session": 10,
        "channel_capacity": 100,
        "init_timeout_secs": 30,
        "python_executable": "python",
        "enable_backpressure": True,
    }
    assert manifest == Manifest(
        "speech-to-speech-pipeline",
        {"name": "speech-to-speech-pipeline", "multiprocess": settings},
        settings,
        DATA / "with-settings.json",
        manifest.pipeline,
    )
    least = load_manifest('{"version": "v1", "nodes": [{"id": "a", "node_type": "Free"}]}')
    assert (least.name, least.metadata, least.settings, least.path) == (None, {}, {}, None)
    null = load_manifest("version: v1\nnodes: [{id: a, node_type: Free}]\n"
                         "metadata: {mine: [1], multiprocess: {max_processes_per_session: null}}\n")  # fmt: skip
    assert null.metadata["mine"] == [1]
    assert null.settings == {"max_processes_per_session": None}


def test_the_speech_example():
    manifest = load_manifest(EXAMPLES / "speech.yaml")
    assert manifest.name == "speech"
    assert manifest.pipeline.input_nodes == ["resample"]
    assert manifest.pipeline.output_nodes == ["tts"]
    assert str(manifest.pipeline.connections[3]) == "asr.text -> reply.text"


def test_keys_that_are_not_needed():
    manifest = load_manifest(
        {
            "$schema": "manifest-v1.schema.json",
            "version": "v1",
            "nodes": [
                {"id": "a", "node_type": "Free", "executor": "python", "memory_limit_bytes": 1 << 30},
                {"id": "b", "node_type": "Free", "executor": "multiprocess", "memory_limit_bytes": None},
                {"id": "c", "node_type": "Free", "params": {}, "retries": 2, "failure_marks": True},
            ],
            "connections": [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}],
            "inputs": ["b"],
            "outputs": ["a", "b"],
        }
    )
    assert [node.memory_limit_bytes for node in manifest.pipeline.nodes] == [1 << 30, None, None]
    assert [(node.retries, node.failure_marks) for node in manifest.pipeline.nodes] == [(0, False)] * 2 + [(2, True)]
    assert manifest.pipeline.input_nodes == ["a", "b"]
    assert manifest.pipeline.output_nodes == ["a", "b", "c"]


# --- ports ---


@pytest.mark.parametrize(
    ("connection", "meant"),
    [
        ({"from": "a", "to": "b"}, ("a", "output", "b", "input")),
        ({"from": "a.x", "to": "b.y"}, ("a", "x", "b", "y")),
        ({"from": "a", "from_port": "x", "to": "b", "to_port": "y"}, ("a", "x", "b", "y")),
        ({"from": "a.x", "to": "b", "to_port": "y"}, ("a", "x", "b", "y")),
        # The id may have dots: the longest that is one wins.
        ({"from": "a.b", "to": "b"}, ("a.b", "output", "b", "input")),
        ({"from": "a.b.x", "to": "b"}, ("a.b", "x", "b", "input")),
        ({"from": "a.c.x", "to": "b"}, ("a", "c.x", "b", "input")),
        ({"from": "a", "from_port": "b", "to": "b"}, ("a", "b", "b", "input")),
        # The only port that is declared.
        ({"from": "chunk", "to": "b"}, ("chunk", "audio", "b", "input")),
        ({"from": "chunk.audio", "to": "chunk2"}, ("chunk", "audio", "chunk2", "audio")),
        ({"from": "a", "to": "sink"}, ("a", "output", "sink", "text")),
        ({"from": "d.both", "to": "sink"}, ("d", "both", "sink", "text")),
        ({"from": "chunk", "to": "d.any"}, ("chunk", "audio", "d", "any")),
    ],
)
def test_which_ports_a_connection_means(connection, meant):
    nodes = {"a": "Free", "b": "Free", "a.b": "Free", "chunk": "AudioChunkerNode", "chunk2": "AudioChunkerNode"}
    items = [{"id": node_id, "node_type": kind} for node_id, kind in nodes.items()]
    items += [{"id": "d", "node_type": "Declared", "params": {"path": "x"}}, {"id": "sink", "node_type": "Sink"}]
    manifest = load_manifest({"version": "v1", "nodes": items, "connections": [connection]})
    assert manifest.pipeline.connections == [Connection(*meant)]


# --- YAML ---


def test_yaml_and_json_say_the_same(tmp_path):
    for path in sorted(DATA.glob("*.json")):
        value = json.loads(path.read_text())
        (tmp_path / "same.yaml").write_text(yaml.safe_dump(value))
        expected = graph(load_manifest(path).pipeline)
        for source in (tmp_path / "same.yaml", str(tmp_path / "same.yaml"), path.read_text(), value):
            assert graph(load_manifest(source).pipeline) == expected
            assert load_manifest(source).metadata == value["metadata"]


def test_words_of_old_yaml_are_words():
    text = """
version: v1
nodes:
- id: no
  node_type: Free
  params:
    words: [no, on, yes, off, y, 12:30, 1_000, 2020-01-02, 0b1, ~x, =, '5', "no", !!str 5]
    numbers: [1, -2, +3, 010, 0x1F, 0o17, 1.5, .5, 1e3, -1.0E-2, !!float 3]
    others: [null, ~, , true, True, FALSE]
    7: &seven [1]
    true: *seven
""".replace("~, ,", "~,")
    params = load_manifest(text).pipeline.nodes[0].config
    assert params == {
        "words": ["no", "on", "yes", "off", "y", "12:30", "1_000", "2020-01-02", "0b1", "~x", "=", "5", "no", "5"],
        "numbers": [1, -2, 3, 10, 31, 15, 1.5, 0.5, 1000.0, -0.01, 3.0],
        "others": [None, None, True, True, False],
        "7": [1],
        "true": [1],
    }
    assert [type(number) for number in params["numbers"]] == [int] * 6 + [float] * 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
def test_any_value_comes_out_of_json_and_of_yaml_as_it_went_in(value):
    manifest = {"version": "v1", "nodes": [{"id": "a", "node_type": "Free", "params": {"value": value}}]}
    for text in (json.dumps(manifest), json.dumps(manifest, ensure_ascii=False)):
        assert load_manifest(text).pipeline.nodes[0].config == {"value": value}
    # What YAML's own writer makes, with every string quoted: it knows the words of YAML 1.1 only.
    text = yaml.safe_dump(manifest, allow_unicode=True, default_style='"')
    text = text.replace('!!null "null"', "null")
    got = load_manifest(text).pipeline.nodes[0].config["value"]
    assert got == value


def test_a_source_is_copied_and_left_as_it_is():
    params = {"words": [1, (2, 3)], "path": "x"}
    source = {"version": "v1", "nodes": [{"id": "d", "node_type": "Declared", "params": params}]}
    pipeline = Pipeline.from_manifest(source)
    params["words"].append(4)
    assert pipeline.nodes[0].config == {"words": [1, [2, 3]], "path": "x"}
    assert params["words"] == [1, (2, 3), 4]


# --- back again ---

NAMES = st.text(alphabet="ab.c", min_size=1, max_size=4)


PYTHONS = st.sampled_from(
    [
        {"executable": "python3.12"},
        {"venv_path": "/opt/a b"},
        {"requirements": ["numpy>=2", "x @ file:///y"]},
        {"requirements": ["numpy"], "version": "3.12"},
    ]
)


@st.composite
def pipelines(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    pipeline = Pipeline()
    for name in names:
        pipeline.add_node("Free", name, draw(st.dictionaries(st.text(max_size=3), JSON, max_size=2)))
    pipeline.nodes[-1] = dataclasses.replace(
        pipeline.nodes[-1],
        memory_limit_bytes=draw(st.none() | st.integers(1 << 20, 1 << 40)),
        python=draw(st.none() | PYTHONS),
        env=draw(st.dictionaries(st.sampled_from(["A", "B c"]), st.text("xy=\n", max_size=3), max_size=2)),
        retries=draw(st.integers(0, 100)),
        failure_marks=draw(st.booleans()),
    )
    ends = st.sampled_from(range(len(names)))
    edges = draw(st.lists(st.tuples(ends, NAMES, ends, NAMES), max_size=6, unique=True))
    for a, out, b, into in edges:
        if a < b:
            pipeline.connect(names[a], out, names[b], into)
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        pipeline.add_input(name)
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        pipeline.add_output(name)
    return pipeline


@given(pipeline=pipelines(), name=st.none() | st.just("a name"))
def test_there_and_back_gives_an_equal_graph(pipeline, name):
    pipeline.validate()
    manifest = pipeline.to_manifest(name)
    for source in (manifest, json.dumps(manifest), json.dumps(manifest, indent=1)):
        loaded = load_manifest(source)
        assert graph(loaded.pipeline) == graph(pipeline)
        assert loaded.name == name
        assert loaded.pipeline.to_manifest(name) == manifest


def test_a_manifest_is_a_copy_without_what_is_not_needed():
    pipeline = Pipeline().add_node("Free", "a", {"x": [1]}).add_node("Free", "b").connect("a", "o", "b", "i")
    manifest = pipeline.to_manifest()
    assert manifest == {
        "version": "v1",
        "nodes": [{"id": "a", "node_type": "Free", "params": {"x": [1]}}, {"id": "b", "node_type": "Free"}],
        "connections": [{"from": "a", "from_port": "o", "to": "b", "to_port": "i"}],
    }
    manifest["nodes"][0]["params"]["x"].append(2)
    assert pipeline.nodes[0].config == {"x": [1]}


def test_a_pipeline_in_the_making_has_a_manifest_too():
    pipeline = Pipeline().add_node("Nobody", "a").connect("a", "o", "b", "i")
    assert Pipeline().to_manifest() == {"version": "v1", "nodes": [], "connections": []}
    assert [problem.place for problem in find_problems(pipeline.to_manifest())] == [
        "connections[0].to",
        "nodes[0].node_type",
    ]
    assert pipeline.connections == [Connection("a", "o", "b", "i")]
