"""Faults that keep a session from starting: one clear error each, and nothing left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.multiprocessing import (
    InitializationTimeout,
    InitProgress,
    NodeInitializationError,
    PipelineError,
    ProcessCrashError,
    ProcessSpawnError,
)

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.promise(
        "failures",
        "a failed message fails alone; what cannot start is refused with one error, and nothing is left",
        "process() and initialize() that raise, unknown types, late nodes, wrong settings",
    ),
]


@pytest.mark.parametrize("how", ["raise", "raise in __init__"])
def test_a_node_that_cannot_initialize(px: Any, how: str, tmp_path: Path) -> None:
    bell = tmp_path / "cleaned"

    async def main() -> None:
        session = px.session(
            ("t-echo", {"grandchild": True, "cleanup_file": str(bell)}), ("t-init", {"how": how}), "t-echo"
        )
        error = await px.refused(session, NodeInitializationError)
        assert error.node_id == "n1"
        assert "'n1' failed to initialize: RuntimeError: no such weights" in str(error)
        assert 'raise RuntimeError("no such weights")' in error.remote_traceback
        assert error.remote_traceback.strip() in str(error)

    px.run(main())


def test_a_module_that_cannot_be_imported(px: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here.py").write_text(
        "import os\nfrom remotemedia.core.multiprocessing import MultiprocessNode, register_node\n"
        'assert "ONLY_IN_THE_PARENT" in os.environ\n'
        '@register_node("t-only-here")\nclass Here(MultiprocessNode):\n'
        "    async def initialize(self): pass\n    async def process(self, data): pass\n"
        "    async def cleanup(self): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ONLY_IN_THE_PARENT", "1")
    __import__("only_here")
    monkeypatch.delenv("ONLY_IN_THE_PARENT")

    async def main() -> None:
        error = await px.refused(px.session("t-echo", "t-only-here"), NodeInitializationError)
        assert error.node_id == "n1"
        assert "AssertionError" in str(error) and "only_here.py" in str(error)

    px.run(main())
    del sys.modules["only_here"]


def test_an_unknown_node_type_gives_the_nearest_names(px: Any) -> None:
    async def main() -> None:
        error = await px.refused(px.session("t-echo", "t-ech0"), PipelineError)
        assert "node 'n1'" in str(error) and "'t-ech0'" in str(error) and "did you mean" in str(error)
        assert "'t-echo'" in str(error)

    px.run(main())


@pytest.mark.parametrize("how", ["wait", "stick", "deaf"])
def test_a_node_that_is_not_ready_in_time(px: Any, how: str) -> None:
    async def main() -> None:
        heard: list[InitProgress] = []
        session = px.session("t-echo", ("t-init", {"how": how, "grandchild": True}), init_timeout_secs=1.5)
        error = await px.refused(session, InitializationTimeout, heard)
        # As far as they came: on a busy machine that may be less than the rest of this test would like.
        last = {p.node_id: p for p in heard if "so far" not in str(p.message)}
        late = [
            f"{p.node_id!r} ({p.status}, {p.progress * 100:.0f} %{', ' + p.message if p.message else ''})"
            for p in last.values()
            if p.status != "ready"
        ]
        assert str(error) == f"not ready within 1.5 s (init_timeout_secs): {', '.join(late)}"
        assert late[-1].startswith("'n1' (")

    px.run(main())


def test_a_node_that_is_not_ready_in_time_is_quoted(px: Any) -> None:
    says = [
        [("stderr", "\rdownloading 4 %"), ("stderr", "\rdownloading 5 %")],
        [("stderr", "a warning\n"), ("stdout", "shard 1\r"), ("stdout", "shard 2\r")],
        [("stdout", "reading\n"), ("stdout", "two lines\n\n")],
        [],
    ]

    async def main() -> None:
        session = px.session(*(("t-init", {"how": "wait", "says": said}) for said in says), init_timeout_secs=5)
        error = await px.refused(session, InitializationTimeout)
        assert str(error) == (
            "not ready within 5 s (init_timeout_secs): "
            "'n0' (loading, 25 %, reading weights, last said: downloading 5 %), "
            "'n1' (loading, 25 %, reading weights, last said: shard 2), "
            "'n2' (loading, 25 %, reading weights, last said: two lines), "
            "'n3' (loading, 25 %, reading weights)"
        )

    px.run(main())


@pytest.mark.parametrize("executable", ["no-such-python", "/no/such/python", "/etc/passwd", "/"])
def test_a_python_that_is_not_there(px: Any, executable: str) -> None:
    async def main() -> None:
        error = await px.refused(px.session("t-echo", python_executable=executable), ProcessSpawnError)
        assert repr(executable) in str(error) and "python_executable" in str(error)

    px.run(main())


def test_a_python_that_is_none(px: Any) -> None:
    async def main() -> None:
        error = await px.refused(px.session("t-echo", python_executable="false"), ProcessCrashError)
        assert (error.node_id, error.exit_code, error.signal) == ("n0", 1, None)

    px.run(main())


def test_a_python_that_cannot_be_executed(px: Any, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("\x7fnot a program")
    fake.chmod(0o755)

    async def main() -> None:
        error = await px.refused(px.session("t-echo", python_executable=str(fake)), ProcessSpawnError)
        assert "'n0'" in str(error) and str(fake) in str(error)

    px.run(main())
