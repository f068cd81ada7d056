"""Classes of a prompt, a notebook, ``python -c`` and stdin, which are in no file and travel by value."""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import os
import pty
import select
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remotemedia.core.data import DataType
from remotemedia.core.multiprocess.classes.reference import describe_class
from remotemedia.core.multiprocessing import Param
from remotemedia.errors import PipelineError

# What is typed in the tests of real prompts: a helper, a module under another name, a constant, super().
SESSION = """
import numpy as np
LEVELS = {"loud": 2.5}

def amplify(samples):
    return samples * LEVELS["loud"]

from remotemedia.core.multiprocessing import MultiprocessNode, register_node

@register_node("probe")
class Node(MultiprocessNode):
    def __init__(self, node_id, config):
        super().__init__(node_id, config)
        self.seen = 0
    async def initialize(self): pass
    async def process(self, data): return None
    async def cleanup(self): pass
    def run_once(self):
        self.seen += 1
        return [float(amplify(np.ones(4)).sum()), self.seen, self.config["gain"], __name__]

"""
ANSWER = [10.0, 1, 3, "__mp_main__"]


def test_dash_c(kit: Any) -> None:
    reference = kit.parent("-c", SESSION + kit.describe)
    assert reference["kind"] == "value"
    assert kit.load(reference, "node.run_once()") == ANSWER


@pytest.mark.parametrize("arguments", [["-"], []])
def test_a_script_on_stdin(kit: Any, arguments: list[str]) -> None:
    reference = kit.parent(*arguments, stdin=SESSION + kit.describe)
    assert reference["kind"] == "value"
    assert kit.load(reference, "node.run_once()") == ANSWER


def at_a_terminal(kit: Any, command: list[str], lines: str) -> str:
    """Type the lines at a program in a real terminal, wait for its end, and give all that the terminal showed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=kit.folder,
        env=kit.environment | {"TERM": "dumb", "HOME": str(kit.folder), "INPUTRC": os.devnull},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    shown = b""
    try:
        os.write(leader, lines.encode())
        while select.select([leader], [], [], 60)[0]:
            try:
                shown += os.read(leader, 65536)
            except OSError:  # EIO: the program has ended
                break
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    return shown.decode(errors="replace")


@pytest.mark.parametrize("script", [[], ["script.py"]], ids=["prompt", "prompt after a script"])
def test_typed_at_a_prompt(kit: Any, script: list[str]) -> None:
    kit.file("script.py", "raise_nothing = True")
    shown = at_a_terminal(kit, [sys.executable, "-q", "-i", *script], SESSION + kit.describe + "\nexit()\n")
    reference = kit.reference_in(shown)
    assert reference["kind"] == "value"
    assert kit.load(reference, "node.run_once()") == ANSWER


def test_a_class_of_the_script_is_no_typed_one_at_its_prompt(kit: Any) -> None:
    kit.file("script.py", SESSION)
    shown = at_a_terminal(kit, [sys.executable, "-q", "-i", "script.py"], kit.describe + "\nexit()\n")
    reference = kit.reference_in(shown)
    assert reference["kind"] == "script"
    assert kit.load(reference, "node.run_once()") == ANSWER


def test_typed_at_a_prompt_inside_a_script(kit: Any) -> None:
    typing = f"import code\nprompt = code.InteractiveConsole(globals())\nfor line in {SESSION!r}.splitlines():"
    kit.file("script.py", typing, "    prompt.push(line)", "prompt.push('')", kit.describe)
    reference = kit.parent("script.py")
    assert reference["kind"] == "value"
    assert kit.load(reference, "node.run_once()") == ANSWER


def test_typed_in_a_notebook_whose_cells_have_names_of_files(kit: Any) -> None:
    # The kernel itself is a script, and named in sys.argv.
    source = f"class Node(MultiprocessNode):{kit.methods}\n    def answer(self): return 'from a cell'"
    assert kit.load(kit.typed(source, filename="/made/up/ipykernel_1/2.py"), "node.answer()") == "from a cell"


@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="IPython is not installed")
def test_typed_in_ipython(kit: Any) -> None:
    command = [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-autoindent", "--colors=NoColor"]
    reference = kit.reference_in(at_a_terminal(kit, command, SESSION + kit.describe + "\nexit()\n"))
    assert reference["kind"] == "value"
    assert kit.load(reference, "node.run_once()") == ANSWER


def answer(kit: Any, body: str, before: str = "", after: str = "", **names: object) -> Any:
    """What method ``answer`` of a typed node class gives in the child."""
    source = f"{before}\nclass Node(MultiprocessNode):{kit.methods}{body}\n{after}"
    return kit.load(kit.typed(source, **names), "node.answer()")


def test_functions_use_each_other(kit: Any) -> None:
    before = """
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
"""
    assert answer(kit, "    def answer(self): return [even(10), odd(10), even.__module__]", before) == [
        True,
        False,
        "__mp_main__",
    ]


def test_defaults_closures_and_attributes_of_functions(kit: Any) -> None:
    before = """
