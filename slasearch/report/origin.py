"""Where an adapter comes from: its trial, its data and its backbone, as far as they can be told on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from slasearch.analysis.compare import Comparisons, compare
from slasearch.analysis.frames import StudyFrames, load_frames
from slasearch.config.backbones import hub_model
from slasearch.config.plain import from_plain, stored_json
from slasearch.errors import ReportError, SlaSearchError
from slasearch.records import BackboneSpec, Split, TaskSpec, TrialSpec
from slasearch.registry import SOURCES
from slasearch.storage.rows import TrialRow
from slasearch.tasks.digest import data_digest
from slasearch.tasks.load import load_task
from slasearch.trial.backbone import backbone_folder

__all__ = ["BackboneOrigin", "Origin", "examples_of", "licence_of", "origin_of"]

_MOST = 64 * 1024
"""No more of a licence or model card is read than this many bytes."""


@dataclass(frozen=True)
class BackboneOrigin:
    """What transformers loads the backbone from (a folder, or a repository at a revision), and its licence."""

    base: str
    revision: str | None
    licence: str


@dataclass(frozen=True)
class Origin:
    """A trial with all that its study stored, and what its backbone is.

    `examples` holds for each task the number of examples of each split, as far as they can be read again unchanged.
    """

    frames: StudyFrames
    trial: TrialRow
    spec: TrialSpec
    backbone: BackboneOrigin
    examples: Mapping[str, Mapping[Split, int]]

    @property
    def comparison(self) -> Comparisons | None:
        """The comparison with controls that this trial, or the trial that it repeats, stands in; None without one."""
        winner = self.trial.id if self.trial.pair_of is None else self.trial.pair_of
        try:
            return next((item for item in compare(self.frames) if item.winner_id == winner), None)
        except ReportError:
            return None


def origin_of(storage_url: str, study: str, trial: TrialRow, backbone: str) -> Origin:
    """Reads what is stored of a trial's study, and looks at its data and its backbone.

    Args:
        storage_url: SQLAlchemy URL of the database.
        study: Name of the study.
        trial: One of its trials.
        backbone: Id of its backbone, where it lies now.
    """
    frames = load_frames(storage_url, study)
    spec = from_plain(TrialSpec, stored_json(trial.spec))
    digests = stored_json(frames.study.data or "{}")
    examples = {task.name: examples_of(task, digests.get(task.name)) for task in spec.tasks}
    return Origin(frames, trial, spec, _backbone(backbone), examples)


def examples_of(task: TaskSpec, digest: str | None) -> dict[Split, int]:
    """How many examples each split of a task has; empty where its data are not here, or are no longer the same.

    Nothing is downloaded for it.

    Args:
        task: The task.
        digest: What identifies the data that the study ran on; None where it is not known.
    """
    if digest is None:
        return {}
    try:
        scheme, _, place = task.source.partition(":")
        if SOURCES.get(scheme).download(place, dict(task.splits)) is not None:
            return {}
        data = load_task(task)
    except SlaSearchError:
        return {}
    counts: dict[Split, int] = {split: len(examples) for split, examples in data.splits.items()}  # type: ignore[misc]
    return counts if data_digest(data) == digest else {}


def _backbone(backbone: str) -> BackboneOrigin:
    scheme, _, rest = backbone.partition(":")
    try:
        folder = backbone_folder(BackboneSpec(backbone), weights=False)
    except SlaSearchError:
        return BackboneOrigin(rest, None, "not stated: the backbone is not on this machine")
    if scheme == "hub":
        return BackboneOrigin(*hub_model(backbone), licence_of(folder))
    return BackboneOrigin(str(folder), None, licence_of(folder))


def licence_of(folder: Path) -> str:
    """The licence that a model's folder states: in its model card, else the first line of its licence file."""
    return _from_card(folder / "README.md") or _from_file(folder) or "not stated"


def _beginning(file: Path) -> str:
    with file.open("rb") as content:
        return content.read(_MOST).decode("utf-8", "replace")


def _from_card(file: Path) -> str | None:
    if not file.is_file():
        return None
    first, _, rest = _beginning(file).partition("\n")
    if first.strip() != "---":
        return None
    try:
        facts = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return None
    facts = facts if isinstance(facts, dict) else {}
    named = facts.get("license_name") if facts.get("license") == "other" else None
    found = named or facts.get("license")
    if isinstance(found, list):
        found = ", ".join(map(str, found))
    return " ".join(str(found).split())[:200] if found else None


def _from_file(folder: Path) -> str | None:
    for file in sorted(folder.glob("LICEN[CS]E*")):
        lines = [line.strip() for line in _beginning(file).splitlines() if line.strip()] if file.is_file() else []
        if lines:
            return f"{lines[0][:200]} ({file.name})"
    return None
