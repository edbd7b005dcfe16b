"""The models of this package: what `statespan probe` trains, on its own operations."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, final

import torch
from safetensors.torch import load
from torch import Tensor

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
from statespan.errors import ConfigError, InputError, UnsupportedError
from statespan.models import SequenceModel, build_model
from statespan.records import read_bytes
from statespan.training import EOS
from statespan.training.initial_weights import read_architecture

__all__ = ["StatespanEngine"]


@final
@ENGINES.register("statespan")
class StatespanEngine(Engine):
    """The models of this package on the CPU."""

    name = "statespan"

    @property
    def version(self) -> str:  # type: ignore[override]
        """The releases of this package and torch."""
        return f"{version('statespan')}, torch {version('torch')}"

    def load(self, checkpoint: Checkpoint) -> Runner:
        try:
            config = read_architecture(checkpoint.folder)
        except ConfigError as error:
            raise UnsupportedError(f"there is no such model in this package: {error}") from error
        tensors = load(read_bytes(checkpoint.folder / "model.safetensors"))
        size = len(checkpoint.symbols)
        model = build_model(config, vocab_size=size, num_outputs=size, generator=torch.Generator())
        model.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
        return _Runner(model.eval())


@final
class _Runner(Runner):
    """A model of this package, which knows no mask: rows of a batch are filled on the right."""

    abilities: frozenset[Ability] = frozenset({
        "score", "unequal", "unmasked", "session", "copy", "crop", "reorder", "greedy", "sampled",
        "threads",
    })  # fmt: skip

    def __init__(self, model: SequenceModel) -> None:
        self.model = model

    @torch.inference_mode()
    def read(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the logits after each token, and the state after the last."""
        output = self.model(ids, state)
        return output.logits, output.state

    def score(self, rows: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        padding = padding or Padding("right", masked=False)
        if padding.masked:
            raise UnsupportedError("the models of this package have no mask.")
        ids, mask = padded(rows, padding.side, padding.filler)
        return unpadded(self.read(ids)[0], mask)

    def start(self, num_rows: int = 1) -> Session:
        return _Session(self, [(0, None)], num_rows)

    def generate(
        self, prompts: Sequence[Tokens], *, steps: int, sampled: bool, seed: int
    ) -> list[Tokens]:
        generator = torch.Generator().manual_seed(seed)
        return [self._write(prompt, steps, sampled, generator) for prompt in prompts]

    def _write(
        self, prompt: Tokens, steps: int, sampled: bool, generator: torch.Generator
    ) -> Tokens:
        logits, state = self.read(torch.tensor([prompt]))
        written: list[int] = []
        while len(written) < steps and EOS not in written:
            chances = logits[0, -1].float().softmax(0)
            token = int(
                torch.multinomial(chances, 1, generator=generator) if sampled else chances.argmax()
            )
            written.append(token)
            logits, state = self.read(torch.tensor([[token]]), state)
        return tuple(written)


@final
class _Session(Session):
    """The states after each piece: values, so that a copy and a way back cost nothing."""

    def __init__(self, runner: _Runner, states: list[tuple[int, Any]], num_rows: int) -> None:
        self.runner, self.states, self.num_rows = runner, states, num_rows

    def feed(self, pieces: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        if padding is not None:
            raise UnsupportedError("the models of this package have no mask.")
        length, state = self.states[-1]
        logits, state = self.runner.read(torch.tensor(pieces), state)
        self.states.append((length + len(pieces[0]), state))
        return [Scores(row.float()) for row in logits]

    def copy(self) -> Session:
        return _Session(self.runner, list(self.states), self.num_rows)

    def crop(self, length: int) -> None:
        lengths = [n for n, _ in self.states]
        if length not in lengths:
            raise InputError(
                f"length must be the end of a piece, {', '.join(map(str, lengths))}, got {length}."
            )
        self.states = self.states[: lengths.index(length) + 1]

    def reorder(self, rows: Sequence[int]) -> None:
        length, state = self.states[-1]
        order = torch.tensor(rows)
        moved = tuple(tuple(part.index_select(0, order) for part in layer) for layer in state)
        self.states = [(length, moved)]
