"""What is evaluated: a causal language model of `transformers` and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError

from statespan.compiler.quiet import quiet_transformers
from statespan.errors import InputError

__all__ = ["LanguageModel", "load_language_model"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@final
@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal language model of `transformers`, live, with a tokenizer that goes with it.

    Attributes:
        model: the model; it is read, never written, and left in evaluation mode.
        tokenizer: called as one of `transformers` is. None will do for what needs no text.
        name: what the result calls it.
        leading: the tokens that the tokenizer itself puts before a text (BOS, or none).

    Raises:
        InputError: the tokenizer has more tokens than the model has embeddings, or ends texts with
            one that there is none for.
    """

    model: Any
    tokenizer: Any = None
    name: str = "model"
    leading: tuple[int, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        self.model.eval()
        if self.tokenizer is None:
            return
        self._check(range(self.tokenizer.vocab_size))
        object.__setattr__(self, "leading", tuple(_leading_tokens(self.tokenizer)))
        end = getattr(self.tokenizer, "eos_token_id", None)
        self._check([*self.leading, *([] if end is None else [end])])

    @property
    def vocabulary(self) -> int:
        """The number of tokens that the model has embeddings for."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def padding(self) -> int:
        """A token to pad with: one that ends a text if there is none for it, for it is masked."""
        end = self.model.generation_config.eos_token_id
        ends = [end] if isinstance(end, int) else end or []
        candidates = [getattr(self.tokenizer, "pad_token_id", None), *ends]
        known = (token for token in candidates if token is not None and token < self.vocabulary)
        return next(known, 0)

    @property
    def device(self) -> torch.device:
        """Where the embeddings of the model are."""
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    @property
    def parameters(self) -> int:
        """The number of parameters; weights that are shared count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def encode(self, text: str, *, leading: bool = True) -> list[int]:
        """Return the tokens of a text, after those that the tokenizer puts before one, or without.

        Nothing is put after it.

        Raises:
            InputError: there is no tokenizer, or it made a token that the model does not know.
        """
        if self.tokenizer is None:
            raise InputError(f"{self.name} needs a tokenizer to read text, got none.")
        tokens = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        self._check(tokens)
        return [*self.leading, *tokens] if leading else tokens

    def _check(self, tokens: Sequence[int]) -> None:
        largest = max(tokens, default=-1)
        if largest >= self.vocabulary:
            raise InputError(
                f"the tokenizer does not match {self.name}: it has a token of number {largest}, "
                f"but the model has {self.vocabulary} embeddings. Give the model's own tokenizer."
            )


def _leading_tokens(tokenizer: Any) -> list[int]:
    """Return what the tokenizer puts before a text."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    for begin in range(len(whole) - len(plain) + 1):
        if whole[begin : begin + len(plain)] == plain:
            return whole[:begin]
    return []


def load_language_model(
    folder: Path, *, dtype: str = "float32", device: str | None = None
) -> LanguageModel:
    """Return the model and the tokenizer in a folder that `save_pretrained` wrote.

    Nothing is downloaded. `device` is the GPU where there is one, else the CPU.

    Raises:
        InputError: there is no such folder, no causal language model in it, weights that lack some
            of the model's or are damaged, or no tokenizer that goes with it.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: a model is a folder with a config.json.")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model of transformers: there is no config.json in it.")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # What lacks weights draws them from the global generator.
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=DTYPES[dtype],
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} holds no causal language model: {_first(error)}") from error
    model, info = loaded
    _check_whole(folder, info)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} holds no tokenizer: {_first(error)}") from error
    # Longer texts than the model was trained on are the point: no warning about them.
    tokenizer.model_max_length = 1 << 60
    model.to(place)
    return LanguageModel(model, tokenizer, folder.resolve().name)


def _check_whole(folder: Path, info: Mapping[str, Any]) -> None:
    """Check that no weight of a model was left as it was drawn."""
    shaped = {name for name, *_ in info["mismatched_keys"]}
    lacking = sorted({*info["missing_keys"], *shaped})
    if lacking:
        shown = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
        raise InputError(
            f"the weights in {folder} are not those of its config.json: {len(lacking)} of the "
            f"model's are missing or have another shape, {shown}"
        )


def _first(error: Exception) -> str:
    """Return the first line of a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
