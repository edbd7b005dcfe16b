"""Perplexity, recall and answers of a model are what the obvious computation gives."""

from __future__ import annotations

import copy
from math import log
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save_file
from torch import Tensor

from statespan.errors import ConfigError, InputError, LengthError, UnknownNameError
from statespan.evaluation import (
    RECALL_TASKS,
    LanguageModel,
    attending,
    default_prose,
    evaluate_perplexity,
    evaluate_recall,
    evaluate_ruler,
    generate_answers,
    load_language_model,
    logits_in_pieces,
    make_attention,
    open_prose,
    token_losses,
)
from statespan.evaluation.perplexity import windows
from statespan.evaluation.ruler import ruler_samples
from statespan.evaluation.synthetic import scoring
from statespan.memory import SlidingAttention, SpanAttention
from statespan.training.text import TextSource
from tests.evaluation.small_models import bytes_tokenizer, save_tiny, tiny, tiny_llama
from tests.pretrained.tiny_models import FAMILIES, tiny_model, tokens

PROSE = default_prose()


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_in_pieces_are_those_of_the_whole_sequence(family: str) -> None:
    """Also where a model scales its logits, or its head is that of no other family."""
    model, ids = tiny_model(family), tokens()
    whole = model(ids).logits
    found = list(logits_in_pieces(model, ids, begin=2, piece=5))
    assert [begin for begin, _ in found] == [2, 7, 12, 17]
    torch.testing.assert_close(torch.cat([logits for _, logits in found], 1), whole[:, 2:])
    torch.testing.assert_close(model(ids).logits, whole, rtol=0, atol=0)


@torch.no_grad()
def test_the_logits_of_a_whole_sequence_never_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama()
    sizes: list[int] = []
    model.lm_head.register_forward_hook(lambda *given: sizes.append(given[2].shape[1]))
    ids = torch.randint(2, 1000, (2, 200), generator=torch.Generator().manual_seed(0))
    token_losses(model, ids, piece=16)
    assert max(sizes) == 16
    assert sum(sizes) == 199


@torch.no_grad()
def test_an_error_in_the_head_leaves_the_model_as_it_was() -> None:
    model, ids = tiny_llama(), torch.tensor([[5, 6, 7]])
    before = model(ids).logits
    handle = model.lm_head.register_forward_hook(lambda *_: pytest.fail("no"))
    with pytest.raises(pytest.fail.Exception):
        list(logits_in_pieces(model, ids))
    handle.remove()
    torch.testing.assert_close(model(ids).logits, before, rtol=0, atol=0)


def losses(model: LanguageModel, ids: list[int]) -> Tensor:
    """Return −log p of each token after the first one, the obvious way."""
    with torch.no_grad():
        logits = model.model(torch.tensor([ids])).logits[0].double()
    targets = torch.tensor(ids[1:])
    return -logits.log_softmax(-1)[:-1].gather(1, targets[:, None])[:, 0]


def write_text(folder: Path, characters: int = 2500) -> Path:
    (folder / "a.txt").write_text(PROSE[:characters], "utf-8")
    (folder / "b.txt").write_text(PROSE[characters : characters + 1000], "utf-8")
    return folder


def read_all(text: TextSource) -> list[str]:
    return ["".join(pieces()) for pieces in text]


