"""A server on this machine: files, in ranges too, and as much of the hub's API as they need."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789" * 4


class FileServer(ThreadingHTTPServer):
    """Serves `files` under any folder; every hub id is a repository of just these."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.ranges = True  # it answers requests for a part
        self.breaks_after: int | None = None  # bytes of an answer
        self.asked: list[tuple[str, str | None]] = []  # file and range, of each GET
        self.url = f"http://127.0.0.1:{self.server_port}"

    def use_as_hub(self, cache: Path, monkeypatch) -> None:
        """Let huggingface_hub ask here."""
        constants = "huggingface_hub.constants."
        resolve = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants + "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants + "ENDPOINT", self.url)
        monkeypatch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        monkeypatch.setattr(constants + "HF_HUB_CACHE", str(cache))


@contextmanager
def serving() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Answer(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        name, files = self.path.rpartition("/")[2], self.server.files
        if self.path.startswith("/api/"):
            rows = [{"type": "file", "path": f, "size": len(c), "oid": f} for f, c in files.items()]
            answer = rows if "/tree/" in self.path else {"id": "owner/name", "sha": COMMIT}
            return self._send(json.dumps(answer).encode())
        if name not in files:
            return self._send(b"", 404)
        asked = self.headers.get("Range")
        if self.command == "GET":
            self.server.asked.append((name, asked))
        begin = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        if begin and begin >= len(files[name]):
            return self._send(b"", 416)
        return self._send(files[name], 206 if begin else 200, begin)

    do_HEAD = do_GET

    def _send(self, content: bytes, status: int = 200, begin: int = 0) -> None:
        self.send_response(status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", hashlib.sha1(content).hexdigest())
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[begin:][: self.server.breaks_after])

    def log_message(self, *_: object) -> None:
        pass
