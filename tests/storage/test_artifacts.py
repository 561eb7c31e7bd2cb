"""Trained adapters on disk and in stores: whole or not there, read only if unchanged, never beyond their folder."""

import hashlib
from dataclasses import replace
from datetime import datetime

import pytest
from pyarrow.fs import _MockFileSystem

from slasearch.errors import ArtifactError, StorageError
from slasearch.storage.artifacts import Artifacts
from slasearch.storage.places import Folder, RemoteStore, place_of
from slasearch.storage.rows import ArtifactRow
from slasearch.testing.storage import example_study

FILES = {"adapter.safetensors": b"tensors", "adapter.json": b"{}"}
TOY = replace(example_study("toy"), created_at=1_750_000_000.4)


def local_store(folder):
    """Of pyarrow, which has no temporary names and no links of its own to offer."""
    return RemoteStore(f"file://{folder}/store")


def mock_store(folder):
    filesystem = _MockFileSystem(datetime(2026, 1, 1))
    filesystem.create_dir("bucket/prefix")
    return RemoteStore("mock://bucket/prefix", lambda uri: (filesystem, "bucket/prefix/"))


@pytest.fixture(params=[None, lambda folder: Folder(folder / "shared"), local_store, mock_store])
def artifacts(request, tmp_path):
    """Those of a study without a place of its own, and with each kind of one."""
    store = None if request.param is None else request.param(tmp_path)
    return replace(Artifacts.of(TOY, tmp_path / "home", None), store=store)


def test_what_is_written_is_read(artifacts):
    artifacts.prepare()
    rows = artifacts.write(7, FILES)
    folder = "artifacts/toy-1750000000400000/7" if artifacts.store is None else "toy-1750000000400000/7"
    sha256 = hashlib.sha256(b"tensors").hexdigest()
    assert rows[0] == ArtifactRow("adapter.safetensors", f"{folder}/adapter.safetensors", sha256, 7)
    assert [artifacts.read(row) for row in rows] == list(FILES.values())
    assert artifacts.write(7, {**FILES, "adapter.json": b"[]"})[0] == rows[0]
    with pytest.raises(ArtifactError, match=r"expected SHA-256 .* The file was changed"):
        artifacts.read(rows[1])


def test_what_is_discarded_is_gone_and_nothing_else(artifacts):
    artifacts.prepare()
    other = replace(artifacts, study="other", folder="other-1750000000400000")
    trials = (artifacts, 7), (artifacts, 8), (other, 7)
    (lost,), (row,), (kept,) = (made.write(trial, {"a.json": b"{}"}) for made, trial in trials)
    artifacts.discard_trial(7)
    artifacts.discard_trial(7)
    with pytest.raises(ArtifactError, match=r"a\.json: expected 2 bytes, got: .+\. Adapters lie in the home folder"):
        artifacts.read(lost)
    assert artifacts.read(row) == b"{}"
    artifacts.discard()
    artifacts.discard()
    with pytest.raises(ArtifactError, match="expected 2 bytes, got"):
        artifacts.read(row)
    assert other.read(kept) == b"{}"


@pytest.mark.parametrize("path", ["../secret", "toy-1/../../secret", "/secret", "artifacts/../../secret"])
def test_a_path_outside_is_refused(artifacts, tmp_path, path):
    (tmp_path / "secret").write_bytes(b"{}")
    artifacts.prepare()
    row = ArtifactRow("adapter.json", path, hashlib.sha256(b"{}").hexdigest(), 2)
    with pytest.raises(ArtifactError, match=r"expected a path under|expected the resources\.storage_path"):
        artifacts.read(row)


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", "", ".hidden", "a\0b"])
def test_names_that_leave_the_folder_are_refused(artifacts, tmp_path, name):
    with pytest.raises(ArtifactError, match="expected a plain file name"):
        artifacts.write(7, {"fine": b"", name: b""})
    assert list(tmp_path.iterdir()) == []


def test_nothing_makes_no_folder(artifacts, tmp_path):
    assert artifacts.write(7, {}) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", [Folder, lambda folder: RemoteStore(f"file://{folder}")])
