"""The same maps under min-max, max, PaS and IVR: does the sign of the difference depend on the normalisation?

Kim et al. (ICCV 2021, arXiv 2107.13221) print CutMix 0.30 points below CAM under min-max and 2.51 above it under IVR.
Raw maps are re-scored without a forward pass; the records are kept beside the run's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eval.analysis.evaluated import Evaluated, Unavailable
from eval.maps.normalization import NORMALIZATIONS
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.protocols import Protocol, channels_of, protocol_named
from eval.records.fill import measure
from eval.records.scorer import Scorer
from eval.records.store import RecordIndex, RecordStore

if TYPE_CHECKING:
    from wsol.manifest import Manifest, Split

BASES = ("maxboxacc", "maxboxacc_v2")


def normalization_protocols() -> dict[str, dict[str, Protocol]]:
    """For each base protocol the variant of every normalisation."""
    return {
        base: {n: protocol_named(base if n == "minmax" else f"{base}@{n}") for n in NORMALIZATIONS}
        for base in BASES
    }


def normalized_summaries(
    run: Evaluated,
    manifest: Manifest,
    split: Split,
    bootstrap: Bootstrap,
    *,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> dict[str, Summary] | Unavailable:
    """Summaries of every base protocol under every normalisation, by protocol name. Normalisations that the maps do
    not allow are left out (`max` needs raw maps)."""
    wanted = [p for variants in normalization_protocols().values() for p in variants.values()]
    channels = channels_of(wanted)
    there = [c for c in channels if str(c) in run.store.index.channels]
    missing = [c for c in channels if c not in there]
    found = run.summaries([p for p in wanted if p.channel in there], bootstrap)
    if missing:
        source = run.maps(split)
        if isinstance(source, Unavailable):
            return source
        missing = [c for c in missing if source.unusable(c.normalization, c.frame) is None]
    if missing:
        assert not isinstance(source, Unavailable)
        index = run.store.index
        store = RecordStore.create(
            run.folder / "records" / f"{run.split}-normalizations",
            RecordIndex(
                index.dataset,
                index.split,
                index.split_hash,
                index.num_images,
                tuple(str(c) for c in missing),
                False,
                (),
                source.describe(),
            ),
        )
        scorer = Scorer(split, tuple(missing), input_size=source.input_size)
        measure(store, scorer, source, threads=threads, advance=advance)
        found |= run.summaries([p for p in wanted if p.channel in missing], bootstrap, store=store)
    return found
