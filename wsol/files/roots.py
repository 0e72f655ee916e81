"""A way into a dataset's files: a folder, or a .zip read in place. Nothing outside the root is read."""

from __future__ import annotations

import os
import threading
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from wsol.errors import UserError
from wsol.files.regular import MAX_FILE_BYTES, file_stamp, read_bytes

MAX_WAYS = 100
"""Paths by which links may lead to one and the same folder."""
MAX_RATIO = 500
"""Largest expansion of one archive member above `RATIO_FLOOR_BYTES`; more is taken for a bomb."""
RATIO_FLOOR_BYTES = 16 << 20


def safe_relative(path: str) -> bool:
    """Whether a path stays under the folder it is relative to, by its text alone.

    >>> [safe_relative(p) for p in ("a/b.jpg", "../a", "/a", "a/../../b", "c:\\\\a", "")]
    [True, False, False, False, False, False]
    """
    if not path or path[0] == "/" or "\\" in path or "\0" in path:
        return False
    return ".." not in path or ".." not in path.split("/")


class FileRoot(ABC):
    """Read-only access to a dataset's files by relative posix path. Picklable; never leaves its root.

    `location` is the text that `open_root` takes back: the absolute folder, or `archive.zip/inner/folder`.
    Symbolic links inside a folder that the user made are followed; archives never bring any.
    """

    location: str

    @abstractmethod
    def read_bytes(self, path: str) -> bytes:
        """The whole file; `UserError` when it is missing, unreadable, or leaves the root."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether a file (not a folder) of that name is there; False for a path that leaves the root."""

    @abstractmethod
    def names(self, under: str = "") -> Iterator[str]:
        """Relative paths of all files under a subfolder, streamed; archive order or
        sorted folder by folder."""

    @abstractmethod
    def names_in(self, folders: Set[str]) -> Iterator[str]:
        """Relative paths of the files directly inside the given folders ("" is the root itself); a folder
        that is not there has none."""

    @abstractmethod
    def stamp(self, path: str) -> tuple[int, int] | None:
        """Two numbers that change when the file is replaced: its size, and its time of change (in a zip: its
        checksum). None where it is not there."""

    @abstractmethod
    def subfolder(self, path: str) -> FileRoot:
        """The same files seen from a folder further down."""

    def _refuse(self, path: str) -> UserError:
        return UserError(f"path {path!r} leaves its dataset '{self.location}'; only paths inside it are read")


