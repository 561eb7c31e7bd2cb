import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import Plan

from slasearch.analysis.frames import MEAN, StudyFrames
from slasearch.analysis.intervals import p_of_zero
from slasearch.analysis.roles import role_label
from slasearch.analysis.sensitivity import level_p_values
from slasearch.analysis.structure import gate_map
from slasearch.config.constraints import ConstraintConfig
from slasearch.config.plain import digits
from slasearch.errors import ReportError
from slasearch.report.figures import gates as gate_figures
from slasearch.report.figures import sensitivity
from slasearch.report.figures._base import ReportFigure
from slasearch.report.figures.all import all_figures
from slasearch.report.findings import Finding, findings
from slasearch.report.html import render
from slasearch.report.labels import (
    factor_label,
    level_label,
    measure_label,
    percent,
    short_factor,
    short_number,
    thousands,
)
from slasearch.report.results import Results, analyse
from slasearch.report.table import aligned, result_table
from slasearch.report.tables import Table


def topic(found: list[Finding], name: str) -> str:
    return " ".join(item.text for item in found if item.topic == name)


def test_a_lora_that_wins_is_said_to_win(results_of: Callable[[Plan], Results]) -> None:
    text = topic(findings(results_of(Plan(lora=0.1, seeds=5))), "Controls")
    assert "are beaten by LoRA" in text
    assert "beat LoRA" not in text


def test_a_lora_that_loses_is_said_to_lose(results_of: Callable[[Plan], Results]) -> None:
    text = topic(findings(results_of(Plan(lora=-0.1, seeds=5))), "Controls")
    assert "beat LoRA" in text
    assert "are beaten by LoRA" not in text


def test_what_is_not_told_apart_is_called_so(results: Results) -> None:
    text = topic(findings(results), "Controls")
    assert "are not told apart from LoRA" in text
    assert "mean of 3 tasks, 3 pairs of seeds, p after Holm" in text


def test_one_pair_allows_no_conclusion(results_of: Callable[[Plan], Results]) -> None:
    text = topic(findings(results_of(Plan(seeds=1))), "Controls")
    assert "which allows no conclusion" in text
    assert " beat " not in text


def test_what_the_constraints_keep_out_is_told_with_its_reasons(frames: StudyFrames) -> None:
    trials = frames.trials.copy()
    search = frames.search_trials("complete").index
    trials.loc[search, "latency"] = [1.5 + (place < 3) for place in range(len(search))]

    def kept(**latency: float) -> Results:
        bounds = ConstraintConfig(name="latency", **latency), ConstraintConfig(name="exported_parameters", max=1e9)
        config = frames.config.model_copy(update={"constraints": bounds})
        return analyse(replace(frames, trials=trials, config=config), whole_design=False)

    def told(**latency: float) -> str:
        return topic(findings(kept(**latency)), "Constraints")

    assert told(max=2) == (
        f"3 of {len(search)} complete trials of the search are kept out of the front, winners and exports by the "
        "constraints: 3 break latency of at most 2 ms."
    )
    some = kept(max=2)
    assert f"of {len(search) - 3} complete trials that keep the constraints are on" in topic(
        findings(some), "Trade-off"
    )
    noted = [figure.note for figure in all_figures(some) if figure.name in ("pareto", "pareto_robustness")]
    assert len(noted) == 2
    assert all("3 trials break a constraint" in " ".join(note.split()) for note in noted)
    assert told(max=3, min=1) == (
        f"All {len(search)} complete trials of the search keep latency of at least 1 ms and at most 3 ms and exported "
        "parameters of at most 1\u202f000\u202f000\u202f000."
    )


def test_every_factor_has_a_sentence_with_its_numbers(results: Results) -> None:
    sentences = [item.text for item in findings(results) if item.topic == "Sensitivity"]
    assert len(sentences) == 4
    best = max(results.design["score"][0].named("mean").points, key=lambda point: point.estimate.mean)
    assert sentences[0].startswith(f"Sparsity weight λ: best mean score {best.estimate.text()} at {best.level:g}")
    assert "exported parameters go from" in sentences[0]
    assert "exported parameters" not in sentences[2]


def test_levels_of_a_design_are_named_after_holm(results: Results) -> None:
    changes = {curve.factor: curve for curve in results.design["change"]}
    p_values = level_p_values(results.frames, tuple(changes.values()))
    told = {key for key, p in p_values.items() if p is not None and p < 0.05}
    text = topic(findings(results), "Sensitivity")
    assert text.count("p after Holm over the 12 levels of the design") == len({factor for factor, _ in told})
    alone = sum(
        p_of_zero(point.estimate) < 0.05  # type: ignore[operator]
        for curve in changes.values()
        for point in curve.named(MEAN).points
        if (curve.factor, point.level) in p_values
    )
    assert text.count(" (p .") + text.count(" (p < ") == len(told) < alone


