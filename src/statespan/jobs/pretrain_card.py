"""The model card of a pretrained hybrid: what it was trained on, how, and what it can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from statespan.jobs.pretrain_config import PretrainConfig
from statespan.records import HeldOutRecord, PretrainingRecord, Record

__all__ = ["model_card"]

HEADER = """\
---
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [mamba2, hybrid, bamba]
---
"""


def model_card(config: PretrainConfig, records: Sequence[Record]) -> str:
    """Return the card, in Markdown, of a run with these records."""
    run = next(record for record in records if isinstance(record, PretrainingRecord))
    model, training = config.model, config.training
    blocks = f"{run.layers} blocks, {len(model.attention_layers)} of them attention"
    kinds = ", ".join(f"{name} {weight:g}" for name, weight in config.mixture.kinds.items())
    return (
        f"{HEADER}\n# A small hybrid of Mamba-2 and attention\n\n"
        f"{run.parameters:,} parameters, {blocks} ({model.attention_layers}), "
        f"a vocabulary of {run.vocab_size:,} tokens, a context of {run.context} tokens.\n\n"
        "## Data\n\n"
        f"{100 * config.mixture.prose:.0f} % of the rows are prose, from novels of "
        f"{run.characters:,} characters. The others hold synthetic documents that ask for what "
        f"stood in them ({kinds}, relative to one another).\n\n"
        f"## Recipe\n\n{_beginning(config)}"
        f"{run.steps:,} steps of AdamW over {training.rows} rows, {run.tokens:,} tokens in all; "
        f"learning rate {training.learning_rate:g} ({training.schedule}, {training.warmup} steps "
        f"of warm-up), weight decay {training.weight_decay:g}. The config of the run is in "
        "`config.toml` beside this folder. `loss.png` shows the losses and the recall on the way."
        "\n\n## Measured on held-out documents\n\n"
        + "\n".join(_table(records))
        + "\n\n## What it cannot do\n\n"
        "It is far too small to know anything, to follow instructions or to stay with a subject, "
        f"and it was never trained on more than {run.context} tokens at a time: beyond, it is not "
        "expected to find anything.\n"
    )


def _beginning(config: PretrainConfig) -> str:
    if config.initialize_from is None:
        return ""
    return (
        "The weights are gone on with from an earlier run, whose steps and tokens come on top, and "
        "whose tokenizer this is. "
    )


def _table(records: Sequence[Record]) -> Iterator[str]:
    yield "| document | tokens | loss a token | answers right at every token |"
    yield "| --- | --- | --- | --- |"
    for record in records:
        if isinstance(record, HeldOutRecord):
            recall = f"{record.correct} of {record.answers}" if record.answers else "–"
            yield f"| {record.document} | {record.length} | {record.loss:.3f} | {recall} |"
