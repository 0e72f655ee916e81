"""Read a dataset from disk, audit it, show what was found, and write its manifest."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsol.audit import Audit, Finding, audit_manifest, check_archive, part_of, plural
from wsol.contact_sheet import draw_contact_sheet
from wsol.datasets.boxes import BoxCounts, fit_split, upright_to_stored
from wsol.datasets.cards import find_card
from wsol.datasets.catalog import manifests_folder as manifests_folder
from wsol.datasets.inspect_files import FileFacts, SplitFacts, inspect_files
from wsol.datasets.mask_files import changed_masks
from wsol.datasets.options import Command, progress_bars
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.roots import open_root
from wsol.manifest import Manifest, Split, load_manifest, read_head, split_hash, write_manifest


def prepare(name: str, options: Command, source: Path, out: Path, command: str) -> None:
    """Read, audit, show, and write a manifest with its audit and contact sheet.

    Another source's manifest is replaced, and named, where `--out` names its folder; in the default folder, which all
    sources of a layout share, it is a `UserError`.
    """
    card = find_card(out, name)
    replaced = _other_source(out, source)
    if (
        replaced is not None
        and options.out is None
        and not options.force
        and (card is None or not card.states_counts)
    ):
        raise UserError(
            f"'{out}' holds the manifest of '{replaced}'; name a folder for this one with --out "
            f"{_free_folder(out, source)}, or replace the other with --force"
        )
    manifest = options.read(source)
    facts = None
    if manifest.root is not None:
        root = open_root(manifest.root)
        with progress_bars() as progress:
            facts = inspect_files(
                manifest,
                root,
                verify=options.verify,
                progress=progress,
                below=_source_below(source, manifest.root),
            )
        manifest = _with_facts(manifest, facts, options)
    audit = audit_manifest(manifest, card=card, facts=facts, subset=options.subset, held_out=options.held_out)
    audit = audit.with_findings([*check_archive(source, card), *_notes(manifest)])
    part = part_of(manifest, card, options.held_out)
    if part is None and card is not None and card.num_classes not in (None, len(manifest.classes)):
        manifest = dataclasses.replace(manifest, dataset=out.name)  # other data in the layout of VOC or COCO
    manifest = _with_name(manifest, part, audit)
    show(manifest, audit, str(out))
    if audit.errors and not options.force:
        raise UserError(
            f"the audit found {plural(len(audit.errors), 'error')}, see above; no manifest was written. Correct the "
            "dataset, or pass --force to write it with the errors on record"
        )
    extra: dict[str, Any] = {"card": card.name} if card else {}
    extra |= {k: True for k in ("held_out", "subset") if getattr(options, k)}
    findings = [str(f) for f in audit.findings]
    write_manifest(manifest, out, source=str(source), prepared_by=command, **extra, audit=findings)
    if replaced is not None:
        sys.stdout.write(f"replaced the manifest of '{replaced}'\n")
    write_json(audit.to_dict(), out / "audit.json")
    write_sheet(manifest, out)
    sys.stdout.write(f"manifest: {out}  (audit.json, contact_sheet.png beside it)\n")


def _other_source(out: Path, source: Path) -> str | None:
    """The source of the manifest that lies in `out`, where that is still there and is not `source` or a copy."""
    if not (out / "manifest.yaml").is_file():
        return None
    try:
        earlier = read_head(out).get("source")
    except UserError:
        return None  # broken, and to be made again
    if not isinstance(earlier, str) or not (there := Path(earlier).expanduser()).exists():
        return None
    given = source.expanduser()
    copied = there.is_file() and given.is_file() and there.name == given.name
    same = there.resolve() == given.resolve() or (copied and there.stat().st_size == given.stat().st_size)
    return None if same else earlier


def _free_folder(out: Path, source: Path) -> Path:
    """A folder beside `out` for the source's manifest, by the source's name."""
    stem = re.sub(r"[^\w.-]+", "-", source.expanduser().resolve().name.partition(".")[0]).strip("-") or "mine"
    names = itertools.chain([stem], (f"{stem}-{k}" for k in itertools.count(2)))
    return next(f for name in names if not (f := out.parent / name).exists())


def _source_below(source: Path, root: str) -> str | None:
    """The source relative to the manifest's root: "" where they are one; None where the images lie elsewhere."""
    location = source.expanduser().resolve()
    try:
        return "" if Path(root).is_relative_to(location) else location.relative_to(root).as_posix()
    except ValueError:
        return None


def _with_facts(manifest: Manifest, facts: FileFacts, options: Command) -> Manifest:
    """The manifest with the sizes of its files, and boxes that fit them."""
    splits: dict[str, Split] = {}
    notes: list[str] = []
    for role, split in manifest.splits.items():
        found, counts = facts.splits[role], BoxCounts()
        if options.upright_boxes and found.opened < len(split) - len(facts.missing.get(role, ())):
            raise UserError("--boxes-in upright needs every image opened; pass --verify pixels")
        if options.upright_boxes and found.exif_rotated:
            split = _from_upright(split, found, manifest.corners == "inclusive")
            notes.append(
                f"{role}: boxes of {len(found.exif_rotated)} rotated images were moved to the stored pixels"
            )
        splits[role] = fit_split(split, found.sizes_wh, options.rules, counts)
        notes.extend(counts.notes(role))
    return dataclasses.replace(manifest, splits=splits, notes=(*manifest.notes, *notes))


