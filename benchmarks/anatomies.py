"""Files of binary formats broken along their own structure: pieces moved, fields overwritten, checksums made to fit."""

from __future__ import annotations

import io
import json
import pickletools
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.mutations import ODD, WORDS, mutate_bytes, mutate_tree

Fields = list[tuple[int, int, str]]
"""(offset, bytes, "little" or "big") of whole numbers."""


@dataclass(frozen=True)
class Anatomy:
    """How a binary format is put together.

    `pieces` cuts a file at its own boundaries, `fields` says where its whole numbers are, `seal` makes checksums fit
    what they cover.
    """

    pieces: Callable[[bytes], list[bytes]] = lambda data: [data]
    fields: Callable[[bytes], Fields] = lambda data: []
    seal: Callable[[bytes], bytes] = lambda data: data

    def mutate(self, data: bytes, draw: random.Random) -> bytes:
        """A file with pieces moved, fields overwritten, or bytes broken."""
        if draw.random() < 0.5:
            data = b"".join(mutate_pieces(self.pieces(data), draw))
        out = bytearray(data)
        fields = [f for f in self.fields(data) if f[0] + f[1] <= len(out)]
        for at, size, order in draw.sample(fields, min(len(fields), draw.choice((0, 1, 1, 2, 3)))):
            out[at : at + size] = _number(size, order, draw)
        data = bytes(out)
        if draw.random() < 0.2 or not (fields or len(data)):
            data = mutate_bytes(data, draw)
        return self.seal(data) if draw.random() < 0.9 else data


def mutate_pieces(pieces: Sequence[bytes], draw: random.Random) -> list[bytes]:
    """Pieces removed, doubled, exchanged, cut or broken, one to three times."""
    found = list(pieces)
    for _ in range(draw.randint(1, 3)):
        if not found:
            break
        i, k, what = draw.randrange(len(found)), draw.randrange(len(found)), draw.randrange(6)
        if what == 0:
            del found[i]
        elif what == 1:
            found.insert(k, found[i])
        elif what == 2:
            found[i], found[k] = found[k], found[i]
        elif what == 3:
            found[i] = found[i][: draw.randrange(len(found[i]) + 1)]
        else:
            found[i] = mutate_bytes(found[i], draw)
    return found


def _number(size: int, order: str, draw: random.Random) -> bytes:
    bits = 8 * size
    value = draw.choice(
        (0, 1, 2, 255, 65535, 2 ** (bits - 1), 2 ** (bits - 1) - 1, 2**bits - 1, 2 ** draw.randrange(bits))
    )
    if draw.random() < 0.3:
        value = draw.getrandbits(bits)
    return (value % 2**bits).to_bytes(size, order)


def _numbers(at: Sequence[int], size: int, order: str) -> Fields:
    return [(offset, size, order) for offset in at]


def _cut_before(mark: bytes) -> Callable[[bytes], list[bytes]]:
    return lambda data: [piece for piece in re.split(b"(?=" + mark + b")", data, flags=re.DOTALL) if piece]


def _png_pieces(data: bytes) -> list[bytes]:
    pieces, at = [data[:8]], 8
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        pieces.append(data[at:end])
        at = end
    return pieces


