"""What a class declares: refused when it contradicts itself, filled in and checked when a node is made of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from remotemedia.core.data import DataType
from remotemedia.core.multiprocessing import MultiprocessNode, Param, register_node


class Base(MultiprocessNode):
    async def initialize(self) -> None:
        pass

    async def process(self, data: Any) -> Any:
        return data

    async def cleanup(self) -> None:
        pass


def node_class(**attributes: Any) -> type[MultiprocessNode]:
    return type("Made", (Base,), attributes)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Param(complex), TypeError, "Param takes int, float, bool, str, list or dict, not <class 'complex'>"),
        (lambda: Param("int"), TypeError, "not 'int'"),
        (lambda: Param(str, "x", low=1), TypeError, "low and high are for numbers, not for str"),
        (lambda: Param(int, 1.0), ValueError, "the default must be a whole number, not 1.0"),
        (lambda: Param(int, 0, low=1), ValueError, "the default must be a whole number of at least 1, not 0"),
        (lambda: Param(str, "c", choices=("a", "b")), ValueError, "the default must be 'a' or 'b', not 'c'"),
    ],
)
def test_a_param_that_contradicts_itself(make: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        make()


@pytest.mark.parametrize(
    ("param", "right", "wrong", "rule"),
    [
        (Param(int, 1), [0, -5, 10**30], [1.0, True, "1", None, [1]], "a whole number"),
        (Param(int, 1, high=5), [5, -5], [6], "a whole number of at most 5"),
        (Param(int, 1, low=0, high=5), [0, 5], [-1, 6], "a whole number from 0 to 5"),
        (Param(float, 1), [1, 0.5, -1e300], [True, "1", float("nan"), float("inf"), None], "a number"),
        (Param(bool, False), [True, False], [0, 1, "true", None], "true or false"),
        (Param(str), ["x"], ["", 5, None, b"x"], "a non-empty string"),
        (Param(str, ""), ["", "x"], [None], "a string"),
        (Param(str, None), [None, "x"], ["", 0], "a non-empty string or null"),
        (Param(int, None, choices=(1, 2)), [None, 1], [3, True, 1.0], "1 or 2 or null"),
        (Param(list, []), [[], [1]], [{}, "x", None], "a list"),
        (Param(dict, {}), [{}, {"a": 1}], [[], None], "a mapping"),
    ],
)
def test_what_a_param_takes(param: Param, right: list[Any], wrong: list[Any], rule: str) -> None:
    assert param.rule == rule
    assert [param.refusal(value) for value in right] == [None] * len(right)
    for value in wrong:
        refusal = param.refusal(value)
        assert refusal is not None and refusal.startswith(f"must be {rule}, not ")


def test_a_huge_value_is_not_shown_whole() -> None:
    refusal = Param(int, 1).refusal("x" * 100_000)
    assert refusal is not None and len(refusal) < 300


def test_a_node_gets_the_defaults_and_its_own_copies() -> None:
    cls = node_class(params={"words": Param(list, ["a"]), "gain": Param(float, 1), "path": Param(str)})
    given = {"path": "x", "gain": 2}
    one, two = cls("n", given), cls("n", given)
    assert one.config == {"words": ["a"], "gain": 2.0, "path": "x"}
    assert isinstance(one.config["gain"], float)
    one.config["words"].append("b")
    assert two.config["words"] == ["a"] == cls("n", given).config["words"]
    assert given == {"path": "x", "gain": 2}


def test_a_class_that_declares_nothing_gets_its_config_as_it_is() -> None:
    config = {"any": 1}
    assert node_class()("n", config).config is config


def test_a_wrong_config_names_class_and_key() -> None:
    cls = node_class(params={"path": Param(str), "size": Param(int, 1)})
    with pytest.raises(ValueError, match=r"^Made: param 'path' must be a non-empty string; it is missing$"):
        cls("n", {})
    with pytest.raises(ValueError, match=r"^Made: there is no param 'sise'; did you mean 'size'\?$"):
        cls("n", {"path": "x", "sise": 1})


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"params": ["size"]}, "Made.params must be a dict of Param by name, not ['size']"),
        ({"params": {"size": 5}}, "Made.params must be a dict of Param by name, not {'size': 5}"),
        ({"params": {5: Param(int, 1)}}, "Made.params must be"),
        ({"params": {"": Param(int, 1)}}, "Made.params must be"),
        ({"inputs": ["audio"]}, "Made.inputs must be a dict by port name of a DataType"),
        ({"inputs": {"audio": "audio"}}, "Made.inputs must be"),
        ({"outputs": {"audio": ()}}, "Made.outputs must be"),
        ({"outputs": {"audio": (DataType.AUDIO, None)}}, "Made.outputs must be"),
        ({"outputs": {7: DataType.AUDIO}}, "Made.outputs must be"),
        (
            {"outputs": {"a": None}, "optional_outputs": ["a"]},
            "Made.optional_outputs must be a tuple of declared output",
        ),
        (
            {"inputs": {"a": None}, "optional_outputs": ("a",)},
            "Made.optional_outputs must be a tuple of declared output",
        ),
        ({"optional_outputs": (5,)}, "Made.optional_outputs must be a tuple of declared output ports, not (5,)"),
        ({"outputs": {"a": None}, "port_aliases": {"b": "c"}}, "Made.port_aliases must be a dict of declared ports"),
    ],
)
def test_a_wrong_declaration_is_refused_with_the_class(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        register_node("made-wrong")(node_class(**attributes))


def test_a_subclass_declares_more() -> None:
    parent = node_class(params={"a": Param(int, 1)}, inputs={"x": None}, outputs={"y": (DataType.TEXT, DataType.AUDIO)})
    child = type("Child", (parent,), {"params": {**(parent.params or {}), "b": Param(int, 2)}})
    register_node("made-child")(child)
    assert child("n", {}).config == {"a": 1, "b": 2}
    assert child.inputs == {"x": None}
