"""The page as a reader meets it: drawn without a complaint or a request, sorted and saved by mouse and keyboard."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest

from slasearch.report.results import Results
from slasearch.report.tables import best_trials

pytestmark = pytest.mark.browser

CONTRAST = """
(() => {
  const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const paper = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("h1,h2,h3,h4,p,li,dt,dd,th,td,caption,summary,button,a,code,small")) {
    if (!element.textContent.trim() || element.closest(".js-plotly-plot") || !element.getClientRects().length) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(paper(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) found.push([element.tagName, element.className, ratio]);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def file(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    program = chromium.find()
    if program is None:
        pytest.skip("needs Chromium on the path")
    found = chromium.Chromium(program, tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(browser: chromium.Chromium, file: Path) -> chromium.Chromium:
    """The page, opened once: what one of the tests below does to it, the others do not look at."""
    browser.open(file)
    return browser


def sorted_cells(browser: chromium.Chromium, heading: str) -> list[str]:
    """Cells of the column `score` of the table with this caption, as they stand now."""
    found: list[str] = browser.evaluate(
        f"""(() => {{
          const table = [...document.querySelectorAll("table")].find((one) => one.caption.textContent === {heading!r});
          const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "score");
          return [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
        }})()"""
    )
    return found


def focus_sort_button(browser: chromium.Chromium, heading: str) -> None:
    browser.evaluate(
        f"""(() => {{
          const table = [...document.querySelectorAll("table")].find((one) => one.caption.textContent === {heading!r});
          [...table.querySelectorAll("th .sort")].find((one) => one.textContent === "score").focus();
        }})()"""
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_draws_without_a_complaint_or_a_request(
    browser: chromium.Chromium, file: Path, width: int, dark: bool
) -> None:
    browser.open(file, width=width, dark=dark)
    charts = browser.evaluate("document.querySelectorAll('[data-chart]').length")
    assert browser.evaluate("document.querySelectorAll('.js-plotly-plot .main-svg').length") >= charts > 20
    assert browser.heard("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []
    asked = [event["request"]["url"] for event in browser.heard("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, "nothing is wider than the screen"
    assert browser.evaluate(CONTRAST) == []
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


def test_a_table_is_sorted_by_mouse_and_by_keyboard(page: chromium.Chromium, results: Results) -> None:
    table = best_trials(results)
    assert table is not None
    before = sorted_cells(page, table.title)
    focus_sort_button(page, table.title)
    page.press("Enter")
    assert sorted_cells(page, table.title) == sorted(before, key=float, reverse=True)
    assert page.evaluate("document.activeElement.closest('th').ariaSort") == "descending"
    page.press("Enter")
    assert sorted_cells(page, table.title) == sorted(before, key=float)
    assert page.evaluate("document.getElementById('status').textContent") == "Sorted by score, lowest first"
    assert page.evaluate("document.activeElement.closest('tr').querySelectorAll('[aria-sort=ascending]').length") == 1
    page.press("Tab")
    page.evaluate("document.activeElement.click()")
    assert page.evaluate("document.activeElement.closest('th').ariaSort") in ("ascending", "descending")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is seen"


def test_a_table_is_saved_as_csv(page: chromium.Chromium, results: Results) -> None:
    table = best_trials(results)
    assert table is not None
    page.evaluate(
        f"""[...document.querySelectorAll(".table")]
          .find((one) => one.querySelector("caption").textContent === {table.title!r})
          .querySelector(".download").click()"""
    )
    until = time.monotonic() + 20
    while not (found := list(page.downloads.glob("*.csv"))) and time.monotonic() < until:
        time.sleep(0.05)
    rows = list(csv.DictReader(io.StringIO(found[0].read_text(encoding="utf-8"))))
    assert [row["score"] for row in rows] == [row[2] for row in table.rows]
    assert [float(row["parameters"]) for row in rows] == [float(row[3].replace("\u202f", "")) for row in table.rows]


def test_everything_that_can_be_pressed_has_a_name(page: chromium.Chromium) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    pressed = [node for node in nodes if not node["ignored"] and node["role"]["value"] in ("button", "link")]
    assert len(pressed) > 100
    names = [node["name"]["value"].strip() for node in pressed]
    assert "" not in names
    assert "Zoom in" in names, "charts too are worked with keys"
    assert not [name for name in names if "Share" in name or "loud" in name], "nothing sends data away"


def test_the_screen_may_turn_dark_while_the_page_is_open(page: chromium.Chromium) -> None:
    ink = "document.querySelector('.js-plotly-plot .xtick text, .js-plotly-plot .ytick text').style.fill"
    light = page.evaluate(ink)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.evaluate("new Promise((done) => setTimeout(() => done(true), 300))")
    assert page.evaluate(ink) != light
