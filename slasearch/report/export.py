"""A trial's adapter as a folder of files, in one of three formats, with a model card beside it.

What is written is made in a folder of its own first, so that a refusal or a failure leaves `out` as it was.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slasearch.adapters.export import (
    CARD_FILE,
    TENSOR_FILE,
    AdapterCard,
    adapter_files,
    of_task,
    parse_adapter,
    restore_pool,
)
from slasearch.adapters.peft_format import SIDECAR_FILE, check_peft, write_peft
from slasearch.config.load import stored_study
from slasearch.config.locations import Locations
from slasearch.errors import ArtifactError, BackboneError
from slasearch.report.choice import trial_label
from slasearch.report.model_card import ExportFormat, ModelCard, model_card
from slasearch.report.origin import Origin, origin_of
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.places import disk_errors
from slasearch.storage.rows import TrialRow
from slasearch.storage.store import Store
from slasearch.trial.backbone import Backbone
from slasearch.trial.export import write_merged
from slasearch.trial.load import load_fitting
from slasearch.trial.measure import Measurement, measure

__all__ = ["Export", "ExportOptions", "export_adapter"]

README_FILE = "README.md"


@dataclass(frozen=True)
class ExportOptions:
    """How an adapter is written.

    Args:
        form: `slasearch` (our own), `peft` (stock PEFT, LoRA slots only) or `merged` (the whole backbone, one task).
        task: This task alone, None: all of them; in `peft` a folder for each.
        backbone: Id of the backbone where it lies elsewhere now, as `path:DIR`.
        measured: Whether time and memory are measured for the model card.
    """

    form: ExportFormat = "slasearch"
    task: str | None = None
    backbone: str | None = None
    measured: bool = True


@dataclass(frozen=True)
class Export:
    """What was written: the trial's label and objectives, the tasks with their parameters, and the files.

    `exported_parameters` counts the modules of the tasks that were written, without their heads.
    """

    trial: str
    role: str
    score: float | None
    exported_parameters: int
    robustness: float | None
    form: ExportFormat
    tasks: tuple[str, ...]
    files: tuple[Path, ...]


def export_adapter(
    locations: Locations, study: str, trial: TrialRow, out: Path, options: ExportOptions = ExportOptions()
) -> Export:
    """Writes a trial's adapter into the folder `out`, after its SHA-256 was checked.

    Args:
        locations: The database and the home folder; the study says where its trained adapters are.
        study: Name of the trial's study.
        trial: A complete trial.
        out: Folder to write into; made if need be. An earlier export of the same files in it is replaced.
        options: Format, task, and whether it is measured.

    Raises:
        ArtifactError: The trial left no adapter, a file was changed, the format cannot hold its kinds, it has no such
            task, or `out` holds something else.
        BackboneError: The backbone is needed and is not found.
        StorageError: The disk refuses.
    """
    with disk_errors(out):
        _refuse_occupied(out)
    card, tensors = of_task(*_stored(locations, study, trial), options.task)
    parts = _parts(card, tensors, options)
    origin = origin_of(locations.storage_url, study, trial, options.backbone or card.backbone.id)
    writer = _Writer(origin, _backbone(card, options), options)
    with disk_errors(out):
        beside = out.resolve().parent  # `.` and `..` have no parent of their own
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".slasearch-export-", dir=beside) as made:
            for folder, part in parts.items():
                (Path(made) / folder).mkdir(exist_ok=True)
                writer.write(Path(made) / folder, *part)
            files = _moved(Path(made), out)
    return Export(
        trial_label(trial),
        trial.role,
        trial.score,
        card.parameters,
        trial.robustness,
        options.form,
        tuple(task.name for task in card.tasks),
        files,
    )


def _stored(locations: Locations, name: str, trial: TrialRow) -> tuple[AdapterCard, dict[str, Tensor]]:
    """The adapter that a trial of the study `name` handed back."""
    store = Store(locations.storage_url)
    study, rows = store.study(name), store.artifacts(trial.id)
    label = trial_label(trial)
    if not rows:
        raise ArtifactError(
            f"trial {label}: expected a complete trial with an adapter, got one that is {trial.state} "
            "and left none. Choose another; `slasearch trials NAME` lists them."
        )
    artifacts = Artifacts.of(study, locations.home, stored_study(study.config).resources.storage_path)
    files = {row.name: artifacts.read(row) for row in rows}
    if not {CARD_FILE, TENSOR_FILE} <= set(files):
        raise ArtifactError(
            f"trial {label}: expected an adapter made of slots, got {trial.role}, a method with modules of its own. "
            f"Its tensors lie in {artifacts.where(rows[0]).rpartition('/')[0]}."
        )
    return parse_adapter(files[CARD_FILE], files[TENSOR_FILE], f"trial {label}")


def _parts(
    card: AdapterCard, tensors: Mapping[str, Tensor], options: ExportOptions
) -> dict[str, tuple[AdapterCard, Mapping[str, Tensor]]]:
    """What is written, by folder; the empty name is `out` itself."""
    names = [task.name for task in card.tasks]
    if options.form == "merged" and len(names) > 1:
        raise ArtifactError(
            f"format merged: expected one task, got {', '.join(names)}, each with a path of its own. "
            "Name one with --task."
        )
    if options.form != "peft" or len(names) == 1:
        parts = {"": (card, tensors)}
    else:
        parts = {name: of_task(card, tensors, name) for name in names}
    for part, _ in parts.values():
        if options.form == "peft":
            check_peft(part)
    return parts


def _backbone(card: AdapterCard, options: ExportOptions) -> Backbone | None:
    """The backbone, where something must be computed with it."""
    if options.form == "slasearch" and not options.measured:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return load_fitting(card, backbone=options.backbone, device=device)
    except BackboneError as error:
        more = ", or export with --no-measure" if options.form == "slasearch" else ""
        raise BackboneError(f"{error} Name its place with --backbone path:DIR{more}.") from error


@dataclass(frozen=True)
class _Writer:
    """Writes folders; `backbone` is None where nothing is computed with it."""

    origin: Origin
    backbone: Backbone | None
    options: ExportOptions

    def write(self, folder: Path, card: AdapterCard, tensors: Mapping[str, Tensor]) -> None:
        """The files of one adapter and its model card."""
        counts = {task.name: of_task(card, tensors, task.name)[0].parameters for task in card.tasks}
        measurement = self._measured(card, tensors)
        self._contents(folder, card, tensors)
        text = model_card(ModelCard(self.options.form, card, counts, self.origin, measurement))
        (folder / README_FILE).write_text(text, encoding="utf-8", newline="\n")

    def _measured(self, card: AdapterCard, tensors: Mapping[str, Tensor]) -> Measurement | None:
        if self.backbone is None or not self.options.measured:
            return None
        return measure(self.backbone, card, *restore_pool(self.backbone.model, card, tensors))

    def _contents(self, folder: Path, card: AdapterCard, tensors: Mapping[str, Tensor]) -> None:
        if self.options.form == "slasearch":
            _save(folder, adapter_files(card, tensors))
            return
        assert self.backbone is not None
        pool, heads = restore_pool(self.backbone.model, card, tensors)
        head = heads[card.tasks[0].name]
        if self.options.form == "peft":
            base = self.origin.backbone
            _save(folder, write_peft(card, pool, head, self.backbone.model, base=base.base, revision=base.revision))
        else:
            write_merged(folder, card, pool, head, self.backbone)


def _save(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


# ---------------------------------------------------------------- the folder


def _refuse_occupied(out: Path) -> None:
    """Refuses a file, and a folder with something in it that is no earlier export."""
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out}: expected a folder, got a file. Choose another with --out.")
    marks = [mark for name in (CARD_FILE, SIDECAR_FILE) for place in ("", "*/") for mark in out.glob(f"{place}{name}")]
    if out.is_dir() and not marks:
        _refuse_foreign(out, sorted(path.name for path in out.iterdir()))


def _refuse_foreign(out: Path, foreign: list[str]) -> None:
    if foreign:
        raise ArtifactError(
            f"{out}: expected an empty folder or an earlier export, got one that holds {', '.join(foreign[:3])}. "
            "Choose another with --out."
        )


def _moved(made: Path, out: Path) -> tuple[Path, ...]:
    """Moves every file that was made to its place under `out`, if nothing else lies there."""
    names = _files_in(made)
    _refuse_foreign(out, sorted(set(_files_in(out)) - set(names)))
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made / name, out / name)
    return tuple(out / name for name in names)


def _files_in(folder: Path) -> list[str]:
    """Paths of all that is no folder, relative, sorted."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found)
