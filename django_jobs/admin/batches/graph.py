"""The picture of what waits for what: runs in columns, each right of those that it waits for.

Of many runs, those of one column with one name are drawn as one box, with the number in each state.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django_jobs.admin.shared import display

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from django_jobs.operations.batches import Node

# Boxes that can be told apart.
MOST_BOXES = 200
# Of a box, and between boxes, in pixels.
WIDTH, HEIGHT, GAP_X, GAP_Y = 150, 40, 50, 12
# Characters of a name that fit into one.
MOST_CHARACTERS = 20
# The first of these that a folded box has is its colour.
_RANK = ("failed", "broken", "running", "stopping", "cancelled", "skipped")


@dataclass(slots=True)
class Box:
    """One run, or several alike."""

    name: str
    layer: int
    nodes: list[Node] = field(default_factory=list)
    x: int = 0
    y: int = 0

    @property
    def short(self) -> str:
        """The name as far as it fits."""
        return self.name if len(self.name) <= MOST_CHARACTERS else f"{self.name[: MOST_CHARACTERS - 1]}…"

    @property
    def run_id(self) -> int | None:
        """The run, where it is one."""
        return self.nodes[0].run.pk if len(self.nodes) == 1 else None

    @property
    def counts(self) -> dict[str, int]:
        """How many of its runs are in each state."""
        return dict(Counter(node.run.state for node in self.nodes))

    @property
    def state(self) -> str:
        """The state that it is coloured by."""
        counts = self.counts
        return next((state for state in _RANK if state in counts), next(iter(counts)))

    @property
    def words(self) -> str:
        """Its states in words."""
        if len(self.nodes) == 1:
            return display.word(self.state)
        return ", ".join(f"{count} {display.word(state)}" for state, count in self.counts.items())

    @property
    def title(self) -> str:
        """All that it stands for."""
        return f"{self.name}: {self.words}"


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes with their places, and lines between them; `width` and `height` are pixels."""

    boxes: list[Box]
    lines: list[str]
    width: int
    height: int
    is_folded: bool


def drawn(nodes: Sequence[Node]) -> Graph:
    """Return the picture of some runs; what they wait for that is not among them is left out."""
    layers = _layers(nodes)
    is_folded = len(nodes) > MOST_BOXES
    boxes: dict[Hashable, Box] = {}
    box_of: dict[int, Box] = {}
    for node in nodes:
        layer = layers[node.run.pk]
        key: Hashable = (layer, node.run.name) if is_folded else node.run.pk
        box = boxes.setdefault(key, Box(node.run.name, layer))
        box.nodes.append(node)
        box_of[node.run.pk] = box
    edges = {
        (id(box_of[after]), id(box_of[node.run.pk])): (box_of[after], box_of[node.run.pk])
        for node in nodes
        for after in node.after
        if after in box_of
    }
    pairs = [pair for pair in edges.values() if pair[0] is not pair[1]]
    _place(list(boxes.values()), pairs)
    width = max((box.x + WIDTH for box in boxes.values()), default=0)
    height = max((box.y + HEIGHT for box in boxes.values()), default=0)
    return Graph(list(boxes.values()), [_line(*pair) for pair in pairs], width + 2, height + 2, is_folded)


def _layers(nodes: Sequence[Node]) -> dict[int, int]:
    """Return each run's column. What a run waits for has a smaller id, so one pass is enough."""
    layers: dict[int, int] = {}
    for node in sorted(nodes, key=lambda one: one.run.pk):
        layers[node.run.pk] = 1 + max((layers.get(after, -1) for after in node.after), default=-1)
    return layers


def _place(boxes: Sequence[Box], pairs: Sequence[tuple[Box, Box]]) -> None:
    """Put boxes at their places: in each column by the middle of those that they wait for."""
    before: dict[int, list[Box]] = defaultdict(list)
    for source, target in pairs:
        before[id(target)].append(source)
    columns: dict[int, list[Box]] = defaultdict(list)
    for box in boxes:
        columns[box.layer].append(box)
    tallest = max((len(column) for column in columns.values()), default=0)
    for layer in sorted(columns):
        column = columns[layer]
        column.sort(key=lambda box: _middle(before[id(box)]))
        top = (tallest - len(column)) * (HEIGHT + GAP_Y) // 2 if tallest <= 20 else 0
        for index, box in enumerate(column):
            box.x, box.y = 1 + layer * (WIDTH + GAP_X), 1 + top + index * (HEIGHT + GAP_Y)


def _middle(boxes: Sequence[Box]) -> float:
    return sum(box.y for box in boxes) / len(boxes) if boxes else 0.0


def _line(source: Box, target: Box) -> str:
    """Return the path of a line, as SVG has it."""
    x1, y1, x2, y2 = source.x + WIDTH, source.y + HEIGHT // 2, target.x, target.y + HEIGHT // 2
    bend = (x2 - x1) // 2
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
