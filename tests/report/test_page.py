"""The page of many runs: drawn from records, self-contained, and it can be used."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from statespan.records import (
    BinRecord,
    CellRecord,
    HeldOutRecord,
    LengthRecord,
    MemberRecord,
    ModelRecord,
    PerplexityRecord,
    PositionLoss,
    PretrainingRecord,
    RecallRecord,
    Record,
    RetrievalRecord,
    RulerRecord,
    RunRecord,
    TokensRecord,
    VerdictRecord,
)
from statespan.report import Source, build_matrix, report_page

CHROMIUM = Path("/usr/bin/chromium")
VOID = {"meta", "img", "br"}


def a_bin(lower: int, correct: int) -> BinRecord:
    counts = {"words": 10, "positions": 100, "correct_positions": 90, "seen": 0}
    return BinRecord(lower=lower, upper=lower + 9, correct=correct, **counts)


def a_probe(language: str, model: str, *correct: int) -> list[Record]:
    run = RunRecord(
        language=language,
        alphabet=["a", "b"],
        model=model,
        layers=2,
        parameters=100,
        steps=5,
        loss="symbols",
        sampler="uniform",
        train_words=10,
        train_lengths=(1, 10),
    )
    bins = [a_bin(1 + 10 * index, right) for index, right in enumerate(correct)]
    return [run, *bins, LengthRecord(length=5, words=10, correct=correct[0])]


def a_verdict(language: str, model: str, verdict: str) -> VerdictRecord:
    statement = f"{model} & {language}"
    return VerdictRecord(
        language=language, model=model, verdict=verdict, theorem="t", statement=statement
    )


def an_evaluation() -> list[Record]:
    part = PositionLoss(begin=0, end=8, loss_sum=16.0, tokens=8)
    perplexity = PerplexityRecord(
        attention="full",
        length=8,
        stride=8,
        text="a novel",
        documents=1,
        windows=1,
        loss_sum=16.0,
        tokens=8,
        positions=[part],
    )
    ruler = RulerRecord(
        attention="full",
        task="vt",
        group="VT",
        length=8,
        samples=4,
        share_sum=3.0,
        answers=4,
        found=3,
        original=4,
        haystack="noise",
        words="",
    )
    recall = RecallRecord(
        attention="full",
        task="needle",
        length=8,
        depth=0.5,
        samples=2,
        correct=1,
        positions=8,
        correct_positions=5,
    )
    model = ModelRecord(name="<small>", architecture="bamba", parameters=10, vocabulary=5)
    return [model, perplexity, ruler, recall]


def a_pretraining() -> tuple[list[Record], list[Record]]:
    run = PretrainingRecord(
        model="bamba",
        layers=2,
        parameters=10,
        vocab_size=5,
        context=8,
        steps=2,
        tokens=16,
        characters=100,
    )
    held_out = HeldOutRecord(
        step=2,
        document="needle",
        length=8,
        documents=1,
        loss_sum=3.0,
        positions=4,
        answers=1,
        correct=1,
    )
    tokens = TokensRecord(
        step=2, tokens=16, loss_sum=8.0, weight=4.0, learning_rate=1e-3, seconds=1.0
    )
    return [run, held_out], [tokens, held_out]


def a_fleet() -> list[Record]:
    bins = [a_bin(1, 10), a_bin(11, 3)]
    return [
        MemberRecord(
            name=f"s{seed}", seed=seed, learning_rate=1e-3, loss_sum=1.0, positions=4, bins=bins
        )
        for seed in (0, 1)
    ]


def a_retrieval() -> list[Record]:
    return [
        RetrievalRecord(layer=1, row=0, heads=[0, 1], document=0, first=16, last=31, keys=[(0, 7)])
    ]


def everything() -> list[Source]:
    found, log = a_pretraining()
    return [
        Source("one", "statespan probe one/config.toml", a_probe("(a|b)*", "mamba", 10, 10)),
        Source("two", "statespan probe two/config.toml", a_probe("(aa)*", "mamba", 10, 10)),
        Source("three", "statespan probe three/config.toml", a_probe("(aa)*", "lstm", 10, 4)),
        Source("fleet", "statespan probe fleet/config.toml", a_fleet()),
        Source("evaluation", "statespan evaluate e/config.toml", an_evaluation()),
        Source("pretraining", "statespan pretrain p/config.toml", found, log),
        Source("map", "statespan evaluate m/config.toml", a_retrieval()),
    ]


VERDICTS = [
    a_verdict("(a|b)*", "mamba", "yes"),
    a_verdict("(a|b)*", "lstm", "yes"),
    a_verdict("(aa)*", "mamba", "no"),
    a_verdict("(aa)*", "lstm", "yes"),
]


@pytest.mark.parametrize(
    ("verdict", "correct", "kind"),
    [
        ("yes", 10, "agree"),
        ("yes", 9, "unlearned"),
        ("no", 10, "short"),
        ("no", 9, "agree"),
        ("open", 10, "open"),
        ("growing precision", 10, "open"),
    ],
)
def test_a_cell_says_where_theory_and_measurement_disagree(
    verdict: str, correct: int, kind: str
) -> None:
    probes = [("run-0", a_probe("l", "m", 10, correct))]
    matrix = build_matrix(probes, [a_verdict("l", "m", verdict)])
    assert matrix is not None
    (row,) = matrix.rows
    (cell,) = row.cells
    assert (cell.kind, cell.verdict, cell.target) == (kind, verdict, "run-0")
    assert cell.accuracy == str(10 * correct)


def test_the_best_of_several_runs_is_shown_by_its_furthest_bin() -> None:
    probes = [
        ("a", a_probe("l", "m", 10, 2)),
        ("b", a_probe("l", "m", 4, 7)),
        ("c", a_probe("l", "m", 10, 5)),
    ]
    matrix = build_matrix(probes, [])
    assert matrix is not None
    assert [(c.accuracy, c.target, c.kind) for c in matrix.rows[0].cells] == [("70", "b", "open")]
    assert build_matrix([("fleet", a_fleet())], VERDICTS) is None


def test_compiled_weights_are_shown_beside_trained_ones_and_never_as_such() -> None:
    def compiled(model: str, correct: int) -> list[Record]:
        run, *rest = a_probe("l", model, 10, correct)
        assert isinstance(run, RunRecord)
        return [msgspec.structs.replace(run, weights_from="compiler", steps=0), *rest]

    probes = [
        ("a", a_probe("l", "m", 10, 6)),
        ("b", compiled("m", 10)),
        ("c", compiled("m", 9)),
        ("d", compiled("n", 10)),
    ]
    verdicts = [a_verdict("l", "m", "yes"), a_verdict("l", "n", "yes")]
    matrix = build_matrix(probes, verdicts)
    assert matrix is not None
    assert [(c.kind, c.accuracy, c.target, c.compiled) for c in matrix.rows[0].cells] == [
        ("unlearned", "60", "a", "100"),
        ("open", "", None, "100"),
    ]
    sources = [Source(name, f"statespan probe {name}", records) for name, records in probes]
    page = report_page(sources, verdicts)
    assert page.count("<small>compiled 100</small>") == 2
    trained, *rest = compiled("m", 10)
    assert isinstance(trained, RunRecord)
    again = build_matrix([("e", [msgspec.structs.replace(trained, steps=5), *rest])], verdicts)
    assert again is not None
    assert [c.compiled for c in again.rows[0].cells] == ["", ""]


class Structure(HTMLParser):
    """Checks that every element is closed, and keeps the text, the links and what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids |= {str(found["id"])} if "id" in found else set()
        self.links += [str(found["href"])] if "href" in found else []
        self.loaded += [str(found["src"])] if "src" in found else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_asks_for_nothing() -> None:
    page = report_page(everything(), VERDICTS, title="<a title>", command="statespan report x")
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    assert structure.loaded
    assert all(source.startswith("data:image/png;base64,") for source in structure.loaded)
    assert structure.links
    assert all(link[0] == "#" and link[1:] in structure.ids for link in structure.links)
    assert not re.search(r"https?://|@import|url\(", page)
    assert "<a title>" in structure.text
    assert "<small> (bamba)" in structure.text
    for source in everything():
        assert source.command in structure.text
    assert len(structure.loaded) == 3 + 3 + 1 + 1


