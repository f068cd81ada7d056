"""Builds a copy of the package whose extensions are instrumented for fuzzing. The tree itself is not touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent

# Address checks and undefined behaviour end the process; every branch and comparison is reported to the fuzzer.
_FLAGS = [
    *("-std=c11", "-fno-strict-aliasing", "-O1", "-g1", "-fPIC", "-pthread", "-D_GNU_SOURCE=1"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fsanitize-coverage=trace-pc,trace-cmp"),
    *("-include", str(HERE / "fuzz_build.h"), "-DNPY_NO_DEPRECATED_API=NPY_1_26_API_VERSION"),
]


def build(folder: Path, edits: dict[str, tuple[str, str]] | None = None) -> None:
    """Copies the package to ``folder`` and builds it there; ``edits`` plants (old, new) into files of the copy."""
    import numpy

    package = folder / "remotemedia"
    shutil.copytree(REPOSITORY / "remotemedia", package, ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"))
    for name, (old, new) in (edits or {}).items():
        source = (package / name).read_text()
        if source.count(old) != 1:
            raise ValueError(f"{old!r} stands {source.count(old)} times in {name}, not once")
        (package / name).write_text(source.replace(old, new))
    include = [f"-I{path}" for path in (sysconfig.get_path("include"), numpy.get_include(), package)]
    for module in ("_segment", "_ring"):
        source, made = package / f"{module}.c", package / f"{module}.o"
        extension = package / f"{module}{sysconfig.get_config_var('EXT_SUFFIX')}"
        for command in (
            [sys.executable, "-m", "cython", "-3", "-o", source, package / f"{module}.pyx"],
            ["gcc", *_FLAGS, *include, "-c", source, "-o", made],
            # Without the flags: the sanitizer's library is the fuzzer's, not gcc's.
            ["gcc", "-shared", "-pthread", made, "-o", extension],
        ):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def environment(folder: Path) -> dict[str, str]:
    """What a process needs to run the package built in ``folder`` under the fuzzer."""
    import atheris

    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
        "LD_PRELOAD": str(Path(atheris.path()) / "asan_with_fuzzer.so"),
        # Python keeps its memory; and an impossible size is numpy's MemoryError, as it is without a sanitizer.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    }
