"""A compiled checkpoint's folder in, its certificate out, written beside it."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from statespan.compiler.block_certificate import BLOCK_STATE_LIMIT
from statespan.compiler.card import model_card
from statespan.compiler.certificate import STATE_LIMIT, Certificate, Progress
from statespan.compiler.compiled_model import CERTIFICATE, VERIFICATION, CompiledModel
from statespan.compiler.folder import CARD, TOKENIZER, WEIGHTS, read_alphabet
from statespan.compiler.verification import Verification
from statespan.errors import InputError
from statespan.languages import LANGUAGES, language_from_text
from statespan.records import read_bytes, write_atomically
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = ["certify"]


def certify(
    folder: str | Path,
    *,
    state_limit: int = STATE_LIMIT,
    block_limit: int = BLOCK_STATE_LIMIT,
    progress: Progress = lambda *_: None,
) -> Certificate:
    """Search for a proof that the checkpoint in `folder` is right at every length.

    The weights are those that are in the folder now, run by `transformers`. What is found is
    written to `certificate.json` in the folder, with the versions that it holds for, and to the
    card.

    Raises:
        InputError: the folder holds no compiled checkpoint, or its parts do not fit together.
        StorageError: a file cannot be read or written.
    """
    path = Path(folder)
    compiled = CompiledModel.from_pretrained(path)
    check_tokens(path, compiled)
    certificate = compiled.certify(
        state_limit=state_limit, block_limit=block_limit, progress=progress
    )
    verification = read_verification(path)
    card = model_card(compiled.report, compiled.language, verification, certificate)
    table: dict[str, Any] = msgspec.to_builtins(certificate)
    table["proves"] = certificate.proves
    table["dtype"] = str(compiled.model.dtype).removeprefix("torch.")
    table["weights_sha256"] = weights_hash(path)
    table["versions"] = {name: version(name) for name in ("statespan", "torch", "transformers")}
    write_atomically(path / CERTIFICATE, msgspec.json.format(msgspec.json.encode(table)))
    write_atomically(path / CARD, card.encode())
    return certificate


def check_tokens(path: Path, compiled: CompiledModel) -> None:
    """Check that config and tokenizer give each symbol the token that the model was made for.

    Raises:
        InputError: they do not, or the folder says it holds another language than it does.
    """
    alphabet = compiled.language.alphabet
    if list(read_alphabet(path)) != list(alphabet):
        raise InputError(f"config.json in {path} has another alphabet than statespan.json.")
    settings: Any = compiled.model.config
    ids = (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id)
    if ids != (BOS, EOS, PAD) or settings.vocab_size != Vocabulary(alphabet).size:
        raise InputError(f"config.json in {path} has other token ids than the model was made for.")
    try:
        known = Tokenizer.from_file(str(path / TOKENIZER)).get_vocab()
    except Exception as error:
        raise InputError(f"the tokenizer in {path} cannot be read: {error}.") from error
    first = Vocabulary(alphabet).size - len(alphabet)
    if any(known.get(symbol) != first + i for i, symbol in enumerate(alphabet)):
        raise InputError(f"the tokenizer in {path} gives a symbol another token than the model.")
    name = compiled.report.language
    if name.split(":")[0] in LANGUAGES.names() and compiled.dfa is not None:
        word = language_from_text(name).counterexample_to_equivalence(compiled.language)
        if word is not None:
            raise InputError(f"the folder {path} says {name}, but its automaton is another.")


def weights_hash(path: Path) -> str:
    """Return the SHA-256 of the weights in a folder."""
    return hashlib.sha256(read_bytes(path / WEIGHTS)).hexdigest()


def read_verification(path: Path) -> Verification | None:
    """Return what a check word by word found of the weights that are there now, if one was run."""
    file = path / VERIFICATION
    if not file.is_file():
        return None
    try:
        content = read_bytes(file)
        of_these = msgspec.json.decode(content, type=dict[str, Any]).get("weights_sha256")
        return (
            msgspec.json.decode(content, type=Verification)
            if of_these == weights_hash(path)
            else None
        )
    except msgspec.DecodeError as error:
        raise InputError(f"{file} is broken: {error}.") from error