@pytest.mark.parametrize("leading", [False, True])
@pytest.mark.parametrize("stride", [None, 16, 5])
def test_perplexity_is_the_obvious_computation(
    leading: bool, stride: int | None, tmp_path: Path
) -> None:
    model, length = tiny(leading=leading), 64
    assert model.leading == ((0,) if leading else ())
    found = evaluate_perplexity(
        model,
        open_prose(write_text(tmp_path)),
        length,
        stride=stride,
        bins=4,
        batch_size=3,
    )
    step = stride or length
    by_position = [0.0] * length
    counts = [0] * length
    for name in ("a.txt", "b.txt"):
        ids = model.encode((tmp_path / name).read_text("utf-8"), leading=False)
        ids = ids[: len(ids) // length * length]
        for begin in range(0, len(ids) - length + 1, step):
            window = ids[begin : begin + length]
            own = losses(model, [*model.leading, *window])
            first = length - step if begin else 0
            for position in range(first if leading else max(1, first), length):
                by_position[position] += float(own[position - (not leading)])
                counts[position] += 1
    assert found.tokens == sum(counts)
    assert found.documents == 2
    assert found.loss_sum == pytest.approx(sum(by_position), rel=1e-5)
    parts = [(sum(counts[i : i + 16]), sum(by_position[i : i + 16])) for i in (0, 16, 32, 48)]
    wanted = [part for part in parts if part[0]]
    assert [part.tokens for part in found.positions] == [count for count, _ in wanted]
    for part, (_, loss) in zip(found.positions, wanted, strict=True):
        assert part.loss_sum == pytest.approx(loss, rel=1e-5)
    assert log(found.perplexity) == pytest.approx(found.loss_sum / found.tokens)


def test_several_lengths_read_the_same_text(tmp_path: Path) -> None:
    text = open_prose(write_text(tmp_path, 6000))
    model = tiny(leading=True)
    found = {
        length: evaluate_perplexity(model, text, length, whole=256, tokens=600)
        for length in (32, 64, 256)
    }
    assert {record.tokens for record in found.values()} == {512}
    assert [record.windows for record in found.values()] == [16, 8, 2]


@given(count=st.integers(0, 60), length=st.integers(1, 12), stride=st.integers(1, 12))
def test_windows_count_no_token_twice_and_leave_none_out(
    count: int, length: int, stride: int
) -> None:
    stride = min(stride, length)
    made = list(windows(range(count), length, stride))
    counted = [token for window in made for token in window.tokens[window.first :]]
    assert counted == list(range(len(counted)))
    assert count - len(counted) < (stride if made else length)
    assert all(len(window.tokens) == length for window in made)


def test_long_text_is_read_in_pieces_that_together_are_the_text(tmp_path: Path) -> None:
    text = "".join(f"line {number}: é\n" for number in range(30_000)) + "x" * 200_000 + "\nend"
    (tmp_path / "long.txt").write_text(text, "utf-8")
    (document,) = open_prose(tmp_path)
    pieces = list(document())
    assert "".join(pieces) == text
    assert len(pieces) > 3
    assert all(piece.endswith("\n") for piece in pieces[:-1])


def test_a_line_of_jsonl_is_a_document(tmp_path: Path) -> None:
    (tmp_path / "all.jsonl").write_text('{"text": "one"}\n\n{"text": "two", "id": 1}\n', "utf-8")
    assert read_all(open_prose(tmp_path)) == ["one", "two"]
    (tmp_path / "all.jsonl").write_text('{"words": "one"}\n', "utf-8")
    with pytest.raises(InputError, match=r"byte 0 of .* string in 'text'"):
        read_all(open_prose(tmp_path))


@pytest.mark.parametrize("task", RECALL_TASKS.names())
@pytest.mark.parametrize("length", [64, 65, 200])
def test_what_recall_asks_can_be_told_from_before(task: str, length: int) -> None:
    """After each position that is asked, the token is the one that followed the same one before."""
    made = RECALL_TASKS.get(task)
    for seed in range(5):
        sample = made.draw(length, range(10, 300), seed / 4, Random(seed))
        assert length - 1 <= len(sample.tokens) <= length
        assert set(sample.tokens) <= set(range(10, 300))
        for position, answer in zip(sample.asked, sample.answers, strict=True):
            before = sample.tokens[:position]
            if task == "needle":
                key = sample.tokens[-5]
                place = before.index(key)
                assert sample.tokens[place : place + 5] == sample.tokens[-5:]
                assert before[: sample.asked[0]].count(key) == 1
                assert place == round(seed / 4 * (length - 10))
            else:
                place = before.index(sample.tokens[position])
                assert sample.tokens[place + 1] == answer
                assert before.count(sample.tokens[position]) == 1


def test_each_key_of_an_association_is_another_one() -> None:
    made = RECALL_TASKS.get("associative_recall")
    for seed in range(5):
        sample = made.draw(64, range(17), 0.0, Random(seed))
        keys = {sample.tokens[position] for position in sample.asked}
        assert len(keys) == 8
        assert all(sample.tokens.count(key) == 2 for key in keys)


def remembering(model: Any, tokens: Tensor, *, begin: int = 0) -> Tensor:
    """Answer with what followed the last four tokens before, or the last one, if anything did."""
    rows = []
    for row in tokens.tolist():
        answers = []
        for position in range(begin, len(row)):
            for size in (4, 3, 2, 1):
                end = row[max(0, position + 1 - size) : position + 1]
                places = [i for i in range(position) if row[max(0, i + 1 - size) : i + 1] == end]
                if places:
                    answers.append(row[places[-1] + 1])
                    break
            else:
                answers.append(0)
        rows.append(answers)
    return torch.tensor(rows)


@pytest.mark.parametrize("task", RECALL_TASKS.names())
def test_a_model_that_remembers_is_right_and_a_random_one_is_not(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny()
    wrong = evaluate_recall(model, task, 64, 10, batch_size=2)
    assert sum(record.correct_positions for record in wrong) < 0.2 * sum(
        record.positions for record in wrong
    )
    monkeypatch.setattr(scoring, "next_tokens", remembering)
    found = evaluate_recall(model, task, 64, 10, batch_size=3)
    assert [record.depth for record in found] == (
        [step / 9 for step in range(10)] if task == "needle" else [None]
    )
    assert all(record.correct_positions == record.positions for record in found)
    assert all(record.correct == record.samples for record in found)
    assert sum(record.samples for record in found) == 10


def test_recall_is_the_argmax_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel(tiny_llama(40))
    (record,) = evaluate_recall(model, "copying", 80, 4, batch_size=2)
    right = 0
    for index in range(4):
        rng = Random(f"0/copying/80/None/{index}")
        sample = RECALL_TASKS.get("copying").draw(80, list(range(40)), 0.0, rng)
        with torch.no_grad():
            given = model.model(torch.tensor([sample.tokens])).logits[0].argmax(-1)
        right += sum(
            int(given[position]) == answer
            for position, answer in zip(sample.asked, sample.answers, strict=True)
        )
    assert record.correct_positions == right


def test_answers_are_greedy_and_the_same_alone_and_in_a_padded_batch() -> None:
    model = tiny(leading=True)
    samples = [ruler_samples("niah_single_1", model.tokenizer, n, 1)[0] for n in (256, 300, 310)]
    alone = list(generate_answers(model, samples, 1))
    assert list(generate_answers(model, samples, 3)) == alone
    ids = model.encode(samples[0].prompt)
    with torch.no_grad():
        for _ in range(samples[0].max_new_tokens):
            ids.append(int(model.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == 1:
                break
    new = ids[len(model.encode(samples[0].prompt)) :]
    assert alone[0] == model.tokenizer.decode(new, skip_special_tokens=True)


def scripted(model: LanguageModel, text: str) -> list[int]:
    """Let the model continue with this text; return a list of one number, of its calls."""
    steps = [0]
    plan = model.encode(text, leading=False)

    def forward(input_ids: Tensor, **_: Any) -> Any:
        from transformers.modeling_outputs import CausalLMOutputWithPast

        logits = torch.zeros(1, input_ids.shape[1], model.vocabulary)
        step = steps[0]
        logits[0, -1, plan[step] if step < len(plan) else 1] = 1
        steps[0] += 1
        return CausalLMOutputWithPast(logits=logits)

    model.model.forward = forward
    return steps


def test_a_right_answer_scores_and_ends_the_generation() -> None:
    model = tiny()
    (sample,) = ruler_samples("niah_multivalue", model.tokenizer, 1024, 1)
    steps = scripted(model, f"{sample.completion} and much more besides, on and on")
    record, (prediction,) = evaluate_ruler(model, [sample], attention="full")
    assert record.score == 100
    assert (record.found, record.answers) == (4, 4)
    assert prediction.found == 4
    assert steps[0] <= len(model.encode(sample.completion, leading=False))


def test_half_an_answer_scores_half() -> None:
    model = tiny()
    (sample,) = ruler_samples("niah_multivalue", model.tokenizer, 1024, 1)
    scripted(model, f" {sample.answers[0]} {sample.answers[2]}")
    record, _ = evaluate_ruler(model, [sample])
    assert record.score == 50


@torch.no_grad()
def test_attention_is_exchanged_within_and_given_back() -> None:
    model, ids = tiny_llama(), torch.arange(2, 130)[None]
    before = model(ids).logits
    for name, settings in (("full", {}), ("sliding", {"window": 8})):
        with attending(model, make_attention(name, settings)):
            inside = model(ids).logits
        assert torch.equal(inside, before) == (name == "full")
        assert torch.equal(model(ids).logits, before)


def test_span_attention_is_causal_unless_it_is_asked_not_to_be() -> None:
    assert SpanAttention().causal is False
    assert make_attention("span", {}).causal
    assert not make_attention("span", {"selection": "chunk"}).causal
    wanted = SlidingAttention(window=128)
    assert make_attention("narrow", {"kind": "sliding", "window": 128}) == wanted


def test_names_and_settings_that_there_are_not() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean span"):
        make_attention("spam", {})
    with pytest.raises(ConfigError, match=r"attentions.sliding: .*unexpected keyword .*'widow'"):
        make_attention("sliding", {"widow": 3})
    with pytest.raises(UnknownNameError, match="Did you mean copying"):
        evaluate_recall(tiny(), "coping", 64, 1)


def test_a_tokenizer_that_does_not_match_is_refused() -> None:
    with pytest.raises(InputError, match="token of number 1023, but the model has 500 embeddings"):
        LanguageModel(tiny_llama(500), bytes_tokenizer(), "small")
    with pytest.raises(InputError, match="needs a tokenizer to read text, got none"):
        LanguageModel(tiny_llama(500)).encode("a")
    added = copy.deepcopy(bytes_tokenizer())
    added.add_special_tokens({"eos_token": "<over>"})
    with pytest.raises(InputError, match="token of number 1024, but the model has 1024"):
        LanguageModel(tiny_llama(), added, "ends")


def test_padding_has_an_embedding() -> None:
    added = copy.deepcopy(bytes_tokenizer())
    added.add_special_tokens({"pad_token": "<pad>"})
    assert added.pad_token_id == 1024
    assert LanguageModel(tiny_llama(), added).padding == tiny().padding == 1  # that ends a text


def test_text_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    model = tiny()
    (tmp_path / "a.txt").write_text("Too short.", "utf-8")
    with pytest.raises(LengthError, match=r"document of 512 tokens or more, got 1 of at most \d"):
        evaluate_perplexity(model, open_prose(tmp_path), 512)
    (tmp_path / "a.txt").write_bytes(PROSE[:900].encode() + b"caf\xe9 " + PROSE[:9000].encode())
    with pytest.raises(InputError, match=r"a.txt is not UTF-8: .* near byte 90\d"):
        evaluate_perplexity(model, open_prose(tmp_path), 64)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no text in"):
        open_prose(tmp_path / "empty")
    with pytest.raises(InputError, match="nowhere is not there"):
        open_prose(tmp_path / "nowhere")
    with pytest.raises(LengthError, match="stride must be 1 to the length 64, got 65"):
        evaluate_perplexity(model, open_prose(None), 64, stride=65)
    with pytest.raises(LengthError, match="at least 64 tokens, got 63"):
        evaluate_recall(model, "copying", 63, 1)
    with pytest.raises(InputError, match="associative_recall needs 16 different tokens, got 3"):
        evaluate_recall(model, "associative_recall", 64, 1, tokens=[1, 2, 3])
    with pytest.raises(InputError, match="at least one sample, got none"):
        evaluate_ruler(model, [])


def test_a_folder_is_loaded_and_what_is_no_model_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    model = load_language_model(folder)
    assert model.name == "model"
    assert model.encode("Anne") == tiny().encode("Anne")
    assert model.parameters == tiny().parameters
    with pytest.raises(InputError, match="there is no folder"):
        load_language_model(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no config\.json in it"):
        load_language_model(tmp_path)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="holds no causal language model"):
        load_language_model(folder)
    save_file({"other.weight": torch.ones(3)}, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"not those of its config.json: \d+ of the model's"):
        load_language_model(folder)
    tensors = load(whole)
    del tensors["model.norm.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 of the model's .* model.norm.weight"):
        load_language_model(folder)
    tensors["model.norm.weight"] = torch.ones(7)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 of the model's .* model.norm.weight"):
        load_language_model(folder)
    weights.write_bytes(whole)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InputError, match="holds no tokenizer"):
        load_language_model(folder)
    (folder / "config.json").write_text('{"model_type": "nonsense"}', "utf-8")
    with pytest.raises(InputError, match="holds no causal language model"):
        load_language_model(folder)
