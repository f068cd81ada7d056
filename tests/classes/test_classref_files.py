"""Classes that are in a file: modules, modules loaded from a path, scripts, ``python -m``; and wrong references."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocess.classes import reference as _classref
from remotemedia.core.multiprocess.classes.imports import search_path
from remotemedia.core.multiprocess.classes.reference import describe_class, load_class, stop_if_loading
from remotemedia.core.multiprocess.classes.registry import lookup_node

PATH: dict[str, list[str]] = {"first": [], "last": []}

# A program like the client of the quick start: it starts its session at the top level, unguarded.
CLIENT = """
import asyncio
from remotemedia.core.multiprocess.classes.reference import stop_if_loading
async def main():
    stop_if_loading()
    {describe}
    print("the session has started")
{run}
print("the script has ended")
"""


def client(kit: Any, run: str = "asyncio.run(main())") -> str:
    return CLIENT.format(describe=kit.describe.strip().replace("\n", "\n    "), run=run)


def test_a_builtin_node_travels_as_its_name(kit: Any) -> None:
    reference = describe_class(lookup_node("ReplyNode"))
    assert (reference["kind"], reference["module"]) == ("module", "remotemedia.nodes.reply")
    assert kit.load(reference, "[cls.__module__, cls.__qualname__]") == ["remotemedia.nodes.reply", "ReplyNode"]


def test_a_module_beside_the_script_is_found(kit: Any) -> None:
    kit.file("app/nodes.py", "SCALE = 5", kit.node("\n    def scaled(self): return self.config['gain'] * SCALE"))
    kit.file("app/script.py", "import nodes", kit.describe)
    reference = kit.parent(kit.folder / "app/script.py")
    assert (reference["kind"], reference["module"]) == ("module", "nodes")
    assert kit.load(reference, "node.scaled()") == 15


def test_a_module_beside_the_script_that_hides_another_hides_it_in_the_child(kit: Any) -> None:
    """The script's folder comes before the standard library, in the node's process as in the program."""
    kit.file("app/fractions.py", kit.node("\n    def mine(self): return 'the one beside the script'"))
    kit.file("app/script.py", "import fractions", kit.describe)
    assert kit.load(kit.parent(kit.folder / "app/script.py"), "node.mine()") == "the one beside the script"


def test_a_folder_added_behind_the_standard_library_stays_behind_it(kit: Any) -> None:
    kit.file("late/fractions.py", "raise RuntimeError('the standard library was shadowed')")
    kit.file("late/beside.py")
    kit.file("late/nodes.py", "import fractions, beside", kit.node())
    kit.file("script.py", "import sys\nsys.path.append('late')\nimport nodes", kit.describe)
    reference = kit.parent("script.py")
    assert reference["path"]["last"][-1] == str(kit.folder / "late")
    assert kit.load(reference, "cls.__module__") == "nodes"


def test_the_search_path_has_what_the_user_added_and_no_names_of_import_hooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", sysconfig.get_path("stdlib"), "__editable__.hook", str(tmp_path / "gone")])
    assert search_path() == {"first": [str(tmp_path)], "last": []}


def test_a_nested_class_is_found_by_its_qualified_name(kit: Any) -> None:
    body = "\n".join("    " + line for line in kit.node().splitlines())
    kit.file("nodes.py", "class Outer:\n" + body)
    kit.file("script.py", "import nodes", kit.describe)
    assert kit.load(kit.parent("script.py"), "cls.__qualname__") == "Outer.Node"


def test_two_classes_of_one_name_are_told_apart_by_their_type(kit: Any) -> None:
    other = kit.node("\n    which = 'second'").replace('"probe"', '"other"')
    kit.file("nodes.py", kit.node("\n    which = 'first'"), other)
    kit.file("script.py", "import nodes", kit.describe)
    assert kit.load(kit.parent("script.py"), "cls.which") == "first"


def test_a_module_that_cannot_be_found_by_name_is_loaded_from_its_file(kit: Any) -> None:
    kit.file("hidden/place.py", "import sys", kit.node("\n    def home(self): return sys.modules[__name__].__file__"))
    loading = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("made_up.name", "hidden/place.py")
module = sys.modules["made_up.name"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""
    kit.file("script.py", loading, kit.describe)
    reference = kit.parent("script.py")
    assert kit.load(reference, "[cls.__module__, node.home()]") == ["made_up.name", str(kit.folder / "hidden/place.py")]


def test_what_a_module_itself_cannot_import_is_not_hidden_by_loading_its_file(kit: Any) -> None:
    marks = kit.folder / "marks"
    module = kit.file("nodes.py", f"open({str(marks)!r}, 'a').write('ran ')", "import not_installed_anywhere")
    reference = {"kind": "module", "module": "nodes", "qualname": "Node", "file": str(module)}
    error = kit.load_error(reference | {"path": {"first": [str(kit.folder)], "last": []}})
    assert "No module named 'not_installed_anywhere'" in error
    assert marks.read_text() == "ran "


def test_a_module_that_fails_from_its_file_is_not_left_behind(kit: Any) -> None:
    module = kit.file("nodes.py", "import sys", "assert 'made_up' in sys.modules", "raise RuntimeError('no GPU here')")
    reference = {"kind": "module", "module": "made_up", "qualname": "Node", "file": str(module), "path": PATH}
    with pytest.raises(RuntimeError, match="no GPU here"):
        load_class(reference, "probe")
    assert "made_up" not in sys.modules


def test_a_local_class_that_import_registers_is_found(kit: Any) -> None:
    body = "\n".join("    " + line for line in kit.node().splitlines())
    kit.file("nodes.py", "def make():\n" + body + "\nmake()")
    kit.file("script.py", "import nodes", kit.describe)
    assert kit.load(kit.parent("script.py"), "cls.__qualname__") == "make.<locals>.Node"


def test_a_class_with_a_new_name_each_time_is_found_by_its_type(kit: Any) -> None:
    renamed = "import os\nNode.__qualname__ = f'Node_{os.getpid()}'"
    kit.file("nodes.py", kit.node("\n    mark = 'renamed'"), renamed)
    kit.file("script.py", "import nodes", kit.describe)
    assert kit.load(kit.parent("script.py"), "cls.mark") == "renamed"


def test_a_local_class_is_refused(kit: Any) -> None:
    body = "\n".join("    " + line for line in kit.node().splitlines())
    kit.file("nodes.py", "def make():\n" + body)
    kit.file("script.py", "import nodes\nnodes.make()", kit.describe)
    error = kit.load_error(kit.parent("script.py"))
    assert "class make.<locals>.Node (node type 'probe') is inside a function" in error
    assert "define it at the top level of a module" in error


def test_a_missing_class_is_named_with_similar_ones_and_both_files(kit: Any) -> None:
    kit.file("nodes.py", kit.node(name="AudioNodes"))
    reference = {"kind": "module", "module": "nodes", "qualname": "AudioNode", "file": "/else/where/nodes.py"}
    reference["path"] = {"first": [str(kit.folder)], "last": []}  # type: ignore[assignment]
    error = kit.load_error(reference, node_type="other")
    assert f"ImportError: {kit.folder}/nodes.py has no class AudioNode (node type 'other')" in error
    assert "; did you mean 'AudioNodes'?" in error and "/else/where/nodes.py" in error


def test_what_is_no_node_class_is_refused(kit: Any) -> None:
    reference = {"kind": "module", "module": "fractions", "qualname": "Fraction", "file": None, "path": PATH}
    assert "TypeError: Fraction, registered as node type 'probe', is not a MultiprocessNode" in kit.load_error(
        reference
    )


def test_a_module_that_starts_a_session_on_import_does_not_start_one_per_process(kit: Any) -> None:
    kit.file("nodes.py", kit.node(), client(kit))
    reference = kit.parent("-c", "import nodes")
    assert reference["kind"] == "module"
    assert kit.load(reference, "cls.__qualname__") == "Node"


@pytest.mark.parametrize(
    "run",
    [
        "asyncio.run(main())",
        "async def group():\n"
        "    async with asyncio.TaskGroup() as tasks: tasks.create_task(main())\n"
        "asyncio.run(group())",
        "async def gather():\n    await asyncio.gather(main())\nasyncio.run(gather())",
        "try:\n    asyncio.run(main())\nexcept Exception:\n    pass",
        # Nobody awaits the task, and the main coroutine would wait for ever.
        "async def background():\n"
        "    task = asyncio.create_task(main())\n"
        "    task.add_done_callback(lambda _: done.set())\n"
        "    done = asyncio.Event()\n"
        "    await (asyncio.Event().wait() if __name__ == '__mp_main__' else done.wait())\n"
        "asyncio.run(background())",
        # What trio does.
        "try:\n    asyncio.run(main())\nexcept SystemExit as stop:\n    raise BaseExceptionGroup('tasks', [stop])",
    ],
    ids=["run", "task group", "gather", "except Exception", "background task", "exception group"],
)
def test_an_unguarded_script_runs_up_to_its_session(kit: Any, run: str) -> None:
    marks = kit.folder / "marks"
    mark = f"open({str(marks)!r}, 'a').write(__name__ + ' ')\n"
    kit.file(
        "client.py", kit.node("\n    def home(self): return [__name__, HELP]"), "HELP = 'help'", client(kit, run), mark
    )
    reference = kit.parent("client.py")
    assert (reference["kind"], reference["file"]) == ("script", str(kit.folder / "client.py"))
    assert kit.load(reference, "node.home()") == ["__mp_main__", "help"]
    assert marks.read_text() == "__main__ ", "the child ran past the start of the session"


def test_a_stop_that_comes_when_the_run_is_over_is_none(kit: Any) -> None:
    """Else nothing of the run would be taken down, and the stop would be raised in the node, again and again."""
    late = """
