"""Fill a record store block by block: threads score the maps that are there while the source makes the next ones.

Blocks that are already whole are left alone, so that a killed run continues. With several processes each takes every
world-th block; blocks never depend on how many processes or threads there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.maps.batch import RawBatch
from eval.maps.blocks import BLOCK
from eval.maps.stored import StoredMaps
from eval.records.compile_ahead import wait_until_compiled
from eval.records.scorer import Scorer, join
from eval.records.store import RecordStore
from wsol.machine.cores import usable_cores

if TYPE_CHECKING:
    from eval.maps.source import MapSource

_UNIT = 16
"""Images that a thread scores at a time: small enough to share a batch out, large enough to call the kernel seldom."""
_AHEAD = 2
"""Units per thread that may wait for scoring; bounds memory when maps come faster than they are scored."""


def measure(
    store: RecordStore,
    scorer: Scorer,
    source: MapSource,
    *,
    keep: StoredMaps | None = None,
    rank: int = 0,
    world: int = 1,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> None:
    """Write every missing block of `store` that belongs to this process.

    `keep` stores raw maps as they come and gives those it already has instead of asking `source` again; a block whose
    maps it lacks is written anew. `threads`
    score and write (None: one a usable core). `advance` is told of images done, from any thread.
    """
    missing = set(store.missing_blocks())
    mine = [b for b in range(store.index.num_blocks) if b % world == rank]
    there = {b for b in mine if keep is not None and keep.has(b)}
    kept = [b for b in mine if b in missing and b in there]
    fresh = [b for b in mine if (b in missing if keep is None else b not in there)]
    todo = {*kept, *fresh}
    advance(sum(len(store.index.block_range(b)) for b in mine if b not in todo))
    threads = threads or usable_cores()
    if keep is not None and kept:
        _fill(store, scorer, keep, kept, None, threads, advance)
    if fresh:
        _fill(store, scorer, source, fresh, keep, threads, advance)


def _fill(
    store: RecordStore,
    scorer: Scorer,
    source: MapSource,
    blocks: list[int],
    keep: StoredMaps | None,
    threads: int,
    advance: Callable[[int], None],
) -> None:
    rows = np.concatenate([np.asarray(store.index.block_range(b)) for b in blocks])
    waiting: deque[Future[dict[str, Any]]] = deque()
    writes: deque[Future[None]] = deque()
    done: dict[int, list[Future[dict[str, Any]]]] = {b: [] for b in blocks}
    raw: dict[int, list[RawBatch]] = {b: [] for b in blocks}
    seen = dict.fromkeys(blocks, 0)

    def told(images: int) -> Callable[[object], None]:
        return lambda _: advance(images)

    def finish(block: int) -> None:
        if keep is not None:
            keep.write(block, raw.pop(block))
        store.write(block, join([f.result() for f in done.pop(block)]))

    with ThreadPoolExecutor(threads, thread_name_prefix="score", initializer=wait_until_compiled) as pool:
        try:
            for batch in source.batches(rows):
                block = int(batch.rows[0]) // BLOCK
                for start in range(0, len(batch.rows), _UNIT):
                    part = batch.part(start, start + _UNIT)
                    future = pool.submit(scorer.score, part)
                    future.add_done_callback(told(len(part.rows)))
                    waiting.append(future)
                    done[block].append(future)
                if keep is not None:
                    raw[block].append(batch)
                seen[block] += len(batch.rows)
                if seen[block] == len(store.index.block_range(block)):
                    # Tasks start in the order given, so what `finish` waits for is running or done.
                    writes.append(pool.submit(finish, block))
                while len(waiting) > _AHEAD * threads:
                    waiting.popleft().result()
                while writes and writes[0].done():
                    writes.popleft().result()
            while writes:
                writes.popleft().result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # nobody waits for work that will be thrown away
            raise
