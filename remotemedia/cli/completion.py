"""``remotemedia completion``: the script that makes a shell complete this command."""

from __future__ import annotations

import click

__all__ = ["completion"]


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
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None  # one of click's own
    click.echo(maker(context.find_root().command, {}, "remotemedia", "_REMOTEMEDIA_COMPLETE").source())
    return 0
