"""A gated pool in a Hugging Face Trainer: a classifier whose adapters find their places while they train.

    pip install -e '.[bundled,peft]'    in the checkout; the Trainer needs accelerate, which comes with peft
    python docs/examples/hf_trainer.py

Gates learn for the first 60 % of the steps, then the structure is fixed and its modules train on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import slasearch
from slasearch.records import BackboneSpec, SplitLimits, TaskSpec
from slasearch.tasks.load import load_task
from slasearch.trial.backbone import backbone_folder


class GatedTrainer(Trainer):
    """Adds the size term of the gates to the loss."""

    def __init__(self, *args: Any, gated: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gated = gated

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """The model's loss, and the gates' penalty while it trains."""
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        if model.training:
            loss = loss + self.gated.penalty()
        return (loss, outputs) if return_outputs else loss


class Gates(TrainerCallback):
    """Lets the gates learn after each optimiser step, and fixes the structure when their steps are done."""

    def __init__(self, gated: Any) -> None:
        self.gated = gated

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Gradients are still there."""
        self.gated.step()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """From here on the structure is fixed."""
        if self.gated.ready:
            self.gated.finalise()


def main(out: Path, *, examples: int = 1000, validation: int = 400, epochs: int = 2) -> float:
    """Trains on tweets, writes adapter and head to `out`, and gives the accuracy on validation.

    `load_state_dict(…, strict=False)` and `slasearch.load_adapter` put them into another classifier again.
    """
    folder = backbone_folder(BackboneSpec("bundled:minilm"))
    limits = SplitLimits(train=examples, validation=validation)
    task = load_task(TaskSpec("tweets", "bundled:tweet_sentiment", limits=limits))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(task.labels))

    def rows(split: str) -> list[dict[str, Any]]:
        return [
            {**tokenizer(example.text, truncation=True, max_length=32), "labels": example.label}
            for example in task.splits[split]
        ]

    steps = -(-examples // 32) * epochs
    gated = slasearch.attach(
        model, "granular", steps=round(0.6 * steps), budget=9216, finish="progressive", gates={"learning_rate": 0.1}
    )
    trainer = GatedTrainer(
        model,
        TrainingArguments(
            output_dir=str(out / "trainer"),
            per_device_train_batch_size=32,
            per_device_eval_batch_size=128,
            num_train_epochs=epochs,
            learning_rate=3e-3,  # a higher one would want `gated.rate_factor`, by which a study multiplies it
            save_strategy="no",
            report_to=[],
            use_cpu=not torch.cuda.is_available(),
        ),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=rows("train"),
        eval_dataset=rows("validation"),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())},
        callbacks=[Gates(gated)],
        gated=gated,
    )
    trainer.train()
    accuracy = float(trainer.evaluate()["eval_accuracy"])
    gated.export(out / "adapter")
    head = {name: value for name, value in model.state_dict().items() if name.startswith("classifier.")}
    save_file(head, out / "head.safetensors")
    print(f"{accuracy:.3f} accuracy with {gated.pool.parameter_count():,} parameters in {len(gated.pool.slots)} slots")
    return accuracy


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "hf-trainer"))
