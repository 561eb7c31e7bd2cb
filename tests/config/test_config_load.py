"""Reading study files: every problem at once, in our words, at its line; overrides; files that are none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slasearch.config.load import open_study, parse_study, plain_study
from slasearch.config.schema import POOL_PRESETS, Distribution, StudyConfig
from slasearch.errors import ConfigError
from slasearch.registry import CONTROLS, DESIGN_SAMPLERS, GATES


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_study(text, "s.yaml", overrides)
    return caught.value.problems


def test_a_valid_study_is_read_with_its_defaults(study: str) -> None:
    config = parse_study(study, "s.yaml")
    assert config.name == "small"
    assert config.pool.sites == ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out")
    assert isinstance(config.size_control.sparsity_weight, Distribution)
    assert config.size_control.sparsity_weight.log_float == (0.01, 10.0)


def test_a_study_survives_json(study: str) -> None:
    text = study + "pool: {preset: mixed, ranks: {categorical: [[1], [1, 4]]}}\n"
    config = parse_study(text, "s.yaml")
    assert StudyConfig.model_validate_json(config.model_dump_json()) == config


EVERYTHING_WRONG = """\
name: my study
tasks:
  - name: a
    source: bundld:sms
    limits: {train: "x", gat: 3}
  - {name: b, source: "file:", max_tokens: 2, metric: f1}
pool:
  preset: foo
  ranks: [0]
  layers: top
  sites: [attn.q, attn.q]
gates:
  family: sigmoidd
  temperature: {float: [2, 1]}
  initial_openness: 1
size_control: {mode: budget, sparsity_weight: 1e-3}
training:
  epochs: .nan
  learning_rat: 1e-3
  learning_rate: {log_float: [0, 1], categorical: [1]}
  head_learning_rate: {}
  batch_size: 1.5
conditions:
  train: [{kind: typos, level: 3}, {kind: word_dropp, level: yes}, {kind: word_drop, level: 0.1, scale: 2}]
  measured:
    - {kind: label_flips, levels: [0.1]}
    - {kind: typos, levels: [0.1, 0.1]}
phases:
  design: {sampler: {name: tpe}}
  optimise: {trials: true, sampler: {name: grid}}
  confirm: {controls: [lora, foo], seeds: 0}
