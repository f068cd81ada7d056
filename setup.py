"""Builds the extensions. REMOTEMEDIA_SANITIZE=address|thread|undefined builds them with that sanitizer."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

if not sys.platform.startswith("linux"):
    sys.exit(f"remotemedia runs on Linux only (memfd, futex, pidfd); this is {sys.platform}.")


class BuildWithCompiler(build_ext):
    """Says in one sentence what is missing, instead of a page of compiler output."""

    def build_extensions(self) -> None:
        compiler = self.compiler.compiler[0]
        if shutil.which(compiler) is None:
            sys.exit(
                f"remotemedia needs a C compiler to build its extension, and there is no {compiler!r}: "
                f"install gcc or clang, or set CC."
            )
        if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
            sys.exit("remotemedia needs Python's C headers to build its extension: install python3-dev.")
        super().build_extensions()


class BuildWithStubs(build_py):
    """Brings the types of generated modules along; to tools these are a package NAME-stubs (PEP 561)."""

    def build_module(self, module: str, module_file: str, package: str | None) -> tuple[str, bool]:
        stub = Path(module_file).with_suffix(".pyi")
        if not package and stub.is_file():
            folder = Path(self.build_lib, f"{module}-stubs")
            self.mkpath(str(folder))
            self.copy_file(str(stub), str(folder / "__init__.pyi"), preserve_mode=False)
        return super().build_module(module, module_file, package)


def extension(name: str) -> Extension:
    import numpy

    flags = ["-O3", "-std=c11", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function"]
    sanitizer = os.environ.get("REMOTEMEDIA_SANITIZE")
    sanitize = [f"-fsanitize={sanitizer}", "-g", "-O1"] if sanitizer else []
    return Extension(
        f"remotemedia.{name}",
        [f"remotemedia/{name}.pyx"],
        depends=sorted(str(path) for kind in ("pxd", "pxi", "h") for path in Path("remotemedia").glob(f"_*.{kind}")),
        include_dirs=[numpy.get_include(), "remotemedia"],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_26_API_VERSION")],
        extra_compile_args=flags + sanitize,
        extra_link_args=["-pthread", *sanitize],
    )


def extensions() -> list[Extension]:
    from Cython.Build import cythonize

    # force: a stale C file is never built.
    return cythonize([extension("_segment"), extension("_ring")], force=True, build_dir="build/cython")


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildWithCompiler, "build_py": BuildWithStubs},
    # Not beside the generated modules, which are what setuptools takes for the root.
    options={"egg_info": {"egg_base": "."}},
)
