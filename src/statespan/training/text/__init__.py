"""Text to train a language model on: any folder, in rows of one length, in a known order."""

from statespan.training.text.reading import cut_at_lines, read_text
from statespan.training.text.rows import NO_LABEL, Row, RowBatch, batch_rows
from statespan.training.text.sources import Pieces, TextSource, open_text
from statespan.training.text.stream import StreamPosition, TextEncoder, TextStream

__all__ = [
    "NO_LABEL",
    "Pieces",
    "Row",
    "RowBatch",
    "StreamPosition",
    "TextEncoder",
    "TextSource",
    "TextStream",
    "batch_rows",
    "cut_at_lines",
    "open_text",
    "read_text",
]
