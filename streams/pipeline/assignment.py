"""An assignment: the partitions that the group dealt to this worker, and all that lives and ends with them.

Every batch carries the assignment under which it was read. What belongs to one that is over is not committed, and can't
touch the stores of the one that follows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from streams.pipeline.pending import PartitionStore
from streams.pipeline.positions import Position

Place = tuple[str, int]
"""A partition of an input topic: the topic's role, and the number."""


@dataclass(slots=True, eq=False)
class Assignment:
    """What the worker holds from one rebalance to the next, or until a batch of it is taken back.

    `epoch` counts assignments within the worker; `group` is the membership by which the broker fences a worker that has
    lost its partitions, opaque here. Stores and positions are there once the assignment is `ready`: restored from the
    changelog. `closed` are the input partitions held back while memory is full. `notes` travel with each
    partition's commits; `topic_ids` tell a topic from another one made later under its name.
    """

    epoch: int
    partitions: frozenset[int]
    group: object
    stores: dict[int, PartitionStore] = field(default_factory=dict)
    positions: dict[Place, Position] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    topic_ids: dict[str, str] = field(default_factory=dict)
    closed: frozenset[Place] = frozenset()
    ready: bool = False
    over: bool = False
    touched: set[int] = field(default_factory=set)

    def end(self, touched: Iterable[int] = ()) -> None:
        """Nothing of it may be committed any more; `touched` are partitions whose store has run ahead of the changelog."""
        self.over = True
        self.touched.update(touched)

    def clean_stores(self) -> dict[int, PartitionStore]:
        """The stores that hold what their changelog says, no more and no less."""
        if not self.ready:
            return {}
        return {partition: store for partition, store in self.stores.items() if partition not in self.touched}
