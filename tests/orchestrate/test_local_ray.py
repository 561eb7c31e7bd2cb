"""What a killed driver leaves behind is ended by the next one, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from slasearch.errors import ClusterError, StorageError
from slasearch.orchestrate import local_ray as local_ray_module
from slasearch.orchestrate.local_ray import PREFIX, end_leftovers, environment, local_ray
from slasearch.search.lease import this_process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    yield process
    process.kill()
    process.wait()


def note(records: Path, folder: Path, processes: list[tuple[int, float]], **driver: Any) -> Path:
    records.mkdir(exist_ok=True)
    holder = dataclasses.replace(this_process(time.time()), **driver)
    path = records / f"{PREFIX}x.json"
    path.write_text(
        json.dumps({"driver": dataclasses.asdict(holder), "folder": str(folder), "processes": processes}),
        encoding="utf-8",
    )
    return path


def ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def test_processes_and_folder_of_a_dead_driver_are_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=tmp_path))
    path = note(tmp_path / "ray", folder, [(sleeper.pid, psutil.Process(sleeper.pid).create_time())], started="0")
    end_leftovers(tmp_path / "ray")
    assert ended(sleeper)
    assert not folder.exists()
    assert not path.exists()


def test_the_folder_of_a_killed_drivers_ray_tune_is_removed(tmp_path: Path) -> None:
    killed, living = tmp_path / "runs" / "study-1", tmp_path / "runs" / "study-2"
    for folder, driver in ((killed, {"started": "0"}), (living, {})):
        (folder / "trial").mkdir(parents=True)
        record = local_ray_module._Record(tmp_path / f"{PREFIX}{folder.name}.json", tmp_path / PREFIX, folder.name)
        record._driver.update(driver)
        record.begin()
    for name in (".", "..", "../..", str(living)):  # a note that somebody has written leads nowhere else
        record = local_ray_module._Record(tmp_path / f"{PREFIX}{len(name)}.json", tmp_path / PREFIX, name)
        record._driver.update(started="0")
        record.begin()
    end_leftovers(tmp_path)
    assert (killed.exists(), living.exists()) == (False, True)


def test_a_later_process_with_the_same_id_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    earlier = psutil.Process(sleeper.pid).create_time() - 100
    path = note(tmp_path / "ray", tmp_path, [(sleeper.pid, earlier), (2**22 - 1, earlier)], started="0")
    end_leftovers(tmp_path / "ray")
    assert not ended(sleeper)
    assert not path.exists()
    assert tmp_path.exists(), "expected a folder that is not ours to stay"


@pytest.mark.parametrize("driver", [{}, {"host": "elsewhere", "started": "0"}])
def test_a_living_driver_or_one_elsewhere_keeps_its_processes(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], driver: dict[str, Any]
) -> None:
    path = note(tmp_path / "ray", tmp_path, [(sleeper.pid, psutil.Process(sleeper.pid).create_time())], **driver)
    end_leftovers(tmp_path / "ray")
    assert not ended(sleeper)
    assert path.exists()


def test_a_damaged_note_is_removed(tmp_path: Path) -> None:
    path = tmp_path / f"{PREFIX}y.json"
    path.write_text("{", encoding="utf-8")
    end_leftovers(tmp_path)
    assert not path.exists()


def test_environment_is_put_back() -> None:
    os.environ["SLA_TEST_OLD"] = "old"
    with environment({"SLA_TEST_OLD": "new", "SLA_TEST_NEW": "1"}):
        assert os.environ["SLA_TEST_OLD"] == "new"
        with environment({"SLA_TEST_OLD": None, "SLA_TEST_NONE": None}):
            assert "SLA_TEST_OLD" not in os.environ
    assert os.environ.pop("SLA_TEST_OLD") == "old"
    assert "SLA_TEST_NEW" not in os.environ


def test_a_home_folder_that_refuses_is_an_error_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(local_ray_module, "_short_temporary_folder", lambda: str(tmp_path / "t"))
    monkeypatch.setattr(local_ray_module, "_init", lambda *_: pytest.fail("expected no Ray"))
    with (
        pytest.raises(StorageError, match=r"file/ray: expected to write here, got: Not a directory\."),
        local_ray(tmp_path / "file" / "ray", cpus=1, variables={}),
    ):
        pass
    assert not any((tmp_path / "t").iterdir())
    monkeypatch.setattr(local_ray_module, "_short_temporary_folder", lambda: str(tmp_path / "none"))
    with (
        pytest.raises(StorageError, match="none: expected to write here"),
        local_ray(tmp_path, cpus=1, variables={}),
    ):
        pass


def test_a_ray_that_does_not_start_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def times_out(**_: Any) -> None:
        raise Exception("The current node timed out during startup")

    (tmp_path / "t").mkdir()
    monkeypatch.setattr(local_ray_module, "_short_temporary_folder", lambda: str(tmp_path / "t"))
    monkeypatch.setattr(ray, "init", times_out)
    with (
        pytest.raises(ClusterError, match=r"a Ray that starts, got: The current node timed out.* in .*/t, then"),
        local_ray(tmp_path / "ray", cpus=1, variables={}),
    ):
        pass
    assert not any((tmp_path / "t").iterdir())
    assert not any((tmp_path / "ray").iterdir())


def test_a_heartbeat_whose_note_cannot_be_written_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = local_ray_module._Record(tmp_path / "ray" / f"{PREFIX}x.json", tmp_path / f"{PREFIX}x")
    record.note()
    record.note()
    assert len(caplog.messages) == 1
    assert "Ray's processes are not noted" in caplog.text
    record.begin()
    record.end()
    assert not any((tmp_path / "ray").iterdir())


def test_rays_folder_is_private_its_sockets_have_short_paths_and_its_processes_know_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = ("SLASEARCH_STORAGE", "SLASEARCH_STORAGE_PASSWORD_FILE", "PGPASSWORD", "PGPASSFILE")
    for name in private:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 10)))
    with local_ray(tmp_path, cpus=1, variables={}):
        (path,) = tmp_path.glob(f"{PREFIX}*.json")
        folder = Path(json.loads(path.read_text(encoding="utf-8"))["folder"])
        assert folder.stat().st_mode & 0o777 == 0o700
        assert max(len(str(socket)) for socket in folder.rglob("sockets/*")) <= 107
        (raylet,) = (process for process in psutil.Process().children(recursive=True) if process.name() == "raylet")
        assert not any(name in raylet.environ() for name in private), "expected workers to inherit none of it"
        assert {os.environ[name] for name in private} == {"secret"}
    assert not folder.exists()
    assert not path.exists()


def test_everything_listens_on_loopback_alone(tmp_path: Path) -> None:
    """Servers, agents and workers of Ray, three ports of metrics among them, which ask for no token."""
    program = """
