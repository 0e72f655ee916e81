"""Read a dataset from disk, audit it, show what was found, and write its manifest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsol.audit import Audit, Finding, audit_manifest, check_archive, plural
from wsol.contact_sheet import draw_contact_sheet
from wsol.datasets.cards import find_card
from wsol.datasets.catalog import manifests_folder as manifests_folder
from wsol.datasets.commands import Command, progress_bars
from wsol.datasets.inspect_files import inspect_files
from wsol.datasets.split_builder import with_sizes, with_splits
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.images import open_root
from wsol.manifest import Manifest, load_manifest, read_head, split_hash, write_manifest


def prepare(name: str, options: Command, source: Path, out: Path, command: str) -> None:
    """Read, audit, show, and write a manifest with its audit and contact sheet."""
    card = find_card(out, name)
    reading = options.read(source)
    manifest, beside = (reading, {}) if isinstance(reading, Manifest) else (reading.manifest, reading.beside)
    facts = None
    if manifest.root is not None:
        with progress_bars() as progress:
            facts = inspect_files(
                manifest, open_root(manifest.root), verify=options.verify, progress=progress
            )
        filled, notes = {}, []
        for role, split in manifest.splits.items():
            filled[role], clipped = with_sizes(split, facts.splits[role].sizes_wh, clip=options.clip_boxes)
            if clipped:
                notes.append(f"{role}: {clipped} boxes were clipped to their image")
        manifest = with_splits(manifest, filled, notes)
    audit = audit_manifest(manifest, card=card, facts=facts, subset=options.subset, held_out=options.held_out)
    audit = audit.with_findings(check_archive(source, card))
    show(manifest, audit, str(out))
    if audit.errors and not options.force:
        raise UserError(
            f"the audit found {plural(len(audit.errors), 'error')}, see above; no manifest was written. Mend "
            f"the "
            f"dataset, or "
            "pass --force to write it with the errors on record"
        )
    extra: dict[str, Any] = {"card": card.name} if card else {}
    extra |= {k: True for k in ("held_out", "subset") if getattr(options, k)}
    findings = [str(f) for f in audit.findings]
    write_manifest(manifest, out, source=str(source), prepared_by=command, **extra, audit=findings)
    for file, data in {**beside, "audit.json": audit.to_dict()}.items():
        write_json(data, out / file)
    write_sheet(manifest, out)
    sys.stdout.write(f"manifest: {out}  (audit.json, contact_sheet.png beside it)\n")


def check(folder: Path, options: Command) -> None:
    """Audit an existing manifest against its files; errors end with a `UserError`."""
    manifest = load_manifest(folder)
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
    edited = [
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
    audit = audit.with_findings(edited)
    show(manifest, audit, str(folder))
    if audit.errors:
        raise UserError(f"the audit of '{folder}' found {plural(len(audit.errors), 'error')}, see above")


def show(manifest: Manifest, audit: Audit, where: str) -> None:
    """The summary table and the findings, on stdout. `several` and `no truth` count images, `median box` is
    the share of the image's area."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(
        title=f"{manifest.dataset}, {plural(len(manifest.classes), 'class')}",
        box=box.SIMPLE,
        padding=(0, 1),
        title_justify="left",
    )
    table.add_column("split", no_wrap=True)
    for column in ("images", "classes", "boxes", "several", "no truth", "masks", "box area"):
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
