"""The model card of an extended model: what was trained, how, and what it reads since."""

from __future__ import annotations

from collections.abc import Sequence

from statespan.records import ExtensionRecord, Record
from statespan.report.extension import extension_rows

__all__ = ["extension_card"]


def extension_card(records: Sequence[Record], *, base: str, adapter: bool) -> str:
    """Return the card, in Markdown, of an adapter, or of the model that it was merged into."""
    run = next(record for record in records if isinstance(record, ExtensionRecord))
    library = "peft" if adapter else "transformers"
    first = f"base_model: {base}\n" if adapter else ""
    trained = (
        "all weights"
        if run.method == "full"
        else f"{run.method}, rank {run.rank}, alpha {run.alpha:g}"
    )
    own = "unknown" if run.context is None else f"{run.context:,}"
    return (
        f"---\n{first}library_name: {library}\npipeline_tag: text-generation\n"
        f"tags: [long-context, {run.architecture}]\n---\n\n"
        f"# {run.model}, extended to {run.length:,} tokens\n\n"
        f"The model was made for {own} tokens, and was trained further on rows of {run.length:,}.\n"
        f"{_use(run, adapter=adapter)}\n"
        "## Training\n\n"
        f"- text: {run.text}; documents of less than a row "
        f"{'share one and do not see each other' if run.packed else 'are padded'}\n"
        f"{_recall(run)}"
        f"- what trains: {trained}; {run.trainable:,} of {run.parameters:,} numbers\n"
        f"- attention: {run.attention}, in {run.extended} layers\n"
        f"- {run.steps:,} steps of AdamW, {run.tokens:,} tokens, rate {run.learning_rate:g} after "
        "the warm-up\n"
        f"- rotary positions: {run.rope}\n\n"
        "## Evaluation\n\n"
        "Perplexity of a token, and everything else in percent. Before the training, the model "
        "reads with full attention; after it, with the attention that is named.\n\n"
        + "\n".join(_table(records))
        + "\n"
    )


def _recall(run: ExtensionRecord) -> str:
    if not run.recall:
        return ""
    return (
        f"- {run.recall:.0%} of the rows are no running text: words and sentences of it, with keys "
        "and values that are asked for; only the answers count there\n"
    )


def _use(run: ExtensionRecord, *, adapter: bool) -> str:
    if not adapter:
        return "\nIt loads with `AutoModelForCausalLM.from_pretrained`, with full attention.\n"
    text = "\nIt is a plain adapter of PEFT: `PeftModel.from_pretrained(base, folder)`.\n"
    if run.rope != "none":
        text += (
            "\nThe base model has to be loaded with the `config.json` in this folder, which "
            "stretches its positions.\n"
        )
    return text


def _table(records: Sequence[Record]) -> list[str]:
    lengths, rows = extension_rows(records)
    head = ["measure", "attention", *(f"{length:,}" for length in lengths)]
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
