"""The implementation behind ``remotemedia.core.multiprocessing``: nothing but that door imports from here.

Its rooms, each a folder, from the ground up: ``kernel`` (what Linux gives), ``values`` (plain objects), ``channel``
(messages meet the ring), ``node`` (what a user writes), ``classes`` (how it reaches its process), ``graph``
(pipelines), ``process`` (one child, from outside) and ``session`` (all of it, running). ``runner`` is the entry of a
node's process.

docs/architecture.md shows who imports whom.
"""

# May import: nothing
