"""Each benchmark runs at its smallest size and tells its numbers; what they share counts rightly."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from string import Template
from typing import Any

import pytest

from slasearch.config.load import parse_study
from slasearch.space import check

pytestmark = pytest.mark.timeout(400)

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a script of the folder defines."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / f"{name}.py"))


def smoke(name: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--smoke", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=360, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["benchmark"] == name
    assert {"cpu", "cores", "load", "threads", "packages"} <= found["machine"].keys()
    assert "torch" in found["machine"]["packages"]
    assert set(found["verdicts"].values()) <= {"not judged", "not measured"}
    assert min(found["foreign_cores"].values()) >= 0
    return found


def test_both_stacks_search() -> None:
    (pair,) = smoke("search_speed")["pairs"].values()
    assert pair["ratio"] == pytest.approx(pair["ours"]["trials_per_hour"] / pair["stock"]["trials_per_hour"])
    assert pair["ours"]["failed"] == pair["stock"]["failed"] == 0
    assert pair["paired_score_difference"]["n"] == pair["ours"]["score"]["n"] == pair["stock"]["score"]["n"] == 1
    assert pair["scores"] == "not told"


def test_the_stock_stacks_search_is_raced_to_its_best_and_its_trials_are_repeated() -> None:
    pairs = smoke("search_speed", "--until-best", "--modes", "third_against_full")["pairs"]
    equal, best = pairs["third_against_full / tuned"], pairs["until best / tuned"]
    assert equal["ratio"] == pytest.approx(equal["ours"]["trials_per_hour"] / equal["stock"]["trials_per_hour"])
    assert equal["paired_score_difference"]["n"] == equal["stock"]["score"]["n"] == 1
    (row,) = best["repeats"]
    assert row["score"] == equal["stock"]["score"]["mean"]
    assert row["ours_trials"] >= 1
    assert (row["ours_s"] is None) == (best["reached"] == 0)


def test_steps_are_timed_and_counted(tmp_path: Path) -> None:
    journal = tmp_path / "step.jsonl"
    compiler = shutil.which("g++")  # what torch.compile needs
    found = smoke("step", "--journal", str(journal), *(["--compile"] if compiler else []))["medians"]
    assert ("compiled_to_frozen" in found) == (compiler is not None)
    assert all(milliseconds > 0 for milliseconds in found["step_ms"].values())
    assert found["flops"]["lora"] == pytest.approx(found["floor_flops"]["total"], rel=0.01)
    assert found["flops"]["gated"] == pytest.approx(found["flops"]["peft"], rel=0.01)
    assert found["share_of_sgemm"] > 0
    pieces = [json.loads(line)["piece"] for line in journal.read_text().splitlines()]
    assert pieces == ["flops", "round 0"]


def test_a_database_is_filled_asked_and_reported_on() -> None:
    found = smoke("scale")
    (row,) = found["cells"].values()
    assert found["unfinished"] == []
    assert row["fill"]["trials"] == row["trials"]
    numbers = ("ask_ms", "alone_ms", "report_ms", "tell_ms", "trials_s", "rss_mib", "page_s")
    assert min(row[name] for name in numbers) > 0


def test_evaluation_under_conditions_is_timed() -> None:
    found = smoke("conditions")
    row = found["medians"]
    assert row["ratio"] == pytest.approx(row["conditions_s"] / row["clean_s"])
    assert row["examples"] == round(found["settings"]["share"] * found["settings"]["validation"])
    assert row["half_width"] > 0


@pytest.mark.parametrize("name", ["until_best", "until_best_unpruned"])
def test_our_study_until_the_best_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, workload = script("ours", monkeypatch)["_fields"], script("workload", monkeypatch)["Workload"]
    text = Template((BENCHMARKS / f"{name}.yaml").read_text(encoding="utf-8")).substitute(fields(workload()))
    config = parse_study(text, name)
    assert check(config) == []
    assert config.tasks[0].limits.validation == workload().validation
    assert config.backbone.pooling == workload().pooling
    assert config.training.learning_rate.log_float == tuple(workload().rate_range), "no better informed than the stack"


def test_the_study_without_a_pruner_is_the_one_that_the_documents_show_numbers_of() -> None:
    shipped = (BENCHMARKS / "until_best_unpruned.yaml").read_text(encoding="utf-8")
    results = BENCHMARKS.parent / "docs" / "results" / "speed"
    mr, clinc = (json.loads((results / f"until_best_{task}.json").read_text("utf-8")) for task in ("mr", "clinc_pairs"))
    assert shipped == mr["settings"]["study"] == clinc["settings"]["study_without_pruner"]


def test_finished_pieces_are_reused_if_they_are_of_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    journal_class = script("kit", monkeypatch)["Journal"]
    options = Namespace(json=str(tmp_path / "found.json"), journal=None, any_code=False)

    def never() -> dict[str, Any]:
        raise AssertionError("measured again")

    first = journal_class(options, {"size": 1}).piece("a", lambda: {"ms": 3.0})
    assert journal_class(options, {"size": 1}).piece("a", never) == first
    assert journal_class(options, {"size": 2}).piece("a", lambda: {"ms": 4.0})["ms"] == 4.0
    (tmp_path / "found.jsonl").write_text(
        (tmp_path / "found.jsonl").read_text().replace('"code": "', '"code": "other'), encoding="utf-8"
    )
    assert journal_class(options, {"size": 1}).piece("a", lambda: {"ms": 5.0})["ms"] == 5.0
    options.any_code = True
    assert journal_class(options, {"size": 2}).piece("a", never)["ms"] == 4.0


@pytest.mark.parametrize(("sampled", "waited"), [(6.0, 4.0), (4.0, 6.0)])
def test_what_others_take_is_what_is_left_of_the_busy_time(
    sampled: float, waited: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = script("processes", monkeypatch)["beside"]
    readings = {
        "_tree": iter([{"me": 1.0}, *[{"me": 2.0, "child": sampled - 1}] * 2]),
        "_with_waited": iter([1.0, 1.0 + waited]),
        "_busy": iter([100.0, 110.0]),
    }
    for name, values in readings.items():
        monkeypatch.setitem(beside.__globals__, name, lambda *_, values=values: next(values))
    clock = iter([0.0, 8.0])
    monkeypatch.setitem(beside.__globals__, "time", Namespace(perf_counter=lambda: next(clock)))
    assert beside(lambda: "found") == ("found", pytest.approx(0.5))


def test_a_process_that_nobody_waits_for_is_not_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    beside = script("processes", monkeypatch)["beside"]
    busy = iter([0.0, 10.0])
    monkeypatch.setitem(beside.__globals__, "_busy", lambda: next(busy))
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        began = time.perf_counter()
        _, cores = beside(lambda: time.sleep(2.5))
        taken = time.perf_counter() - began
        child.kill()
    assert 0 < cores * taken < 9.9


def test_memory_is_that_of_all_processes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = script("processes", monkeypatch)
    text = "import os, time; a = bytearray(2**26); os.fork(); b = bytearray(2**26); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, start_new_session=True) as root:
        assert root.stdout is not None
        for _ in range(2):
            root.stdout.readline()
        memory = processes["PeakMemory"](root.pid)
        memory.look()
        os.killpg(root.pid, signal.SIGKILL)
    assert 3 * 64 < memory.mib < 4 * 64, "what both made, and once what they share"
    memory.look()
    assert memory.mib > 3 * 64, "the peak stays"


def test_pieces_beside_which_others_worked_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kit = script("kit", monkeypatch)
    options = Namespace(json=str(tmp_path / "found.json"), journal=None, any_code=False)
    monkeypatch.setitem(kit["Journal"].piece.__globals__, "beside", lambda measure: (measure(), 0.5))
    for measure in (lambda: {"ms": 3.0}, pytest.fail):  # the second time from the file
        journal = kit["Journal"](options, {})
        journal.piece("round 0", measure)
        assert journal.foreign == {"round 0": 0.5}
    assert kit["disturbances"](journal.foreign) == ["DISTURBED: round 0: other processes took 0.50 cores"]
    assert kit["disturbances"]({"a": 0.0}) == ["other processes took at most 0.1 cores beside every piece"]
    (unknown,) = kit["disturbances"]({"a": 0.0, "of older code": None})
    assert unknown == "DISTURBED: of older code: not known what other processes took"


def test_processors_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu_name = script("kit", monkeypatch)["cpu_name"]
    info = tmp_path / "cpuinfo"
    monkeypatch.setitem(cpu_name.__globals__, "CPUINFO", info)
    monkeypatch.setitem(cpu_name.__globals__, "_cores", lambda: 2)

    def told(model: int, flags: str) -> str:
        core = f"cpu family\t: 25\nmodel\t\t: {model}\nmodel name\t: AMD EPYC\nstepping\t: 1\nflags\t: fpu {flags}\n\n"
        info.write_text(core * 2, encoding="utf-8")
        return str(cpu_name())

    assert told(17, "avx512f") == "AMD EPYC (cpu family 25, model 17, stepping 1, 2 cores, avx512f, no amx_tile)"
    assert len({told(1, "avx2"), told(1, "avx512f"), told(17, "avx512f"), told(17, "avx512f amx_tile")}) == 4
    info.unlink()
    assert "2 cores" in cpu_name(), "a system that does not describe its processor"


@pytest.mark.parametrize(
    ("mean", "sd", "n", "said"),
    [
        (0.002, 0.013, 24, "agree"),
        (0.002, 0.003, 24, "agree"),  # told from zero, and within the margin
        (-0.010, 0.026, 60, "differ"),
        (0.001, 0.019, 12, "not told"),
        (0.05, 0.0, 1, "not told"),
    ],
)
def test_scores_agree_only_where_the_interval_lies_within_the_margin(
    mean: float, sd: float, n: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = script("search_speed", monkeypatch)["agreement"]({"mean": mean, "sd": sd, "n": n})
    assert found["scores"] == said
    assert (found["score_interval"] is None) == (n < 2)


def test_a_repetition_that_never_gets_there_is_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    median = script("kit", monkeypatch)["median"]
    assert median([12.0, None, 8.0]) == 8.0
    assert median([12.0, None, None]) is None


def test_growth_is_linear_where_cost_doubles_with_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = script("scale", monkeypatch)["growth"]
    rows = {str(n): {"trials": n, "objectives": 1, "ask_ms": n / 10, "rss_mib": 300.0} for n in (10, 100, 200)}
    assert growth(rows) == {"1": {"ask_ms": pytest.approx(1.0), "rss_mib": 0.0}}
