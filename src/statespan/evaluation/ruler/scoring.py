"""How an answer is scored: the original's string match."""

from __future__ import annotations

import re
from collections.abc import Sequence

from statespan.errors import InputError

__all__ = ["count_found", "string_match_all"]

_CONTROL = re.compile(r"[\x00-\x1f]")


def count_found(prediction: str, answers: Sequence[str]) -> int:
    """Return how many of the answers stand somewhere in the prediction, whatever the case.

    >>> count_found("They are RED, and blue.", ["red", "green", "blue"])
    2
    """
    plain = _CONTROL.sub("\n", prediction).strip().lower()
    return sum(answer.lower() in plain for answer in answers)


def string_match_all(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """Return RULER's score: the mean share of the answers that are found, in percent.

    Raises:
        InputError: no predictions, or not as many as lists of answers, or a list without any.

    Example:
        >>> string_match_all(["12 and 34", "none"], [["12", "35"], ["7"]])
        25.0
    """
    if not predictions or len(predictions) != len(answers) or not all(answers):
        raise InputError(
            "string_match_all needs a list of answers for each prediction, none of them empty, got "
            f"{len(predictions)} predictions and {len(answers)} lists of answers."
        )
    pairs = zip(predictions, answers, strict=True)
    return (
        100 * sum(count_found(given, asked) / len(asked) for given, asked in pairs) / len(answers)
    )
