"""A function fits on a screen, and a file has one reason to change: their longest, counted."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
GENERATED = "_generated"

FUNCTION_LINES = 60
RING_FUNCTION_LINES = 45
FILE_LINES = {".pyx": 1000}
OTHER_FILE_LINES = 600
PARSERS = {
    ("payload.py", "_splice"): "one loop over the bytes of a message, with its state in local variables",
}
"""What may be longer, and why."""


def ours(*suffixes: str) -> list[Path]:
    """The files under version control with these suffixes, without generated ones."""
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    paths = [REPOSITORY / name for name in listed.splitlines()]
    return [path for path in paths if path.suffix in suffixes and GENERATED not in path.parts and path.is_file()]


def functions_of(path: Path) -> list[tuple[str, int]]:
    """Name and number of lines of each function, with its docstring but without decorators: a command's are a list."""
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def extension_functions(path: Path) -> list[tuple[str, int]]:
    """The same for Cython, whose functions end where a line begins less far to the right."""
    found, lines = [], path.read_text().splitlines()
    for number, line in enumerate(lines):
        start = re.match(r"( *)c?p?def\b[^(]*?(\w+)\(", line)
        if start is None or line.lstrip().startswith(("cdef class", "cdef struct", "cdef extern")):
            continue
        indent, end = len(start[1]), number + 1
        while end < len(lines) and (
            not lines[end].strip() or _indent(lines[end]) > indent or lines[end].lstrip().startswith(")")
        ):
            end += 1
        while not lines[end - 1].strip():
            end -= 1
        found.append((start[2], end - number))
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def test_functions_of_the_package_fit_on_a_screen() -> None:
    long = [
        f"{path.relative_to(REPOSITORY)}: {name} has {lines} lines"
        for path in ours(".py")
        if path.is_relative_to(REPOSITORY / "remotemedia")
        for name, lines in functions_of(path)
        if lines > FUNCTION_LINES and (path.name, name) not in PARSERS
    ]
    assert not long, "\n".join(long)


def test_functions_of_the_ring_fit_on_a_screen() -> None:
    long = [
        f"{path.name}: {name} has {lines} lines"
        for path in ours(".pyx", ".pxi")
        for name, lines in extension_functions(path)
        if lines > RING_FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


def test_files_have_one_reason_to_change() -> None:
    long = [
        f"{path.relative_to(REPOSITORY)} has {lines} lines"
        for path in ours(".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".c")
        if (lines := len(path.read_text().splitlines())) > FILE_LINES.get(path.suffix, OTHER_FILE_LINES)
    ]
    assert not long, "\n".join(long)


def test_the_count_bites(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("@property\ndef long(self):\n" + "    pass\n" * 70 + "\ndef short():\n    pass\n")
    assert functions_of(tmp_path / "a.py") == [("long", 71), ("short", 2)]
    signature = "    cdef inline int long(\n        self\n    ) except -1:\n"
    short = "\n    def short(self):\n        pass\n"
    (tmp_path / "a.pyx").write_text("cdef class C:\n    cdef int a\n" + signature + "        pass\n" * 70 + short)
    assert extension_functions(tmp_path / "a.pyx") == [("long", 73), ("short", 2)]
