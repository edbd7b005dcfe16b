"""A proof that a checkpoint is right at every length: its closed set of recurrent states.

The model of `transformers` is run one token at a time from explicit caches. The states that it
can be in are found, bit by bit, under every token, each paired with what the exact machine makes
of the same tokens. When no new pair comes up, the search has seen every state that any input of
any length leads to, and every logit in each has been checked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Literal, TypeAlias, final

import msgspec
import torch
from torch import Tensor
from transformers import PreTrainedModel

from statespan.compiler.cached_model import CacheShape, cache_of, join_states, states_of
from statespan.compiler.oracle import Oracle
from statespan.compiler.promise import largest_count
from statespan.compiler.quiet import quiet_transformers
from statespan.errors import InputError
from statespan.training import BOS, EOS, PAD

__all__ = [
    "EXACT_LOGIT",
    "STATE_LIMIT",
    "Certificate",
    "Method",
    "Progress",
    "WrongAnswer",
    "certify_states",
    "recurrent_layers",
]

STATE_LIMIT = 20_000
BATCH = 4_096
WRONG_LIMIT = 20
EXACT_LOGIT = 64.0
NOTHING = -1
"""In the place of a token, where none was read."""

Progress: TypeAlias = Callable[[str, int, int, str], None]
Method: TypeAlias = Literal["states", "blocks", "diagrams"]


class WrongAnswer(msgspec.Struct, frozen=True):
    """Tokens after which a logit has the wrong sign.

    Attributes:
        tokens: what was read, BOS included; empty where the search was block by block.
        answer: the token that was judged wrongly, or what else is wrong, in words.
        logit: its logit; positive means "may follow".
    """

    tokens: list[int]
    answer: str
    logit: float


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What a search of recurrent states found.

    Attributes:
        method: `states`, the whole model's states, `blocks`, each block's by itself, or
            `diagrams`, each channel's, as a function of what the model has to remember.
        closed: whether every state was seen: then the checkpoint is right at every length,
            if nothing is wrong.
        states: the states seen (of all blocks or channels together, if not of the whole).
        transitions: the steps looked at; for `states`, the logits checked are this times the
            answers.
        wrong: the first wrong answers found.
        margin: the smallest distance of a logit from 0, on the right side.
        exact: whether every logit is exactly 64 or -64.
        valid_prefixes_only: whether only prefixes of words were searched.
        remark: what the proof rests on, or why it stays open.
    """

    method: Method
    closed: bool
    states: int
    transitions: int
    wrong: list[WrongAnswer]
    margin: float
    exact: bool
    valid_prefixes_only: bool
    remark: str

    @property
    def proves(self) -> bool:
        """Whether the checkpoint is right for every input."""
        return self.closed and not self.wrong


def recurrent_layers(model: PreTrainedModel) -> list[int]:
    """Return the layers with a recurrent state.

    Raises:
        InputError: another layer is there that adds something to the stream.
    """
    kinds = model.config.layer_types
    layers: Any = model.base_model.layers
    for number, kind in enumerate(kinds):
        if kind != "linear_attention":
            for linear in _outputs(layers[number]):
                if linear.weight.any():
                    raise InputError(
                        f"layer {number} is a {kind} layer that adds to the stream: only recurrent "
                        "layers have a state that can be closed."
                    )
    return [number for number, kind in enumerate(kinds) if kind == "linear_attention"]


def _outputs(layer: Any) -> list[Any]:
    """Return what an attention layer adds to the stream by: of its attention and of its MLP."""
    parts = dict(layer.named_children())
    mlp: Any = parts.get("mlp") or parts["feed_forward"]
    return [layer.self_attn.o_proj, mlp.down_proj]


@torch.inference_mode()
def certify_states(
    model: PreTrainedModel,
    oracle: Oracle,
    *,
    valid_prefixes_only: bool = False,
    limit: int = STATE_LIMIT,
    max_count: int | None = None,
    blank: Hashable = None,
    progress: Progress = lambda *_: None,
) -> Certificate:
    """Search the states of the whole model, from BOS on, under every token.

    With `valid_prefixes_only`, symbols that cannot follow are left out, and so are EOS and PAD
    where a word cannot end. With `max_count`, states of the machine with a larger number in them
    are looked at and not left. With `blank`, a state of the machine, the search begins before
    any token was read, where the model must be as in that state. Attention layers must be inert;
    their caches are emptied before each step.

    Raises:
        InputError: an attention layer is not inert.
    """
    with quiet_transformers():
        search = _Search(model, oracle, valid_prefixes_only, max_count, blank)
        while search.frontier and len(search.seen) < limit and len(search.wrong) < WRONG_LIMIT:
            to_go = f"{len(search.frontier):,} states to go"
            progress("certifying", len(search.seen), limit, to_go)
            search.advance(limit)
    closed = not search.frontier
    which = "" if max_count is None else f" with counts up to {max_count:,}"
    remark = f"every recurrent state{which} was seen" if closed else f"more than {limit:,} states"
    if len(search.wrong) >= WRONG_LIMIT:
        remark = f"given up after {WRONG_LIMIT} wrong answers"
    return Certificate(
        method="states",
        closed=closed,
        states=len(search.seen),
        transitions=search.transitions,
        wrong=search.wrong[:WRONG_LIMIT],
        margin=search.margin if search.margin < float("inf") else 0.0,
        exact=search.margin == search.largest == EXACT_LOGIT,
        valid_prefixes_only=valid_prefixes_only,
        remark=remark,
    )


