"""The layers of a compiled model in words: what each reads, does and writes."""

from __future__ import annotations

from collections.abc import Iterator

from statespan.compiler.cascade import Cascade
from statespan.compiler.phrases import join_words
from statespan.compiler.weights import Block, Group, Plan

__all__ = ["layer_program", "name_group"]


def name_group(group: Group) -> str:
    """Return in words which fact the channels of a group hold."""
    if group.component is None:
        return {
            "letter": f"which of {len(group.codes)} classes of symbols is read",
            "answer": "whether the symbols that ask for it may follow",
            "constant": "a constant",
        }.get(group.kind, group.kind)
    name = f"c{group.component}"
    return {
        "before": f"{name} as it was before this symbol",
        "after": f"{name} as it is after this symbol",
        "event": f"what this symbol does to {name}: nothing, or how its value changes",
    }.get(group.kind, f"{group.kind} of {name}")


def layer_program(cascade: Cascade, plan: Plan) -> tuple[Block, ...]:
    """Return the blocks of `plan`, or those that its groups imply where it lists none.

    A level has a block, and before it one for its events where the stream holds them; answers
    come with the last block if no component of the last level is in the stream, else in one more.
    """
    return plan.blocks or tuple(_implied_blocks(cascade, plan))


def _implied_blocks(cascade: Cascade, plan: Plan) -> Iterator[Block]:
    held: dict[tuple[str, int | None], str] = {
        (group.kind, group.component): group.name for group in plan.groups
    }
    answers = tuple(group.name for group in plan.groups if group.kind == "answer")
    before = "before" if any(kind == "before" for kind, _ in held) else "after"
    last = [i for i, level in enumerate(cascade.levels) if level == cascade.num_levels]
    folded = bool(last) and not any(("after", i) in held for i in last)
    asked = sorted({c for term in cascade.readout.terms for c, _ in term.conditions})
    after = tuple(held["after", c] for c in asked if ("after", c) in held)
    for level in range(1, cascade.num_levels + 1):
        here = [i for i, own in enumerate(cascade.levels) if own == level]
        sources = sorted({i for c in here for i in cascade.components[c].reads})
        reads = ("letter", *(held[before, i] for i in sources if (before, i) in held))
        events = tuple(held["event", c] for c in here if ("event", c) in held)
        names = join_words([f"c{c}" for c in here], "and")
        if events:
            yield Block(reads, events, f"finds out what the symbol does to {names}")
            reads = events
        writes = tuple(
            held[kind, c] for c in here for kind in ("before", "after") if (kind, c) in held
        )
        remark = f"keeps {names}, level {level}"
        if folded and level == cascade.num_levels:
            yield Block((*reads, *after), (*writes, *answers), f"{remark}, and answers")
        else:
            yield Block(reads, writes, remark)
    if not folded:
        yield Block(after, answers, "answers")
