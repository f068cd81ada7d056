"""The command ``remotemedia``, one file per command.

Nothing heavier than click is imported until a command runs.
"""

# May import: core.multiprocessing, core.data, core.json_values, audio, manifest, settings, monitoring, service, errors,
#   service.config, environments, _audio, _drafts, _gguf, _naming, _orphans, _install, _libraries, _python_rules,
#   _weights

from __future__ import annotations

__all__ = ["main"]


def main(arguments: list[str] | tuple[str, ...] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    try:
        # Here: Ctrl-C while it is imported is not an error either.
        from remotemedia.cli._commands import run

        return run(arguments)
    except KeyboardInterrupt:
        return 130
