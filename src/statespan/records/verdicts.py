"""What the theory says of an architecture and a language, beside what was measured."""

from __future__ import annotations

import msgspec

__all__ = ["RefutationRecord", "VerdictRecord"]


class VerdictRecord(msgspec.Struct, frozen=True, tag_field="kind", tag="verdict", kw_only=True):
    """Whether some weights of an architecture predict a language at every length.

    `verdict` is "yes", "no", "growing precision" or "open"; `theorem` names what decides it at
    fixed precision, and `statement` says it.
    """

    language: str
    model: str
    verdict: str
    theorem: str
    statement: str


class RefutationRecord(
    msgspec.Struct, frozen=True, tag_field="kind", tag="refutation", kw_only=True
):
    """The shortest prefix found after which a trained model is wrong, or that none was found.

    `prefix` is empty and `found_by` too if none was: all prefixes of up to `all_up_to` symbols were
    read then, and others of up to `longest`. `settled_at` says after how many symbols the state had
    stopped changing while the hidden counter of the language was read; None if it went on changing,
    or if there is no such counter.
    """

    language: str
    model: str
    prefix: list[str]
    found_by: str
    is_shortest: bool
    all_up_to: int
    longest: int
    settled_at: int | None = None
