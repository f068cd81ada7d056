"""``remotemedia demo``: a spoken question is heard, answered and spoken."""

from __future__ import annotations

from pathlib import Path

import click

from remotemedia.cli._errors import guarded

__all__ = ["DEFAULT_QUESTION", "demo"]

DEFAULT_QUESTION = "hello what time is it"
MODELS_QUESTION = "What is the capital of Germany?"


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "-i",
    "--input",
    "input_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="English speech to listen to: WAV, FLAC or OGG, any rate, mono or stereo; - for stdin (WAV). Without it a "
    "question is made.",
)
@click.option(
    "-o",
    "--output",
    "output_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=Path("answer.wav"),
    show_default=True,
    help="Where the spoken answer goes, .wav or .flac; an existing file is replaced.",
)
@click.option(
    "--question",
    metavar="TEXT",
    help=f'What the question made without -i says.  [default: "{DEFAULT_QUESTION}"; with --models "{MODELS_QUESTION}"]',
)
@click.option(
    "--models",
    is_flag=True,
    help="Converse with small models of today: Smart Turn, Whisper, a language model, Piper; show how long each takes.",
)
@click.option(
    "--voice",
    metavar="NAME",
    help='Voice of the answer: of eSpeak NG, or, with --models, the name or file of one for Piper.  [default: "en-us", '
    'or "en_US-joe-medium"]',
)
@click.option(
    "--realtime/--fast",
    default=None,
    help="Feed the audio at the pace it is spoken, like a microphone, or as fast as the nodes take it.  "
    "[default: a made question at its pace, a file fast; with --models at its pace]",
)
@click.option(
    "--chunk-ms",
    type=click.IntRange(1, 5000),
    metavar="N",
    default=100,
    show_default=True,
    help="Audio fed per message, in milliseconds. What is heard does not depend on it.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print what was heard, the reply and the answer's path, no more.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout; progress goes to stderr.")
@click.option("--debug", is_flag=True, help="Print what the nodes log, and all there is about an error, on stderr.")
def demo(
    input_path: Path | None,
    output_path: Path,
    question: str | None,
    models: bool,
    voice: str | None,
    realtime: bool | None,
    chunk_ms: int,
    quiet: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Hear a spoken question, answer it, speak the answer.

    Seven nodes, each in a process of its own: resample, chunk, detect speech (Silero), recognise it (Whisper,
    if [whisper] is installed and `remotemedia models fetch` has got weights, else PocketSphinx), reply, speak
    (eSpeak NG), write a file. Everything runs on this machine; nothing is downloaded.

    \b
    Examples:
      remotemedia demo                                a question made on the spot
      remotemedia demo --question "what day is it"    another one
      remotemedia demo -i question.flac -o reply.wav  your own recording
      remotemedia demo -i question.flac --realtime    at the pace of a microphone
      remotemedia demo --models                       models, and where time goes
      remotemedia demo --json -o /tmp/answer.wav | jq .transcript

    \b
    Exit codes:
      0    the question was understood and answered
      1    a node failed or its process crashed
      2    something to put right in the command: file, option, missing library
      3    nothing was understood, so there is no answer
      130  stopped by Ctrl-C (143: by SIGTERM)
    """

    def run() -> int:
        # Here and not above: --help needs none of it.
        from remotemedia.cli._demo_run import DemoRequest, run_demo

        usual = MODELS_QUESTION if models else DEFAULT_QUESTION
        request = DemoRequest(
            models=models,
            input_path=input_path,
            output_path=output_path,
            question=usual if question is None and input_path is None else question,
            voice=("en_US-joe-medium" if models else "en-us") if voice is None else voice,
            realtime=models or input_path is None if realtime is None else realtime,
            chunk_ms=chunk_ms,
        )
        return run_demo(request, quiet=quiet, as_json=as_json, debug=debug)

    return guarded(run, debug=debug, engine=True)
