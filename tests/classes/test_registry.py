"""register_node, lookup_node, registered_nodes: this process, the built-ins, and installed packages."""

from __future__ import annotations

import asyncio
import functools
import sys
from abc import abstractmethod
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import remotemedia.nodes
from remotemedia.core.multiprocess.classes import registry
from remotemedia.core.multiprocess.classes.registry import lookup_node, register_node, registered_nodes
from remotemedia.core.multiprocess.node.node import MultiprocessNode
from remotemedia.errors import PipelineError


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A registry of the test's own."""
    # First, or the built-in nodes would register in this one and be missing for all later tests.
    import_module("remotemedia.nodes")
    nodes: dict[str, Any] = {}
    monkeypatch.setattr(registry, "_nodes", nodes)
    return nodes


@pytest.fixture
def fresh_builtins() -> Iterator[None]:
    """Make the built-in nodes register themselves anew, then put the modules back."""
    saved = {name: module for name, module in sys.modules.items() if name.startswith("remotemedia.nodes")}
    for name in saved:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.startswith("remotemedia.nodes")]:
        del sys.modules[name]
    sys.modules.update(saved)
    remotemedia.nodes = saved["remotemedia.nodes"]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Install a package with node types, as a wheel would leave it."""
    made: list[str] = []

    def install(package: str, source: str, entry_points: str) -> None:
        (tmp_path / f"{package}.py").write_text(source)
        metadata = tmp_path / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[remotemedia.nodes]\n{entry_points}\n")
        made.append(package)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield install
    for package in made:
        sys.modules.pop(package, None)


def node(name: str, module: str = "made.up") -> type[MultiprocessNode]:
    async def nothing(self: Any, *arguments: Any) -> None: ...

    body = {"__module__": module, "__qualname__": name, "initialize": nothing, "process": nothing, "cleanup": nothing}
    return type(name, (MultiprocessNode,), body)


PLUGIN = """
from remotemedia.core.multiprocessing import MultiprocessNode, register_node
class Plain(MultiprocessNode):
    async def initialize(self): pass
    async def process(self, data): pass
    async def cleanup(self): pass
