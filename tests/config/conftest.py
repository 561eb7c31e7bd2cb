import pytest

STUDY = """\
name: small
tasks:
  - name: spam
    source: bundled:sms_spam
size_control:
  mode: penalty
  sparsity_weight: {log_float: [1e-2, 1e1]}
training:
  epochs: 2
phases:
  optimise:
    trials: 3
"""


@pytest.fixture
def study() -> str:
    """The text of a small valid study file."""
    return STUDY