def test_writing_leaves_no_temporary_file(store, tmp_path):
    artifacts = replace(Artifacts.of(TOY, tmp_path / "home", None), store=store(tmp_path / "store"))
    artifacts.write(7, FILES)
    assert {path.name for path in (tmp_path / "store/toy-1750000000400000/7").iterdir()} == set(FILES)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    artifacts = Artifacts.of(TOY, tmp_path / "home", None)
    (row,) = artifacts.write(7, {"adapter.json": b"{}"})
    (tmp_path / "secret").write_bytes(b"{}")
    (tmp_path / "home" / row.path).unlink()
    (tmp_path / "home" / row.path).symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError, match="expected 2 bytes, got: a link to"):
        artifacts.read(row)


def test_what_was_written_before_a_study_had_a_place_of_its_own_is_read_and_discarded_too(tmp_path):
    (row,) = Artifacts.of(TOY, tmp_path / "home", None).write(7, {"adapter.json": b"{}"})
    later = Artifacts.of(TOY, tmp_path / "home", str(tmp_path / "shared"))
    (new,) = later.write(8, {"adapter.json": b"[]"})
    assert [later.read(row), later.read(new)] == [b"{}", b"[]"]
    with pytest.raises(ArtifactError, match=r"expected the resources\.storage_path under which toy-\d+/8/"):
        Artifacts.of(TOY, tmp_path / "home", None).read(new)
    later.discard()
    assert [list((tmp_path / place).iterdir()) for place in ("home/artifacts", "shared")] == [[], []]


def test_files_that_would_not_be_removed_are_known(artifacts):
    rows = [*artifacts.write(7, FILES), *artifacts.write(8, FILES)]
    elsewhere = replace(rows[0], path="toy-1/7/adapter.safetensors")
    artifacts.discard_trial(8)
    assert artifacts.astray([elsewhere, *rows]) == [elsewhere, *rows[2:]]
    artifacts.discard()
    assert artifacts.astray(rows) == rows


def test_what_a_storage_path_names(tmp_path):
    assert place_of("/shared/runs") == Folder(tmp_path.parents[-1] / "shared/runs")
    assert place_of("file:///shared/my%20runs") == Folder(tmp_path.parents[-1] / "shared/my runs")
    assert place_of("s3://bucket/prefix?region=eu-west-1") == RemoteStore("s3://bucket/prefix?region=eu-west-1")


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("s3://bucket/prefix?scheme=http&endpoint_override=127.0.0.1:9", "AWS Error NETWORK_CONNECTION"),
        ("nowhere://bucket", "Unrecognized filesystem type in URI"),
    ],
)
def test_a_store_that_cannot_be_reached_is_one_clear_error(uri, why, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "example")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match=f"got: .*{why}") as raised:
        Artifacts.of(TOY, tmp_path, uri).prepare()
    text = str(raised.value)
    assert text.startswith(f"{uri}: expected a store to write in, got: ")
    assert text.endswith("at the credentials in the environment, then run the same command again.")
    assert "\n" not in text
    assert "hunter2" not in text


def test_a_file_in_a_store_that_cannot_be_reached_is_named_without_the_parameters_of_its_uri(tmp_path):
    artifacts = Artifacts.of(TOY, tmp_path, "nowhere://bucket/?region=here")
    with pytest.raises(ArtifactError, match=r"^artifact nowhere://bucket/toy-1/7/a: expected 2 bytes, got: Unrecog"):
        artifacts.read(ArtifactRow("a", "toy-1/7/a", "0" * 64, 2))
    artifacts.discard_trial(7)
    with pytest.raises(StorageError, match="expected a store to remove files from, got: Unrecognized"):
        artifacts.discard()


@pytest.mark.parametrize("storage_path", [None, "shared"])
def test_a_disk_that_refuses_is_reported(tmp_path, storage_path):
    (tmp_path / (storage_path or "artifacts")).write_text("a file where a folder should be")
    artifacts = Artifacts.of(TOY, tmp_path, None if storage_path is None else str(tmp_path / storage_path))
    with pytest.raises(StorageError, match="expected to write here, got"):
        artifacts.write(7, FILES)
