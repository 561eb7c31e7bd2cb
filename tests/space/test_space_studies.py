"""The study files that come with the project: valid, documented by a current schema, and of the promised size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import LlamaConfig

from slasearch.records import BackboneSpec
from slasearch.search.plan import planned
from slasearch.space import design_points, load_checked, parameters
from slasearch.trial.backbone import read_shapes

STUDIES = Path(__file__).parents[2] / "studies"
FILES = sorted(STUDIES.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_study_file_is_valid_and_names_its_schema(file: Path) -> None:
    config = load_checked(file)
    assert config.name == file.stem
    assert config.description
    assert file.read_text().splitlines()[0] == "# yaml-language-server: $schema=./study.schema.json"


@pytest.mark.parametrize("file", sorted((STUDIES / "proof").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_study_of_the_proof_is_valid_where_its_data_are(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mr", "clinc_domain", "snips"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for split in ("train", "validation", "test"):
            (tmp_path / "data" / name / f"{split}.jsonl").write_text('{"text": "a text", "label": "a label"}\n')
    # SmolLM2-135M's shapes: all that is read of a backbone before a study runs.
    shape = LlamaConfig(
        hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536
    )
    shape.save_pretrained(tmp_path / "data" / "smollm2")
    config = load_checked(file)
    shapes = read_shapes(BackboneSpec(config.backbone.id))
    (q,), (v,) = shapes.hosts["attn.q"], shapes.hosts["attn.v"]
    rank_one = shapes.layers * (q.d_in + q.d_out + v.d_in + v.d_out)
    assert config.size_control.parameters == rank_one * len(config.tasks), "each task's part is LoRA's on q and v"
    assert config.description
    assert file.read_text().splitlines()[0] == "# yaml-language-server: $schema=../study.schema.json"


def test_the_stored_schema_is_the_one_that_the_command_prints() -> None:
    done = subprocess.run([sys.executable, "-m", "slasearch", "schema"], capture_output=True, text=True, check=True)
    stored = (STUDIES / "study.schema.json").read_text()
    assert json.loads(stored)["title"] == "slasearch study file"
    assert stored == done.stdout, "run: slasearch schema > studies/study.schema.json"


def test_quickstart_searches_and_measures_what_it_promises() -> None:
    config = load_checked(STUDIES / "quickstart.yaml")
    assert len(config.tasks) == 3
    names = {parameter.name for parameter in parameters(config)}
    assert names == {
        "size_control.sparsity_weight",
        "conditions.train.embedding_gaussian.level",
        "conditions.train.typos.level",
        "training.learning_rate",
        "pool.ranks",
    }
    assert {condition.kind for condition in config.conditions.measured} == {"typos", "embedding_gaussian"}
    assert {objective.name for objective in config.objectives} == {"score", "exported_parameters", "robustness"}
    points = design_points(config)
    assert {point.factor for point in points} == {
        None,
        "size_control.sparsity_weight",
        "conditions.train.embedding_gaussian.level",
        "conditions.train.typos.level",
    }
    assert {point.repeat for point in points} == {0, 1}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("quickstart", {"design": 16, "optimise": 8, "tune": 14, "confirm": 20}),
        ("sensitivity", {"design": 80, "optimise": 0, "tune": 0, "confirm": 0}),
    ],
)
def test_a_study_file_has_as_many_trials_as_it_promises(name: str, counts: dict[str, int]) -> None:
    config = load_checked(STUDIES / f"{name}.yaml")
    assert planned(config, (), design_points(config)) == counts
    assert counts["design"] + counts["optimise"] >= 20


def test_sensitivity_varies_three_factors_over_five_seeds() -> None:
    points = design_points(load_checked(STUDIES / "sensitivity.yaml"))
    assert len({point.factor for point in points} - {None}) == 3
    assert {point.repeat for point in points} == set(range(5))
