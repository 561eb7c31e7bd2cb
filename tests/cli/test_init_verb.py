"""`slasearch init`: a study file for somebody's own data, which the other verbs take as it is."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from slasearch.config.load import open_study
from slasearch.config.schema import StudyConfig


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: Path, columns: Sequence[str], row: Callable[[int], Sequence[object]], rows: int = 120) -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(row(number) for number in range(rows))
    return path


def words(number: int, count: int = 20) -> str:
    return " ".join(f"word{number}x{place}" for place in range(count))


def tickets(path: Path) -> Path:
    """Four classes in equal parts, beside an id and a date."""
    return table(path, ["id", "Team", "when", "body"], lambda n: (n, f"team {n % 4}", "today", words(n)))


def written(command: Any, *arguments: str) -> StudyConfig:
    """The study that `init` writes, once `validate` and `run --dry-run` have taken it."""
    made = command("init", *arguments)
    assert (made.code, made.out) == (0, ""), made.err
    file = Path(arguments[0])
    assert f"slasearch run {shlex.quote(str(file))}\n" in made.err
    assert command("validate", str(file)).out == f"{file}: ok\n"
    plan = command("run", str(file), "--dry-run")
    assert (plan.code, "size_control.sparsity_weight" in plan.out) == (0, True), plan.err
    return open_study(file).config


def test_a_table_becomes_a_task_with_its_own_columns_and_lengths(command: Any) -> None:
    tickets(Path("data/tickets.csv"))
    study = written(command, "mine.yaml", "--task", "tickets=data/tickets.csv")
    (task,) = study.tasks
    assert (study.name, task.name, task.source) == ("mine", "tickets", "file:data/tickets.csv")
    assert (task.text, task.text_pair, task.label) == ("body", None, "Team")
    assert (task.metric, task.max_tokens) == ("accuracy", 56)
    assert (study.training.epochs, study.training.batch_size, study.gates.learning_rate) == (12, 16, 0.4)
    text = Path("mine.yaml").read_text()
    assert "# 4 classes: team 0 30, team 1 30, team 2 30, team 3 30" in text
    assert "# All are used (train 84, validation 18, test 18)" in text


def test_rare_classes_are_scored_by_the_mean_of_their_f1(command: Any) -> None:
    table(Path("spam.csv"), ["message", "label"], lambda n: (words(n, 4), "spam" if n % 8 == 0 else "ham"))
    (task,) = written(command, "spam.yaml", "--task", "spam=spam.csv").tasks
    assert (task.text, task.label, task.metric, task.max_tokens) == ("message", "label", "macro_f1", 16)


def test_columns_are_judged_by_all_rows(command: Any) -> None:
    """In a table that is sorted by class the first thousand rows are all alike."""
    columns = ["text", "rating", "label"]
    table(Path("sorted.csv"), columns, lambda n: (words(n, 4), n % 5, "neg" if n < 1200 else "pos"), rows=2400)
    (task,) = written(command, "sorted.yaml", "--task", "sorted=sorted.csv").tasks
    assert (task.text, task.label) == ("text", "label")


def test_several_tasks_share_the_pool_and_large_tables_are_limited(command: Any) -> None:
    tickets(Path("tickets.csv"))
    rows = [json.dumps({"premise": words(n, 3), "hypothesis": words(n, 2), "entails": n % 3 == 0}) for n in range(2000)]
    Path("pairs.jsonl").write_text("\n".join(rows))
    study = written(command, "both.yaml", "--task", "tickets=tickets.csv", "--task", "pairs=pairs.jsonl")
    pairs = study.tasks[1]
    assert (pairs.text, pairs.text_pair, pairs.label) == ("premise", "hypothesis", "entails")
    assert (pairs.limits.train, pairs.limits.validation, pairs.limits.test) == (1000, None, None)
    assert (study.training.epochs, study.training.batch_size, study.gates.learning_rate) == (3, 32, 0.05)
    assert study.phases.confirm is not None
    assert "shared" in study.phases.confirm.controls


def test_sensitivity_of_a_folder_of_splits_on_a_model_of_ones_own(command: Any) -> None:
    from slasearch.testing.tiny import save_tiny

    save_tiny("bert", Path("model"))
    for split, rows in (("train", 60), ("validation", 20), ("test", 20)):
        table(Path("data") / f"{split}.csv", ["text", "y"], lambda n, s=split: (f"{s} {words(n)}", n % 2), rows)  # type: ignore[misc]
    study = written(command, "s.yaml", "--task", "own=data", "--backbone", "model", "--goal", "sensitivity")
    assert study.backbone.id == "path:model"
    assert study.phases.design is not None
    assert "# All are used (train 60, validation 20, test 20)" in Path("s.yaml").read_text()


def test_without_a_task_a_bundled_one_shows_where_to_put_it(command: Any) -> None:
    assert written(command, "study.yaml").tasks[0].source == "bundled:tweet_sentiment"
    assert "put your own here" in Path("study.yaml").read_text()


def test_a_file_is_overwritten_only_by_force(command: Any) -> None:
    file = Path("mine.yaml")
    file.write_text("precious")
    refused = command("init", "mine.yaml")
    assert (refused.code, file.read_text()) == (2, "precious")
    assert "--force" in refused.err
    assert command("init", "mine.yaml", "--force").code == 0
    assert file.read_text() != "precious"


def test_names_that_look_like_numbers_stay_names(command: Any) -> None:
    """YAML 1.1, in which such names are written, has `1e3` as text."""
    table(Path("1e3.csv"), ["1e-3", "2.5e3"], lambda n: (words(n), f"team {n % 4}"))
    study = written(command, "1e5.yaml", "--task", "1e3=1e3.csv")
    (task,) = study.tasks
    assert (study.name, task.name, task.text, task.label) == ("1e5", "1e3", "1e-3", "2.5e3")


def test_strange_names_stay_data(command: Any) -> None:
    names = ["a: b # {c}", "two\nseed: 99", "née 'x'"]
    table(Path("it's: odd.csv"), ["text: \n#", "label"], lambda n: (words(n), names[n % 3]))
    study = written(command, "odd name!.yaml", "--task", "odd=it's: odd.csv")
    assert (study.name, study.seed, study.tasks[0].source) == ("odd-name", 0, "file:it's: odd.csv")
    assert study.tasks[0].text == "text: \n#"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "tickets"], "--task: expected NAME=PATH"),
        (["--task", "t=nowhere.csv"], "nowhere.csv: expected a file or a folder, got nothing there"),
        (["--task", "t=numbers.csv"], "numbers.csv: expected a column of classes"),
        (["--task", "t=semicolons.csv"], "got the columns text;label. Separate the columns of a .csv by commas."),
        (["--task", "t=few.csv"], "expected examples for every split"),
        (["--task", "Tickets=tickets.csv"], "tasks.0.name"),
        (["--backbone", "hub:org/model"], "--backbone: expected 'hub:org/model@REVISION'"),
        (["--backbone", "org/model"], "--backbone: expected 'hub:org/model@REVISION'"),
        (["--backbone", "nothing"], "--backbone: expected a folder with a saved model"),
        (["--backbone", "path:nothing"], "backbone.id"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(command: Any, arguments: list[str], said: str) -> None:
    tickets(Path("tickets.csv"))
    table(Path("numbers.csv"), ["text", "price"], lambda n: (words(n), n))
    Path("semicolons.csv").write_text("text;label\n" + "".join(f"{words(n)};{n % 2}\n" for n in range(120)))
    table(Path("few.csv"), ["text", "label"], lambda n: (words(n), n % 2), rows=2)
    answer = command("init", "mine.yaml", *arguments)
    assert (answer.code, said in answer.err) == (2, True), answer.err
    assert not Path("mine.yaml").exists()
