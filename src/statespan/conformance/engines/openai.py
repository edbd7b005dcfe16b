"""A server that speaks the completions API of OpenAI, with logarithms of probabilities.

Prompts are sent as token ids. What is said after a token is what the server thinks probable in the
place of the next one: within a prompt that is given back (`echo`), or as the one token that is
written after it. Servers answer the latter from what they keep of earlier prompts that begin
alike, so a session sends all that a row has read, once to be given back if there is more than one
new token, and once to be gone on from: the last answer is the latter's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.engines.completions import Choice, Client, Entry, Top
from statespan.conformance.protocol import (
    Ability,
    Engine,
    Padding,
    Runner,
    Scores,
    Session,
    Tokens,
)
from statespan.errors import EngineError, InputError, UnsupportedError
from statespan.training import BOS, EOS

__all__ = ["OpenAIEngine"]

ABILITIES: frozenset[Ability] = frozenset(
    {"score", "unequal", "session", "copy", "crop", "reorder", "greedy", "sampled", "threads"}
)
BY_ID = "token_id:"
"""How some servers spell a token that they were asked to name by its id."""


@final
class OpenAIEngine(Engine):
    """A server at `url`, for example http://localhost:8000.

    Args:
        url: where it is; a path before /v1 may be given.
        model: what the server calls the checkpoint; by default that of its models whose name, or
            the last part of it if it is a path, is the checkpoint's.
        timeout: how many seconds one answer may take.

    Raises:
        InputError: the url is none.
    """

    def __init__(self, url: str, *, model: str | None = None, timeout: float = 60.0) -> None:
        self.client = Client(url, timeout)
        self.name, self.model = url, model

    @property
    def version(self) -> str:  # type: ignore[override]
        """Whose models the server says it serves."""
        owners = sorted({owner for owner in self.client.models().values() if owner})
        return ", ".join(owners) or "unknown"

    def served(self) -> dict[str, str]:
        """Return the names of the checkpoints that may be served, each with the server's name."""
        return {_last_part(model): model for model in self.client.models()}

    def load(self, checkpoint: Checkpoint) -> Runner:
        models = self.served()
        model = models.get(checkpoint.name) if self.model is None else self.model
        if model is None or model not in models.values():
            raise UnsupportedError(
                f"the server {self.name} serves {', '.join(models.values()) or 'nothing'}, and not "
                f"{self.model or checkpoint.name}."
            )
        return _Runner(self.client, model, checkpoint)


def _last_part(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2]


