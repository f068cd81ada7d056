"""``remotemedia models``: the weights that nodes can use by name, and how they come onto this machine."""

from __future__ import annotations

from pathlib import Path

import click

from remotemedia.cli._errors import EXIT_FAILED, Mistake, complain, guarded

__all__ = ["models"]

_models_dir = click.option(
    "--models-dir",
    metavar="FOLDER",
    default="",
    help="A folder with one folder per model, instead of the cache of the Hugging Face Hub.",
)

_backend = click.option(
    "--backend",
    type=click.Choice(["faster-whisper", "transformers", "vibevoice", "lfm2"]),
    default="faster-whisper",
    show_default=True,
    help="What runs the model: of WhisperNode, the library; vibevoice: VibeVoiceNode; lfm2: LFM2AudioNode.",
)


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> int:
    """Fetch and find the weights of nodes such as WhisperNode."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


@models.command("list", context_settings={"max_content_width": 100})
@_backend
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_(backend: str, as_json: bool) -> int:
    """List the models that have names, with their sizes and licences.

    \b
    Examples:
      remotemedia models list
      remotemedia models list --backend transformers
      remotemedia models list --json | jq -r '.models[].name'

    \b
    Exit codes:
      0    the models are listed
    """

    def run() -> int:
        from remotemedia._weights import FORMS

        models = FORMS[backend].named
        if as_json:
            import json

            node_type = FORMS[backend].node_type
            named = [{"name": name, "node_type": node_type, **one._asdict()} for name, one in models.items()]
            click.echo(json.dumps({"models": named}, indent=2))
            return 0
        width = max(map(len, models))
        for name, one in models.items():
            click.echo(f"{name:{width}}  {one.megabytes:5} MB  {one.licence}  {one.remark}")
        return 0

    return guarded(run, debug=False)


@models.command(context_settings={"max_content_width": 100})
@click.argument("model", metavar="MODEL")
@_backend
@_models_dir
def fetch(model: str, backend: str, models_dir: str) -> int:
    """Download the weights of MODEL: a name of the list, or OWNER/NAME on the Hugging Face Hub.

    \b
    Examples:
      remotemedia models fetch base
      remotemedia models fetch base --backend transformers
      remotemedia models fetch base --models-dir /srv/models

    \b
    Exit codes:
      0    the weights are there; their folder is printed
      1    they could not be fetched
      2    there is no such model, or a library is missing
    """

    def run() -> int:
        repository = _repository(model, backend)
        _need_hub()
        from huggingface_hub import snapshot_download

        from remotemedia._weights import FORMS, find_weights

        form = FORMS[backend]
        into = Path(models_dir).expanduser() / model if models_dir else None
        try:
            snapshot_download(repository, allow_patterns=[*form.weights, *form.others], local_dir=into)
            folder = find_weights("models fetch", model, models_dir, form)
        except Exception as error:  # of the network, the disk or the Hub: its libraries have many kinds
            complain(f"{repository} could not be fetched: {' '.join(str(error).split())}")
            return EXIT_FAILED
        click.echo(str(folder))
        return 0

    return guarded(run, debug=False)


@models.command(context_settings={"max_content_width": 100})
@click.argument("model", metavar="MODEL")
@_backend
@_models_dir
def where(model: str, backend: str, models_dir: str) -> int:
    """Print the folder that a node takes the weights of MODEL from; nothing is downloaded.

    \b
    Examples:
      remotemedia models where base
      remotemedia models where base --models-dir /srv/models

    \b
    Exit codes:
      0    the folder is printed
      2    there are no such weights here, or a library is missing
    """

    def run() -> int:
        _need_hub()
        from remotemedia._weights import FORMS, find_weights

        try:
            click.echo(str(find_weights("models where", model, models_dir, FORMS[backend])))
        except (FileNotFoundError, ValueError) as error:
            raise Mistake(str(error)) from None
        return 0

    return guarded(run, debug=False)


def _repository(model: str, backend: str) -> str:
    from remotemedia._naming import offer
    from remotemedia._weights import FORMS, repository_of

    form = FORMS[backend]
    repository = repository_of(model, form)
    if repository is None:
        raise Mistake(f"there is no model {model!r}; {offer(model, form.named, 'the models are')} (or OWNER/NAME)")
    return repository


def _need_hub() -> None:
    import importlib.util

    if importlib.util.find_spec("huggingface_hub") is None:
        from remotemedia._install import install_advice

        raise Mistake(
            f"models are fetched and found with huggingface_hub, which is missing; {install_advice('whisper')}"
        )
