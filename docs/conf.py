"""Sphinx: strict, offline, no intersphinx."""

import re
import tomllib
from pathlib import Path
from typing import Any

project = "statespan"
author = "The statespan developers"
copyright = "The statespan developers"
pyproject = Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8")
version = release = tomllib.loads(pyproject)["project"]["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["build", "_build"]
html_theme = "furo"
html_title = "statespan"

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "unsrt"

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Without intersphinx nothing outside this package can be linked, so only our names must resolve,
# and of those not type variables, private bases, and classes that no package offers.
nitpick_ignore_regex = [
    ("py:.*", r"(?!statespan\.).*"),
    ("py:.*", r"statespan\.registry\.T|statespan\.records\.config\.Struct|statespan\..*\._\w+"),
    ("py:class", r"statespan\.algebra\.(facts\.Facts|images\.Walk|rules\.Answers)"),
    ("py:class", r"statespan\.compiler\.(cascade\.(Component|Readout)|weights\.(Plan|Weights))"),
    ("py:class", r"statespan\.compiler\.(certificate\.WrongAnswer|verification\.KindCheck)"),
    ("py:class", r"statespan\.jobs\.probe\.EvaluationConfig"),
    ("py:class", r"statespan\.languages\.counting\.WordCounter"),
    ("py:class", r"statespan\.languages\.(expression|temporal)\.[A-Z]\w+"),
    ("py:class", r"statespan\.training\.(data\.Batch|recall_rows\.(RowStream|RecallConfig))"),
    ("py:.*", r"statespan\.tasks\.task\.Drawn"),
    ("py:class", r"statespan\.evaluation\.ruler\.task\.(Draft|Form|Setting)"),
    ("py:class", r"statespan\.memory\.selection\.Selector"),
    ("py:class", r"statespan\.pretrained\.span\.hooks\.PassBegin"),
]


def quote_code(*arguments: Any) -> None:
    """Make `code` of docstrings a literal, so that a backslash in it is one."""
    lines: list[str] = arguments[-1]
    lines[:] = [re.sub(r"(?<![`:])`([^`]+)`(?!`)", r"``\1``", line) for line in lines]


def setup(app: Any) -> None:
    """Register the above, before napoleon rewrites the sections."""
    app.connect("autodoc-process-docstring", quote_code, priority=400)
