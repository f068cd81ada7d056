"""Classes and values of every kind, sent by value: in the node they are what they were at the prompt."""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import pytest

ENUMS = """
import enum
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum, auto

class Color(Enum):
    "Colors."
    RED = 1
    GREEN = 2
    CRIMSON = RED
    def mixed(self, other=None): return f"{self.name}+{(other or Color.GREEN).name}"
    @property
    def lower(self): return self.name.lower()
    @classmethod
    def _missing_(cls, value): return cls.RED
class Planet(Enum):
    EARTH = (5.0, 2.0)
    def __init__(self, mass, radius):
        self.mass, self.radius = mass, radius
    def gravity(self): return self.mass / self.radius
class Level(IntEnum):
    LOW = auto()
    HIGH = auto()
    def __str__(self): return f"level {int(self)}"
class Word(StrEnum):
    HELLO = auto()
class Old(str, Enum):
    X = "x"
class Right(Flag, boundary=enum.KEEP):
    R = auto()
    W = auto()
    RW = R | W
class Bits(IntFlag):
    A = 1
    B = 4
Made = Enum("Made", "ONE TWO")
CHOSEN = Color.GREEN
BOTH = Right.R | Right.W
BY_COLOR = {Color.RED: "r", Color.GREEN: "g"}
"""
ENUM_ANSWERS = [
    "[str(member) for member in Color]",
    "[Color(2).name, Color(99).name, Color['CRIMSON'].name, Color.RED.mixed(), Color.__doc__, Color.RED.lower]",
    "[CHOSEN is Color.GREEN, BY_COLOR[Color.RED], isinstance(CHOSEN, Color), Color.__module__, Color.__qualname__]",
    "[Planet.EARTH.gravity(), Planet.EARTH.value, Planet((5.0, 2.0)).name]",
    "[str(Level.HIGH), Level.HIGH + 1, Level(1).name, isinstance(Level.LOW, int)]",
    "[Word.HELLO.upper(), Word.HELLO == 'hello', f'{Word.HELLO}', Old.X == 'x', str(Old.X)]",
    "[str(Right.RW), BOTH is Right.RW, Right.R in BOTH, Right(8).value, (~Right.R).name]",
    "[Bits(5).name, int(Bits.A | 8)]",
    "[member.name for member in Made]",
]

DATACLASSES = """
import abc, dataclasses, typing
from dataclasses import KW_ONLY, InitVar, dataclass, field

@dataclass
class Point:
    "A point."
    x: float
    y: float = 2.0
    tags: list = field(default_factory=list, compare=False, metadata={"unit": "px"})
    kind: typing.ClassVar[str] = "flat"
    scale: InitVar[int] = 3
    _: KW_ONLY
    hidden: int = field(default=7, repr=False)
    def __post_init__(self, scale): self.x *= scale
    def moved(self, by: "Point") -> "Point": return dataclasses.replace(self, x=self.x + by.x, scale=1)
    @property
    def size(self): return abs(self.x) + abs(self.y)
@dataclass(frozen=True, slots=True, order=True)
class Key:
    name: str
    number: int = 0
    def __hash__(self): return hash(self.name)
    def me(self): return __class__ is type(self)
@dataclass
class Point3(Point):
    z: float = 9.0
@dataclass(eq=False, init=False, repr=False)
class Bare:
    a: int = 1
    def __init__(self): self.a = 5
    def __repr__(self): return "bare"
@dataclass
class Shape(abc.ABC):
    name: str
    @abc.abstractmethod
    def area(self): ...
@dataclass(order=True)
class Square(Shape):
    side: float = 2.0
    parent: object = None
    def area(self): return self.side ** 2
HERE = Point(1, tags=["a"])
KEYS = {Key("a", 1): [1], Key("b"): [2]}
CHILD = Square("child")
CHILD.parent = CHILD
"""
DATACLASS_ANSWERS = [
    "[repr(Point(1, hidden=8)), Point(1, tags=[1]) == Point(1), Point(1).hidden, Point.kind, Point.__doc__]",
    "[Point(1).size, HERE.x, HERE.tags, HERE.moved(HERE).x, Point(1).tags is not Point(1).tags]",
    "[field.name for field in dataclasses.fields(Point3)] + [repr(Point3(1, 2)), issubclass(Point3, Point)]",
    "[dataclasses.fields(Point)[2].metadata['unit'], dataclasses.fields(Point)[0].name, Point.__match_args__]",
    "[repr(Key('a')), Key('a') < Key('b'), hash(Key('a', 1)) == hash('a'), Key('a').me(), Key.__slots__]",
    "[KEYS[Key('a', 1)], KEYS[Key('b')], [key.number for key in KEYS]]",
    "[refuses(lambda: setattr(Key('a'), 'name', 'b')), refuses(lambda: Shape('x')), refuses(lambda: Point())]",
    "[repr(Bare()), Bare().a, Bare() == Bare(), Square('s').area(), Square('a') < Square('b'), CHILD.parent is CHILD]",
]

