"""What a trial is said to have failed of, out of what Ray notes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from slasearch.orchestrate.scheduler import last_words


@pytest.mark.parametrize(
    ("noted", "cause"),
    [
        ("Traceback (most recent call last):\n  File x\n\x1b[36mValueError: no\x1b[39m\n\n", "ValueError: no"),
        (
            "ray.exceptions.ActorDiedError: The actor died.\nCause: token refused.\nThe actor never ran - it was "
            "cancelled before it started running.\n",
            "Cause: token refused.",
        ),
        ("\n", "no reason known"),
    ],
)
def test_the_cause_is_the_last_line_that_tells_one(noted: str, cause: str, tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    file.write_text(noted)
    assert last_words(SimpleNamespace(error_file=str(file))) == cause
