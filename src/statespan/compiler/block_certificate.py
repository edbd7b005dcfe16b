"""The same proof, block by block: sums of small searches in place of one product.

The plan of a compiled model says which fact each channel of the stream holds, and the cascade
says what the facts are after any input. Each block of the `transformers` model is then searched by
itself, bit by bit: driven by every sequence of facts that the cascade can make, it must add to the
stream exactly what the plan says. What holds the blocks together is checked on the weights:

* the cascade says what the exact machine says (a search of their product);
* all codes of a group are of one length, in whole numbers, so every norm sees one length only;
* a block has zero weights on the groups that it does not read, and adds nothing to those that it
  does not write, and each group is written at most once;
* the embeddings are the codes, and the head answers rightly from every reachable answer.

By induction over blocks and tokens, every stream is what the plan says, at every length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from statespan.compiler.cached_model import CacheShape, cache_of, join_states, states_of
from statespan.compiler.cascade import Cascade, Values, cascade_fault
from statespan.compiler.certificate import EXACT_LOGIT, Certificate, Progress, WrongAnswer
from statespan.compiler.model_plan import GroupValues, letters_of_tokens
from statespan.compiler.quiet import quiet_transformers
from statespan.compiler.residual import AMPLITUDE
from statespan.compiler.weights import Plan
from statespan.errors import LimitError
from statespan.languages.automaton import DFA
from statespan.training import BOS, PAD, Vocabulary

__all__ = ["BLOCK_STATE_LIMIT", "certify_blocks"]

BLOCK_STATE_LIMIT = 1_000_000
BATCH = 4_096

Facts = tuple[int, ...]
"""The values of some groups."""


@torch.inference_mode()
def certify_blocks(
    model: PreTrainedModel,
    plan: Plan,
    cascade: Cascade,
    dfa: DFA,
    *,
    limit: int = BLOCK_STATE_LIMIT,
    progress: Progress = lambda *_: None,
) -> Certificate:
    """Search each block of a compiled `mamba` or `mamba2` by itself.

    The certificate is closed only if every block's search ended within `limit` states.
    """
    try:
        with quiet_transformers():
            return _certify(model, plan, cascade, dfa, limit, progress)
    except LimitError as error:
        return _certificate(False, 0, 0, [], None, str(error))


def _certify(
    model: PreTrainedModel, plan: Plan, cascade: Cascade, dfa: DFA, limit: int, progress: Progress
) -> Certificate:
    fault = cascade_fault(cascade, dfa, limit=limit)
    facts = _Facts(plan, cascade, limit)
    wrong = [_fault(f"the cascade: {fault}")] if fault else []
    wrong += facts.check_embeddings(model) + facts.check_norms(model)
    states = transitions = 0
    blocks: Any = model.base_model.layers
    layers = list(blocks)
    for number, layer in enumerate(layers):
        if wrong:
            break
        progress("certifying", number, len(layers), f"block {number + 1}, {states:,} states")
        search = _BlockSearch(model, layer, number, facts, limit - states)
        wrong += search.run()
        facts.known.update(search.write)
        states += len(search.seen)
        transitions += search.transitions
    wrong = wrong or facts.check_head(model)
    remark = "every block was searched by itself, and the head from every answer"
    return _certificate(True, states, transitions, wrong, facts, remark)


def _certificate(
    closed: bool,
    states: int,
    transitions: int,
    wrong: list[WrongAnswer],
    facts: _Facts | None,
    remark: str,
) -> Certificate:
    return Certificate(
        method="blocks",
        closed=closed,
        states=states,
        transitions=transitions,
        wrong=wrong[:20],
        margin=0.0 if facts is None or wrong else facts.margin,
        exact=facts is not None and facts.margin == facts.largest == EXACT_LOGIT,
        valid_prefixes_only=False,
        remark=remark,
    )


def _fault(text: str) -> WrongAnswer:
    return WrongAnswer([], text, 0.0)


@final
class _Facts:
    """What the stream holds after every input: the groups' values on each step of the cascade.

    `known` has the groups that hold their fact by now; all others are at their default.
    """

    def __init__(self, plan: Plan, cascade: Cascade, limit: int) -> None:
        self.plan, self.cascade = plan, cascade
        self.groups = plan.groups
        self.margin, self.largest = float("inf"), 0.0
        self.known = {i for i, group in enumerate(self.groups) if group.kind == "letter"}
        self.edges = list(_edges(cascade, limit))
        values_of = GroupValues(plan, cascade)
        self._values = {edge[:2]: values_of(*edge) for edge in self.edges}

    def values(self, before: Values, letter: int) -> Facts:
        """Return the value of every group on a step, once all are written."""
        return self._values[before, letter]

    def defaults(self, model: Any) -> Tensor:
        """Return the stream that BOS begins with: every group but the letter at its default."""
        row: Tensor = model.get_input_embeddings().weight[BOS].float()
        return row

    def check_embeddings(self, model: Any) -> list[WrongAnswer]:
        """Check that tokens differ in the letter only, and that all codes have one length.

        What a group is embedded with must be one of its codes: a block that does not read it is
        searched with that code in place of all others, so the norm must not see a difference.
        """
        table = model.get_input_embeddings().weight.detach().float()
        faults = self._check_groups(table[BOS])
        if (table != table.round()).any() or float(table.square().sum(1).max()) >= 2**24:
            faults.append(_fault("the embeddings are not small whole numbers"))
        letters = next(group for group in self.groups if group.kind == "letter")
        expected = table[BOS].clone()
        for token, letter in letters_of_tokens(self.cascade).items():
            code = letters.codes[self.plan.letter_classes[letter]]
            expected[list(letters.channels)] = AMPLITUDE * torch.tensor(code, dtype=table.dtype)
            if not torch.equal(table[token], expected):
                faults.append(_fault(f"the embedding of token {token}"))
        return faults

    def _check_groups(self, row: Tensor) -> list[WrongAnswer]:
        faults = []
        used = [channel for group in self.groups for channel in group.channels]
        if len(set(used)) != len(used):
            faults.append(_fault("two groups share a channel"))
        for group in self.groups:
            if len({sum(c * c for c in code) for code in group.codes}) != 1:
                faults.append(_fault(f"the codes of {group.name} differ in length"))
            embedded = row[list(group.channels)]
            codes = AMPLITUDE * torch.tensor(group.codes, dtype=row.dtype)
            if not (codes == embedded).all(1).any():
                faults.append(_fault(f"the embedding holds no code of {group.name}"))
        return faults

    def check_norms(self, model: Any) -> list[WrongAnswer]:
        """Check that no weight of a norm is so large that a channel could overflow."""
        norms = [layer.norm for layer in model.base_model.layers] + [model.base_model.norm_f]
        largest = torch.stack([norm.weight.detach().float().abs().max() for norm in norms])
        return [] if (largest < 2**32).all() else [_fault("a norm's weight is not small")]

    def check_head(self, model: Any) -> list[WrongAnswer]:
        """Check the sign of every logit for every answer that can be reached, at every letter."""
        head = model.get_output_embeddings()
        used = [i for i in self.touched(head.weight, dim=0) if i in self.known]
        judged = [BOS, PAD, *Vocabulary(self.cascade.alphabet).answer_ids]
        cases: dict[Facts, tuple[bool, ...]] = {}
        for before, letter, after in self.edges:
            values = self.values(before, letter)
            said = self.cascade.next_symbols(after)
            answers = (False, False, *Vocabulary(self.cascade.alphabet).answers(said))
            seen = cases.setdefault(tuple(values[i] for i in used), answers)
            if seen != answers:
                return [_fault("the head cannot tell two answers apart")]
        streams = torch.stack([self.stream(model, used, values) for values in cases])
        norm = model.base_model.norm_f
        logits = head(norm(streams).to(head.weight.dtype))[:, judged].float()
        signed = logits * (2 * torch.tensor(list(cases.values())) - 1)
        self.margin, self.largest = float(signed.min()), float(signed.abs().max())
        if not (signed > 0).all():
            return [_fault("the head gives a logit of the wrong sign")]
        return []

    def stream(self, model: PreTrainedModel, groups: Iterable[int], values: Facts) -> Tensor:
        """Return a stream in which some groups have given values, and the rest their defaults."""
        row = self.defaults(model).clone()
        for number, value in zip(groups, values, strict=True):
            group = self.groups[number]
            code = torch.tensor(group.codes[value], dtype=row.dtype)
            row[list(group.channels)] = AMPLITUDE * code
        return row

    def touched(self, weight: Tensor, *, dim: int) -> list[int]:
        """Return the groups on which a weight is not zero; `dim` is the axis to look along."""
        used = (weight != 0).any(dim)
        return [i for i, group in enumerate(self.groups) if used[list(group.channels)].any()]


def _edges(cascade: Cascade, limit: int) -> Iterable[tuple[Values, int, Values]]:
    """Yield every step that can be reached, with what is ignored as the last letter."""
    seen = {cascade.start}
    order = [cascade.start]
    for before in order:
        for letter in range(cascade.restart + 2):
            after = before if letter > cascade.restart else cascade.step(before, letter)
            yield before, letter, after
            if after not in seen:
                if len(seen) >= limit:
                    raise LimitError(f"the cascade reaches more than {limit:,} values.")
                seen.add(after)
                order.append(after)


@final
@dataclass(frozen=True, slots=True)
class _Step:
    """One step as a block sees it: what it reads, what it must write, and what comes next."""

    read: Facts
    written: Facts
    following: Facts


@final
class _BlockSearch:
    """A breadth-first search of (what the cascade remembers of interest, the block's cache)."""

    def __init__(
        self, model: PreTrainedModel, layer: Any, number: int, facts: _Facts, limit: int
    ) -> None:
        self.model, self.layer, self.number = model, layer, number
        self.facts, self.limit = facts, limit
        self.transitions = 0
        self.seen: set[tuple[Facts, bytes]] = set()
        mixer = layer.mixer
        self.read = [i for i in facts.touched(mixer.in_proj.weight, dim=0) if i in facts.known]
        self.write = facts.touched(mixer.out_proj.weight, dim=1)
        relevant = {facts.groups[i].component for i in (*self.read, *self.write)}
        answers = any(facts.groups[i].kind == "answer" for i in self.write)
        self.relevant = (
            range(len(facts.cascade.components))
            if answers
            else sorted(c for c in relevant if c is not None)
        )
        self.steps: list[_Step] = []
        self.places = self._find_steps()
        self.given, self.wanted = self._streams()

    def _project(self, values: Values) -> Facts:
        return tuple(values[component] for component in self.relevant)

    def _find_steps(self) -> dict[Facts, list[int]]:
        """Return the steps from each projected value; sound, since no real step is left out."""
        numbers: dict[_Step, int] = {}
        found: dict[Facts, dict[int, None]] = {}
        for before, letter, after in self.facts.edges:
            values = self.facts.values(before, letter)
            step = _Step(
                tuple(values[i] for i in self.read),
                tuple(values[i] for i in self.write),
                self._project(after),
            )
            number = numbers.setdefault(step, len(numbers))
            found.setdefault(self._project(before), {})[number] = None
        self.steps = list(numbers)
        return {place: list(steps) for place, steps in found.items()}

    def _streams(self) -> tuple[Tensor, Tensor]:
        """Return, for each step, the stream that the block is given and the one it must make."""
        stream, touched = self.facts.stream, (*self.read, *self.write)
        given = [stream(self.model, self.read, step.read) for step in self.steps]
        made = [stream(self.model, touched, step.read + step.written) for step in self.steps]
        return torch.stack(given), torch.stack(made)

    def run(self) -> list[WrongAnswer]:
        """Return the first fault of the block; none if it does what the plan says."""
        again = [self.facts.groups[i].name for i in self.write if i in self.facts.known]
        if again:
            return [_fault(f"block {self.number + 1} writes {', '.join(again)} again")]
        start = self._project(self.facts.cascade.start)
        first = torch.tensor([s for s in self.places[start] if self._is_restart(self.steps[s])])
        cache = DynamicCache(config=self.model.config)
        faults = self._advance(cache, first)
        if faults:
            return faults
        shape = CacheShape.of(self.model, cache, [self.number])
        frontier = self._add(states_of(cache, shape), first)
        while frontier:
            origins = [(i, s) for i, (place, _) in enumerate(frontier) for s in self.places[place]]
            rows = torch.stack([row for _, row in frontier])
            frontier = []
            for begin in range(0, len(origins), BATCH):
                pairs = torch.tensor(origins[begin : begin + BATCH])
                cache = cache_of(self.model, rows[pairs[:, 0]], shape)
                faults = self._advance(cache, pairs[:, 1])
                if faults:
                    return faults
                frontier += self._add(states_of(cache, shape), pairs[:, 1])
        return []

    def _is_restart(self, step: _Step) -> bool:
        cascade = self.facts.cascade
        values = self.facts.values(cascade.start, cascade.restart)
        return step.read == tuple(values[i] for i in self.read) and step.written == tuple(
            values[i] for i in self.write
        )

    def _advance(self, cache: DynamicCache, steps: Tensor) -> list[WrongAnswer]:
        """Take a step from each cache, and compare what is added with what must be."""
        self.transitions += len(steps)
        # The first block reads embeddings, in the model's precision; all others float32.
        dtype = self.model.dtype if self.number == 0 else torch.float32
        given, wanted = self.given[steps], self.wanted[steps]
        output = self.layer(given[:, None].to(dtype), cache_params=cache)[:, 0].float()
        wrong = (output != wanted).nonzero()
        if not len(wrong):
            return []
        place, channel = wrong[0].tolist()
        name = next((g.name for g in self.facts.groups if channel in g.channels), "a constant")
        return [
            _fault(
                f"block {self.number + 1} makes {float(output[place, channel])} of {name} "
                f"(channel {channel}), not {float(wanted[place, channel])}"
            )
        ]

    def _add(self, rows: Tensor, steps: Tensor) -> list[tuple[Facts, Tensor]]:
        fresh = []
        for index, (key, step) in enumerate(zip(join_states(rows), steps.tolist(), strict=True)):
            following = self.steps[step].following
            if (following, key) not in self.seen:
                if len(self.seen) >= self.limit:
                    raise LimitError(f"the blocks have more than {self.limit:,} states.")
                self.seen.add((following, key))
                fresh.append((following, rows[index]))
        return fresh
