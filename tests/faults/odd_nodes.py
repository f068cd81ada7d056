"""Exceptions that do something else when they are asked what they are, and a node that raises them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode, register_node


class Odd(Exception):
    pass


class Sized:
    """Its repr is 50 MB."""

    def __repr__(self) -> str:
        return "x" * 50_000_000


class Endless:
    def __repr__(self) -> str:
        return repr(self)


def raises(*_: Any) -> NoReturn:
    raise ZeroDivisionError("asked in vain")


def exits(*_: Any) -> NoReturn:
    raise SystemExit(7)


def has_no_memory(*_: Any) -> NoReturn:
    raise MemoryError


def made(name: str = "Odd", *arguments: Any, **body: Any) -> Exception:
    error: Exception = type(name, (Odd,), body)(*arguments)
    return error


def chained(length: int) -> Exception:
    last: Exception = ValueError("the first")
    for number in range(length):
        following = RuntimeError(f"number {number}")
        following.__cause__ = last
        last = following
    return last


def cyclic() -> Exception:
    one, other = Odd("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def group(*members: Exception, **body: Any) -> Exception:
    kind: Any = type("OddGroup", (ExceptionGroup,), body) if body else ExceptionGroup
    error: Exception = kind("several failed", list(members))
    return error


WHY = "<its __str__() raises"

# What is raised, and how it must be described: the beginning of the reason, and words of the traceback.
ODD: dict[str, tuple[Callable[[], Exception], str, str]] = {
    "str gives None": (
        lambda: made("Odd", "made with", __str__=lambda self: None),
        f"Odd: {WHY} TypeError> made with",
        "Odd",
    ),
    "str raises": (lambda: made("Odd", 5, __str__=raises), f"Odd: {WHY} ZeroDivisionError> 5", "Odd"),
    "str exits": (lambda: made(__str__=exits), f"Odd: {WHY} SystemExit>", "Odd"),
    "str has no memory": (lambda: made("Odd", "x", __str__=has_no_memory), f"Odd: {WHY} MemoryError> x", "Odd"),
    "str gives odd text": (
        lambda: made(__str__=lambda self: type("Text", (str,), {"__str__": raises, "__len__": raises})("text")),
        "Odd: text",
        "Odd",
    ),
    "repr is endless": (lambda: KeyError(Endless()), f"KeyError: {WHY} RecursionError>", "KeyError"),
    "repr is huge": (lambda: KeyError(Sized()), "KeyError: xxxxxxxxx", "xxx[... 49,996,500 characters"),
    "half a character": (lambda: Odd("caf\udce9"), "Odd: caf\\udce9", "Odd: caf\\udce9"),
    "cause raises": (lambda: made("Odd", "why", __cause__=property(raises)), "Odd: why", "Odd: why"),
    "context raises": (lambda: made("Odd", "why", __context__=property(raises)), "Odd: why", "Odd: why"),
    "traceback raises": (lambda: made("Odd", "why", __traceback__=property(raises)), "Odd: why", "in process"),
    "notes raise": (lambda: made("Odd", "why", __notes__=property(raises)), "Odd: why", "Odd: why"),
    "class raises": (lambda: made("Odd", "why", __class__=property(raises)), "Odd: why", "Odd: why"),
    "attributes raise": (lambda: made("Odd", "why", __getattribute__=raises), "Odd: why", "Odd: why"),
    "truth raises": (
        lambda: made("Odd", "why", __bool__=raises, __len__=raises, __eq__=raises),
        "Odd: why",
        "Odd: why",
    ),
    "cyclic causes": (cyclic, "Odd: one", "KeyError: 'other'"),
    "endless causes": (lambda: chained(100_000), "RuntimeError: number 99999", "[... 99,995 more exceptions ...]"),
    "no module": (lambda: made("Odd", "why", __module__=None), "Odd: why", "why"),
    "an odd name": (lambda: made("A\n name\t" + "!" * 300, "why"), "A name !!!", "why"),
    "a group": (
        lambda: group(ValueError("one"), group(KeyError("two")), TypeError("three"), OSError("four")),
        "ExceptionGroup: several failed (4 sub-exceptions): ValueError: one; ExceptionGroup: several failed (1 sub-exc"
        "eption): KeyError: 'two'; TypeError: three; 1 more",
        "OSError: four",
    ),
    "a wide group": (
        lambda: group(*(ValueError(str(number)) for number in range(10_000))),
        "ExceptionGroup: several failed (10000 sub-exceptions): ValueError: 0; ValueError: 1; ValueError: 2; 9997 more",
        "Member 3 of 10000",
    ),
    "a group of odd ones": (
        lambda: group(made(__str__=raises), exceptions=property(raises), __str__=raises),
        f"OddGroup: {WHY} ZeroDivisionError>",
        f"Odd: {WHY} ZeroDivisionError>",
    ),
}  # fmt: skip


@register_node("odd")
class RaisesOdd(MultiprocessNode):
    """Raises what a text names, in ``process()``; what its config names, in the method that its config names."""

    def may_raise(self, where: str) -> None:
        if self.config.get("where") == where:
            self.raise_odd(self.config["what"])

    def raise_odd(self, what: str) -> None:
        if what in ODD:
            raise ODD[what][0]()

    def initialize(self) -> None:
        self.may_raise("initialize")

    def process(self, data: RuntimeData) -> RuntimeData:
        self.raise_odd(str(data.payload))
        return data

    def on_interrupt(self) -> None:
        self.may_raise("on_interrupt")

    def finish(self) -> None:
        self.may_raise("finish")

    def cleanup(self) -> None:
        self.may_raise("cleanup")
