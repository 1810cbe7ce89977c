"""The order in which a job takes chunks. Standard library only."""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from math import log2

from samfleet.detection.claims import Claims
from samfleet.plan.shards import Chunk


class Draw:
    """The order in which a job takes the chunks of a plan.

    Long ones come before short ones. Of those that are about as long, its own come first, from the beginning of
    the shard; then those of the other shards, from their ends. Last come those over which a job has died.

    Args:
        claims: the claims of the job.
        shard: the shard that the job was started for.
        chunks: all chunks of the plan.
    """

    def __init__(self, claims: Claims, shard: str, chunks: Iterable[Chunk]):
        self._claims = claims
        self._chunks: defaultdict[str, dict[int, Chunk]] = defaultdict(dict)
        for chunk in chunks:
            self._chunks[chunk.shard][chunk.number] = chunk
        names = sorted(self._chunks)
        own = names.index(shard)
        self._names = names[own:] + names[:own]
        self._distance = {name: distance for distance, name in enumerate(self._names)}
        # the number of the claim to make, and the place in the heap; earlier places of a chunk count no more
        self._free = {
            chunk: (1, self._place(chunk, False))
            for each in self._chunks.values()
            for chunk in each.values()
        }
        self._heap = [place for _, place in self._free.values()]
        heapq.heapify(self._heap)
        self._unfinished = set(names)

    def take(self) -> tuple[Chunk, int] | None:
        """Claim a chunk; it and the number of its claim, or None if other jobs have or had all that is left."""
        looked: set[str] = set()
        while (chunk := self.next(looked)) is not None:
            generation, _ = self._free.pop(chunk)
            if self._claims.claim(chunk, generation):
                return chunk, generation
        return None

    def next(self, looked: set[str] | None = None) -> Chunk | None:
        """The chunk that `take` would try to claim.

        Args:
            looked: the shards whose claims were looked at just before; the others are looked at if need be.
        """
        looked = set() if looked is None else looked
        while True:
            while self._heap:
                _, _, distance, number = self._heap[0]
                shard = self._names[distance]
                chunk = self._chunks[shard][abs(number)]
                if chunk not in self._free or self._free[chunk][1] != self._heap[0]:
                    heapq.heappop(self._heap)
                elif shard in looked:
                    return chunk
                else:
                    self._look(shard, looked)
            # what others had claimed may have been given up
            if not (rest := self._unfinished - looked):
                return None
            for shard in rest:
                self._look(shard, looked)

    def free(self) -> list[Chunk]:
        """The chunks that no job is known to have or to have had."""
        return list(self._free)

    def _place(self, chunk: Chunk, died: bool) -> tuple[bool, int, int, int]:
        distance = self._distance[chunk.shard]
        length = round(log2(max(chunk.seconds, 0.1)))
        return died, -length, distance, -chunk.number if distance else chunk.number

    def _look(self, shard: str, looked: set[str]) -> None:
        """Compare what is known of a shard's chunks with their claims."""
        looked.add(shard)
        standings = self._claims.standings(shard)
        for number, standing in standings.items():
            if (chunk := self._chunks[shard].get(number)) is None:
                continue
            if standing.done or standing.held:
                self._free.pop(chunk, None)
            else:
                place = self._place(chunk, standing.died)
                if self._free.get(chunk) != (standing.generation + 1, place):
                    self._free[chunk] = standing.generation + 1, place
                    heapq.heappush(self._heap, place)
        if sum(standing.done for standing in standings.values()) >= len(self._chunks[shard]):
            self._unfinished.discard(shard)