class FolderRoot(FileRoot):
    """A plain folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve().as_posix()
        self.location = self._folder

    def read_bytes(self, path: str) -> bytes:
        if not safe_relative(path):
            raise self._refuse(path)
        full = f"{self._folder}/{path}"
        try:
            return read_bytes(full)
        except FileNotFoundError as error:
            raise UserError(
                f"file '{path}' is missing under '{self.location}'; complete the dataset, or pass the right --data-root"
            ) from error
        except OSError as error:
            raise UserError(f"file '{full}' cannot be read: {error.strerror or error}") from error

    def exists(self, path: str) -> bool:
        # os.path, not pathlib: the audit asks a million times
        return safe_relative(path) and os.path.isfile(f"{self._folder}/{path}")  # noqa: PTH113

    def stamp(self, path: str) -> tuple[int, int] | None:
        return file_stamp(f"{self._folder}/{path}") if safe_relative(path) else None

    def names(self, under: str = "") -> Iterator[str]:
        if under and not safe_relative(under):
            raise self._refuse(under)
        cut = len(self._folder) + 1
        return (path[cut:] for path in _walk(f"{self._folder}/{under}".rstrip("/"), (), Counter()))

    def names_in(self, folders: Set[str]) -> Iterator[str]:
        for folder in sorted(folders):
            if folder and not safe_relative(folder):
                raise self._refuse(folder)
            try:
                with os.scandir(f"{self._folder}/{folder}") as entries:
                    yield from sorted(f"{folder}/{e.name}".lstrip("/") for e in entries if e.is_file())
            except (FileNotFoundError, NotADirectoryError):
                continue

    def subfolder(self, path: str) -> FileRoot:
        if not path:
            return self
        if not safe_relative(path):
            raise self._refuse(path)
        return FolderRoot(Path(self._folder) / path)


def _walk(folder: str, above: tuple[tuple[int, int], ...], seen: Counter[tuple[int, int]]) -> Iterator[str]:
    """Paths of all files under a folder, links followed: its own files sorted, then folder by folder."""
    try:
        state = os.stat(folder)  # noqa: PTH116  (a million calls)
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda e: e.name)
    except OSError:  # absent, or not ours to read: the audit names the files that are missing
        return
    here = (state.st_dev, state.st_ino)
    seen[here] += 1
    if here in above or seen[here] > MAX_WAYS:
        raise UserError(
            f"'{folder}' leads by links to a folder that {'holds it' if here in above else f'{MAX_WAYS} paths reach'}; "
            "remove the link, or pass the folder that holds the dataset alone"
        )
    yield from (f"{folder}/{e.name}" for e in found if not e.is_dir())
    for entry in found:
        if entry.is_dir():
            yield from _walk(f"{folder}/{entry.name}", (*above, here), seen)


class ZipRoot(FileRoot):
    """A .zip read in place, or a folder inside it. Each process opens its own handle, so workers may fork."""

    def __init__(self, archive: Path, inner: str = "") -> None:
        self._archive = archive.resolve().as_posix()
        self._inner = f"{inner.strip('/')}/" if inner.strip("/") else ""
        self.location = f"{self._archive}/{self._inner}".rstrip("/")
        self._opened: tuple[int, zipfile.ZipFile] | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"archive": self._archive, "inner": self._inner}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(Path(state["archive"]), state["inner"])  # type: ignore[misc]

    def _zip(self) -> zipfile.ZipFile:
        # After a fork parent and child would share one file offset: a handle belongs to the process that
        # opened it.
        opened = self._opened
        if opened is not None and opened[0] == os.getpid():
            return opened[1]
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = (os.getpid(), _open_zip(self._archive))
            return self._opened[1]

    def read_bytes(self, path: str) -> bytes:
        if not safe_relative(path):
            raise self._refuse(path)
        archive = self._zip()
        try:
            info = archive.getinfo(self._inner + path)
        except KeyError as error:
            raise UserError(
                f"file '{path}' is missing in '{self.location}'; complete the archive, or pass the right --data-root"
            ) from error
        check_member_size(info.file_size, info.compress_size, f"{self._archive}: {info.filename}")
        try:
            return archive.read(info)
        except Exception as error:  # damaged archives make zipfile raise nearly anything
            raise UserError(f"'{self._archive}': member '{info.filename}' cannot be read: {error}") from error

    def exists(self, path: str) -> bool:
        return safe_relative(path) and self._inner + path in self._zip().NameToInfo and path[-1] != "/"

    def stamp(self, path: str) -> tuple[int, int] | None:
        info = self._zip().NameToInfo.get(self._inner + path)
        return None if info is None else (info.file_size, info.CRC)

    def names(self, under: str = "") -> Iterator[str]:
        if under and not safe_relative(under):
            raise self._refuse(under)
        prefix = self._inner + (f"{under.strip('/')}/" if under else "")
        cut = len(self._inner)
        for name in self._zip().NameToInfo:
            if name.startswith(prefix) and name[-1] != "/":
                yield name[cut:]

    def names_in(self, folders: Set[str]) -> Iterator[str]:
        return (name for name in self.names() if name.rpartition("/")[0] in folders)

    def subfolder(self, path: str) -> FileRoot:
        if not path:
            return self
        if not safe_relative(path):
            raise self._refuse(path)
        inner = ZipRoot(Path(self._archive), self._inner + path)
        inner._opened = self._opened
        return inner


def check_member_size(size: int, compressed: int, where: str) -> None:
    """Refuse an archive member that is too large to read or expands like a bomb."""
    if size > MAX_FILE_BYTES:
        raise UserError(
            f"{where} holds {size} bytes, more than the {MAX_FILE_BYTES} that are read; not opened"
        )
    if size > RATIO_FLOOR_BYTES and size > MAX_RATIO * max(compressed, 1):
        raise UserError(f"{where} would expand {size // max(compressed, 1)} times, like a bomb; not opened")


def _open_zip(path: str) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise UserError(f"archive '{path}' is missing; pass the right --data-root or --source") from error
    except PermissionError as error:
        raise UserError(f"archive '{path}' cannot be read: permission denied") from error
    except Exception as error:  # a damaged directory makes zipfile raise nearly anything
        raise UserError(f"'{path}' is not a readable zip archive ({error}); download it again") from error
    infos = archive.infolist()
    for info in infos:
        if not safe_relative(info.filename):
            raise UserError(f"'{path}' names a file outside its folder ({info.filename!r}); refused")
        if (info.external_attr >> 28) == 0xA:  # S_IFLNK in the upper half of a Unix mode
            raise UserError(f"'{path}' holds a symbolic link ({info.filename!r}); refused")
    if len(archive.NameToInfo) != len(infos):
        seen: set[str] = set()
        twice = next(i.filename for i in infos if i.filename in seen or seen.add(i.filename))  # type: ignore[func-returns-value]
        raise UserError(
            f"'{path}' holds {twice!r} more than once; refused, since it is unclear which one counts"
        )
    return archive


def open_root(root: str | os.PathLike[str]) -> FileRoot:
    """A dataset's files: a folder, a .zip, or a folder inside a .zip (`archive.zip/inner`), read in place."""
    path = Path(root).expanduser()
    if path.is_dir():
        return FolderRoot(path)
    for candidate in (path, *path.parents):
        if candidate.is_file():
            inner = path.relative_to(candidate).as_posix()
            inner = "" if inner == "." else inner
            if candidate.suffix.lower() != ".zip":
                tar = any(
                    s in (".tar", ".tgz", ".gz", ".bz2", ".xz") for s in map(str.lower, candidate.suffixes)
                )
                hint = "; tar archives are unpacked by `python -m wsol.prepare`" if tar else ""
                raise UserError(f"'{candidate}' is a file, but a folder or a .zip archive was expected{hint}")
            if inner and not safe_relative(inner):
                raise UserError(f"'{root}': the folder inside the archive may not leave it")
            found = ZipRoot(candidate, inner)
            found._zip()
            if inner and next(found.names(), None) is None:
                raise UserError(f"archive '{candidate}' holds no folder '{inner}'")
            return found
    raise UserError(f"'{root}' does not exist; pass the folder or .zip archive that holds the dataset")
