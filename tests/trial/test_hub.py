"""Backbones of the hub: from a cache, from a server of the same kind on this machine, and from nowhere."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from slasearch.errors import BackboneError
from slasearch.records import BackboneSpec, PoolSpec, TrialReport, TrialSpec
from slasearch.testing.tiny import run_tiny, save_tiny, tiny_backbone
from slasearch.trial.backbone import load_backbone, read_shapes
from slasearch.trial.predict import Predictor

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TAG, PINNED = BackboneSpec("hub:acme/tiny@v1.0"), BackboneSpec(f"hub:acme/tiny@{COMMIT}")
CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty; nothing can be downloaded."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home" / "hub"


def fill(cache: Path, *, leave_out: tuple[str, ...] = ()) -> Path:
    """Puts a tiny Llama into the cache as the hub's own package lays it out; returns its snapshot."""
    repository = cache / "models--acme--tiny"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (repository / "refs", repository / "blobs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "v1.0").write_text(COMMIT)
    for file in save_tiny("llama", cache.parent / "made").iterdir():
        if file.name not in leave_out:
            blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.move(file, blob)
            (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    return snapshot


@pytest.mark.parametrize("spec", [TAG, PINNED])
def test_a_cached_revision_needs_no_network(spec: BackboneSpec, cache: Path) -> None:
    fill(cache)
    backbone = load_backbone(spec, CPU)
    assert torch.equal(run_tiny(backbone.model), run_tiny(tiny_backbone("llama")))
    assert backbone.pinned_id == PINNED.id
    assert backbone.shapes == read_shapes(spec)


def test_the_cache_may_be_named_directly(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fill(cache)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(BackboneError, match="expected it in the cache, as HF_HUB_OFFLINE is set, got no files"):
        load_backbone(PINNED, CPU)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    assert load_backbone(PINNED, CPU).shapes.layers == 2


@pytest.mark.parametrize(
    "missing", [("model.safetensors",), ("tokenizer.json",), ("model.safetensors", "tokenizer.json")]
)
def test_shapes_need_the_configuration_alone(missing: tuple[str, ...], cache: Path) -> None:
    fill(cache, leave_out=missing)
    assert read_shapes(dataclasses.replace(PINNED, pooling="mean")).hidden == 16
    with pytest.raises(BackboneError, match=r"got no weights and tokeniser .*`hf download acme/tiny --revision 0123"):
        load_backbone(PINNED, CPU)


def test_weights_in_several_files_are_whole_or_not(cache: Path) -> None:
    snapshot = fill(cache)
    tiny_backbone("llama").save_pretrained(snapshot, max_shard_size="4kB")  # type: ignore[operator]
    (snapshot / "model.safetensors").unlink(missing_ok=True)
    assert len(list(snapshot.glob("model-*.safetensors"))) > 1
    assert torch.equal(run_tiny(load_backbone(PINNED, CPU).model), run_tiny(tiny_backbone("llama")))
    next(snapshot.glob("model-00002*.safetensors")).unlink()
    with pytest.raises(BackboneError, match="got no weights and tokeniser"):
        load_backbone(PINNED, CPU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:acme/tiny", r"expected 'hub:acme/tiny@REVISION' with a commit hash \(40 hex digits\) or a tag.* Pin one"),
        ("hub:acme/tiny@main", "Pin one of them: a branch moves"),
        ("hub:tiny@v1", "expected 'hub:ORG/NAME@REVISION', got 'hub:tiny@v1'"),
        ("hub:acme/../tiny@v1", "expected 'hub:ORG/NAME@REVISION'"),
        ("hub:acme/tiny@../../x", "expected 'hub:ORG/NAME@REVISION'"),
        ("hub:acme/tiny@.x", "expected 'hub:ORG/NAME@REVISION'"),
        ("hub:", "expected 'bundled:NAME', 'path:DIR' or 'hub:ORG/NAME@REVISION', got 'hub:'"),
        ("acme/tiny", "expected 'bundled:NAME', 'path:DIR' or 'hub:ORG/NAME@REVISION', got 'acme/tiny'"),
    ],
)
def test_ids_that_are_not_pinned_or_no_ids_are_refused(name: str, message: str, cache: Path) -> None:
    with pytest.raises(BackboneError, match=message):
        load_backbone(BackboneSpec(name), CPU)


def test_an_export_names_the_commit(
    cache: Path, tmp_path: Path, make_spec: Callable[..., TrialSpec], finish: Callable[..., TrialReport]
) -> None:
    fill(cache)
    report = finish(make_spec(backbone=TAG, pool=PoolSpec(("attn.v",), ("lora",), (1,), layers=(1,)), measured=()))
    assert report.state == "complete", report.traceback
    for name, content in report.artifact.items():
        (tmp_path / name).write_bytes(content)
    assert json.loads((tmp_path / "adapter.json").read_text())["backbone"]["id"] == PINNED.id
    assert Predictor.load(tmp_path).predict("mood", ["a lovely day"])[0].label in ("good", "bad")


class _Hub(BaseHTTPRequestHandler):
    """As much of a hub as its client asks for: one repository at one commit."""

    def __init__(self, files: dict[str, bytes], asked: list[str], *args: object) -> None:
        self._files, self._asked = files, asked
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        code, headers, content = self._content(path)
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _content(self, path: str) -> tuple[int, dict[str, str], bytes]:
        name = path.rpartition("/")[2]
        if path == "/":
            return 200, {}, b""
        if path.startswith("/api/models/acme/tiny/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self._files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        if path in ("/api/models/acme/tiny/revision/v1.0", f"/api/models/acme/tiny/revision/{COMMIT}"):
            facts = {"id": "acme/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self._files]}
            return 200, {"Content-Type": "application/json"}, json.dumps(facts).encode()
        if path.startswith("/acme/tiny/resolve/v1.0/") or path.startswith(f"/acme/tiny/resolve/{COMMIT}/"):
            content = self._files.get(name)
            if content is not None:
                self._asked.append(name)
                return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        known = path.startswith(("/acme/tiny", "/api/models/acme/tiny"))
        return 404, {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"}, b""


@pytest.fixture
def hub(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, bytes], list[str]]]:
    """A hub on this machine: its files, and the names of those that were asked for."""
    files = {file.name: file.read_bytes() for file in save_tiny("llama", tmp_path / "made").iterdir()}
    files |= {"pytorch_model.bin": b"pickle", "modeling_own.py": b"raise SystemExit", "README.md": b"text"}
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Hub, files, asked))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield files, asked
    server.shutdown()
    server.server_close()


def test_only_what_is_needed_is_downloaded_and_only_once(hub: tuple[dict[str, bytes], list[str]], cache: Path) -> None:
    _, asked = hub
    spec = dataclasses.replace(TAG, pooling="last")
    shapes = read_shapes(spec)
    assert set(asked) == {"config.json"}
    backbone = load_backbone(spec, CPU)
    assert backbone.shapes == shapes
    assert backbone.pinned_id == PINNED.id
    assert torch.equal(run_tiny(backbone.model), run_tiny(tiny_backbone("llama")))
    # The hub's client takes a repository's README along.
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(asked) - {"README.md"} == wanted
    before = len(asked)
    load_backbone(PINNED, CPU)
    assert len(asked) == before
    assert not list(cache.rglob("*.py")) + list(cache.rglob("*.bin"))


def test_pickled_weights_of_the_hub_are_refused(hub: tuple[dict[str, bytes], list[str]]) -> None:
    files, _ = hub
    del files["model.safetensors"]
    with pytest.raises(BackboneError, match=r"expected config\.json, safetensors weights and a tokeniser"):
        load_backbone(TAG, CPU)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:acme/tiny@v9", "expected a commit hash or tag of acme/tiny, got 'v9'"),
        ("hub:acme/other@v1", "expected a model that you may read, got none at acme/other"),
    ],
)
@pytest.mark.parametrize("weights", [False, True])
def test_models_and_revisions_that_are_not_there_are_told(
    name: str, message: str, weights: bool, hub: tuple[dict[str, bytes], list[str]]
) -> None:
    with pytest.raises(BackboneError, match=message):
        load_backbone(BackboneSpec(name), CPU) if weights else read_shapes(BackboneSpec(name))


STUDY = """
name: small
backbone: {id: "hub:acme/tiny@v1.0"}
tasks: [{name: spam, source: "bundled:sms_spam"}]
size_control: {mode: penalty, sparsity_weight: {log_float: [1e-2, 1e1]}}
training: {epochs: 2}
phases: {optimise: {trials: 3}}
"""


@pytest.mark.parametrize(
    ("offline", "message"), [("0", "a connection to the hub or a copy in the cache"), ("1", "in the cache, as HF_HUB")]
)
def test_a_study_is_refused_in_one_line_without_a_network(offline: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": "", "HF_ENDPOINT": CLOSED}
    env["HF_HUB_OFFLINE"] = offline
    done = subprocess.run(
        [sys.executable, "-m", "slasearch", "run", str(file)],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 2
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert len(lines) == 1, lines
    assert "backbone.id: expected a model that can be read, got 'hub:acme/tiny@v1.0'" in lines[0]
    assert message in lines[0]
