"""Pipelines as files: manifests in JSON or YAML, checked against a JSON Schema and what the nodes declare.

``Pipeline.from_manifest`` and ``Pipeline.to_manifest`` are all that most programs need.
"""

# May import: core.multiprocessing, errors, _naming, _rules, _telling

from remotemedia.manifest._load import Manifest, find_problems, load_manifest, read_manifest, read_settings
from remotemedia.manifest._shape import manifest_schema
from remotemedia.manifest._write import manifest_of

__all__ = [
    "Manifest",
    "find_problems",
    "load_manifest",
    "manifest_of",
    "manifest_schema",
    "read_manifest",
    "read_settings",
]
