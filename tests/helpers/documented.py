"""The commands and Python of README.md and docs/: where they stand, as a shell would read them."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
_STARTS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:python|torchrun|srun|make)\b")
_INLINE = re.compile(r"`(python (?:-m [a-z]+\.\w+|train_cutmix\.py)[^`]*)`")


@dataclass(frozen=True)
class Block:
    """An indented or fenced block; `line` is its first line's number in the page, `kind` what the fence says."""

    page: str
    line: int
    kind: str
    text: str

    @property
    def commands(self) -> list[tuple[int, str]]:
        """(line, command) where it is a block of commands: without comments, continued lines joined."""
        found, joined, start = [], "", 0
        for number, line in enumerate(self.text.splitlines(), self.line):
            start = start if joined else number
            joined += re.split(r"\s#|^#", line)[0].strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            if joined:
                found.append((start, joined))
            joined = ""
        return found if any(_STARTS.match(c) for _, c in found) else []

    @property
    def file(self) -> str | None:
        """The file that a fenced block is the content of, as its first line says: `# NAME.py`."""
        named = re.match(r"# ([\w.]+\.(?:py|yaml))\n", self.text)
        return named[1] if self.kind and named else None

    @property
    def is_python(self) -> bool:
        """Whether it is Python: said by its fence, or indented, no commands, and of more than names."""
        if self.kind or self.commands:
            return self.kind == "python"
        try:
            tree = ast.parse(self.text)
        except SyntaxError:
            return False
        return any(isinstance(n, (ast.Assign, ast.Import, ast.ImportFrom)) for n in tree.body)


def blocks(page: Path) -> Iterator[Block]:
    """Every block of a page, in order."""
    lines = page.read_text().splitlines()
    k = 0
    while k < len(lines):
        start, kind = k, ""
        if lines[k].startswith("```"):
            kind = lines[k][3:] or "text"
            start = k = k + 1
            while lines[k] != "```":
                k += 1
            end = k
        elif lines[k].startswith("    ") and (k == 0 or not lines[k - 1].strip()):
            while k < len(lines) and (lines[k].startswith("    ") or not lines[k].strip()):
                k += 1
            end = k
            k -= 1
        else:
            k += 1
            continue
        yield Block(page.name, start + 1, kind, textwrap.dedent("\n".join(lines[start:end])))
        k += 1


def inline_commands(page: Path) -> list[str]:
    """Commands of this project in running text and tables."""
    return _INLINE.findall(re.sub(r"\n", " ", page.read_text()))


def words_of(command: str) -> list[str]:
    """A command's words as a shell in the current folder passes them on: braces and patterns expanded.

    >>> words_of("MODE=x python a.py r-{0,1} 'two words'")
    ['python', 'a.py', 'r-0', 'r-1', 'two words']
    """
    words = []
    for word in shlex.split(re.sub(r"^(?:[A-Z_]+=\S+ )*", "", command)):
        braces = re.fullmatch(r"(.*)\{([^{}]*,[^{}]*)\}(.*)", word)
        spread = [f"{braces[1]}{part}{braces[3]}" for part in braces[2].split(",")] if braces else [word]
        for one in spread:
            words.extend(sorted(str(p) for p in Path().glob(one)) or [one] if "*" in one else [one])
    return words
