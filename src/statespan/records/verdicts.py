"""What the theory says of an architecture and a language, beside what was measured."""

from __future__ import annotations

import msgspec

__all__ = ["VerdictRecord"]


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
