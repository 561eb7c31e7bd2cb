"""`slasearch.analysis` as programs use it: every analysis has a name there and a line in the document."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from synthetic import Plan

import slasearch.analysis
from slasearch.analysis.compare import compare
from slasearch.analysis.frames import load_frames

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "analysis.md"
NOTEBOOK = ROOT / "docs" / "examples" / "study.ipynb"
INSIDE = {
    "between": "compare_studies is the door", "coordinates": "what surrogates and indices are computed from",
    "goals": "part of comparisons", "measure": "part of comparisons", "parameters": "about study files",
    "tuning": "part of comparisons", "arm_words": "part of comparisons", "likeness": "part of comparisons",
}  # fmt: skip
"""Modules whose functions of frames are parts of other analyses."""


def analyses() -> dict[str, str]:
    """Public functions of the package whose first argument is a study's frames, with their modules."""
    found = {}
    for path in sorted(Path(slasearch.analysis.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.args.args:
                first = node.args.args[0].annotation
                if first is not None and ast.unparse(first) == "StudyFrames" and path.stem not in INSIDE:
                    found[node.name] = path.stem
    return found


def test_every_analysis_has_a_name_in_the_package() -> None:
    homes = {f"{module}:{name}" for name, module in analyses().items()}
    parts = {
        "sensitivity:responses", "sensitivity:measured_levels", "sparsity_path:has_path",
        "surrogate:surrogate_indices",
    }  # fmt: skip
    assert homes - parts <= set(slasearch.analysis._HOMES.values())


def test_names_are_loaded_from_their_homes() -> None:
    assert sorted(slasearch.analysis.__all__) == sorted(slasearch.analysis._HOMES)
    assert slasearch.analysis.compare_controls is compare
    assert slasearch.analysis.load_frames is load_frames
    for name in slasearch.analysis.__all__:
        assert callable(getattr(slasearch.analysis, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        slasearch.analysis.nothing  # noqa: B018


def test_importing_it_loads_nothing_heavy() -> None:
    check = "import sys, slasearch.analysis; assert not {'pandas', 'torch', 'scipy', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_the_document_names_every_function_and_no_other() -> None:
    text = DOCUMENT.read_text()
    tables = re.findall(r"^\| `(.*?)` +\|", text, re.MULTILINE)
    named = {name for cell in tables for name in re.findall(r"(\w+)\(", cell)}
    assert named <= set(slasearch.analysis.__all__)
    assert [
        name for name in slasearch.analysis.__all__ if f"`{name}" not in text and f"analysis.{name}" not in text
    ] == []


def test_the_documents_code_runs(database_of: Callable[[Plan], str]) -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL):
        code = block.replace("sqlite:///.slasearch/slasearch.db", database_of(Plan())).replace(
            "quickstart", "synthetic"
        )
        exec(compile(code, str(DOCUMENT), "exec"), names)
    assert len(names["frames"].trials) > 90


def test_the_notebook_reads_a_study_from_its_url(database_of: Callable[[Plan], str]) -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "no output is kept in the repository"
    assert cells[0].startswith("URL = ")
    names: dict[str, Any] = {}
    with mpl.rc_context({"backend": "agg"}):
        for cell in [f"URL, STUDY = {database_of(Plan())!r}, 'synthetic'", *cells[1:]]:
            exec(compile(cell, str(NOTEBOOK), "exec"), names)
    frames = names["frames"]
    assert names["indices"] is None, "a design along one factor has no shares of variance"
    assert len(names["means"]) == 16
    assert isinstance(names["best"], pd.DataFrame)
    assert {row["control"] for row in names["compared"]} == {"control:lora", "control:random", "control:linear_probe"}
    assert len(names["complete"]) == len(frames.search_trials("complete"))
