"""Records as plain data, fingerprints, locations, and the JSON Schema."""

import json
import math
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from sqlalchemy.engine import make_url

from slasearch.config.fingerprint import difference, fingerprint
from slasearch.config.json_schema import study_schema
from slasearch.config.load import parse_study
from slasearch.config.locations import locate, redacted
from slasearch.config.plain import from_plain, to_plain
from slasearch.config.schema import StudyConfig
from slasearch.errors import ConfigError
from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    Event,
    GateRow,
    GateSpec,
    MetricRow,
    PoolSpec,
    SeedPair,
    SizeSpec,
    Slot,
    Structure,
    TaskSpec,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)

SPEC = TrialSpec(
    study="s",
    backbone=BackboneSpec("bundled:minilm"),
    tasks=(TaskSpec("a", "bundled:sms_spam"), TaskSpec("b", "file:x.csv", text_pair="other", weight=0.5)),
    pool=PoolSpec(("attn.q",), ("lora", "bias"), (1, 4), (0, 2)),
    gates=GateSpec("sigmoid", 0.05, 0.1, 0.9, 0.5, temperature=1.0),
    size=SizeSpec("budget", budget=100, scope="per_task"),
    training=TrainingSpec(8, 1e-3, 1e-2, 0.0, "cosine", epochs=1.5),
    train_conditions=(ConditionSpec("typos", 0.2, "train"),),
    measured=(ConditionSpec("embedding_gaussian", 0.1, "eval", 3, 1.0),),
    seeds=SeedPair(1, 2),
    splits=("validation", "test"),
    control="lora",
    control_size=9,
)
REPORT = TrialReport(
    state="complete",
    budget=3,
    budget_max=3,
    objectives={"score": 0.5},
    metrics=(MetricRow("a", "test", "typos", 0.1, "mcc", -0.1, labels=bytes(range(256)), predicted=b"\0"),),
    gates=(GateRow("a", Slot(1, "attn.q", "lora", 2), 0.5, 0.4, True, 12),),
    events=(Event("gate_health.all_closed", "said so", "warning"),),
    artifact={"adapter.safetensors": bytes(range(256)), "adapter.json": b"{}"},
)


@pytest.mark.parametrize("record", [SPEC, REPORT, Structure((("a", (Slot(0, "block", "bottleneck", 3),)),))])
def test_records_survive_json(record: TrialSpec | TrialReport | Structure) -> None:
    assert from_plain(type(record), json.loads(json.dumps(to_plain(record)))) == record


def test_a_lacking_field_has_its_default_and_a_wrong_one_is_refused() -> None:
    plain = to_plain(SPEC)
    del plain["control_size"]
    assert from_plain(TrialSpec, plain).control_size is None
    with pytest.raises(ValueError, match="seeds"):
        from_plain(TrialSpec, {**plain, "seeds": "x"})


def test_a_failed_trials_numbers_may_be_nan() -> None:
    report = TrialReport(state="fail", budget=0, budget_max=1, objectives={"score": math.nan}, reason="loss is nan")
    assert math.isnan(from_plain(TrialReport, json.loads(json.dumps(to_plain(report)))).objectives["score"])


GROWN = [
    "phases.optimise.trials=9",
    "phases.confirm.seeds=9",
    "phases.confirm.top=9",
    "phases.confirm.tuning=9",
    "phases.design.seeds=9",
    "phases.design.points=9",
    "resources.max_concurrent_trials=9",
    "resources.storage_path=s3://bucket/prefix?region=eu-west-1",
    "limits.max_hours=9",
    "description=longer",
]
CHANGED = [
    ("seed=9", "seed: was 0, is 9"),
    ("training.epochs=3", "training.epochs: was 2.0, is 3.0"),
    ("tasks.0.limits.train=5", "tasks.0.limits.train: was nothing, is 5"),
    ("pool.kinds=[bias]", 'pool.kinds: was ["lora"], is ["bias"]'),
    ("size_control.sparsity_weight.log_float=[1e-2, 1]", None),
    ("phases.confirm.controls=[lora]", None),
]


@pytest.fixture
def full(study: str) -> str:
    return study + "  design: {sampler: {name: qmc}, points: 4}\n  confirm: {seeds: 2}\n"


