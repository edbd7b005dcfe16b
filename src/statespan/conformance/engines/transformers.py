"""`transformers` as it is installed."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from statespan.compiler.folder import MARK, load_model
from statespan.compiler.quiet import quiet_transformers
from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.engines.rows import padded, unpadded
from statespan.conformance.protocol import (
    ENGINES,
    Ability,
    Engine,
    Padding,
    Runner,
    Scores,
    Session,
    Tokens,
)
from statespan.errors import UnsupportedError
from statespan.training import EOS

__all__ = ["TransformersEngine", "TransformersRunner"]

DISCLAIMED = MappingProxyType(
    {
        "right-padded-prefill": "transformers asks for padding on the left before a cache is "
        "continued; that Mamba's caches are wrong after padding on the right is its issue 48256."
    }
)

RECURRENT = "linear_attention"
ABILITIES: frozenset[Ability] = frozenset({
    "score", "unequal", "mask", "unmasked", "documents", "session", "copy", "crop", "reorder",
    "greedy", "sampled", "threads",
})  # fmt: skip


class TransformersRunner(Runner):
    """A model of `transformers`, called by its public methods alone."""

    abilities = ABILITIES

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        accepted = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.cache_name = "cache_params" if "cache_params" in accepted else "past_key_values"
        kinds = set(getattr(model.config, "layer_types", None) or [])
        self.is_recurrent = kinds == {RECURRENT} or not self.takes_positions

    @torch.inference_mode()
    def forward(self, ids: Tensor, **arguments: Any) -> Mapping[str, Any]:
        """Return what the model gives for token ids: [row, time]."""
        with quiet_transformers():
            output: Mapping[str, Any] = self.model(input_ids=ids, **arguments)
        return output

    def score(self, rows: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        padding = padding or Padding("right", masked=True)
        ids, mask = padded(rows, padding.side, padding.filler)
        logits = self.forward(ids, use_cache=False, **self._padding(mask, padding))["logits"]
        return unpadded(logits, mask)

    def _padding(self, mask: Tensor, padding: Padding) -> dict[str, Tensor]:
        """Return the arguments that tell of the filler, if it is to be told and there is any."""
        if not padding.masked or bool(mask.all()):
            return {}
        arguments = {"attention_mask": mask.long()}
        if self.takes_positions:
            arguments["position_ids"] = _positions(mask)
        return arguments

    def score_packed(self, documents: Sequence[Tokens]) -> list[Scores]:
        """Return the scores of documents in one row, told apart as a collator of theirs does it.

        That is by `position_ids`, `seq_idx` and the bounds of the documents, all of them.
        """
        if not self.takes_positions and not self.packs_by_numbers:
            raise UnsupportedError(
                f"{type(self.model).__name__} takes no position_ids, so documents cannot be packed."
            )
        lengths = [len(document) for document in documents]
        ids = torch.tensor([[token for document in documents for token in document]])
        try:
            output = self.forward(ids, use_cache=False, **self._packing(lengths))
        except ValueError as error:
            raise UnsupportedError(f"transformers refuses packed documents: {error}") from error
        return [Scores(part) for part in output["logits"][0].float().split(lengths)]

    packs_by_numbers = False
    """Whether a model without position ids takes the numbers of the documents all the same."""

    def _packing(self, lengths: Sequence[int]) -> dict[str, Any]:
        bounds = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0).int()
        numbers = torch.arange(len(lengths), dtype=torch.int32)
        packing: dict[str, Any] = {
            "seq_idx": numbers.repeat_interleave(torch.tensor(lengths))[None],
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
        }
        if self.takes_positions:
            packing["position_ids"] = torch.cat([torch.arange(n) for n in lengths])[None]
        return packing

    def start(self, num_rows: int = 1) -> Session:
        return TransformersSession(self, num_rows)

    @torch.inference_mode()
    def generate(
        self, prompts: Sequence[Tokens], *, steps: int, sampled: bool, seed: int
    ) -> list[Tokens]:
        ids, mask = padded(prompts, "left")
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
            model: Any = self.model
            whole = model.generate(
                ids, attention_mask=mask.long(), max_new_tokens=steps, do_sample=sampled,
                **({"top_k": 0, "temperature": 1.0} if sampled else {}),
            )  # fmt: skip
        return [_until_end(row) for row in whole[:, ids.shape[1] :].tolist()]


def _positions(mask: Tensor) -> Tensor:
    """Return the positions that `generate` of transformers would give: filler has 1."""
    return (mask.long().cumsum(-1) - 1).masked_fill(~mask, 1)


def _until_end(tokens: list[int]) -> Tokens:
    length = tokens.index(EOS) + 1 if EOS in tokens else len(tokens)
    return tuple(tokens[:length])


@final
class TransformersSession(Session):
    """A cache of `transformers`, and the mask of all that went into it."""

    def __init__(self, runner: TransformersRunner, num_rows: int) -> None:
        self.runner = runner
        self.cache: Any = DynamicCache(config=runner.model.config)
        self.mask = torch.ones(num_rows, 0, dtype=torch.bool)

    def feed(self, pieces: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        padding = padding or Padding("left", masked=True)
        ids, mask = padded(pieces, padding.side, padding.filler)
        told = mask if padding.masked else torch.ones_like(mask)
        self.mask = torch.cat((self.mask, told), dim=1)
        arguments = {self.runner.cache_name: self.cache, "use_cache": True}
        output = self.runner.forward(ids, **arguments, **self._place(told))
        self.cache = output[self.runner.cache_name]
        return unpadded(output["logits"], mask)

    def _place(self, told: Tensor) -> dict[str, Tensor]:
        """Return where the new tokens stand, as `generate` tells it to a model of this kind."""
        if self.runner.is_recurrent:
            return {} if bool(told.all()) else {"attention_mask": told.long()}
        arguments = {"position_ids": _positions(self.mask)[:, -told.shape[1] :]}
        if not bool(self.mask.all()):
            arguments["attention_mask"] = self.mask.long()
        return arguments

    def copy(self) -> Session:
        other = TransformersSession(self.runner, len(self.mask))
        other.cache, other.mask = copy.deepcopy(self.cache), self.mask
        return other

    def crop(self, length: int) -> None:
        if not bool(self.mask.all()):
            raise UnsupportedError("rows of unequal lengths cannot be cropped.")
        try:
            self.cache.crop(length - self.mask.shape[1])
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise UnsupportedError(f"the cache cannot be cropped: {error}") from error
        self.mask = self.mask[:, :length]

    def reorder(self, rows: Sequence[int]) -> None:
        order = torch.tensor(rows)
        self.cache.reorder_cache(order)
        self.mask = self.mask[order]


@ENGINES.register("transformers")
class TransformersEngine(Engine):
    """`transformers` on the CPU, called as its documentation says."""

    name = "transformers"
    disclaimed = DISCLAIMED
    runner: type[TransformersRunner] = TransformersRunner

    @property
    def version(self) -> str:  # type: ignore[override]
        """The releases of `transformers` and torch."""
        return f"{version('transformers')}, torch {version('torch')}"

    def load(self, checkpoint: Checkpoint) -> Runner:
        return self.runner(self.load_model(checkpoint.folder))

    def load_model(self, folder: Path) -> PreTrainedModel:
        """Return the model in `folder`, in the dtype of its config.

        Raises:
            UnsupportedError: the config asks for another attention.
        """
        model = load_model(folder)
        if "attention" in getattr(model.config, MARK, {}):
            raise UnsupportedError("the config asks for an attention of statespan.memory.")
        return model
