"""A commented study file for a user's own data and model, as a person would write it by hand."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any, Literal

import yaml

from slasearch.config.backbones import checked_backbone
from slasearch.config.document import parse_document
from slasearch.config.load import read_study
from slasearch.errors import ConfigError
from slasearch.files import existing
from slasearch.service.data_facts import TaskFacts
from slasearch.space import checked

__all__ = ["Goal", "backbone_id", "new_study"]

Goal = Literal["structure", "sensitivity"]

_MOST = {"train": 1000, "validation": 400, "test": 1000}
"""Examples of a split that a trial uses, so that a first study takes minutes a trial on a CPU."""
_SHOWN_CLASSES = 6
_MOST_CONCURRENT = 8
_FEW_EXAMPLES, _FEW_STEPS = 500, 100
_FEWEST_EPOCHS, _MOST_EPOCHS, _WANTED_STEPS = 3, 20, 60


def new_study(file: Path, tasks: Sequence[TaskFacts], backbone: str, goal: Goal) -> str:
    """The text of a study file, which `slasearch validate` accepts.

    Args:
        file: Where it is to stand; gives the study its name.
        tasks: Own data; without any a bundled task stands in for them.
        backbone: Id of the backbone.
        goal: `structure`: the best one is searched and confirmed; `sensitivity`: one field varies at a time.

    Raises:
        ConfigError: A task's name or the backbone is not possible; the text names the lines of the file to be.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", file.name.partition(".")[0]).strip("-_")[:64] or "study"
    several = len(tasks) > 1
    parts = [_HEAD[goal], _BACKBONE, _TASKS[several], _MODEL[goal], _PHASES[goal], _END]
    text = Template("\n".join(parts)).substitute(
        _lengths(tasks),
        name=_scalar(name),
        file=_plain(str(file)),
        backbone=_scalar(backbone),
        tasks="".join(map(_task, tasks)) or _STAND_IN,
        controls="[lora, random, shared, linear_probe]" if several else "[lora, random, linear_probe]",
        concurrent=min(_MOST_CONCURRENT, len(os.sched_getaffinity(0))),
    )
    checked(read_study(text, str(file)))
    return text


def backbone_id(given: str) -> str:
    """The id of a backbone from an id, from a folder (`path:`) or from `ORG/NAME@REVISION` (`hub:`).

    Raises:
        ConfigError: It is none of them.
    """
    try:
        folder = existing(given)
        if folder is not None and folder.is_dir():
            return f"path:{given}"
        if given.partition(":")[0] in ("bundled", "path", "hub"):
            return checked_backbone(given)
        if "/" in given and not given.startswith((".", "/", "~")):
            return checked_backbone(f"hub:{given}")
    except ValueError as error:
        raise ConfigError([f"--backbone: {error}"]) from None
    raise ConfigError(
        [f"--backbone: expected a folder with a saved model, bundled:NAME or hub:ORG/NAME@REVISION, got {given!r}"]
    )


def _scalar(value: Any) -> str:
    """A value as YAML has it on one line; text in quotes where it would be read as something else, such as `1e3`."""
    text = _dumped(value)
    return text if parse_document(text, "").root.plain() == value else _dumped(value, '"')


def _dumped(value: Any, style: str | None = None) -> str:
    text: str = yaml.safe_dump(value, default_style=style, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _plain(text: str) -> str:
    """Text that cannot end a comment's line."""
    return text if text.isprintable() else json.dumps(text)


def _lengths(tasks: Sequence[TaskFacts]) -> dict[str, object]:
    """So many epochs that gates have time to learn, and their learning rate for so many steps."""
    examples = sum(min(facts.sizes["train"], _MOST["train"]) for facts in tasks) or _MOST["train"]
    batch = 32 if examples >= _FEW_EXAMPLES else 16
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, math.ceil(_WANTED_STEPS * batch / examples)))
    steps = epochs * math.ceil(examples / batch)
    return {"batch": batch, "epochs": epochs, "steps": steps, "gate_rate": 0.4 if steps < _FEW_STEPS else 0.05}