objectives: [{name: score, measure: worst}, {name: score}]
limits:
extra: [1, 2]
"""
WANTED = """\
s.yaml:1: name: expected text that matches ^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$, got "my study"
s.yaml:4: tasks.0.source: expected a known task source (bundled, file, hub, object), got 'bundld'; \
did you mean 'bundled'?
s.yaml:5: tasks.0.limits.train: expected a whole number, got "x"
s.yaml:5: tasks.0.limits.gat: expected one of train, gate, validation, test, got an unknown field; did you mean 'gate'?
s.yaml:6: tasks.1.source: expected 'SOURCE:NAME', got 'file:'
s.yaml:6: tasks.1.max_tokens: expected a number of at least 4, got 2
s.yaml:6: tasks.1.metric: expected a known metric (accuracy, macro_f1, mcc), got 'f1'
s.yaml:8: pool.preset: expected a known pool preset (PRESETS), got 'foo'
s.yaml:11: pool.sites: expected different entries, got ['attn.q', 'attn.q']
s.yaml:9: pool.ranks.0: expected a number of at least 1, got 0
s.yaml:10: pool.layers: expected a list or 'all', got "top"
s.yaml:13: gates.family: expected a known gate family (GATES), got 'sigmoidd'; did you mean 'sigmoid'?
s.yaml:14: gates.temperature.float: expected [low, high] with low < high, got [2.0, 1.0]
s.yaml:15: gates.initial_openness: expected a number below 1, got 1
s.yaml:16: size_control.parameters: expected a value, got nothing
s.yaml:16: size_control.sparsity_weight: expected one of mode, parameters, scope, got an unknown field
s.yaml:18: training.epochs: expected a finite number, got NaN
s.yaml:22: training.batch_size: expected a whole number, got 1.5
s.yaml:20: training.learning_rate.log_float: expected a low end above 0, got 0
s.yaml:20: training.learning_rate.categorical: expected at least two choices, got 1; write a single one as a plain value
s.yaml:21: training.head_learning_rate: expected exactly one of float, log_float, int, categorical, got none
s.yaml:24: conditions.train.0.level: expected a share of words from 0 to 1, got 3
s.yaml:24: conditions.train.1.level: expected a number, got "yes"
s.yaml:24: conditions.train.2.scale: expected no scale for word_drop, whose level says everything, got 2
s.yaml:26: conditions.measured.0.kind: expected a condition for eval, got 'label_flips', which is for train only
s.yaml:27: conditions.measured.1.levels: expected different levels, got [0.1, 0.1]
s.yaml:29: phases.design.sampler: expected a known sampler of a design (DESIGNS), got 'tpe'
s.yaml:30: phases.optimise.trials: expected a whole number, got true
s.yaml:31: phases.confirm.controls: expected a known control (CONTROLS), got 'foo'
s.yaml:31: phases.confirm.seeds: expected a number of at least 1, got 0
s.yaml:32: objectives.0.measure: expected no measure for score (it belongs to robustness), got 'worst'
s.yaml:33: limits: expected a mapping of fields, got nothing
"""
for _word, _names in {
    "CONTROLS": CONTROLS.names(),
    "GATES": GATES.names(),
    "PRESETS": tuple(POOL_PRESETS),
    "DESIGNS": DESIGN_SAMPLERS,
}.items():
    WANTED = WANTED.replace(f"({_word})", f"({', '.join(_names)})")


def test_every_problem_is_told_at_once_with_its_line_and_without_pydantics_tags() -> None:
    found = problems(EVERYTHING_WRONG)
    for line in WANTED.splitlines():
        assert line in found
    others = [line for line in found if line not in WANTED]
    assert [line.split(": ")[1] for line in others] == [
        "training.learning_rat",
        "conditions.train.1.kind",
        "phases.optimise.sampler",
        "extra",
    ]
    assert "did you mean 'learning_rate'?" in others[0]


NO_MAPPING = "s.yaml:1: study file: expected a mapping of fields, such as `name: my-study`, got"


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ("name: small", "s.yaml:1: tasks: expected a value, got nothing"),
        ("[1, 2]", f"{NO_MAPPING} a list"),
        (
            "just text",
            f"{NO_MAPPING} a single value",
        ),
        ("", f"{NO_MAPPING} an empty file"),
        (
            "# nothing\n",
            f"{NO_MAPPING} an empty file",
        ),
        ("a" * 1_000_001, "s.yaml:1: study file: expected at most 1,000,000 bytes, got 1,000,001"),
    ],
)
def test_texts_that_are_no_study(change: str, wanted: str) -> None:
    assert wanted in problems(change)


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("training.steps=3", "training.steps: expected exactly one of epochs and steps, got both"),
        ("training.epochs=", "training: expected exactly one of epochs and steps, got neither"),
        ("size_control=[]", "size_control: expected a mapping of fields, got []"),
        ("size_control.mode=both", "size_control.mode: expected 'penalty' or 'budget', got \"both\""),
        ("size_control={}", "size_control.mode: expected 'penalty' or 'budget', got nothing"),
        (
            "training.kind_factors={lora: {log_flat: [1, 10]}}",
            "log_flat: expected one of float, log_float, int, categorical, when, got an unknown field; did you mean",
        ),
        (
            "tasks.0.splits={dev: validation}",
            "splits.dev: expected 'train', 'validation' or 'test' as a key, got \"dev\". Our name stands before",
        ),
        ("phases.optimise=3", "phases.optimise: expected a mapping of fields, got 3"),
        ("phases={}", "phases: expected at least one of design and optimise, got neither"),
        ("backbone.id=x", "expected 'bundled:NAME', 'path:DIR' or 'hub:ORG/NAME@REVISION', got 'x'"),
        ("backbone.id=hub:x", "backbone.id: expected 'hub:ORG/NAME@REVISION', got 'hub:x'"),
        ("backbone.id=hub:a/b", "backbone.id: expected 'hub:a/b@REVISION' with a commit hash (40 hex digits) or a tag"),
        ("seed=-1", "seed: expected a number of at least 0, got -1"),
        ("seed=2147483648", "seed: expected a number below 2147483648, got 2147483648"),
        ("tasks=[]", "tasks: expected at least 1 entries, got []"),
        ("tasks.0.limits={train: 5, gate: 5}", "fewer gate examples than the 5 of train"),
        ("training.schedule=step", "training.schedule: expected 'linear', 'cosine' or 'constant', got \"step\""),
        ("description=3", "description: expected text, got 3"),
        ("training.epochs=.inf", "training.epochs: expected a finite number, got Infinity"),
        ("pool.ranks={int: [1, 2.5]}", "pool.ranks.int.1: expected a whole number, got 2.5"),
        ("pool.ranks={categorical: [[1], [1]]}", "pool.ranks.categorical: expected different choices"),
        ("training.learning_rate={categorical: [1, 1.0]}", "learning_rate.categorical: expected different choices"),
        ("pool.kinds={categorical: [[lora, bias], [bias, lora]]}", "kinds.categorical: expected different choices"),
        ("pool.ranks={categorical: [[1], {}]}", "pool.ranks.categorical.1: expected"),
        ("pool.ranks={int: [1]}", "pool.ranks.int.1: expected a value, got nothing"),
        ("phases.design={sampler: {name: qmc}}", "expected a number of points with qmc, got none"),
        ("phases.design={sampler: {name: grid}}", "expected levels with grid, got none"),
        ("phases.design={sampler: {name: grid}, levels: {a: [1]}, points: 3}", "no points with grid, got 3"),
        ("phases.design={sampler: {name: qmc}, points: 4, levels: {a: [1]}}", "no levels with qmc, got a"),
        ("phases.confirm={controls: [lora, lora]}", "expected each control once"),
        ("conditions.measured=[{kind: typos, levels: [0.1]}, {kind: typos, levels: [0.2]}]", "expected each kind once"),
        ("phases.optimise.pruner.name=mediann", "expected a known pruner"),
        ("tasks.0.name=mean", "expected another name than 'mean', which tables and figures call the average"),
        ("tasks.0.text=label", "tasks.0: expected another column for label than that of text, got 'label'"),
        ("tasks.0.text_pair=label", "tasks.0: expected another column for label than that of text_pair, got 'label'"),
        ("tasks.0.text_pair=text", "text_pair: expected another column for text_pair than that of text, got 'text'"),
        ("tasks.0.source=data/rows.csv", "'SOURCE:NAME', got 'data/rows.csv'; did you mean 'file:data/rows.csv'?"),
        ("tasks.0.source=rows.jsonl", "did you mean 'file:rows.jsonl'?"),
        (
            "phases.optimise.sampler.name=TPE",
            "(tpe, gp, nsgaii, nsgaiii, cmaes, random, qmc), got 'TPE'; did you mean 'tpe'?",
        ),
    ],
)
def test_single_problems_name_the_override_as_their_place(study: str, override: str, wanted: str) -> None:
    found = problems(study, override)
    assert len(found) == 1
    assert wanted in found[0]


def test_choices_of_several_types_are_told_apart(study: str) -> None:
    config = parse_study(
        study, "s.yaml", ["training.steps={categorical: [1, true, '1', [1], ['1']]}", "training.epochs="]
    )
    assert isinstance(config.training.steps, Distribution)


def test_problems_between_sections_name_the_field_to_change(study: str) -> None:
    text = study + "    pruner: {name: median}\nobjectives: [{name: score}, {name: robustness}]\n"
    assert problems(text) == [
        "s.yaml:1: conditions.measured: expected conditions to measure the robustness objective under, got none",
        "s.yaml:13: phases.optimise.pruner.name: expected one fit for objectives other than score, got median with "
        "the objectives score, robustness",
    ]
    twice = study.replace("    source", "    metric: mcc\n    source") + "objectives: [{name: score}, {name: score}]\n"
    assert problems(twice) == ["s.yaml:14: objectives: expected each objective once, got score, score"]


@pytest.mark.parametrize(
    "override",
    [
        "phases.confirm={controls: [lora, randm, adaloraa]}",
        "pool.kinds=[lora, randm, adaloraa]",
        "pool.sites=[attn.q, randm, adaloraa]",
        "pool.kind_ranks={randm: [1], adaloraa: [2]}",
        "training.kind_factors={randm: 1.0, adaloraa: 2.0}",
    ],
)
def test_every_wrong_entry_of_a_list_is_told(study: str, override: str) -> None:
    first, second = problems(study, override)
    assert "got 'randm'" in first
    assert "got 'adaloraa'" in second


def test_words_of_other_programs_for_a_range_are_answered_with_ours(study: str) -> None:
    found = problems(study, "training.learning_rate={low: 1e-4, high: 1e-2, log: true}")
    told = [line for line in found if "got an unknown field" in line]
    assert len(told) == 3
    assert all(line.endswith("{float: [low, high]}, {log_float: [low, high]} or {int: [low, high]}") for line in told)


def test_a_duplicate_key_alone_is_an_error(study: str) -> None:
    assert problems(study + "name: other\n") == [
        "s.yaml:13: name: expected each field once, got it again (first: s.yaml:1)"
    ]


def test_overrides_change_values_lists_and_what_is_not_there(study: str) -> None:
    config = parse_study(
        study,
        "s.yaml",
        [
            "size_control.sparsity_weight=1e-1",
            "tasks.0.limits.train=10",
            "phases.design.sampler.name=one_at_a_time",
            "phases.design.levels.training.learning_rate=[1e-3, 1e-2]",
            "phases.design.base.training.learning_rate=1e-3",
            "training.learning_rate={log_float: [1e-4, 1e-1]}",
            "description=a = b",
            "seed=1",
            "seed=2",
        ],
    )
    assert config.size_control.sparsity_weight == 0.1
    assert config.tasks[0].limits.train == 10
    assert config.phases.design is not None
    assert config.phases.design.levels == {"training.learning_rate": (1e-3, 1e-2)}
    assert config.phases.design.base == {"training.learning_rate": 1e-3}
    assert config.description == "a = b"
    assert config.seed == 2


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("seed", "--set seed: study file: expected FIELD=VALUE, such as training.epochs=3, got 'seed'"),
        (f"{40 * 'a.'}a=1", f"--set {40 * 'a.'}a=1: study file: expected at most 32 levels of nesting, got 41"),
        ("=1", "--set =1: study file: expected FIELD=VALUE, such as training.epochs=3, got '=1'"),
        ("a..b=1", "--set a..b=1: study file: expected FIELD=VALUE, such as training.epochs=3, got 'a..b=1'"),
        ("tasks.7.name=x", "--set tasks.7.name=x: tasks.7: expected the position of an entry from 0 to 0, got '7'"),
        ("tasks.x=1", "--set tasks.x=1: tasks.x: expected the position of an entry from 0 to 0, got 'x'"),
        ("seed=[1", "--set seed=[1: study file: expected valid YAML"),
        ("seed={a: 1, a: 2}", "--set seed={a: 1, a: 2}: a: expected each field once"),
        ("seed=!!python/name:os.system x", "--set seed=!!python/name:os.system x: study file: expected plain values"),
        ("training.lr.x=1", "--set training.lr.x=1: training.lr: expected one of epochs, steps"),
        ("name.x=1", '--set name.x=1: name: expected text, got {"x": 1}'),
    ],
)
def test_wrong_overrides_are_problems_beside_those_of_the_file(study: str, override: str, wanted: str) -> None:
    found = problems(study.replace("trials: 3", "trials: 0"), override)
    assert any(line.startswith(wanted) for line in found)
    assert "s.yaml:12: phases.optimise.trials: expected a number of at least 1, got 0" in found


@pytest.mark.parametrize(("text", "got"), [("a\ud800", "0xd800"), ("\0", "0x0000")])
def test_what_a_file_may_not_hold_a_dict_may_not_either(text: str, got: str) -> None:
    told = rf"^mine: tasks\.0\.name: expected printable text, got the character {got}$"
    with pytest.raises(ConfigError, match=told):
        plain_study({"name": "s", "tasks": [{"name": text}]}, "mine")


def test_an_empty_list_is_set_whole(study: str) -> None:
    wanted = "constraints: expected an entry to change, got an empty list. Set it whole, as constraints=[…]"
    assert problems(study + "constraints: []\n", "constraints.0.max=3") == [f"--set constraints.0.max=3: {wanted}"]


def test_files_that_cannot_be_read_are_config_errors(tmp_path: Path, study: str) -> None:
    def only_problem(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            open_study(path)
        (line,) = caught.value.problems
        assert line.startswith(f"{path}:")
        return line.removeprefix(f"{path}:")

    assert only_problem(tmp_path) == "1: study file: expected a file of YAML, got a folder"
    assert only_problem(tmp_path / "none.yaml") == "1: study file: expected a file of YAML, got no such file"
    assert only_problem(tmp_path / ("n" * 300)) == "1: study file: expected a readable file, got File name too long"
    os.mkfifo(tmp_path / "pipe")
    assert only_problem(tmp_path / "pipe").endswith("got something that is no plain file")
    (tmp_path / "latin.yaml").write_bytes(b"name: a\ndescription: caf\xe9\n")
    assert only_problem(tmp_path / "latin.yaml") == "2: study file: expected text in UTF-8, got the byte 0xe9"
    (tmp_path / "utf16.yaml").write_bytes(study.encode("utf-16"))
    assert "expected text in UTF-8" in only_problem(tmp_path / "utf16.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * 1_000_001)
    assert only_problem(tmp_path / "big.yaml") == "1: study file: expected at most 1,000,000 bytes, got 1,000,001"
    (tmp_path / "zero.yaml").write_bytes(b"name: a\0\n")
    assert only_problem(tmp_path / "zero.yaml") == "1: study file: expected printable text, got the character 0x0000"


def test_a_byte_order_mark_is_no_problem(tmp_path: Path, study: str) -> None:
    (tmp_path / "bom.yaml").write_text(study, encoding="utf-8-sig")
    assert open_study(tmp_path / "bom.yaml").config.name == "small"


def test_reading_a_study_loads_neither_torch_nor_ray(tmp_path: Path, study: str) -> None:
    (tmp_path / "s.yaml").write_text(study)
    code = (
        "import sys; from pathlib import Path; from slasearch.config.load import open_study;"
        f"open_study(Path({str(tmp_path / 's.yaml')!r}));"
        "print([m for m in ('torch', 'ray', 'optuna', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_direction_may_be_written_out_and_not_turned_round() -> None:
    study = """
