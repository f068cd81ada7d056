"""``remotemedia run``: a pipeline from a manifest, fed from files, its output written to files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from remotemedia.cli._errors import Mistake, guarded, set_up_logging
from remotemedia.cli._manifests import check_manifest, config_option, nodes_option, parse_settings
from remotemedia.cli.completion import complete_manifest
from remotemedia.errors import ManifestError

if TYPE_CHECKING:
    from remotemedia.core.multiprocessing import MultiprocessConfig, Pipeline

__all__ = ["run"]

_HELP = """\
Run the pipeline in MANIFEST (JSON or YAML) on files.

The input is fed as fast as the nodes take it. Files appear, or are replaced, only once the run has succeeded.
Ctrl-C (or SIGTERM) ends the input: the nodes finish what they have, and the output is kept; a second one kills.

\b
Examples:
  remotemedia run speech.yaml -i question.wav -O answer.wav
  arecord -d 5 -r 16000 | remotemedia run speech.yaml -i - -O - | aplay
  remotemedia run listen.json -i talk.flac -O asr.text=words.txt --json
  remotemedia run two.json -i left=l.wav -i right=r.wav -O mix=m.flac

\b
Exit codes:
  0    done
  1    a node failed, a message failed (without --keep-going), a process
       crashed, or nobody read the output
  2    something to put right: option, manifest, file, data that does not
       fit its file, missing library
  3    done, but no audio came for an audio file, which was not written
  130  ended early by Ctrl-C (143: by SIGTERM)
"""


@click.command(context_settings={"max_content_width": 100}, help=_HELP)
@click.argument("manifest", type=click.Path(path_type=Path), shell_complete=complete_manifest)
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="[NODE=]FILE",
    type=click.Path(),
    help="What to feed: audio (WAV, FLAC, OGG), text or JSON (a message per line), or - for stdin (WAV or text). Once "
    "per input node; NODE= may be left out where there is only one.",
)
@click.option(
    "-O",
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="[NODE[.PORT]=]FILE",
    type=click.Path(),
    help="Where the output goes: audio to .wav or .flac, text and JSON by the line to any other file, - for stdout. "
    "Output without -O is not written.",
)
@click.option(
    "--input-format",
    type=click.Choice(["auto", "audio", "text"]),
    default="auto",
    show_default=True,
    help="What the inputs are; auto goes by the name and the first bytes.",
)
@click.option("--whole-text", is_flag=True, help="Feed a text as one message, not line by line.")
@click.option(
    "--chunk-ms",
    type=click.IntRange(1, 60_000),
    metavar="N",
    default=100,
    show_default=True,
    help="Audio fed per message, in milliseconds.",
)
@click.option("--realtime", is_flag=True, help="Feed audio at the pace it is heard, like a microphone.")
@click.option("--keep-going", is_flag=True, help="Report messages that fail, and go on without them.")
@nodes_option
@config_option
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting, over all files. May be repeated."
)
@click.option("--session-id", metavar="TEXT", help="Name of the session, for logs.  [default: the manifest's name]")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but what goes wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout; not together with -O -.")
@click.option("--debug", is_flag=True, help="Print what the nodes log, and all there is about an error, on stderr.")
def run(
    manifest: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    input_format: str,
    whole_text: bool,
    chunk_ms: int,
    realtime: bool,
    keep_going: bool,
    node_modules: tuple[str, ...],
    config_path: Path | None,
    settings: tuple[str, ...],
    session_id: str | None,
    quiet: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Run the pipeline in MANIFEST on files: see ``_HELP``."""

    def work() -> int:
        # Here and not above: --help needs none of it.
        from remotemedia.cli._run_files import RunRequest, run_files
        from remotemedia.cli._run_screen import run_screen

        stdout_is_data = any(output == "-" or output.endswith("=-") for output in outputs)
        if as_json and stdout_is_data:
            raise Mistake("--json prints on stdout, and so does -O -: choose one")
        if session_id is not None and not session_id:
            raise Mistake("--session-id needs a name")
        set_up_logging(debug=debug)
        pipeline, config, name = _open(manifest, node_modules, config_path, parse_settings(settings))
        request = RunRequest(
            pipeline=pipeline,
            config=config,
            session_id=session_id or name,
            inputs=inputs,
            outputs=outputs,
            input_format=input_format,
            whole_text=whole_text,
            chunk_ms=chunk_ms,
            realtime=realtime,
            keep_going=keep_going,
        )
        with closing(run_screen(quiet=quiet, stdout_is_data=stdout_is_data)) as screen:
            return run_files(request, screen, as_json=as_json)

    return guarded(work, debug=debug, engine=True)


def _open(
    path: Path, node_modules: tuple[str, ...], config_path: Path | None, overrides: dict[str, object]
) -> tuple[Pipeline, MultiprocessConfig, str]:
    """The pipeline, its settings and its name. ManifestError with all that is wrong."""
    from remotemedia.settings import resolve_settings

    manifest, settings, problems = check_manifest(path, node_modules, config_path)
    if manifest is None or settings is None or problems:
        raise ManifestError(problems)
    if overrides:
        settings = resolve_settings(
            manifest_settings=manifest.settings, manifest_path=path, config_path=config_path, overrides=overrides
        )
    return manifest.pipeline, settings.config, manifest.name or path.stem
