"""Valid texts broken along their own structure: values, elements and cells exchanged, or characters broken.

What breaks bytes at random alone is mostly refused by the first check of a reader. Here a mutated file keeps its form,
so that what lies behind that check is reached. Every function is deterministic in its `random.Random`.
"""

from __future__ import annotations

import json
import random
import re
from copy import deepcopy
from typing import Any
from xml.etree import ElementTree

WORDS = (
    *b"nan inf -1 0 1e999 99999999999999999999 1.5 -0.0 0x10 1_000 \xd9\xa3 \xc2\xb2 1e-400 - -- null true %".split(),
    *b", | \" ' < > &a; { } [ ] : *a # ../evil /etc/passwd a\\b \\u0000 \xf0\x9f\x90\xa6 \xe2\x80\xa8 \x1b".split(),
    *(b"", b" ", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"&a "),
    *(b"!!python/name:os.system ", b'<!DOCTYPE x [<!ENTITY a "aa">]>', b"A" * 5000, b"9" * 400, b"9" * 5000),
    *(b"[" * 2000, b"<a>" * 200),
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 255, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, -(10**30)),
    *(0.5, -0.5, 1e308, 1e-320, float("nan"), float("inf"), "", " ", "a", "-1", "1e999", "../../evil"),
    *("/etc/passwd", "\0", "\x1b[31m", "\ud800", "\U0001f426", "A" * 5000, "9" * 5000, "None", "n01440764"),
    *("test", "train-weaksup", "sum", [], {}, [[]], [None], {"": 0}, [0] * 300, [1, 2, 3, 4], [1e308] * 4),
)


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """Break bytes, words or lines in one to four places."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(out) + 1)
        what = draw.randrange(10)
        if what == 0 and out:
            out[at % len(out)] ^= 1 << draw.randrange(8)
        elif what == 1:
            del out[at:]
        elif what == 2:
            del out[at : at + draw.randint(1, 8)]
        elif what in (3, 4):
            out[at:at] = draw.choice(WORDS)
        elif what in (5, 6):  # a whole number, word or cell replaced
            cells = list(re.finditer(rb"[^\s,|<>\"{}:\[\]]+", bytes(out)))
            if cells:
                cell = draw.choice(cells)
                out[cell.start() : cell.end()] = draw.choice(WORDS)
        else:
            lines = bytes(out).split(b"\n")
            k = draw.randrange(len(lines))
            other = lines[draw.randrange(len(lines))]
            if what == 7:
                lines.insert(k, other)
            elif what == 8:
                lines[k] = other
            else:
                del lines[k]
            out = bytearray(b"\n".join(lines))
    return bytes(out)


# --- texts --------------------------------------------------------------------------------------------------


def mutate_tree(value: Any, draw: random.Random) -> Any:
    """Plain data with one to three of its values replaced, removed, doubled, exchanged, or nested without end."""
    value = deepcopy(value)
    for _ in range(draw.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return draw.choice(ODD)
        holder, key = draw.choice(places)
        what = draw.randrange(8)
        if what < 4:
            holder[key] = deepcopy(draw.choice(ODD))
        elif what == 4:
            del holder[key]
        elif what == 5:
            other, there = draw.choice(places)
            holder[key] = deepcopy(other.get(there) if isinstance(other, dict) else other[there % len(other)])
        elif what == 6 and isinstance(holder, dict):
            holder[draw.choice([k for k in ODD if isinstance(k, str)])] = holder.pop(key)
        elif what == 6:
            holder.insert(key, deepcopy(holder[key]))
        else:
            for _ in range(draw.choice((1, 2, 60, 3000))):
                holder[key] = [holder[key]] if draw.random() < 0.5 else {"a": holder[key]}
            break  # copying what is nested so deeply would exhaust Python's own stack
    return value


def _places(value: Any, depth: int = 0) -> Any:
    if isinstance(value, (dict, list)) and depth < 20:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], depth + 1)


def mutate_json(data: bytes, draw: random.Random) -> bytes:
    """A JSON text: its values, or sometimes its characters."""
    if draw.random() < 0.25:
        return mutate_bytes(data, draw)
    try:
        return json.dumps(mutate_tree(json.loads(data), draw), ensure_ascii=draw.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    except (ValueError, RecursionError):
        return b'{"a":' * 5000


def mutate_json_lines(data: bytes, draw: random.Random) -> bytes:
    """A text of one JSON value a line: one of its lines."""
    lines = data.splitlines(keepends=True)
    k = draw.randrange(len(lines))
    return b"".join([*lines[:k], mutate_json(lines[k], draw), *lines[k + 1 :]])


def mutate_xml(data: bytes, draw: random.Random) -> bytes:
    """An XML text: its elements, or sometimes its characters."""
    if draw.random() < 0.25:
        return mutate_bytes(data, draw)
    root = ElementTree.fromstring(data)
    for _ in range(draw.randint(1, 3)):
        parents = [e for e in root.iter() if len(e)]
        if not parents:
            break
        parent = draw.choice(parents)
        child = draw.choice(list(parent))
        what = draw.randrange(7)
        if what < 3:
            child.text = re.sub("[\0\x1b\ud800]", "", draw.choice(WORDS).decode("utf-8", "replace"))
        elif what == 3:
            parent.remove(child)
        elif what == 4:
            parent.append(deepcopy(child))
        elif what == 5:
            child.tag = draw.choice([e.tag for e in root.iter()])
        else:
            for _ in range(draw.choice((1, 30, 3000))):
                holder = ElementTree.Element(child.tag)
                holder.append(child)
                child = holder
            parent.append(child)
            break
    try:
        return ElementTree.tostring(root)
    except RecursionError:
        return b"<annotation>" * 3000


def mutate_csv(data: bytes, draw: random.Random) -> bytes:
    """A table: its cells and rows, or sometimes its characters."""
    if draw.random() < 0.25:
        return mutate_bytes(data, draw)
    rows = [line.split(b",") for line in data.rstrip(b"\n").split(b"\n")]
    for _ in range(draw.randint(1, 3)):
        row = draw.choice(rows)
        at, what = draw.randrange(len(row)), draw.randrange(7)
        if what < 3:
            row[at] = draw.choice(WORDS)
        elif what == 3:
            row.insert(at, draw.choice(WORDS))
        elif what == 4 and len(row) > 1:
            del row[at]
        elif what == 5:
            row[at] = draw.choice(draw.choice(rows))
        else:
            rows.insert(draw.randrange(len(rows)), list(row))
    separator = b"," if draw.random() < 0.8 else draw.choice((b";", b"\t", b"|", b" "))
    return b"\n".join(separator.join(row) for row in rows) + b"\n" * draw.randint(0, 2)
