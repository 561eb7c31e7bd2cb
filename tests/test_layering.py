"""The import order of the packages, read from the source: nobody imports from a package below its own."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import slasearch

ROOT = Path(slasearch.__file__).parent
ORDER = (
    "errors", "records", "files", "registry", "config", "tasks", "perturb", "adapters", "trial", "space", "storage",
    "search", "analysis", "orchestrate", "report", "service", "cli", "testing",
)  # fmt: skip
EXEMPT = {"slasearch", "slasearch.__main__"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(source: str, modules: set[str]) -> set[str]:
    """The project's own modules that a source imports anywhere in it, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import: expected absolute imports everywhere"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in modules else str(node.module))
    return {name for name in found if name.split(".")[0] == "slasearch"}


def package_of(module: str) -> str:
    return module.split(".")[1]


def breaches(module: str, imported: set[str]) -> list[str]:
    """Imports that go down the list; the bare `slasearch` holds only the version and is open to all."""
    return [
        f"{module} imports {name}"
        for name in sorted(imported - {"slasearch"})
        if ORDER.index(package_of(name)) > ORDER.index(package_of(module))
    ]


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {package_of(module) for module in MODULES if module not in EXEMPT}
    assert packages <= set(ORDER)


@pytest.mark.parametrize("module", sorted(set(MODULES) - EXEMPT))
def test_a_module_imports_only_from_above(module: str) -> None:
    assert breaches(module, imports_of(MODULES[module].read_text(), set(MODULES))) == []


def test_there_are_no_import_cycles() -> None:
    graph = {
        module: imports_of(path.read_text(), set(MODULES)) - {module}
        for module, path in MODULES.items()
        if module not in EXEMPT
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_the_check_sees_a_breach_inside_a_function() -> None:
    source = "def late():\n    from slasearch.cli import main\n"
    imported = imports_of(source, {"slasearch.cli.main"})
    assert breaches("slasearch.tasks.load", imported) == ["slasearch.tasks.load imports slasearch.cli.main"]
    assert breaches("slasearch.testing.kinds", imported) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import slasearch; {}"],
        ["-c", "from slasearch.cli.main import _run; assert _run(['--help']) == 0; {}"],
        ["-c", "from slasearch.cli.main import _run; assert _run(['schema']) == 0; {}"],
    ],
    ids=["import", "help", "schema"],
)
def test_neither_torch_nor_ray_is_loaded_by(arguments: list[str]) -> None:
    check = "import sys; heavy = {'torch', 'ray', 'transformers', 'optuna'} & set(sys.modules); assert not heavy, heavy"
    command = [sys.executable, arguments[0], arguments[1].format(check)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
