"""Conditions on a real backbone: what a model gets to see, and what is left of it afterwards."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from slasearch.adapters.pool import Pool, candidate_slots
from slasearch.records import (
    BackboneSpec,
    ConditionSpec,
    Example,
    GateSpec,
    PoolSpec,
    SeedPair,
    SizeSpec,
    TaskData,
    TaskSpec,
    TrainingSpec,
    TrialReport,
    TrialSpec,
)
from slasearch.registry import CONDITIONS
from slasearch.tasks.batches import eval_batches
from slasearch.trial.backbone import Backbone, load_backbone
from slasearch.trial.data import EvaluationData, TrainingData
from slasearch.trial.model import TaskModel, make_heads
from slasearch.trial.noise import EmbeddingNoise, noisy_weights
from slasearch.trial.prefix import PrefixStore
from slasearch.trial.reuse import Reuse
from slasearch.trial.run import TrialWorker

TEXT = "Every other winter some remarkably stubborn gardeners plant tulips far outside their small village"
WORDS = TEXT.split()
EXAMPLES = tuple(
    Example(f"e{number}", " ".join(WORDS[number % 5 :] + WORDS[: number % 3]), number % 2) for number in range(12)
)
TASK = TaskData(
    TaskSpec("garden", "file:unused", max_tokens=24),
    ("no", "yes"),
    {"train": EXAMPLES, "gate": (), "validation": EXAMPLES, "test": ()},
)
MEASURED = [name for name in CONDITIONS.names() if "eval" in CONDITIONS.get(name).facts.where]
TRAINED = [name for name in CONDITIONS.names() if "train" in CONDITIONS.get(name).facts.where]
UNSEEN_BY_UNCASED = {"casing"}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(BackboneSpec("bundled:minilm"), torch.device("cpu"))


def make_model(backbone: Backbone, seed: int) -> TaskModel:
    """Modules with weights that do something, in the last layer only, so that lower layers are kept."""
    spec = PoolSpec(("attn.v", "ffn.out"), ("lora", "bottleneck"), (2,), layers=(5,))
    slots = candidate_slots(spec, layers=backbone.shapes.layers)
    generator = torch.Generator().manual_seed(seed)
    pool = Pool(slots, backbone.shapes.hosts, ["garden"], generator=generator)
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    heads = make_heads({"garden": 2}, backbone.shapes.hidden, generator=generator)
    return TaskModel(backbone, pool, heads)


@pytest.fixture
def model(backbone: Backbone) -> Iterator[TaskModel]:
    with make_model(backbone, 0) as made:
        yield made


def logits(data: EvaluationData, model: TaskModel, condition: ConditionSpec | None) -> torch.Tensor:
    return data.logits(model, 0, "validation", condition, None)[1]


@pytest.mark.parametrize("kind", MEASURED)
def test_level_zero_is_the_clean_score_to_the_last_bit_and_other_levels_are_not(
    backbone: Backbone, model: TaskModel, kind: str
) -> None:
    data = EvaluationData([TASK], backbone, None, Reuse(backbone, PrefixStore(None)))
    clean = logits(data, model, None)
    assert torch.equal(logits(data, model, ConditionSpec(kind, 0.0, "eval")), clean)
    top = CONDITIONS.get(kind).facts.severities[-1]
    disturbed = logits(data, model, ConditionSpec(kind, top, "eval"))
    assert torch.equal(disturbed, clean) == (kind in UNSEEN_BY_UNCASED)
    assert disturbed.isfinite().all()
    assert torch.equal(logits(data, model, None), clean)
    fresh = EvaluationData([TASK], backbone, None, Reuse(backbone, PrefixStore(None)))
    assert torch.equal(logits(fresh, model, ConditionSpec(kind, top, "eval")), disturbed)


@pytest.mark.parametrize("kind", [name for name in MEASURED if CONDITIONS.get(name).facts.units == "share"])
def test_a_share_so_small_that_it_hits_nothing_is_the_clean_score(
    backbone: Backbone, model: TaskModel, kind: str
) -> None:
    data = EvaluationData([TASK], backbone, None, Reuse(backbone, PrefixStore(None)))
    assert torch.equal(logits(data, model, ConditionSpec(kind, 1e-12, "eval")), logits(data, model, None))


def seen_by(backbone: Backbone, seed: int, condition: ConditionSpec) -> torch.Tensor:
    """The token embeddings, disturbed, that reach a model of this seed; `n x t x d`."""
    with make_model(backbone, seed) as model:
        seen: list[torch.Tensor] = []
        table = backbone.model.get_input_embeddings()  # type: ignore[operator]
        handle = table.register_forward_hook(lambda module, args, output: seen.append(output.clone()))
        logits(EvaluationData([TASK], backbone, None, Reuse(backbone, PrefixStore(None))), model, condition)
        handle.remove()
        return seen[0]  # the upper half runs the embeddings again, to replace them


@pytest.mark.parametrize("kind", MEASURED)
def test_two_models_see_the_very_same_disturbed_inputs(backbone: Backbone, kind: str) -> None:
    condition = ConditionSpec(kind, CONDITIONS.get(kind).facts.severities[2], "eval")
    assert torch.equal(seen_by(backbone, 1, condition), seen_by(backbone, 2, condition))


@pytest.mark.parametrize("kind", ["embedding_gaussian", "neftune", "token_dropout", "neighbour"])
def test_special_tokens_and_padding_reach_the_model_as_they_are(backbone: Backbone, kind: str) -> None:
    clean = seen_by(backbone, 1, ConditionSpec(kind, 0.0, "eval"))
    disturbed = seen_by(backbone, 1, ConditionSpec(kind, CONDITIONS.get(kind).facts.maximum, "eval"))
    data = EvaluationData([TASK], backbone, None, Reuse(backbone, PrefixStore(None)))
    (batch,) = eval_batches(data.encoded(0, "validation", None), 0, pad_token_id=0, tokens=10_000)
    ordinary = torch.from_numpy(backbone.vocabulary.ordinary[batch.input_ids.numpy()])
    assert int((~ordinary).sum()) > 2 * len(EXAMPLES) - 1
    assert torch.equal(clean[~ordinary], disturbed[~ordinary])
    assert bool((clean != disturbed).any(-1)[ordinary].all())
    if kind == "token_dropout":
        assert not disturbed[ordinary].any()


def test_neighbours_in_a_real_vocabulary_keep_their_form(backbone: Backbone) -> None:
    tokens = backbone.tokenizer.convert_ids_to_tokens
    ids = np.array(backbone.tokenizer.convert_tokens_to_ids(["movie", "terrible", "##ly", "dollars"]), np.int32)
    found = backbone.vocabulary.nearest(ids)
    assert {"movies", "film"} <= set(tokens(found[0].tolist()))
    assert {"horrible", "awful"} <= set(tokens(found[1].tolist()))
    assert all(token.startswith("##") for token in tokens(found[2].tolist()))
    everything = np.arange(len(backbone.vocabulary.ordinary))
    assert tokens(everything[~backbone.vocabulary.ordinary].tolist())[:2] == ["[PAD]", "[unused0]"]


def bits(model: TaskModel) -> dict[tuple[str, str], bytes]:
    return {name: weight.detach().numpy().tobytes() for name, weight in model.adapter_weights().items()}


def test_weights_are_the_same_to_the_last_bit_after_noise(backbone: Backbone, model: TaskModel) -> None:
    data, before = EvaluationData([TASK], backbone, None, Reuse(backbone, PrefixStore(None))), bits(model)
    heads = [head.weight.clone() for head in model.heads.values()]
    logits(data, model, ConditionSpec("weight_noise", 0.5, "eval"))
    assert bits(model) == before
    assert all(torch.equal(head.weight, old) for head, old in zip(model.heads.values(), heads, strict=True))
    assert all(weight.requires_grad for weight in model.adapter_weights().values())
    with pytest.raises(KeyboardInterrupt):
        _interrupted(model, before)
    assert bits(model) == before


def _interrupted(model: TaskModel, before: dict[tuple[str, str], bytes]) -> None:
    with noisy_weights(model.adapter_weights(), ConditionSpec("weight_noise", 0.5, "eval")):
        assert bits(model).keys() == before.keys()
        assert all(found != before[name] for name, found in bits(model).items())
        raise KeyboardInterrupt


def test_noise_on_weights_is_in_units_of_the_rms_of_each_tensor() -> None:
    weights = {("s", "small"): torch.full((100, 100), 0.01), ("s", "large"): torch.full((100, 100), 3.0)}
    zero = torch.zeros(4)
    with noisy_weights({**weights, ("s", "zero"): zero}, ConditionSpec("weight_noise", 0.2, "eval")):
        assert float(weights["s", "small"].std()) == pytest.approx(0.002, rel=0.03)
        assert float(weights["s", "large"].std()) == pytest.approx(0.6, rel=0.03)
        assert not zero.any()
    assert (weights["s", "large"] == 3).all()


def test_conditions_follow_each_other() -> None:
    embeddings = torch.arange(6.0).view(1, 3, 2)
    dropped, added = torch.tensor([[[0.0], [1.0], [1.0]]]), torch.ones(1, 3, 2)
    parts = [EmbeddingNoise(None, added), EmbeddingNoise(dropped, None), EmbeddingNoise(dropped, added)]
    for first in parts:
        for second in parts:
            assert torch.equal(first.then(second).on(embeddings), second.on(first.on(embeddings)))
    assert EmbeddingNoise(None, None).on(embeddings) is embeddings


def batches(backbone: Backbone, *conditions: ConditionSpec, count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For six batches, three an epoch, the token numbers, labels, and embeddings as the model sees them."""
    data = TrainingData(
        [TASK],
        ("train",),
        backbone,
        conditions,
        batch_size=4,
        seed=0,
        cache=None,
        reuse=Reuse(backbone, PrefixStore(None)),
    )
    table = backbone.model.get_input_embeddings()  # type: ignore[operator]
    seen = []
    for batch, noise in data:
        embeddings = table(batch.input_ids)
        seen.append((batch.labels, embeddings if noise is None else noise.on(embeddings)))
        if len(seen) == count:
            return seen
    raise AssertionError("training batches are endless")