@register_node("decorated")
class Decorated(Plain): pass
"""


def test_the_decorator_gives_back_the_class_and_lookup_finds_it() -> None:
    cls = node("Echo")
    assert register_node("echo")(cls) is cls
    assert lookup_node("echo") is cls


@pytest.mark.parametrize("name", ["", None, 3, MultiprocessNode])
def test_a_name_is_a_non_empty_string(name: Any) -> None:
    with pytest.raises(TypeError, match=r'as in @register_node\("my_node"\)'):
        register_node(name)


@pytest.mark.parametrize("thing", [int, print, None])
def test_only_nodes_are_registered(thing: Any, own_registry: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="takes a subclass of MultiprocessNode"):
        register_node("echo")(thing)
    assert own_registry == {}


def test_a_class_needs_no_more_than_process() -> None:
    class Bare(MultiprocessNode):
        def process(self, data: Any) -> Any:
            return data

    with pytest.raises(TypeError, match="abstract"):
        Bare("n", {})
    assert register_node("bare")(Bare) is Bare
    node = Bare("n", {})
    assert asyncio.run(node.initialize()) is asyncio.run(node.cleanup()) is None


def test_a_subclass_of_a_completed_class_keeps_what_it_defines() -> None:
    @register_node("bare")
    class Bare(MultiprocessNode):
        def process(self, data: Any) -> Any:
            return data

    class Louder(Bare):
        def initialize(self) -> str:
            return "its own"

    assert register_node("louder")(Louder)("n", {}).initialize() == "its own"


def test_an_abstract_class_of_the_users_own_is_refused_by_what_it_lacks() -> None:
    class Model(MultiprocessNode):
        def process(self, data: Any) -> Any:
            return self.infer(data)

        @abstractmethod
        def infer(self, data: Any) -> Any: ...

    with pytest.raises(TypeError, match="Model is abstract: it does not define infer"):
        register_node("model")(Model)


class Right(MultiprocessNode):
    """Ways to write methods that the framework can call."""

    def __init__(self, node_id: str, config: Any, device: str = "cpu", **more: Any) -> None:
        super().__init__(node_id, config)

    async def initialize(self, *, quick: bool = False) -> None: ...

    @staticmethod
    def process(*data: Any) -> Any: ...

    @classmethod
    async def finish(cls) -> Any:
        yield None

    on_interrupt = functools.partialmethod(initialize, quick=True)

    @functools.wraps(register_node)
    async def cleanup(self, *arguments: Any) -> None: ...

    # Near the names of methods that it has, and so no slip of the pen.
    def initialise(self) -> None: ...


def test_methods_may_be_written_in_many_ways() -> None:
    assert register_node("right")(Right) is Right


async def _no_init(self: Any, node_id: str, config: Any) -> None: ...


def _one_too_many(self: Any, data: Any, port: Any) -> Any: ...


def _by_keyword(self: Any, *, data: Any) -> Any: ...


def _yields(self: Any) -> Any:
    yield


async def _yields_async(self: Any) -> Any:
    yield


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ({}, "Wrong does not define process(); write `async def process(self, data):`"),
        ({"proces": _yields}, "Wrong does not define process(), but proces(), which nothing calls; write `async def"),
        ({"process": lambda self: None}, "Wrong.process(self) takes the wrong arguments; write `async def process(se"),
        ({"process": _one_too_many}, "data: 'Any', port: 'Any') -> 'Any' takes the wrong arguments; write `async def"),
        ({"process": _by_keyword}, "takes the wrong arguments; write `async def process(self, data):`"),
        (
            {"process": staticmethod(lambda self, data: None)},
            "takes the wrong arguments; write `async def process(self",
        ),
        ({"process": None}, "Wrong.process is not a method but NoneType; write `async def process(self, data):`"),
        ({"initialize": lambda self, config: None}, "Wrong.initialize(self, config) takes the wrong arguments; write"),
        (
            {"initialize": _yields},
            "Wrong.initialize() must not yield, because its code would never run; write `async def i",
        ),
        ({"cleanup": _yields_async}, "Wrong.cleanup() must not yield, because its code would never run; write"),
        ({"on_interrupt": lambda self, report, more: None}, "write `async def on_interrupt(self):`"),
        ({"finish": lambda self, data: None}, "write `async def finish(self):`"),
        ({"initialise": _yields}, "Wrong does not define initialize(), but initialise(), which nothing calls; write `"),
        (
            {"clean_up": _yields},
            "Wrong does not define cleanup(), but clean_up(), which nothing calls; write `async de",
        ),
        (
            {"__init__": lambda self: None},
            "Wrong.__init__(self) takes the wrong arguments; write `def __init__(self, n",
        ),
        ({"__init__": _no_init}, "Wrong.__init__() must not be async; write `def __init__(self, node_id, config):`"),
    ],
)
def test_a_class_that_no_node_can_be_made_of_is_told_what_to_write(
    methods: dict[str, Any], says: str, own_registry: dict[str, Any]
) -> None:
    rest = {} if not methods or "proces" in methods else {"process": lambda self, data: data}
    cls = type("Wrong", (MultiprocessNode,), {"__qualname__": "Wrong", **rest, **methods})
    with pytest.raises(TypeError) as caught:
        register_node("wrong")(cls)
    assert str(caught.value).startswith("@register_node('wrong'): Wrong")
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert own_registry == {}


@pytest.mark.parametrize("arguments", [({}, "n"), ("n", None), (None, {})])
def test_a_base_class_given_the_wrong_arguments_says_which(arguments: tuple[Any, Any]) -> None:
    with pytest.raises(TypeError, match=r"super\(\).__init__\(node_id, config\) takes a str and a dict, in this order"):
        Right(*arguments)


def test_a_cell_run_again_replaces_the_class() -> None:
    register_node("echo")(node("Echo", "__main__"))
    again = register_node("echo")(node("Echo", "__main__"))
    assert lookup_node("echo") is again


@pytest.mark.parametrize(("name", "module"), [("Other", "made.up"), ("Echo", "made.elsewhere")])
def test_another_class_under_a_taken_name_is_refused_naming_both(name: str, module: str) -> None:
    first = register_node("echo")(node("Echo"))
    with pytest.raises(ValueError, match=rf"'echo' is taken: made\.up\.Echo has it, {module}\.{name} wants it"):
        register_node("echo")(node(name, module))
    assert lookup_node("echo") is first


def test_a_script_that_is_imported_too_is_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    as_main, as_module = type(sys)("main_of_test"), type(sys)("module_of_test")
    as_main.__file__ = as_module.__file__ = "/somewhere/script.py"
    monkeypatch.setitem(sys.modules, "main_of_test", as_main)
    monkeypatch.setitem(sys.modules, "module_of_test", as_module)
    register_node("echo")(node("Echo", "main_of_test"))
    again = register_node("echo")(node("Echo", "module_of_test"))
    assert lookup_node("echo") is again


@pytest.mark.usefixtures("fresh_builtins")
def test_builtin_nodes_are_found_without_an_import() -> None:
    assert lookup_node("ReplyNode").__module__ == "remotemedia.nodes.reply"


@pytest.mark.usefixtures("fresh_builtins")
def test_registered_nodes_are_all_known_ones_in_order(plugin: Any) -> None:
    plugin("remotemedia_plugin", PLUGIN, "plain = remotemedia_plugin:Plain")
    register_node("zebra")(node("Zebra"))
    names = list(registered_nodes())
    assert names == sorted(names)
    assert {"ReplyNode", "plain", "decorated", "zebra"} <= set(names)


@pytest.mark.parametrize(
    ("line", "name", "found"),
    [
        ("plain = remotemedia_plugin:Plain", "plain", "Plain"),
        ("decorated = remotemedia_plugin:Decorated", "decorated", "Decorated"),
        ("decorated = remotemedia_plugin", "decorated", "Decorated"),
    ],
)
def test_nodes_of_installed_packages_are_found(plugin: Any, line: str, name: str, found: str) -> None:
    plugin("remotemedia_plugin", PLUGIN, line)
    assert lookup_node(name).__qualname__ == found


def test_a_broken_package_fails_only_its_own_nodes(plugin: Any) -> None:
    plugin("remotemedia_broken", "1 / 0", "broken = remotemedia_broken:Broken")
    plugin("remotemedia_plugin", PLUGIN, "plain = remotemedia_plugin:Plain")
    assert lookup_node("plain").__qualname__ == "Plain"
    with pytest.raises(
        PipelineError, match=r"broken = remotemedia_broken:Broken of remotemedia.broken failed: ZeroDiv"
    ):
        lookup_node("broken")
    with pytest.warns(
        RuntimeWarning, match="remotemedia_broken:Broken of remotemedia.broken failed: ZeroDivisionError"
    ):
        assert "plain" in registered_nodes()
    with pytest.raises(PipelineError, match="Unknown node type 'brokem'; did you mean 'broken'"):
        lookup_node("brokem")


def test_an_entry_point_that_is_no_node_says_so(plugin: Any) -> None:
    plugin("remotemedia_plugin", PLUGIN, "wrong = remotemedia_plugin:register_node")
    with pytest.raises(PipelineError, match="takes a subclass of MultiprocessNode"):
        lookup_node("wrong")


def test_an_unknown_type_names_the_nearest_and_how_to_register() -> None:
    register_node("whisper")(node("Whisper"))
    with pytest.raises(PipelineError) as caught:
        lookup_node("wisper")
    assert "Unknown node type 'wisper'; did you mean 'whisper'?" in str(caught.value)
    assert '@register_node("wisper")' in str(caught.value)


def test_an_unknown_type_like_no_other_lists_all() -> None:
    register_node("whisper")(node("Whisper"))
    with pytest.raises(PipelineError, match=r"known types: .*'whisper'"):
        lookup_node("####")


BUILTIN = "remotemedia.nodes.made_up"


def test_a_programs_node_takes_the_place_of_a_built_in_one_whoever_comes_first() -> None:
    own = register_node("whisper")(node("Own"))
    register_node("whisper")(node("Whisper", BUILTIN))
    assert lookup_node("whisper") is own
    register_node("Other")(node("Other", BUILTIN))
    later = register_node("Other")(node("Later"))
    assert lookup_node("Other") is later
    with pytest.raises(ValueError, match=r"'whisper' is taken: made\.up\.Own has it"):
        register_node("whisper")(node("Another"))


def test_a_built_in_node_has_its_second_name_until_a_package_wants_it(
    plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_not_packages", set())
    builtin = register_node("second")(register_node("First")(node("First", BUILTIN)))
    assert lookup_node("second") is lookup_node("First") is builtin
    registry._not_packages.clear()  # as in a new process
    plugin("remotemedia_plugin", PLUGIN, "second = remotemedia_plugin:Plain\nFirst = remotemedia_plugin:Plain")
    assert lookup_node("second").__qualname__ == "Plain"
    assert lookup_node("First") is registered_nodes()["First"] is builtin
