"""YAML as plain data: mappings, lists, texts, numbers. What could surprise or blow up is refused by line."""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any

import yaml

from wsol.errors import UserError
from wsol.files.regular import read_text

MAX_BYTES = 64 << 20


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases (which can multiply without end) and without silently overwritten keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"line {event.start_mark.line + 1}: aliases (*name) are not used here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, _ in node.value:
                name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else ("", "")
                if name in seen:
                    raise yaml.YAMLError(f"line {key.start_mark.line + 1}: key '{key.value}' is given twice")
                seen.add(name)
        return super().construct_mapping(node, deep=deep)


class _PlainDumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice, since `load_yaml` takes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that `load_yaml` reads back, keys in their order."""
    return yaml.dump(data, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=110)


def load_yaml(text: str, where: str) -> Any:
    """Parse YAML; every defect is a `UserError` naming `where` and, where the parser knows it, the line.

    >>> load_yaml("a: 1", "x.yaml")
    {'a': 1}
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{where}: {len(text)} characters are more than a settings file holds")
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{where}:{line}: not readable as YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, OverflowError, AttributeError, TypeError) as error:
        raise UserError(f"{where}: not readable as YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise UserError(f"{where}: not readable as YAML: nested too deeply") from error


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The content of a YAML file; a missing one stays an OSError, every other defect is a `UserError`."""
    return load_yaml(read_text(path, MAX_BYTES), os.fspath(path))