def same(first: list[tuple[torch.Tensor, torch.Tensor]], second: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    return all(
        a.shape == b.shape and torch.equal(a, b)
        for pair in zip(first, second, strict=True)
        for a, b in zip(*pair, strict=True)
    )


@pytest.mark.parametrize("kind", TRAINED)
def test_training_under_every_kind_is_paired_and_another_in_each_epoch(backbone: Backbone, kind: str) -> None:
    condition = ConditionSpec(kind, CONDITIONS.get(kind).facts.severities[-1], "train")
    seen = batches(backbone, condition)
    assert same(seen, batches(backbone, condition))
    assert same(seen, batches(backbone)) == (kind in UNSEEN_BY_UNCASED)
    assert same(batches(backbone, ConditionSpec(kind, 0.0, "train")), batches(backbone))


def test_training_under_neighbours_draws_anew_in_each_epoch(backbone: Backbone) -> None:
    data = TrainingData(
        [TASK],
        ("train",),
        backbone,
        [ConditionSpec("neighbour", 0.5, "train")],
        batch_size=12,
        seed=0,
        cache=None,
        reuse=Reuse(backbone, PrefixStore(None)),
    )
    rows: list[dict[str, list[int]]] = []
    for batch, _ in data:
        rows.append(dict(zip(batch.example_ids, batch.input_ids.tolist(), strict=True)))
        if len(rows) == 2:
            break
    assert all(rows[0][example.id] != rows[1][example.id] for example in EXAMPLES)


def trial(**changes: object) -> TrialReport:
    conditions = [ConditionSpec(kind, CONDITIONS.get(kind).facts.severities[2], "eval") for kind in MEASURED]
    spec = TrialSpec(
        study="test",
        backbone=BackboneSpec("bundled:minilm"),
        tasks=(TASK.spec,),
        pool=PoolSpec(("attn.v",), ("lora",), (2,), layers=(5,)),
        gates=GateSpec("hard_concrete", 0.3, 0.1, 0.9, 0.5),
        size=SizeSpec("penalty", sparsity_weight=0.1),
        training=TrainingSpec(8, 5e-3, 3e-2, 0.01, "linear", steps=4, reports=1),
        train_conditions=(),
        measured=tuple(conditions),
        seeds=SeedPair(1, 2),
        robustness="curve_area",
    )
    *_, report = TrialWorker([TASK], cache=None, threads=1, device="cpu").run(replace(spec, **changes))
    assert isinstance(report, TrialReport)
    assert report.state == "complete", report.reason
    return report


def test_a_trial_trains_under_some_kinds_and_is_measured_under_all() -> None:
    train = tuple(ConditionSpec(kind, 0.3, "train") for kind in ("neighbour", "token_dropout", "neftune", "char_swap"))
    report = trial(train_conditions=train)
    rows = {(row.condition, row.level): row.value for row in report.metrics if row.metric == "accuracy"}
    assert {kind for kind, _ in rows} == {"clean", *MEASURED}
    areas = [(rows["clean", 0.0] + value) / 2 for (kind, _), value in rows.items() if kind != "clean"]
    assert report.objectives["robustness"] == pytest.approx(sum(areas) / len(areas))
    again = trial(train_conditions=train)
    assert again.metrics == report.metrics
    assert again.artifact == report.artifact
