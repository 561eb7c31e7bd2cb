"""What trials of one worker share: the loaded backbone, the tasks, encoded data and evaluation data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from slasearch.records import BackboneSpec, Split, TaskData, TrialSpec
from slasearch.tasks.sample import sampled
from slasearch.trial.backbone import Backbone, load_backbone
from slasearch.trial.data import EvaluationData, TrainingData
from slasearch.trial.prefix import LIMIT, PrefixStore
from slasearch.trial.reuse import Reuse
from slasearch.trial.seeds import derived_seed

__all__ = ["Resources"]


class Resources:
    """Loaded when first asked for, kept from trial to trial.

    Args:
        tasks: The study's tasks with their examples.
        cache: Folder for encoded splits, or None.
        device: `cpu`, `cuda`, or `auto`: a GPU if one is visible.
        limit: Most bytes of hidden states that are kept.
    """

    def __init__(self, tasks: Sequence[TaskData], *, cache: Path | None, device: str, limit: int = LIMIT) -> None:
        self._tasks = {task.spec.name: task for task in tasks}
        self._cache = cache
        name = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        self._device = torch.device(name)
        self._store = PrefixStore(None if cache is None else cache / "hidden", limit=limit)
        self._backbone: Backbone | None = None
        self._reuse: Reuse | None = None
        self._evaluation: dict[tuple[float, tuple[str, ...]], EvaluationData] = {}

    def backbone(self, spec: BackboneSpec) -> Backbone:
        """The backbone, loaded if it is not the last one used."""
        if self._backbone is None or self._backbone.spec != spec:
            self._evaluation.clear()
            self._backbone = load_backbone(spec, self._device)
            self._reuse = Reuse(self._backbone, self._store)
        return self._backbone

    def reuse(self, backbone: Backbone) -> Reuse:
        """Hidden states of a backbone's frozen layers; of the present one they are kept between trials."""
        if self._reuse is None or backbone is not self._backbone:
            return Reuse(backbone, self._store)
        return self._reuse

    def tasks(self, spec: TrialSpec) -> list[TaskData]:
        """The trial's tasks in its order."""
        return [self._tasks[task.name] for task in spec.tasks]

    def evaluation(self, tasks: Sequence[TaskData], backbone: Backbone, share: float = 1.0) -> EvaluationData:
        """Evaluation data of these tasks, kept between trials, with a share of the validation split's examples."""
        key = share, tuple(task.spec.name for task in tasks)
        if key not in self._evaluation:
            part = tasks if share == 1 else [sampled(task, "validation", share) for task in tasks]
            self._evaluation[key] = EvaluationData(part, backbone, self._cache, self.reuse(backbone))
        return self._evaluation[key]

    def training(
        self, tasks: Sequence[TaskData], splits: Sequence[Split], backbone: Backbone, spec: TrialSpec
    ) -> TrainingData:
        """Training batches under the trial's conditions; the gate split by itself is never disturbed."""
        return TrainingData(
            tasks,
            splits,
            backbone,
            () if tuple(splits) == ("gate",) else spec.train_conditions,
            batch_size=spec.training.batch_size,
            seed=derived_seed(spec.seeds.data, " and ".join(splits)),
            cache=self._cache,
            reuse=self.reuse(backbone),
            recurring=spec.recurring,
            task_temperature=spec.training.task_temperature,
        )
