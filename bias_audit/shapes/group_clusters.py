"""Clusters of groups at one layer, and which levels the groups of each share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal

from bias_audit.groups import Attribute, Group
from bias_audit.shapes.printed import counted, listed_all
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import BlockText, Shown, table

_NAMED: Final = 4
"""Levels of an attribute that a cell of the table names."""


class GroupCluster(Frozen):
    """Groups that lie together."""

    groups: tuple[Group, ...]
    entropies: tuple[float | None, ...]
    """Relative entropy of the levels, by attribute: 0 as even as the size allows, 1 for one level
    alone; None for a single group."""

    def counts(self, attribute: str) -> Counter[str]:
        """Groups of each level of an attribute."""
        return Counter(dict(group.levels)[attribute] for group in self.groups)


class GroupClusters(Block):
    """Clusters of groups at one layer, the most alike first."""

    block: Literal["group_clusters"] = "group_clusters"
    title: str
    layer: str
    attributes: tuple[Attribute, ...]
    """With the levels of the groups that are clustered."""
    clusters: tuple[GroupCluster, ...]
    """By the sum of their relative entropies, the largest first."""
    smallest: int
    """Groups that a cluster needs to count in the means over clusters."""


def cluster_name(block: GroupClusters, place: int) -> str:
    """Such as "cluster 1 (14 groups)"."""
    return f"cluster {place + 1} ({counted(len(block.clusters[place].groups), 'group')})"


def levels_of(cluster: GroupCluster, attribute: Attribute, most: int | None = None) -> str:
    """Such as "0-2 (14), 3-9 (5)": the levels in a cluster, the most frequent first."""
    counts = cluster.counts(attribute.name)
    order = sorted(counts, key=lambda level: (-counts[level], attribute.levels.index(level)))
    rest = f" and {len(order) - most} more" if most is not None and len(order) > most else ""
    return ", ".join(f"{level} ({counts[level]})" for level in order[:most]) + rest


def entropy_of(value: float | None) -> str:
    """A relative entropy in percent: what it describes is counted, and has no interval."""
    return "one group" if value is None else f"{100 * value:.0f} %"


def _rows(block: GroupClusters) -> Iterator[Row]:
    """Every group, with its cluster."""
    for number, cluster in enumerate(block.clusters, start=1):
        for group in cluster.groups:
            yield {"layer": block.layer, "cluster": number, "group": group}


def _text(block: GroupClusters) -> BlockText:
    """Say what each cluster contains."""
    names = [attribute.name for attribute in block.attributes]
    rows: list[Row] = [{"place": i, "cluster": each} for i, each in enumerate(block.clusters)]
    contents = "; ".join(
        f"{cluster_name(block, place)}: "
        + ", ".join(f"{a.name} {levels_of(cluster, a, 1)}" for a in block.attributes)
        for place, cluster in enumerate(block.clusters)
    )
    clusters = table(
        f"What the clusters of groups at {block.layer} contain",
        rows,
        (
            Shown("cluster", lambda row: cluster_name(block, row["place"]), numeric=False),
            *(_contents(place, attribute) for place, attribute in enumerate(block.attributes)),
        ),
        excerpt=rows,
    )
    return BlockText(
        alt=(
            f"A panel for each of {listed_all(names)}: how many groups of each level are in each "
            f"of {counted(len(block.clusters), 'cluster')} at {block.layer}. {contents}."
        ),
        caption=(
            "A row is a cluster of groups, a square how many of its groups have the level below; "
            "the darker, the larger their share of the row. At the end of a row: relative "
            "entropy, 0 % where the levels are as even as can be, 100 % where all groups share "
            "one. Clusters that share most come first."
        ),
        notes=(
            "Squares and relative entropies describe these clusters. Which groups are in which "
            "cluster may change with other images: the table of every layer says how well "
            "clusters agree between halves of the people, and means over clusters of "
            f"{block.smallest} groups or more have intervals.",
        ),
        tables=(clusters,),
    )


def _contents(place: int, attribute: Attribute) -> Shown:
    def cell(row: Row) -> str:
        cluster = row["cluster"]
        levels = levels_of(cluster, attribute, _NAMED)
        return f"{levels}\nrelative entropy {entropy_of(cluster.entropies[place])}"

    return Shown(f"{attribute.name} (groups)", cell, numeric=False)


_READING: Final = (
    "Groups are in one cluster where their images lie about as far from those of every other "
    "group. A row with one dark square in a panel shares that level: these groups lie together "
    "because of this level, or of what goes with it."
)
SHAPE = Shape(
    GroupClusters,
    place=85,
    table="group_clusters",
    about="a group, with the cluster that it is in",
    columns=("layer", "cluster", "group"),
    rows=_rows,
    text=_text,
    reading=(_READING,),
    in_short=_READING,
)
