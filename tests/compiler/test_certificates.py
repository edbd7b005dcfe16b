"""Certificates: they close on right weights, and no wrong weight gets one."""

import dataclasses
import json
from random import Random

import pytest
import torch

from statespan import language
from statespan.compiler import CompiledModel, certify
from statespan.compiler import compile as compile_exactly
from statespan.compiler.block_certificate import certify_blocks
from statespan.compiler.certificate import certify_states
from statespan.compiler.oracle import Oracle
from statespan.errors import InputError
from statespan.training import BOS, EOS, PAD

BOTH = pytest.mark.parametrize("target", ["mamba", "mamba2"])


def by_states(compiled: CompiledModel, **options):
    return certify_states(compiled.model, Oracle.of(compiled.language), **options)


def by_blocks(compiled: CompiledModel, **options):
    assert compiled.cascade is not None
    assert compiled.dfa is not None
    return certify_blocks(compiled.model, compiled.plan, compiled.cascade, compiled.dfa, **options)


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["tomita-1", "tomita-4", "d-2", "ab-star-d-bc-star"])
def test_both_searches_close(target, dtype, name):
    compiled = compile_exactly(language(name), target, dtype=dtype)
    for certificate in (by_states(compiled), by_blocks(compiled)):
        assert certificate.proves
        assert certificate.exact
        assert certificate.margin == 64
        assert certificate.transitions > certificate.states > 0


@BOTH
@pytest.mark.parametrize("search", [by_states, by_blocks])
def test_a_wrong_weight_gets_no_certificate(target, search):
    compiled = compile_exactly("tomita-4", target)
    with torch.no_grad():
        compiled.model.backbone.layers[1].mixer.out_proj.weight.neg_()
    certificate = search(compiled)
    assert not certificate.proves
    assert certificate.wrong


@BOTH
def test_single_wrong_weights_are_found_or_change_no_answer(target):
    """A certificate that is given to a changed model must be right about it."""
    compiled = compile_exactly("d-2", target)
    rng, found = Random(0), 0
    for _ in range(25):
        weight = rng.choice([p for p in compiled.model.parameters() if p.any()])
        flat = weight.detach().view(-1)
        place = rng.choice(flat.nonzero()[:, 0].tolist())
        before = float(flat[place])
        with torch.no_grad():
            flat[place] *= rng.choice([-1.0, 0.0, 0.5, 1.25])
            certificate = by_states(compiled, limit=2_000)
            blocks = by_blocks(compiled, limit=20_000)
            errs = _errs(compiled, rng)
            flat[place] = before
        assert not (certificate.proves and errs)
        assert not (blocks.proves and errs)
        found += not blocks.proves
    assert found >= 8


def _errs(compiled: CompiledModel, rng: Random) -> bool:
    tokens = torch.tensor([[BOS, *(rng.randrange(5) for _ in range(200))] for _ in range(8)])
    oracle = Oracle.of(compiled.language)
    with torch.inference_mode():
        logits = compiled.model(tokens, use_cache=False).logits[..., [3, 4, EOS]]
    for row, said in zip(tokens.tolist(), (logits > 0).tolist(), strict=True):
        state = None
        for token, answers in zip(row, said, strict=True):
            state = oracle.step(state, token)
            if answers != oracle.answers(state):
                return True
    return False


def test_wrong_answers_name_a_shortest_input():
    compiled = compile_exactly("tomita-4")
    with torch.no_grad():
        compiled.model.lm_head.weight[EOS].neg_()
    wrong = by_states(compiled).wrong[0]
    assert wrong.tokens == [BOS]
    assert wrong.logit == -64


def test_blocks_close_where_the_whole_does_not():
    compiled = compile_exactly("bounded-dyck:brackets=2,depth=3", form="cascade")
    assert not by_states(compiled, limit=100).closed
    assert by_blocks(compiled).proves
    assert compiled.certify(state_limit=100).method == "blocks"
    assert not by_blocks(compiled, limit=50).closed


def test_a_cascade_that_means_something_else_gets_no_certificate():
    compiled = compile_exactly("tomita-4")
    other = dataclasses.replace(compiled, dfa=language("d-2").dfa())
    renamed = dataclasses.replace(other.dfa, alphabet=("0", "1"))
    assert not by_blocks(dataclasses.replace(other, dfa=renamed)).proves


