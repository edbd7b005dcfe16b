"""The residual stream of an OLMo Hybrid model: which layer knows what, and in which channels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from typing import final

from statespan.compiler.actions import Action
from statespan.compiler.cascade import Cascade, Component, Conditions
from statespan.compiler.residual import Form, answer_columns, letter_classes
from statespan.compiler.targets.olmo_layers import CONSTANT
from statespan.compiler.weights import Group, GroupKind

__all__ = ["OlmoStream", "Schedule", "value_signs"]

SIGN_CODES = ((-1,), (1,))


@final
@dataclass(frozen=True)
class Schedule:
    """When each component of a cascade is updated, and when it is known as it was before."""

    cascade: Cascade

    @cached_property
    def read(self) -> frozenset[int]:
        """The components that others ask about."""
        return frozenset(read for component in self.cascade.components for read in component.reads)

    @cached_property
    def answering(self) -> frozenset[int]:
        """The components that the answers ask about."""
        return frozenset(c for term in self.cascade.readout.terms for c, _ in term.conditions)

    @cached_property
    def copied(self) -> frozenset[int]:
        """The components that move and that some reader asks about as they may be reset.

        What was before a reset cannot be read off what is after it, as it can after a flip or swap.
        """
        return frozenset(number for number in self.read if self._is_copied(number))

    def _is_copied(self, number: int) -> bool:
        component = self.cascade.components[number]
        lost = {a for term in component.terms if isinstance(term.value, int) for a in term.letters}
        return bool(component.flips or component.swaps) and any(
            lost & term.letters and number in dict(term.conditions)
            for reader in self.cascade.components
            for term in reader.terms
        )

    @cached_property
    def layers(self) -> list[int]:
        """The layer that updates each component, from 1.

        A copied component is known as it was before one layer later, all others at once.
        """
        layers: list[int] = []
        for component in self.cascade.components:
            known = (layers[read] + (read in self.copied) for read in component.reads)
            layers.append(1 + max(known, default=0))
        return layers

    @property
    def num_layers(self) -> int:
        """The number of layers that it takes, at least 1."""
        return max(self.layers, default=1)


@final
class OlmoStream:
    """The groups of channels for a cascade, each made once, and linear forms of them."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.cascade = schedule.cascade
        self.classes = letter_classes(self.cascade)
        self.groups: dict[str, Group] = {}
        self.num_channels = 0
        self._add_letters()
        for number, component in enumerate(self.cascade.components):
            self._add_events(number, component)
            if number in schedule.read:
                is_sign = component.flips and number not in schedule.copied
                self._add_values("before", number, component, is_sign=is_sign)
            if number in schedule.answering | schedule.copied:
                self._add_values("after", number, component, is_sign=component.flips)
        for number in range(len(answer_columns(self.cascade)[0])):
            self._add(f"answer {number}", "answer", SIGN_CODES)

    def _add(
        self,
        name: str,
        kind: GroupKind,
        codes: Iterable[tuple[int, ...]],
        component: int | None = None,
    ) -> None:
        listed = tuple(codes)
        first = CONSTANT + 1 + self.num_channels
        channels = tuple(range(first, first + len(listed[0])))
        self.num_channels += len(channels)
        self.groups[name] = Group(name, kind, channels, listed, component)

    def _add_letters(self) -> None:
        ignored = self.classes[-1]
        shown = [number for number in range(max(self.classes) + 1) if number != ignored]
        self._add("letter", "letter", _one_hot(shown, max(self.classes) + 1))

    def _add_events(self, number: int, component: Component) -> None:
        """Add a channel for each action that some condition decides about."""
        actions = {_action(component, t.value) for t in component.terms if t.conditions}
        if actions:
            size = 1 + component.num_values + component.flips + len(component.swaps)
            codes = _one_hot(sorted(actions), size)
            self._add(f"event {number}", "event", codes, number)

    def _add_values(
        self, kind: GroupKind, number: int, component: Component, *, is_sign: bool
    ) -> None:
        """Add a channel that is positive at the initial value, or one for each other value."""
        if is_sign:
            codes = SIGN_CODES if component.initial else SIGN_CODES[::-1]
            self._add(f"{kind} {number}", kind, codes, number)
            return
        shown = set(range(component.num_values))
        if not component.flips and not component.swaps:
            shown = {term.value for term in component.terms if isinstance(term.value, int)}
        if not self.has_signs(kind, number):
            shown -= {component.initial}
        self._add(f"{kind} {number}", kind, _one_hot(sorted(shown), component.num_values), number)

    def has_signs(self, kind: GroupKind, number: int) -> bool:
        """Return whether the channels of a component hold 1 or -1 at a value, which says no more.

        So it is where values swap, unless a copy has made it plain, or the value tells the sign.
        """
        component = self.cascade.components[number]
        if not component.swaps:
            return False
        if kind == "before":
            return number not in self.schedule.copied
        return value_signs(component) is None

    def letters(self, letters: Iterable[int]) -> Form:
        """Return the indicator of one of `letters`, each of which fires some term."""
        group = self.groups["letter"]
        coefficients: dict[int, Fraction] = {}
        for number in {self.classes[letter] for letter in letters}:
            coefficients |= _nonzero(group, number)
        return Form(coefficients, Fraction(0))

    def event(self, number: int, value: Action) -> Form:
        """Return the indicator of an action."""
        component = self.cascade.components[number]
        group = self.groups.get(f"event {number}")
        channels = {} if group is None else _nonzero(group, _action(component, value))
        if channels:
            return Form(channels, Fraction(0))
        terms = [term for term in component.terms if term.value == value]
        return self.letters({letter for term in terms for letter in term.letters})

    def indicator(self, kind: GroupKind, number: int, values: frozenset[int]) -> Form:
        """Return the form that is 1 where a component has one of `values`, and else 0."""
        group = self.groups[f"{kind} {number}"]
        initial = self.cascade.components[number].initial
        if any(-1 in code for code in group.codes):
            total = sum(group.codes[value][0] for value in values)
            return Form({group.channels[0]: Fraction(total, 2)}, Fraction(len(values), 2))
        negated = initial in values
        shown = values if not negated else frozenset(range(len(group.codes))) - values
        coefficients: dict[int, Fraction] = {}
        for value in shown:
            coefficients |= _nonzero(group, value)
        signed = {channel: -one if negated else one for channel, one in coefficients.items()}
        return Form(signed, Fraction(int(negated)))

    def indicators(self, kind: GroupKind, number: int, values: frozenset[int]) -> list[Form]:
        """Return forms of which one is 1 where a component has one of `values`, and none else.

        The others are then 0 or -1: there are two forms where the channels have signs.
        """
        if not self.has_signs(kind, number):
            return [self.indicator(kind, number, values)]
        group = self.groups[f"{kind} {number}"]
        channels = [channel for value in sorted(values) for channel in _nonzero(group, value)]
        return [Form(dict.fromkeys(channels, Fraction(sign)), Fraction(0)) for sign in (1, -1)]

    def cases(self, kind: GroupKind, conditions: Conditions) -> Iterator[list[Form]]:
        """Yield conjunctions of indicators, of which one holds where the conditions do."""
        asked = [self.indicators(kind, number, values) for number, values in conditions]
        return map(list, product(*asked))

    def channels(self, kind: GroupKind, number: int, value: int) -> list[int]:
        """Return the channel that is not 0 at a value, if there is one."""
        group = self.groups.get(f"{kind} {number}")
        return [] if group is None else list(_nonzero(group, value))

    def event_channels(self, number: int, value: Action) -> list[int]:
        """Return the channel of an action, if it has one."""
        group = self.groups.get(f"event {number}")
        component = self.cascade.components[number]
        return [] if group is None else list(_nonzero(group, _action(component, value)))