def test_a_cell_without_a_result_says_why() -> None:
    cell = CellRecord(
        name="parity-mamba-1",
        settings={},
        status="failed",
        seconds=1.0,
        bins=[],
        failure="NaN at 3",
    )
    page = report_page([Source("sweep", "statespan sweep", [cell])], [])
    assert "parity-mamba-1: NaN at 3" in page


def test_the_same_records_give_the_same_page() -> None:
    assert report_page(everything(), VERDICTS) == report_page(everything(), VERDICTS)


@pytest.fixture
def browser() -> Any:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is not there (Debian's package chromium)")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=flags)
        yield launched
        launched.close()


@pytest.mark.slow
def test_the_page_can_be_used_in_a_browser(browser: Any, tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.write_text(report_page(everything(), VERDICTS), "utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors: list[str] = []
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else 0
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(place.as_uri())

    # A phone is not scrolled sideways.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cells = page.locator(".matrix td")
    assert cells.all_inner_texts() == ["yes\n40", "no\n100", "yes", "yes\n100"]
    kinds = [cell.get_attribute("class") for cell in cells.all()]
    assert kinds == ["unlearned", "short", "open", "agree"]

    # A click on a cell opens its run, and shows its curve.
    assert not page.locator("#run-1 img").is_visible()
    cells.nth(1).locator("a").click()
    page.locator("#run-1 img").wait_for(state="visible", timeout=5000)
    assert page.locator("#run-1 img").evaluate("image => image.naturalWidth") > 100

    # Columns are sorted as numbers, both ways.
    column = "tbody tr td:nth-child(1)"
    table = page.locator("#run-1 table")
    first = table.locator(column).all_inner_texts()
    table.locator("button.sort").first.click()
    table.locator("button.sort").first.click()
    assert table.locator(column).all_inner_texts() == first[::-1]

    # A table is copied in three forms.
    page.on("dialog", lambda dialog: dialog.dismiss())
    copied = {}
    for form in ("markdown", "latex", "csv"):
        button = page.locator(f"#run-1 button[data-form={form}]")
        button.click()
        copied[form] = button.get_attribute("data-copied")
    assert copied["markdown"].splitlines()[1] == "| --- | --- | --- | --- | --- |"
    assert copied["latex"].startswith("\\begin{tabular}{lllll}")
    assert copied["csv"].splitlines()[0].startswith("lengths,words,mamba (here)")

    # On paper all runs are open.
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
