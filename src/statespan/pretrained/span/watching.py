"""What an extended model looks back at, written down while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from statespan.errors import InputError
from statespan.memory import Choice
from statespan.pretrained.span.extension import hook_of
from statespan.records import RetrievalRecord

__all__ = ["watch"]


@contextmanager
def watch(model: nn.Module) -> Iterator[list[RetrievalRecord]]:
    """Collect what each layer of an extended model retrieves within a `with` block.

    Yields a list that grows: a record a layer and decision, in passes and in generation alike. What
    a pass retrieves is computed a second time, and in generation each token goes through the list
    of all before; so this is for looking, not for long runs. `statespan.report.draw_retrievals`
    makes a picture of the list.

    Raises:
        InputError: span-expanded attention is not enabled in `model`.
    """
    hook = hook_of(model)
    if hook is None:
        raise InputError(
            "model must be one in which statespan.enable is in force: its own attention retrieves "
            "nothing."
        )
    seen: list[RetrievalRecord] = []

    def write(layer: int, choices: list[Choice]) -> None:
        seen.extend(_record(layer, choice) for choice in choices)

    hook.watchers = (*hook.watchers, write)
    try:
        yield seen
    finally:
        hook.watchers = tuple(watcher for watcher in hook.watchers if watcher is not write)


def _record(layer: int, choice: Choice) -> RetrievalRecord:
    return RetrievalRecord(
        layer=layer,
        row=choice.row,
        heads=list(choice.heads),
        document=choice.document,
        first=choice.first,
        last=choice.last,
        keys=list(choice.keys),
    )
