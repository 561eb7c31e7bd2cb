"""Freed memory stays with a process that runs trials."""

from __future__ import annotations

import subprocess
import sys

_STEPS = """
import resource, sys
import torch
from slasearch.trial.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()

def step():  # 160 MB in 20 blocks, as the activations of a step
    return [torch.ones(2_000_000) for _ in range(20)]

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Page faults of ten steps in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _STEPS, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_memory_of_one_step_serves_the_next() -> None:
    assert 10 * faults("kept") < faults("as it is")
