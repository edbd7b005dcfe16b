"""Errors that no path of the program raises yet still say what to do."""

from __future__ import annotations

import pytest

from statespan.errors import MissingExtraError, StatespanError


def test_a_missing_extra_says_what_to_install() -> None:
    message = r"needs the package 'mamba_ssm', .* pip install 'statespan\[cuda\]'"
    with pytest.raises(StatespanError, match=message):
        raise MissingExtraError("mamba_ssm", extra="cuda")