TUPLES = """
import typing
from collections import namedtuple
from typing import NamedTuple, NotRequired, TypedDict

class Span(NamedTuple):
    "A span."
    start: float
    end: float = 1.0
    unit = "s"
    def __repr__(self): return f"{self.start}..{self.end}"
    def length(self): return self.end - self.start
    @classmethod
    def whole(cls): return cls(0)
Pair = namedtuple("Pair", "a b", defaults=[5])
class Triple(Pair):
    __slots__ = ()
    def total(self): return self.a + self.b
class Base(TypedDict):
    name: str
class Movie(Base, total=False):
    year: int
class Show(TypedDict):
    title: str
    note: NotRequired[str]
SPANS = [Span(0, 3), Span(1)]
BY_SPAN = {Span(1): Pair(1), Triple(2): 0}
"""
TUPLE_ANSWERS = [
    "[repr(Span(2)), Span(2, 4).length(), Span.whole().end, Span.__doc__, Span.unit, Span._fields, list(Span(1, 2))]",
    "[SPANS[0].length(), SPANS[1] == (1, 1.0), BY_SPAN[Span(1)].b, BY_SPAN[Triple(2)], type(SPANS[0]) is Span]",
    "[Pair(1)._replace(a=2), Pair._field_defaults, Triple(1).total(), Span(1)._asdict(), Span.__module__]",
    "[Movie(name='m', year=1), sorted(Movie.__required_keys__), sorted(Movie.__optional_keys__)]",
    "[sorted(Show.__required_keys__), sorted(Show.__optional_keys__), Show.__module__, typing.is_typeddict(Show)]",
]

VALUES = """
import array, collections, datetime as dt, decimal, fractions, functools, ipaddress, operator, pathlib, re, string
import struct, types, uuid, zoneinfo
import numpy as np
ALL = [
    dt.date(2020, 2, 29), dt.datetime(2020, 1, 2, 3, 4, 5, 6, dt.timezone.utc, fold=1), dt.time(1, 2, 3, 4, fold=1),
    dt.timedelta(-1, 2, 3), dt.timezone(dt.timedelta(hours=2), "here"), zoneinfo.ZoneInfo("UTC"),
    decimal.Decimal("1.10"), decimal.Decimal("-Infinity"), fractions.Fraction(1, 3), uuid.UUID(int=5),
    pathlib.Path("a/b"), pathlib.PurePosixPath("/x"), pathlib.PureWindowsPath("c:/x"),
    ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_interface("10.0.0.1/8"),
    re.compile("a+", re.I), range(1, 9, 2), slice(1, None, 2), complex(1, -2), frozenset({1}), bytearray(b"ab"),
    collections.OrderedDict(b=1, a=[2]), collections.Counter("aab"), collections.deque([1, [2]], maxlen=5),
    types.SimpleNamespace(a=1, b=[2]), array.array("h", [1, -2]),
]
DEFAULTS = collections.defaultdict(list, {"a": [1]})
FROZEN = types.MappingProxyType({"a": 1})
HALF = functools.partial(operator.mul, 0.5)
FIRST, NAME = operator.itemgetter(1), operator.attrgetter("name")
GREETING, HEADER = string.Template("hi $who"), struct.Struct("<hi")
RING = collections.deque()
RING.append([RING])
"""
VALUE_ANSWERS = [
    "[repr(value) for value in ALL]",
    "[ALL[1].fold, ALL[1].tzinfo is dt.timezone.utc, ALL[24].maxlen, DEFAULTS['b'], DEFAULTS['a'], dict(FROZEN)]",
    "[HALF(4), FIRST('abc'), NAME(pathlib.Path('x')), GREETING.substitute(who='you'), HEADER.size, RING[0][0] is RING]",
]

