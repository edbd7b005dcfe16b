"""OLMo Hybrid: one linear-attention layer a level, resets and flips alike.

A value that is written is a head that holds one number: the key is 1 where some term fires and
else 0, so b = 1 puts the new number in the place of the old one, and b = 2 turns its sign. Later
layers must see a component as it was before the symbol. Where it is only reset, a second head reads
the same events one symbol late, through the convolution. A component that is flipped cannot be
late, since b sees this symbol; but a flip can be undone: where readers ask only at symbols that
keep or flip it, it is read through two gates, one for what is kept and one, with the other sign,
for what is flipped. Else the next layer copies it one symbol late. The MLP of a layer makes the
events of the components that come next; that of the last layer makes the answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor

from statespan.compiler.cascade import Cascade
from statespan.compiler.reflections import reflection_system
from statespan.compiler.residual import AMPLITUDE, Form, answer_columns
from statespan.compiler.rotations import rotation_system
from statespan.compiler.targets.olmo_layers import (
    CONSTANT,
    Detector,
    Head,
    Layer,
    Shape,
    constant,
    model_config,
    outer_tensors,
)
from statespan.compiler.targets.olmo_reflections import INERT_BLOCK, REMARKS, reflection_weights
from statespan.compiler.targets.olmo_rotations import rotation_weights
from statespan.compiler.targets.olmo_stream import OlmoStream, Schedule
from statespan.compiler.targets.olmo_swaps import swapping_heads
from statespan.compiler.targets.target import TARGETS, Target
from statespan.compiler.weights import Block, Plan, Weights
from statespan.languages.automaton import DFA
from statespan.training import BOS, Vocabulary

__all__ = ["olmo_hybrid_weights", "olmo_hybrid_weights_of_automaton"]


def olmo_hybrid_weights(cascade: Cascade) -> Weights:
    """Return the weights of `cascade` for `transformers.OlmoHybridForCausalLM`."""
    program = _Program(cascade)
    layers = [program.layer(number) for number in program.numbers]
    shape = Shape.of(layers, channels=program.stream.num_channels)
    return Weights(
        config=model_config(cascade.alphabet, shape, len(layers)),
        tensors=outer_tensors(
            layers, shape, units=program.embeddings(shape.width), head=program.head(shape.width)
        ),
        alphabet=cascade.alphabet,
        plan=program.plan(),
        remarks=REMARKS,
    )


def olmo_hybrid_weights_of_automaton(dfa: DFA) -> Weights | None:
    """Return the weights of `dfa` if its letters reflect or turn, else None.

    Reflections take one linear-attention layer, turns of a triangle two.
    """
    reflections = reflection_system(dfa)
    if reflections is not None:
        return reflection_weights(reflections)
    rotations = rotation_system(dfa)
    return None if rotations is None else rotation_weights(rotations)


@final
class _Program:
    """What each layer does for a cascade."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self.schedule = Schedule(cascade)
        self.stream = OlmoStream(self.schedule)
        self.numbers = range(1, self.schedule.num_layers + 1)

    def layer(self, number: int) -> Layer:
        """Return the heads and the detectors of layer `number`, counted from 1."""
        detectors = [d for component in self._updated(number + 1) for d in self._events(component)]
        if number == self.numbers[-1]:
            detectors += self._answers()
        heads = [head for component in self._updated(number) for head in self._heads(component)]
        heads += [head for component in self._copied(number) for head in self._copies(component)]
        return Layer(heads, detectors)

    def _updated(self, number: int) -> list[int]:
        return [c for c, layer in enumerate(self.schedule.layers) if layer == number]

    def _copied(self, number: int) -> list[int]:
        copied = sorted(self.schedule.copied)
        return [c for c in copied if self.schedule.layers[c] + 1 == number]

    def _heads(self, number: int) -> Iterator[Head]:
        """Yield the heads that update a component."""
        component = self.cascade.components[number]
        if component.swaps:
            yield from swapping_heads(self.stream, number)
            return
        actions = dict.fromkeys(term.value for term in component.terms)
        fired = Form.total(self.stream.event(number, value) for value in actions)
        for value in actions:
            if not isinstance(value, int):
                continue
            written = self.stream.event(number, value)
            if component.flips:
                yield from self._turning(number, fired, value)
                continue
            for channel in self.stream.channels("before", number, value):
                yield Head((fired,), written, constant(1), {channel: 1}, late=True)
            for channel in self.stream.channels("after", number, value):
                yield Head((fired,), written, constant(1), {channel: 1})

    def _turning(self, number: int, fired: Form, value: int) -> Iterator[Head]:
        """Yield the heads of a flipped component that are filled where `value` is written."""
        sign = 1 if value == self.cascade.components[number].initial else -1
        flip = self.stream.event(number, None)
        written = self.stream.event(number, value)
        after = self.stream.channels("after", number, value)
        outputs = dict.fromkeys(after, sign)
        if number in self.schedule.read - self.schedule.copied:
            before = self.stream.channels("before", number, value)
            kept = Form.total([constant(1), _negative(flip)])
            for gate, undone in ((kept, sign), (flip, -sign)):
                both = outputs | dict.fromkeys(before, undone)
                yield Head((fired,), written, gate, both, rate=flip)
        elif outputs:
            yield Head((fired,), written, constant(1), outputs, rate=flip)

    def _copies(self, number: int) -> Iterator[Head]:
        """Yield heads that hold what a component was one symbol ago."""
        for value in range(self.cascade.components[number].num_values):
            outputs = dict.fromkeys(self.stream.channels("before", number, value), 1)
            for form in self.stream.indicators("after", number, frozenset([value])):
                if outputs:
                    yield Head((constant(1),), form, constant(1), outputs, late=True)

    def _events(self, number: int) -> Iterator[Detector]:
        for term in self.cascade.components[number].terms:
            if term.conditions:
                letters = self.stream.letters(term.letters)
                channels = self.stream.event_channels(number, term.value)
                for case in self.stream.cases("before", term.conditions):
                    yield Detector([letters, *case], dict.fromkeys(channels, 1))

    def _answers(self) -> Iterator[Detector]:
        readout = self.cascade.readout
        for term in readout.terms:
            outputs = {
                self.stream.groups[f"answer {number}"].channels[0]: 2 if column[term.label] else -2
                for number, column in enumerate(answer_columns(self.cascade)[0])
                if column[term.label] != column[readout.default]
            }
            if outputs:
                for case in self.stream.cases("after", term.conditions):
                    yield Detector(case, outputs)

    def embeddings(self, width: int) -> Tensor:
        """Return what each token is embedded as, in units: letters, their events, the default."""
        vocabulary = Vocabulary(self.cascade.alphabet)
        units = torch.zeros(vocabulary.size, width, dtype=torch.float64)
        tokens = dict(enumerate(vocabulary.answer_ids[:-1]))
        tokens[self.cascade.restart] = BOS
        for letter, token in tokens.items():
            if self.stream.classes[letter] != self.stream.classes[-1]:
                for channel in self.stream.letters([letter]).coefficients:
                    units[token, channel] = 1
            for number, component in enumerate(self.cascade.components):
                for term in component.terms:
                    if letter in term.letters and not term.conditions:
                        units[token, self.stream.event_channels(number, term.value)] = 1
        for number, column in enumerate(answer_columns(self.cascade)[0]):
            channels = list(self.stream.groups[f"answer {number}"].channels)
            units[:, channels] = 1 if column[self.cascade.readout.default] else -1
        return units

    def head(self, width: int) -> Tensor:
        """Return the weights of the logits: those of BOS and PAD are negative."""
        vocabulary = Vocabulary(self.cascade.alphabet)
        rows = torch.zeros(vocabulary.size, width, dtype=torch.float64)
        rows[:, CONSTANT] = -AMPLITUDE
        places = answer_columns(self.cascade)[1]
        for token, place in zip(vocabulary.answer_ids, places, strict=True):
            if isinstance(place, bool):
                rows[token, CONSTANT] = AMPLITUDE if place else -AMPLITUDE
            else:
                number, sign = place
                rows[token, CONSTANT] = 0
                channel = self.stream.groups[f"answer {number}"].channels[0]
                rows[token, channel] = sign * AMPLITUDE
        return rows

    def plan(self) -> Plan:
        """Return what is where."""
        blocks = [self._block(number) for number in self.numbers]
        groups = tuple(self.stream.groups.values())
        return Plan(groups, (*blocks, INERT_BLOCK), tuple(self.stream.classes))

    def _block(self, number: int) -> Block:
        updated, copied, following = (
            self._updated(number),
            self._copied(number),
            self._updated(number + 1),
        )
        reads = [f"event {c}" for c in updated] + [f"after {c}" for c in copied]
        reads += [f"before {c}" for n in following for c in self.cascade.components[n].reads]
        late = [c for c in updated if c not in self.schedule.copied]
        writes = [f"after {c}" for c in updated] + [f"before {c}" for c in (*late, *copied)]
        writes += [f"event {c}" for c in following]
        remarks = [f"updates {_listed(updated)}"] if updated else []
        remarks += [f"keeps {_listed(copied)} as before the symbol"] if copied else []
        remarks += [f"decides what the symbol does to {_listed(following)}"] if following else []
        if number == self.numbers[-1]:
            reads += [f"after {c}" for c in sorted(self.schedule.answering)]
            writes += [name for name in self.stream.groups if name.startswith("answer")]
            remarks.append("answers")
        return Block(self._known(["letter", *reads]), self._known(writes), "; ".join(remarks))

    def _known(self, names: list[str]) -> tuple[str, ...]:
        return tuple(name for name in dict.fromkeys(names) if name in self.stream.groups)


def _listed(numbers: list[int]) -> str:
    return f"component{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _negative(form: Form) -> Form:
    return Form({channel: -value for channel, value in form.coefficients.items()}, -form.constant)


TARGETS.add(
    "olmo-hybrid",
    Target(
        "olmo-hybrid",
        "OLMo Hybrid",
        olmo_hybrid_weights,
        from_automaton=olmo_hybrid_weights_of_automaton,
        flips=True,
        swaps=True,
    ),
)