def counter(start, *, step=2):
    count = start
    def advance(by=10):
        "Advance."
        nonlocal count
        count += by * step
        return count
    def read(): return count
    advance.read = read
    return advance
advance = counter(1)
advance()
"""
    body = """
    def answer(self, first=[1], *, second=LIMIT):
        before = advance.read()
        about = [advance.__doc__, advance.__qualname__]
        return [before, advance(), advance.read(), advance(by=1), *about, first, second]
"""
    assert answer(kit, body, before + "LIMIT = 9") == [
        *(21, 41, 41, 43, "Advance.", "counter.<locals>.advance"),
        [1],
        9,
    ]


def test_an_empty_cell_stays_empty(kit: Any) -> None:
    before = """
def make():
    def later(): return value
    return later
    value = 1
later = make()
"""
    body = """
    def answer(self):
        try: later()
        except NameError as error: return "value" in str(error)
"""
    assert answer(kit, body, before) is True


def test_a_decorator_of_the_session_and_one_of_a_module(kit: Any) -> None:
    before = """
import contextlib, functools
def twice(function):
    @functools.wraps(function)
    def wrapper(*arguments): return [function(*arguments), function(*arguments)]
    return wrapper
@contextlib.contextmanager
def tagged(tag):
    yield f"<{tag}>"
"""
    body = """
    @twice
    def answer(self):
        "Answer."
        own = type(self).answer
        with tagged("a") as text:
            return [text, tagged.__name__, tagged.__module__, own.__wrapped__ is not own, own.__doc__, own.__qualname__]
"""
    assert answer(kit, body, before) == [["<a>", "tagged", "__mp_main__", True, "Answer.", "Node.answer"]] * 2


def test_all_kinds_of_methods(kit: Any) -> None:
    body = """
    unit = "dB"
    @staticmethod
    def double(x): return 2 * x
    @classmethod
    def name(cls): return cls.__name__
    @property
    def loud(self):
        "Loudness."
        return self._loud
    @loud.setter
    def loud(self, value): self._loud = value
    def __len__(self): return 7
    def __eq__(self, other): return True
    def answer(self):
        self.loud = 4
        same = self == 3
        return [self.unit, self.double(4), self.name(), self.loud, type(self).loud.__doc__, len(self), same]
"""
    assert answer(kit, body) == ["dB", 8, "Node", 4, "Loudness.", 7, True]
    assert kit.load(kit.typed(f"class Node(MultiprocessNode):{kit.methods}{body}"), "cls.__hash__") is None


def test_a_hierarchy_with_super_and_abstract_methods(kit: Any) -> None:
    source = f"""
from abc import abstractmethod
class Mixin:
    def chain(self): return ["mixin"]
class Base(MultiprocessNode, Mixin):
    "Base class."{kit.methods}
    @abstractmethod
    def name(self): ...
    def chain(self): return ["base", *super().chain()]
class Node(Base):
    __slots__ = ("_private", "other")
    def name(self): return __class__.__name__
    def chain(self): return [self.name(), *super().chain()]
    def answer(self):
        self.other = "slot"
        try: Base("n", {{}})
        except TypeError as error: refused = "name" in str(error)
        return [self.chain(), Base.__doc__, refused, self.other, type(Node.other).__name__]
"""
    expected = [["Node", "base", "mixin"], "Base class.", True, "slot", "member_descriptor"]
    assert kit.load(kit.typed(source), "node.answer()") == expected


def test_a_base_whose_subclass_hook_is_of_the_session_is_not_run_again(kit: Any) -> None:
    before = """
