"""The stack that a user would build: Ray Tune, OptunaSearch, the HF Trainer and PEFT's LoRA in a function trainable.

Nothing of slasearch runs in a trial: only the examples come from its task sources, so that both sides see the same.
`usual` is the stack with what its guides recommend: dynamic padding, large evaluation batches, one thread a trial,
texts tokenised once and shared through Ray's object store. `tuned` has what an attentive user finds besides: batches of
similar length, workers that are reused, and no dropout. `usual_bf16` and `tuned_bf16` are the same under bf16 autocast.

    python benchmarks/stock.py '{"work": …, "variant": "usual"}'

This is what search_speed.py runs; the last line is the result as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from typing import Any

from workload import NOISE, Workload, examples_of

__all__ = ["VARIANTS", "train"]

VARIANTS: dict[str, dict[str, bool]] = {
    "usual": {"group_by_length": False, "reuse_workers": False, "dropout": True, "bf16": False},
    "tuned": {"group_by_length": True, "reuse_workers": True, "dropout": False, "bf16": False},
    "usual_bf16": {"group_by_length": False, "reuse_workers": False, "dropout": True, "bf16": True},
    "tuned_bf16": {"group_by_length": True, "reuse_workers": True, "dropout": False, "bf16": True},
}


def train(config: dict[str, Any], data: dict[str, Any], work: Workload, variant: dict[str, bool]) -> None:
    """One trial: loads the backbone, adapts it, reports accuracy after every epoch."""
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model
    from ray import tune
    from transformers import AutoConfig, AutoModel, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    torch.set_num_threads(work.threads)
    seed = work.seed_of(config["learning_rate"])
    torch.manual_seed(seed)
    backbone = data["backbone"]
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    settings = AutoConfig.from_pretrained(backbone)
    if not variant["dropout"]:
        settings.hidden_dropout_prob = settings.attention_probs_dropout_prob = 0.0
    encoder = AutoModel.from_pretrained(backbone, config=settings, add_pooling_layer=False)
    lora = LoraConfig(r=8, lora_alpha=8, target_modules=["query", "value"], layers_to_transform=list(work.layers))
    if work.noise:
        add_noise(encoder, NOISE)
    model = _classifier(get_peft_model(encoder, lora), len(data["labels"]), work.pooling)

    class Reporter(Trainer):  # type: ignore[misc]
        """Reports to Tune whenever it has evaluated."""

        def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            found: dict[str, float] = super().evaluate(*args, **kwargs)
            seconds["evaluate"] += found["eval_runtime"]
            tune.report({"score": found["eval_accuracy"], "evaluate_s": seconds["evaluate"], "ended": time.time()})
            return found

    seconds = {"evaluate": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Reporter(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=work.epochs,
                per_device_train_batch_size=work.batch_size,
                per_device_eval_batch_size=128,
                learning_rate=config["learning_rate"],
                weight_decay=0.01,
                lr_scheduler_type="linear",
                eval_strategy="epoch",
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=work.device == "cuda",
                use_cpu=work.device == "cpu",
                bf16=variant["bf16"],
                train_sampling_strategy="group_by_length" if variant["group_by_length"] else "random",
                seed=seed,
            ),
            train_dataset=data["train"],
            eval_dataset=data["validation"],
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
            compute_metrics=lambda result: {
                "accuracy": float(np.mean(result.predictions.argmax(1) == result.label_ids))
            },
        )
        trainer.train()


def _classifier(encoder: Any, labels: int, pooling: str) -> Any:
    """The encoder with a linear head on the tokens' mean, as the model was made for, or on the first token.

    The first token is what `AutoModelForSequenceClassification` takes of a BERT.
    """
    import torch
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.head = nn.Linear(encoder.config.hidden_size, labels)
            nn.init.normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            token_type_ids: torch.Tensor | None = None,
            labels: torch.Tensor | None = None,
        ) -> dict[str, torch.Tensor]:
            hidden = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            logits = self.head(hidden[:, 0] if pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1))
            if labels is None:
                return {"logits": logits}
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    return Classifier()


def add_noise(encoder: Any, share: float) -> None:
    """Gaussian noise on the embeddings of a share of the tokens, drawn anew for every batch, in training only."""
    import torch

    table = encoder.get_input_embeddings()
    scale = float(table.weight.square().mean().sqrt())

    def disturb(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not module.training:
            return None
        chosen = torch.rand(output.shape[:2], device=output.device).unsqueeze(-1) < share
        return output + chosen * scale * torch.randn_like(output)

    table.register_forward_hook(disturb)


def search(work: Workload, variant: dict[str, bool]) -> dict[str, Any]:
    """The whole search, from Ray's start to its end."""
    import ray
    from optuna.samplers import RandomSampler, TPESampler
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    began = time.time()
    data = tokenised(work)
    ray.init(num_cpus=max(work.concurrency, len(os.sched_getaffinity(0))), include_dashboard=False, log_to_driver=False)
    sampler = TPESampler(seed=work.seed) if work.rates is None else RandomSampler(seed=work.seed)
    points = None if work.rates is None else [{"learning_rate": rate} for rate in work.rates]
    trainable = tune.with_parameters(train, data=data, work=work, variant=variant)
    gpus = 1 / work.concurrency if work.device == "cuda" else 0
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": work.threads, "gpu": gpus}),
            param_space={"learning_rate": tune.loguniform(*work.rate_range)},
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                num_samples=work.trials,
                max_concurrent_trials=work.concurrency,
                search_alg=OptunaSearch(sampler=sampler, points_to_evaluate=points, metric="score", mode="max"),
                reuse_actors=variant["reuse_workers"],
            ),
            run_config=tune.RunConfig(storage_path=folder, name="stock", verbose=0),
        )
        results = tuner.fit()
        trials = [
            {
                "rate": result.config["learning_rate"],
                "score": result.metrics["score"],
                "seconds": result.metrics["time_total_s"],
                "evaluate_s": result.metrics["evaluate_s"],
                "ended": result.metrics["ended"],
            }
            for result in results
            if result.error is None
        ]
    ray.shutdown()
    return {"search_s": time.time() - began, "trials": trials, "failed": len(results) - len(trials)}


def tokenised(work: Workload) -> dict[str, Any]:
    """Every text as token ids, cut to the most tokens and not padded, as a list of rows that a Trainer takes."""
    from transformers import AutoTokenizer

    texts = examples_of(work)
    tokenizer = AutoTokenizer.from_pretrained(texts["backbone"])

    def rows(split: str) -> list[dict[str, Any]]:
        first, second, labels = texts[split]
        encoded = tokenizer(first, second, truncation=True, max_length=work.max_tokens)
        fields = ["input_ids", "attention_mask", *(["token_type_ids"] if second else [])]
        return [
            dict(zip([*fields, "labels"], row, strict=True))
            for row in zip(*(encoded[field] for field in fields), labels, strict=True)
        ]

    return {**texts, "train": rows("train"), "validation": rows("validation")}


def main() -> None:
    settings = json.loads(sys.argv[1])
    work = Workload(**settings["work"])
    found = search(work, VARIANTS[settings["variant"]])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
