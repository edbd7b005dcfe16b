"""Pictures of a language's algebra as SVG: its minimal automaton and its egg-box diagram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from statespan.algebra.green import EggBox
from statespan.algebra.monoid import TransitionMonoid
from statespan.algebra.verdict import Judgment
from statespan.errors import LimitError
from statespan.languages import show_word
from statespan.languages.automaton import DFA
from statespan.languages.symbols import to_word

__all__ = ["draw_judgment"]

MAX_STATES = 40
MAX_ELEMENTS = 400
RADIUS = 20
CHARACTER = 7.2
LINE = 16
STYLE = (
    "text{font:12px sans-serif;fill:#222} .label{fill:#0072b2;paint-order:stroke;stroke:#fff;"
    "stroke-width:4px} .edge{fill:none;stroke:#555;stroke-width:1.3} .state{fill:#fff;stroke:#222;"
    "stroke-width:1.5} .box{fill:#fff;stroke:#222} .group{fill:#d9ecf7;stroke:#222}"
)

ARROW_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>'
)


def draw_judgment(judgment: Judgment) -> str:
    """Return an SVG with the minimal automaton above the egg-box diagram of the monoid.

    The automaton: double circles accept, an arrow from nowhere is the start, 0 … n-1 as in the
    table; the dead state is left out. The diagram: a grid for each J-class, the top one first; a
    row for each R-class, a column for each L-class, the shortest word of each element in its
    H-class; a colored cell has an idempotent (*), so it is a group.

    Raises:
        NotRegularError: the language has no finite automaton.
        LimitError: more than 40 states, or 400 elements.
    """
    dfa = judgment.analysis.dfa
    if dfa.num_states > MAX_STATES:
        raise LimitError(f"at most {MAX_STATES} states are drawn, got {dfa.num_states}.")
    size = judgment.monoid_size
    if size > MAX_ELEMENTS:
        raise LimitError(f"at most {MAX_ELEMENTS} elements of a monoid are drawn, got {size}.")
    automaton, width, height = automaton_parts(dfa)
    boxes = judgment.analysis.green.egg_boxes
    diagram, box_width, box_height = _draw_egg_boxes(boxes, judgment.analysis.monoid, height + 40)
    total_width, total_height = max(width, box_width), height + 40 + box_height
    size_of_all = f'width="{total_width:.0f}" height="{total_height:.0f}"'
    view = f'viewBox="0 0 {total_width:.0f} {total_height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size_of_all} {view}>',
        f"<title>{escape(judgment.language.name)}</title>",
        f"<style>{STYLE}</style>",
        ARROW_TIP,
        f'<rect {size_of_all} fill="#fff"/>',
        _text(12, 22, judgment.language.name, anchor="start"),
        *automaton,
        *diagram,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, text: str, *, anchor: str = "middle", kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}>{escape(text)}</text>'


def automaton_parts(dfa: DFA) -> tuple[list[str], float, float]:
    states = [q for q in range(dfa.num_states) if not _is_dead(dfa, q)]
    spread = max(70.0, 26.0 * len(states))
    center = spread + 90
    places = {}
    for index, state in enumerate(states):
        angle = math.pi + 2 * math.pi * index / max(1, len(states))
        places[state] = (center + spread * math.cos(angle), center + spread * math.sin(angle))
    labels: dict[tuple[int, int], list[str]] = {}
    for source in states:
        for symbol, target in zip(dfa.alphabet, dfa.transitions[source], strict=True):
            if target in places:
                labels.setdefault((source, target), []).append(symbol)
    parts: list[str] = []
    for (source, target), symbols in labels.items():
        label = " ".join(symbols[:6]) + (" …" if len(symbols) > 6 else "")
        if source == target:
            parts += _draw_loop(places[source], (center, center), label)
        else:
            parts += _draw_edge(places[source], places[target], label)
    for state, (x, y) in places.items():
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}" class="state"/>')
        if state in dfa.accepting:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS - 4}" class="state"/>')
        parts.append(_text(x, y + 4, str(state)))
    if dfa.start in places:
        x, y = places[dfa.start]
        begin, tip = 0.72 * (RADIUS + 34), 0.72 * (RADIUS + 2)
        line = f"M{x - begin:.1f} {y + begin:.1f}L{x - tip:.1f} {y + tip:.1f}"
        parts.append(f'<path d="{line}" class="edge" marker-end="url(#tip)"/>')
    return parts, 2 * center, 2 * center


def _is_dead(dfa: DFA, state: int) -> bool:
    return state not in dfa.accepting and all(q == state for q in dfa.transitions[state])


def _draw_edge(start: tuple[float, float], end: tuple[float, float], label: str) -> list[str]:
    """Draw an arrow bent to the left, so that the one back does not lie on it."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy)
    middle = (start[0] + dx / 2 - dy * 0.16, start[1] + dy / 2 + dx * 0.16)
    begin, tip = (_toward(point, middle, RADIUS + 1) for point in (start, end))
    curve = (
        f"M{begin[0]:.1f} {begin[1]:.1f}Q{middle[0]:.1f} {middle[1]:.1f} {tip[0]:.1f} {tip[1]:.1f}"
    )
    place = (start[0] + dx / 2 - dy * 10 / length, start[1] + dy / 2 + dx * 10 / length)
    place = ((place[0] + middle[0]) / 2, (place[1] + middle[1]) / 2 + 4)
    return [
        f'<path d="{curve}" class="edge" marker-end="url(#tip)"/>',
        _text(*place, label, kind="label"),
    ]


