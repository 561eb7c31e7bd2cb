import hashlib
from dataclasses import replace

import pytest

from slasearch.errors import ArtifactError, StorageError
from slasearch.storage.artifacts import discard_artifacts, read_artifact, write_artifacts
from slasearch.storage.rows import ArtifactRow

FILES = {"adapter.safetensors": b"tensors", "adapter.json": b"{}"}


def test_what_is_written_is_read(tmp_path):
    rows = write_artifacts(tmp_path, "toy", 7, FILES)
    assert rows[0] == ArtifactRow(
        "adapter.safetensors", "artifacts/toy/7/adapter.safetensors", hashlib.sha256(b"tensors").hexdigest(), 7
    )
    assert [read_artifact(tmp_path, row) for row in rows] == list(FILES.values())


def test_writing_again_changes_nothing_and_leaves_no_temporary_file(tmp_path):
    first = write_artifacts(tmp_path, "toy", 7, FILES)
    assert write_artifacts(tmp_path, "toy", 7, FILES) == first
    assert {path.name for path in (tmp_path / "artifacts/toy/7").iterdir()} == set(FILES)


def test_nothing_makes_no_folder(tmp_path):
    assert write_artifacts(tmp_path, "toy", 7, {}) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", "", ".hidden", "a\0b"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(ArtifactError, match="expected a plain file name"):
        write_artifacts(tmp_path, "toy", 7, {"fine": b"", name: b""})
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_refused(tmp_path):
    (row,) = write_artifacts(tmp_path, "toy", 7, {"adapter.json": b"{}"})
    (tmp_path / row.path).write_bytes(b"[]")
    with pytest.raises(ArtifactError, match=r"expected SHA-256 .* The file was changed"):
        read_artifact(tmp_path, row)


def test_a_missing_file_and_a_path_outside_are_refused(tmp_path):
    (row,) = write_artifacts(tmp_path / "home", "toy", 7, {"adapter.json": b"{}"})
    (tmp_path / "secret").write_bytes(b"{}")
    with pytest.raises(ArtifactError, match="expected a path under"):
        read_artifact(tmp_path / "home", replace(row, path="../secret"))
    discard_artifacts(tmp_path / "home", "toy", 7)
    with pytest.raises(ArtifactError, match="expected 2 bytes, got No such file"):
        read_artifact(tmp_path / "home", row)
    discard_artifacts(tmp_path / "home", "toy", 7)


def test_a_disk_that_refuses_is_reported(tmp_path):
    (tmp_path / "artifacts").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="expected to write here, got"):
        write_artifacts(tmp_path, "toy", 7, FILES)
