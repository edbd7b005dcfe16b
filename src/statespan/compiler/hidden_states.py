"""A picture of what a compiled model holds while it reads a word."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from transformers import PreTrainedModel

from statespan.compiler.cascade import Cascade
from statespan.compiler.residual import answer_columns
from statespan.compiler.weights import Group, Plan
from statespan.errors import InputError
from statespan.languages import Word
from statespan.languages.symbols import check_word
from statespan.training import Vocabulary

__all__ = ["draw_hidden_states", "stream_facts"]

MAX_LENGTH = 120
MAX_ROWS = 40
ROW_HEIGHT, COLUMN_WIDTH = 0.24, 0.3


@final
@dataclass(frozen=True, slots=True)
class _Panel:
    """Rows of numbers between -1 and 1, a column for each token."""

    title: str
    names: list[str]
    values: Tensor


def draw_hidden_states(model: PreTrainedModel, cascade: Cascade, plan: Plan, word: Word) -> bytes:
    """Return a PNG of the stream's facts and of the recurrent states, over the symbols of `word`.

    From top to bottom: what each token is embedded as, then for each layer its recurrent states
    and the facts that it changes. Each row of a recurrent state is scaled by its largest number.

    Raises:
        InputError: the word is longer than 120 symbols.
        SymbolError: the word has a symbol that is not in the alphabet.
    """
    check_word(word, cascade.alphabet)
    if len(word) > MAX_LENGTH:
        raise InputError(f"the word must have at most {MAX_LENGTH} symbols, got {len(word)}.")
    tokens = Vocabulary(cascade.alphabet).encode(word)
    panels = list(_panels(model, cascade, plan, tokens))
    return _draw(panels, ["start", *word])


@torch.inference_mode()
def _panels(
    model: PreTrainedModel, cascade: Cascade, plan: Plan, tokens: Sequence[int]
) -> Iterator[_Panel]:
    streams = stream_facts(model, plan, tokens)
    names = [name for group in plan.groups for name in _channel_names(group, cascade, plan)]
    states = _recurrent_states(model, tokens)
    letters = [i for i, name in enumerate(names) if name.startswith("reads ")]
    yield _Panel("embedding", [names[i] for i in letters], streams[0][letters])
    for number, (before, after) in enumerate(pairwise(streams), start=1):
        held = states.get(number - 1)
        if held is not None and held.values.numel():
            yield _Panel(f"layer {number}: recurrent state", held.names, held.values)
        changed = [i for i in range(len(names)) if not torch.equal(before[i], after[i])]
        if changed:
            title = f"layer {number}: facts it writes"
            yield _Panel(title, [names[i] for i in changed], after[changed])


@torch.inference_mode()
def stream_facts(model: PreTrainedModel, plan: Plan, tokens: Sequence[int]) -> list[Tensor]:
    """Return the channels of the facts before the first layer and after each: [channel, token].

    They are in units of a code, so that each number is -1, 0 or 1 in an exact model.
    """
    channels = [channel for group in plan.groups for channel in group.channels]
    return [_units(hidden[0].double(), channels) for hidden in _streams(model, tokens)]


def _streams(model: PreTrainedModel, tokens: Sequence[int]) -> list[Tensor]:
    """Return the stream before the first layer and after each.

    What `transformers` calls hidden states begins after the first layer in some models.
    """
    ids = torch.tensor([tokens])
    streams = [model.get_input_embeddings()(ids)]

    def keep(_layer: Any, _inputs: Any, output: Any) -> None:
        streams.append(output[0] if isinstance(output, tuple) else output)

    base: Any = model.base_model
    hooks = [layer.register_forward_hook(keep) for layer in base.layers]
    try:
        model(ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return streams


def _units(hidden: Tensor, channels: Sequence[int]) -> Tensor:
    """Return the channels of the facts as rows, in units of a code."""
    facts = hidden[:, list(channels)].T
    return (facts / facts.abs().max().clamp(min=torch.finfo(facts.dtype).tiny)).round(decimals=4)


def _channel_names(group: Group, cascade: Cascade, plan: Plan) -> Iterator[str]:
    """Yield a name for each channel, after the values for which it is positive."""
    one_hot = all(sum(map(abs, code)) <= 1 for code in group.codes)
    for place in range(len(group.channels)):
        values = [value for value, code in enumerate(group.codes) if code[place] > 0]
        if group.kind == "letter":
            yield f"reads {_letters(values, cascade, plan)}"
        elif len(group.channels) == 1:
            yield _name(group, cascade)
        elif group.kind == "event" and one_hot and len(group.channels) == len(group.codes):
            change = f"becomes {place - 1}" if place else "is kept"
            yield f"c{group.component} {change}"
        else:
            listed = ", ".join(map(str, values[:4])) if one_hot else f"channel {place}"
            yield f"{_name(group, cascade)} = {listed}" if one_hot else f"{group.name}, {listed}"


def _name(group: Group, cascade: Cascade) -> str:
    if group.kind == "answer":
        places = zip([*cascade.alphabet, "end"], answer_columns(cascade)[1], strict=True)
        asking = [symbol for symbol, place in places if group.name == _answer(place)]
        return f"may follow: {_shortened(asking)}" if asking else group.name
    return group.name if group.component is None else f"c{group.component} {group.kind}"


def _answer(place: tuple[int, int] | bool) -> str | None:
    return None if isinstance(place, bool) or place[1] < 0 else f"answer {place[0]}"


def _letters(values: Sequence[int], cascade: Cascade, plan: Plan) -> str:
    all_letters = [*cascade.alphabet, "start", "end or padding"]
    named = [all_letters[i] for i, own in enumerate(plan.letter_classes) if own in values]
    return _shortened(named)


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _recurrent_states(model: PreTrainedModel, tokens: Sequence[int]) -> dict[int, _Panel]:
    """Return for each layer the recurrent states that are ever used, scaled row by row."""
    steps: dict[int, list[Tensor]] = {}
    cache: Any = None
    mamba = model.config.model_type.startswith("mamba")
    argument = "cache_params" if mamba else "past_key_values"
    for token in tokens:
        given = {} if cache is None else {argument: cache}
        output = model(torch.tensor([[token]]), use_cache=True, **given)
        cache = output[argument]
        for number, layer in enumerate(cache.layers):
            # An attention layer keeps keys and values, and no recurrent state.
            held = getattr(layer, "recurrent_states", None)
            if held:
                steps.setdefault(number, []).append(held[0][0].double().flatten().clone())
    panels = {}
    for number, rows in steps.items():
        values = torch.stack(rows, dim=1)
        used = values.abs().amax(dim=1).nonzero().flatten()[:MAX_ROWS]
        scaled = values[used] / values[used].abs().amax(dim=1, keepdim=True)
        panels[number] = _Panel("", [f"state {i}" for i in used.tolist()], scaled)
    return panels


def _draw(panels: Sequence[_Panel], columns: Sequence[str]) -> bytes:
    rows = [max(1, len(panel.names)) for panel in panels]
    size = (2.2 + COLUMN_WIDTH * len(columns), ROW_HEIGHT * sum(rows) + 0.5 * len(rows) + 0.5)
    figure = Figure(figsize=(max(5.0, size[0]), size[1]), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(
        len(panels), 1, squeeze=False, height_ratios=rows, sharex=True
    ).flatten()
    for axes, panel in zip(all_axes, panels, strict=True):
        image = axes.imshow(panel.values.numpy(), cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
        axes.set_title(panel.title, loc="left", fontsize=9)
        axes.set_yticks(range(len(panel.names)), panel.names, fontsize=8, parse_math=False)
        axes.set_xticks(range(len(columns)), columns, fontsize=8, parse_math=False)
        axes.tick_params(length=0, labelbottom=axes is all_axes[-1])
        axes.set_xticks([x - 0.5 for x in range(1, len(columns))], minor=True)
        axes.set_yticks([y - 0.5 for y in range(1, len(panel.names))], minor=True)
        axes.grid(which="minor", color="white", lw=1)
        axes.tick_params(which="minor", length=0)
    figure.colorbar(image, ax=list(all_axes), fraction=0.02, pad=0.01, aspect=40, ticks=[-1, 0, 1])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
