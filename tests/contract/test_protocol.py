"""The table of control messages: the same in the code and in the documentation, and complete."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from remotemedia.core.multiprocess.values import protocol

LIFECYCLE = Path(__file__).resolve().parents[2] / "docs" / "lifecycle.md"
TABLE = [line for line in (protocol.__doc__ or "").splitlines() if line.startswith("|")]


def test_the_documentation_has_the_same_table() -> None:
    assert "\n".join(TABLE) in LIFECYCLE.read_text()


def test_every_message_has_its_row_with_who_says_it() -> None:
    rows = {row.split("`")[1]: row.split(" | ")[1] for row in TABLE[2:]}
    from_node = {protocol.name_of(kind): "the node" for kind in get_args(protocol.FromNode)}
    to_node = {protocol.name_of(kind): "the orchestrator" for kind in get_args(protocol.ToNode)}
    assert rows == from_node | to_node


@pytest.mark.parametrize(
    "message",
    [
        protocol.Here(),
        protocol.Progress("loading", 0.5, "half"),
        protocol.Warned("twice"),
        protocol.Unconnected(),
        protocol.Ready(),
        protocol.Failed("r", "t", True),
        protocol.MessageFailed("r", "t", False, 7, "in"),
        protocol.MessageRetried("r", "t", 7, "in"),
        protocol.Interrupted(3),
    ],
)
def test_what_a_node_says_arrives_as_it_was(message: protocol.FromNode) -> None:
    raw = protocol.as_json(message)
    assert protocol.from_node({**raw, "more": 1}) == message
    assert protocol.kind_said(raw) is type(message)


@pytest.mark.parametrize(
    "message",
    [
        protocol.Hello({"kind": "module"}, {"rate": 1}, ["x"], True),
        protocol.Connect({"inputs": []}),
        protocol.Start(),
        protocol.Interrupt(3),
        protocol.Stop(abort=True),
    ],
)
def test_what_the_orchestrator_says_arrives_as_it_was(message: protocol.ToNode) -> None:
    assert protocol.to_node(protocol.as_json(message)) == message


def test_neither_says_what_the_other_does() -> None:
    with pytest.raises(ValueError, match="type 'stop'"):
        protocol.from_node(protocol.as_json(protocol.Stop()))
    with pytest.raises(ValueError, match="type 'ready'"):
        protocol.to_node(protocol.as_json(protocol.Ready()))


def test_errors_are_said_only_by_nodes_that_are_ready() -> None:
    assert [
        status for status in (*protocol.LOADING_STATES, "ready") if protocol.said_in(protocol.MessageFailed, status)
    ] == ["ready"]
    assert not protocol.said_in(protocol.Failed, "ready")
    assert protocol.said_in(protocol.Progress, "ready")
