"""Language models by llama.cpp: a conversation is answered, a piece of text at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from remotemedia._gguf import Found, assemble, find_gguf
from remotemedia.core.multiprocessing import MultiprocessNode
from remotemedia.nodes._letters import Letters
from remotemedia.nodes._model import Model, Stopped

__all__ = ["Llama", "Messages"]

Messages = list[dict[str, Any]]

# So many tokens of a prompt are read before the model can be left.
_AT_ONCE = 256
# What a model without a template of its own is shown.
_ROLES = {"user": "User", "assistant": "Assistant"}


class Llama(Model[Messages, str]):
    """Gives the answer to a conversation in pieces, and can be left between two.

    A prompt that begins as the one before, with its answer, is read from where it differs.
    """

    library = "llama.cpp"
    modules = ("cyllama", "jinja2")
    extra = "llama"
    _found: Found

    def __init__(self, node: MultiprocessNode) -> None:
        super().__init__(node)
        # Threads of OpenMP that wait for work asleep: the nodes beside this one need the processors.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self._context: Any = None
        self._read: list[int] = []
        self._control: re.Pattern[str] | None = None

    async def load_named(self, model: str, models_dir: str) -> None:
        """Find the file, put it together if it comes as packages, and load it.

        FileNotFoundError or ValueError if there is none; what ``load`` raises.
        """
        self._found = find_gguf(type(self._node).__name__, model, models_dir)
        await self.load(self._found.path)

    async def close(self) -> None:
        """Let the model go; waits for its token."""
        await super().close()
        self._context = None

    def _load(self, folder: Path) -> None:
        if not self._found.is_whole:
            model = self._node.config["model"]
            for done in assemble(model):
                self._node.report_progress(0.0, f"putting {model} together, {done:.0%}")
        super()._load(folder)

    def _files(self, folder: Path) -> list[Path]:
        return [folder]

    def _place(self, device: str, compute_type: str) -> tuple[str, str]:
        from cyllama.llama import llama_cpp

        return self._device(device, has_gpu=bool(llama_cpp.llama_supports_gpu_offload())), "stored"

    def _open(self, folder: Path, device: str, compute_type: str) -> Any:
        from cyllama.llama import llama_cpp

        llama_cpp.disable_logging()
        llama_cpp.ggml_backend_load_all()
        config = self._node.config
        how = llama_cpp.LlamaModelParams()
        how.n_gpu_layers = 999 if device == "cuda" else 0
        model = llama_cpp.LlamaModel(str(folder), how)
        shape = llama_cpp.LlamaContextParams()
        shape.n_ctx = min(config["context_tokens"], model.n_ctx_train)
        shape.n_batch = _AT_ONCE
        # Else what lies outside a model's sliding window is gone, and a prompt cannot be read from the middle.
        shape.swa_full = True
        shape.n_threads = shape.n_threads_batch = config["cpu_threads"] or _share()
        self._context = llama_cpp.LlamaContext(model, shape)
        vocab = model.get_vocab()
        control = [vocab.get_text(token) for token in range(vocab.n_vocab) if vocab.is_control(token)]
        if texts := [text for text in control if len(text) > 1]:
            self._control = re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))))
        return model

    def _make(self, given: Messages, tell: Callable[[str], None]) -> None:
        vocab = self._model.get_vocab()
        prompt, ends_at = self._prompt(given, vocab)
        self._read_prompt(prompt)
        letters = Letters(lambda codes: _text_of(vocab, codes))
        sampler = self._sampler()
        speech = _Speech(ends_at)
        for _ in range(self._room(prompt)):
            token = sampler.sample(self._context, -1)
            if vocab.is_eog(token):
                break
            for piece in speech.said_by(letters.completed_by(token)):
                tell(piece)
            if speech.is_over:
                break
            self._decode([token])
        if rest := speech.rest():
            tell(rest)

    def _room(self, prompt: list[int]) -> int:
        """How many tokens an answer may have."""
        most: int = self._node.config["max_new_tokens"]
        return min(most, int(self._context.n_ctx) - len(prompt))

    # --- the prompt ---

    def _prompt(self, given: Messages, vocab: Any) -> tuple[list[int], tuple[str, ...]]:
        """Its tokens, and the texts that end an answer. The oldest exchanges go until there is room for an answer.

        ValueError if the last alone is too long.
        """
        room = self._context.n_ctx - min(self._node.config["max_new_tokens"], self._context.n_ctx // 2)
        system = [one for one in given if one["role"] == "system"]
        rest = [one | {"content": self._harmless(one["content"])} for one in given if one["role"] != "system"]
        while True:
            text, ends_at = self._written([*system, *rest])
            tokens: list[int] = vocab.tokenize(text, add_special=True, parse_special=True)
            if len(tokens) > 1 and tokens[0] == tokens[1] == vocab.token_bos():
                del tokens[0]  # the template has it, too
            if len(tokens) <= room:
                return tokens, ends_at
            following = next((at for at, one in enumerate(rest[1:], 1) if one["role"] == "user"), None)
            if following is None:
                raise ValueError(
                    f"{type(self._node).__name__}: what was said has {len(tokens)} tokens with the system prompt; with "
                    f"{self._context.n_ctx} in all, {room} are left for it"
                )
            rest = rest[following:]

    def _written(self, messages: Messages) -> tuple[str, tuple[str, ...]]:
        template: str = self._node.config["chat_template"] or self._model.get_default_chat_template()
        if not template:
            return _transcript(messages), ("\n",)
        import jinja2

        bos, eos = (self._special(name) for name in ("bos", "eos"))
        try:
            return _filled(template, messages, bos, eos), ()
        except jinja2.TemplateError:
            # Some know no system prompt, and refuse it.
            if not messages or messages[0]["role"] != "system":
                raise
            system, first, *others = messages
            merged = first | {"content": f"{system['content']}\n\n{first['content']}"}
            return _filled(template, [merged, *others], bos, eos), ()

    def _special(self, name: str) -> str:
        vocab = self._model.get_vocab()
        token: int = getattr(vocab, f"token_{name}")()
        return str(vocab.get_text(token)) if token >= 0 else ""

    def _harmless(self, text: str) -> str:
        """What a user says ends no turn: no special token is in it."""
        if self._control is None:
            return text
        return self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    # --- the model ---

    def _read_prompt(self, tokens: list[int]) -> None:
        same = 0
        for old, new in zip(self._read, tokens[:-1], strict=False):  # the last is read anew: it gives the next token
            if old != new:
                break
            same += 1
        if same < len(self._read) and not self._context.memory_seq_rm(0, same, -1):
            self._context.kv_cache_clear()  # a model that cannot forget a part
            same = 0
        del self._read[same:]
        at_once = self._context.n_batch  # the library aborts the process for more
        for at in range(same, len(tokens), at_once):
            if self._stop.is_set():
                raise Stopped
            self._decode(tokens[at : at + at_once])

    def _decode(self, tokens: list[int]) -> None:
        from cyllama.llama import llama_cpp

        try:
            self._context.decode(llama_cpp.llama_batch_get_one(tokens, len(self._read)))
        except BaseException:
            # What it has read of them is not known.
            self._context.kv_cache_clear()
            self._read.clear()
            raise
        self._read += tokens

    def _sampler(self) -> Any:
        from cyllama.llama import llama_cpp

        config = self._node.config
        sampler = llama_cpp.LlamaSampler(llama_cpp.LlamaSamplerChainParams())
        if config["repeat_penalty"] != 1:
            sampler.add_penalties(64, config["repeat_penalty"], 0.0, 0.0)
        if not config["temperature"]:
            sampler.add_greedy()
            return sampler
        sampler.add_top_k(config["top_k"])
        sampler.add_top_p(config["top_p"], 1)
        sampler.add_temp(config["temperature"])
        sampler.add_dist(config["seed"])
        return sampler


def _share() -> int:
    """Of the processors, what this node's process is meant to use."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    return int(share) if share.isdigit() and int(share) else len(os.sched_getaffinity(0))


