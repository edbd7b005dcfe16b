"""Pictures: well-formed, with every state and every element in them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from statespan.algebra import draw_judgment, judge
from statespan.errors import LimitError, NotRegularError

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", ["parity", "tomita-3", "(a|b)*", "a&b", "word-problem:group=S_3"])
def test_every_live_state_and_every_element_is_drawn(name: str) -> None:
    judgment = judge(name)
    root = ET.fromstring(draw_judgment(judgment))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    rectangles = [e for e in root.iter(f"{SVG}rect") if e.get("class")]
    boxes = judgment.analysis.green.egg_boxes
    assert len(rectangles) == sum(len(box.cells) * len(box.cells[0]) for box in boxes)
    marked = [text for text in texts if text is not None and text.endswith("*")]
    assert len(marked) - (name.endswith("*")) == len(judgment.analysis.monoid.idempotents)
    dfa = judgment.analysis.dfa
    dead = {
        q for q, row in enumerate(dfa.transitions) if q not in dfa.accepting and set(row) == {q}
    }
    circles = list(root.iter(f"{SVG}circle"))
    assert len(circles) == dfa.num_states - len(dead) + len(dfa.accepting)


def test_what_is_too_large_to_look_at_is_refused() -> None:
    with pytest.raises(LimitError, match="at most 400 elements"):
        draw_judgment(judge("d-12"))
    with pytest.raises(LimitError, match="at most 40 states"):
        draw_judgment(judge("a{50}"))
    with pytest.raises(NotRegularError):
        draw_judgment(judge("dyck-1"))
