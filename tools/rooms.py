"""The rooms of the code: what each is for, what it may import, and what it does import.

A room is a package, or a module that stands alone, which says in a comment what it may import::

    # May import: kernel, values, errors

A name stands for a module and all below it, inside ``remotemedia`` or ``remotemedia.core.multiprocess``. Inside a room
everything may import everything. ``make picture`` draws the picture at the top of docs/architecture.md anew.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "FOLDERS",
    "Import",
    "Room",
    "all_modules",
    "imports_in",
    "imports_of",
    "picture",
    "room_of",
    "rooms",
    "short_names",
    "uses",
]

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("remotemedia", "bench", "examples")
HOUSE = "remotemedia.core.multiprocess"
EXTENSION = "remotemedia._ring"
PAGE = REPOSITORY / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: drawn by `make picture` -->", "<!-- rooms: end -->"

_MAY = re.compile(r"^# May import: (.*(?:\n# {2,}.*)*)$", re.MULTILINE)
_ALONE = {
    EXTENSION: ("The ring: segments, slots and payloads in shared memory, and the wake-ups.", ("errors",)),
    "examples": (
        "Programs to begin with.",
        ("core.multiprocessing", "core.data", "audio", "errors", "client", "service", "service.config"),
    ),
}
"""What has no ``__init__.py`` to say it in."""
_NICKNAMES = {"remotemedia": "ground", "remotemedia.core.multiprocessing": "door"}


@dataclass(frozen=True)
class Room:
    """One room. ``may`` holds full module names, and each stands for what is below it too."""

    name: str
    purpose: str
    may: frozenset[str]

    @property
    def short(self) -> str:
        if self.name in _NICKNAMES:
            return _NICKNAMES[self.name]
        for prefix in (f"{HOUSE}.", "remotemedia.core.", "remotemedia."):
            if self.name.startswith(prefix):
                return self.name.removeprefix(prefix)
        return self.name

    @property
    def place(self) -> str:
        """Where it is, from the top folder."""
        path = all_modules().get(self.name)
        if path is None:
            return self.name.replace(".", "/") + (".pyx" if self.name == EXTENSION else "/")
        place = path.relative_to(REPOSITORY)
        return str(place) if place.name != "__init__.py" else f"{place.parent}/"

    def may_import(self, module: str) -> bool:
        """Whether the room's modules may import ``module``, of another room; a room inside a room is another one."""
        other = room_of(module)
        return any(
            module == name or (module.startswith(f"{name}.") and room_of(name) == other)
            for name in self.may - {"nothing"}
        )


@dataclass(frozen=True)
class Import:
    """One imported module. ``late``: not when the importing module is loaded, but in a function or for types only."""

    line: int
    module: str
    late: bool


@functools.cache
def all_modules() -> dict[str, Path]:
    """Every module of ours by its full name, bench and examples included; generated code is left out."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            if "_generated" not in path.parts:
                parts = path.relative_to(REPOSITORY).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def rooms() -> dict[str, Room]:
    """Every room by the full name of its package or module."""
    found = {}
    for name, path in all_modules().items():
        source = path.read_text()
        if said := _MAY.search(source):
            purpose = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
            names = re.sub(r"\n# +", " ", said[1]).split(", ")
            found[name] = Room(name, purpose, frozenset(map(_full_name, filter(None, names))))
    for name, (purpose, may) in _ALONE.items():
        found[name] = Room(name, purpose, frozenset(map(_full_name, may)))
    return found


def _full_name(short: str) -> str:
    if short == "nothing":
        return short
    for name in (f"{HOUSE}.{short}", f"remotemedia.core.{short}", f"remotemedia.{short}", short):
        if name in all_modules() or name == EXTENSION:
            return name
    raise ValueError(f"May import: {short}: there is no such module or package")


def room_of(module: str) -> Room:
    """The room that a module is in: the nearest package around it, or itself, that says what it may import.

    Raises:
        KeyError: no package around it says so.
    """
    name = module
    while name not in rooms():
        name, _, last = name.rpartition(".")
        if not last:
            raise KeyError(module)
    return rooms()[name]


def imports_of(source: str, module: str, *, package: bool) -> Iterator[Import]:
    """Every import statement in ``source``, relative ones resolved."""
    for node, late in _import_statements(ast.parse(source), late=False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, late)
        else:
            base = node.module or ""
            if node.level:
                parts = module.split(".") if package else module.split(".")[:-1]
                base = ".".join(filter(None, [*parts[: len(parts) - node.level + 1], base]))
            for alias in node.names:
                # ``from package import module`` names a module, ``from module import name`` does not.
                inner = f"{base}.{alias.name}"
                is_module = inner in all_modules() or inner == EXTENSION
                yield Import(node.lineno, inner if is_module else short_names().get(inner, base), late)


def _import_statements(around: ast.AST, *, late: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in ast.iter_child_nodes(around):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, late
        elif not isinstance(node, ast.expr):
            in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from _import_statements(node, late=late or in_function or for_types)


@functools.cache
def short_names() -> dict[str, str]:
    """The names that the top package loads on first use, such as ``remotemedia.Session``, and the module of each."""
    source = ast.parse(all_modules()["remotemedia"].read_text())
    homes = next(
        node.value for node in source.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"
    )
    return {f"remotemedia.{name}": home for home, names in ast.literal_eval(homes).items() for name in names}


@functools.cache
def imports_in(module: str) -> tuple[Import, ...]:
    """Every import statement of a module of ours."""
    path = all_modules()[module]
    return tuple(imports_of(path.read_text(), module, package=path.name == "__init__.py"))


@functools.cache
def uses() -> dict[str, frozenset[str]]:
    """Which rooms each room imports, by full names."""
    found: dict[str, set[str]] = {name: set() for name in rooms()}
    found[EXTENSION].add("remotemedia")
    for module in all_modules():
        own = room_of(module).name
        for one in imports_in(module):
            if one.module.partition(".")[0] in FOLDERS and (other := room_of(one.module).name) != own:
                found[own].add(other)
    return {name: frozenset(others) for name, others in found.items()}


def floors() -> list[list[Room]]:
    """The rooms from the ground up: each stands above all that it may import."""
    below = {name: {room_of(other).name for other in room.may if other != "nothing"} for name, room in rooms().items()}
    standing: list[list[Room]] = []
    placed: set[str] = set()
    while len(placed) < len(below):
        floor = sorted(name for name in below if name not in placed and below[name] - {name} <= placed)
        if not floor:
            raise ValueError(f"these rooms may import each other in a circle: {sorted(set(below) - placed)}")
        standing.append([rooms()[name] for name in floor])
        placed.update(floor)
    return standing


def picture() -> str:
    """The floors as a drawing, and the rooms as a table of purposes and imports, in Markdown."""
    levels = list(enumerate(floors()))
    drawing = [f"{level:>3}  {'   '.join(room.short for room in floor)}" for level, floor in reversed(levels)]
    rows = [
        f"| {level} | {room.short} | `{room.place}` | {room.purpose} | {', '.join(_used(room)) or '–'} |"
        for level, floor in reversed(levels)
        for room in floor
    ]
    head = ["| floor | room | place | what it is for | imports |", "| --- | --- | --- | --- | --- |"]
    return "\n".join(["```text", *drawing, "```", "", *head, *rows])


def _used(room: Room) -> list[str]:
    return sorted(rooms()[name].short for name in uses()[room.name] if name != "remotemedia")


def main() -> None:
    """Puts the picture into the page, between its two marks."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{picture()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