def _task(facts: TaskFacts) -> str:
    shown = [f"{_plain(label)} {count}" for label, count in list(facts.counts.items())[:_SHOWN_CLASSES]]
    more = ", …" if len(facts.counts) > _SHOWN_CLASSES else ""
    sizes = facts.sizes
    limits = {split: most for split, most in _MOST.items() if sizes[split] > most}
    found = ", ".join(f"{split} {size}" for split, size in sizes.items())
    used = f"limits: {_scalar(limits)}  # of {found}" if limits else f"# All are used ({found}); `limits` takes fewer."
    lines = [
        f"  - name: {_scalar(facts.name)}",
        f"    source: {_scalar(f'file:{facts.path}')}  # a relative path starts at the folder of the command",
        f"    text: {_scalar(facts.text)}",
        *([f"    text_pair: {_scalar(facts.text_pair)}"] if facts.text_pair is not None else []),
        f"    label: {_scalar(facts.label)}  # {len(facts.counts)} classes: {', '.join(shown)}{more}",
        f"    max_tokens: {facts.max_tokens}  # 95 % of the texts have about {facts.tokens} or fewer; others are cut",
        f"    {used}",
        f"    metric: {facts.metric}{_WHY[facts.metric]}",
    ]
    return "\n".join(lines) + "\n"


_WHY = {
    "accuracy": "  # or macro_f1, the mean of the classes' F1, or mcc",
    "macro_f1": "  # some classes are rare: the mean of the classes' F1 counts them as much as the others",
}

_HEAD = {
    "structure": """\
# Which structure of adapters is best on this data? The search varies the size (by the sparsity weight), the kinds and
# ranks of the candidates and the learning rates; the best is trained again over seeds, on test, beside baselines.
#
#   slasearch validate $file         check it after a change
#   slasearch run $file --dry-run    what would be run
#   slasearch run $file              run it, or go on where it stopped
#
# A field that stands in braces, as {log_float: [1.0e-3, 1.0e-2]}, is searched; every other one is the same in all
# trials. `slasearch schema` prints all fields with their meaning, `slasearch kinds` what can be named.

name: $name  # one study in the database; another name starts another study
seed: 0  # of the samplers, and of splits that the data do not bring along
""",
    "sensitivity": """\
# How sensitive is the result to the sparsity weight, to noise in training and to misspelt words in training? One of
# them moves at a time on a fixed grid; every point is trained over several seeds, which gives the curves intervals.
#
#   slasearch validate $file         check it after a change
#   slasearch run $file --dry-run    what would be run
#   slasearch run $file              run it, or go on where it stopped
#
# A field that stands in braces, as {float: [0.0, 0.4]}, is varied; every other one is the same in all trials.
# `slasearch schema` prints all fields with their meaning, `slasearch kinds` what can be named.

name: $name  # one study in the database; another name starts another study
seed: 0  # of the samplers, and of splits that the data do not bring along
""",
}

_BACKBONE = """\
# The frozen transformer: bundled:minilm, path:DIR of a saved model, or hub:ORG/NAME@REVISION.
backbone:
  id: $backbone
"""

_TASKS = {
    False: """\
# Of data without splits 15 % each are held out. `validation` is all that the search sees; `test` is scored once.
tasks:
$tasks""",
    True: """\
# The tasks train together, and each gets a path of its own through the shared candidates. Of data without splits 15 %
# each are held out. `validation` is all that the search sees; `test` is scored once.
tasks:
$tasks""",
}

_STAND_IN = """\
  - name: tweets
    source: bundled:tweet_sentiment  # put your own here: file:PATH of a .jsonl, .csv, .tsv or .parquet file or a folder
    text: text  # the columns of your own file
    label: label
    max_tokens: 32  # longer texts are cut
    limits: {train: 1000, validation: 400, test: 1000}  # fewer make trials faster and scores less certain
    metric: accuracy  # or macro_f1, where some classes are rare, or mcc
"""