def test_a_grid_gets_no_advice_that_cannot_help(results_of: Callable[[Plan], Results]) -> None:
    found = results_of(Plan(design_sampler="grid", optimise=0, confirm=False, measured=False))
    assert set(found.design) == {"score", "exported_parameters"}
    assert not [reason for reason in found.missing if "Run the study further" in reason]
    captions = {figure.name: figure.caption for figure in sensitivity.figures(found)}
    assert captions["sensitivity_score"].endswith("at each level of a factor, averaged over the levels of the others.")


def test_terms_of_the_comparison_are_told(
    database_of: Callable[[Plan], str], results: Results, figures: dict[str, ReportFigure]
) -> None:
    said = [" ".join(result_table(database_of(Plan()), "synthetic").split())]
    said += [" ".join(figures[name].note.split()) for name in ("comparison", "robustness_typos")]
    said.append(topic(findings(results), "Controls"))
    for text in said:
        assert "learning rate included), which favours the search" in text
        assert "LoRA is never smaller" in text
        assert "ach run of the winner learns its own structure" in text


def test_failed_trials_are_a_caution(results: Results) -> None:
    trials = next(item for item in findings(results) if item.topic == "Trials")
    assert trials.kind == "caution"
    assert "2 failed" in trials.text


@pytest.mark.parametrize(
    ("plan", "sections", "missing"),
    [
        (Plan(confirm=False), {"sensitivity_score", "pareto", "gates", "importance", "history"}, "phases.confirm"),
        (Plan(design=False, optimise=1, confirm=False), {"pareto", "gates", "history"}, "phases.design"),
        (Plan(fail=True), {"history"}, "expected complete"),
        (Plan(measured=False), {"sensitivity_score", "comparison", "pareto"}, "conditions.measured"),
    ],
    ids=["no confirm", "one trial", "only failures", "nothing measured"],
)
def test_small_studies_give_a_sensible_report(
    results_of: Callable[[Plan], Results], plan: Plan, sections: set[str], missing: str
) -> None:
    results = results_of(plan)
    figures = all_figures(results)
    assert sections <= {figure.name for figure in figures}
    for figure in figures:
        if figure.name in ("pareto", "gates", "history", "sensitivity_measured"):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                figure.draw()
    page = render(results, figures)
    reasons = [item.text for item in findings(results) if item.topic == "Not shown"]
    assert any(missing in reason for reason in reasons)
    assert len(reasons) == len(set(reasons))
    assert results.counts.text() in page


def test_only_failures_show_their_reason(database_of: Callable[[Plan], str]) -> None:
    text = result_table(database_of(Plan(fail=True)), "synthetic")
    assert "the loss became NaN at step 40" in text
    assert "0 complete" in text


def test_a_study_without_trials_is_refused(
    database_of: Callable[[Plan], str], results_of: Callable[[Plan], Results]
) -> None:
    plan = Plan(design=False, optimise=0, confirm=False)
    with pytest.raises(ReportError, match="expected at least one trial, got none"):
        results_of(plan)
    with pytest.raises(ReportError, match="slasearch run"):
        result_table(database_of(plan), "synthetic")


def test_result_table_is_aligned_and_fits_a_terminal(database_of: Callable[[Plan], str]) -> None:
    text = result_table(database_of(Plan()), "synthetic")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    start = next(index for index, line in enumerate(lines) if line.startswith("trial "))
    rows = lines[start : start + 15]
    assert sum(row.startswith("trial ") for row in rows) == 3
    ends = {row.index("±") for row in rows if not row.startswith("trial ")}
    assert len(ends) == 1
    assert sum("LoRA" in row and "±" in row for row in rows) == 3
    assert "CUDA out of memory" in text
    assert "are not told apart from LoRA" in " ".join(lines)


def test_result_table_without_confirm_lists_the_best(database_of: Callable[[Plan], str]) -> None:
    text = result_table(database_of(Plan(confirm=False)), "synthetic")
    assert "Best 10 of 35 settings by mean validation score" in text
    assert " front " in text
    assert max(map(len, text.splitlines())) <= 110


