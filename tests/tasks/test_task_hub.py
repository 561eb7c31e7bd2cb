"""Data sets of the hub: every layout, names of classes, hidden labels, the cache, downloads, and what can be wrong."""

import logging
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_layout import COMMIT, add_repository, hub_server, json_lines, parquet

from slasearch.config.load import plain_study
from slasearch.errors import TaskError
from slasearch.records import SplitLimits, TaskSpec
from slasearch.registry import SOURCES
from slasearch.tasks.columns import column_problems
from slasearch.tasks.load import load_task
from slasearch.testing.sources import SOURCE_CHECKS

NAMES = ("negative", "positive")
GLUE_CARD = """---
license: other
configs:
- config_name: rte
  data_files:
  - split: train
    path: rte/train-*
  - split: validation
    path: rte/validation-*
  - split: test
    path: rte/test-*
- config_name: sst2
  data_files:
  - {split: train, path: sst2/train-*}
dataset_info:
- config_name: rte
  features:
  - name: sentence
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '1': positive
          '0': negative
---
# A card
"""


def rows(count, start=0):
    return [{"sentence": f"Sentence {n} is it.", "label": n % 2, "idx": n} for n in range(start, start + count)]


def hidden(count, start=0):
    return [{**row, "label": -1} for row in rows(count, start)]


