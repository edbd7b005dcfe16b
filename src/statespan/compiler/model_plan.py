"""The program of a compiled model: the facts in its stream, and which block answers from which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from statespan.compiler.cascade import Cascade, Conditions, Term, Values
from statespan.compiler.residual import AMPLITUDE, Form, Stream, answer_columns, letter_classes
from statespan.compiler.weights import Block, Group, GroupKind, Plan
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = [
    "FoldedAnswer",
    "GroupValues",
    "ModelPlan",
    "can_fold",
    "letters_of_tokens",
    "plan_model",
]

FoldedAnswer = tuple[frozenset[int], Conditions, int]
"""(values of a component of the last level, the other conditions, the label)."""


@final
@dataclass(frozen=True)
class ModelPlan:
    """A cascade laid out in a residual stream.

    Attributes:
        cascade: what is laid out.
        stream: its groups.
        fold: whether the last level answers in its own block.
    """

    cascade: Cascade
    stream: Stream
    fold: bool

    @cached_property
    def letter_classes(self) -> list[int]:
        """The class of each symbol, of the restart, and of what is ignored."""
        return letter_classes(self.cascade)

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return Vocabulary(self.cascade.alphabet).size

    @cached_property
    def folded(self) -> dict[int, list[FoldedAnswer]]:
        """For each component of the last level, the answers that depend on it, if folded."""
        found: dict[int, list[FoldedAnswer]] = {}
        for conditions, label in self._answers:
            for component in self._last(conditions):
                rest = tuple(item for item in conditions if item[0] != component)
                case = (dict(conditions)[component], rest, label)
                found.setdefault(component, []).append(case)
        return found

    @cached_property
    def direct(self) -> list[tuple[Conditions, int]]:
        """The answers that depend on no component of the last level, or all if not folded."""
        return [item for item in self._answers if not self._last(item[0])]

    @property
    def _answers(self) -> list[tuple[Conditions, int]]:
        readout = self.cascade.readout
        return [(t.conditions, t.label) for t in readout.terms if t.label != readout.default]

    def _last(self, conditions: Conditions) -> list[int]:
        return _last_level(self.cascade, conditions) if self.fold else []

    def components_at(self, level: int) -> list[int]:
        """Return the components of a level, counted from 1."""
        return [i for i, own in enumerate(self.cascade.levels) if own == level]

    def condition(self, term: Term, kind: GroupKind) -> list[Form]:
        """Return the indicators whose conjunction is the term: the letter's, then the others.

        `kind` says which groups hold the values that the term asks about.
        """
        classes = frozenset(self.letter_classes[letter] for letter in term.letters)
        return self.stream.conjunction(classes, term.conditions, kind)

    def change(self, name: str, value: int) -> dict[int, int]:
        """Return what makes of the default of a group its code of `value`, in units."""
        group = self.stream.groups[name]
        pairs = zip(
            group.channels, group.codes[value], group.codes[self.default(group)], strict=True
        )
        return {channel: code - default for channel, code, default in pairs if code != default}

    def answer(self, label: int) -> dict[int, int]:
        """Return what makes of the default answers those of `label`, in units."""
        changes: dict[int, int] = {}
        for number, column in enumerate(self._columns[0]):
            changes |= self.change(f"answer {number}", int(column[label]))
        return changes

    @cached_property
    def _columns(self) -> tuple[list[tuple[bool, ...]], list[tuple[int, int] | bool]]:
        return answer_columns(self.cascade)

    def default(self, group: Group) -> int:
        """Return the value that a group is embedded with."""
        if group.kind == "answer":
            column = self._columns[0][int(group.name.split()[1])]
            return int(column[self.cascade.readout.default])
        if group.kind == "event" or group.component is None:
            return 0
        return self.cascade.components[group.component].initial

    def config(self, width: int, expand: int, layers: int) -> dict[str, Any]:
        """Return the part of `config.json` that the Mamba family shares."""
        return {
            "vocab_size": self.vocab_size,
            "hidden_size": width,
            "state_size": 1,
            "num_hidden_layers": layers,
            "conv_kernel": 2,
            "expand": expand,
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": False,
        }

    def outer_tensors(self, width: int) -> dict[str, Tensor]:
        """Return embeddings, final norm and head, with the names of the Mamba family."""
        return {
            "backbone.embeddings.weight": self.embeddings(width),
            "backbone.norm_f.weight": torch.ones(width, dtype=torch.float64),
            "lm_head.weight": self.head(width),
        }

    def embeddings(self, width: int) -> Tensor:
        """Return the stream at each token before the first block: [vocabulary, width]."""
        rows = torch.zeros(self.vocab_size, width, dtype=torch.float64)
        for group in self.stream.groups.values():
            if group.kind != "letter":
                rows[:, list(group.channels)] = torch.tensor(
                    group.codes[self.default(group)], dtype=torch.float64
                )
        letters = self.stream.groups["letter"]
        for token, letter in letters_of_tokens(self.cascade).items():
            rows[token, letters.channels[self.letter_classes[letter]]] = 1
        for channel, value in self.stream.fill(width).items():
            rows[:, channel] = value
        return rows * AMPLITUDE

    def head(self, width: int) -> Tensor:
        """Return the head: plus or minus 64 for each token, from the answers."""
        rows = torch.zeros(self.vocab_size, width, dtype=torch.float64)
        letters = list(self.stream.groups["letter"].channels)
        rows[:, letters] = -AMPLITUDE
        answer_ids = Vocabulary(self.cascade.alphabet).answer_ids
        for token, place in zip(answer_ids, self._columns[1], strict=True):
            if isinstance(place, bool):
                rows[token, letters] = AMPLITUDE if place else -AMPLITUDE
            else:
                number, sign = place
                rows[token] = 0
                rows[token, self.stream.groups[f"answer {number}"].channels[0]] = sign * AMPLITUDE
        return rows

    def update_block(
        self, components: Sequence[int], reads: Sequence[str], *, answers: bool
    ) -> Block:
        """Return the description of a block that updates `components`, and perhaps answers."""
        names = [f"{kind} {i}" for i in components for kind in ("after", "before")]
        writes = [name for name in names if name in self.stream.groups]
        remark = f"updates {_listed('component', components)}" if components else "keeps nothing"
        if answers:
            conditions = [rest for cases in self.folded.values() for _, rest, _ in cases]
            conditions += [conditions for conditions, _ in self.direct]
            asked = {f"after {i}": None for rest in conditions for i, _ in rest}
            reads = [*reads, *asked]
            writes += [name for name in self.stream.groups if name.startswith("answer")]
            remark += " and answers" if components else ", answers"
        return Block(tuple(dict.fromkeys(reads)), tuple(writes), remark)

    def asked(self, components: Sequence[int], kind: GroupKind) -> list[str]:
        """Return the groups that the terms of `components` ask about, the letter first."""
        reads = sorted({i for c in components for i in self.cascade.components[c].reads})
        return ["letter", *(f"{kind} {i}" for i in reads)]

    def description(self, blocks: Sequence[Block]) -> Plan:
        """Return the plan that is kept with the weights."""
        groups = tuple(self.stream.groups.values())
        return Plan(groups, tuple(blocks), tuple(self.letter_classes))


def letters_of_tokens(cascade: Cascade) -> dict[int, int]:
    """Return the letter of each token: a symbol, the restart, or (one more) what is ignored."""
    restart = cascade.restart
    first = Vocabulary(cascade.alphabet).size - restart
    special = {BOS: restart, EOS: restart + 1, PAD: restart + 1}
    return special | {first + letter: letter for letter in range(restart)}


def _listed(noun: str, numbers: Sequence[int]) -> str:
    plural = "" if len(numbers) == 1 else "s"
    return f"{noun}{plural} {', '.join(map(str, numbers))}"


def _last_level(cascade: Cascade, conditions: Conditions) -> list[int]:
    return [c for c, _ in conditions if cascade.levels[c] == cascade.num_levels]


def can_fold(cascade: Cascade) -> bool:
    """Return whether each answer asks for one component of the last level at most."""
    return all(len(_last_level(cascade, term.conditions)) <= 1 for term in cascade.readout.terms)


def plan_model(
    cascade: Cascade, *, kinds: Iterable[GroupKind], events: Iterable[int] = (), fold: bool
) -> ModelPlan:
    """Return the layout of `cascade`.

    The components that others read have groups of each of `kinds`, those that answers read a
    group of kind `after` (with `fold`, those of the last level need none), and the components
    `events` a group that says which of their values the symbol writes.
    """
    stream = Stream()
    stream.add("letter", "letter", max(letter_classes(cascade)) + 1)
    plan = ModelPlan(cascade, stream, fold)
    read = sorted({i for component in cascade.components for i in component.reads})
    answering = {c for term in cascade.readout.terms for c, _ in term.conditions}
    if fold:
        answering -= set(plan.folded)
    wanted: dict[tuple[GroupKind, int], None] = {
        (kind, component): None for kind in kinds for component in read
    }
    wanted |= {("after", component): None for component in sorted(answering)}
    for kind, component in sorted(wanted, key=lambda item: (item[1], item[0])):
        size = cascade.components[component].num_values
        stream.add(f"{kind} {component}", kind, size, component=component)
    for component in events:
        size = 1 + cascade.components[component].num_values
        stream.add(f"event {component}", "event", size, component=component)
    for number in range(len(answer_columns(cascade)[0])):
        stream.add(f"answer {number}", "answer", 2)
    return plan


@final
class GroupValues:
    """The value of every group of a plan, on a step of the cascade."""

    def __init__(self, plan: Plan, cascade: Cascade) -> None:
        self.plan, self.cascade = plan, cascade
        self._columns = answer_columns(cascade)[0]

    def __call__(self, before: Values, letter: int, after: Values) -> Values:
        """Return the values while `letter`, read at `before`, leads to `after`.

        `letter` may be the restart, or one more: what is ignored.
        """
        label = self.cascade.readout.label(after)
        return tuple(self._value(group, before, letter, after, label) for group in self.plan.groups)

    def _value(self, group: Group, before: Values, letter: int, after: Values, label: int) -> int:
        if group.kind == "letter":
            return self.plan.letter_classes[letter]
        if group.kind == "answer":
            return int(self._columns[int(group.name.split()[1])][label])
        assert group.component is not None
        if group.kind == "event":
            return self._event(group.component, before, letter)
        return (before if group.kind == "before" else after)[group.component]

    def _event(self, component: int, before: Values, letter: int) -> int:
        memory = self.cascade.components[component]
        fired = memory.fired(letter, before)
        if fired is None:
            return 0
        written = memory.terms[fired].value
        assert isinstance(written, int)
        return 1 + written
