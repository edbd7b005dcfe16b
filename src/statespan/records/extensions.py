"""What an extension to a longer context was: sizes, not results."""

from __future__ import annotations

import msgspec

__all__ = ["ExtensionRecord"]


class ExtensionRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="extension", kw_only=True):
    """How a pretrained model was trained further.

    `context` is the length that it was made for, `length` that of the rows. `rope` says how its
    rotary positions were stretched. `tokens` counts the places in the rows of all steps, padding
    included. `extended` counts the attention layers that `attention` was put into. `recall` is the
    share of rows that are no text, but documents made of it that ask for recall.
    """

    model: str
    architecture: str
    parameters: int
    trainable: int
    method: str
    rank: int
    alpha: float
    context: int | None
    length: int
    rope: str
    attention: str
    extended: int
    packed: bool
    text: str
    steps: int
    tokens: int
    learning_rate: float
    recall: float = 0.0