import signal, sys
def signalled(frame, event, argument):
    if event == "call" and frame.f_code.co_name == "__exit__" and frame.f_code.co_filename.endswith("classes/rerun.py"):
        sys.setprofile(None)
        signal.raise_signal(signal.SIGURG)
sys.setprofile(signalled)
"""
    kit.file("client.py", kit.node(), late, client(kit))
    expression = (
        "[sys.getprofile(), __import__('signal').getsignal(__import__('signal').SIGURG), "
        "[thread.name for thread in __import__('threading').enumerate()]]"
    )
    assert kit.load(kit.parent("client.py"), expression) == [None, 0, ["MainThread"]]


def test_the_script_is_the_main_module_of_the_child(kit: Any) -> None:
    kit.file("client.py", kit.node(), client(kit))
    expression = "[sys.modules['__main__'] is sys.modules['__mp_main__'], sys.modules['__main__'].__file__]"
    assert kit.load(kit.parent("client.py"), expression) == [True, str(kit.folder / "client.py")]


def test_a_guarded_script_runs_to_its_end(kit: Any) -> None:
    guarded = 'if __name__ == "__main__":\n    raise_only_here = 1' + kit.describe.replace("\n", "\n    ")
    kit.file("client.py", kit.node("\n    def late(self): return LATE"), guarded, "LATE = 'after the guard'")
    assert kit.load(kit.parent("client.py"), "node.late()") == "after the guard"


def test_a_class_defined_in_the_main_function_of_a_script_is_found(kit: Any) -> None:
    body = "\n".join("    " + line for line in kit.node().splitlines())
    main = client(kit).replace("async def main():", "async def main():\n" + body)
    kit.file("client.py", main)
    assert kit.load(kit.parent("client.py"), "cls.__qualname__") == "main.<locals>.Node"


def test_a_script_finds_its_arguments_and_its_neighbours(kit: Any) -> None:
    kit.file("app/neighbour.py", "NAME = 'neighbour'")
    arguments = (
        "import argparse, neighbour\np = argparse.ArgumentParser()\np.add_argument('gain')\nARGS = p.parse_args()"
    )
    body = "\n    def told(self): return [ARGS.gain, neighbour.NAME]"
    kit.file("app/client.py", arguments, kit.node(body), client(kit))
    assert kit.load(kit.parent("app/client.py", "seven"), "node.told()") == ["seven", "neighbour"]


def test_a_script_that_exits_after_its_class_is_fine(kit: Any) -> None:
    kit.file("client.py", kit.node(), kit.describe, "import sys\nsys.exit(0)")
    assert kit.load(kit.parent("client.py"), "cls.__module__") == "__mp_main__"


def test_a_script_that_fails_in_the_child_only_says_that_it_is_run_there(kit: Any) -> None:
    failing = 'if __name__ != "__main__": raise RuntimeError("the port is in use")'
    kit.file("client.py", kit.node(), failing, kit.describe)
    error = kit.load_error(kit.parent("client.py"))
    assert "RuntimeError: the port is in use" in error and "belongs under `if __name__ == '__main__':`" in error


def test_a_program_run_with_dash_m_keeps_its_relative_imports(kit: Any) -> None:
    kit.file("app/__init__.py")
    kit.file("app/tools.py", "NAME = 'tools'")
    kit.file("app/client.py", "from . import tools", kit.node("\n    def tool(self): return tools.NAME"), client(kit))
    kit.file("app/__main__.py", "from .tools import NAME", kit.node("\n    def tool(self): return NAME"), client(kit))
    for module in ("app.client", "app"):
        reference = kit.parent("-m", module)
        assert reference["kind"] == "module-main"
        assert kit.load(reference, "[node.tool(), cls.__module__]") == ["tools", "__mp_main__"]


def test_a_folder_with_a_main_file_is_a_script(kit: Any) -> None:
    kit.file("app/neighbour.py", "NAME = 'neighbour'")
    body = "\n    def told(self): return neighbour.NAME"
    kit.file("app/__main__.py", "import neighbour", kit.node(body), client(kit))
    reference = kit.parent("app")
    assert reference["kind"] == "script"
    assert kit.load(reference, "node.told()") == "neighbour"


def test_a_script_under_a_profiler_is_found(kit: Any) -> None:
    kit.file("client.py", kit.node(), client(kit))
    reference = kit.parent("-m", "cProfile", "client.py")
    assert (reference["kind"], reference["file"]) == ("script", str(kit.folder / "client.py"))
    assert kit.load(reference, "cls.__qualname__") == "Node"


def test_outside_a_loading_child_a_session_may_start() -> None:
    stop_if_loading()


def test_a_session_may_start_once_the_class_is_loaded(kit: Any) -> None:
    kit.file("client.py", kit.node(), client(kit))
    reference = kit.parent("client.py")
    assert kit.load(reference, f"__import__({_classref.__name__!r}, fromlist=['x']).stop_if_loading()") is None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (None, "must be a dict, not NoneType"),
        ([], "must be a dict, not list"),
        ({}, "has no 'kind'"),
        ({"kind": "pickle", "qualname": "X", "path": PATH}, "unknown kind 'pickle'; it may be module, script"),
        ({"kind": 3, "qualname": "X", "path": PATH}, "'kind' must be a non-empty string, not 3"),
        ({"kind": "module", "path": PATH}, "of kind 'module' has no 'qualname'"),
        ({"kind": "module", "qualname": "X"}, "has no 'path'"),
        ({"kind": "module", "qualname": "X", "path": []}, "'path' must have 'first' and 'last'"),
        ({"kind": "module", "qualname": "X", "path": {"first": [1], "last": []}}, "'path' must be a list of strings"),
        ({"kind": "module", "qualname": "X", "path": PATH, "file": None}, "has no 'module'"),
        ({"kind": "module", "qualname": "X", "path": PATH, "file": 1, "module": "m"}, "'file' must be a non-empty str"),
        ({"kind": "script", "qualname": "X", "path": PATH, "file": "f"}, "has no 'argv'"),
        (
            {"kind": "script", "qualname": "X", "path": PATH, "file": "f", "argv": "a b"},
            "'argv' must be a list of strings",
        ),
        ({"kind": "script", "qualname": "X", "path": PATH, "argv": []}, "has no 'file'"),
        ({"kind": "module-main", "qualname": "X", "path": PATH, "argv": []}, "has no 'module'"),
        ({"kind": "value", "qualname": "X", "path": PATH, "argv": []}, "has no 'python'"),
    ],
)
def test_a_wrong_reference_is_refused_saying_what_is_wrong(
    reference: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["untouched"])
    with pytest.raises(ValueError, match=message):
        load_class(reference, "probe")
    assert sys.argv == ["untouched"]
    stop_if_loading()


def test_a_program_that_is_gone_says_so(kit: Any) -> None:
    reference = {"kind": "module-main", "qualname": "X", "path": PATH, "argv": ["x"], "module": "gone_program"}
    assert "No module named 'gone_program' in the node's process" in kit.load_error(reference)
    reference |= {"kind": "script", "file": str(kit.folder / "gone.py")}
    assert "FileNotFoundError" in kit.load_error(reference)


@pytest.mark.parametrize("typed", [False, True])
def test_a_class_that_lacks_what_would_do_nothing_is_completed_where_no_decorator_runs(kit: Any, typed: bool) -> None:
    body = "class Node(MultiprocessNode):\n    def process(self, data): return data\n"
    if typed:
        reference = kit.typed(body)
    else:
        kit.file("bare.py", "from remotemedia.core.multiprocessing import MultiprocessNode", body)
        register = "from remotemedia.core.multiprocessing import register_node\nregister_node('probe')(Node)"
        kit.file("script.py", "from bare import Node", register, kit.describe)
        reference = kit.parent("script.py")
    assert kit.load(reference, "[node.node_id, cls.initialize.__name__]") == ["n", "_do_nothing"]
