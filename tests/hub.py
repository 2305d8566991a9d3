"""A model hub on this machine: folders, served as the repositories of huggingface.co."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789" * 4
LFS_SUFFIXES = (".safetensors", ".bin", ".ckpt", ".msgpack", ".onnx")


@dataclass
class Repository:
    """A folder, and what the hub says about it."""

    folder: Path | None = None
    licence: str | None = "creativeml-openrail-m"
    gated: bool = False
    sizes: dict[str, int] = field(default_factory=dict)  # of files that are listed only

    def files(self) -> dict[str, int]:
        """Sizes by name."""
        paths = sorted(self.folder.rglob("*")) if self.folder else []
        found = {p.relative_to(self.folder).as_posix(): p for p in paths if p.is_file()}
        return {name: path.stat().st_size for name, path in found.items()} | self.sizes


@cache
def sha256(path: Path, changed: int) -> str:
    """Of a file that was changed at that time."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class LoopbackHub(ThreadingHTTPServer):
    """With ranges, redirects to storage, gated and missing repositories, and slow answers.

    A subprocess uses it with HF_ENDPOINT=address in its environment, this process by `use_hub`.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []  # "GET /owner/name/resolve/main/file" and the like
        self.sent: dict[str, int] = {}  # bytes of each file's content, by "owner/name/file"
        self.rate: float | None = None  # bytes per second and file
        self.pause_after: int | None = None  # bytes of one file, then `paused` is set
        self.paused, self.go_on = threading.Event(), threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, repo_id: str, folder: Path | None = None, **about) -> Repository:
        """Serve a folder under a hub id; `about` are fields of Repository."""
        self.repositories[repo_id] = Repository(folder, **about)
        return self.repositories[repo_id]

    def environment(self, home: Path) -> dict[str, str]:
        """Variables of a subprocess that uses this hub, with a cache of its own in `home`."""
        return {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}

    def __enter__(self) -> LoopbackHub:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.go_on.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: LoopbackHub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        patterns = {
            r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?": self._info,
            r"/api/models/([^/]+/[^/]+)/tree/([^/]+)": self._tree,
            r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)": self._resolve,
            r"/storage/([^/]+/[^/]+)/([^/]+)/(.+)": self._storage,
        }
        for pattern, answer in patterns.items():
            if match := re.fullmatch(pattern, path):
                repo_id, revision, *name = match.groups()
                repository = self.server.repositories.get(repo_id)
                commit = revision if re.fullmatch("[0-9a-f]{40}", revision or "") else COMMIT
                if repository is None:
                    return self._refuse(401, "RepoNotFound")
                return answer(repo_id, repository, commit, *name)
        return self._refuse(404, "")

    do_HEAD = do_GET

    def _info(self, repo_id: str, repository: Repository, commit: str) -> None:
        siblings = []
        for name, size in repository.files().items():
            oid, lfs = self._hash(repository, name)
            about = {"rfilename": name, "size": size, "blobId": oid}
            about |= {"lfs": {"sha256": oid, "size": size, "pointerSize": 134}} if lfs else {}
            siblings.append(about)
        card = {"license": repository.licence} if repository.licence else {}
        about = {"id": repo_id, "sha": commit, "siblings": siblings, "cardData": card}
        self._json(about | {"gated": "auto" if repository.gated else False, "tags": []})

    def _tree(self, repo_id: str, repository: Repository, commit: str) -> None:
        entries = []
        for name, size in repository.files().items():
            oid, lfs = self._hash(repository, name)
            entry = {"type": "file", "path": name, "size": size, "oid": oid}
            about = {"oid": oid, "size": size, "pointerSize": 134}
            entries.append(entry | ({"lfs": about} if lfs else {}))
        self._json(entries)

    def _resolve(self, repo_id: str, repository: Repository, commit: str, name: str) -> None:
        if repository.gated:
            return self._refuse(401, "GatedRepo")
        size = repository.files().get(name)
        if size is None:
            return self._refuse(404, "EntryNotFound")
        oid, lfs = self._hash(repository, name)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{oid}"'}
        if lfs:  # lies on another host
            headers |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(size)}
            storage = f"http://localhost:{self.server.server_port}/storage"
            headers["Location"] = f"{storage}/{repo_id}/{commit}/{name}"
            return self._answer(302, headers)
        return self._storage(repo_id, repository, commit, name, headers)

    def _storage(
        self, repo_id: str, repository: Repository, commit: str, name: str, headers=None
    ) -> None:
        path = repository.folder / name if repository.folder else Path()
        content = path.read_bytes() if path.is_file() else b""
        size, first, status = repository.files()[name], 0, 200
        headers = {"Accept-Ranges": "bytes", **(headers or {})}
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first, status = int(match[1]), 206
            headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
        headers["Content-Length"] = str(size - first)
        self._answer(status, headers)
        if self.command == "GET":
            self._send(f"{repo_id}/{name}", content[first:])

    def _send(self, key: str, content: bytes) -> None:
        """In small pieces, as slowly as the hub is to be."""
        hub, piece = self.server, 16384
        limit = hub.pause_after
        for start in range(0, len(content), piece):
            if limit is not None and start + piece > limit and not hub.go_on.is_set():
                self.wfile.write(content[start:limit])
                self.wfile.flush()
                hub.sent[key] = hub.sent.get(key, 0) + limit - start
                hub.paused.set()
                hub.go_on.wait()
                return  # the connection breaks
            try:
                self.wfile.write(content[start : start + piece])
            except OSError:  # whoever asked is gone
                return
            hub.sent[key] = hub.sent.get(key, 0) + len(content[start : start + piece])
            if hub.rate:
                time.sleep(piece / hub.rate)

    def _hash(self, repository: Repository, name: str) -> tuple[str, bool]:
        """The ETag of a file, and whether it lies in the storage for large ones."""
        lfs = name.endswith(LFS_SUFFIXES)
        path = repository.folder / name if repository.folder else Path()
        if not path.is_file():
            return hashlib.sha256(name.encode()).hexdigest()[: 64 if lfs else 40], lfs
        return sha256(path, path.stat().st_mtime_ns)[: 64 if lfs else 40], lfs

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, {"X-Error-Code": code} if code else {})

    def _json(self, content) -> None:
        body = json.dumps(content).encode()
        self._answer(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if self.command == "GET":
            self.wfile.write(body)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


def use_hub(address: str, cache: Path, monkeypatch) -> None:
    """Point huggingface_hub, in this process, to a hub, with a cache of its own."""
    constants = "huggingface_hub.constants."
    monkeypatch.setattr(constants + "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants + "ENDPOINT", address)
    resolve = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", address + resolve)
    monkeypatch.setattr(constants + "HF_HUB_CACHE", str(cache))
