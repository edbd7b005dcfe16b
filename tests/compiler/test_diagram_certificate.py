"""Certificates for all inputs at once: right weights get one, and no wrong weight does."""

import dataclasses
from functools import partial
from random import Random

import pytest
import torch

from statespan import language
from statespan.compiler import diagram_certificate
from statespan.compiler.abstract_machine import cascade_machine
from statespan.compiler.cascade import Cascade
from statespan.compiler.certificate import certify_states
from statespan.compiler.closed_forms import BoundedDyck, bounded_dyck_cascade
from statespan.compiler.compilation import compile as compile_exactly
from statespan.compiler.diagram_certificate import certify_diagrams
from statespan.compiler.models import causal_model
from statespan.compiler.oracle import Oracle
from statespan.compiler.recorded_runs import recorded_runs
from statespan.compiler.stack_machine import stack_machine, stack_moves
from statespan.compiler.state_table import state_table
from statespan.compiler.symbolic_model import SymbolicModel
from statespan.compiler.targets import TARGETS
from statespan.compiler.weights import convert
from statespan.languages import language_from_text
from statespan.training import BOS, EOS

SMALL = "bounded-dyck:brackets=2,depth=2"
FORMS = [("mamba", "closed"), ("mamba", "cascade"), ("mamba2", "cascade")]
EVERY_FORM = pytest.mark.parametrize(("target", "form"), FORMS)


def compiled(name, target, form, dtype="float32"):
    """Return a model of nested brackets and its cascade, None for the closed form."""
    spec = BoundedDyck.match(language_from_text(name))
    made = TARGETS.get(target)
    cascade = bounded_dyck_cascade(spec) if form == "cascade" else None
    weights = made.from_closed_form(spec) if cascade is None else made.from_cascade(cascade)
    return causal_model(weights.config, convert(weights, dtype), dtype), cascade


def certify(name, model, cascade: Cascade | None, **options):
    return certify_diagrams(model, language_from_text(name), cascade=cascade, **options)


@EVERY_FORM
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [SMALL, "bounded-dyck:brackets=3,depth=4"])
def test_it_closes_on_brackets(target, form, dtype, name):
    certificate = certify(name, *compiled(name, target, form, dtype))
    assert certificate.proves
    assert certificate.margin == 64
    assert certificate.exact == (form == "cascade")
    assert certificate.valid_prefixes_only == (form == "closed")
    assert certificate.transitions > certificate.states > 0


@pytest.mark.slow
@EVERY_FORM
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_closes_where_the_stacks_are_too_many_to_list(target, form, dtype):
    assert certify("bounded-dyck", *compiled("bounded-dyck", target, form, dtype)).proves


@pytest.mark.parametrize("target", ["mamba", "mamba2"])
@pytest.mark.parametrize("name", ["tomita-4", "d-4", "aa-star-bb-star-cc-star-dd-star-ee-star"])
def test_it_closes_on_the_cascade_of_an_automaton(target, name):
    made = compile_exactly(language(name), target)
    certificate = certify_diagrams(made.model, made.language, cascade=made.cascade, dfa=made.dfa)
    assert certificate.proves
    assert certificate.exact


@pytest.mark.slow
@EVERY_FORM
def test_a_wrong_weight_gets_no_certificate(target, form):
    """Whatever single number is changed: a proof must not contradict the search of all states."""
    model, cascade = compiled(SMALL, target, form)
    oracle = Oracle.of(language_from_text(SMALL))
    rng, refused = Random(0), 0
    for _ in range(60):
        flat = rng.choice(list(model.parameters())).detach().view(-1)
        used = flat.nonzero()[:, 0].tolist()
        place = rng.choice(used) if used and rng.random() < 0.7 else rng.randrange(len(flat))
        before = float(flat[place])
        flat[place] = before * rng.choice([-1.0, 0.0, 0.5, 2.0]) or rng.choice([64.0, -1.0])
        certificate = certify(SMALL, model, cascade)
        refused += not certificate.proves
        if certificate.proves:
            assert certify_states(model, oracle, valid_prefixes_only=form == "closed").proves
        flat[place] = before
    assert refused >= 15
    assert certify(SMALL, model, cascade).proves


