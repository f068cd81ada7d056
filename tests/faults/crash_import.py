"""A node class whose file cannot be imported where it is needed."""

from __future__ import annotations

import sys

from crash_nodes import CrashNode

from remotemedia.core.multiprocessing import register_node

if "remotemedia.core.multiprocess.runner" in sys.orig_argv:
    raise ImportError("no such library")


@register_node("crash-import")
class CrashImport(CrashNode):
    pass
