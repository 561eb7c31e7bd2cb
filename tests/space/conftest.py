from collections.abc import Callable

import pytest

from slasearch.config.load import parse_study
from slasearch.config.schema import StudyConfig

STUDY = """\
name: small
seed: 3
tasks:
  - {name: spam, source: "bundled:sms_spam", limits: {train: 50, gate: 5}}
  - {name: bbc, source: "bundled:bbc_topic", limits: {gate: 5}, metric: mcc, weight: 2}
pool:
  kinds: {categorical: [[lora], [lora, bias], [bias]]}
  ranks: {categorical: [[1], [2, 4]], when: {pool.kinds: [[lora], [lora, bias]]}}
gates:
  family: {categorical: [sigmoid, hard_concrete]}
  temperature: {float: [0.5, 2.5], when: {gates.family: sigmoid}}
size_control:
  mode: penalty
  sparsity_weight: {log_float: [1e-2, 1e+1]}
training:
  epochs: 2
  batch_size: {int: [8, 16]}
  seeds: {init: 7, data: 11}
conditions:
  train:
    - {kind: typos, level: {float: [0, 0.4]}}
    - {kind: embedding_gaussian, level: 0.25, scale: 2}
    - {kind: word_drop, level: 0}
  measured:
    - {kind: typos, levels: [0.1, 0.3], seed: 5}
    - {kind: embedding_gaussian, levels: [0.2]}
objectives: [{name: score}, {name: robustness, measure: worst}]
phases:
  optimise: {trials: 3}
"""


@pytest.fixture(scope="session")
def text() -> str:
    """The text of a study that searches one field of every form, two of them under conditions."""
    return STUDY


@pytest.fixture(scope="session")
def study() -> Callable[..., StudyConfig]:
    """Reads that study with overrides."""
    return lambda *overrides: parse_study(STUDY, "s.yaml", overrides)
