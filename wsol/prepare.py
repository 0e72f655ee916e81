"""`python -m wsol.prepare NAME --source PATH`: read a dataset from disk, audit it, write its manifest."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import tyro.extras

from wsol.datasets.commands import COMMANDS, Command, progress_bars
from wsol.errors import UserError, run_command, unknown_name
from wsol.manifest import Manifest

if TYPE_CHECKING:
    from wsol.audit import Audit


def parse(arguments: Sequence[str]) -> tuple[str, Command]:
    """Command line to (NAME, options). Touches no disk; an unknown NAME is a `UserError` with the legal
    ones."""
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in COMMANDS:
        raise unknown_name("dataset layout", first, COMMANDS)
    options = tyro.extras.subcommand_cli_from_dict(
        cast(Any, COMMANDS), args=list(arguments), prog="python -m wsol.prepare", description=__doc__
    )
    return first, cast(Command, options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` default to the process's own."""
    from wsol.datasets.catalog import manifests_folder

    given = list(sys.argv[1:] if arguments is None else arguments)
    name, options = parse(given)
    if options.check:
        check(options.out or manifests_folder() / default_folder(name, options), options)
        return
    if options.source is None and name != "parts":
        raise UserError(f"--source is missing: `python -m wsol.prepare {name} --source PATH`")
    out = options.out or manifests_folder() / default_folder(name, options)
    prepare(
        name, options, options.source or Path(), out, shlex.join(["python", "-m", "wsol.prepare", *given])
    )


def default_folder(name: str, options: Command) -> str:
    """Name of the folder in data_manifests/ that a command writes to unless told otherwise."""
    dataset = getattr(options, "dataset_folder", None)
    return f"{dataset.lower()}-boxes" if dataset else name


def prepare(name: str, options: Command, source: Path, out: Path, command: str) -> None:
    """Read, audit, show, and write a manifest with its audit and contact sheet."""
    from wsol.audit import audit_manifest, check_archive, plural
    from wsol.datasets.cards import find_card
    from wsol.datasets.inspect_files import inspect_files
    from wsol.datasets.split_builder import with_sizes, with_splits
    from wsol.images import open_root
    from wsol.manifest import write_manifest

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
    from wsol.audit import Finding, audit_manifest, plural
    from wsol.datasets.cards import find_card
    from wsol.datasets.inspect_files import inspect_files
    from wsol.images import open_root
    from wsol.manifest import load_manifest, read_head, split_hash

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


# --- output -------------------------------------------------------------------------------------------------


def show(manifest: Manifest, audit: Audit, where: str) -> None:
    """The summary table and the findings, on stdout. `several` and `no truth` count images, `median box` is
    the share of the image's area."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from wsol.audit import plural

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
    import json

    scratch = file.with_name(f".{file.name}.writing")
    text = json.dumps(
        data, indent=1 if file.name == "audit.json" else None, ensure_ascii=False, allow_nan=False
    )
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(file)


def write_sheet(manifest: Manifest, out: Path) -> None:
    """contact_sheet.png beside the manifest."""
    from wsol.contact_sheet import draw_contact_sheet
    from wsol.images import open_root

    root = open_root(manifest.root) if manifest.root is not None else None
    scratch = out / ".contact_sheet.writing.png"
    draw_contact_sheet(manifest, root).save(scratch)
    scratch.replace(out / "contact_sheet.png")


if __name__ == "__main__":
    sys.exit(run_command(main))
