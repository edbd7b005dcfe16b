"""Pictures: what they hold, and that boxes and text keep apart."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

import pytest
from matplotlib.image import imread

from statespan.compiler.cascade import Cascade
from statespan.compiler.decomposition import decompose
from statespan.compiler.drawing import Box, cascade_boxes, draw_passes, program_boxes
from statespan.compiler.folder import build_model
from statespan.compiler.hidden_states import draw_hidden_states, stream_facts
from statespan.compiler.layer_program import layer_program
from statespan.compiler.meanings import component_meanings
from statespan.compiler.model_plan import GroupValues
from statespan.compiler.quiet import quiet_transformers
from statespan.compiler.targets.mamba import mamba_weights
from statespan.compiler.targets.mamba2 import mamba2_weights
from statespan.compiler.weights import convert
from statespan.errors import InputError, SymbolError
from statespan.languages import DFA, language
from statespan.training import Vocabulary

SVG = "{http://www.w3.org/2000/svg}"
MAKERS = {"mamba": mamba_weights, "mamba2": mamba2_weights}


def compiled(name: str) -> tuple[Cascade, DFA]:
    dfa = language(name).dfa()
    return decompose(dfa), dfa


def apart(first: Box, second: Box) -> bool:
    return (
        first.x + first.width <= second.x
        or second.x + second.width <= first.x
        or first.y + first.height <= second.y
        or second.y + second.height <= first.y
    )


@pytest.mark.parametrize("name", ["tomita-4", "d-4", "flip-flop", "tomita-1", "tomita-7"])
@pytest.mark.parametrize("target", MAKERS)
def test_boxes_keep_apart_and_text_inside(name: str, target: str) -> None:
    cascade, dfa = compiled(name)
    plan = MAKERS[target](cascade).plan
    for boxes in (
        cascade_boxes(cascade, component_meanings(cascade, dfa)),
        program_boxes(cascade, plan),
    ):
        for i, box in enumerate(boxes):
            assert all(apart(box, other) for other in boxes[:i])
            # 6.5 is a good mean width of a letter in a 12 px sans serif, and 7.5 of a bold one.
            for text, kind in box.lines:
                assert len(text) * (7.5 if kind == "title" else 6.5) <= box.width - 10
            assert box.height > 16 * len(box.lines)


def test_components_of_one_level_stand_below_one_another() -> None:
    cascade, dfa = compiled("tomita-1")
    several = Cascade(cascade.alphabet, cascade.components[:1] * 3, cascade.readout)
    first, second, third = cascade_boxes(several, component_meanings(several, dfa))
    assert first.x == second.x == third.x
    assert first.y + first.height < second.y
    assert second.y + second.height < third.y


@pytest.mark.parametrize("target", MAKERS)
def test_the_picture_is_an_svg_with_every_part(target: str) -> None:
    cascade, dfa = compiled("tomita-4")
    plan = MAKERS[target](cascade).plan
    root = ET.fromstring(draw_passes(cascade, dfa, plan))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert sum(text.startswith("block ") for text in texts) == len(layer_program(cascade, plan))
    for number in range(len(cascade.components)):
        assert any(text.startswith(f"c{number}: ") for text in texts)
    reads = sum(len(component.reads) for component in cascade.components)
    wires = [path for path in root.iter(f"{SVG}path") if path.get("class") == "wire"]
    assert len(wires) == reads
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) + float(rect.get("width", 0)) <= width
        assert float(rect.get("y", 0)) + float(rect.get("height", 0)) <= height


def test_a_large_automaton_is_not_drawn_but_named() -> None:
    size = 41
    rows = tuple((min(q + 1, size - 1),) for q in range(size))
    dfa = DFA(("a",), 0, frozenset({size - 1}), rows)
    cascade, _ = compiled("tomita-1")
    single = Cascade(("a",), (), cascade.readout)
    assert "has 41 states: too many to draw" in draw_passes(single, dfa)


@pytest.mark.parametrize("target", MAKERS)
def test_the_rows_of_facts_are_those_of_the_cascade(target: str) -> None:
    cascade, _ = compiled("tomita-4")
    weights = MAKERS[target](cascade)
    word = "0110010001"
    with quiet_transformers():
        model = build_model(weights.config, convert(weights, "float32"), "float32")
        facts = stream_facts(model, weights.plan, Vocabulary(cascade.alphabet).encode(word))
        png = draw_hidden_states(model, cascade, weights.plan, word)
    image = imread(io.BytesIO(png))
    assert image.shape[0] > 200
    assert image.std() > 0.1
    values = GroupValues(weights.plan, cascade)
    letters = [cascade.restart, *map(int, word)]
    run = list(cascade.run(letters))
    for place, letter in enumerate(letters):
        said = values(run[place], letter, run[place + 1])
        wanted = [c for g, v in zip(weights.plan.groups, said, strict=True) for c in g.codes[v]]
        assert facts[-1][:, place].tolist() == wanted


def test_a_word_that_cannot_be_drawn_is_refused() -> None:
    cascade, _ = compiled("tomita-4")
    weights = mamba_weights(cascade)
    model = build_model(weights.config, convert(weights, "float32"), "float32")
    with pytest.raises(SymbolError, match="'2'"):
        draw_hidden_states(model, cascade, weights.plan, "012")
    with pytest.raises(InputError, match="at most 120 symbols, got 121"):
        draw_hidden_states(model, cascade, weights.plan, "1" * 121)