name: s
tasks: [{name: a, source: "file:a.jsonl"}]
size_control: {mode: penalty, sparsity_weight: {float: [0, 1]}}
training: {steps: 2}
phases: {optimise: {trials: 1}}
objectives: [{name: score}, {name: exported_parameters, direction: DIRECTION}]
"""
    config = parse_study(study.replace("DIRECTION", "minimize"), "s.yaml")
    assert [objective.direction for objective in config.objectives] == ["maximize", "minimize"]
    with pytest.raises(ConfigError, match=r"objectives\.1\.direction: expected minimize for exported_parameters"):
        parse_study(study.replace("DIRECTION", "maximize"), "s.yaml")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("backbone.id=https://user:hunter2@host/x", "got 'https://user:***@host/x'"),
        ("backbone={id: 'https://user:hun@hunter2@host/x'}", "got 'https://user:***@host/x'"),
        ("backbone.id=https://host/x?token=hunter2&a=1", "got 'https://host/x?token=***&a=1'"),
        (f"training.epochs=https://user:hunter2{'a' * 99}@host/x", 'got "https://user:***@host/x"'),
        (
            "https://user:hunter2@host.com=1",
            "--set https://user:***@host.com=1: https://user:***@host: expected one of",
        ),
        ("https://user:hunter2@host", "got 'https://user:***@host'"),
    ],
)
def test_no_problem_shows_a_secret(study: str, override: str, told: str) -> None:
    for text, overrides in ((study, [override]), (f"{study}\n{override.replace('=', ': ', 1)}", ())):
        with pytest.raises(ConfigError) as raised:
            parse_study(text, "s.yaml", overrides)
        assert "hunter2" not in str(raised.value)
        assert told in str(raised.value) or not overrides