_MODEL: dict[Goal, str] = {
    "structure": """\
# Candidates: each kind at each place of each layer where it fits, once for every rank.
pool:
  kinds:
    categorical:
      - [lora]  # every structure exports to the stock PEFT format
      - [lora, bias, scale]  # small pieces beside it
  ranks: {categorical: [[1], [2], [4]]}
  layers: all  # a list such as [3, 4, 5], of upper layers alone, makes trials faster

gates:
  family: hard_concrete  # gates that reach exactly 0 while they learn
  learning_rate: $gate_rate  # for trials of $steps steps; 0.05 suits some hundred, 0.4 fewer

# The sparsity weight decides how many candidates stay. (`mode: budget` with `parameters` fixes a number instead.)
size_control:
  mode: penalty
  sparsity_weight: {log_float: [0.1, 10.0]}

training:
  epochs: $epochs
  batch_size: $batch
  learning_rate: {log_float: [1.0e-3, 1.0e-2]}
  head_learning_rate: {log_float: [3.0e-3, 3.0e-2]}
  reports: 4  # after each the search may stop a trial that falls behind
""",
    "sensitivity": """\
# One pool for all trials: each kind at each place of each layer where it fits.
pool:
  kinds: [lora, bias]
  ranks: [2]
  layers: all  # a list such as [3, 4, 5], of upper layers alone, makes trials faster

gates:
  family: sigmoid  # the smooth gate, whose openness answers gradually to the sparsity weight
  temperature: 0.5
  learning_rate: $gate_rate  # for trials of $steps steps; 0.05 suits some hundred, 0.4 fewer

# The first factor. A range that includes 0 has to be linear; the levels below are spaced by factors all the same.
size_control:
  mode: penalty
  sparsity_weight: {float: [0.0, 10.0]}

training:
  epochs: $epochs
  batch_size: $batch
  learning_rate: 3.0e-3
  head_learning_rate: 1.0e-2

conditions:
  train:
    - {kind: embedding_gaussian, level: {float: [0.0, 0.4]}}  # the second factor: share of tokens with noise on them
    - {kind: typos, level: {float: [0.0, 0.4]}}  # the third factor: share of words with a typing error
  # What every trial is measured under besides clean texts, the same for all.
  measured:
    - {kind: embedding_gaussian, levels: [0.2, 0.4]}
    - {kind: typos, levels: [0.2, 0.4]}
""",
}

_PHASES: dict[Goal, str] = {
    "structure": """\
phases:
  # The best: proposals learn from all trials so far, and trials that fall behind are stopped early.
  optimise:
    sampler: {name: tpe}
    trials: 40  # may grow later
    pruner: {name: successive_halving}
  # The best by each objective again, over seeds and on test, beside baselines of the same size.
  confirm:
    top: 1
    seeds: 3
    controls: $controls  # `slasearch kinds` lists them
    tuning: 8  # trials in which each baseline is tuned on validation; `equal`: as many as the search had
    # finalists: 5  # so many of the best settings are tried again before one is picked: a single run may be luck

objectives:
  - {name: score}  # mean validation score of the tasks; higher is better
  - {name: exported_parameters}  # size of what is shipped; lower is better
""",
    "sensitivity": """\
phases:
  design:
    sampler: {name: one_at_a_time}
    base:  # where a factor stays while another moves
      size_control.sparsity_weight: 1.0
      conditions.train.embedding_gaussian.level: 0.0
      conditions.train.typos.level: 0.0
    levels:
      size_control.sparsity_weight: [0.0, 0.1, 0.3, 1.0, 3.0, 10.0]
      conditions.train.embedding_gaussian.level: [0.0, 0.1, 0.2, 0.4]
      conditions.train.typos.level: [0.0, 0.1, 0.2, 0.4]
    seeds: 3  # more make the intervals narrower; may grow later

objectives:
  - {name: score}  # mean validation score of the tasks
  - {name: exported_parameters}  # size of what is shipped
  - {name: robustness, measure: relative}  # score under the measured conditions as a share of the clean one
""",
}

_END = """\
resources:
  cpus_per_trial: 1
  gpus_per_trial: 0  # 1, or a share such as 0.25, where there is a GPU
  max_concurrent_trials: $concurrent

limits:
  max_hours: 12  # of one run command; the same command goes on afterwards
"""
