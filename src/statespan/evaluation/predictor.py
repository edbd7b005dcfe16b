"""A checkpoint as a predictor: what it says may follow each prefix of a word, and its state there.

A checkpoint is a run directory of a probe, the folder `model` in one, or a compiled folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from statespan.compiler.folder import load_model, read_alphabet
from statespan.compiler.verification import prefix_sets
from statespan.errors import InputError
from statespan.evaluation.accuracy import predict_sets
from statespan.languages import Alphabet, NextSymbols, Word
from statespan.training import PAD
from statespan.training.trained_model import READOUT, TASK, TrainedModel, read_trained_model

__all__ = ["Predictor", "open_predictor"]

TOKENS = 16_384
"""How many tokens are read at once, more or less."""


class Predictor(ABC):
    """What a checkpoint says of words over an alphabet."""

    alphabet: Alphabet
    longest: int | None = None
    """How long a word it can read; None for any."""

    @abstractmethod
    def predict(self, words: Sequence[Word]) -> list[list[NextSymbols]]:
        """Return, for each word, what may follow the empty prefix and each nonempty one."""

    def states(self, word: Word) -> Float[Tensor, "prefix number"] | None:
        """Return the state after each prefix, the empty one first; None where it is not told."""
        del word
        return None


def open_predictor(path: Path) -> Predictor:
    """Return what the checkpoint in `path` predicts.

    Raises:
        InputError: there is no checkpoint that a probe or the compiler wrote.
        StorageError: a file in it cannot be read, or does not fit the others.
    """
    if not path.is_dir():
        raise InputError(
            f"there is no folder {path}: name the run directory of a probe, or a "
            "compiled checkpoint."
        )
    for folder in (path, path / "model"):
        if (folder / READOUT).is_file() or (folder / TASK).is_file():
            return TrainedPredictor(read_trained_model(folder))
    if (path / "statespan.json").is_file():
        return CompiledPredictor(path)
    hint = " Its run is not finished: --resume it." if (path / "config.toml").is_file() else ""
    raise InputError(f"{path} holds no checkpoint of a probe and no compiled one.{hint}")


@final
class TrainedPredictor(Predictor):
    """A model of ours, as a probe trained it."""

    def __init__(self, trained: TrainedModel) -> None:
        self.model, self.readout = trained.model, trained.readout
        self.alphabet = trained.readout.vocabulary.alphabet
        limit = self.model.config.max_tokens
        self.longest = None if limit is None else limit - 1  # one for what stands before the word

    def predict(self, words: Sequence[Word]) -> list[list[NextSymbols]]:
        order = sorted(range(len(words)), key=lambda index: len(words[index]))
        found: list[list[NextSymbols]] = [[] for _ in words]
        begin = 0
        while begin < len(order):
            end = begin + 1
            while end < len(order) and (end + 1 - begin) * (len(words[order[end]]) + 1) <= TOKENS:
                end += 1
            batch = order[begin:end]
            for index, sets in zip(batch, self._predict([words[i] for i in batch]), strict=True):
                found[index] = sets
            begin = end
        return found

    def _predict(self, words: Sequence[Word]) -> list[list[NextSymbols]]:
        vocabulary = self.readout.vocabulary
        encoded = [vocabulary.encode(word) for word in words]
        longest = max(map(len, encoded))
        rows = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in encoded])
        answers = predict_sets(self.model, self.readout, rows).tolist()
        return [
            [vocabulary.symbols(marks) for marks in row[: len(tokens)]]
            for row, tokens in zip(answers, encoded, strict=True)
        ]

    @torch.no_grad()
    def states(self, word: Word) -> Float[Tensor, "prefix number"] | None:
        state: Any = None
        rows: list[Tensor] = []
        for token in self.readout.vocabulary.encode(word):
            state = self.model(torch.tensor([[token]]), state).state
            rows.append(torch.cat([_numbers(part) for layer in state for part in layer]))
            if len(rows[-1]) != len(rows[0]):
                return None  # it grows with the word, as a transformer's does
        return torch.stack(rows)


def _numbers(part: Tensor) -> Tensor:
    """Return the numbers of a part of a state, of a complex one the real and imaginary parts."""
    return (torch.view_as_real(part) if part.is_complex() else part).float().reshape(-1)


@final
class CompiledPredictor(Predictor):
    """A checkpoint of the compiler, run by `transformers`."""

    def __init__(self, path: Path) -> None:
        self.alphabet = read_alphabet(path)
        self.model = load_model(path)

    @torch.no_grad()
    def predict(self, words: Sequence[Word]) -> list[list[NextSymbols]]:
        return [prefix_sets(self.model, self.alphabet, word) for word in words]
