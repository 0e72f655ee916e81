"""The text of `--help`, from a config dataclass: options in the sections of its source, described by its docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import tyro

_SECTION = re.compile(r"#\s*---\s*(.+?)\s*-*\s*$")
_INDENT = 26  # where descriptions begin
_WIDEST = 110


@dataclass(frozen=True)
class _Option:
    invocation: str
    about: str
    section: str


def help_text(config: type, prog: str, description: str | None = None, width: int | None = None) -> str:
    """Usage, description, and every option under its section.

    A section begins in the class body with a comment `# --- NAME`. An option is described by the string behind its
    field, or by the `Doc` or `tyro.conf.arg(help=...)` in its annotation; its default is added unless the description
    tells it. `width` is that of the terminal where it is None.
    """
    columns = _columns(width)
    options = _options(config)
    positional = [o.invocation for o in options if not o.invocation.startswith("-")]
    lines = _head(" ".join([prog, *positional, "[options]"]), description or config.__doc__ or "", columns)
    section = None
    for option in [*options, _Option("--help, --version", "Show this text, or the version, and end.", "")]:
        if option.section != section:
            section = option.section
            lines += [*([""] if lines[-1] else []), *([section] if section else [])]
        lines += _described(option, columns)
    return "\n".join(lines) + "\n"


def commands_help(commands: Mapping[str, Any], prog: str, description: str, width: int | None = None) -> str:
    """Usage, description, and every command of a program of several, by the first line of its docstring."""
    columns = _columns(width)
    lines = _head(f"{prog} NAME [options]", description, columns)
    for name, command in commands.items():
        lines += _described(
            _Option(name, inspect.cleandoc(command.__doc__ or "").split("\n\n")[0], ""), columns
        )
    return (
        "\n".join([*lines, "", *textwrap.wrap(f"{prog} NAME --help shows the options of NAME.", columns)])
        + "\n"
    )


def _columns(width: int | None) -> int:
    return min(width or shutil.get_terminal_size().columns, _WIDEST)


def _head(usage: str, about: str, columns: int) -> list[str]:
    lines = [f"usage: {usage}", ""]
    for paragraph in inspect.cleandoc(about).split("\n\n"):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), columns, break_on_hyphens=False), ""]
    return lines


def _described(option: _Option, columns: int) -> list[str]:
    head = f"  {option.invocation}"
    body = textwrap.wrap(option.about, max(30, columns - _INDENT), break_on_hyphens=False) or [""]
    if len(head) + 2 > _INDENT:
        return [head, *(" " * _INDENT + line for line in body)]
    return [head.ljust(_INDENT) + body[0], *(" " * _INDENT + line for line in body[1:])]


def _options(config: type) -> list[_Option]:
    texts, sections = _source(config)
    hints = get_type_hints(config, include_extras=True)
    section = "options"
    found = []
    for field in fields(config):
        section = sections.get(field.name, section)
        hint = hints[field.name]
        extras: tuple[Any, ...] = ()
        if get_origin(hint) is Annotated:
            hint, *rest = get_args(hint)
            extras = tuple(rest)
        if is_dataclass(hint):  # its fields are options themselves
            found += [replace(option, section=section) for option in _options(cast(type, hint))]
            continue
        about = texts.get(field.name) or next((t for e in extras if (t := _documentation(e))), "")
        about = " ".join(about.split())
        default = field.default
        if "default:" not in about.lower() and not (
            isinstance(default, bool) or default in (MISSING, None, (), "")
        ):
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
            about = f"{about.removesuffix('.')} (default: {shown})."
        found.append(_Option(_invocation(field.name, hint, default, extras), about, section))
    return found


def _documentation(extra: Any) -> str:
    return getattr(extra, "documentation", None) or getattr(extra, "help", None) or ""


def _invocation(name: str, hint: Any, default: Any, extras: tuple[Any, ...]) -> str:
    flag = "--" + name.replace("_", "-")
    value = _value(hint)
    if tyro.conf.Positional in extras:
        word = name.removesuffix("s").upper() + (" ..." if value.endswith("...") else "")
        return word if default is MISSING else f"[{word}]"
    if value == "FLAG":
        return flag if default is False else f"--[no-]{flag[2:]}"
    aliases = next((tuple(e.aliases) for e in extras if getattr(e, "aliases", None)), ())
    return f"{', '.join((flag, *aliases))} {value}"


def _value(hint: Any) -> str:
    """What stands for a value of a type.

    >>> [_value(t) for t in (int | None, Path, tuple[str, ...], Literal["a", "b"], bool, float)]
    ['N', 'PATH', 'NAME ...', 'a|b', 'FLAG', 'X']
    """
    origin = get_origin(hint)
    if origin is Annotated:
        return _value(get_args(hint)[0])
    if origin in (Union, UnionType):
        return _value(next(a for a in get_args(hint) if a is not NoneType))
    if origin is Literal:
        return "|".join(map(str, get_args(hint)))
    if origin is tuple:
        return f"{_value(get_args(hint)[0])} ..."
    return {int: "N", float: "X", bool: "FLAG", Path: "PATH"}.get(hint, "NAME")


def _source(config: type) -> tuple[dict[str, str], dict[str, str]]:
    """The string behind each field of the class body, and the section that each field of it stands in; those of its
    base classes too."""
    texts: dict[str, str] = {}
    sections: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if is_dataclass(base):
            _read_body(base, texts, sections)
    return texts, sections


def _read_body(config: type, texts: dict[str, str], sections: dict[str, str]) -> None:
    lines = textwrap.dedent(inspect.getsource(config)).splitlines()
    body = next(n for n in ast.parse("\n".join(lines)).body if isinstance(n, ast.ClassDef)).body
    for statement, following in zip(body, [*body[1:], None]):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name = statement.target.id
        heads = [m[1] for line in lines[: statement.lineno] if (m := _SECTION.search(line))]
        sections[name] = heads[-1] if heads else "options"
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            texts[name] = str(following.value.value)