KNOWN = []
class Plugin:
    def __init_subclass__(cls, *, tag, **rest):
        super().__init_subclass__(**rest)
        cls.tag = tag
        KNOWN.append(cls)
class Loud(Plugin, tag="loud"): pass
"""
    body = "    def answer(self): return [Loud.tag, [cls.__name__ for cls in KNOWN], KNOWN[0] is Loud]"
    assert answer(kit, body, before) == ["loud", ["Loud"], True]


def test_cycles_through_classes_and_containers(kit: Any) -> None:
    before = "LOOP = [1]\nLOOP.append(LOOP)\nSHARED = {'x': LOOP}\nDEEP = []\nfor _ in range(5000): DEEP = [DEEP]"
    body = """
    registry = {}
    def answer(self):
        deep, levels = DEEP, 0
        while deep: deep, levels = deep[0], levels + 1
        return [LOOP[1] is LOOP, SHARED["x"] is LOOP, self.registry["me"] is Node, self.pair[0] is Node, levels]
"""
    after = "Node.registry['me'] = Node\nNode.pair = (Node, frozenset({Node}))"
    assert answer(kit, body, before, after) == [True, True, True, True, 5000]


def test_modules_aliases_and_importable_names(kit: Any) -> None:
    before = """
import math, os.path, random, re
import collections.abc as abc_of_collections
import xml.etree.ElementTree
import importlib.metadata
import numpy as np
from collections import OrderedDict as Ordered
from fractions import Fraction
from random import choice
from numpy import sin
from http import HTTPStatus
from http import HTTPStatus as Status
from re import IGNORECASE, MULTILINE
FLAGS = IGNORECASE | MULTILINE
shortcut = len
"""
    body = """
    def answer(self):
        import json
        class Inner(Fraction):
            kind = Status.NOT_FOUND
        return [
            math.floor(1.5), os.path.basename("a/b"), abc_of_collections.Sized.__name__, np.arange(3).tolist(),
            list(Ordered(a=1)), str(Inner(1, 2)), choice([5]), float(sin(0.0)), HTTPStatus.OK.name, Inner.kind.value,
            FLAGS == IGNORECASE | MULTILINE, shortcut("abc"), xml.etree.ElementTree.fromstring("<a/>").tag,
            importlib.metadata.version.__name__, json.dumps(None), random.choice is choice,
        ]
"""
    assert answer(kit, body, before) == [
        *(1, "b", "Sized", [0, 1, 2], ["a"], "1/2", 5, 0.0, "OK", 404, True, 3, "a", "version", "null", True)
    ]


def test_a_function_that_a_module_borrowed_is_still_of_the_session(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("string.helper", None, raising=False)
    before = "import string\ndef helper(): return 'of the session'\nstring.helper = helper"
    assert answer(kit, "    def answer(self): return helper()", before) == "of the session"


def test_the_class_is_in_the_main_module_of_the_child(kit: Any) -> None:
    reference = kit.typed(f"class Node(MultiprocessNode):{kit.methods}")
    assert kit.load(reference, "[sys.modules[name].Node is cls for name in ('__main__', '__mp_main__')]") == [
        True,
        True,
    ]


def test_everyday_constants(kit: Any) -> None:
    before = """
import logging, pathlib, re
logger = logging.getLogger("my.node")
WORD = re.compile("w(or)d", re.I)
HOME = pathlib.Path("/some/where")
STEPS, HEADER, PART = range(0, 10, 5), bytearray(b"RIFF"), slice(1, 3)
"""
    body = """
    def answer(self):
        same = logger is logging.getLogger("my.node")
        return [same, WORD.match("WORD")[1], HOME.name, [*STEPS], HEADER.decode(), "abcd"[PART]]
"""
    assert answer(kit, body, before) == [True, "OR", "where", [0, 5], "RIFF", "bc"]


def test_undefined_names_are_left_out_and_builtins_are_there(kit: Any) -> None:
    body = "    def answer(self): return sorted([2, 1]) if self else not_defined_anywhere"
    assert answer(kit, body) == [1, 2]


def test_a_name_that_is_only_an_attribute_is_not_sent(kit: Any) -> None:
    body = """
    def answer(self):
        self.model = "the node's own"
        return self.model