GLUE = {
    "README.md": GLUE_CARD.encode(),
    "rte/train-00000-of-00002.parquet": parquet(rows(150)),
    "rte/train-00001-of-00002.parquet": parquet(rows(150, start=150)),
    "rte/validation-00000-of-00001.parquet": parquet(rows(60, start=300)),
    "rte/test-00000-of-00001.parquet": parquet(hidden(40, start=400)),
    "loader.py": b"raise SystemExit('never run')",
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.fixture
def hub(cache):
    """Puts files into the cache as the data set org/set."""
    return lambda files, **options: add_repository(cache, "org/set", files, **options)


def task(config="", *, revision=COMMIT, text="sentence", **options):
    return TaskSpec("task", f"hub:org/set{config}@{revision}", text=text, **options)


def sizes(data):
    return {split: len(examples) for split, examples in data.splits.items()}


def labels_by_text(data):
    return {e.text: data.labels[e.label] for split in data.splits.values() for e in split}


# ---------------------------------------------------------------- contract and layouts


@pytest.mark.parametrize("check", SOURCE_CHECKS, ids=lambda check: check.__name__)
def test_contract(check, hub):
    hub(GLUE)
    check(task("/rte", splits=(("test", "validation"),)))


def test_glue_is_tested_on_its_validation_and_its_validation_comes_off_train(hub):
    hub(GLUE)
    data = load_task(task("/rte", splits=(("test", "validation"),)))
    assert sizes(data) == {"train": 255, "gate": 0, "validation": 45, "test": 60}
    assert data.labels == NAMES
    assert {e.text for e in data.splits["test"]} == {row["sentence"] for row in rows(60, start=300)}
    assert {labels_by_text(data)[row["sentence"]] == NAMES[row["label"]] for row in rows(300)} == {True}


LAYOUTS = {
    "data folder": ("", {"data/train-00000-of-00001.parquet": parquet, "data/test-00000-of-00001.parquet": parquet}),
    "configuration folder": ("/c", {"c/train-00000-of-00001.parquet": parquet, "c/test.jsonl": json_lines}),
    "configuration below data": ("/c", {"data/c/train.jsonl": json_lines, "data/c/test.jsonl": json_lines}),
    "root": ("", {"train.jsonl": json_lines, "test.jsonl": json_lines, "other.txt": json_lines}),
    "converted by the hub": ("/c", {"c/train/0000.parquet": parquet, "c/test/0000.parquet": parquet}),
    "converted, no name": ("", {"default/train/0000.parquet": parquet, "default/test/0000.parquet": parquet}),
    "two formats": ("", {"train.csv": lambda _: b"broken", "train.parquet": parquet, "test.parquet": parquet}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_are_found_by_their_names(layout, hub):
    config, files = LAYOUTS[layout]
    content = {"train": rows(80), "test": rows(20, start=80)}
    hub({name: make(content["train" if "train" in name else "test"]) for name, make in files.items()})
    data = load_task(task(config))
    assert sizes(data) == {"train": 68, "gate": 0, "validation": 12, "test": 20}
    assert data.labels == ("0", "1")


FORMS = {
    "one file": "data_files: all.jsonl",
    "list of files": "data_files: [all.jsonl]",
    "mapping": "data_files: {train: all.jsonl}",
    "list of paths": "data_files: [{split: train, path: [all.jsonl]}]",
    "glob": "data_files: [{split: train, path: 'a*.jsonl'}]",
    "deep glob": "data_files: [{split: train, path: '**/all.jsonl'}]",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_files_in_a_readme(form, hub):
    card = f"---\nconfigs:\n- config_name: only\n  {FORMS[form]}\n---\n"
    hub({"README.md": card.encode(), "all.jsonl": json_lines(rows(100)), "train.jsonl": b"not this one"})
    assert sizes(load_task(task())) == {"train": 70, "gate": 0, "validation": 15, "test": 15}


def test_a_readme_may_name_a_folder_alone(hub):
    card = b"---\nconfigs: [{config_name: a, data_dir: first}, {config_name: b, data_dir: second}]\n---\n"
    hub({"README.md": card, "second/train.jsonl": json_lines(rows(100)), "first/train.jsonl": b"not this one"})
    assert sum(sizes(load_task(task("/b"))).values()) == 100


def test_the_default_configuration_is_taken_where_none_is_named(hub):
    card = "---\nconfigs:\n- {config_name: a, data_files: a.jsonl}\n- {config_name: b, data_files: b.jsonl%s}\n---\n"
    files = {"a.jsonl": b"not this one", "b.jsonl": json_lines(rows(100))}
    hub({**files, "README.md": (card % ", default: true").encode()})
    assert sum(sizes(load_task(task())).values()) == 100


def test_a_configuration_must_be_named_where_there_are_several(hub):
    hub(GLUE)
    with pytest.raises(TaskError, match=r"expected one of the configurations rte, sst2, got none\. Write hub:ORG/NAME"):
        load_task(task())
    with pytest.raises(TaskError, match=r"hub:org/set/wnli@0123.*: expected one of .* rte, sst2, got 'wnli'"):
        load_task(task("/wnli"))


# ---------------------------------------------------------------- classes


def test_names_of_classes_stored_in_a_parquet_file_are_used(hub):
    hub({"train.parquet": parquet(rows(100), names={"label": NAMES})})
    assert labels_by_text(load_task(task()))["Sentence 1 is it."] == "positive"


def test_a_study_file_is_told_what_the_cache_knows_of_a_data_set(hub):
    def told(source, **columns):
        study = {
            "name": "s",
            "tasks": [{"name": "t", "source": source, **columns}],
            "size_control": {"mode": "penalty"},
            "training": {"steps": 3},
            "phases": {"optimise": {"trials": 1}},
        }
        return list(column_problems(plain_study(study, "s").config))

    assert told(f"hub:org/set@{COMMIT}") == [], "the cache knows nothing"
    hub(GLUE)
    ((path, expected, got),) = told(f"hub:org/set@{COMMIT}")
    assert (path, expected) == (("tasks", 0, "source"), "data that can be read")
    assert "expected one of the configurations rte, sst2, got none. Write hub:ORG/NAME/CONFIG@" in got
    source = f"hub:org/set/rte@{COMMIT}"
    assert told(source, text="sentence") == []
    assert {(path, expected, got) for path, expected, got in told(source, text="sentense")} == {
        (
            ("tasks", 0, "text"),
            f"one of the columns of {source} ({split}) (sentence, label, idx)",
            "'sentense'; did you mean 'sentence'?",
        )
        for split in ("train", "validation", "test")
    }
    assert told(f"hub:org/set/sst2@{COMMIT}", text="sentense") == [], "its tables are not in the cache"


def test_a_list_of_names_in_a_readme_without_configurations_is_used(hub):
    card = b"---\ndataset_info:\n  features: [{name: label, dtype: {class_label: {names: [1, 2]}}}]\n---\n"
    hub({"README.md": card, "train.parquet": parquet(rows(100))})
    assert labels_by_text(load_task(task()))["Sentence 1 is it."] == "2", "numbers are places, not names"


def test_labels_that_are_names_already_or_booleans_stay(hub):
    content = [{"sentence": f"t {n}", "label": NAMES[n % 2], "answer": n % 2 == 0} for n in range(100)]
    hub({"train.parquet": parquet(content, names={"label": NAMES})})
    assert load_task(task()).labels == NAMES
    assert load_task(task(label="answer")).labels == ("false", "true")


def test_a_number_without_a_name_is_refused(hub):
    hub({"train.parquet": parquet([*rows(100), {"sentence": "x", "label": 7, "idx": 0}], names={"label": NAMES})})
    with pytest.raises(TaskError, match=r"\.parquet:101: expected one of the 2 classes negative, positive, got '7'"):
        load_task(task())


@pytest.mark.parametrize("mark", [-1, None, "-1", -1.0])
def test_hidden_labels_are_refused_in_a_split_that_is_used(mark, hub):
    unlabelled = [{**row, "label": mark} for row in rows(40, start=200)]
    hub({"train.jsonl": json_lines(rows(100)), "test.jsonl": json_lines([*unlabelled, *rows(2, start=300)])})
    message = r"set@.*: expected labels in the split 'test', got 40 rows of 42 with a hidden one .*\{test: validation"
    with pytest.raises(TaskError, match=message):
        load_task(task())


def test_the_few_rows_that_nobody_labelled_are_left_out_and_counted(hub, caplog):
    hub({"train.parquet": parquet([*rows(100), *hidden(3, start=100)], names={"label": NAMES})})
    with caplog.at_level(logging.WARNING):
        assert sum(sizes(load_task(task())).values()) == 100
    assert "3 of 103 rows of the split train have no label and are left out" in caplog.text


def test_minus_one_is_a_class_where_train_has_it(hub, caplog):
    three = [{**row, "label": n % 3 - 1} for n, row in enumerate(rows(90))]
    hub({"train.jsonl": json_lines(three[:60]), "test.jsonl": json_lines(three[60:])})
    with caplog.at_level(logging.WARNING):
        data = load_task(task())
    assert (data.labels, sizes(data)["test"]) == (("-1", "0", "1"), 30)
    assert "-1 is taken for a class" in caplog.text


# ---------------------------------------------------------------- rows


def test_rows_without_text_are_left_out_and_counted(hub, caplog):
    empty = [{"sentence": text, "label": 0, "idx": 0} for text in ("", "  ", None)]
    hub({"train.parquet": parquet([*rows(100), *empty])})
    with caplog.at_level(logging.WARNING):
        assert sum(sizes(load_task(task())).values()) == 100
    assert f"hub:org/set@{COMMIT}: 3 of 103 rows of the split train have no text and are left out" in caplog.text


def test_pairs_and_limits(hub):
    pairs = [{"question": f"is {n} it", "passage": f"It is {n}.", "answer": n % 2 == 0} for n in range(200)]
    hub({"data/train-00000-of-00001.parquet": parquet(pairs)})
    options = {"text": "question", "text_pair": "passage", "label": "answer"}
    data = load_task(task(limits=SplitLimits(train=50, gate=10, validation=10, test=10), **options))
    assert sizes(data) == {"train": 40, "gate": 10, "validation": 10, "test": 10}
    assert all(example.text_pair == f"It is {example.text.split()[1]}." for example in data.splits["train"])


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"train.parquet": b"PAR1 but no more"}, {}, r"train\.parquet: expected a Parquet file, got Arrow"),
        ({"train.parquet": parquet(rows(50))}, {"text": "text"}, r":1: expected a column 'text', got the columns sent"),
        ({"train.parquet": parquet(rows(50))}, {"label": "class"}, r":1: expected a column 'class', got the columns"),
        ({"train.jsonl": b""}, {}, r"expected at least one row in the split 'train', got none"),
        ({"test.jsonl": json_lines(rows(9))}, {}, r"a split 'train' for train in data/ or .* or the root, got test\."),
        (
            {"other.txt": b""},
            {},
            r"a split 'train' for train in data/ .*, got none\. Name the source's splits",
        ),
        (
            {"train.jsonl": json_lines(rows(90))},
            {"splits": (("test", "dev"),)},
            r"expected tables of a split 'dev' for test in data/ .*, got train\.",
        ),
        (
            {**GLUE, "README.md": GLUE_CARD.replace("rte/test-*", "nowhere/test-*").encode()},
            {"config": "/rte", "splits": (("validation", "test"), ("test", "validation"))},
            r"a split 'test' for validation, got train, validation, test\.",
        ),
        (
            {
                "data/train-00000-of-00003.parquet": parquet(rows(50)),
                "data/train-00002-of-00003.parquet": b"",
            },
            {},
            r"expected 3 parts of the split 'train', got 2\. Download the data set again",
        ),
        (
            {"README.md": b"---\nconfigs: [{config_name: a, data_files: all.zip}]\n---\n", "all.zip": b"PK"},
            {},
            r"expected tables \(\.parquet, .*\) for the split 'train', got all\.zip\. .*refs/convert/parquet",
        ),
        ({"README.md": b"---\n{ oops\n---\n"}, {}, r"README\.md: expected YAML between the lines ---, got a flaw"),
        (
            {"README.md": b"---\nconfigs: [{config_name: a, data_files: [{split: train}]}]\n---\n"},
            {},
            r"expected paths in the README's data_files, got None",
        ),
        ({}, {"splits": (("validation", "train"),)}, r"expected a split for train too, .*Check tasks\.splits"),
        ({}, {"splits": (("validation", "dev"), ("test", "dev"))}, r"expected another split .* each, got 'dev', 'dev'"),
    ],
)
def test_errors_name_place_expected_and_got(files, options, message, hub):
    hub(files)
    with pytest.raises(TaskError, match=message):
        load_task(task(options.pop("config", ""), **options) if "config" in options else task(**options))


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    "place",
    ["set@v1", "org/set", "org/set@", "org/set/a/b@v1", "../set@v1", "org/set@../x", "org/set@a..b", "org/set@v1 ", ""],
)
def test_other_forms_of_names_are_refused(place):
    expected, got = SOURCES.get("hub").problem(place)
    assert expected.startswith("hub:ORG/NAME[/CONFIG]@REVISION with a commit hash or a tag")
    assert got == f"hub:{place}"
    with pytest.raises(TaskError, match=r"tasks\.source: expected hub:ORG/NAME\[/CONFIG\]@REVISION"):
        load_task(TaskSpec("task", f"hub:{place}"))


