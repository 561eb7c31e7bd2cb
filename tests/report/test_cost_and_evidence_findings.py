"""Sentences on costs, and how sure comparisons are: in words, and as columns of their table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from synthetic import Plan

from slasearch.analysis.compare import Comparisons
from slasearch.analysis.effects import power
from slasearch.analysis.frames import StudyFrames
from slasearch.analysis.ledger import cost_ledger
from slasearch.analysis.roles import role_label, role_phrase
from slasearch.report.cost_findings import cost_findings
from slasearch.report.downloads import csv_of_table
from slasearch.report.evidence_findings import evidence_findings
from slasearch.report.finding import Finding
from slasearch.report.findings import findings
from slasearch.report.labels import number, with_ends
from slasearch.report.results import Results, analyse
from slasearch.report.summary import certainty
from slasearch.report.tables import controls_tables


def test_costs_are_told_by_phase_and_by_what_was_lost(results: Results) -> None:
    (told,) = [item for item in findings(results) if item.topic == "Cost"]
    assert told == Finding(
        "Cost",
        "0.299 device-hours in all, as much as 98 LoRA runs of 11 s; design 0.119 (as much as 39 LoRA runs), "
        "optimise 0.0886 (as much as 29 LoRA runs), confirm 0.0917 (as much as 30 LoRA runs); 7.1 % gave no complete "
        "trial (pruned 4.1 %, failed 2.0 %, lost and repeated 1.0 %).",
    )


def test_costs_of_one_phase_without_lora_and_failures(frames: StudyFrames, results: Results) -> None:
    design = replace(frames, trials=frames.phase_trials("design"))
    (told,) = cost_findings(replace(results, ledger=cost_ledger(design)))
    assert told.text == "0.119 device-hours in all; none of it was pruned or failed."
    trials = design.trials.assign(state=np.where(design.trials["repeat"] == 2, "running", "complete"))
    (told,) = cost_findings(replace(results, ledger=cost_ledger(replace(design, trials=trials))))
    assert told.text.endswith("; 13 still running, counted until the last time that is stored.")
    first = design.trials["started_at"].min()
    still = design.trials.assign(started_at=first, ended_at=first)
    assert not list(cost_findings(replace(results, ledger=cost_ledger(replace(design, trials=still)))))
    assert not list(cost_findings(replace(results, ledger=None)))


def said(results: Results) -> str:
    return " ".join(item.text for item in evidence_findings(results))


def of(item: Comparisons, name: str) -> str:
    one = item.difference(f"control:{name}").evidence.detectable
    assert one.low is not None
    assert one.high is not None
    return f"{with_ends(number, one.estimate, one.low, one.high)} from {role_phrase(f'control:{name}')}"


def test_what_the_seeds_could_have_shown_is_said_for_each_winner(results: Results) -> None:
    told = [item.text for item in certainty(results, findings(results)) if item.topic == "Evidence"]
    for item in results.comparisons:
        assert (
            f"With the 3 seed pairs of trial {item.number} a true difference of at least {of(item, 'lora')}, "
            f"{of(item, 'random')} and {of(item, 'linear_probe')} would have been detected with power .8, before "
            "Holm's adjustment." in told
        )
        one = item.difference("control:lora").evidence
        assert one.difference.error is not None
        assert one.difference.df is not None
        assert power(one.detectable.estimate / one.difference.error, one.difference.df) == pytest.approx(0.8, abs=1e-6)
    assert "signed ranks" not in " ".join(told), "three pairs are too few"


def test_of_many_controls_the_ends_are_named(frames_of: Callable[[Plan], StudyFrames]) -> None:
    found = analyse(frames_of(Plan(controls=("lora", "adalora", "bitfit", "random", "shared"), design=False)))
    item = found.comparisons[0]
    sizes = {arm.role: item.difference(arm.role).evidence.detectable.estimate for arm in item.controls}
    least, most = (pick(sizes, key=sizes.__getitem__).removeprefix("control:") for pick in (min, max))
    wanted = f"of between {of(item, least)}, the least of 5 controls, and {of(item, most)}, the most, would have been"
    assert wanted in said(found)


def test_signed_ranks_are_told_from_six_pairs_and_one_pair_tells_nothing(
    frames_of: Callable[[Plan], StudyFrames],
) -> None:
    found = analyse(frames_of(Plan(seeds=6, lora=-0.1, design=False, controls=("lora",))))
    rank = found.comparisons[0].difference("control:lora").evidence.signed_rank_holm
    assert rank is not None
    wanted = f"trial {found.comparisons[0].number} has p {rank:.3f} against LoRA after Holm".replace("0.", ".", 1)
    assert wanted in said(found)
    assert said(analyse(frames_of(Plan(seeds=1)))) == ""


def test_a_mean_that_extremes_have_made_is_a_caution(results: Results) -> None:
    item = results.comparisons[0]
    one = item.difference("control:linear_probe")
    assert one.evidence.standing == "better"
    assert one.evidence.iqm is not None
    assert not [found for found in evidence_findings(results) if found.kind == "caution"]
    other = replace(one, evidence=replace(one.evidence, iqm=replace(one.evidence.iqm, estimate=-0.02)))
    changed = tuple(other if found is one else found for found in item.differences)
    (caution,) = [
        found
        for found in evidence_findings(replace(results, comparisons=(replace(item, differences=changed),)))
        if found.kind == "caution"
    ]
    assert "has the other sign beside the linear probe (−0.020)" in caution.text


def test_the_table_has_the_evidence_and_says_what_its_columns_are(results: Results) -> None:
    for table, item in zip(controls_tables(results), results.comparisons, strict=True):
        assert table.columns[-6:] == ("winner − control", "p (Holm)", "the winner is", "detectable", "effect", "IQM")
        rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
        assert {rows["Searched structures"][name] for name in table.columns[-6:]} == {""}
        for arm in item.controls:
            one, row = item.difference(arm.role).evidence, rows[role_label(arm.role)]
            assert one.iqm is not None
            assert row["the winner is"] == one.standing
            assert row["detectable"] == f"{one.detectable.estimate:.3f}"
            assert row["effect"] == f"{one.effect.estimate:+.2f}".replace("-", "−")
            assert row["IQM"] == f"{one.iqm.estimate:+.3f}".replace("-", "−")
        for words in ("Non-inferior: lower end of the 95 % interval above −0.005", "Effect: d_z", "80 % power",
                      "IQM: difference of interquartile means"):  # fmt: skip
            assert words in table.note


def test_evidence_in_the_file_is_numbers(results: Results) -> None:
    item = results.comparisons[0]
    rows = list(csv.DictReader(io.StringIO(csv_of_table(controls_tables(results)[0]))))
    for arm, row in zip(item.controls, rows[1:], strict=True):
        one = item.difference(arm.role).evidence
        assert one.iqm is not None
        assert float(row["detectable"]) == pytest.approx(one.detectable.estimate, abs=5e-4)
        assert float(row["effect"]) == pytest.approx(one.effect.estimate, abs=5e-3)
        assert float(row["IQM"]) == pytest.approx(one.iqm.estimate, abs=5e-4)


def test_without_intervals_there_is_a_dash(frames_of: Callable[[Plan], StudyFrames]) -> None:
    (row,) = [row for row in controls_tables(analyse(frames_of(Plan(seeds=1))))[0].rows if row[0] == "LoRA"]
    assert row[-4:-1] == ("no interval", "–", "–")


def test_a_loss_that_is_excluded_is_said_where_the_difference_does_not_say_it(results: Results) -> None:
    item = results.comparisons[0]
    one = item.difference("control:lora")

    def said(*, excluded: bool) -> str:
        """What the first sentence on controls has in brackets after LoRA."""
        answer = replace(one.evidence.non_inferiority, holds=excluded)
        other = replace(one, evidence=replace(one.evidence, non_inferiority=answer))
        assert other.evidence.standing == ("non-inferior" if excluded else "not told apart")
        changed = tuple(other if found is one else found for found in item.differences)
        all_of_it = findings(replace(results, comparisons=(replace(item, differences=changed),)))
        text = next(found.text for found in all_of_it if found.topic == "Controls")
        return text.split("not told apart from LoRA (")[1].split(")")[0]

    assert said(excluded=True).endswith("; not worse by 0.005 or more")
    assert "not worse by" not in said(excluded=False)
