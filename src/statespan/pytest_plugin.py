"""`pytest --statespan-engine=ENGINE`: each scenario on each checkpoint as a test.

pytest loads this module in every run where this package is installed, so nothing heavy is imported
until the option is given. That is why it is not in `conformance`, whose import loads torch.
"""

from __future__ import annotations

import pytest

from statespan.errors import StatespanError

__all__ = ["pytest_addoption", "pytest_collection_modifyitems"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, which are those of `statespan conformance`."""
    group = parser.getgroup("statespan", "engines tried on checkpoints that never err")
    group.addoption(
        "--statespan-engine",
        metavar="ENGINE",
        help="add the conformance kit as tests of ENGINE: transformers, accelerated, extended, "
        "statespan, one from an entry point, or the address of a server",
    )
    values = {
        "served": "what the server calls the checkpoint",
        "model": "the folder of one certified checkpoint, in place of all",
        "folder": "where checkpoints are made, and found the next time",
    }
    for name, what in values.items():
        group.addoption(f"--statespan-{name}", metavar=name.upper(), help=what)
    for name in ("checkpoint", "scenario"):
        what = f"a {name} of the kit; may be given several times"
        group.addoption(
            f"--statespan-{name}", metavar="NAME", action="append", default=[], help=what
        )
    group.addoption(
        "--statespan-thorough",
        action="store_true",
        help="deeper checkpoints, and rows of 100,000 tokens",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the tests, if an engine is named."""
    if config.getoption("statespan_engine") is None:
        return
    from statespan.jobs.conformance_tests import Kit  # noqa: PLC0415  # torch comes with it

    try:
        items.extend(Kit.from_parent(session, name="statespan").collect())
    except StatespanError as error:
        raise pytest.UsageError(str(error)) from error