@EVERY_FORM
def test_a_wrong_weight_far_down_the_stack_is_found(target, form):
    """Nothing but a deep stack shows it: no search that lists states from the start gets there."""
    name = "bounded-dyck:brackets=4,depth=8"
    model, cascade = compiled(name, target, form)
    mixer = model.backbone.layers[7 if target == "mamba" else 13].mixer if cascade else None
    mixer = mixer or model.backbone.layers[1].mixer
    columns = mixer.out_proj.weight.any(0).nonzero()[:, 0]
    with torch.no_grad():
        mixer.out_proj.weight[:, columns[-1]] *= 0.5
    assert not certify(name, model, cascade).proves


@pytest.fixture
def only_the_first_token(monkeypatch):
    """Let the model be seen on BOS alone, so that only the proof can find a fault."""
    monkeypatch.setattr(diagram_certificate, "recorded_runs", partial(recorded_runs, length=0))


def test_a_wrong_answer_is_found_without_seeing_it(only_the_first_token):
    model, cascade = compiled(SMALL, "mamba", "cascade")
    mixer = model.backbone.layers[-1].mixer
    column = mixer.out_proj.weight.any(0).nonzero()[-1, 0]
    with torch.no_grad():
        mixer.out_proj.weight[:, column] = 0
    certificate = certify(SMALL, model, cascade)
    assert not certificate.wrong
    assert "may have the wrong sign" in certificate.remark


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mixer, late: mixer.conv1d.weight[late, 0, 1:].fill_(1), "two tokens at once"),
        (
            lambda mixer, _: (mixer.D.fill_(1), mixer.x_proj.weight.zero_()),
            "the last token decides",
        ),
    ],
    ids=["both taps", "no memory"],
)
def test_what_needs_the_last_token_again_is_not_proved(only_the_first_token, change, message):
    model, cascade = compiled(SMALL, "mamba", "cascade")
    mixer = model.backbone.layers[1].mixer
    late = mixer.conv1d.weight[:, 0, 0].nonzero()[:, 0]
    assert len(late)
    with torch.no_grad():
        for place in late.tolist():
            change(mixer, place)
    assert message in certify(SMALL, model, cascade).remark


def test_inputs_on_which_the_model_errs_are_shown():
    model, cascade = compiled(SMALL, "mamba", "cascade")
    with torch.no_grad():
        model.lm_head.weight[EOS].neg_()
    certificate = certify(SMALL, model, cascade)
    assert not certificate.closed
    assert certificate.wrong[0].tokens == [BOS]
    assert certificate.wrong[0].logit == -64


def test_a_stream_of_another_length_is_seen_by_the_norm():
    """A channel that no block reads matters still: it changes what the norm divides by."""
    model, cascade = compiled(SMALL, "mamba", "cascade")
    table = model.backbone.embeddings.weight.detach()
    constant = ((table == table[0]).all(0) & table[0].bool()).nonzero()[:, 0].tolist()
    assert constant
    for channel in constant:
        before = table[:, channel].clone()
        table[:, channel] *= 7
        assert not certify(SMALL, model, cascade).proves
        table[:, channel] = before


def test_a_token_of_another_length_is_seen_by_the_norm():
    model, cascade = compiled(SMALL, "mamba", "cascade")
    with torch.no_grad():
        model.backbone.embeddings.weight[3, -1] += 64
    certificate = certify(SMALL, model, cascade)
    assert not certificate.proves
    assert certificate.wrong or "norm" in certificate.remark


