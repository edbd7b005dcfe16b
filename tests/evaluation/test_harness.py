"""Tasks of lm-evaluation-harness from a folder, on a live model, without a network."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from statespan.errors import InputError, MissingExtraError, UnknownNameError
from statespan.evaluation import attending, evaluate_harness, harness, make_attention
from tests.evaluation.small_models import tiny

needs_harness = [
    pytest.mark.skipif(find_spec("lm_eval") is None, reason="the extra harness is not installed"),
    pytest.mark.filterwarnings("ignore"),  # those of lm_eval and what it imports
    pytest.mark.slow,  # to import it takes seconds, with pandas and scikit-learn
]

TASK = """
task: two_choices
dataset_path: json
dataset_kwargs:
  data_files: {data}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
"""


def write_task(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        {"question": f"{'Anne was there. ' * 20}Is {n} even?", "answer": n % 2} for n in range(6)
    ]
    data = folder / "data.json"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "two_choices.yaml").write_text(TASK.format(data=data), "utf-8")
    return folder


class TestHarness:
    pytestmark = needs_harness

    def test_a_local_task_is_scored_on_the_live_model(self, tmp_path: Path) -> None:
        folder, model = write_task(tmp_path / "tasks"), tiny()
        (record,) = evaluate_harness(model, "two_choices", folder=folder, samples=4)
        assert (record.task, record.metric, record.samples) == ("two_choices", "acc", 4)
        right = 0
        for number in range(4):
            text = f"{'Anne was there. ' * 20}Is {number} even?"
            scores = []
            for choice in (" yes", " no"):
                prompt = model.encode(text, leading=False)
                ids = model.encode(text + choice, leading=False)
                with torch.no_grad():
                    logits = model.model(torch.tensor([ids])).logits[0].log_softmax(-1)
                scores.append(
                    sum(float(logits[i - 1, ids[i]]) for i in range(len(prompt), len(ids)))
                )
            right += (scores[1] > scores[0]) == number % 2
        assert record.value == right / 4

    def test_it_runs_with_the_attention_that_the_model_has(self, tmp_path: Path) -> None:
        folder, model = write_task(tmp_path / "tasks"), tiny()
        seen: list[str] = []
        model.model.model.register_forward_pre_hook(
            lambda module, _: seen.append(module.config._attn_implementation)
        )
        with attending(model.model, make_attention("sliding", {"window": 4})):
            evaluate_harness(model, "two_choices", folder=folder, samples=2)
        assert set(seen) == {"statespan"}

    def test_an_unknown_task_lists_near_ones(self, tmp_path: Path) -> None:
        folder = write_task(tmp_path / "tasks")
        with pytest.raises(UnknownNameError, match="Did you mean two_choices"):
            evaluate_harness(tiny(), "two_choice", folder=folder)
        with pytest.raises(InputError, match="there is no folder of tasks"):
            evaluate_harness(tiny(), "two_choices", folder=tmp_path / "nowhere")


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'statespan\[harness\]'"):
        evaluate_harness(tiny(), "any")