def _png_seal(data: bytes) -> bytes:
    """CRCs of all chunks as far as their lengths lead."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


def _png_fields(data: bytes) -> Fields:
    chunks = [m.start() - 4 for m in re.finditer(b"IHDR|IDAT|PLTE|tRNS|iCCP|eXIf|acTL|fcTL|fdAT|IEND", data)]
    header = data.find(b"IHDR") + 4
    return [
        *_numbers(chunks, 4, "big"),
        *_numbers((header, header + 4), 4, "big"),
        *_numbers(range(header + 8, header + 13), 1, "big"),
    ]


def _jpeg_fields(data: bytes) -> Fields:
    """Lengths of segments; height, width, components and sampling of the frame."""
    found: Fields = []
    for m in re.finditer(rb"\xff([\xc0-\xcf\xda\xdb\xdd\xe0-\xef])", data):
        found += [(m.start() + 2, 2, "big"), (m.start() + 1, 1, "big")]
        if 0xC0 <= m[1][0] <= 0xC2:
            found += [(m.start() + 4, 1, "big"), (m.start() + 5, 2, "big"), (m.start() + 7, 2, "big")]
            found += _numbers(range(m.start() + 9, m.start() + 19), 1, "big")
    return found


def _tiff_fields(data: bytes) -> Fields:
    """Where directories lie, and tag, type, count and value of every entry."""
    if len(data) < 8:
        return []
    order = "little" if data[:2] == b"II" else "big"
    found: Fields = [(4, 4, order)]
    at, seen = int.from_bytes(data[4:8], order), 0  # type: ignore[arg-type]
    while 0 < at <= len(data) - 2 and seen < 4:
        count = min(int.from_bytes(data[at : at + 2], order), 40)  # type: ignore[arg-type]
        found.append((at, 2, order))
        for i in range(count):
            entry = at + 2 + 12 * i
            found += [(entry, 2, order), (entry + 2, 2, order), (entry + 4, 4, order), (entry + 8, 4, order)]
        found.append((at + 2 + 12 * count, 4, order))
        at, seen = int.from_bytes(data[at + 2 + 12 * count : at + 6 + 12 * count], order), seen + 1  # type: ignore[arg-type]
    return found


def _tar_seal(data: bytes) -> bytes:
    """Checksums of all headers, wherever a block names the format."""
    out = bytearray(data)
    for at in range(0, len(out) - 511, 512):
        if out[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    return bytes(out)


def mutate_tar(data: bytes, draw: random.Random) -> bytes:
    """A tar: its blocks and members moved, its headers' texts and numbers overwritten."""
    out = bytearray(
        b"".join(mutate_pieces([data[i : i + 512] for i in range(0, len(data), 512)], draw))
        if draw.random() < 0.3
        else data
    )
    heads = [m.start() - 257 for m in re.finditer(b"ustar", bytes(out)) if m.start() >= 257]
    for at in draw.choices(heads, k=draw.randint(0, 2)) if heads else ():
        place, size = draw.choice(((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (345, 155), (257, 8)))
        sizes = (b"77777777777\0", b"0" * 11 + b"\0", b"-1".ljust(12))
        words = {
            124: (
                *sizes,
                b"\x80" + b"\xff" * 11,
                b"\x80" + b"\0" * 7 + b"\x40\0\0\0",
                b"%011o\0" % (1 << 33),
            ),
            156: tuple(bytes([c]) for c in b"0123456789gxLKSVDMNAX\0"),
            257: (b"ustar  \0", b"ustar\x0000", b"\0" * 8),
        }.get(place, (*WORDS, b"a/../../b", b"x" * 200, b"n\0m"))
        out[at + place : at + place + size] = draw.choice(words)[:size].ljust(size, b"\0")
    data = bytes(out)
    if draw.random() < 0.2:
        data = mutate_bytes(data, draw)
    return _tar_seal(data) if draw.random() < 0.9 else data


_MEMBERS = "a a/b ./a a//b ../c /d e/ e/../../f i\\j a.tar . \u00e9"
_PAX = "path size GNU.sparse.map GNU.sparse.major GNU.sparse.realsize hdrcharset mtime"


def tar_with_odd_members(draw: random.Random) -> bytes:
    """A tar of members that the format allows and a dataset does not hold, between members that it does."""
    stream = io.BytesIO()
    form = draw.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    names = (*_MEMBERS.split(), "", "g" * 90, "h/" * 40 + "h")
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for _ in range(draw.randint(1, 6)):
            info = tarfile.TarInfo(draw.choice(names))
            info.type = bytes([draw.choice(b"00000000\x0012567")])  # a file, mostly
            info.linkname = draw.choice(("", "a", "/etc/passwd", "../x"))
            info.mode = draw.choice((0o644, 0o777, 0o7777, 0))
            info.size = (
                draw.choice((0, 1, 512, 513)) if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else 0
            )
            if form == tarfile.PAX_FORMAT and draw.random() < 0.3:
                key = draw.choice(_PAX.split())
                info.pax_headers = {
                    key: draw.choice(("../x", "-1", str(1 << 40), "0,1,2", "1", "nan", "x" * 3000))
                }
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return mutate_tar(stream.getvalue(), draw) if draw.random() < 0.5 else stream.getvalue()


def _zip_fields(data: bytes) -> Fields:
    found: Fields = []
    for mark, twos, fours in (
        (b"PK\x03\x04", (4, 6, 8, 26, 28), (14, 18, 22)),
        (b"PK\x01\x02", (4, 6, 8, 10, 28, 30, 32, 34, 36), (16, 20, 24, 38, 42)),
        (b"PK\x05\x06", (4, 6, 8, 10, 20), (12, 16)),
        (b"PK\x06\x06", (), (24, 32, 40, 48)),
    ):
        for m in re.finditer(re.escape(mark), data):
            found += [
                *((m.start() + t, 2, "little") for t in twos),
                *((m.start() + f, 4, "little") for f in fours),
            ]
    return found


def repacked(data: bytes, change: Callable[[str, bytes], bytes], draw: random.Random) -> bytes:
    """A zip with a member changed, its checksum fitting; rarely a member left out, doubled, renamed or compressed."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        infos = old.infolist()
        chosen = draw.choice(infos)
        for info in infos:
            content, name = old.read(info), info.filename
            if info is chosen:
                what = draw.random()
                if what < 0.04:
                    continue
                if what < 0.08:
                    name = draw.choice(("../evil", "a\\b", "x" * 300, "/abs", name + "/", name.upper()))
                content = change(name, content)
            method = zipfile.ZIP_DEFLATED if draw.random() < 0.05 else zipfile.ZIP_STORED
            new.writestr(zipfile.ZipInfo(name), content, method)
    return stream.getvalue()


_TYPES = "<f4 >f8 |u1 <i8 |b1 <f2 <c16 |O |S0 |V8 <U3 <M8[s] =f16 f4,i4"


def mutate_npy(data: bytes, draw: random.Random) -> bytes:
    """An .npy: another shape, type, order or version in a header that is well formed, or broken bytes."""
    if data[:6] != b"\x93NUMPY" or draw.random() < 0.2:
        return mutate_bytes(data, draw)
    sides = (0, 1, 2, 3, 7, 224, 30000, -1, 2**31, 2**62, 2**63 - 1, 2**64, True, 1.5, "a", None)
    shape: Any = tuple(draw.choice(sides) for _ in range(draw.choice((0, 1, 2, 2, 2, 3, 4, 33))))
    kinds = (*_TYPES.split(), "", [("a", "<f4")], [("a", "|O")], 3)
    head = {
        "descr": draw.choice(kinds) if draw.random() < 0.5 else "<f4",
        "fortran_order": draw.choice((True, False, False, 1, "x")),
        "shape": shape if draw.random() < 0.8 else draw.choice(([2, 3], 4, "x", None)),
    }
    if draw.random() < 0.2:
        head[draw.choice(("x", "descr", "shape"))] = draw.choice(ODD)
    text = repr(head).encode("utf-8", "replace")[:9000]
    if draw.random() < 0.2:
        text = mutate_bytes(text, draw)
    version = draw.choice((b"\1\0", b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\0"))
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    body = data[10 + int.from_bytes(data[8:10], "little") :]
    return data[:6] + version + length + text + body[: draw.choice((0, len(body) // 2, len(body)))]


def mutate_safetensors(data: bytes, draw: random.Random) -> bytes:
    """A .safetensors: another header over the same values, or broken bytes."""
    size = int.from_bytes(data[:8], "little")
    if draw.random() < 0.2:
        return Anatomy(fields=lambda d: [(0, 8, "little")]).mutate(data, draw)
    head = json.loads(data[8 : 8 + size])
    name = draw.choice([n for n in head if n != "__metadata__"])
    what = draw.randrange(5)
    if what == 0:
        head[name]["shape"] = [draw.choice((0, 1, 8, 2**31, 2**62, -1)) for _ in range(draw.randint(0, 4))]
    elif what == 1:
        head[name]["dtype"] = draw.choice(
            ("F64", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I8", "U64", "BOOL", "C64", "F4", "x", "")
        )
    elif what == 2:
        head[name]["data_offsets"] = [
            draw.choice((0, 1, 16, len(data), 2**40, -1)) for _ in range(draw.choice((1, 2, 2, 2, 3)))
        ]
    elif what == 3:
        head[draw.choice(("", "a.b", "x" * 3000, "\x1b", "__metadata__"))] = head.pop(name)
    else:
        head = mutate_tree(head, draw)
    try:
        text = json.dumps(head).encode("utf-8", "surrogatepass")
    except RecursionError:
        text = b"[" * 4000
    return (
        (len(text) if draw.random() < 0.9 else draw.getrandbits(20)).to_bytes(8, "little")
        + text
        + data[8 + size :]
    )


_TORCH = (
    "_utils _rebuild_tensor_v2,_utils _rebuild_sparse_tensor,_utils _rebuild_qtensor,_utils _rebuild_parameter,"
    "_utils _rebuild_meta_tensor_no_storage,_utils _rebuild_wrapper_subclass,_tensor _rebuild_from_type_v2,"
    "_utils _rebuild_device_tensor_from_numpy,storage UntypedStorage,jit load,hub load,nn.modules.linear Linear"
)
_OTHERS = (
    "os system,posix system,nt system,subprocess Popen,runpy run_path,builtins eval,builtins getattr,builtins open,"
    "builtins bytearray,builtins set,builtins complex,builtins list,_codecs encode,x,,a.b.c d.e,pathlib PosixPath,"
    "torch FloatStorage,torch DoubleStorage,torch Size,torch Tensor,torch float64,datetime datetime,numpy ndarray,"
    "collections OrderedDict,collections Counter,collections defaultdict,argparse Namespace,numpy dtype,"
    "numpy._core.multiarray scalar,numpy._core.multiarray _reconstruct"
)
_GLOBALS = (*(f"torch.{name}" for name in _TORCH.split(",")), *_OTHERS.split(","))
_SHORT = tuple(bytes([c]) for c in b"(012N]})Rbaeust\x85\x86\x87Q\x81\x93.\x88\x8fodl\x94")
"""Opcodes without an argument."""


def mutate_pickle(data: bytes, draw: random.Random) -> bytes:
    """A pickle: its opcodes moved, other globals, other numbers and texts, objects built where none were."""
    try:
        starts = [at for _, _, at in pickletools.genops(data) if at is not None]
    except Exception:
        return mutate_bytes(data, draw)
    codes = [data[a:b] for a, b in zip(starts, [*starts[1:], starts[-1] + 1])]
    rest = data[starts[-1] + 1 :]
    for _ in range(draw.randint(1, 4)):
        i, what = draw.randrange(len(codes)), draw.randrange(8)
        code = codes[i]
        if what < 2:
            named = [k for k, c in enumerate(codes) if c[:1] == b"c"] or [i]
            module, _, name = draw.choice(_GLOBALS).partition(" ")
            codes[draw.choice(named)] = f"c{module}\n{name}\n".encode()
        elif what == 2:
            numbers = [k for k, c in enumerate(codes) if c[:1] in (b"K", b"M", b"J")] or [i]
            value = draw.choice((0, 1, -1, 2**15, 2**31 - 1, -(2**31)))
            large = b"\x8a\x08" + draw.choice((2**62, 2**40, -1, 2**63 - 1)).to_bytes(
                8, "little", signed=True
            )
            codes[draw.choice(numbers)] = b"J" + struct.pack("<i", value) if draw.random() < 0.6 else large
        elif what == 3:
            codes.insert(i, draw.choice(_SHORT))
        elif what == 4:
            del codes[i]
        elif what == 5:
            codes.insert(i, codes[draw.randrange(len(codes))])
        elif what == 6 and code[:1] == b"X":
            text = draw.choice(WORDS)[:3000]
            codes[i] = b"X" + len(text).to_bytes(4, "little") + text
        else:
            text = b"touch EXECUTED"
            codes.insert(
                i,
                b"cos\nsystem\nX"
                + len(text).to_bytes(4, "little")
                + text
                + b"\x85R"
                + draw.choice((b"", b"0")),
            )
        if not codes:
            break
    return b"".join(codes) + rest


def _hdf5_fields(data: bytes) -> Fields:
    """Whole numbers of the superblock, and around every signature of the format; its metadata is little-endian."""
    found: Fields = _numbers(range(8, 96), 1, "little") + _numbers(range(24, 96, 8), 8, "little")
    for m in re.finditer(
        b"TREE|SNOD|HEAP|OHDR|FRHP|BTHD|FADB|OCHK|\x01\x00[\x01-\x14]\x00\x01\x00\x00\x00", data
    ):
        found += _numbers(range(m.start() + 4, m.start() + 12), 1, "little")
        found += _numbers(range(m.start() + 8, m.start() + 128, 8), 8, "little")
    return found


def _parquet_fields(data: bytes) -> Fields:
    """The footer's length, and every byte of the footer and of the first page header."""
    if len(data) < 12:
        return []
    size = min(int.from_bytes(data[-8:-4], "little"), len(data) - 8)
    return [
        (len(data) - 8, 4, "little"),
        *_numbers(range(len(data) - 8 - size, len(data) - 8), 1, "little"),
        *_numbers(range(4, min(60, len(data))), 1, "little"),
    ]


PNG = Anatomy(_png_pieces, _png_fields, _png_seal)
JPEG = Anatomy(_cut_before(rb"\xff[\xc0-\xfe]"), _jpeg_fields)
TIFF = Anatomy(fields=_tiff_fields)
GIF = Anatomy(
    _cut_before(rb"[\x21\x2c]"),
    lambda d: [
        *_numbers((6, 8), 2, "little"),
        *_numbers((10, 11, 12), 1, "little"),
        *((m.start() + k, 2, "little") for m in re.finditer(b",", d) for k in (1, 3, 5, 7)),
    ],
)
WEBP = Anatomy(
    _cut_before(rb"VP8|ALPH|ANIM|ANMF|EXIF|ICCP"),
    lambda d: [
        *_numbers(range(4, min(64, len(d)), 4), 4, "little"),
        *_numbers(range(12, min(64, len(d))), 1, "little"),
    ],
)
BMP = Anatomy(fields=lambda d: [*_numbers(range(2, 54, 4), 4, "little"), *_numbers((26, 28), 2, "little")])
ZIP = Anatomy(_cut_before(rb"PK[\x01\x03\x05\x06][\x02\x04\x06\x07]"), _zip_fields)
HDF5 = Anatomy(_cut_before(b"TREE|SNOD|HEAP|OHDR|FRHP|BTHD|OCHK"), _hdf5_fields)
PARQUET = Anatomy(fields=_parquet_fields)
