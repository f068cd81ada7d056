"""Fuzzes the readers of shared memory: ``python -m proof.fuzz_ring [TARGET] [libFuzzer's options]``.

Targets: ``ring`` (whole channels, scribbled on), ``race`` (scribbled on at the same time), ``mapping`` (descriptors
that hold garbage), ``decoders`` (the text of a header); without one, all of them. Builds an instrumented copy first.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from proof.fuzz_build import build, environment


def fuzz(folder: Path, arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the targets on the build in ``folder``; findings are left as ``crash-...`` or ``timeout-...``."""
    # -P: the package comes from that folder, not from the one this runs in.
    command = [sys.executable, "-P", "-m", "proof.fuzz_targets", "-timeout=20", "-len_control=0", "-max_len=400"]
    return subprocess.run([*command, *arguments], env=environment(folder), check=False, text=True, **options)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        build(Path(name))
        return fuzz(Path(name), sys.argv[1:]).returncode


if __name__ == "__main__":
    sys.exit(main())
