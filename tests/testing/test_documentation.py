"""docs/testing.md: its programs run as they stand."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from remotemedia.core.data import DataType, RuntimeData
from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.testing import NodeHost

pytestmark = pytest.mark.usefixtures("leak_check")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "testing.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


class Upper(MultiprocessNode):
    inputs = {"input": DataType.TEXT}

    def initialize(self) -> None:
        pass

    def process(self, data: RuntimeData) -> RuntimeData:
        return RuntimeData.text(str(data.payload).upper())

    def cleanup(self) -> None:
        pass


class Counts(Upper):
    def initialize(self) -> None:
        self.report_progress(0.5, "half")

    async def process(self, data: RuntimeData) -> Any:  # type: ignore[override]
        number = 0
        while data.payload == "count":
            yield RuntimeData.text(str(number))
            number += 1
            await asyncio.sleep(0)


def test_the_first_runs() -> None:
    names: dict[str, Any] = {"Upper": Upper}
    exec(PROGRAMS[0], names)
    names["test_upper"]()


def test_the_second_runs() -> None:
    names: dict[str, Any] = {"Counts": Counts, "NodeHost": NodeHost}
    exec(PROGRAMS[1], names)
    asyncio.run(names["test_barge_in"]())


def test_every_call_is_in_the_table() -> None:
    table = set(re.findall(r"\| `await host\.(\w+)", PAGE))
    public = {name for name, value in vars(NodeHost).items() if not name.startswith("_") and callable(value)}
    assert table == public
