"""docs/nodes.md: its nodes do what the page says, in a host of one node and in sessions."""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from remotemedia.core.data import RuntimeData
from remotemedia.core.multiprocessing import END_OF_TURN, MultiprocessNode
from remotemedia.testing import NodeHost, run_node

pytestmark = pytest.mark.usefixtures("leak_check")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "nodes.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CLASSES = [node.name for program in PROGRAMS for node in ast.parse(program).body if isinstance(node, ast.ClassDef)]

text = RuntimeData.text

IN_A_SESSION = """

import asyncio
from remotemedia import Pipeline, Session

async def main():
    for name in ("Sentences", "Collects", "Batches", "Computes"):
        async with Session(name, Pipeline().add_node(name.lower(), "node").add_node("shout", "shout").connect(
            "node", "output", "shout", "input"
        )) as session:
            async with session.turn("node") as turn:
                for word in ("good", "morning"):
                    await turn.send(RuntimeData.text(word))
            print(name, [data.payload async for _, data in turn.outputs()])


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Every name that the page's programs define."""
    names: dict[str, Any] = {"__name__": "page"}
    for program in PROGRAMS:
        exec(program.replace('@register_node("', '@register_node("page-'), names)
    return names


def said(outputs: list[RuntimeData]) -> list[str]:
    return [f"<{data.mark}>" if data.mark else str(data.payload) for data in outputs]


def lived(page: dict[str, Any], name: str, *messages: RuntimeData, **config: Any) -> list[RuntimeData]:
    """All that a node of the page gives for these messages."""
    return run_node(page[name](name.lower(), config), messages)


TEXTS = {
    "Shout": (["hi"], ["HI"]),
    "Answers": (["yes"], ["you", "said", "yes"]),
    "Sentences": (
        ["a", "b", f"<{END_OF_TURN}>", "c", f"<{END_OF_TURN}>"],
        ["a b", "<end_of_turn>", "c", "<end_of_turn>"],
    ),
    "Computes": (["abc", "de"], ["cba", "ed"]),
    "Collects": (["a", "b", f"<{END_OF_TURN}>"], ["a", "b", "<end_of_turn>"]),
    "Loads": (["x"], ["x"]),
    "Halves": (["8"], ["4"]),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_becomes_of_texts(page: dict[str, Any], name: str) -> None:
    given, expected = TEXTS[name]
    messages = [RuntimeData.control(one[1:-1]) if one.startswith("<") else text(one) for one in given]
    assert said(lived(page, name, *messages)) == expected


def test_marks(page: dict[str, Any]) -> None:
    mark = RuntimeData.control("scene", {"number": 3})
    assert said(lived(page, "Numbered", text("a"), mark, text("b"))) == ["0: a", "<scene>", "3: b"]


def test_memory(page: dict[str, Any]) -> None:
    [quieter] = lived(page, "Quieter", RuntimeData.audio(np.ones(4, np.float32), 16_000))
    assert quieter.payload.tolist() == [0.5] * 4 and quieter.metadata.sample_rate == 16_000
    frame = np.stack([np.full((2, 3), value, np.uint8) for value in (1, 2, 6)], axis=2)
    [mean] = lived(page, "Mean", RuntimeData.video(frame))
    assert mean.payload.tolist() == [[3.0] * 3] * 2


def test_ports(page: dict[str, Any]) -> None:
    levels = (0.01, 0.2, 0.05)
    messages = [RuntimeData.audio(np.full(4, level, np.float32), 16_000) for level in levels]
    assert [data.port for data in lived(page, "Gate", *messages)] == ["quiet", "loud", "quiet"]
    assert [data.port for data in lived(page, "Gate", *messages, level=0.02)] == ["quiet", "loud", "loud"]
    with pytest.raises(ValueError, match="level"):
        page["Gate"]("gate", {"level": 2})


@pytest.mark.parametrize(("given", "why"), [("ten", "invalid literal"), ("7", "7 is odd")])
def test_errors(page: dict[str, Any], given: str, why: str) -> None:
    async def main() -> None:
        async with NodeHost(page["Halves"]("halves", {})) as host:
            with pytest.raises(ValueError, match=why):
                await host.feed(text(given))
            assert said(await host.feed(text("4"))) == ["2"]

    asyncio.run(main())


@pytest.mark.parametrize("name", ["Sentences", "Collects"])
def test_interruption(page: dict[str, Any], name: str) -> None:
    async def main() -> list[str]:
        async with NodeHost(page[name]("node", {})) as host:
            await host.feed(text("old"))
            await host.interrupt()
            await host.feed(text("new"))
            return said(await host.feed(RuntimeData.control(END_OF_TURN)))

    assert asyncio.run(main()) == ["new", f"<{END_OF_TURN}>"]


def test_tasks_of_its_own(page: dict[str, Any]) -> None:
    async def main() -> list[str]:
        async with NodeHost(page["Batches"]("batches", {})) as host:
            for word in ("good", "morning"):
                await host.send(text(word))
            outputs = [await host.receive() for _ in range(2)]
            assert await host.finish() == []
            return said([data for data in outputs if data is not None])

    assert asyncio.run(main()) == ["Good", "Morning"]


def test_progress(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with NodeHost(page["Loads"]("loads", {})) as host:
            assert host.progress == [(number / 4, f"layer {number}") for number in range(4)]

    asyncio.run(main())
    assert capsys.readouterr().out == "loaded\n"


def test_testing(page: dict[str, Any]) -> None:
    asyncio.run(page["test_sentences"]())


def test_in_sessions(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("\n\n".join(PROGRAMS) + IN_A_SESSION)
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            "Sentences ['GOOD MORNING']",
            "Collects ['GOOD', 'MORNING']",
            "Batches ['GOOD', 'MORNING']",
            "Computes ['DOOG', 'GNINROM']",
        ],
    )


def test_every_class_is_tested_here() -> None:
    tested = {*TEXTS, "Numbered", "Quieter", "Mean", "Gate", "Batches"}
    assert tested == set(CLASSES)


def test_every_hook_is_on_the_page() -> None:
    for name, value in vars(MultiprocessNode).items():
        if callable(value) and not name.startswith("_"):
            assert re.search(rf"\b{name}\b", PAGE), name