def _from_upright(split: Split, found: SplitFacts, inclusive: bool) -> Split:
    """The split with boxes of EXIF-rotated images moved from the upright image to the stored
    pixels, and their real sizes."""
    boxes, sizes = split.boxes_xyxy.copy(), split.sizes_wh.copy()
    last_pixel = np.array([0, 0, 1, 1]) if inclusive else np.zeros(4)
    for row, orientation in found.exif_rotated.items():
        if row in split.masks:
            raise UserError(
                f"image '{split.image_ids[row]}' has an EXIF rotation and masks, which --boxes-in upright does not "
                "move; rotate the images themselves"
            )
        stored = found.sizes_wh[row].tolist()
        mine = slice(*split.box_offsets[row : row + 2].tolist())
        boxes[mine] = (
            upright_to_stored(boxes[mine] + last_pixel, orientation, (stored[0], stored[1])) - last_pixel
        )
        sizes[row] = stored
    return split.replace(boxes_xyxy=boxes, sizes_wh=sizes)


def _with_name(manifest: Manifest, part: str | None, audit: Audit) -> Manifest:
    """The manifest, called a part where it is one, with the errors that were found on record:
    both reach every " "result."""
    notes = list(manifest.notes)
    if part is not None:
        manifest = dataclasses.replace(manifest, dataset=f"part of {manifest.dataset}")
        notes.append(f"only a part of {part}")
    notes.extend(f"audit {error}" for error in audit.errors)
    return dataclasses.replace(manifest, notes=tuple(notes))


def _notes(manifest: Manifest) -> list[Finding]:
    """The reader's own notes as findings, so that they are shown where the audit is, and whether
    there is no test split."""
    found = [Finding("note", "reader", note) for note in manifest.notes]
    if not len(manifest.splits.get("test", ())):
        found.append(
            Finding("warning", "no test", "there is no test split: nothing can be scored on this dataset")
        )
    return found


def check(folder: Path, options: Command) -> None:
    """Audit an existing manifest against its files; errors end with a `UserError`."""
    manifest = load_manifest(folder, edited=True)
    head = read_head(folder)
    facts = None
    if manifest.root is not None:
        with progress_bars() as progress:
            facts = inspect_files(
                manifest, open_root(manifest.root), verify=options.verify, progress=progress
            )
    card = find_card(folder, str(head.get("card", "")))
    subset, held_out = head.get("subset") is True, head.get("held_out") is True
    audit = audit_manifest(manifest, card=card, facts=facts, subset=subset, held_out=held_out)
    findings = [
        Finding(
            "warning",
            "edited",
            "rows differ from those that were prepared (checksum in manifest.yaml)",
            1,
            role,
        )
        for role, split in manifest.splits.items()
        if head["splits"][role].get("sha256") not in (None, split_hash(split))
    ]
    if options.verify != "names" and (changed := changed_masks(folder)):
        message = f"{plural(len(changed), 'mask')} missing or not as written (masks.sha256): {', '.join(changed[:3])}"
        findings.append(Finding("error", "masks", message, len(changed)))
    audit = audit.with_findings(findings)
    show(manifest, audit, str(folder))
    if audit.errors:
        raise UserError(f"the audit of '{folder}' found {plural(len(audit.errors), 'error')}, see above")


def show(manifest: Manifest, audit: Audit, where: str) -> None:
    """The summary table and the findings, on stdout. `several` and `no truth` count images, `median box` is the median
    share of the image's area."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(
        title=f"{manifest.dataset}, {plural(len(manifest.classes), 'class')}",
        box=box.SIMPLE,
        padding=(0, 1),
        title_justify="left",
    )
    table.add_column("split", no_wrap=True)
    for column in ("images", "classes", "boxes", "several", "no truth", "masks", "median box"):
        table.add_column(column, justify="right", no_wrap=True)
    for s in audit.splits:
        counts = (s.images, s.classes, s.boxes, s.several_boxes, s.without_truth, s.masks)
        share = "" if s.median_box_share is None else f"{100 * s.median_box_share:.0f} %"
        table.add_row(s.split, *(f"{n:,}" for n in counts), share)
    console.print(table)
    colours = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in audit.findings:
        console.print(Text(str(finding), style=colours[finding.severity]), soft_wrap=True)
    if not audit.findings:
        console.print("audit: nothing to report")


def write_json(data: Any, file: Path) -> None:
    """Write a JSON file beside the manifest, by rename."""
    text = json.dumps(
        data, indent=1 if file.name == "audit.json" else None, ensure_ascii=False, allow_nan=False
    )
    write_durably(file, text + "\n")


def write_sheet(manifest: Manifest, out: Path) -> None:
    """contact_sheet.png beside the manifest."""
    root = open_root(manifest.root) if manifest.root is not None else None
    sheet = draw_contact_sheet(manifest, root)
    write_durably(out / "contact_sheet.png", lambda stream: sheet.save(stream, "PNG"))