def test_a_branch_that_moves_is_refused():
    assert SOURCES.get("hub").problem("org/set@main") is not None
    with pytest.raises(TaskError, match="as a branch moves"):
        load_task(TaskSpec("task", "hub:org/set@main"))


@pytest.mark.parametrize("place", ["org/set@v1.0", f"org/set/c_1@{COMMIT}", "o-1/s.e_t@refs/convert/parquet"])
def test_names_are_checked_without_looking_for_the_data(place):
    assert SOURCES.get("hub").problem(place) is None


# ---------------------------------------------------------------- cache and downloads


def test_a_tag_is_looked_up_in_the_cache(hub):
    hub(GLUE, refs=["v1.0", "refs/convert/parquet"])
    assert load_task(task("/rte", revision="v1.0", splits=(("test", "validation"),))).labels == NAMES
    assert SOURCES.get("hub").download("org/set/rte@refs/convert/parquet", {}) is None


def test_what_is_not_in_the_cache_is_told_before_and_refused_offline(cache, monkeypatch):
    source = SOURCES.get("hub")
    assert source.download(f"org/set/rte@{COMMIT}", {}) == f"hub:org/set/rte@{COMMIT}"
    with pytest.raises(TaskError, match=rf"got not all its files in {cache} and no connection\. Run this once"):
        load_task(task("/rte"))
    add_repository(cache, "org/set", {"README.md": GLUE_CARD.encode()})
    assert source.download(f"org/set/rte@{COMMIT}", {}) is not None
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(cache / "home"))
    with pytest.raises(TaskError, match=rf"got not all its files in {cache / 'home' / 'hub'} and"):
        load_task(task("/rte"))


