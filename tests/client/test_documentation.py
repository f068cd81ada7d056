"""What docs/client.md shows runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from remotemedia.manifest import read_manifest

pytestmark = pytest.mark.usefixtures("leak_check")

DOCUMENT = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
PROGRAMS = re.findall(r"```python\n(import.*?)```", DOCUMENT, re.DOTALL)
PRINTED = ["chunker 400\nchunker 400\nchunker 200\n", "chunker 512\nchunker 488\n[512, 88] {'chunker': 'SUCCESS'}\n"]


@pytest.mark.parametrize(("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)))
def test_the_programs(service: Any, program: str, printed: str) -> None:
    command = [sys.executable, "-c", program.replace("localhost:50051", service.target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("", printed)


def test_the_manifest() -> None:
    (manifest,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert read_manifest(manifest)["nodes"][1]["node_type"] == "RemotePipelineNode"
