"""``remotemedia proto``: the service's messages, for clients in any language."""

from __future__ import annotations

import os
from pathlib import Path

import click

from remotemedia.cli._errors import Mistake, guarded

__all__ = ["proto"]

_FOR_PROTOC = "remotemedia_v1.proto"
_FOR_NODE = "for_proto_loader/remotemedia.proto"


@click.command(context_settings={"max_content_width": 100})
@click.option("--node", "for_node", is_flag=True, help="For Node.js: the form that proto-loader takes without options.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Write it there, and print the path; in a folder under the name that examples have.",
)
def proto(for_node: bool, output: Path | None) -> int:
    """Print the .proto of the gRPC service.

    Clients in other languages are generated from it. With --node it is protobufjs' JSON descriptor, under a .proto's
    name: @grpc/proto-loader takes it without options, and manifests as they are in their files.

    \b
    Examples:
      remotemedia proto                 look at it
      remotemedia proto -o protos/      write protos/remotemedia_v1.proto
      remotemedia proto --node -o .     write remotemedia.proto, for Node.js

    \b
    Exit codes:
      0    printed or written
      2    the file cannot be written
    """

    def run() -> int:
        from importlib import resources

        source = _FOR_NODE if for_node else _FOR_PROTOC
        content = resources.files("remotemedia").joinpath("service", source).read_bytes()
        if output is None:
            click.echo(content, nl=False)
        else:
            path = output / Path(source).name if output.is_dir() else output
            _write(content, path)
            click.echo(path)
        return 0

    return guarded(run, debug=False)


def _write(content: bytes, path: Path) -> None:
    from remotemedia.cli._drafts import new_draft

    with new_draft(path, "the .proto") as draft:
        try:
            with os.fdopen(draft.fd, "wb", closefd=False) as file:
                file.write(content)
            draft.keep()
        except OSError as error:
            raise Mistake(f"the .proto cannot be written to {path}: {error.strerror}") from None
