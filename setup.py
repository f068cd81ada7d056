"""Builds the one extension. REMOTEMEDIA_SANITIZE=address|thread|undefined builds it with that sanitizer."""

import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

if not sys.platform.startswith("linux"):
    sys.exit(f"remotemedia runs on Linux only (memfd, futex, pidfd); this is {sys.platform}.")


class BuildWithCompiler(build_ext):
    """Says in one sentence what is missing when there is no C compiler."""

    def build_extensions(self) -> None:
        try:
            super().build_extensions()
        except Exception as error:
            if "command" in str(error) and "failed: No such file" in str(error):
                sys.exit("remotemedia needs a C compiler to build its extension: install gcc or clang, or set CC.")
            raise


def extensions() -> list[Extension]:
    import numpy
    from Cython.Build import cythonize

    flags = ["-O3", "-std=c11", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function"]
    sanitizer = os.environ.get("REMOTEMEDIA_SANITIZE")
    sanitize = [f"-fsanitize={sanitizer}", "-g", "-O1"] if sanitizer else []
    ring = Extension(
        "remotemedia._ring",
        ["remotemedia/_ring.pyx"],
        depends=[f"remotemedia/{h}" for h in ("_ring_abi.h", "_ring_ops.h", "_pool.h", "_deathwatch.h")],
        include_dirs=[numpy.get_include(), "remotemedia"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_26_API_VERSION")],
        extra_compile_args=flags + sanitize,
        extra_link_args=["-pthread", *sanitize],
    )
    # force: a stale C file is never built.
    return cythonize([ring], force=True, build_dir="build/cython")


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildWithCompiler})
