"""Greedy answers to prompts, by `generate`, and the records of RULER made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from statespan.compiler.quiet import quiet_transformers
from statespan.errors import InputError
from statespan.evaluation.language_model import LanguageModel
from statespan.evaluation.ruler import RULER_TASKS, RulerSample, count_found
from statespan.records import PredictionRecord, RulerRecord

__all__ = ["evaluate_ruler", "generate_answers"]


def evaluate_ruler(
    model: LanguageModel,
    samples: Sequence[RulerSample],
    *,
    batch_size: int = 1,
    attention: str = "full",
    on_step: Callable[[int], None] = lambda _: None,
) -> tuple[RulerRecord, list[PredictionRecord]]:
    """Return the score of a model on the samples of one task and length, and what it answered.

    Raises:
        InputError: there is no sample, or a token that the model does not know.
    """
    if not samples:
        raise InputError("evaluate_ruler needs at least one sample, got none.")
    predictions: list[PredictionRecord] = []
    for sample, text in zip(samples, generate_answers(model, samples, batch_size), strict=True):
        predictions.append(
            PredictionRecord(
                attention=attention,
                task=sample.task,
                length=sample.length,
                index=sample.index,
                prediction=text,
                answers=sample.answers,
                found=count_found(text, sample.answers),
            )
        )
        on_step(len(predictions))
    first = samples[0]
    record = RulerRecord(
        attention=attention,
        task=first.task,
        group=RULER_TASKS.get(first.task).group,
        length=first.length,
        samples=len(samples),
        share_sum=sum(item.found / len(item.answers) for item in predictions),
        answers=sum(len(item.answers) for item in predictions),
        found=sum(item.found for item in predictions),
        original=sum(sample.original for sample in samples),
        haystack=first.haystack,
        words=first.words,
    )
    return record, predictions


def generate_answers(
    model: LanguageModel, samples: Sequence[RulerSample], batch_size: int = 1
) -> Iterator[str]:
    """Yield what the model continues each prompt with, greedily.

    It ends with the model's own end of a text, after `max_new_tokens`, or where all answers have
    been found: the score would not change any more. Prompts of a batch are padded on the left.
    """
    for begin in range(0, len(samples), batch_size):
        yield from _generate(model, samples[begin : begin + batch_size])


@torch.no_grad()
def _generate(model: LanguageModel, samples: Sequence[RulerSample]) -> list[str]:
    from transformers import GenerationConfig  # noqa: PLC0415

    prompts = [model.encode(sample.prompt) for sample in samples]
    longest = max(map(len, prompts))
    end = model.model.generation_config.eos_token_id
    padding = model.padding
    tokens = torch.full((len(prompts), longest), padding, device=model.device)
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(prompt, device=model.device)
        mask[row, longest - len(prompt) :] = 1
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max(sample.max_new_tokens for sample in samples),
        do_sample=False,
        eos_token_id=end,
        pad_token_id=padding,
    )

    def read(made: Tensor) -> list[str]:
        return [
            model.tokenizer.decode(row[: sample.max_new_tokens], skip_special_tokens=True)
            for row, sample in zip(made[:, longest:].tolist(), samples, strict=True)
        ]

    def answered(made: Tensor, *_: Any, **__: Any) -> Tensor:
        found = [
            count_found(text, sample.answers) == len(sample.answers)
            for text, sample in zip(read(made), samples, strict=True)
        ]
        return torch.tensor(found, device=made.device)

    with quiet_transformers():  # texts longer than the model was made for are the point
        made = model.model.generate(
            tokens, attention_mask=mask, generation_config=config, stopping_criteria=[answered]
        )
    return read(made)
