"""Which file goes to which input node of a pipeline, and which output node's data into which file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from remotemedia._naming import node_and_port, offer
from remotemedia.cli._drafts import real_path
from remotemedia.cli._errors import Mistake
from remotemedia.cli._run_sinks import AUDIO_SUFFIXES, STDOUT, is_special
from remotemedia.core.data import DataType
from remotemedia.core.multiprocessing import Pipeline, lookup_node

__all__ = ["Target", "plan_inputs", "plan_outputs"]

Target = tuple[str, str | None, str]
"""Node id, port (None: all), file."""


def plan_inputs(pipeline: Pipeline, given: Sequence[str]) -> dict[str, str]:
    """The file of each input node. Mistake unless every one has its own."""
    nodes = pipeline.input_nodes
    found: dict[str, str] = {}
    for text in given:
        node_id, file = _split(text, "-i", "input", nodes, pipeline)
        if node_id in found:
            raise Mistake(f"-i {text}: node {node_id!r} has an input already, {found[node_id]}")
        if file == "-" in found.values():
            raise Mistake(f"-i {text}: stdin can be the input of one node only")
        found[node_id] = file
    missing = [node_id for node_id in nodes if node_id not in found]
    if missing:
        example = "-i FILE" if len(nodes) == 1 else f"-i {missing[0]}=FILE"
        raise Mistake(f"no input for node {', '.join(map(repr, missing))}: {example} gives one, /dev/null an empty one")
    return found


def plan_outputs(pipeline: Pipeline, given: Sequence[str], inputs: Sequence[str]) -> list[Target]:
    """Where the data of output nodes go. Mistake for two that would write one file, or replace an input."""
    nodes = pipeline.output_nodes
    found: list[Target] = []
    read = {real_path(Path(file)): file for file in inputs if file != "-"}
    for text in given:
        name, file = _split(text, "-O", "output", nodes, pipeline, ports=True)
        node_id, named = node_and_port(name, nodes)
        port = pipeline.output_port_meant(node_id, named) if named else None
        _check_declared(pipeline, node_id, port, file, text)
        if any((node_id, port) == (n, p) for n, p, _ in found):
            raise Mistake(f"-O {text}: the output of node {name!r} has a file already")
        if any(file == f or (file != "-" != f and real_path(Path(file)) == real_path(Path(f))) for _, _, f in found):
            raise Mistake(f"-O {text}: two outputs cannot go to one file")
        if file != "-" and Path(file).is_file() and real_path(Path(file)) in read:
            raise Mistake(f"-O {text}: the output would replace the input {read[real_path(Path(file))]}")
        found.append((node_id, port, file))
    return found


def _check_declared(pipeline: Pipeline, node_id: str, port: str | None, file: str, text: str) -> None:
    """What the node declares that it puts out, against what the file can hold."""
    (node,) = (node for node in pipeline.nodes if node.node_id == node_id)
    ports = lookup_node(node.node_type).outputs
    if ports is None:
        return
    if port is not None and port not in ports:
        raise Mistake(
            f"-O {text}: node {node_id!r} has no output port {port!r}; {offer(port, ports, 'its output ports are')}"
        )
    declared = [ports[port]] if port is not None else list(ports.values())
    found = {kind for kinds in declared for kind in (kinds if isinstance(kinds, tuple) else (kinds,))}
    if Path(file).suffix.lower() in AUDIO_SUFFIXES:
        fits, what = {DataType.AUDIO}, f"{' and '.join(AUDIO_SUFFIXES)} files hold audio"
    elif file == STDOUT or is_special(Path(file)):
        fits, what = {DataType.AUDIO, DataType.TEXT, DataType.JSON}, "audio, text and JSON can be written"
    else:
        fits, what = (
            {DataType.TEXT, DataType.JSON},
            f"such a file holds text or JSON, and {' and '.join(AUDIO_SUFFIXES)} hold audio",
        )
    if None not in found and not found & fits:
        kinds = " and ".join(sorted(kind.name for kind in found if kind is not None)) or "nothing"
        raise Mistake(f"-O {text}: node {node_id!r} puts out {kinds}; {what}")


def _split(
    text: str, option: str, what: str, nodes: list[str], pipeline: Pipeline, *, ports: bool = False
) -> tuple[str, str]:
    """The node (with its port, if it may have one) and the file in ``NODE=FILE``, or the only node and ``FILE``."""
    # Ids may hold dots and "=" themselves: the longest that fits is meant.
    for node_id in sorted(nodes, key=len, reverse=True):
        if text.startswith(f"{node_id}="):
            return _with_file(node_id, text.removeprefix(f"{node_id}="), option, text)
        port, equals, file = text.removeprefix(f"{node_id}.").partition("=")
        if ports and text.startswith(f"{node_id}.") and port and equals:
            return _with_file(f"{node_id}.{port}", file, option, text)
    head, equals, _ = text.partition("=")
    choices = f"{what} nodes: {', '.join(nodes)}"
    if head in pipeline.node_ids and equals:
        raise Mistake(f"{option} {text}: node {head!r} is not an {what} node of this pipeline ({choices})")
    if equals and "/" not in head:
        raise Mistake(f"{option} {text}: there is no node {head!r} ({choices}); a file of that name is ./{text}")
    if len(nodes) > 1:
        raise Mistake(f"{option} {text}: the pipeline has several {choices}; {option} {nodes[0]}={text} names one")
    return _with_file(nodes[0], text, option, text)


def _with_file(name: str, file: str, option: str, text: str) -> tuple[str, str]:
    if not file:
        raise Mistake(f"{option} {text!r} names no file")
    return name, file