"""
    assert answer(kit, body, model=object()) == "the node's own"


def test_annotations_do_not_travel(kit: Any) -> None:
    before = "import typing\nSamples = typing.Annotated[list[int], object()]"
    body = "    size: Samples = 3\n    def answer(self, given: Samples = 4) -> Samples: return [self.size, given]"
    assert answer(kit, body, before) == [3, 4]


def test_what_comes_from_a_module_without_a_name_is_loaded_from_its_file(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kit.file("tools.py", "def local():\n    def inner(): return STATE\n    return inner\nSTATE = 'state'")
    spec = importlib.util.spec_from_file_location("tools_of_a_test", file)
    assert spec is not None and spec.loader is not None
    tools = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "tools_of_a_test", tools)
    spec.loader.exec_module(tools)
    assert answer(kit, "    def answer(self): return [tools.STATE, inner()]", tools=tools, inner=tools.local()) == [
        "state",
        "state",
    ]


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (
            "import numpy\nused = numpy.array([object()])",
            r"global 'used' \(used by Node.answer\) is a numpy array of object; create",
        ),
        (
            "import numpy\nused = [numpy.zeros(9 << 20, 'u1'), numpy.zeros(9 << 20, 'u1')]",
            r"global 'used' \(used by Node.answer\) is numpy arrays of more than 16 MiB in total; create",
        ),
        ("import numpy\nused = numpy.ma.zeros(1)", r"is of type numpy.ma.(core.)?MaskedArray; create"),
        (
            "used = [1, {'a': object()}]",
            r"an item of global 'used' \(used by Node.answer\) is of type object; create it",
        ),
        (
            "class Model: pass\nused = Model()",
            r"global 'used' \(used by Node.answer\) is of type __main__.Model; create",
        ),
        (
            "import os\nhidden = os.environ\ndef used(): return hidden",
            r"global 'hidden' \(used by used\) is of type os._E",
        ),
        (
            "def make(x):\n    return lambda: x\nused = make(object())",
            r"variable 'x' \(used by make.<locals>.<lambda>\) is of type object",
        ),
        ("def used(x=object()): pass", "an item of a default of used is of type object"),
        ("class used:\n    lock = object()", "attribute 'lock' of class used is of type object"),
        (
            "import enum\nclass used(enum.Enum):\n    A = 1\n    def __new__(cls, value): return object.__new__(cls)",
            "used is an enumeration with a __new__ of its own; put that class in a module",
        ),
        (
            "import enum\nclass used(enum.Enum):\n    A = {}",
            "used is an enumeration whose member A has a value that cannot be hashed; put that class in a module",
        ),
        (
            "import datetime, enum\nclass used(datetime.date, enum.Enum):\n    A = 2000, 1, 1",
            "used is an enumeration whose members are date objects; put that class in a module",
        ),
        (
            "class Meta(type): pass\nclass used(metaclass=Meta): pass",
            "used is of metaclass __main__.Meta; put that class in a module",
        ),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass used:\n    a: object = object()",
            "default of field 'a' of class used is of type object; create it",
        ),
        ("import types\nused = types.ModuleType('made_here')", "is the module made_here, which cannot be imported"),
        (
            "namespace = {'__name__': 'gone'}\nexec('def used(): pass', namespace)\nused = namespace['used']",
            "is the function used, whose module cannot be imported",
        ),
        (
            "namespace = {'__name__': 'json'}\nexec('def used(): pass', namespace)\nused = namespace['used']",
            "is the function used, whose module cannot be imported",
        ),
    ],
)
def test_what_cannot_travel_is_refused_by_name_place_and_type(kit: Any, before: str, message: str) -> None:
    source = f"{before}\nclass Node(MultiprocessNode):{kit.methods}\n    def answer(self): return used"
    with pytest.raises(PipelineError, match=message) as caught:
        kit.typed(source)
    assert str(caught.value).startswith("class Node is not in a file and cannot be sent to the node's process: ")


def test_a_refusal_says_what_to_do(kit: Any) -> None:
    source = f"class Node(MultiprocessNode):{kit.methods}\n    def answer(self): return weights"
    with pytest.raises(PipelineError, match=r"create it in initialize\(\), or pass it in the node's config$"):
        kit.typed(source, weights=object())


def test_another_python_version_is_refused_naming_both(kit: Any) -> None:
    reference = kit.typed(f"class Node(MultiprocessNode):{kit.methods}")
    other = reference | {"python": "3.99.1", "magic": "00000d0a"}
    error = kit.load_error(other)
    assert "ImportError: the class comes from Python 3.99.1" in error
    assert f"is Python {sys.version.split()[0]} ({sys.executable})" in error


@pytest.mark.parametrize("data", ["&&&", "AAAA", base64.b64encode(b"\xe9\x01").decode(), "TgA="])
def test_damaged_data_is_refused(kit: Any, data: str) -> None:
    reference = kit.typed(f"class Node(MultiprocessNode):{kit.methods}") | {"data": data}
    assert "ValueError: the class sent by value is damaged" in kit.load_error(reference)


def test_the_child_can_describe_the_class_again(kit: Any) -> None:
    reference = kit.typed(f"LIMIT = 4\nclass Node(MultiprocessNode):{kit.methods}\n    def answer(self): return LIMIT")
    module = describe_class.__module__
    again = kit.load(reference, f"__import__({module!r}, fromlist=['x']).describe_class(cls)")
    assert again["kind"] == "value"
    assert kit.load(again, "node.answer()") == 4


atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**30)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters())
    | st.binary()
)
hashable = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner), max_leaves=5)
plain = st.recursive(
    hashable,
    lambda inner: st.lists(inner) | st.tuples(inner) | st.sets(hashable) | st.dictionaries(hashable, inner),
    max_leaves=12,
)

CANONICAL = """
def canonical(value):
    if isinstance(value, dict):
        return ["dict", [[canonical(key), canonical(entry)] for key, entry in value.items()]]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [canonical(entry) for entry in value]]
    if isinstance(value, (set, frozenset)):
        return [type(value).__name__, sorted(repr(canonical(entry)) for entry in value)]
    return [type(value).__name__, ascii(value)]
