"""Every pass of the compiler as one picture: automaton, cascade, program of layers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import final

from statespan.algebra.drawing import ARROW_TIP, STYLE, automaton_parts
from statespan.compiler.cascade import Cascade
from statespan.compiler.explain import rule_lines
from statespan.compiler.layer_program import layer_program
from statespan.compiler.meanings import ComponentMeaning, component_meanings
from statespan.compiler.weights import Block, Plan
from statespan.languages.automaton import DFA

__all__ = ["Box", "cascade_boxes", "draw_passes", "program_boxes"]

MAX_STATES = 40
MAX_RULES = 12
MAX_VALUES = 8
MARGIN = 24.0
LINE = 16.0
CHARACTER = 7.0
PADDING = 10.0
CARD_WIDTH = 330.0
CARD_GAP = 18.0
BOLD = 30.0
"""How much less of a bold line fits."""
GUTTER = 34.0
LANE = 7.0
PROGRAM_WIDTH = 620.0
BLOCK_GAP = 30.0
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555")
"""Told apart by color-blind readers too (Okabe and Ito)."""

OWN_STYLE = (
    " .title{font-weight:bold} .heading{font:bold 15px sans-serif} .soft{fill:#666} "
    ".card{fill:#fff;stroke:#222;stroke-width:1.2} .wire{fill:none;stroke-width:1.6} "
    ".stream{stroke:#999;stroke-width:6;fill:none}"
)


@final
@dataclass(frozen=True, slots=True)
class Box:
    """A box with lines of text, each with its kind (a class of the style) or none."""

    x: float
    y: float
    width: float
    lines: tuple[tuple[str, str], ...] = field(default=())

    @property
    def height(self) -> float:
        """Its height, with a margin around the text."""
        return LINE * len(self.lines) + 2 * PADDING - 4

    def parts(self) -> Iterator[str]:
        """Yield its elements."""
        size = f'width="{self.width:.1f}" height="{self.height:.1f}" rx="5"'
        yield f'<rect x="{self.x:.1f}" y="{self.y:.1f}" {size} class="card"/>'
        for number, (text, kind) in enumerate(self.lines):
            y = self.y + PADDING + LINE * number + 10
            yield _text(self.x + PADDING, y, text, kind)


def draw_passes(cascade: Cascade, dfa: DFA, plan: Plan | None = None) -> str:
    """Return an SVG of the automaton, below it the cascade, below that the layers.

    The cascade goes from left to right, a column a level; a wire leads from each component to
    those that read it. The layers go from the bottom to the top. An automaton of more than 40
    states is not drawn.
    """
    parts: list[str] = []
    y = MARGIN
    widths = [0.0]
    for title, drawn in _panels(cascade, dfa, plan):
        elements, width, height = drawn
        parts.append(_text(MARGIN, y + 10, title, "heading"))
        parts.append(f'<g transform="translate(0 {y + 22:.1f})">')
        parts += elements
        parts.append("</g>")
        y += height + 22 + MARGIN
        widths.append(width)
    size = f'width="{max(widths):.0f}" height="{y:.0f}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {max(widths):.0f} {y:.0f}">',
        "<title>The passes of the compiler</title>",
        f"<style>{STYLE}{OWN_STYLE}</style>",
        ARROW_TIP,
        f'<rect {size} fill="#fff"/>',
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


Drawn = tuple[list[str], float, float]


def _panels(cascade: Cascade, dfa: DFA, plan: Plan | None) -> Iterator[tuple[str, Drawn]]:
    if dfa.num_states <= MAX_STATES:
        yield "The minimal automaton (without its dead state)", automaton_parts(dfa)
    else:
        note = f"The minimal automaton has {dfa.num_states} states: too many to draw"
        yield note, ([], 0.0, 0.0)
    meanings = component_meanings(cascade, dfa)
    yield "The cascade", _draw_cascade(cascade, meanings)
    if plan is not None and plan.groups:
        yield "The program of layers, from the bottom to the top", _draw_program(cascade, plan)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{css}>{escape(text)}</text>'


def _fitted(text: str, width: float, indent: str = "    ") -> list[str]:
    """Return the text in lines that fit a box of that width."""
    most = int((width - 2 * PADDING) / CHARACTER)
    return textwrap.wrap(text, most, subsequent_indent=indent, break_on_hyphens=False)


def cascade_boxes(cascade: Cascade, meanings: Sequence[ComponentMeaning]) -> list[Box]:
    """Return a box for each component: a column a level, below the lanes of the wires."""
    top = LANE * (len(_wired(cascade)) + 1)
    gutter = _gutter(cascade)
    bottoms = [top] * (cascade.num_levels + 1)
    boxes = []
    for number, level in enumerate(cascade.levels):
        x = MARGIN + gutter + (level - 1) * (CARD_WIDTH + gutter)
        lines = tuple(_card_lines(cascade, number, meanings[number]))
        box = Box(x, bottoms[level], CARD_WIDTH, lines)
        bottoms[level] += box.height + CARD_GAP
        boxes.append(box)
    return boxes


def _card_lines(
    cascade: Cascade, number: int, meaning: ComponentMeaning
) -> Iterator[tuple[str, str]]:
    component = cascade.components[number]
    for line in _fitted(f"c{number}: {meaning.sentence}", CARD_WIDTH - BOLD, ""):
        yield line, "title"
    for value, said in enumerate(meaning.values[:MAX_VALUES]):
        for line in _fitted(f"{value}: {said.sentence}", CARD_WIDTH):
            yield line, ""
    if len(meaning.values) > MAX_VALUES:
        yield f"and {len(meaning.values) - MAX_VALUES} more values", ""
    rules = rule_lines(cascade, component)
    for rule in rules[:MAX_RULES]:
        for line in _fitted(rule, CARD_WIDTH):
            yield line, "soft"
    if len(rules) > MAX_RULES:
        yield f"and {len(rules) - MAX_RULES} more rules", "soft"


def _wired(cascade: Cascade) -> list[int]:
    """Return the components that others read."""
    return sorted({read for component in cascade.components for read in component.reads})


def _gutter(cascade: Cascade) -> float:
    return GUTTER + LANE * len(_wired(cascade))


def _draw_cascade(cascade: Cascade, meanings: Sequence[ComponentMeaning]) -> Drawn:
    boxes = cascade_boxes(cascade, meanings)
    parts = [part for box in boxes for part in box.parts()]
    for rank, source in enumerate(_wired(cascade)):
        parts += _wires(cascade, boxes, source, rank)
    right = max((box.x + box.width for box in boxes), default=MARGIN)
    bottom = max((box.y + box.height for box in boxes), default=0.0)
    return parts, right + _gutter(cascade), bottom


def _wires(cascade: Cascade, boxes: Sequence[Box], source: int, rank: int) -> Iterator[str]:
    """Yield the wires of one component: out to the right, up to its lane, down to its readers."""
    color = COLORS[rank % len(COLORS)]
    lane = LANE * (rank + 0.5)
    box = boxes[source]
    port = box.y + PADDING + 4
    out = box.x + box.width + 12 + LANE * rank
    readers = [i for i, c in enumerate(cascade.components) if source in c.reads]
    far = {cascade.levels[i] for i in readers} - {cascade.levels[source] + 1}
    for reader in readers:
        goal = boxes[reader]
        into = goal.y + PADDING + 4 + LANE * sorted(cascade.components[reader].reads).index(source)
        down = goal.x - _gutter(cascade) + 12 + LANE * rank
        line = f"M{box.x + box.width:.1f} {port:.1f}H{out:.1f}"
        if cascade.levels[reader] in far:
            line += f"V{lane:.1f}H{down:.1f}"
        line += f"V{into:.1f}H{goal.x - 1:.1f}"
        yield f'<path d="{line}" class="wire" stroke="{color}" marker-end="url(#tip)"/>'


def program_boxes(cascade: Cascade, plan: Plan) -> list[Box]:
    """Return a box for the embedding, for each block and for the head, from the bottom to the top.

    The uppermost has y 0.
    """
    described = [("embedding", "", "the letter, and each fact as it is at the start of a word")]
    for number, block in enumerate(layer_program(cascade, plan), start=1):
        described.append((f"block {number}: {block.remark}", *_ends(block)))
    described.append(("norm and head", "the answers", "a logit for each symbol and for the end"))
    stacked: list[Box] = []
    y = 0.0
    for title, reads, writes in reversed(described):
        lines = [(line, "title") for line in _fitted(title, PROGRAM_WIDTH - BOLD)]
        for verb, named in (("writes", writes), ("reads", reads)):
            if named:
                lines += [(line, "") for line in _fitted(f"{verb} {named}", PROGRAM_WIDTH)]
        box = Box(MARGIN + 40, y, PROGRAM_WIDTH, tuple(lines))
        stacked.append(box)
        y += box.height + BLOCK_GAP
    return stacked[::-1]


def _ends(block: Block) -> tuple[str, str]:
    return ", ".join(block.reads), ", ".join(block.writes)


def _draw_program(cascade: Cascade, plan: Plan) -> Drawn:
    boxes = program_boxes(cascade, plan)
    parts: list[str] = []
    held = ["letter"]
    blocks = layer_program(cascade, plan)
    for number, (lower, upper) in enumerate(pairwise(boxes)):
        x = lower.x + 60
        line = f"M{x:.1f} {lower.y:.1f}V{upper.y + upper.height + 2:.1f}"
        parts.append(f'<path d="{line}" class="edge" marker-end="url(#tip)"/>')
        if number:
            held += [name for name in blocks[number - 1].writes if name not in held]
        stream = _cut(f"stream: {', '.join(held)}")
        parts.append(_text(x + 14, lower.y - BLOCK_GAP / 2 + 4, stream, "soft"))
    parts += [part for box in boxes for part in box.parts()]
    bottom = max(box.y + box.height for box in boxes)
    return parts, boxes[0].x + PROGRAM_WIDTH + MARGIN, bottom


def _cut(text: str) -> str:
    most = int((PROGRAM_WIDTH - 80) / CHARACTER)
    return text if len(text) <= most else text[: most - 2] + " …"
