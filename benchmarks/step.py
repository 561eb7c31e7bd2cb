"""Time of a training step: our LoRA, a gated pool of the same size, PEFT's LoRA, whole pools, and the FLOP floor.

All variants take turns within a round, in an order that rotates, on batches of 32 texts of 24 tokens each (no padding)
with frozen MiniLM; numbers are medians over rounds, ratios are made within a round first. Our steps are timed through
the worker that runs trials, data loading and optimiser included.

    lora           q and v of every layer, rank 8, no gates        gated        the same slots with gates that learn
    gated_rank     the same, a gate for each rank                  peft         the same with PEFT, a plain loop
    whole_pool     every place, rank-one LoRA, shifts and scales   gated_pool   the same with gates that learn
    frozen         forward and backward of the frozen layers alone, without anything attached
    compiled       the same through torch.compile, with --compile: what compiling a trial could win at most

The floor is the time that the step's matrix products take at the rate that this machine reaches in products of the same
shapes, measured between the variants of each round.

    python benchmarks/step.py [--repeats ROUNDS] [--steps N] [--threads N] [--device cpu|cuda] [--compile] [--json FILE]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import transformers
from kit import Journal, arguments, described, finish, machine, outcome
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import AutoModel

from slasearch.config.schema import POOL_PRESETS
from slasearch.records import (
    BackboneSpec,
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
from slasearch.records import FinalisationSpec as Finalisation
from slasearch.trial.backbone import backbone_folder
from slasearch.trial.run import TrialWorker

BACKBONE = BackboneSpec("bundled:minilm")
RANK = 8
LORA_POOL = PoolSpec(("attn.q", "attn.v"), ("lora",), (RANK,))
GRANULAR = PoolSpec(POOL_PRESETS["granular"]["sites"], POOL_PRESETS["granular"]["kinds"], (1,))
WORDS = "time year people way day man thing woman life child world school state family student group country problem"
GATED_TARGET, RATE_TARGET = 1.05, 0.65


@dataclass(frozen=True)
class Sizes:
    """What a variant is timed on: `steps` steps of `texts` texts of `tokens` tokens."""

    steps: int = 8
    texts: int = 32
    tokens: int = 24


# ---------------------------------------------------------------- our steps


def made_up_task(sizes: Sizes) -> TaskData:
    """Texts of exactly as many tokens as a step takes, so that no variant pads."""
    words, source = WORDS.split(), random.Random(0)

    def examples(split: str, count: int) -> tuple[Example, ...]:
        texts = (" ".join(source.choices(words, k=sizes.tokens - 2)) for _ in range(count))
        return tuple(Example(f"{split}{number}", text, number % 2) for number, text in enumerate(texts))

    splits = {"train": examples("train", 8 * sizes.texts), "gate": (), "test": ()}
    splits["validation"] = examples("validation", 4)
    return TaskData(TaskSpec("words", "object:words", max_tokens=sizes.tokens), ("a", "b"), splits)


def specs(task: TaskData, sizes: Sizes) -> dict[str, TrialSpec]:
    """Our variants as trials."""
    plain = TrialSpec(
        study="step",
        backbone=BACKBONE,
        tasks=(task.spec,),
        pool=LORA_POOL,
        gates=GateSpec("hard_concrete", learning_rate=0.05, warm_up=0.0, initial_openness=0.9, threshold=0.5),
        size=SizeSpec("penalty", sparsity_weight=0.0),
        training=TrainingSpec(sizes.texts, 1e-3, 1e-3, 0.01, "linear", steps=sizes.steps, reports=1),
        train_conditions=(),
        measured=(),
        seeds=SeedPair(0, 0),
        finalisation=Finalisation(share=1e-6),
        control="all_open",
    )
    return {
        "lora": plain,
        "gated": replace(plain, control=None),
        "gated_rank": replace(plain, control=None, pool=replace(LORA_POOL, gating="rank")),
        "whole_pool": replace(plain, pool=GRANULAR),
        "gated_pool": replace(plain, pool=GRANULAR, control=None),
    }


def trained(worker: TrialWorker, spec: TrialSpec) -> TrialReport:
    """The report of a trial.

    Raises:
        RuntimeError: The trial failed.
    """
    *_, report = worker.run(spec)
    assert isinstance(report, TrialReport)
    if report.state != "complete":
        raise RuntimeError(f"{report.reason}\n{report.traceback}")
    return report


def costs(report: TrialReport) -> dict[str, float]:
    """The report's costs by name."""
    return {cost.name: cost.value for cost in report.costs}


