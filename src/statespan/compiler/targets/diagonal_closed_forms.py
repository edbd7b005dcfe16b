"""The paper's closed forms, in its own model (Sarrof, Veitsman and Hahn 2024, arXiv:2405.17394).

Theorem 1: a flip-flop in two layers. Theorem 5: counters in one. Theorem 6: K brackets at most h
deep in two layers whose states have 1 + h⌈log2 K⌉ channels in all. As in the paper, a prefix that
no word of the language has is answered anyhow, unless a layer more remembers that it was met.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from statespan.compiler.closed_forms import BoundedDyck, ClosedForm, CounterLanguage, FlipFlop
from statespan.compiler.closed_forms.counter_language import Condition
from statespan.compiler.targets.rectifiers import Affine, Layer, Network, channel, stream, total
from statespan.compiler.weights import Group, Plan, Weights
from statespan.training import BOS, EOS

__all__ = ["diagonal_closed_form"]

MAX_COUNT = {"float32": 2**24, "bfloat16": 2**8}
"""Up to here every integer is a number of the precision."""

PROMISE = "Only prefixes of words are answered rightly."
RANGE = "A count is exact up to 2^24 in float32, and 2^8 where states are kept in bfloat16."
BELOW = "The logit of a closing bracket that may not follow is -64 or less."

HOPELESS = 2.0**40
"""More than any count."""


def diagonal_closed_form(spec: ClosedForm, *, every_string: bool = False) -> Weights:
    """Return exact weights of `spec` for the model `diagonal`.

    With `every_string`, counters have a second layer that remembers a symbol read in vain, and all
    strings are answered rightly; it changes nothing for the other two, which promise prefixes of
    words only.

    Example:
        >>> from statespan.compiler.closed_forms import shuffle
        >>> diagonal_closed_form(shuffle(("(", ")"))).config["layers"]
        1
    """
    if isinstance(spec, FlipFlop):
        return _flip_flop(spec)
    if isinstance(spec, BoundedDyck):
        return _bounded_dyck(spec)
    return _counters(spec, every_string=every_string)


def _tell(layer: Layer, form: Affine, target: int, *, sign: float = 1.0) -> None:
    """Add `form`, which is never negative here, to the stream."""
    layer.respond(form, {target: sign})


def _set(layer: Layer, when: Affine, values: Mapping[int, float]) -> None:
    """Write `values` into channels of gate 1 where `when` is 1, and keep them where it is 0."""
    layer.drive(when, gates=dict.fromkeys(values, -1.0), increments=values)


def _one_hot(size: int) -> list[tuple[int, ...]]:
    return [tuple(int(i == v) for i in range(size)) for v in range(size)]


def _letters(network: Network, tokens: Iterable[Iterable[int]]) -> list[Affine]:
    """Give each set of tokens a channel of the stream, and return the forms of the channels."""
    sets = list(map(list, tokens))
    group = network.add_group("letter", "letter", _one_hot(len(sets)))
    for index, members in zip(group.channels, sets, strict=True):
        for token in members:
            network.embeddings.setdefault(token, {})[index] = 1.0
    return [stream(index) for index in group.channels]


def _flip_flop(spec: FlipFlop) -> Weights:
    """Layer 1 knows the last instruction, whether its bit is to come, and whether one was read.

    Layer 2 stores the bit after a write.
    """
    network = Network(spec.alphabet, 2)
    token = network.tokens()
    write, read, ignore, low, high = (token[symbol] for symbol in spec.symbols)
    groups = [[write], [read], [ignore], [low], [high], [BOS]]
    on_write, on_read, on_ignore, on_low, on_high, on_start = _letters(network, groups)
    first, second = network.layers
    writes, reads, waits, begun = (first.add_channel() for _ in range(4))
    for letter in (on_write, on_read, on_ignore):
        last = {writes: float(letter == on_write), reads: float(letter == on_read)}
        _set(first, letter, {**last, waits: 1.0, begun: 1.0})
    for letter in (on_low, on_high):
        _set(first, letter, {reads: 0.0, waits: 0.0})
    _set(first, on_start, {writes: 0.0, reads: 0.0, waits: 0.0, begun: 0.0})
    group = network.add_group("after 0", "after", [(0, 0, 0, 0)])
    for source, target in zip((writes, reads, waits, begun), group.channels, strict=True):
        _tell(first, channel(source), target)
    is_write, is_read, is_waiting, has_begun = map(stream, group.channels)

    stored = second.add_channel()
    for letter, bit in ((on_low, 0.0), (on_high, 1.0)):
        _set(second, is_write + letter - 1.0, {stored: bit})
    wrong = network.add_group("answer", "answer", [(0, 0), (0, 1), (1, 0)])
    _tell(second, is_read + channel(stored) - 1.0, wrong.channels[0])
    _tell(second, is_read - channel(stored), wrong.channels[1])
    network.answers = {write: 1.0 - is_waiting, EOS: 1.0 - is_waiting}
    network.answers |= dict.fromkeys((read, ignore), has_begun - is_waiting)
    for bit_token, index in zip((low, high), wrong.channels, strict=True):
        network.answers[bit_token] = is_waiting - stream(index)
    return network.build(_plan(network), remarks=(PROMISE,), valid_prefixes_only=True)


def _plan(network: Network) -> Plan:
    return Plan(tuple(network.groups))


def _bounded_dyck(spec: BoundedDyck) -> Weights:
    """Layer 1 counts the depth; layer 2 has the bits of the type of the bracket open there."""
    network = Network(spec.alphabet, 2 if spec.num_bits else 1)
    token = network.tokens()
    numbers = range(spec.num_brackets)
    with_bit = [
        [token[spec.opening[kind]] for kind in numbers if kind >> bit & 1]
        for bit in range(spec.num_bits)
    ]
    groups = [[token[s] for s in spec.opening], [token[s] for s in spec.closing], [BOS], *with_bit]
    on_open, on_close, on_start, *on_bits = _letters(network, groups)
    depth = _tell_depth(network, spec.depth, on_open, on_close, on_start)
    top = network.add_group("answer", "answer", [(0,) * spec.num_bits])
    for level in range(1, spec.depth + 1):
        here = stream(depth.channels[level])
        for target, on_bit in zip(top.channels, on_bits, strict=True):
            slot = network.layers[1].add_channel()
            network.layers[1].drive(here + on_open - 1.0, gates={slot: -1.0}, increments={})
            network.layers[1].drive(here + on_bit - 1.0, gates={}, increments={slot: 1.0})
            _tell(network.layers[1], here + channel(slot) - 1.0, target)
    is_shut, is_full = stream(depth.channels[0]), stream(depth.channels[-1])
    is_open = 1.0 - is_shut
    network.answers = {EOS: is_shut, **{token[s]: 1.0 - is_full for s in spec.opening}}
    for kind, symbol in enumerate(spec.closing):
        matches = [
            stream(index) if kind >> bit & 1 else is_open - stream(index)
            for bit, index in enumerate(top.channels)
        ]
        network.answers[token[symbol]] = total([is_open, *matches, -float(spec.num_bits)])
    return network.build(_plan(network), remarks=(PROMISE, BELOW), valid_prefixes_only=True)


def _tell_depth(
    network: Network, limit: int, on_open: Affine, on_close: Affine, on_start: Affine
) -> Group:
    """Count in layer 1, and say the depth, 0 … limit, one-hot."""
    layer = network.layers[0]
    count = layer.add_channel()
    layer.drive(on_open, gates={}, increments={count: 1.0})
    layer.drive(on_close, gates={}, increments={count: -1.0})
    _set(layer, on_start, {count: 0.0})
    group = network.add_group("after 0", "after", _one_hot(limit + 1))
    for level, target in enumerate(group.channels):
        for offset, sign in ((level - 1, 1.0), (level, -2.0), (level + 1, 1.0)):
            _tell(layer, channel(count) - float(offset), target, sign=sign)
    return group


def _counters(spec: CounterLanguage, *, every_string: bool) -> Weights:
    """One channel a counter, with a gate of 1, and one a latch."""
    network = Network(spec.alphabet, 2 if every_string else 1)
    token = network.tokens()
    letters = _letters(network, [*([token[s]] for s in spec.alphabet), [BOS]])
    layer = network.layers[0]
    channels = [layer.add_channel(initial=float(value)) for value in spec.start]
    counters, latches = channels[: len(spec.counters)], channels[len(spec.counters) :]
    for number, letter in enumerate(letters[:-1]):
        changes = {
            index: float(counter.changes[number])
            for index, counter in zip(counters, spec.counters, strict=True)
        }
        layer.drive(letter, gates={}, increments=changes)
        pairs = zip(latches, spec.latches, strict=True)
        _set(layer, letter, {index: 1.0 for index, latch in pairs if number in latch})
    _set(layer, letters[-1], dict(zip(channels, map(float, spec.start), strict=True)))
    answers = network.add_group("answer", "answer", [(0,) * len(spec.conditions)])
    tokens = (*token.values(), EOS)
    quantities = [channel(index) for index in channels]
    for condition, answer, index in zip(spec.conditions, tokens, answers.channels, strict=True):
        _tell_condition(layer, condition, quantities, index)
        network.answers[answer] = stream(index)
    if every_string:
        _remember_violations(network, spec, letters, quantities)
    return network.build(
        _plan(network),
        remarks=(RANGE,) if every_string else (PROMISE, RANGE),
        valid_prefixes_only=not every_string,
        max_count=dict(MAX_COUNT),
    )


def _tell_condition(
    layer: Layer,
    condition: Condition,
    quantities: list[Affine],
    target: int,
    *,
    when: Affine | float = 0.0,
    sign: float = 1.0,
) -> None:
    """Add 1 where a condition holds, unless `when` is far below 0; round no sum that is near 0."""
    zero = 1.0 + when - total([0.0, *(quantities[number] for number in condition.zero)])
    _tell(layer, zero, target, sign=sign)
    if condition.positive is not None:
        _tell(layer, zero - quantities[condition.positive], target, sign=-sign)


def _remember_violations(
    network: Network, spec: CounterLanguage, letters: list[Affine], quantities: list[Affine]
) -> None:
    """Layer 1 says that a symbol was read against its condition; layer 2 never forgets it."""
    first, second = network.layers
    violation = network.add_group("event 0", "event", [(0,), (1,)])
    far = 2.0 + sum(abs(change) for counter in spec.counters for change in counter.changes)
    for number, letter in enumerate(letters[:-1]):
        before = [
            count - float(counter.changes[number])
            for count, counter in zip(quantities, spec.counters, strict=False)
        ] + quantities[len(spec.counters) :]
        _tell(first, letter, violation.channels[0])
        when = far * letter - far
        _tell_condition(
            first, spec.conditions[number], before, violation.channels[0], when=when, sign=-1.0
        )
    hopeless = second.add_channel()
    _set(second, stream(violation.channels[0]), {hopeless: 1.0})
    _set(second, letters[-1], {hopeless: 0.0})
    answers = next(group for group in network.groups if group.kind == "answer")
    final = network.add_group("final answer", "answer", [(0,) * len(answers.channels)])
    for (token, form), target in zip(list(network.answers.items()), final.channels, strict=True):
        _tell(second, form - HOPELESS * channel(hopeless), target)
        network.answers[token] = stream(target)