import ipaddress, sys, time, psutil, ray
from pathlib import Path
from slasearch.orchestrate.local_ray import local_ray
with local_ray(Path(sys.argv[1]), cpus=1, variables={}):
    ray.get(ray.remote(lambda: None).remote())
    me, until, known = psutil.Process(), time.monotonic() + 30, set()
    while "ray::DashboardAgent" not in known and time.monotonic() < until:
        time.sleep(0.5)
        found = {(p.name(), c.laddr.ip) for p in (me, *me.children(recursive=True))
                 for c in p.net_connections("inet") if c.status == "LISTEN"}
        known = {name for name, _ in found}
    for name, address in sorted(found):
        one = ipaddress.ip_address(address)
        print(name, (getattr(one, "ipv4_mapped", None) or one).is_loopback)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
    assert {"gcs_server", "raylet", "ray::DashboardAgent"} <= {name for name, _ in found}
    assert [name for name, loopback in found if loopback != "True"] == []


def test_a_process_that_the_program_begins_meanwhile_is_not_rays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run_study` may be called in one thread of a program whose others start processes."""
    begun: list[subprocess.Popen[bytes]] = []
    start = local_ray_module._init

    def beside(folder: Path, cpus: int) -> None:
        start(folder, cpus)
        begun.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]))

    monkeypatch.setattr(local_ray_module, "_init", beside)
    with local_ray(tmp_path, cpus=1, variables={}):
        pass
    try:
        assert not ended(begun[0])
    finally:
        begun[0].kill()
        begun[0].wait()
