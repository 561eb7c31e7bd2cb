import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
import scipy.stats
from synthetic import Plan, study_config

from slasearch.config.constraints import ConstraintConfig
from slasearch.config.load import parse_study
from slasearch.report.asked import asked
from slasearch.report.findings import findings
from slasearch.report.html import render, study_file
from slasearch.report.labels import short_factor
from slasearch.report.results import Results
from slasearch.report.settings import best_settings
from slasearch.report.summary import certainty, five, others, seed_spread
from slasearch.storage.rows import EarlierTrial, WarmStart


class Page(HTMLParser):
    """What a page holds: its tags with attributes, its scripts, and its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.spoken: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if ("class", "spoken") in attrs and ("role", "status") not in attrs:
            self.spoken.append("")
            self._open = "spoken"

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)
        elif self._open == "spoken":
            self.spoken[-1] += data
        elif self._open != "style":
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


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
    figures = page.named("figure")
    assert len(figures) >= 15
    assert len(page.spoken) == len(figures)
    assert all(len(words) > 40 for words in page.spoken)
    assert not [attrs for _, attrs in page.tags if attrs.get("role") == "img"], (
        "charts have buttons, pictures have none"
    )
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert {attrs["aria-labelledby"] for attrs in figures} <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))
    targets = {attrs["href"] for attrs in page.named("a")}
    assert targets <= {f"#{identifier}" for identifier in identifiers}


def test_legend_buttons_name_series_of_their_charts(page: Page, text: str) -> None:
    charts = json.loads(next(script for attrs, script in page.scripts if attrs.get("id") == "charts"))
    groups = {trace.get("legendgroup") for chart in charts for trace in chart["data"]}
    assert {attrs["data-series"] for attrs in page.named("button") if "data-series" in attrs} <= groups


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


def test_texts_of_the_study_cannot_become_markup(results_of: Callable[[Plan], Results]) -> None:
    results = results_of(Plan(hostile=True))
    text = render(results, [])
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; $x_1$ &amp; more" in text
    assert len(Page(text).scripts) == 5


def test_the_page_goes_from_the_question_to_what_failed(page: Page, text: str) -> None:
    assert "<h2>What failed or is not shown</h2>" in text
    sections = [attrs["id"] for attrs in page.named("section")]
    assert sections[:2] == ["asked", "found"]
    assert sections[-3:] == ["certainty", "failed", "reproduce"]
    linked = {attrs["href"] for attrs in page.named("a")}
    assert {f"#{name}" for name in sections} <= linked


def test_what_was_asked_is_read_from_the_study_file() -> None:
    said = dict(asked(study_config("synthetic", Plan())))
    assert list(said) == ["Question", "Modules", "Searched", "Design", "Search", "Confirmation", "Disturbance"]
    assert "the 3 tasks tweets (macro f1), spam (mcc) and bbc (accuracy)?" in said["Question"]
    assert (
        "the best score, the fewest exported parameters and the best robustness (mean disturbed score)"
        in (said["Question"])
    )
    assert said["Modules"].startswith("LoRA, bottleneck and bias modules of rank either 1 or 4 or 1 and 4, at attn.q")
    assert "parsity weight λ from 0.01 to 1 (logarithmic)" in said["Searched"]
    assert said["Searched"].startswith("Ranks in the pool (1, 4, 1 + 4), ")
    assert "16 levels of sparsity weight λ" in said["Design"]
    assert "each point with 3 seed pairs" in said["Design"]
    assert said["Search"].startswith(
        "What is best? 28 trials proposed by tpe, those that lag behind stopped by success"
    )
    assert said["Confirmation"].endswith("beside LoRA, a random structure and the linear probe.")
    assert said["Disturbance"].endswith("under typos (0.1, 0.2, 0.4) and embedding noise (0.1, 0.3, 0.5) too.")


def test_ranks_of_kinds_that_have_others_are_told_apart() -> None:
    config = study_config("synthetic", Plan())
    pool = config.pool.model_copy(update={"kinds": ("lora", "lora_xs"), "ranks": (1,), "kind_ranks": {"lora_xs": (8,)}})
    said = dict(asked(config.model_copy(update={"pool": pool})))
    assert said["Modules"].startswith("LoRA and lora_xs modules of rank 1 (lora_xs of rank 8), at attn.q")


def test_the_page_says_that_the_sampler_began_from_an_earlier_study(results: Results) -> None:
    trials = tuple(EarlierTrial(number, {}, 0.5, 9.0, None) for number in range(3))
    begun = replace(results.frames, warm_start=WarmStart(1, "pilot", "f" * 64, None, 2, trials))
    page = render(replace(results, frames=begun), [])
    left_out = "2 left out, as they lie outside the ranges or lack a value that is bounded"
    words = f"The sampler begins from 3 complete trials of study pilot ({left_out})"
    assert f"{words}; they count in nothing else." in page
    assert "pilot" not in render(results, [])


def test_a_small_study_asks_less() -> None:
    bounds = (
        ConstraintConfig(name="exported_parameters", max=20_000),
        ConstraintConfig(name="score", min=0.5, max=0.9),
        ConstraintConfig(name="latency", max=2.5),
    )
    bounded = study_config("synthetic", Plan()).model_copy(update={"constraints": bounds})
    words = (
        ", with exported parameters of at most 20\u202f000, score (mean of MCC, accuracy, macro-F1) of at least 0.5 "
        "and at most 0.9 and latency of at most 2.5 ms, on the 3 tasks"
    )
    assert words in dict(asked(bounded))["Question"]
    said = dict(asked(study_config("synthetic", Plan(design=False, confirm=False, measured=False))))
    assert list(said) == ["Question", "Modules", "Searched", "Search"]


def test_five_sentences_come_first_each_with_numbers(results: Results, text: str) -> None:
    first = five(results, findings(results))
    assert [item.topic for item in first] == ["Controls", "Sensitivity", "Trade-off", "Robustness", "Structure"]
    assert all(re.search(r"\d", item.text) and item.kind == "result" for item in first)
    means = {
        curve.factor: [point.estimate.mean for point in curve.named("mean").points] for curve in results.design["score"]
    }
    strongest = max(means, key=lambda factor: max(means[factor]) - min(means[factor]))
    assert first[1].text.lower().startswith(short_factor(strongest)), "of the fields, the one that moves the score most"
    assert {*first, *others(results, findings(results))} == {
        item for item in findings(results) if item.kind == "result"
    }
    assert text.count('<ol class="five">') == 1


def test_two_single_trials_are_told_apart_only_beyond_what_seeds_do(results: Results) -> None:
    found = seed_spread(results.frames)
    assert found is not None
    design = results.frames.phase_trials("design", "complete")
    winners = results.frames.trials[results.frames.trials["role"] == "winner"]
    by_hand = [
        rows["score"].to_numpy()
        for key, part in (("point", design), ("pair_of", winners))
        for _, rows in part.groupby(key)
    ]
    squares = sum(((values - values.mean()) ** 2).sum() for values in by_hand)
    free = sum(len(values) - 1 for values in by_hand)
    assert found.free == free
    assert found.deviation == pytest.approx((squares / free) ** 0.5)
    repeated = pd.concat([design, winners])["trial_id"]
    assert found.settings == results.frames.configurations[repeated].nunique() < len(by_hand), (
        "a winner of the design is one"
    )
    assert found.runs == sum(map(len, by_hand))
    said = {item.topic: item.text for item in certainty(results, findings(results))}
    assert (
        f"closer than {scipy.stats.t.ppf(0.975, free) * 2**0.5 * found.deviation:.3f} are not told apart"
        in said["Seeds"]
    )
    assert "when trained again with 3 seed pairs" in said["Search"]


def test_one_setting_at_many_points_under_one_seed_pair_says_nothing_of_seeds(results: Results) -> None:
    """A design over few choices visits a setting again: the same training, whose score does not vary."""
    trials = results.frames.trials
    once = trials[(trials["phase"] == "design") & (trials["repeat"] == 0)]
    twice = pd.concat([once, once.assign(trial_id=once["trial_id"] + 10_000)], ignore_index=True)
    params = results.frames.params
    copies = params[params["trial_id"].isin(once["trial_id"])].assign(trial_id=lambda rows: rows["trial_id"] + 10_000)
    frames = replace(results.frames, trials=twice, params=pd.concat([params, copies], ignore_index=True))
    assert seed_spread(frames) is None
    assert best_settings(frames)["pairs"].unique().tolist() == [1]


def test_without_repeats_nothing_is_known_of_seeds(results_of: Callable[[Plan], Results]) -> None:
    results = results_of(Plan(design=False, optimise=1, confirm=False))
    assert seed_spread(results.frames) is None
    assert certainty(results, findings(results))[0].kind == "caution"


def _luminance(color: str) -> float:
    channels = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_of_text_have_the_contrast_that_wcag_asks_for(text: str, scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", text, re.DOTALL)[scheme]
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    grounds = [
        ("ink", "paper"),
        ("ink", "soft"),
        ("ink", "card"),
        ("muted", "paper"),
        ("muted", "soft"),
        ("muted", "card"),
    ]
    grounds += [("accent", "paper"), ("accent", "card"), ("accent", "soft"), ("caution", "caution-soft")]
    for front, back in grounds:
        high, low = sorted((_luminance(colors[front]), _luminance(colors[back])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)
