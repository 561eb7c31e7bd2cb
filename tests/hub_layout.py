"""A cache in the layout of the Hugging Face hub, and a server that answers as it does, for tests without a network.

datasets--ORG--NAME/refs/TAG              the commit that a tag means
datasets--ORG--NAME/blobs/HASH            the files
datasets--ORG--NAME/snapshots/COMMIT/…    links to them
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def json_lines(records: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def parquet(records: Sequence[Mapping[str, Any]], names: Mapping[str, Sequence[str]] | None = None) -> bytes:
    """A Parquet file; `names` are those of classes by column, stored as Hugging Face's own library does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([dict(record) for record in records])
    if names:
        features = {column: {"names": list(of), "_type": "ClassLabel"} for column, of in names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def add_repository(
    cache: Path,
    repository: str,
    files: Mapping[str, bytes],
    *,
    commit: str = COMMIT,
    kind: str = "datasets",
    refs: Sequence[str] = (),
) -> Path:
    """Puts files into the cache as if they had been downloaded; gives the folder of the snapshot."""
    home = cache / f"{kind}--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        blob = home / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    for ref in refs:
        file = home / "refs" / ref
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(commit)
    return snapshot


@contextmanager
def hub_server(repository: str, files: Mapping[str, bytes], *, tag: str) -> Iterator[tuple[str, list[str]]]:
    """A server with one data set whose `tag` is `COMMIT`: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(f"{self.command} {path}")
            content, headers = _answer(path, repository, files, tag)
            self.send_response(200 if content is not None else 404)
            for name, value in {**headers, "Content-Length": str(len(content or b""))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content or b"")

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def _answer(path: str, repository: str, files: Mapping[str, bytes], tag: str) -> tuple[bytes | None, dict[str, str]]:
    api, files_at = f"/api/datasets/{repository}", f"/datasets/{repository}/resolve/{COMMIT}/"
    as_json = {"Content-Type": "application/json"}
    if path == f"{api}/revision/{tag}":
        return json.dumps({"id": repository, "sha": COMMIT, "siblings": []}).encode(), as_json
    if path == f"{api}/tree/{COMMIT}":
        tree = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in files.items()
        ]
        return json.dumps(tree).encode(), as_json
    if path.startswith(files_at) and path.removeprefix(files_at) in files:
        content = files[path.removeprefix(files_at)]
        return content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
    if path.startswith((api, f"/datasets/{repository}/")):
        return None, {"X-Error-Code": "RevisionNotFound" if "/revision/" in path else "EntryNotFound"}
    return None, {"X-Error-Code": "RepoNotFound"}