ARRAYS = """
import numpy as np
KERNEL = np.arange(6, dtype=">f4").reshape(2, 3)
COLUMNS = np.asfortranarray(KERNEL)
EMPTY, POINT, FLAT = np.empty((0, 3)), np.array(5j), np.arange(8)[::2]
FIXED = np.arange(3, dtype=np.int8)
FIXED.setflags(write=False)
MIXED = np.array([(1, 2.5, "ab", b"c")], dtype=[("a", "i2"), ("b", "f8"), ("c", "U3"), ("d", "S2")])
WHEN = np.array(["2020-01-02", "NaT"], dtype="datetime64[D]")
PI, KIND, RATE = np.float32(3.25), np.dtype([("x", "u1"), ("y", "f2", (2,))]), np.int64(16000)
"""
ARRAY_ANSWERS = [
    "[KERNEL.tolist(), KERNEL.dtype.str, KERNEL.flags.c_contiguous, COLUMNS.flags.f_contiguous, COLUMNS.tolist()]",
    "[EMPTY.shape, str(POINT[()]), FLAT.tolist(), FIXED.flags.writeable, FLAT.flags.writeable, MIXED.tolist() and 1]",
    "[repr(MIXED), repr(WHEN), repr(PI), repr(KIND), repr(RATE), type(RATE).__name__]",
]


@pytest.mark.parametrize(
    ("typed", "answers"),
    [
        (ENUMS, ENUM_ANSWERS),
        (DATACLASSES, DATACLASS_ANSWERS),
        (TUPLES, TUPLE_ANSWERS),
        (VALUES, VALUE_ANSWERS),
        (ARRAYS, ARRAY_ANSWERS),
    ],
    ids=["enumerations", "dataclasses", "named tuples and typed dicts", "values", "arrays"],
)
def test_classes_and_values_are_in_the_node_what_they_are_here(kit: Any, typed: str, answers: list[str]) -> None:
    refuses = """
def refuses(call):
    try: call()
    except Exception as error: return f"{type(error).__name__}: {error}"
"""
    asked = ",\n            ".join(answers)
    body = f"\n    def answer(self):\n        return [\n            {asked},\n        ]"
    source = f"{refuses}{typed}\nclass Node(MultiprocessNode):{kit.methods}{body}"
    # The same text, as a module's: what its own class says is what the one that has travelled has to say.
    file = kit.file("typed_here.py", "from remotemedia.core.multiprocessing import MultiprocessNode", source)
    spec = importlib.util.spec_from_file_location("typed_here", file)
    assert spec is not None and spec.loader is not None
    sys.modules["typed_here"] = here = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(here)
        expected = json.loads(json.dumps(here.Node("n", {}).answer()).replace("typed_here", "__mp_main__"))
    finally:
        del sys.modules["typed_here"]
    answer = kit.load(kit.typed(source), "node.answer()")
    for question, said, wanted in zip(answers, answer, expected, strict=True):
        assert said == wanted, question