@pytest.mark.parametrize("override", GROWN)
def test_counts_resources_and_limits_may_grow(full: str, override: str) -> None:
    old, new = parse_study(full, "s"), parse_study(full, "s", [override])
    assert old != new
    assert fingerprint(old) == fingerprint(new)
    assert difference(old, new) == []


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("runs", "expected an absolute path, or a URI such as s3://bucket/prefix, got 'runs'"),
        ("file://host/runs", "expected file:/// and an absolute path, got 'file://host/runs'"),
        *(
            (uri, "expected a URI without a secret (credentials are taken from the environment), got one with a ")
            for uri in (
                "s3://someone:hunter2@bucket/prefix",
                "s3://someone:hun/ter2@bucket/prefix",
                "abfs://:hunter2@account.blob.core.windows.net/runs",
                "abfs://runs@account.dfs.core.windows.net/?client_secret=hunter2",
                "abfs://runs@account.dfs.core.windows.net/?sv=2024&sig=hunter2",
            )
        ),
    ],
)
def test_a_storage_path_is_absolute_and_holds_no_secret(full: str, place: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_study(f'{full}\nresources: {{storage_path: "{place}"}}\n', "s")
    assert f"resources.storage_path: {problem}" in str(raised.value)
    assert "ter2" not in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        parse_study(full, "s", [f"resources.storage_path={place}"])
    assert f"resources.storage_path: {problem}" in str(raised.value)
    assert "ter2" not in str(raised.value)


def test_checkpoints_that_all_nodes_see_lie_at_an_absolute_path(full: str) -> None:
    """A folder called `s3:` on each node would be taken for a place that all see."""
    for place in ("s3://bucket/checkpoints", "~/checkpoints", "checkpoints"):
        with pytest.raises(ConfigError, match=r"resources\.checkpoint_folder: expected the absolute path of a folder"):
            parse_study(full, "s", [f"resources.checkpoint_folder={place}"])
    assert parse_study(full, "s", ["resources.checkpoint_folder=/shared"]).resources.checkpoint_folder == "/shared"


@pytest.mark.parametrize(
    ("field", "most", "expected"),
    [
        ("limits.failure_window", 10_000, "of at most 10000"),
        ("training.reports", 10_000, "of at most 10000"),
        ("training.epochs", 1e6, "of at most 1000000"),
        ("resources.cpus_per_trial", 1024, "of at most 1024"),
        ("resources.max_concurrent_trials", 2**31 - 1, "below 2147483648"),
        ("resources.cache_gib", 1e6, "of at most 1000000"),
        ("limits.max_retries", 2**31 - 1, "below 2147483648"),
        ("size_control", 2**63 - 1, "below 9.223372037e+18"),
    ],
)
def test_numbers_that_no_machine_or_database_holds_are_refused(
    full: str, field: str, most: float, expected: str
) -> None:
    def override(value: float) -> str:
        return f"size_control={{mode: budget, parameters: {value}}}" if field == "size_control" else f"{field}={value}"

    parse_study(full, "s", [override(most)])
    with pytest.raises(ConfigError, match=rf"{field}.*: expected a number {re.escape(expected)}, got"):
        parse_study(full, "s", [override(most + 1)])


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ("2", "expected a number of at most 1, got 2"),
        ("1.5", "expected a number of at most 1, got 1.5"),
        ("0.00001", "expected 0, or a share of one GPU from 0.0001 up, got 1e-05"),
    ],
)
def test_a_trial_has_one_gpu_at_most_or_a_share_of_it(gpus: str, told: str, full: str) -> None:
    with pytest.raises(ConfigError, match=f"gpus_per_trial: {told}"):
        parse_study(full, "s", [f"resources.gpus_per_trial={gpus}"])


def test_gpus_that_a_trial_may_have(full: str) -> None:
    for gpus in (0.0, 0.0001, 0.5, 1.0):
        assert parse_study(full, "s", [f"resources.gpus_per_trial={gpus}"]).resources.gpus_per_trial == gpus


@pytest.mark.parametrize(
    "place", ["/shared/runs", "file:///shared/runs", "abfs://runs@account.dfs.core.windows.net/a", "hdfs://host:9000/a"]
)
def test_a_storage_path_may_be_a_folder_or_a_uri(full: str, place: str) -> None:
    assert parse_study(full, "s", [f"resources.storage_path={place}"]).resources.storage_path == place


@pytest.mark.parametrize(("override", "line"), CHANGED)
def test_what_affects_results_changes_the_fingerprint(full: str, override: str, line: str | None) -> None:
    old, new = parse_study(full, "s"), parse_study(full, "s", [override])
    assert fingerprint(old) != fingerprint(new)
    lines = difference(old, new)
    assert len(lines) == 1
    assert lines[0].startswith(override.partition("=")[0].removesuffix(".log_float"))
    assert line in (None, lines[0])


def test_a_changed_mode_is_told_field_by_field(full: str) -> None:
    new = parse_study(full, "s", ["size_control={mode: budget, parameters: 5000}"])
    lines = difference(parse_study(full, "s"), new)
    assert 'size_control.mode: was "penalty", is "budget"' in lines
    assert "size_control.ramp: was 0.2, is absent" in lines
    assert "size_control.parameters: was absent, is 5000" in lines


def test_the_fingerprint_is_that_of_the_content(full: str) -> None:
    config = parse_study(full, "s")
    assert fingerprint(config) == fingerprint(StudyConfig.model_validate_json(config.model_dump_json()))
    assert fingerprint(config) == fingerprint(parse_study(full + "gates: {warm_up: 0.1}\n", "other"))
    assert len(fingerprint(config)) == 64


