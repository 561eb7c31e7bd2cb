import base64
import hashlib
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import Plan, study_config

from slasearch.analysis.frames import StudyFrames
from slasearch.config.load import parse_study
from slasearch.report.figures.all import all_figures
from slasearch.report.html import render, study_file
from slasearch.report.results import Results, analyse


class Page(HTMLParser):
    """What a page holds: its tags with attributes, its scripts, and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self._open != "style":
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(results: Results) -> str:
    return render(results, all_figures(results))


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_nothing_is_loaded_from_outside(page: Page) -> None:
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attrs.get(name)
            assert value is None or value.startswith("#"), (tag, name, value)
    assert not page.named("link")
    assert not page.named("iframe")
    style = [attrs.get("style") or "" for _, attrs in page.tags]
    assert not any("url(" in value for value in style)


def test_policy_allows_the_embedded_scripts_and_nothing_else(page: Page) -> None:
    policy = next(attrs["content"] for attrs in page.named("meta") if "http-equiv" in attrs)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    code = [script for attrs, script in page.scripts if attrs.get("type") != "application/json"]
    assert len(code) == 2
    for script in code:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_plotly_is_embedded_once(text: str) -> None:
    assert len(re.findall(r"plotly\.js v\d", text)) == 1


def test_every_chart_has_its_data(page: Page) -> None:
    charts = json.loads(next(script for attrs, script in page.scripts if attrs.get("id") == "charts"))
    places = [int(attrs["data-chart"] or -1) for attrs in page.named("div") if "data-chart" in attrs]
    assert places == list(range(len(charts)))
    assert all(chart["data"] for chart in charts)


def test_figures_are_described_and_headings_are_in_order(page: Page) -> None:
    described = [attrs for attrs in page.named("div") if attrs.get("role") == "img"]
    assert len(described) == len(page.named("figure")) == 15
    assert all(len(attrs["aria-label"] or "") > 40 for attrs in described)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))
    targets = {attrs["href"] for attrs in page.named("a")}
    assert targets <= {f"#{identifier}" for identifier in identifiers}


def test_legend_buttons_name_series_of_their_charts(page: Page, text: str) -> None:
    charts = json.loads(next(script for attrs, script in page.scripts if attrs.get("id") == "charts"))
    groups = {trace.get("legendgroup") for chart in charts for trace in chart["data"]}
    assert {attrs["data-series"] for attrs in page.named("button")} <= groups


def test_page_tells_what_failed_and_how_to_reproduce(page: Page) -> None:
    words = " ".join(" ".join(page.words).split())
    for expected in (
        "CUDA out of memory", "No gate closed by itself", "2.00 h of at most 2 h", "fingerprint",
        "slasearch report synthetic --out report",
        "91 complete, 4 pruned, 2 failed, 1 lost and repeated", "1000/1000",
    ):  # fmt: skip
        assert expected in words


def test_commands_name_the_storage_that_is_not_the_default(results: Results) -> None:
    page = render(results, [], storage="postgresql+psycopg://me:***@host/db")
    assert "slasearch dashboard --storage &#39;postgresql+psycopg://me:***@host/db&#39;" in page
    assert "put the password in place of" in page
    assert "export synthetic" not in page, "no trial of the study has stored an adapter"
    assert "--storage" not in render(results, [])


def test_a_study_that_was_killed_is_called_interrupted(results: Results) -> None:
    frames = replace(results.frames, study=replace(results.frames.study, state="interrupted"))
    assert "interrupted · 91 complete" in render(replace(results, frames=frames), [])


def test_only_one_line_holds_the_version(text: str) -> None:
    assert sum("Written by slasearch" in line for line in text.splitlines()) == 1


def test_study_file_reads_back_as_the_same_study(results: Results) -> None:
    text = study_file(results)
    assert parse_study(text, "synthetic.yaml") == study_config("synthetic", Plan())


def test_texts_of_the_study_cannot_become_markup(frames_of: Callable[[Plan], StudyFrames]) -> None:
    results = analyse(frames_of(Plan(hostile=True)))
    text = render(results, [])
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; $x_1$ &amp; more" in text
    assert len(Page(text).scripts) == 4


@pytest.mark.browser
def test_page_draws_in_a_browser_without_a_complaint(text: str, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium on the path")
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=20000",
            "--dump-dom", (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=150, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("js-plotly-plot") >= done.stdout.count("data-chart=") > 20