def test_the_folder_gets_its_certificate(tmp_path):
    compile_exactly("tomita-4").save_pretrained(tmp_path / "model")
    certificate = certify(tmp_path / "model")
    assert certificate.proves
    written = json.loads((tmp_path / "model" / "certificate.json").read_text())
    assert written["proves"]
    assert written["states"] == certificate.states
    assert set(written["versions"]) == {"statespan", "torch", "transformers"}


def test_a_planted_weight_in_the_folder_is_found(tmp_path):
    from safetensors.torch import load_file, save_file

    compile_exactly("tomita-4").save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["backbone.layers.2.mixer.out_proj.weight"].mul_(-1)
    save_file(tensors, path, metadata={"format": "pt"})
    assert certify(tmp_path / "model").wrong


def test_a_folder_without_a_compiled_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="no compiled checkpoint"):
        certify(tmp_path)


def test_a_default_of_another_length_is_no_code():
    """A block that does not read a fact is searched at its default: the norm must not tell them."""
    compiled = compile_exactly("d-2")
    with torch.no_grad():
        compiled.model.backbone.embeddings.weight[:, 4] = -448
    assert "no code of after 0" in by_blocks(compiled).wrong[0].answer


@pytest.mark.parametrize("search", [by_states, by_blocks])
@pytest.mark.parametrize("token", [BOS, PAD])
def test_tokens_that_are_no_answer_must_not_be_generated(search, token):
    compiled = compile_exactly("tomita-4")
    with torch.no_grad():
        compiled.model.lm_head.weight[token].neg_()
    assert search(compiled).wrong


def test_a_model_without_a_right_logit_has_no_margin():
    compiled = compile_exactly("tomita-4")
    with torch.no_grad():
        compiled.model.lm_head.weight.zero_()
    assert by_states(compiled).margin == 0


def _edit(path, change):
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", lambda t: t.update(eos_token_id=0), "other token ids"),
        ("config.json", lambda t: t["statespan"]["alphabet"].reverse(), "another alphabet"),
        ("tokenizer.json", lambda t: t["model"]["vocab"].update({"0": 4, "1": 3}), "another token"),
        ("statespan.json", lambda t: t["alphabet"].reverse(), "another alphabet"),
        ("statespan.json", lambda t: t["report"].update(language="tomita-7"), "says tomita-7"),
        (
            "statespan.json",
            lambda t: t["automaton"]["transitions"][0].__setitem__(0, 99),
            "a state that",
        ),
        (
            "statespan.json",
            lambda t: t["cascade"]["components"].pop(),
            "the cascade names a component",
        ),
        ("statespan.json", lambda t: t["plan"]["groups"].pop(0), "the plan has no letter"),
        (
            "statespan.json",
            lambda t: t["plan"]["groups"][0].update(channels=[999]),
            "in channels that",
        ),
    ],
)
def test_a_folder_whose_parts_do_not_fit_is_refused(tmp_path, file, change, message):
    compile_exactly("tomita-4").save_pretrained(tmp_path)
    _edit(tmp_path / file, change)
    with pytest.raises(InputError, match=message):
        certify(tmp_path)


def test_a_folder_without_its_tokenizer_is_refused(tmp_path):
    compile_exactly("tomita-4").save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="tokenizer"):
        certify(tmp_path)


def test_a_check_of_other_weights_is_not_on_the_card(tmp_path):
    from safetensors.torch import load_file, save_file

    compiled = compile_exactly("tomita-4")
    check = compiled.verify(max_length=3, num_words=2, long_length=50)
    compiled.save_pretrained(tmp_path, verification=check)
    certify(tmp_path)
    assert "positions checked" in (tmp_path / "README.md").read_text()
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"].neg_()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    certify(tmp_path)
    assert "positions checked" not in (tmp_path / "README.md").read_text()


def test_padding_and_end_tokens_are_part_of_the_search():
    compiled = compile_exactly("tomita-1")
    with torch.no_grad():
        rows = compiled.model.backbone.embeddings.weight
        rows[PAD] = rows[3]
    assert by_states(compiled).wrong
