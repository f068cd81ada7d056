"""remotemedia: each node of a media or AI pipeline in a process of its own, wired by shared memory.

Start with ``remotemedia.core.multiprocessing`` (nodes, pipelines, sessions, channels) and
``remotemedia.core.data`` (what travels). This package imports nothing heavy.
"""

__all__ = ["__version__"]
__version__ = "0.1.0"