def test_labels_name_things_with_units() -> None:
    assert factor_label("size_control.sparsity_weight") == "Sparsity weight λ (no unit)"
    assert factor_label("conditions.train.typos.level") == "Typos in training (share of words)"
    assert factor_label("gates.some_new_field") == "Some new field"
    assert measure_label("embedding_gaussian") == "Embedding noise (share of tokens)"
    assert short_factor("pool.ranks") == "ranks in the pool"
    assert (level_label("[1, 4]"), level_label(0.10), level_label("cosine"), level_label("3")) == (
        "1 + 4", "0.1", "cosine", "3",
    )  # fmt: skip
    levels = {999999.0: "999999", 1179648: "1\u202f179\u202f648", 0.004567891: "0.00456789"}
    assert {level: level_label(level) for level in levels} == levels
    assert [short_number(value) for value in (9999.4, 9999.7, 1.5e-5)] == ["9999", "10\u202f000", "1.5e-05"]
    assert [digits(value) for value in (9999.4, 9999.7, float("inf"))] == ["9999", "10000", "inf"]
    assert role_label("control:my_baseline") == "My baseline"
    assert thousands(1234567) == "1\u202f234\u202f567"


def test_front_is_told_by_its_own_ends(results: Results) -> None:
    front = results.front
    assert front is not None
    text = topic(findings(results), "Trade-off")
    sizes = front.column("exported_parameters")[front.on_front]
    assert f"{thousands(sizes.min())} parameters" in text
    assert f"{thousands(sizes.max())} parameters" in text


def test_a_front_of_one_trial_is_told_as_one(results_of: Callable[[Plan], Results]) -> None:
    text = topic(findings(results_of(Plan(design=False, optimise=1, confirm=False))), "Trade-off")
    assert text.startswith("No trial of 1 is better in anything than trial 0")


def test_open_slots_are_counted_as_slots_and_not_as_places(frames: StudyFrames, results: Results) -> None:
    gates = frames.gates.assign(open=frames.gates["kind"] == "lora")
    twice = gates[gates["kind"] == "lora"].assign(slot=lambda row: row["slot"].str.removesuffix("0") + "1", idx=1)
    more = replace(frames, gates=pd.concat([gates, twice], ignore_index=True))
    found = replace(results, frames=more, gates=gate_map(more))
    mine = found.gates
    assert mine is not None
    assert list(found.open_shares()) == list(mine.tasks)
    rows = more.gates[more.gates["trial_id"].isin(frames.confirmed(results.comparisons[0].winner_id)["trial_id"])]
    share = rows["open"].mean()
    assert list(found.open_shares().values()) == pytest.approx([share] * 3)
    assert share > np.nanmean(mine.frequency) + 0.1, "places of lora have twice as many slots as others"
    assert f"runs: tweets {percent(share)} (" in topic(findings(found), "Structure")


def test_a_study_whose_winner_failed_is_told_by_the_best_trial_of_its_search(
    results_of: Callable[[Plan], Results], database_of: Callable[[Plan], str]
) -> None:
    plan = Plan(lost=True)
    results = results_of(plan)
    assert results.gates is not None
    assert all(share > 0 for share in results.open_shares().values())
    assert results.gates.method == "best trial of the search, one seed pair"
    assert "over 1 run" in topic(findings(results), "Structure")
    assert "paths" in {figure.name.partition("_")[0] for figure in all_figures(results)}
    assert result_table(database_of(plan), "synthetic")


def test_places_that_are_open_alike_are_counted_and_none_of_them_is_named(results: Results) -> None:
    gates = results.gates
    assert gates is not None
    cells = gates.frequency.copy()
    cells[0] = np.where(np.isnan(cells[0]), np.nan, 0.25)
    cells[1] = np.where(np.isnan(cells[1]), np.nan, 0.25)
    cells[1, 0, 0] = 1.0
    (figure,) = gate_figures.figures(replace(results, gates=replace(gates, frequency=cells)))
    alike = int((~np.isnan(cells[0])).sum())
    one, other, _ = figure.alt.split("; ")
    assert one.endswith(f"of all slots open, most at {alike} places alike (25 %)")
    assert other.endswith(f"most at layer {gates.layers[0]} {gates.places[0]}")


def test_a_pool_that_stays_whole_is_a_caution(frames: StudyFrames, results: Results) -> None:
    whole = replace(results, gates=gate_map(replace(frames, gates=frames.gates.assign(open=True))))
    assert "Every slot stays open" in topic(findings(whole), "Structure")
    assert "Every slot stays open" not in topic(findings(results), "Structure")


def test_long_cells_and_headers_do_not_widen_a_table() -> None:
    table = Table(
        "T",
        ("reason", "the number of attempts"),
        (("x" * 200, "3"), ("a heading of the rows below it, which is never cut",)),
    )
    lines = aligned(table).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[2].split() == ["reason", "the"]
    assert lines[-2].startswith("x" * 43 + "…")
    assert lines[-1].endswith("never cut")