"""
exec(CANONICAL)


@given(data=plain)
@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plain_data_comes_out_as_it_went_in(kit: Any, loader: Any, data: object) -> None:
    source = f"{CANONICAL}\nclass Node(MultiprocessNode):{kit.methods}\n    def answer(self): return canonical(DATA)"
    expected = json.loads(json.dumps(globals()["canonical"](data)))
    assert loader.load(kit.typed(source, DATA=data), "node.answer()") == expected


def test_special_floats_and_text_that_is_no_unicode(kit: Any) -> None:
    body = "    def answer(self): return [math.isnan(DATA[0]), ascii(DATA[1:])]"
    data = [math.nan, -0.0, math.inf, "\udc80", ..., 1 << 100]
    assert answer(kit, body, "import math", DATA=data) == [True, ascii(data[1:])]


def test_what_a_class_declares_goes_with_it(kit: Any) -> None:
    source = """
from remotemedia.core.data import DataType
from remotemedia.core.multiprocessing import Param

class Node(MultiprocessNode):
    params = {
        "gain": Param(float, 1, low=0, high=9, help="x"),
        "mode": Param(str, None, choices=("a", "b")),
        "words": Param(list, ["a"]),
        "path": Param(str, "p"),
    }
    inputs = {"sound": DataType.AUDIO, "any": None}
    outputs = {"both": (DataType.TEXT, DataType.TENSOR)}
    async def initialize(self): pass
    async def process(self, data): return None
    async def cleanup(self): pass
"""
    reference = kit.typed(source)
    assert kit.load(reference, "node.config") == {"gain": 3.0, "mode": None, "words": ["a"], "path": "p"}
    assert kit.load(reference, "[repr(param) for param in cls.params.values()]") == [
        repr(param)
        for param in (
            Param(float, 1, low=0, high=9, help="x"),
            Param(str, None, choices=("a", "b")),
            Param(list, ["a"]),
            Param(str, "p"),
        )
    ]
    assert kit.load(reference, "[str(cls.inputs), str(cls.outputs)]") == [
        str({"sound": DataType.AUDIO, "any": None}),
        str({"both": (DataType.TEXT, DataType.TENSOR)}),
    ]
    required = kit.typed(source.replace('Param(str, "p")', "Param(str)"))
    assert kit.load(required, "cls.params['path'].required") is True
