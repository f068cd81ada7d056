"""``remotemedia completion``: the script that makes a shell complete this command; and what it then offers."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

__all__ = ["complete_manifest", "complete_node_type", "completion"]

_MANIFESTS = (".yaml", ".yml", ".json")


@click.command(context_settings={"max_content_width": 100})
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the script that makes SHELL complete commands, options, manifests and node types.

    \b
    Examples:
      eval "$(remotemedia completion bash)"      in ~/.bashrc
      eval "$(remotemedia completion zsh)"       in ~/.zshrc, after compinit
      remotemedia completion fish | source       in ~/.config/fish/config.fish

    \b
    Exit codes:
      0    printed
      2    no such shell
    """
    maker = get_completion_class(shell)
    assert maker is not None  # one of click's own
    click.echo(maker(context.find_root().command, {}, "remotemedia", "_REMOTEMEDIA_COMPLETE").source())
    return 0


def complete_manifest(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Manifests in the folder named so far; any file or folder where there are none."""
    folder = begun[: begun.rfind("/") + 1]
    try:
        names = sorted(path.name for path in Path(folder or ".").iterdir() if path.suffix.lower() in _MANIFESTS)
    except OSError:
        names = []
    found = [CompletionItem(folder + name) for name in names if (folder + name).startswith(begun)]
    return found or [CompletionItem(begun, type="file")]


def complete_node_type(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The node types that are built in or come with installed packages."""
    from remotemedia.core.multiprocessing import registered_nodes

    return [CompletionItem(name) for name in registered_nodes() if name.startswith(begun)]
