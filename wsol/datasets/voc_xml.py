"""One image's annotation in Pascal VOC's XML, which ImageNet's CLS-LOC boxes use too. Never fetches, never expands."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree
from xml.parsers import expat

from wsol.datasets.boxes import Box
from wsol.datasets.text_fields import to_float
from wsol.errors import UserError

MAX_DEPTH = 32
_LINE = "line!"  # no XML name holds '!', so it cannot meet an attribute of the file


@dataclass(frozen=True)
class XmlObject:
    """One object; `box` is (xmin, ymin, xmax, ymax) as written. `difficult` is None where the
    file says neither 0 nor 1."""

    name: str
    box: Box
    difficult: bool | None


@dataclass(frozen=True)
class XmlAnnotation:
    """One annotation file; `size_wh` is None where it is absent or zero (some files of VOC's tools say 0)."""

    filename: str
    size_wh: tuple[int, int] | None
    objects: tuple[XmlObject, ...]


def parse_xml(data: bytes, where: str) -> ElementTree.Element:
    """Parse XML into elements that know their line. Document types (and with them entities) are refused."""
    parser = expat.ParserCreate()
    builder = ElementTree.TreeBuilder()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"elements are nested more than {MAX_DEPTH} deep")
        builder.start(name, {**attributes, _LINE: str(parser.CurrentLineNumber)})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: object) -> None:
        raise ValueError("a document type or entity is not accepted")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except expat.ExpatError as error:
        raise UserError(
            f"{where}:{error.lineno}: not readable as XML: {expat.ErrorString(error.code)}"
        ) from error
    except (ValueError, AssertionError, LookupError) as error:
        raise UserError(f"{where}:{parser.CurrentLineNumber}: not readable as XML: {error}") from error


def parse_annotation(data: bytes, where: str) -> XmlAnnotation:
    """Read one annotation; every defect is a `UserError` naming file and line. No object at all is fine."""
    root = parse_xml(data, where)
    if root.tag != "annotation":
        raise UserError(f"{where}:{_line(root)}: expected <annotation>, got <{root.tag}>")
    size = root.find("size")
    size_wh = None
    if size is not None and size.findtext("width") and size.findtext("height"):
        wh = tuple(int(_number(size, key, where)) for key in ("width", "height"))
        size_wh = (wh[0], wh[1]) if min(wh) > 0 and max(wh) < 2**31 else None
    return XmlAnnotation(
        filename=(root.findtext("filename") or "").strip(),
        size_wh=size_wh,
        objects=tuple(_object(element, where) for element in root.findall("object")),
    )


def _object(element: ElementTree.Element, where: str) -> XmlObject:
    name = (element.findtext("name") or "").strip()
    box = element.find("bndbox")
    if not name or box is None:
        raise UserError(f"{where}:{_line(element)}: an <object> needs <name> and <bndbox>")
    x0, y0, x1, y1 = (_number(box, key, where) for key in ("xmin", "ymin", "xmax", "ymax"))
    if x0 > x1 or y0 > y1:
        raise UserError(
            f"{where}:{_line(box)}: box xmin {x0:g} ymin {y0:g} xmax {x1:g} ymax {y1:g} is not xmin <= xmax, ymin "
            "<= ymax"
        )
    flag = (element.findtext("difficult") or "0").strip()
    # LabelImg's later versions write "Unspecified", others 0.0
    difficult = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}.get(
        flag.lower()
    )
    return XmlObject(name, (x0, y0, x1, y1), difficult)


def _number(parent: ElementTree.Element, key: str, where: str) -> float:
    found = parent.find(key)
    try:
        return to_float((found.text or "") if found is not None else "", f"<{key}>")
    except ValueError as error:
        raise UserError(f"{where}:{_line(parent if found is None else found)}: {error}") from error


def _line(element: ElementTree.Element) -> str:
    return element.get(_LINE, "1")
