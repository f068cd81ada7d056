"""Environments made of requirements: virtual ones in the user's cache, made once, with this remotemedia in them.

Read on in ``_store``: what there is; ``_maker``: how another process makes one; ``__main__``: what that process does.
"""

# May import: errors, _cache, _install, _telling

from __future__ import annotations

from remotemedia.environments._maker import make
from remotemedia.environments._requirements import unmet
from remotemedia.environments._store import Environment, Wanted, all_made, cache_folder, find, remove

__all__ = ["Environment", "Wanted", "all_made", "cache_folder", "find", "make", "remove", "unmet"]
