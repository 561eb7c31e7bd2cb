"""The digest of what a trial is computed with."""

import shutil
from pathlib import Path

import pytest

import slasearch
from slasearch.trial.code import code_digest

PACKAGE = Path(slasearch.__file__).parent
HERE = code_digest()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another place at which the package lies, as on another machine."""
    shutil.copytree(PACKAGE, tmp_path / "slasearch", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(slasearch, "__file__", str(tmp_path / "slasearch" / "__init__.py"))
    return tmp_path / "slasearch"


def digest() -> str:
    return code_digest.__wrapped__()  # without the cache, which stands for the length of a process


def test_it_tells_code_and_not_places(copy: Path) -> None:
    assert digest() == HERE
    (copy / "report" / "more.py").write_text("")
    assert digest() == HERE, "a report changes no trial"
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "errors.cpython-311.pyc").write_bytes(b"")
    assert digest() == HERE


@pytest.mark.parametrize("part", ["records.py", "trial/train.py", "adapters/kinds/lora.py", "perturb/typos.py"])
def test_a_changed_a_moved_and_a_missing_module_are_seen(part: str, copy: Path) -> None:
    whole = digest()
    path = copy / part
    text = path.read_text()
    path.write_text(text + "\n")
    changed = digest()
    path.rename(path.with_name("moved.py")).write_text(text)
    moved = digest()
    path.with_name("moved.py").unlink()
    assert len({whole, changed, moved, digest()}) == 4
