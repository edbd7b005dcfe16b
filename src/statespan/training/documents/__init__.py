"""Documents to train a language model on: novels, and a file a kind that asks for recall."""

from statespan.training.documents import copying, key_values, needles, variables
from statespan.training.documents.document import DOCUMENTS, Document, DocumentKind, Piece
from statespan.training.documents.mixture import Mixture, Rows, draw_rows, pack_rows
from statespan.training.documents.prose import Prose, read_prose
from statespan.training.documents.source import DocumentSource, EncodedDocument
from statespan.training.documents.text_tokenizer import (
    END_ID,
    PAD_ID,
    document_encoder,
    tokenizer_files,
    train_tokenizer,
)

__all__ = [
    "DOCUMENTS",
    "END_ID",
    "PAD_ID",
    "Document",
    "DocumentKind",
    "DocumentSource",
    "EncodedDocument",
    "Mixture",
    "Piece",
    "Prose",
    "Rows",
    "copying",
    "document_encoder",
    "draw_rows",
    "key_values",
    "needles",
    "pack_rows",
    "read_prose",
    "tokenizer_files",
    "train_tokenizer",
    "variables",
]
