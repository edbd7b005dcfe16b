"""What proves a compiled checkpoint, as it stands in its folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from statespan.compiler.certification import weights_hash
from statespan.compiler.compiled_model import CERTIFICATE
from statespan.errors import InputError
from statespan.records import read_bytes

__all__ = ["EVIDENCE", "Evidence", "Proof", "read_certificate", "read_evidence"]

EVIDENCE = "conformance.json"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a checkpoint beside its certificate.

    Attributes:
        weights_sha256: the weights that it is about.
        blank: the state of the minimal automaton that the model is in before it has read anything,
            by a closed search like that of the certificate; None where there is none.
    """

    weights_sha256: str
    blank: int | None


class Proof(msgspec.Struct, kw_only=True):
    """What a certificate's file says, as far as it matters here."""

    closed: bool
    proves: bool
    valid_prefixes_only: bool
    weights_sha256: str
    remark: str
    max_count: int | None = None


def read_certificate(folder: Path) -> Proof:
    """Return what the certificate in `folder` says.

    Raises:
        InputError: there is none, it is broken or of other weights, or it proves nothing.
    """
    path = folder / CERTIFICATE
    if not path.is_file():
        raise InputError(
            f"the checkpoint in {folder} has no certificate, so nobody knows that it is right: "
            f"run `statespan certify {folder}`."
        )
    try:
        certificate = msgspec.json.decode(read_bytes(path), type=Proof)
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is broken: {error}. Run `statespan certify {folder}`.") from error
    if certificate.weights_sha256 != weights_hash(folder):
        raise InputError(
            f"the certificate in {folder} is of other weights: run `statespan certify {folder}`."
        )
    if not certificate.proves:
        raise InputError(
            f"the certificate in {folder} proves nothing ({certificate.remark}): a checkpoint is "
            "used only if it is known to be right."
        )
    return certificate


def read_evidence(folder: Path) -> Evidence | None:
    """Return what is known beside the certificate; None if nothing is, or of other weights."""
    path = folder / EVIDENCE
    if not path.is_file():
        return None
    try:
        evidence = msgspec.json.decode(read_bytes(path), type=Evidence)
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is broken: {error}.") from error
    return evidence if evidence.weights_sha256 == weights_hash(folder) else None
