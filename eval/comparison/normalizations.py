"""The same maps under min-max, max, PaS and IVR: does the sign of the difference depend on the normalisation?

Kim et al. (ICCV 2021, arXiv 2107.13221) print CutMix 0.30 points below CAM under min-max and 2.51 above it under IVR.
`eval.localize` records every normalisation that the maps allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Difference, adjusted
from eval.comparison.published import published_for
from eval.comparison.run_pairs import Pairing
from eval.comparison.sides import difference_of, party_of, sampled
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.protocols import Protocol, normalization_variants
from eval.statistics.law import ALPHA


def normalization_effects(
    pairing: Pairing, protocols: Sequence[Protocol], bootstrap: Bootstrap
) -> tuple[dict[str, Any], dict[str, str]]:
    """For every protocol of boxes at the best threshold the difference under each normalisation, and whether its sign
    flips; and by normalisation why one is absent."""
    runs = (*pairing.baseline, *pairing.other)
    variants = normalization_variants(protocols)
    missing: dict[str, str] = {}
    for by_name in variants.values():
        for normalization, p in by_name.items():
            reason = next((r for run in runs if (r := _not_recorded(run, p))), None)
            if reason:
                missing[normalization] = reason
    wanted = [p for by_name in variants.values() for n, p in by_name.items() if n not in missing]
    summaries = {str(r.folder): r.summaries(wanted, bootstrap) for r in runs}
    found = {
        base: _effect(pairing, {n: p for n, p in by_name.items() if n not in missing}, summaries, bootstrap)
        for base, by_name in variants.items()
    }
    return found, missing


def _not_recorded(run: Evaluated, protocol: Protocol) -> str | None:
    if run.store.index.holds(protocol.channel):
        return None
    if run.control is not None and run.control != "random":
        return "a control is scored by its boxes, whatever the normalisation"
    why = run.store.index.maps.get("not_computed", {}).get(str(protocol.channel))
    return str(
        why
        or f"'{run.folder}' was scored before other normalisations were recorded; run eval.localize on it again"
    )


def _effect(
    pairing: Pairing,
    variants: Mapping[str, Protocol],
    summaries: Mapping[str, Mapping[str, Summary]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    first = pairing.baseline[0]
    rows: dict[str, Any] = {}
    found: dict[str, Difference] = {}
    for normalization, p in variants.items():
        a, b = (
            sampled([summaries[str(r.folder)][p.name] for r in runs], trained=party_of(runs).trained)
            for runs in (pairing.baseline, pairing.other)
        )
        like = summaries[str(first.folder)][p.name]
        found[normalization] = difference_of(a, b, like, pairing.by_seed, bootstrap)
    for (normalization, p), d in zip(variants.items(), adjusted(list(found.values()))):
        rows[normalization] = {
            **d.as_json(),
            "published": published_for(
                p.name, pairing.baseline_method, pairing.other_method, first.dataset, first.arch
            ),
        }
    clear = {
        int(np.sign(r["difference"]))
        for r in rows.values()
        if r["adjusted_p"] is not None and r["adjusted_p"] < ALPHA
    }
    return {"rules": rows, "sign_flips": {-1, 1} <= clear}
