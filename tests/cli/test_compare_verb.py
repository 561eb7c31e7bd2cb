"""`slasearch compare` on stored studies: tables, JSON, options and refusals."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from synthetic import TASKS, Plan, add_predictions, write_study

from slasearch.analysis.evidence import MARGIN
from slasearch.cli.compare import compare
from slasearch.storage.engine import make_engine
from slasearch.storage.models import SlaStudy, SlaTrial

Command = Callable[..., Any]
COLUMNS = ["arm", "n", "score", "parameters", "s a run", "arm − first", "p (Holm)", "the arm is", "detectable"]


def digests(url: str) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.update(SlaStudy).values(data=json.dumps(dict.fromkeys(TASKS, "same"))))
    engine.dispose()


def move(source: str, target: str) -> None:
    """Copies everything from one database into another, under ids of its own."""
    engines = make_engine(source), make_engine(target)
    for table in ("sla_study", "sla_trial", "sla_metric", "sla_gate", "sla_cost", "sla_event"):
        rows = pd.read_sql_table(table, engines[0])
        for key in {"id", "study_id", "trial_id", "retry_of", "pair_of"} & set(rows):
            rows[key] += 100_000
        rows.to_sql(table, engines[1], if_exists="append", index=False)
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with two studies of the same data."""
    folder = tmp_path_factory.mktemp("compare")
    places = [f"sqlite:///{folder / name}.db" for name in ("old", "new")]
    write_study(places[0], "old", Plan(seeds=6))
    write_study(places[1], "new", Plan(seeds=6, seed=1, lora=0.03))
    move(places[1], places[0])
    digests(places[0])
    return places[0]


