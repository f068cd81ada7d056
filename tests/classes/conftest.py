"""Parents that describe a class and children that load it: real interpreters that share nothing but a JSON text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocess.classes import reference as _classref
from remotemedia.core.multiprocess.classes import registry

REPOSITORY = Path(registry.__file__).parents[4]
PATIENCE_S = 60

# What a parent program adds to say what it would send to a node's process.
DESCRIBE = """
import json
from remotemedia.core.multiprocess.classes.reference import describe_class as _describe
from remotemedia.core.multiprocess.classes.registry import lookup_node as _lookup
print("REF " + json.dumps(_describe(_lookup("probe"))), flush=True)
"""

# The child: loads classes, and evaluates an expression on each and on a node of it.
CHILD = """
import json, sys, traceback
from remotemedia.core.multiprocess.classes.reference import load_class
for line in sys.stdin:
    order = json.loads(line)
    try:
        cls = load_class(order["ref"], order["node_type"])
        scope = {"cls": cls, "sys": sys}
        if "node" in order["expression"]:
            scope["node"] = cls("n", {"gain": 3})
        answer = {"result": eval(order["expression"], scope)}
    except BaseException:
        answer = {"error": traceback.format_exc()}
    print("ANSWER " + json.dumps(answer), flush=True)
"""

METHODS = """
    async def initialize(self): pass
    async def process(self, data): return None
    async def cleanup(self): pass
"""


class Kit:
    """Makes programs, runs them as parents, and loads in fresh children what they describe."""

    describe = DESCRIBE
    methods = METHODS

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._elsewhere = folder / "elsewhere"
        self._elsewhere.mkdir()
        self.environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}

    def node(self, body: str = "", name: str = "Node") -> str:
        """Source text of a registered node class."""
        return (
            "from remotemedia.core.multiprocessing import MultiprocessNode, register_node\n"
            f'@register_node("probe")\nclass {name}(MultiprocessNode):{METHODS}{body}\n'
        )

    def file(self, name: str, *parts: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(parts))
        return path

    def parent(self, *arguments: str | Path, stdin: str = "") -> dict[str, Any]:
        """Run a program to its end and give the reference it printed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return self.reference_in(done.stdout)

    def run(self, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def reference_in(self, output: str) -> dict[str, Any]:
        # Not at the start of a line: a prompt may stand before it.
        _, found, text = output.partition("REF {")
        assert found, f"the parent described no class; it printed:\n{output}"
        reference: dict[str, Any] = json.JSONDecoder().raw_decode("{" + text)[0]
        return reference

    def typed(self, source: str, filename: str = "<stdin>", **names: object) -> dict[str, Any]:
        """The reference of class ``Node`` of a source text typed at a prompt where ``names`` are variables."""
        namespace: dict[str, Any] = {"__name__": "__main__", **names}
        imports = "from remotemedia.core.multiprocessing import MultiprocessNode\n"
        exec(compile(imports + source, filename, "exec", dont_inherit=True), namespace)
        # Through JSON text, as it travels.
        reference: dict[str, Any] = json.loads(json.dumps(_classref.describe_class(namespace["Node"])))
        assert reference["kind"] == "value"
        return reference

    def load(self, reference: object, expression: str) -> Any:
        """Load the class in a fresh process and evaluate an expression on ``node`` and ``cls`` there."""
        answer = self._child(reference, "probe", expression)
        assert "result" in answer, answer["error"]
        return answer["result"]

    def load_error(self, reference: object, node_type: str = "probe") -> str:
        """Load the class in a fresh process, which must fail, and give the traceback's text."""
        answer = self._child(reference, node_type, "None")
        assert "error" in answer, "the class loaded"
        return str(answer["error"])

    def _child(self, reference: object, node_type: str, expression: str) -> dict[str, Any]:
        order = {"ref": reference, "node_type": node_type, "expression": expression}
        done = subprocess.run(
            [sys.executable, "-P", "-c", CHILD],
            cwd=self._elsewhere,
            env=self.environment,
            input=json.dumps(order),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
        assert lines, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(lines[0].removeprefix("ANSWER "))
        return answer


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


class Loader:
    """One child that loads class after class: for many examples."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", CHILD],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def load(self, reference: object, expression: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        order = {"ref": reference, "node_type": "probe", "expression": expression}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline().removeprefix("ANSWER "))
        assert "result" in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@pytest.fixture
def loader() -> Any:
    loader = Loader()
    yield loader
    loader.close()