def our_step(worker: TrialWorker, spec: TrialSpec, device: str) -> float:
    """Seconds of a step. On CUDA, where nobody waits for the device at a step's end, from trials of two lengths."""
    steps = spec.training.steps
    assert steps is not None
    if device == "cpu":
        return costs(trained(worker, spec))["train_seconds"] / steps
    walls = []
    for length in (steps, 3 * steps):
        began = time.perf_counter()
        trained(worker, replace(spec, training=replace(spec.training, steps=length)))
        torch.cuda.synchronize()
        walls.append(time.perf_counter() - began)
    return (walls[1] - walls[0]) / (2 * steps)


# ---------------------------------------------------------------- others' steps


def loop(step: Callable[[], object], steps: int, device: str) -> float:
    """Seconds of a step."""
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def batch_of(sizes: Sizes, device: str) -> dict[str, Tensor]:
    """Random tokens without padding."""
    ids = torch.randint(1000, 20000, (sizes.texts, sizes.tokens), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    return {name: value.to(device) for name, value in batch.items()}


def peft_step(sizes: Sizes, device: str) -> Callable[[], object]:
    """A step of PEFT's LoRA: mean pooling, a linear head, AdamW, clipped gradients; no dropout, as in ours."""
    from peft import LoraConfig, get_peft_model

    encoder = AutoModel.from_pretrained(backbone_folder(BACKBONE), add_pooling_layer=False)
    model = get_peft_model(encoder, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["query", "value"]))
    model.eval().to(device)
    head = nn.Linear(model.config.hidden_size, 2, device=device)
    batch = batch_of(sizes, device)
    labels = torch.arange(sizes.texts, device=device) % 2
    weights = [weight for weight in (*model.parameters(), *head.parameters()) if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        nn.functional.cross_entropy(head((hidden * mask).sum(1) / mask.sum(1)), labels).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    return step


def frozen_step(sizes: Sizes, device: str, *, compiled: bool = False) -> Callable[[], object]:
    """Forward and backward of the frozen layers from their input on, which asks for its gradient.

    Compiled, they take texts of any length, as batches of a trial have, and are warm.
    """
    model = AutoModel.from_pretrained(backbone_folder(BACKBONE), add_pooling_layer=False).requires_grad_(False)
    model.eval().to(device)
    batch = batch_of(sizes, device)
    entering = model.embeddings(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    entering = entering.detach().requires_grad_()
    upstream = torch.ones_like(entering)

    encoder = torch.compile(model.encoder, dynamic=True) if compiled else model.encoder

    def step() -> None:
        entering.grad = None
        encoder(entering, attention_mask=None)[0].backward(upstream)

    if compiled:
        loop(step, 2, device)
    return step


# ---------------------------------------------------------------- floating-point operations


@dataclass(frozen=True)
class Floor:
    """Floating-point operations of a step of the plain LoRA, counted by hand.

    With N tokens in a batch of texts of t tokens, L layers, width d, inner width f, rank r, a multiply-add being 2:

        layer forward     2·N·(4·d² + 2·d·f)         backward to its input: the same; the lowest layer has no need to
                                                      go below q, k and v, as nothing is trained under them: − 2·N·3·d²
        attention         4·N·t·d forward, 10·N·t·d backward (fused: it computes the scores again)
        LoRA              2·N·r·(d + d) forward, twice that backward but for the lowest layer's input, for q and v
    """

    linear: float
    attention: float
    lora: float
    by_shape: Mapping[tuple[int, int], float]
    """Of the linear maps, by (width in, width out) of the product."""

    @property
    def total(self) -> float:
        """All."""
        return self.linear + self.attention + self.lora


def floor_of(sizes: Sizes, layers: int, width: int, inner: int) -> Floor:
    """The count for q and v of every layer."""
    n = sizes.texts * sizes.tokens
    square, wide = 2 * n * width * width, 2 * n * width * inner
    by_shape = {
        (width, width): float(4 * square * layers + 4 * square * (layers - 1) + square),
        (width, inner): float(2 * wide * layers),
        (inner, width): float(2 * wide * layers),
    }
    map_lora = 2 * n * RANK * 2 * width
    lora = 2 * (3 * layers * map_lora - map_lora / 2)
    return Floor(sum(by_shape.values()), float(14 * n * sizes.tokens * width * layers), lora, by_shape)


def counted(run: Callable[[int], object]) -> float:
    """Operations of a step by PyTorch's counter: what two more steps add. `run` takes the number of steps."""
    totals = []
    for steps in (2, 4):
        with FlopCounterMode(display=False, custom_mapping=_cpu_attention()) as counter:
            run(steps)
        totals.append(counter.get_total_flops())
    return (totals[1] - totals[0]) / 2


def _cpu_attention() -> dict[Any, Callable[..., int]]:
    """The fused attention of the CPU, which the counter does not know."""

    def forward(query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
        return int(sdpa_flop_count(query, key, value) * 5 // 2)

    aten = torch.ops.aten
    return {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }


def sgemm_rate(rows: int, width_in: int, width_out: int, device: str, seconds: float) -> float:
    """Operations a second of a product of `rows x width_in` and a weight, forward and backward to the input in turn."""
    x = torch.randn(rows, width_in, device=device)
    weight, bias = torch.randn(width_out, width_in, device=device), torch.randn(width_out, device=device)
    y = nn.functional.linear(x, weight, bias)

    def both() -> None:
        nn.functional.linear(x, weight, bias)
        torch.mm(y, weight)

    loop(both, 2, device)
    count, began = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - began < seconds:
        loop(both, 4, device)
        count += 4
    return 2 * count * 2 * rows * width_in * width_out / (time.perf_counter() - began)


# ---------------------------------------------------------------- rounds


class Rounds:
    """Everything that is timed, ready to run."""

    def __init__(self, sizes: Sizes, options: argparse.Namespace) -> None:
        self._sizes, self._device = sizes, options.device
        task = made_up_task(sizes)
        self._worker = TrialWorker([task], cache=None, threads=options.threads, device=options.device)
        torch.set_num_threads(options.threads)
        self._specs = specs(task, sizes)
        self._steps = {"peft": peft_step(sizes, options.device), "frozen": frozen_step(sizes, options.device)}
        config = AutoModel.from_pretrained(backbone_folder(BACKBONE)).config
        self.floor = floor_of(sizes, config.num_hidden_layers, config.hidden_size, config.intermediate_size)
        self.compile_seconds: float | None = None
        if options.compile:
            began = time.perf_counter()
            self._steps["compiled"] = frozen_step(sizes, options.device, compiled=True)
            self.compile_seconds = time.perf_counter() - began
        self._rate_seconds = 0.02 if options.smoke else 0.3
        self.variants = [*self._specs, *self._steps]

    def flops(self) -> dict[str, float]:
        """Operations of a step of each variant, by PyTorch's counter."""
        found = {
            name: counted(
                lambda steps, spec=spec: trained(
                    self._worker, replace(spec, training=replace(spec.training, steps=steps))
                )
            )
            for name, spec in self._specs.items()
        }
        for name, step in self._steps.items():
            if name != "compiled":  # its operations are those of `frozen`, and the counter does not see them
                found[name] = counted(lambda steps, step=step: [step() for _ in range(steps)])
        return {**found, "compiled": found["frozen"]}

    def tokens(self) -> float:
        """Tokens of a step, padding left out, as our report counts them."""
        return costs(trained(self._worker, self._specs["lora"]))["train_tokens"] / self._sizes.steps

    def round(self, number: int) -> dict[str, Any]:
        """Seconds of a step of each variant, and rates of products before and after."""
        before = self._rates()
        shift = number % len(self.variants)
        seconds = {name: self._seconds(name) for name in self.variants[shift:] + self.variants[:shift]}
        after = self._rates()
        rates = {shape: (before[shape] + after[shape]) / 2 for shape in before}
        return {"seconds": seconds, "rates": {f"{one}x{other}": rate for (one, other), rate in rates.items()}}

    def _seconds(self, name: str) -> float:
        if name in self._steps:
            return loop(self._steps[name], self._sizes.steps, self._device)
        return our_step(self._worker, self._specs[name], self._device)

    def _rates(self) -> dict[tuple[int, int], float]:
        rows = self._sizes.texts * self._sizes.tokens
        return {shape: sgemm_rate(rows, *shape, self._device, self._rate_seconds) for shape in self.floor.by_shape}


# ---------------------------------------------------------------- results


def results(rounds: Sequence[Mapping[str, Any]], floor: Floor, flops: Mapping[str, float]) -> dict[str, Any]:
    """Medians over rounds of what each round gives."""
    names = list(rounds[0]["seconds"])
    one = [_of_round(found, floor, flops) for found in rounds]
    return {
        "step_ms": {name: 1000 * statistics.median(found["seconds"][name] for found in rounds) for name in names},
        "flops": dict(flops),
        "floor_flops": {"linear": floor.linear, "attention": floor.attention, "lora": floor.lora, "total": floor.total},
        "sgemm_gflops": statistics.median(found["sgemm_gflops"] for found in one),
        "achieved_gflops": {name: statistics.median(found["achieved_gflops"][name] for found in one) for name in names},
        **{
            name: statistics.median(found[name] for found in one)
            for name in one[0]
            if name not in ("sgemm_gflops", "achieved_gflops")
        },
    }


def _of_round(found: Mapping[str, Any], floor: Floor, flops: Mapping[str, float]) -> dict[str, Any]:
    seconds = found["seconds"]
    achieved = {name: flops[name] / seconds[name] / 1e9 for name in seconds}
    linear_seconds = sum(
        operations / found["rates"][f"{one}x{other}"] for (one, other), operations in floor.by_shape.items()
    )
    sgemm = floor.linear / linear_seconds / 1e9
    compiled = {"compiled_to_frozen": seconds["compiled"] / seconds["frozen"]} if "compiled" in seconds else {}
    return {
        **compiled,
        "gated_to_lora": seconds["gated"] / seconds["lora"],
        "gated_rank_to_lora": seconds["gated_rank"] / seconds["lora"],
        "lora_to_peft": seconds["lora"] / seconds["peft"],
        "whole_pool_to_lora": seconds["whole_pool"] / seconds["lora"],
        "gated_pool_to_lora": seconds["gated_pool"] / seconds["lora"],
        "whole_pool_time_to_flops": seconds["whole_pool"] / seconds["lora"] / (flops["whole_pool"] / flops["lora"]),
        "sgemm_gflops": sgemm,
        "achieved_gflops": achieved,
        "share_of_sgemm": achieved["lora"] / sgemm,
        "share_of_sgemm_frozen_alone": achieved["frozen"] / sgemm,
        "floor_to_step": floor.total / (sgemm * 1e9) / seconds["lora"],
    }


def verdicts(found: Mapping[str, Any], *, smoke: bool) -> dict[str, str]:
    """The targets: gates cost next to nothing, and the machine is busy with products."""
    return {
        "gated_to_lora": outcome(found["gated_to_lora"], GATED_TARGET, at_least=False, smoke=smoke),
        "share_of_sgemm": outcome(found["share_of_sgemm"], RATE_TARGET, smoke=smoke),
    }


def table(found: Mapping[str, Any]) -> str:
    """The result for people."""
    numbers, said, sizes = found["medians"], found["verdicts"], found["settings"]["sizes"]
    lines = [
        described(found["machine"]),
        f"{sizes['texts']} texts of {sizes['tokens']} tokens; {found['repeats']} rounds of {sizes['steps']} steps",
        *(
            f"{name:12} {milliseconds:8.1f} ms  {numbers['flops'][name] / 1e9:7.2f} GFLOP  "
            f"{numbers['achieved_gflops'][name]:7.1f} GFLOP/s"
            for name, milliseconds in numbers["step_ms"].items()
        ),
        f"products of these shapes: {numbers['sgemm_gflops']:.1f} GFLOP/s; "
        f"the lora step counted by hand: {numbers['floor_flops']['total'] / 1e9:.2f} GFLOP",
        f"gated / lora          {numbers['gated_to_lora']:.3f} (target {GATED_TARGET}: {said['gated_to_lora']})",
        f"gated by rank / lora  {numbers['gated_rank_to_lora']:.3f}",
        f"lora / peft           {numbers['lora_to_peft']:.3f}",
        f"whole pool / lora     {numbers['whole_pool_to_lora']:.3f}, "
        f"which is {numbers['whole_pool_time_to_flops']:.3f} of what their products say",
        f"gated pool / lora     {numbers['gated_pool_to_lora']:.3f}",
        f"share of the products' rate: lora {numbers['share_of_sgemm']:.3f} (target {RATE_TARGET}: "
        f"{said['share_of_sgemm']}), frozen layers alone {numbers['share_of_sgemm_frozen_alone']:.3f}",
    ]
    if "compiled_to_frozen" in numbers:
        lines.append(
            f"compiled / frozen     {numbers['compiled_to_frozen']:.3f}, "
            f"after {found['compile_seconds']:.0f} s of compiling"
        )
    return "\n".join(lines)


def main() -> int:
    parser = arguments(__doc__, repeats=15)
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed at a time (default: 8)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="time the frozen layers through torch.compile, too")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    sizes = Sizes(2, 8, 12) if options.smoke else Sizes(options.steps)
    repeats = 1 if options.smoke else options.repeats
    settings = {"sizes": asdict(sizes), "device": options.device, "threads": options.threads}
    settings |= {"compile": options.compile}
    about = machine(options.device, options.threads)
    rounds = Rounds(sizes, options)
    journal = Journal(options, settings)
    assert rounds.tokens() == sizes.texts * sizes.tokens, "expected steps without padding"
    flops = journal.piece("flops", rounds.flops)
    rounds.round(0)  # caches and the allocator are warm from here on
    found = [journal.piece(f"round {number}", lambda number=number: rounds.round(number)) for number in range(repeats)]
    medians = results(found, rounds.floor, {name: flops[name] for name in rounds.variants})
    result = {
        "benchmark": "step",
        "machine": about,
        "settings": settings,
        "repeats": repeats,
        "medians": medians,
        "verdicts": verdicts(medians, smoke=options.smoke),
        "compile_seconds": rounds.compile_seconds,
        "all": found,
    }
    return finish(result, table(result), journal, options.json)


if __name__ == "__main__":
    sys.exit(main())
