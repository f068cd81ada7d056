"""Random manifests: one that runs, some changes that change nothing, and perhaps one that nobody may make."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import remotemedia_v1_pb2 as pb

ODD_TEXTS = ["", "\0", "日本", "a.b", "../../x", "\u202e", "a\nb", "x" * 300, "session", "_a", "é" * 255, "null"]
ODD_NUMBERS = [0, -1, 1, 0.5, -0.0, 1e-9, 1e300, float("inf"), float("nan"), 2.0**63, 2.0**64]
NOT_OBJECTS = ["{", "[]", "1", '"x"', "null", "NaN", '{"a": Infinity}', '{"a": 1e999}', "[object Object]", "[" * 5000]
NOT_OBJECTS += [
    '{"a": "\\ud800"}',
    '{"\\udfff": 1}',
    '{"a":' * 900 + "1" + "}" * 900,
    '{"a":' + "9" * 5000 + "}",
    "\ufeff{}",
]

Random = random.Random
Change = Callable[[Random, pb.PipelineManifest], str | None]


@dataclass(frozen=True)
class Fuzzed:
    """A manifest, what was done to it, and whether it must be refused: then perhaps for one node."""

    manifest: pb.PipelineManifest
    changes: list[str]
    wrong: bool
    to_blame: str | None = None


def manifest(seed: int, share_that_runs: float) -> Fuzzed:
    """The manifest of this seed: always the same."""
    rng = random.Random(seed)
    made = pb.PipelineManifest(version="v1")
    for index in range(rng.choice([1, 1, 2])):
        made.nodes.append(pb.NodeManifest(id=f"n{index}", node_type="t-echo"))
    if len(made.nodes) == 2:
        made.connections.append(pb.Connection(**{"from": "n0", "to": "n1"}))
    changes = rng.sample(HARMLESS, rng.randrange(4))
    if wrong := rng.random() >= share_that_runs:
        changes += rng.sample(WRONG, rng.choice([1, 1, 1, 2]))
    blamed = [change(rng, made) for change in changes]
    alone = wrong and sum(change in WRONG for change in changes) == 1
    return Fuzzed(made, [change.__name__ for change in changes], wrong, blamed[-1] if alone else None)


def odd(rng: Random) -> object:
    return rng.choice([rng.choice(ODD_TEXTS), rng.choice(ODD_NUMBERS), None, True, ["a"], {"a": [1]}])


def some(rng: Random, made: pb.PipelineManifest) -> pb.NodeManifest:
    return rng.choice(list(made.nodes)) if made.nodes else made.nodes.add(id="late", node_type="t-echo")


# --- what changes nothing ----------------------------------------------------------------------------------------


def a_name(rng: Random, made: pb.PipelineManifest) -> None:
    made.metadata.name, made.metadata.description = rng.choice(ODD_TEXTS), rng.choice(ODD_TEXTS)


def hints(rng: Random, made: pb.PipelineManifest) -> None:
    node = some(rng, made)
    node.host, node.runtime_hint, node.is_streaming = rng.choice(ODD_TEXTS), rng.randrange(99), True
    node.capabilities.memory_gb = rng.choice(ODD_NUMBERS)
    node.input_types.append(rng.randrange(-9, 99))


def ports(rng: Random, made: pb.PipelineManifest) -> None:
    for connection in made.connections:
        connection.from_port, connection.to_port = rng.choice(["output", "日本", "a.b"]), rng.choice(["x", "\n"])


def params(rng: Random, made: pb.PipelineManifest) -> None:
    for node in made.nodes:
        value = rng.choice(["{}", '{"a": [1, 2.5, null]}', '{"日": "\\u00e9"}', '{"a":' * 99 + "1" + "}" * 99])
        node.params_json = value


def settings(rng: Random, made: pb.PipelineManifest) -> None:
    made.metadata.multiprocess.update(
        {"channel_capacity": rng.choice([1, 7, 1 << 20]), "spin_us": 1_000_000, "cleanup_grace_period_secs": 1e300}
    )


def memory(rng: Random, made: pb.PipelineManifest) -> None:
    some(rng, made).memory_limit_bytes = rng.choice([1 << 40, 1 << 60])


def ends(rng: Random, made: pb.PipelineManifest) -> None:
    made.inputs.append("n0")
    made.outputs.append("n0")


# --- what nobody may do ------------------------------------------------------------------------------------------


def another_version(rng: Random, made: pb.PipelineManifest) -> None:
    made.version = rng.choice(["", "v2", "V1", "v1 ", "1"])


def no_nodes(rng: Random, made: pb.PipelineManifest) -> None:
    del made.nodes[:]


def too_many(rng: Random, made: pb.PipelineManifest) -> None:
    if rng.random() < 0.5:
        made.nodes.extend(pb.NodeManifest(id=f"m{n}", node_type="t-echo") for n in range(1001))
    else:
        made.connections.extend(pb.Connection() for _ in range(4001))


def an_id(rng: Random, made: pb.PipelineManifest) -> None:
    some(rng, made).id = rng.choice(["", "\0", "session", "_a", "x" * 300, "x" * 100_000])


def an_id_twice(rng: Random, made: pb.PipelineManifest) -> str:
    node = some(rng, made)
    made.nodes.append(node)
    return node.id


def a_type(rng: Random, made: pb.PipelineManifest) -> str:
    node = some(rng, made)
    node.node_type = rng.choice(["t-ecko", "AudioFileWriterNode", "\ud7ff", "os.system", "x" * 255])
    return node.id


def a_strange_type(rng: Random, made: pb.PipelineManifest) -> None:
    some(rng, made).node_type = rng.choice(["", "\0", "x" * 300])


def no_object(rng: Random, made: pb.PipelineManifest) -> str:
    node = some(rng, made)
    node.params_json = rng.choice(NOT_OBJECTS)
    return node.id


def params_twice(rng: Random, made: pb.PipelineManifest) -> str:
    node = some(rng, made)
    node.params_json = "{}"
    node.params.update({"a": 1})
    return node.id


def a_param(rng: Random, made: pb.PipelineManifest) -> str | None:
    node = some(rng, made)
    node.node_type = "t-strict"
    node.ClearField("params_json")
    node.params.update({"factor": rng.choice([None, "x", "x" * 10_000, [], {}])})
    return None if made.connections else node.id  # it has ports of its own, and a connection may not fit them


def a_memory_limit(rng: Random, made: pb.PipelineManifest) -> str:
    node = some(rng, made)
    node.memory_limit_bytes = rng.choice([1, (1 << 20) - 1, (1 << 60) + 1, (1 << 64) - 1])
    return node.id


def an_end(rng: Random, made: pb.PipelineManifest) -> None:
    made.connections.append(pb.Connection(**{"from": "n0", "to": rng.choice(["", "nowhere", "n0.\0", "x" * 9999])}))


def a_circle(rng: Random, made: pb.PipelineManifest) -> None:
    made.connections.append(pb.Connection(**{"from": "n0", "to": "n0"}))


def a_connection_twice(rng: Random, made: pb.PipelineManifest) -> None:
    made.nodes.append(pb.NodeManifest(id="last", node_type="t-echo"))
    made.connections.extend([pb.Connection(**{"from": "n0", "to": "last"})] * 2)


def a_port_twice(rng: Random, made: pb.PipelineManifest) -> None:
    made.nodes.append(pb.NodeManifest(id="last", node_type="t-echo"))
    made.connections.append(pb.Connection(**{"from": "n0.a", "to": "last", "from_port": "b"}))


def a_stranger(rng: Random, made: pb.PipelineManifest) -> None:
    rng.choice([made.inputs, made.outputs]).append(rng.choice(["", "nowhere", "\0", "x" * 300]))


def a_setting(rng: Random, made: pb.PipelineManifest) -> None:
    key, value = rng.choice(
        [
            ("shm_segment_size", rng.choice([0, -1, 2.0**47, 0.5, "1", None, float("inf")])),
            ("channel_capacity", rng.choice([0, -1, 2.0**21, True, [], {}])),
            ("init_timeout_secs", rng.choice([0, -1, "1", None, float("nan"), float("inf")])),
            ("spin_us", rng.choice([-1, 1_000_001, 0.5, "x" * 1000])),
            ("enable_backpressure", rng.choice([0, "true", None])),
            ("python_executable", rng.choice(["/bin/sh", "python2", "", None, ["python"]])),
            ("extra_paths", rng.choice([["/tmp"], "/tmp", {"a": 1}, [["/"]], [None]])),
            ("venv_path", rng.choice(["/", 1, ["/"]])),
            (rng.choice(["", "no such", "__class__", "x" * 9999]), odd(rng)),
        ]
    )
    made.metadata.multiprocess.update({key: value})


def settings_twice(rng: Random, made: pb.PipelineManifest) -> None:
    made.metadata.multiprocess.update({"spin_us": 1})
    made.metadata.multiprocess_map["spin_us"] = "1"


HARMLESS: list[Change] = [a_name, hints, ports, params, settings, memory, ends]
WRONG: list[Change] = [another_version, no_nodes, too_many, an_id, an_id_twice, a_type, a_strange_type, no_object]
WRONG += [params_twice, a_param, a_memory_limit, an_end, a_circle, a_connection_twice, a_port_twice, a_stranger]
WRONG += [a_setting, settings_twice]