def _draw_loop(place: tuple[float, float], center: tuple[float, float], label: str) -> list[str]:
    """Draw an arrow from a state to itself, on the side away from the center."""
    angle = math.atan2(place[1] - center[1], place[0] - center[0])
    points = []
    for turn, reach in ((-0.45, RADIUS + 1), (-0.7, 62), (0.7, 62), (0.45, RADIUS + 1)):
        points.append(
            (place[0] + reach * math.cos(angle + turn), place[1] + reach * math.sin(angle + turn))
        )
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
    curve = f"M{x0:.1f} {y0:.1f}C{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f} {x3:.1f} {y3:.1f}"
    label_at = (place[0] + 62 * math.cos(angle), place[1] + 62 * math.sin(angle) + 4)
    return [
        f'<path d="{curve}" class="edge" marker-end="url(#tip)"/>',
        _text(*label_at, label, kind="label"),
    ]


def _toward(
    point: tuple[float, float], goal: tuple[float, float], distance: float
) -> tuple[float, float]:
    dx, dy = goal[0] - point[0], goal[1] - point[1]
    length = math.hypot(dx, dy) or 1.0
    return point[0] + distance * dx / length, point[1] + distance * dy / length


def _draw_egg_boxes(
    boxes: Sequence[EggBox], monoid: TransitionMonoid, top: float
) -> tuple[list[str], float, float]:
    parts: list[str] = []
    y, width = top, 0.0
    for box in reversed(boxes):
        words = [[[_element(monoid, x, box) for x in cell] for cell in row] for row in box.cells]
        longest = max(len(word) for row in words for cell in row for word in cell)
        cell_width = max(44.0, CHARACTER * longest + 16)
        cell_height = LINE * box.cell_size + 10
        for i, row in enumerate(words):
            for j, cell in enumerate(row):
                left, upper = 24 + j * cell_width, y + i * cell_height
                kind = "group" if any(word.endswith("*") for word in cell) else "box"
                parts.append(
                    f'<rect x="{left:.1f}" y="{upper:.1f}" width="{cell_width:.1f}" '
                    f'height="{cell_height:.1f}" class="{kind}"/>'
                )
                for k, word in enumerate(cell):
                    parts.append(_text(left + cell_width / 2, upper + LINE * (k + 1) + 1, word))
        width = max(width, 48 + len(words[0]) * cell_width)
        y += len(words) * cell_height + 18
    return parts, width, y - top + 12


def _element(monoid: TransitionMonoid, x: int, box: EggBox) -> str:
    word = show_word(to_word(monoid.word(x), monoid.alphabet))
    return word + ("*" if x in box.idempotents else "")