class _Speech:
    """What a model says, up to where it ends; nothing of a text that ends it comes out."""

    def __init__(self, ends_at: tuple[str, ...]) -> None:
        self.is_over = False
        self._ends_at = ends_at
        self._waiting = ""
        self._has_begun = False

    def said_by(self, text: str) -> Iterator[str]:
        """What a piece of text brings out."""
        text = self._waiting + text
        self._waiting = ""
        if not self._has_begun:
            text = text.lstrip()
        ends = [at for end in self._ends_at if (at := text.find(end)) >= 0]
        if ends and text:
            self.is_over = True
            text = text[: min(ends)]
        elif cut := max((_overlap(text, end) for end in self._ends_at), default=0):
            text, self._waiting = text[:-cut], text[-cut:]
        if text:
            self._has_begun = True
            yield text

    def rest(self) -> str:
        """What was held back and ended nothing."""
        return "" if self.is_over else self._waiting


def _overlap(text: str, end: str) -> int:
    """How much of an end the text ends with."""
    return max((size for size in range(1, len(end)) if text.endswith(end[:size])), default=0)


def _text_of(vocab: Any, codes: list[int]) -> str:
    # The library takes the space in front of a text for its own; in front of a single token it leaves it.
    return str(vocab.token_to_piece(codes[0], special=False) if len(codes) == 1 else vocab.detokenize(codes))


def _transcript(messages: Messages) -> str:
    """For a model that was taught to go on with a text, and not to converse."""
    lines = [
        one["content"].strip() + "\n"
        if one["role"] == "system"
        else f"{_ROLES[one['role']]}: {' '.join(one['content'].split())}"
        for one in messages
    ]
    return "\n".join([*lines, f"{_ROLES['assistant']}:"])


def _filled(template: str, messages: Messages, bos: str, eos: str) -> str:
    """A model's own template, as transformers fills it. It comes with the file, so it is kept from this process."""
    import json
    from datetime import datetime

    import jinja2
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(why: str) -> None:
        raise jinja2.TemplateError(why)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, **how: json.dumps(value, ensure_ascii=False, **how)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    text: str = environment.from_string(template).render(
        messages=messages, bos_token=bos, eos_token=eos, add_generation_prompt=True
    )
    return text
