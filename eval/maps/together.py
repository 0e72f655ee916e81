"""Raw maps by several methods from the same passes through a network, each kept in a store of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from eval.maps.batch import RawBatch
from eval.maps.blocks import BLOCK
from eval.maps.network import NetworkMaps
from eval.maps.stored import StoredMaps


def keep_together(
    sources: Sequence[NetworkMaps], stores: Sequence[StoredMaps], advance: Callable[[int], None]
) -> None:
    """Fill stores, one a source, with the maps that they lack; `advance` is told of images done.

    The sources are of one network, split and list of frames, each of one map method: a block that any store lacks
    passes through the network once, for all methods.
    """
    total = len(sources[0].split)
    blocks = range(-(-total // BLOCK))
    lacking = [{b for b in blocks if not store.has(b)} for store in stores]
    todo = sorted(set().union(*lacking))
    advance(total - sum(min(BLOCK, total - b * BLOCK) for b in todo))
    if not todo:
        return
    rows = np.concatenate([np.arange(b * BLOCK, min((b + 1) * BLOCK, total)) for b in todo])
    held: list[list[RawBatch]] = [[] for _ in stores]
    for batches in sources[0].joined(sources[1:]).each(rows):
        for kept, batch in zip(held, batches):
            kept.append(batch)
        advance(len(batches[0].rows))
        last = int(batches[0].rows[-1])
        if last + 1 == total or (last + 1) % BLOCK == 0:
            for store, kept, blocks_lacking in zip(stores, held, lacking):
                if last // BLOCK in blocks_lacking:
                    store.write(last // BLOCK, kept)
                kept.clear()