def value_signs(component: Component) -> list[int] | None:
    """Return the sign of each value of a component whose values swap, if the value tells it.

    A value begins with sign 1 as it is written; where a swap moves it, its sign turns.
    """
    signs = {term.value: 1 for term in component.terms if isinstance(term.value, int)}
    known = list(signs)
    for value in known:
        for swap in component.swaps:
            if value in swap:
                other = sum(swap) - value
                if other not in signs:
                    known.append(other)
                if signs.setdefault(other, -signs[value]) == signs[value]:
                    return None
    return [signs.get(value, 1) for value in range(component.num_values)]


def _action(component: Component, value: Action) -> int:
    """Return the number of an action in the group of events: 0 is none, then the values."""
    if isinstance(value, int):
        return 1 + value
    return 1 + component.num_values + (0 if value is None else component.swaps.index(value))


def _one_hot(shown: list[int], size: int) -> list[tuple[int, ...]]:
    """Return a code for each of `size` values: a place for those that are shown, else zeros."""
    return [tuple(int(value == place) for place in shown) for value in range(size)]


def _nonzero(group: Group, value: int) -> dict[int, Fraction]:
    """Return the channels where the code of `value` is not zero."""
    pairs = zip(group.channels, group.codes[value], strict=True)
    return {channel: Fraction(code) for channel, code in pairs if code}