@final
class _Runner(Runner):
    """A checkpoint that is served."""

    abilities = ABILITIES

    def __init__(self, client: Client, model: str, checkpoint: Checkpoint) -> None:
        self.client, self.model = client, model
        self.symbols = checkpoint.symbols
        self.ids = {symbol: token for token, symbol in enumerate(checkpoint.symbols)}
        self.number = min(checkpoint.widest + 1, len(self.symbols))
        self.echoes = self._try_out()

    def _try_out(self) -> bool:
        """Return whether prompts are given back.

        Raises:
            UnsupportedError: fewer probabilities are shown than an answer needs.
        """
        (choice,) = self._ask([(BOS,)], echo=True)
        entries = choice.entries()
        echoes = len(entries) > 1
        values = self._echoed((BOS,), choice).values[0] if echoes else self._written(choice)
        shown = int(values.isfinite().sum())
        if shown < self.number:
            raise UnsupportedError(
                f"the server shows the {shown} largest probabilities; {self.number} are needed."
            )
        return echoes

    def _ask(self, prompts: Sequence[Tokens], **settings: Any) -> list[Choice]:
        common = {"max_tokens": 1, "temperature": 0, "logprobs": self.number}
        return self.client.complete(self.model, prompts, **{**common, **settings})

    def score(self, rows: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        _refuse(padding)
        if self.echoes:
            choices = self._ask(rows, echo=True)
            return [self._echoed(*pair) for pair in zip(rows, choices, strict=True)]
        return self.score_last([(row, len(row)) for row in rows])

    def score_last(self, rows: Sequence[tuple[Tokens, int]]) -> list[Scores]:
        """Return what is said after each of the last tokens of rows, by a prompt for each."""
        prompts = [row[:end] for row, n in rows for end in range(len(row) - n + 1, len(row) + 1)]
        values = [self._written(choice) for choice in self._ask(prompts)]
        parts = torch.split(torch.stack(values), [number for _, number in rows])
        return [Scores(part, are_logits=False) for part in parts]

    def _written(self, choice: Choice) -> torch.Tensor:
        entries = choice.entries()
        if len(entries) != 1:
            raise InputError(f"the server wrote {len(entries)} tokens where it was asked for 1.")
        return self._values(entries[0])

    def _echoed(self, row: Tokens, choice: Choice) -> Scores:
        entries = choice.entries()
        if len(entries) != len(row) + 1:
            raise InputError(
                f"the server gave back {len(entries) - 1} tokens of a prompt of {len(row)}."
            )
        for place, (token, entry) in enumerate(zip(row, entries, strict=False)):
            if self._id(entry) != token:
                raise InputError(
                    f"the server read {entry.token!r} where {self.symbols[token]!r} was sent, at "
                    f"position {place}."
                )
        values = [self._values(entry) for entry in entries[1:]]
        return Scores(torch.stack(values), are_logits=False)

    def _values(self, entry: Entry) -> torch.Tensor:
        if entry.top_logprobs is None:
            raise InputError(f"the server gave no probabilities in the place of {entry.token!r}.")
        values = torch.full((len(self.symbols),), -math.inf)
        for top in entry.top_logprobs:
            values[self._id(top)] = top.logprob
        return values

    def _id(self, named: Entry | Top) -> int:
        if named.id is not None:
            return self._checked(named.id, named.token)
        text = named.token
        if text.startswith(BY_ID) and text.removeprefix(BY_ID).isdecimal():
            return self._checked(int(text.removeprefix(BY_ID)), text)
        found = self.ids.get(text, self.ids.get(text.strip()))
        if found is None:
            raise EngineError(
                f"the server names a token {text!r}, which the checkpoint does not have: let it "
                "show special tokens, or return tokens as ids."
            )
        return found

    def _checked(self, token: int, text: str) -> int:
        if not 0 <= token < len(self.symbols):
            raise InputError(f"the server names a token {token} ({text!r}), which is none.")
        return token

    def start(self, num_rows: int = 1) -> Session:
        return _Session(self, [()] * num_rows)

    def generate(
        self, prompts: Sequence[Tokens], *, steps: int, sampled: bool, seed: int
    ) -> list[Tokens]:
        settings = {"temperature": 1.0, "seed": seed} if sampled else {"temperature": 0}
        choices = self._ask(prompts, max_tokens=steps, **settings)
        return [self._text(choice) for choice in choices]

    def _text(self, choice: Choice) -> Tokens:
        tokens = tuple(self._id(entry) for entry in choice.entries())
        # Most servers leave out the token that ended it.
        ended = choice.finish_reason == "stop" and EOS not in tokens
        return (*tokens, EOS) if ended else tokens


def _refuse(padding: Padding | None) -> None:
    if padding is not None:
        raise UnsupportedError("a server fills up rows as it likes.")


@final
@dataclass(eq=False)
class _Session(Session):
    """What each row has read; the server keeps of it what it likes."""

    runner: _Runner
    histories: list[Tokens]

    def feed(self, pieces: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        _refuse(padding)
        self.histories = [past + piece for past, piece in zip(self.histories, pieces, strict=True)]
        if not self.runner.echoes:
            numbers = map(len, pieces)
            return self.runner.score_last(list(zip(self.histories, numbers, strict=True)))
        last = self.runner.score_last([(history, 1) for history in self.histories])
        if max(map(len, pieces)) == 1:
            return last
        whole = self.runner.score(self.histories)
        return [
            Scores(
                torch.cat((given.values[len(given.values) - len(piece) : -1], end.values)), False
            )
            for given, end, piece in zip(whole, last, pieces, strict=True)
        ]

    def copy(self) -> Session:
        return _Session(self.runner, list(self.histories))

    def crop(self, length: int) -> None:
        self.histories = [history[:length] for history in self.histories]

    def reorder(self, rows: Sequence[int]) -> None:
        self.histories = [self.histories[row] for row in rows]