@final
class _Search:
    """A breadth-first search; `frontier` holds states whose continuations are still to be seen."""

    def __init__(
        self,
        model: PreTrainedModel,
        oracle: Oracle,
        valid_only: bool,
        max_count: int | None,
        blank: Hashable,
    ) -> None:
        self.model, self.oracle, self.valid_only = model, oracle, valid_only
        self.max_count = max_count
        self.answer_ids = oracle.vocabulary.answer_ids
        # BOS and PAD may never follow, so that they are never generated.
        self.judged = [BOS, PAD, *self.answer_ids]
        self.wrong: list[WrongAnswer] = []
        self.margin, self.largest = float("inf"), 0.0
        self.transitions = 0
        self.seen: dict[tuple[bytes, Hashable], int] = {}
        self.parents: list[tuple[int, int]] = []
        self.frontier: list[tuple[int, Tensor, Hashable]] = []
        layers = recurrent_layers(model)
        output = model(torch.tensor([[BOS]]), use_cache=True)
        cache = _cache_in(output)
        self.shape = CacheShape.of(model, cache, layers)
        rows = states_of(cache, self.shape)
        if blank is not None:
            self._add(torch.zeros_like(rows), [blank], [(-1, NOTHING)])
            return
        self._check(output.logits[:, -1], [oracle.start], [(-1, BOS)])
        self._add(rows, [oracle.start], [(-1, BOS)])

    def advance(self, limit: int) -> None:
        """Take one step with every token from every state of the frontier.

        Ends early, with states left to continue from, once `limit` states were seen.
        """
        frontier, self.frontier = self.frontier, []
        steps = [
            (index, row, token, self.oracle.step(state, token))
            for index, row, state in frontier
            for token in self._tokens(state)
        ]
        for first in range(0, len(steps), BATCH):
            if len(self.seen) >= limit:
                break
            batch = steps[first : first + BATCH]
            rows = torch.stack([row for _, row, _, _ in batch])
            tokens = torch.tensor([[token] for _, _, token, _ in batch])
            cache = cache_of(self.model, rows, self.shape)
            logits = self.model(tokens, **_cache_argument(self.model, cache)).logits[:, -1]
            states = [state for _, _, _, state in batch]
            origins = [(index, token) for index, _, token, _ in batch]
            self._check(logits, states, origins)
            self._add(states_of(cache, self.shape), states, origins)

    def _tokens(self, state: Any) -> list[int]:
        if not self.valid_only:
            return list(range(self.oracle.vocabulary.size))
        answers = zip(self.answer_ids, self.oracle.answers(state), strict=True)
        allowed = [token for token, yes in answers if yes]
        return [BOS, *allowed, *([PAD] if EOS in allowed else [])]

    def _check(
        self, logits: Tensor, states: list[Hashable], origins: list[tuple[int, int]]
    ) -> None:
        self.transitions += len(states)
        wanted = torch.tensor([[False, False, *self.oracle.answers(state)] for state in states])
        signed = logits[:, self.judged].float() * (2 * wanted - 1)
        signed = signed.nan_to_num(nan=-1.0)
        right = signed[signed > 0]
        if right.numel():
            self.margin = min(self.margin, float(right.min()))
        self.largest = max(self.largest, float(signed.abs().max()))
        for place, answer in (signed <= 0).nonzero().tolist():
            if len(self.wrong) < WRONG_LIMIT:
                token = self.judged[answer]
                logit = float(logits[place, token].nan_to_num(nan=0.0, posinf=1e38, neginf=-1e38))
                self.wrong.append(WrongAnswer(self._word(origins[place]), str(token), logit))

    def _add(self, rows: Tensor, states: list[Hashable], origins: list[tuple[int, int]]) -> None:
        for key, row, state, origin in zip(join_states(rows), rows, states, origins, strict=True):
            if (key, state) not in self.seen:
                self.seen[key, state] = len(self.parents)
                if self.max_count is None or largest_count(state) <= self.max_count:
                    self.frontier.append((len(self.parents), row, state))
                self.parents.append(origin)

    def _word(self, origin: tuple[int, int]) -> list[int]:
        return [token for token in _path(self.parents, origin) if token != NOTHING][::-1]


def _path(parents: list[tuple[int, int]], origin: tuple[int, int]) -> Iterator[int]:
    index, token = origin
    yield token
    while index >= 0:
        index, token = parents[index]
        yield token


def _cache_in(output: Any) -> Any:
    cache = output.get("cache_params")
    return output.past_key_values if cache is None else cache


def _cache_argument(model: PreTrainedModel, cache: Any) -> dict[str, Any]:
    name = "cache_params" if model.config.model_type.startswith("mamba") else "past_key_values"
    return {name: cache, "use_cache": True}
