"""What the benchmarks share: the machine in words, pieces of work that are kept, medians, and how results are given."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any

from processes import beside

__all__ = ["Journal", "arguments", "finish", "last_json", "machine", "median", "outcome", "spread", "timed_child"]

HERE = Path(__file__).parent
CODE = (HERE, HERE.parent / "slasearch")
PACKAGES = ("torch", "transformers", "peft", "ray", "optuna", "sqlalchemy")
CPUINFO = Path("/proc/cpuinfo")
WIDE_UNITS = ("avx512f", "amx_tile")
"""Flags of the units that decide how fast products are."""
QUIET_CORES = 0.1
"""What other processes may take beside a piece without a word about it."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


# ---------------------------------------------------------------- the command line


def arguments(doc: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """The options that every benchmark has. From here on an interrupt ends the script with one line."""
    sys.excepthook = _told
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, metavar="N", help=f"repetitions (default: {repeats})")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--smoke", action="store_true", help="sizes that only show that everything runs")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="the result as JSON into FILE; without FILE to stdout"
    )
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="finished pieces as JSON lines, reused when started again (default: FILE of --json with .jsonl)",
    )
    parser.add_argument("--any-code", action="store_true", help="reuse pieces that other code has measured, too")
    return parser


def _told(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        say("Stopped. The same command goes on after the last piece in its journal, where it has one.")
    else:
        sys.__excepthook__(kind, error, traceback)


def finish(found: dict[str, Any], table: str, journal: Journal, json_option: str | None) -> int:
    """Gives the result as the user asked for it; 0 if none of its `verdicts` is `missed`, else 1.

    What others took of the machine beside each piece of the journal is added to both.
    """
    text = json.dumps(found | {"foreign_cores": journal.foreign}, indent=2)
    table = "\n".join([table, *disturbances(journal.foreign)])
    if json_option not in (None, "-"):
        Path(json_option).write_text(text + "\n", encoding="utf-8")
    print(text if json_option == "-" else table)
    return 1 if "missed" in found["verdicts"].values() else 0


def disturbances(foreign: Mapping[str, float | None]) -> list[str]:
    """Words on each piece beside which other processes took more than `QUIET_CORES`, or it is not known what."""
    found = [
        f"DISTURBED: {name}: " + ("not known what other processes took" if cores is None else _taken(cores))
        for name, cores in foreign.items()
        if cores is None or cores > QUIET_CORES
    ]
    return found or [f"other processes took at most {QUIET_CORES} cores beside every piece"]


def _taken(cores: float) -> str:
    return f"other processes took {cores:.2f} cores"


def outcome(value: float | None, target: float | None, *, at_least: bool = True, smoke: bool = False) -> str:
    """`met`, `missed` or `no target`; a value that could not be measured is missed; `not judged` in a smoke run."""
    if smoke:
        return "not judged"
    if target is None:
        return "no target"
    good = value is not None and (value >= target if at_least else value <= target)
    return "met" if good else "missed"


# ---------------------------------------------------------------- what is kept


class Journal:
    """Finished pieces of a run as JSON lines: a benchmark that is started again goes on after the last.

    A piece counts only if it was measured with the same settings, on the same processor and with the same code.
    `foreign` has, of each piece that was asked for, the cores that other processes took meanwhile (None: not known).

    Args:
        options: The benchmark's parsed command line.
        settings: Everything but the code and the machine that the pieces depend on, `repeats` left out.
    """

    def __init__(self, options: argparse.Namespace, settings: Mapping[str, Any]) -> None:
        beside = None if options.json in (None, "-") else Path(options.json).with_suffix(".jsonl")
        self._file: Path | None = options.journal or beside
        self._about = {"settings": _digest(settings), "cpu": cpu_name(), "code": code_digest()}
        self._pieces: dict[str, dict[str, Any]] = {}
        self._foreign: dict[str, float | None] = {}
        self.foreign: dict[str, float | None] = {}
        other = 0
        for line in _lines(self._file):
            entry = json.loads(line)
            same = {name for name, value in self._about.items() if entry[name] == value}
            if same >= {"settings", "cpu"} and ("code" in same or options.any_code):
                # Older code kept the load average before a piece in place of what others took beside it.
                self._pieces[entry["piece"]] = {key: it for key, it in entry["found"].items() if key != "load"}
                self._foreign[entry["piece"]] = entry.get("foreign_cores")
            else:
                other += 1
        if other:
            say(f"{self._file}: {other} pieces of other settings, code or machines are left alone")

    def piece(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was found before under this name, or is found now and kept."""
        if name in self._pieces:
            say(f"{name}: found before")
            self.foreign[name] = self._foreign[name]
            return self._pieces[name]
        began = time.perf_counter()
        found, cores = beside(measure)
        say(f"{name}: {time.perf_counter() - began:.0f} s; {_taken(cores)}")
        self._pieces[name] = found
        self._foreign[name] = self.foreign[name] = cores
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"piece": name, **self._about, "foreign_cores": cores, "found": found}) + "\n")
        return found

    def find(self, name: str) -> dict[str, Any] | None:
        """What was found before under this name."""
        return self._pieces.get(name)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def code_digest() -> str:
    """SHA-256 over the sources of package and benchmarks."""
    digest = hashlib.sha256()
    for folder in CODE:
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".yaml"):
                digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _lines(path: Path | None) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []


# ---------------------------------------------------------------- numbers


def median(values: Iterable[float | None]) -> float | None:
    """The median; a value that could not be measured (None) counts as the worst."""
    known = list(values)
    ordered = sorted(-1.0 if value is None else value for value in known)
    middle = statistics.median(ordered) if ordered else -1.0
    return None if middle < 0 else middle


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation and number."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "sd": deviation, "n": len(values)}


# ---------------------------------------------------------------- the machine


def machine(device: str = "cpu", threads: int | None = None) -> dict[str, Any]:
    """What the numbers were measured on, and with; the load is that of the moment."""
    about: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": _cores(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "load": list(os.getloadavg()),
        "device": device,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": _versions(),
        "code": code_digest(),
    }
    if threads is not None:
        about["threads"] = threads
    if device == "cuda":
        import torch

        about["gpu"] = torch.cuda.get_device_name()
    return about


def cpu_name() -> str:
    """The processor in words: name, family, model, stepping, cores that this process may use, units for products.

    A name alone, such as `AMD EPYC`, is that of many different processors.
    """
    fields: dict[str, str] = {}
    for line in takewhile(str.strip, _lines(CPUINFO)):  # of the first core; an empty line ends it
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = fields.get("flags", "").split()
    about = [
        *(f"{key} {fields[key]}" for key in ("cpu family", "model", "stepping") if key in fields),
        f"{_cores()} cores",
        *(unit if unit in flags else f"no {unit}" for unit in WIDE_UNITS),
    ]
    return f"{fields.get('model name', platform.processor() or platform.machine())} ({', '.join(about)})"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def described(about: Mapping[str, Any]) -> str:
    """The machine in a line."""
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    threads = f", {about['threads']} threads" if "threads" in about else ""
    gpu = f", {about['gpu']}" if "gpu" in about else ""
    return f"{about['cpu']}{threads}{gpu}, load {about['load'][0]:.1f}; Python {about['python']}, {packages}"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


# ---------------------------------------------------------------- processes of their own


def timed_child(script: str, settings: Mapping[str, Any], *, threads: int = 1) -> dict[str, Any]:
    """Runs a script of this folder as a command of its own; returns what it printed last, its start and its `wall_s`.

    Args:
        script: File name.
        settings: Its only argument, as JSON.
        threads: CPU threads of every numeric library in it.

    Raises:
        RuntimeError: It failed; the text has the end of what it wrote.
    """
    ours = os.pathsep.join((str(HERE), str(HERE.parent)))  # the code whose digest is kept, not what is installed
    variables = {"PYTHONPATH": ours, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    variables |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    command = [sys.executable, str(HERE / script), json.dumps(settings)]
    spawned, began = time.time(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    wall = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"{script} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return last_json(done.stdout) | {"spawned": spawned, "wall_s": wall}


def last_json(text: str) -> dict[str, Any]:
    """The last line as JSON."""
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return found
