"""``remotemedia serve``: pipelines over gRPC."""

from __future__ import annotations

from pathlib import Path

import click

from remotemedia.cli._errors import guarded
from remotemedia.cli._manifests import nodes_option, parse_settings

__all__ = ["serve"]


@click.command(context_settings={"max_content_width": 100})
@click.option("--host", metavar="ADDRESS", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=int, metavar="N", help="The port; 0 takes any free one.  [default: 50051]")
@click.option("--token-file", metavar="FILE", help="Tokens that clients authenticate with, one a line.")
@click.option("--tls-certificate", metavar="FILE", help="Certificate of the service, PEM: switches TLS on.")
@click.option("--tls-key", metavar="FILE", help="Its private key, PEM.")
@click.option("--tls-client-ca", metavar="FILE", help="CA that signs client certificates, PEM: each must show one.")
@click.option("--max-sessions", type=int, metavar="N", help="Most calls of pipelines at a time.  [default: 100]")
@click.option("--max-processes", type=int, metavar="N", help="Most node processes of all of them.  [default: no limit]")
@click.option("--drain-secs", type=float, metavar="S", help="How long calls may go on when it stops.  [default: 30]")
@click.option("--metrics-port", type=int, metavar="N", help="Port of the Prometheus page.  [default: no page]")
@click.option("--json-log", is_flag=True, help="Log as JSON, an object a line.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other setting of the service (remotemedia config --service has them). May be repeated.",
)
@nodes_option
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The runtime.toml to read.  [default: the one in the current folder]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Log what the sessions and their nodes do.")
@click.option("--debug", is_flag=True, help="Log everything, and all there is about an error.")
def serve(
    node_modules: tuple[str, ...],
    config_path: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
    verbose: bool,
    debug: bool,
    json_log: bool,
    **options: object,
) -> int:
    """Serve pipelines over gRPC (docs/service.md).

    Prints where it listens as soon as it does, and logs to stderr: a line for each call at its end. Ctrl-C (or
    SIGTERM) refuses new calls, and lets running ones finish within --drain-secs; a second one ends them.

    \b
    Examples:
      remotemedia serve
      remotemedia serve --nodes my_nodes.py --port 0 --json
      remotemedia serve --host 0.0.0.0 --token-file tokens.txt \\
          --tls-certificate server.pem --tls-key server.key
      remotemedia serve --set max_sessions_per_client=4 --metrics-port 9464

    \b
    Exit codes:
      0    stopped by Ctrl-C or SIGTERM
      1    nobody read the address, or the service failed
      2    something to put right: option, file, address in use, missing
           library
      130  calls were ended by a second Ctrl-C (143: by SIGTERM)
    """

    def work() -> int:
        # Here and not above: --help needs none of it.
        from remotemedia.cli._serve_run import run_service

        overrides = parse_settings(settings)
        overrides |= {name: value for name, value in options.items() if value is not None}
        if json_log:
            overrides["json_log"] = True
        return run_service(
            overrides=overrides,
            config_path=config_path,
            node_modules=node_modules,
            as_json=as_json,
            verbose=verbose,
            debug=debug,
        )

    return guarded(work, debug=debug, engine=True)