def test_a_data_set_is_downloaded_once_and_only_what_is_read(cache, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert not huggingface_hub.constants.HF_HUB_OFFLINE, "read when the package was imported, before any test began"
    spec = task("/rte", revision="v1", splits=(("test", "validation"),))
    with hub_server("org/set", GLUE, tag="v1") as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        first = load_task(spec)
        loaded = {path.rpartition("/resolve/")[2] for path in asked if path.startswith("GET") and "/resolve/" in path}
        assert {path.partition("/")[2] for path in loaded} == {
            name for name in GLUE if name == "README.md" or name.startswith(("rte/train", "rte/validation"))
        }
        pinned = task("/rte", splits=spec.splits)
        del asked[:]
        assert load_task(pinned).splits == first.splits
        assert asked == [], "a commit that is in the cache needs no network"
        with pytest.raises(TaskError, match="got no such revision"):
            load_task(task("/rte", revision="v2"))
        with pytest.raises(TaskError, match="got none of that name that you may read"):
            load_task(TaskSpec("task", f"hub:org/other@{COMMIT}", text="sentence"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert load_task(spec).splits == first.splits


def test_without_a_connection_the_cache_is_used(hub, cache, monkeypatch):
    hub(GLUE)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert load_task(task("/rte", splits=(("test", "validation"),))).labels == NAMES
    add_repository(cache, "org/bare", {"train.parquet": parquet(rows(100))})
    assert SOURCES.get("hub").download(f"org/bare@{COMMIT}", {}) is None
    assert load_task(TaskSpec("task", f"hub:org/bare@{COMMIT}", text="sentence")).labels == ("0", "1")


def test_naming_sources_loads_neither_the_hubs_package_nor_arrow():
    code = (
        "import sys; from slasearch.registry import SOURCES; SOURCES.get('hub').problem('org/set@v1');"
        "assert not {'huggingface_hub', 'pyarrow', 'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parent)
