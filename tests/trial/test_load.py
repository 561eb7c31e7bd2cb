"""An exported adapter in a user's own model: the numbers of the trial, one task or several, and out again."""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

import slasearch
from slasearch.adapters.export import adapter_files, read_adapter
from slasearch.errors import ArtifactError, TaskError
from slasearch.records import TrialReport, TrialSpec
from slasearch.testing.tiny import tiny_backbone
from slasearch.trial.backbone import backbone_folder
from slasearch.trial.predict import Predictor

TEXTS = ["I saw a kitten today.", "There was one hammer over there by the door."]


@pytest.fixture(scope="module")
def place(make_spec: Callable[..., TrialSpec]) -> Path:
    return backbone_folder(make_spec().backbone)


@pytest.fixture(scope="module")
def folder(
    make_spec: Callable[..., TrialSpec], finish: Callable[..., TrialReport], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    made = tmp_path_factory.mktemp("adapter")
    for name, content in finish(make_spec()).artifact.items():
        (made / name).write_bytes(content)
    return made


@pytest.fixture(scope="module")
def inputs(place: Path) -> dict[str, torch.Tensor]:
    return dict(AutoTokenizer.from_pretrained(place)(TEXTS, padding=True, return_tensors="pt"))


@torch.inference_mode()
def test_logits_are_those_of_the_predictor_for_every_task(
    folder: Path, place: Path, inputs: dict[str, torch.Tensor]
) -> None:
    predictor = Predictor.load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapter = slasearch.load_adapter(AutoModel.from_pretrained(place), folder)
    assert (adapter.tasks, adapter.task, adapter.labels) == (("things", "mood"), "things", ("animal", "tool"))
    for task in adapter.tasks:
        adapter.task = task
        torch.testing.assert_close(adapter.logits(**inputs), predictor.logits(task, TEXTS), rtol=0, atol=1e-5)
        alone = slasearch.load_adapter(AutoModel.from_pretrained(place), str(folder), task)
        assert alone.tasks == (task,)
        torch.testing.assert_close(alone.logits(**inputs), predictor.logits(task, TEXTS), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one text", r"expected a list of texts, got one text. Call it with \['one text'\]"),
        (["a", ("a", "b")], "text 2: expected one text, as in the adapter's training, got a pair"),
        (["caf\udce9"], "text 1: expected text in UTF-8, got other bytes"),
        (["a", None], "text 2: expected a text or a pair of texts, got NoneType: None"),
        ([(0, "a")], "text 1: expected a text or a pair of texts, got tuple"),
        ([3], "text 1: expected a text or a pair of texts, got int: 3"),
        ([b"ab"], "text 1: expected a text or a pair of texts, got bytes"),
        ([("a", "b", "c")], "text 1: expected a text or a pair of texts, got tuple"),
    ],
)
def test_texts_that_an_adapter_was_not_trained_on(folder: Path, texts: object, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Predictor.load(folder).predict("things", texts)  # type: ignore[arg-type]


def test_an_adapter_of_pairs_wants_pairs(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    card, tensors = read_adapter(folder)
    assert {task.pairs for task in card.tasks} == {False}
    for pairs in (True, None):
        tasks = tuple(task.model_copy(update={"pairs": pairs}) for task in card.tasks)
        for name, content in adapter_files(card.model_copy(update={"tasks": tasks}), tensors).items():
            (tmp_path / name).write_bytes(content)
        predictor = Predictor.load(tmp_path)
        assert len(predictor.predict("things", [("a cat", "a dog")])) == 1
        if pairs:
            with pytest.raises(TaskError, match="text 1: expected a pair of texts, as in the adapter's training, got"):
                predictor.predict("things", ["a cat"])


@torch.inference_mode()
def test_a_model_with_a_head_of_its_own_passes_the_adapter(
    folder: Path, place: Path, inputs: dict[str, torch.Tensor]
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    plain = model(**inputs).logits
    with slasearch.load_adapter(model, folder) as adapter:
        adapted = adapter.logits(**inputs)
        assert not torch.allclose(model(**inputs).logits, plain, atol=1e-4)
    assert torch.equal(model(**inputs).logits, plain)
    expected = slasearch.load_adapter(AutoModel.from_pretrained(place), folder).logits(**inputs)
    torch.testing.assert_close(adapted, expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_detaching_leaves_the_model_as_it_was(folder: Path, place: Path, inputs: dict[str, torch.Tensor]) -> None:
    model = AutoModel.from_pretrained(place).eval()
    plain = model(**inputs)[0]
    adapter = slasearch.load_adapter(model, folder)
    changed = adapter.hidden_states(**inputs)
    assert not torch.allclose(changed, plain, atol=1e-4)
    assert torch.equal(model(**inputs)[0], changed)
    adapter.detach()
    adapter.detach()
    assert torch.equal(model(**inputs)[0], plain)
    with pytest.raises(ArtifactError, match="got a detached one"):
        adapter.logits(**inputs)


def test_what_does_not_fit_is_refused(folder: Path, place: Path, inputs: dict[str, torch.Tensor]) -> None:
    model = AutoModel.from_pretrained(place)
    adapter = slasearch.load_adapter(model, folder)
    with pytest.raises(TaskError, match="expected one of things, mood, got 'weather'"):
        adapter.task = "weather"
    with pytest.raises(TaskError, match="expected attention_mask"):
        adapter.logits(input_ids=inputs["input_ids"])
    with pytest.raises(ArtifactError, match=r"expected one of the adapter's \(things, mood\), got 'weather'"):
        slasearch.load_adapter(model, folder, task="weather")
    with pytest.raises(ArtifactError, match=r"expected \('bert', 6, 384\)"):
        slasearch.load_adapter(tiny_backbone("bert"), folder)
    with pytest.raises(ArtifactError, match="expected an exported adapter"):
        slasearch.load_adapter(model, place)


def test_other_weights_of_the_same_shape_are_warned_about(folder: Path, place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(place, other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-8:] = b"\0" * 8
    (other / "model.safetensors").write_bytes(weights)
    with pytest.warns(UserWarning, match="expected the weights that the adapter was trained on"):
        slasearch.load_adapter(AutoModel.from_pretrained(other), folder)


def test_an_adapter_without_a_head_gives_hidden_states_alone(
    folder: Path, place: Path, inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    card, tensors = read_adapter(folder)
    bare = card.model_copy(update={"tasks": tuple(task.model_copy(update={"labels": ()}) for task in card.tasks)})
    slots = {name: tensor for name, tensor in tensors.items() if name.startswith("slots/")}
    for name, content in adapter_files(bare, slots).items():
        (tmp_path / name).write_bytes(content)
    adapter = slasearch.load_adapter(AutoModel.from_pretrained(place), tmp_path)
    expected = slasearch.load_adapter(AutoModel.from_pretrained(place), folder).hidden_states(**inputs)
    assert torch.equal(adapter.hidden_states(**inputs), expected)
    with pytest.raises(ArtifactError, match="expected an adapter with a head for things"):
        adapter.logits(**inputs)
    with pytest.raises(ArtifactError, match="got none for things, mood"):
        Predictor.load(tmp_path)
