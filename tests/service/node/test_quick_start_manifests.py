"""The quick start's Node.js, word for word, with each of its manifests, against ``remotemedia serve``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

SERVICE = Path(__file__).parents[3] / "remotemedia" / "service"


@pytest.mark.usefixtures("node_modules")
def test_as_printed(
    serving: Any, qs: Any, run_node: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shutil.copy(SERVICE / "for_proto_loader" / "remotemedia.proto", tmp_path)
    server = serving.Serving(tmp_path_factory.mktemp("serve"), "--nodes", str(qs.STAND_INS), "--json")
    try:
        script = qs.BLOCKS["Node.js"].replace("localhost:50051", server.address())
        for name in qs.MANIFESTS:
            (tmp_path / "manifest.json").write_text(json.dumps(qs.manifest(name)))
            done = run_node(script)
            assert (done.code, done.err) == (0, ""), name
            assert done.out.startswith("Pipeline executed: {") and done.out.endswith("  status: 1\n}\n"), name
            _, results = done.out.split("node_results: ")
            assert results.count("[Object]") == len(qs.manifest(name)["nodes"]), done.out
    finally:
        server.close()
