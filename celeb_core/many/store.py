"""A folder or URL of any file system that fsspec knows, for files that are written once, whole."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from celeb_core.errors import CelebError, SaveFailed, UsageError, quote
from celeb_core.files import check_writable, write_atomically

# Whose files appear when they are complete. On others they are written beside and renamed.
WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "hf", "memory"}


class Store:
    """Files below a folder or URL; their paths are relative, with slashes."""

    def __init__(self, url: str) -> None:
        """Find the file system of a folder or a URL such as s3://bucket/folder.

        Raises:
            UsageError: There is no such kind of URL, or a package for it is missing.
        """
        self.url = url
        self.fs, self.root = file_system(url)
        self.local = isinstance(self.fs, LocalFileSystem)

    def check_writable(self) -> None:
        """Raise SaveFailed if no file can be written."""
        if self.local:
            check_writable(self._path())
            return
        with _saving(self.url):
            self.fs.pipe_file(self._name(".writable"), b"")
            self.fs.rm_file(self._name(".writable"))

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whole or not at all; SaveFailed if that is not possible."""
        if self.local:
            write_atomically(self._path(path), content)
            return
        name = self._name(path)
        kinds = {self.fs.protocol} if isinstance(self.fs.protocol, str) else {*self.fs.protocol}
        with _saving(name):
            if kinds & WHOLE:
                self.fs.pipe_file(name, content)
                return
            folder, _, last = name.rpartition("/")
            self.fs.makedirs(folder, exist_ok=True)
            self.fs.pipe_file(f"{folder}/.{last}.tmp", content)
            self.fs.mv(f"{folder}/.{last}.tmp", name)

    def read(self, path: str) -> bytes | None:
        """Read a file; None if it is not there."""
        try:
            content: bytes = self.fs.cat_file(self._name(path))
            return content
        except FileNotFoundError:
            return None
        except Exception as error:  # each file system has errors of its own
            raise _unreadable(self._name(path), error) from error

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none if it is not there."""
        try:
            self.fs.invalidate_cache()
            found = self.fs.ls(self._name(folder), detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise _unreadable(self._name(folder), error) from error
        names = (one.rstrip("/").rpartition("/")[2] for one in found)
        return sorted(name for name in names if name and not name.startswith("."))

    def read_all(self, folder: str, names: Iterable[str]) -> dict[str, bytes]:
        """Read files of a folder, many at a time where the file system can; by name."""
        paths = {self._name(f"{folder}/{name}"): name for name in names}
        if not paths:
            return {}
        try:
            found: Mapping[str, Any] = self.fs.cat(list(paths), on_error="omit")
        except Exception as error:
            raise _unreadable(self._name(folder), error) from error
        if isinstance(found, bytes):  # of one path
            found = {next(iter(paths)): found}
        return {paths[path]: content for path, content in found.items() if path in paths}

    def _name(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"

    def _path(self, path: str = "") -> Path:
        return Path(self.root, path)


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path in it; UsageError if there is none."""
    try:
        found: tuple[Any, str] = url_to_fs(url)
        return found
    except ImportError as error:
        raise UsageError(
            f"“{quote(url)}” needs a package that is not installed ({error}). Install it: pip "
            "install s3fs for s3://, gcsfs for gs://, adlfs for az://."
        ) from error
    except Exception as error:
        known = "file, s3, gs, az, hf, memory"
        raise UsageError(
            f"“{quote(url)}” is no folder or URL that can be used ({quote(str(error))}). "
            f"Name a folder, or a URL such as s3://bucket/folder. Some that work: {known}."
        ) from error


def read_url(url: str, most: int) -> bytes:
    """Read a file of at most `most` bytes.

    Raises:
        FileNotFoundError, ValueError, OSError: It is not there; it is larger; it cannot be read.
    """
    fs, path = file_system(url)
    with _as_os_error(), fs.open(path, "rb") as file:
        content: bytes = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most:,} bytes")
    return content


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except (OSError, CelebError):
        raise
    except Exception as error:  # botocore's, for example
        raise OSError(str(error)) from error


@contextmanager
def _saving(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each file system has errors of its own
        raise SaveFailed(
            f"Could not write {name}: {quote(str(error))}. Check the address and your access to "
            "it; what was there before is intact."
        ) from error


def _unreadable(name: str, error: Exception) -> CelebError:
    return CelebError(
        f"Could not read {name}: {quote(str(error))}. Check the address and your access to it."
    )