def test_a_cascade_that_means_something_else_gets_no_certificate():
    model, cascade = compiled(SMALL, "mamba", "cascade")
    last = cascade.components[-1]
    terms = (*last.terms[1:],)
    broken = dataclasses.replace(last, terms=terms)
    other = dataclasses.replace(cascade, components=(*cascade.components[:-1], broken))
    assert "the cascade" in certify(SMALL, model, other).remark
    assert "compared with automata" in (
        certify_diagrams(model, language("dyck-1"), cascade=cascade).remark
    )


def test_weights_that_are_not_finite_get_no_certificate():
    model, cascade = compiled(SMALL, "mamba", "cascade")
    model.backbone.layers[0].mixer.D.detach()[-1] = float("nan")
    assert not certify(SMALL, model, cascade).proves


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act must be silu"),
        ({"residual_in_fp32": False}, "residual_in_fp32 must be True"),
        ({"model_type": "falcon_mamba"}, "falcon_mamba is not known"),
    ],
)
def test_another_arithmetic_gets_no_certificate(change, message):
    model, cascade = compiled(SMALL, "mamba", "cascade")
    for name, value in change.items():
        setattr(model.config, name, value)
    assert message in certify(SMALL, model, cascade).remark


@EVERY_FORM
def test_a_forward_that_does_something_else_is_noticed(target, form):
    """The arithmetic is tried against the model's own, also where its signs are right."""
    model, cascade = compiled(SMALL, target, form)
    head = model.lm_head
    original = head.forward
    head.forward = lambda x: original(x) * 1.5
    assert "the head does something else" in certify(SMALL, model, cascade).remark
    del head.forward
    model.backbone.layers[1].mixer.register_forward_hook(lambda *_: _[2] + 2.0**-7)
    remark = certify(SMALL, model, cascade).remark
    assert "block 2 does something else" in remark


@EVERY_FORM
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_are_those_of_the_forward(target, form, dtype):
    name = "bounded-dyck:brackets=3,depth=3"
    model, cascade = compiled(name, target, form, dtype)
    if cascade is None:
        brackets = BoundedDyck.match(language_from_text(name))
        machine = stack_machine(stack_moves(brackets, language_from_text(name).machine))
    else:
        machine = cascade_machine(cascade)
    with torch.inference_mode():
        symbolic = SymbolicModel(machine, model)
        for _ in model.backbone.layers:
            symbolic.take_block()
        logits = symbolic.logits()
    for step in recorded_runs(model, machine, rng=Random(1), num_runs=2, length=30):
        for row, point in enumerate(step.points):
            values = [machine.diagrams.at(node, point) for node in logits]
            assert values == step.logits[row].tolist()


def test_a_state_is_a_table_only_if_every_step_keeps_it():
    wiping = [(0, 1, 0.0, 3.0), (1, 1, 1.0, 0.0), (1, 0, 0.0, 5.0), (0, 0, 1.0, 0.0)]
    assert state_table(wiping, 0) == {0: 5.0, 1: 3.0}
    counting = [(0, 1, 1.0, 2.0), (1, 2, 1.0, 2.0), (2, 1, 1.0, -2.0), (1, 0, 1.0, -2.0)]
    assert state_table(counting, 0) == {0: 0.0, 1: 2.0, 2: 4.0}
    assert state_table([*counting, (2, 2, 1.0, 1.0)], 0) is None
    assert state_table([*wiping, (1, 0, 0.5, 0.0)], 0) is None


def test_the_whole_way_from_a_name(tmp_path):
    from statespan.compiler import certify as certify_folder
    from statespan.compiler.card import certificate_text

    made = compile_exactly("bounded-dyck:brackets=3,depth=4", form="closed")
    made.save_pretrained(tmp_path / "model")
    certificate = certify_folder(tmp_path / "model", state_limit=100)
    assert certificate.method == "diagrams"
    assert certificate.proves
    assert "no prefix of a word" in certificate_text(certificate)
    assert made.certify().method == "states"
