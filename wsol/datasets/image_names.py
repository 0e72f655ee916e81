"""Which image a name means that an annotation file writes in its own way.

Tools write backslashes, absolute paths of another machine, percent signs for spaces, other endings or none, another
case, or another unicode form. A name is looked for as it stands first, then with each of these set aside in turn; it
counts only where exactly one image is left. Of an absolute path the file's name is enough, where the path states no
other folder of the source.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cached_property
from urllib.parse import unquote

_ABSOLUTE = re.compile(r"file:|[A-Za-z]:[/\\]|[/\\]")
_SEARCHED = 2000
"""How many image names the suggestion of an error looks through."""


class ImageNames:
    """The images of a source by their relative posix paths; `respelled` counts names that were not found as written."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = list(paths)
        self._index: dict[Callable[[str], str], dict[str, list[str]]] = {}
        self.respelled: dict[str, str] = {}

    def find(self, name: str) -> str:
        """The path of the image that `name` means.

        Raises ValueError where no image or more than one is meant, with the nearest name.

        >>> names = ImageNames(["cat/IMG 1.JPG", "dog/2.jpg"])
        >>> names.find("dog/2.jpg"), names.find("cat\\\\img 1.jpg"), names.find("C:/data/dog/2"), names.find("2.png")
        ('dog/2.jpg', 'cat/IMG 1.JPG', 'dog/2.jpg', 'dog/2.jpg')
        """
        for spelling in (_as_written, _folded, _without_ending):
            for written in dict.fromkeys((name, unquote(name))):
                wanted = spelling(clean_name(written))
                called = self._ending_in(spelling, wanted)
                hits = [p for p in called if _one_ends_the_other(spelling(p), wanted)]
                if not hits and _ABSOLUTE.match(written.strip()):
                    hits = [p for p in called if self._folders_agree(p, wanted)]
                equal = [p for p in hits if spelling(p) == wanted]
                if len(equal) == 1:
                    hits = equal
                if len(hits) > 1:
                    raise ValueError(
                        f"'{name}' names {len(hits)} images ({', '.join(hits[:3])}); write its path"
                    )
                if hits:
                    if hits[0] != name and not hits[0].endswith(f"/{name}"):
                        self.respelled[name] = hits[0]
                    return hits[0]
        near = difflib.get_close_matches(name, self._paths[:_SEARCHED], n=1, cutoff=0.3)
        raise ValueError(
            f"'{name}' is no image under the source" + (f"; the nearest name is '{near[0]}'" if near else "")
        )

    @cached_property
    def _folders(self) -> frozenset[str]:
        return frozenset(folder for path in self._paths for folder in _folded(path).split("/")[:-1])

    def _folders_agree(self, path: str, name: str) -> bool:
        """Whether no folder of `name`, a path on another machine, is one of the source that `path` does not lie in."""
        stated = self._folders.intersection(_folded(name).split("/")[:-1])
        return stated <= set(_folded(path).split("/")[:-1])

    def notes(self, where: str) -> list[str]:
        """What the manifest says of names that were matched by another spelling."""
        if not self.respelled:
            return []
        name, path = next(iter(self.respelled.items()))
        return [f"{where}: {len(self.respelled)} image names were matched by spelling: '{name}' is '{path}'"]

    def _ending_in(self, spelling: Callable[[str], str], name: str) -> list[str]:
        """Paths whose file name, spelled that way, is that of `name`."""
        if spelling not in self._index:
            index: dict[str, list[str]] = {}
            for path in self._paths:
                index.setdefault(spelling(path).rpartition("/")[2], []).append(path)
            self._index[spelling] = index
        return self._index[spelling].get(name.rpartition("/")[2], [])


def clean_name(name: str) -> str:
    """A name with '/' between its folders and nothing before the first of them.

    >>> clean_name(" .\\\\cat\\\\1.jpg"), clean_name("C:\\\\x\\\\1.jpg"), clean_name("file:///a//b.jpg")
    ('cat/1.jpg', 'x/1.jpg', 'a/b.jpg')
    """
    name = re.sub(r"^(file:|[A-Za-z]:(?=[/\\]))", "", name.strip())
    pieces = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".")]
    return "/".join(pieces)


def _as_written(name: str) -> str:
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _without_ending(name: str) -> str:
    folder, _, file = _folded(name).rpartition("/")
    stem = re.sub(r"\.[a-z0-9]{2,5}$", "", file) or file
    return f"{folder}/{stem}" if folder else stem


def _one_ends_the_other(path: str, name: str) -> bool:
    return path == name or path.endswith(f"/{name}") or name.endswith(f"/{path}")
