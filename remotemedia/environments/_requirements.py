"""Whether requirements are met by what is installed here."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

__all__ = ["unmet"]


def unmet(requirements: Iterable[str]) -> list[str]:
    """Those that this Python's packages do not meet, and those that are not requirements by name."""
    return [requirement for requirement in requirements if not _is_met(requirement)]


def _is_met(text: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            return True
        version = importlib.metadata.version(requirement.name)
    except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
        return False
    return requirement.url is None and requirement.specifier.contains(version, prereleases=True)