def words(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_one_study_shows_each_winner_beside_its_controls(url: str, command: Command) -> None:
    answer = command("compare", "old", "--storage", url)
    assert answer.code == 0, answer.err
    titles = [line for line in answer.out.splitlines() if line.startswith("old, trial")]
    assert [title.rpartition(" (")[2] for title in titles] == [
        "best by score)", "best by size)", "best by robustness)",
    ]  # fmt: skip
    first = answer.out.split("\n\n")[0].splitlines()
    assert words(first[1]) == [
        "arm", "n", "score", "parameters", "s a run", "winner − arm", "p (Holm)", "the winner is", "detectable",
    ]  # fmt: skip
    assert [words(line)[0] for line in first[2:]] == ["Searched structures", "LoRA", "Random structure", "Linear probe"]
    assert len(words(first[2])) == 5
    probe = words(first[5])
    assert (probe[1], probe[3]) == ("6", "0")
    assert float(probe[4]) > 0
    assert probe[5].startswith("+0.0")
    assert "±" in probe[5]
    assert probe[7] == "better"
    assert 0 < float(probe[8]) < 0.05
    assert "test split; paired by seed pair over 6 repeats" in answer.err
    assert "Holm's adjustment" in answer.err
    assert "signed-rank tests, p (Holm): " in answer.err
    assert "non-inferior: lower end of the 95 % interval above −0.005" in answer.err
    assert answer.err.count("not told apart: none of these, which does not show that both are equally good") == 1
    assert re.fullmatch(r"\d+\u202f\d{3}", words(first[2])[3]), "counts as in the report"


def test_json_holds_every_number(url: str, command: Command) -> None:
    answer = command("compare", "old", "--json", "--margin", "0.01", "--storage", url)
    found = json.loads(answer.out)
    assert (answer.code, answer.err, found["margin"], len(found["tables"])) == (0, "", 0.01, 3)
    table = found["tables"][0]
    assert [arm["role"] for arm in table["arms"]] == [
        "winner", "control:lora", "control:random", "control:linear_probe",
    ]  # fmt: skip
    assert set(table["arms"][0]["scores"]) == {"mean", *TASKS}
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        mine = "t.phase = 'confirm' and t.role = ? and s.name = 'old'"
        times = f"select avg(ended_at - started_at) from sla_trial t join sla_study s on s.id = study_id where {mine}"
        (mean,) = database.execute(times, ("control:linear_probe",)).fetchone()
    assert table["arms"][3]["seconds"]["mean"] == pytest.approx(mean)
    assert len(table["differences"]) == 3 * (1 + len(TASKS))
    one = table["differences"][0]
    assert (one["arm"], one["series"], len(one["pairs"])) == ("LoRA", "mean", 6)
    assert one["difference"]["estimate"] == pytest.approx(sum(one["pairs"]) / 6)
    assert one["non_inferiority"]["margin"] == 0.01
    for name in ("difference", "non_inferiority", "signed_rank", "effect", "improvement", "detectable", "iqm"):
        assert {"estimate", "low", "high", "n", "method", "warnings"} <= set(one[name]), name
    assert one["p_holm"] >= one["difference"]["p"]


def test_the_winners_of_two_studies(url: str, command: Command) -> None:
    answer = command("compare", "old", "new", "--storage", url)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("beside old: Searched structures (trial ")
    assert words(lines[1]) == COLUMNS
    assert [words(line)[0].partition(" (")[0] for line in lines[2:]] == [
        "old: Searched structures",
        "new: Searched structures",
    ]
    assert "test split; paired by seeds, 95 % t-interval" in answer.err
    assert "old confirmed 3 trials" in answer.err


def test_a_role_of_two_studies_and_a_reference_for_all(url: str, command: Command) -> None:
    role = command("compare", "old", "new", "--role", "lora", "--storage", url)
    assert [words(line)[0] for line in role.out.splitlines()[2:]] == ["old: LoRA", "new: LoRA"]
    assert words(role.out.splitlines()[3])[7] == "better"
    against = command("compare", "old", "new", "--against", "new:lora", "--storage", url)
    lines = against.out.splitlines()
    assert len(lines) == 2 + 8
    assert words(lines[2])[0] == "new: LoRA"
    assert {words(line)[7] for line in lines[3:]} == {"worse"}


def test_a_condition_a_metric_and_a_trial(url: str, command: Command) -> None:
    noisy = command("compare", "old", "--condition", "typos:0.2", "--metric", "mcc", "--json", "--storage", url)
    table = json.loads(noisy.out)["tables"][0]
    assert (table["condition"], table["level"], table["metric"]) == ("typos", 0.2, "mcc")
    assert set(table["arms"][0]["scores"]) == {"mean", "spam"}
    number = json.loads(noisy.out)["tables"][1]["arms"][0]["trial"]
    one = command("compare", f"old@{number}", "--storage", url)
    assert one.out.startswith(f"old, trial {number} (best by size)")
    assert "\n\n" not in one.out
    two = command("compare", f"old@{number}", "old", "--storage", url)
    assert f"old@{number}: Searched structures (trial {number})" in two.out


def test_studies_of_two_databases(url: str, command: Command, tmp_path: Path) -> None:
    second = f"sqlite:///{tmp_path / 'second.db'}"
    write_study(second, "old", Plan(seeds=6, seed=2))
    digests(second)
    engine = make_engine(second)
    with engine.begin() as connection:
        connection.execute(sa.update(SlaTrial).values(init_seed=SlaTrial.init_seed + 500))
    engine.dispose()
    answer = command("compare", "old", "old", "--storage", url, "--storage", second)
    assert answer.code == 0, answer.err
    assert [words(line)[0].partition(":")[0] for line in answer.out.splitlines()[2:]] == ["old", "old#2"]
    assert "Welch's 95 % t-interval" in answer.err
    assert "so runs are not paired" in answer.err
    assert "expected pairs of seeds" in answer.err


def test_studies_of_different_tasks_are_averaged(command: Command, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'pooled.db'}"
    second = f"sqlite:///{tmp_path / 'second.db'}"
    write_study(url, "one", Plan(seeds=6))
    write_study(second, "two", Plan(seeds=6, seed=1, lora=0.03))
    for place in (url, second):
        add_predictions(place)
    move(second, url)
    answer = command("compare", "one", "two", "--pooled", "--storage", url)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == "Searched structures, mean over one, two"
    assert words(lines[1]) == [
        "arm", "pairs", "difference", "p (Holm)", "Searched structures is", "detectable", "one", "two",
    ]  # fmt: skip
    assert [words(line)[0] for line in lines[2:]] == ["LoRA", "Random structure", "Linear probe"]
    assert words(lines[4])[1] == "12"
    assert words(lines[4])[4] == "better"
    assert (
        "test split; 95 % t-interval, its error by a bootstrap over seed pairs and test examples, each of 2"
        in answer.err
    )
    found = json.loads(command("compare", "one", "two", "--pooled", "--json", "--storage", url).out)["tables"][0]
    first = found["differences"][0]
    assert (found["studies"], first["role"]) == (["one", "two"], "control:lora")
    assert first["difference"]["estimate"] == pytest.approx(
        sum(source["difference"]["estimate"] for source in first["sources"]) / 2
    )
    alone = command("compare", "one", "--pooled", "--role", "lora", "--storage", url)
    assert alone.out.startswith("LoRA, mean over one\n")
    assert words(alone.out.splitlines()[1])[-1] == "detectable"


def test_arms_by_their_size_as_a_table_and_a_picture(url: str, command: Command, tmp_path: Path) -> None:
    answer = command("compare", "old", "new", "--by-size", "--storage", url)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert words(lines[1]) == ["tasks", "arm", "parameters", "n", "score", "study"]
    end = lines.index("")
    assert end == 2 + 8
    assert lines[end + 1] == "trade-off of score and size"
    assert words(lines[end + 2]) == ["tasks", "arm", "covered", "winner − arm"]
    assert words(lines[end + 3])[-1].startswith("0."), "the winner is compared with nothing"
    assert all(" ± " in line for line in lines[end + 4 :])
    assert len(lines[end + 4 :]) == 2
    assert [words(line)[-1] for line in lines[:end] if "LoRA" in line] in (["old", "new"], ["new", "old"])
    found = json.loads(command("compare", "old", "new", "--by-size", "--json", "--storage", url).out)["tables"][0]
    beside = json.loads(command("compare", "old", "--json", "--storage", url).out)["tables"][0]["arms"]
    alone = {arm["role"]: arm for arm in found["arms"] if arm["study"] == "old"}
    for arm in beside:
        assert alone[arm["role"]]["score"] == arm["scores"]["mean"]
        assert alone[arm["role"]]["exported_parameters"] == arm["exported_parameters"]
    for name, start in (("sizes.svg", b"<?xml"), ("deeper/sizes.png", b"\x89PNG"), ("sizes.pdf", b"%PDF")):
        drawn = command("compare", "old", "new", "--by-size", "--figure", str(tmp_path / name), "--storage", url)
        assert (drawn.code, drawn.out) == (0, answer.out)
        assert f"Drawn: {tmp_path / name}" in drawn.err
        assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("old", "--by-size", "--pooled"), 2, "--by-size without --against, --role, --pooled and --margin"),
        (("old", "--by-size", "--margin", "0.01"), 2, "--by-size without --against, --role, --pooled and --margin"),
        (("old", "--figure", "sizes.svg"), 2, "expected --by-size with --figure"),
        (("old", "--by-size", "--figure", "sizes.jpg"), 2, "expected a file .png, .svg, .pdf, got sizes.jpg"),
        (("old", "--by-size", "--figure", "/dev/null/sizes.svg"), 4, "expected to write here"),
        (("old", "--role", "lora", "--against", "old:lora"), 2, "at most one of --against and --role"),
        (("old", "--pooled", "--against", "old:lora"), 2, "at most one of --against and --pooled"),
        (("old", "--pooled"), 1, "each test example of tweets, got none: it ran before these were kept"),
        (("old", "new", "--pooled"), 1, "expected data of its own in each, so that no test example counts twice"),
        (("old", "old"), 2, "got one of them twice"),
        (("old@x",), 2, "expected NAME or NAME@TRIAL"),
        (("old", "--against", "lora"), 2, "expected NAME:ROLE"),
        (("old", "--condition", "typos"), 2, "expected KIND:LEVEL"),
        (("old", "--margin", "0"), 2, "not in the range"),
        (("old", "--margin", "nan"), 2, "expected a loss of score, such as 0.005, got nan"),
        (("old", "--margin", "inf"), 2, "expected a loss of score, such as 0.005, got inf"),
        (("older",), 2, "study: expected one that is in the database (old, new), got 'older'"),
        ((), 2, "Missing argument"),
        (("old", "--condition", "typos:0.3"), 1, "expected a condition that it measures"),
        (("old@4711",), 1, "expected a trial that old has confirmed"),
        (("old", "new", "--role", "bitfit"), 1, "expected a role with complete runs in old"),
        (("old", "new", "--against", "newer:lora"), 1, "expected one of the studies old, new"),
    ],
)
def test_refusals_end_with_their_code_and_without_a_traceback(
    url: str, command: Command, arguments: tuple[str, ...], code: int, text: str
) -> None:
    answer = command("compare", *arguments, "--storage", url)
    assert (answer.code, answer.out) == (code, "")
    assert text in answer.err
    assert "Traceback" not in answer.err


def test_as_many_databases_as_studies_or_one(url: str, command: Command) -> None:
    answer = command("compare", "old", "new", "old", "--storage", url, "--storage", url)
    assert answer.code == 2
    assert "expected --storage once or 3 times, got it 2 times" in answer.err


def test_studies_of_other_data_are_refused(url: str, command: Command, tmp_path: Path) -> None:
    second = f"sqlite:///{tmp_path / 'second.db'}"
    write_study(second, "other", Plan(seeds=6))
    answer = command("compare", "old", "other", "--storage", url, "--storage", second)
    assert answer.code == 1
    assert "got no digest of the data of other" in answer.err


def test_the_default_margin_is_that_of_the_analysis() -> None:
    (margin,) = [parameter for parameter in compare.params if parameter.name == "margin"]
    assert margin.default == MARGIN


def test_its_help_loads_nothing_heavy() -> None:
    check = (
        "import sys\nfrom slasearch.cli.main import _run\nassert _run(['compare', '--help']) == 0\n"
        "heavy = {'torch', 'ray', 'pandas', 'numpy', 'scipy', 'optuna'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