@pytest.mark.parametrize("folder", ["what?", "100%25", "h#x", "b{r}"])
def test_the_default_lies_in_the_working_folder_whatever_that_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.delenv("SLASEARCH_STORAGE", raising=False)
    monkeypatch.delenv("SLASEARCH_HOME", raising=False)
    found = locate()
    assert found.home == tmp_path / folder / ".slasearch"
    assert make_url(found.storage_url).database == str(found.home / "slasearch.db")


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for storage in (None, "sqlite:///sub/x.db"):
        with pytest.raises(ConfigError, match="working folder: expected one that is there, got: No such file"):
            locate(storage)


def test_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLASEARCH_STORAGE", raising=False)
    monkeypatch.delenv("SLASEARCH_HOME", raising=False)
    default = locate()
    assert default.storage_url == f"sqlite:///{tmp_path}/.slasearch/slasearch.db"
    assert default.home == tmp_path / ".slasearch"
    assert {default.checkpoints, default.cache, default.ray} == {
        tmp_path / ".slasearch" / name for name in ("checkpoints", "cache", "ray")
    }
    assert not default.home.exists()
    assert locate("sqlite:///sub/x.db").storage_url == f"sqlite:///{tmp_path}/sub/x.db"
    assert locate("sqlite:///sub/x.db").home == tmp_path / "sub"
    for lost in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigError, match="got a database that ends with this command"):
            locate(lost)
    with pytest.raises(ConfigError, match=r"got several @ in one, which is not shown.* as %40") as told:
        locate("postgresql+psycopg://user:sec@ret/pw@host/database")
    assert "ret" not in str(told.value)
    assert locate("postgresql+psycopg://user@server:secret@host/database").storage_url.endswith("secret@host/database")
    url = "postgresql+psycopg://user:secret@host/database"
    monkeypatch.setenv("SLASEARCH_STORAGE", url)
    assert locate().storage_url == url
    assert locate().home == tmp_path / ".slasearch"
    monkeypatch.setenv("SLASEARCH_HOME", "elsewhere")
    assert locate("sqlite:////other/x.db").home == tmp_path / "elsewhere"
    assert redacted(url) == "postgresql+psycopg://user:***@host/database"
    assert redacted("postgresql://me@/x?host=h&password=secret") == "postgresql://me@/x?host=h&password=***"
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("SLASEARCH_HOME", "~/runs")
    assert locate("sqlite:///~/x.db").storage_url == f"sqlite:///{tmp_path}/me/x.db"
    assert locate("sqlite:///~/x.db").home == tmp_path / "me" / "runs"
    with pytest.raises(ConfigError, match="expected ~ or the name of a user after it, got '~nobody-here/x"):
        locate("sqlite:///~nobody-here/x.db")
    with pytest.raises(ConfigError, match="expected a database URL"):
        locate("results.db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql//me:secret@host/x",
        "postgresql+psycopg:/me:pa:secret@host/x",
        "postgresql+psycopg://me:se@secret:wo/rd@host:54x/x",
        "postgresql+psycopg:/host/x?user=me&password=secret",
    ],
)
def test_nothing_of_a_mistyped_url_is_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a database URL .* something else.* \$SLASEARCH_STORAGE") as caught:
        locate(url)
    assert not re.search("secret|wo/rd|me:", str(caught.value))


def test_a_password_in_a_file_is_put_into_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    monkeypatch.setenv("SLASEARCH_STORAGE_PASSWORD_FILE", str(file))
    with pytest.raises(ConfigError, match="expected a readable file"):
        locate("postgresql+psycopg://user@host/database")
    file.write_text("\n")
    with pytest.raises(ConfigError, match="which is empty"):
        locate("postgresql+psycopg://user@host/database")
    file.write_text("se:cr/et\n")
    assert make_url(locate("postgresql+psycopg://user@host/database").storage_url).password == "se:cr/et"
    assert make_url(locate("postgresql+psycopg://user:own@host/database").storage_url).password == "own"
    assert "@" not in locate(f"sqlite:///{tmp_path}/x.db").storage_url


def test_the_json_schema_takes_what_the_loader_takes(full: str) -> None:
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    data = yaml.safe_load(full.replace("1e-2", "0.01").replace("1e1", "10.0"))
    assert list(validator.iter_errors(data)) == []
    for field, value in (("x", 1), ("seed", "a"), ("gates", {"family": "foo"}), ("pool", {"kinds": ["foo"]})):
        assert list(validator.iter_errors({**data, field: value})), field


def test_every_field_of_the_schema_is_described() -> None:
    schema = study_schema()
    for name, part in {"StudyConfig": schema, **schema["$defs"]}.items():
        assert part["description"], name
        for field, content in part["properties"].items():
            assert content.get("description"), f"{name}.{field}"
