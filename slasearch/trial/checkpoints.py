"""States of a trial on disk, so that a later attempt at it can go on from where an earlier one was lost.

A checkpoint is two files that are named by their step: the tensors as safetensors, and as JSON everything else with the
SHA-256 of both. Each is written under a temporary name, fsynced and renamed, the JSON file last, so that a checkpoint
is there whole or not at all. The newest two are kept; one that is damaged is passed over for the one before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from slasearch.config.plain import to_plain
from slasearch.errors import ArtifactError
from slasearch.files import write_durably
from slasearch.records import Checkpoint, CheckpointPlan, Event, TrialSpec
from slasearch.trial.code import code_digest

__all__ = ["Checkpoints"]

FORMAT = 1
KEPT = 2


class Checkpoints:
    """The checkpoints of one trial, over all attempts at it.

    Args:
        plan: Where they lie, how often they are written, and what earlier attempts have said of them.
        spec: The trial; checkpoints of another, or of other code or another version of torch, are refused.
        clock: Seconds on a clock that never goes back.

    Attributes:
        events: What there is to tell of those that were found or missed.
    """

    def __init__(self, plan: CheckpointPlan, spec: TrialSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._every, self._known = Path(plan.folder), 60 * plan.minutes, plan.known
        versions = [code_digest(), torch.__version__]  # other code would take other steps from here on
        self._spec = _sha256(json.dumps([versions, to_plain(spec)], sort_keys=True).encode())
        self._clock = clock
        self._written = clock()
        self._refused: set[str] = set()
        self.events: list[Event] = []

    # ------------------------------------------------------------ write

    def due(self) -> bool:
        """Whether it is time to write the next one."""
        return self._clock() - self._written >= self._every

    def save(self, step: int, state: Mapping[str, Any]) -> Checkpoint | None:
        """Writes one; None, and an event, if the disk refuses: a trial goes on without.

        Args:
            step: Optimiser steps done.
            state: Dicts, lists, scalars and tensors.
        """
        self._written = self._clock()
        tensors: dict[str, Tensor] = {}
        packed = _pack(state, tensors)
        data = safetensors.torch.save(tensors)
        content = {
            "format": FORMAT,
            "spec": self._spec,
            "tensors_sha256": _sha256(data),
            "state_sha256": _digest(packed),
            "state": packed,
        }
        text = json.dumps(content).encode()
        try:
            write_durably(self._folder / f"{step:09d}.safetensors", data)
            write_durably(self._folder / f"{step:09d}.json", text)
            self._refused.discard(f"{step:09d}")
            self._keep_newest()
        except OSError as error:
            reason = f"{self._folder}: expected to write a checkpoint, got: {error.strerror}; going on without."
            self.events.append(Event("checkpoint.not_written", reason, "warning"))
            return None
        return Checkpoint(step, _sha256(text), socket.gethostname())

    def discard(self) -> None:
        """Removes them all: the trial has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _keep_newest(self) -> None:
        """Removes older ones, those that were passed over, and what an interrupted write has left."""
        kept = set([path.stem for path in self._found() if path.stem not in self._refused][:KEPT])
        for path in self._folder.iterdir():
            if path.stem not in kept:
                path.unlink()

    # ------------------------------------------------------------ read

    def newest(self) -> dict[str, Any] | None:
        """The state of the newest one that is whole, its tensors on the CPU; None if there is none."""
        for path in self._found():
            try:
                state = self._read(path)
            except (OSError, ArtifactError) as error:
                self._refused.add(path.stem)
                self.events.append(Event("checkpoint.damaged", f"{error} It is passed over.", "warning"))
            else:
                text = f"Went on from step {int(path.stem)}, to which an earlier attempt had come."
                self.events.append(Event("checkpoint.resumed", text))
                return state
        if self._known:
            last = self._known[-1]
            text = (
                f"Began again: an earlier attempt had come to step {last.step} on {last.node}, and no checkpoint of it "
                f"can be read on {socket.gethostname()}. A folder that all nodes see (resources.checkpoint_folder) "
                "would hold it."
            )
            self.events.append(Event("checkpoint.none", text, "warning"))
        return None

    def _found(self) -> Iterator[Path]:
        """The JSON files, the newest first."""
        yield from sorted(self._folder.glob("[0-9]*.json"), reverse=True)

    def _read(self, path: Path) -> dict[str, Any]:
        text = path.read_bytes()
        said = {known.sha256 for known in self._known if known.step == int(path.stem)}
        if said and _sha256(text) not in said:
            raise ArtifactError(f"checkpoint {path}: expected the SHA-256 that was stored, got another.")
        try:
            content = json.loads(text)
            data = path.with_suffix(".safetensors").read_bytes()
            found = (content["format"], content["spec"], content["tensors_sha256"], content["state_sha256"])
            whole = found == (FORMAT, self._spec, _sha256(data), _digest(content["state"]))
            state: dict[str, Any] = _unpack(content["state"], safetensors.torch.load(data)) if whole else {}
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(f"checkpoint {path}: expected one that can be read, got {error!r}.") from error
        if not whole:
            raise ArtifactError(f"checkpoint {path}: expected one of this trial and these versions, got another.")
        return state


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON takes it; tensors are put into `tensors` under the names that stand in their places."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _pack(entry, tensors)] for key, entry in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_pack(entry, tensors) for entry in value]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_pack`, but that tuples are lists."""
    if isinstance(value, list):
        return [_unpack(entry, tensors) for entry in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unpack(entry, tensors) for key, entry in value["items"]}
    return value


def _digest(packed: Any) -> str:
    return _sha256(json.dumps(packed).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
