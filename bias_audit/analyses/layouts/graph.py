"""Units as the vertices of a graph of the nearest pairs, placed by Fruchterman-Reingold forces.

As in Krug, Ratul, Olson & Stober (arXiv:2204.03528).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from bias_audit.analyses.mapping.layout import Distance, Layout, pairwise
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Strict

Edges = npt.NDArray[np.uint8]

_STILL = 1e-4
_SHORTEST = 0.01
_FIRST_STEP = 0.1


class Params(Strict):
    """Parameters of the graph layout."""

    edge_percentile: float = Field(
        default=7.5, gt=0, le=100, description="Pairs nearer than this percentile are joined."
    )
    iterations: int = Field(default=200, ge=1, le=10_000, description="Steps of the forces.")


def place(
    signatures: FloatArray, distance: Distance, rng: np.random.Generator, params: Params
) -> FloatArray:
    """Positions of shape (n_units, 2); memory is that of a few numbers per pair of units."""
    edges = joined_edges(pairwise(signatures, distance), params.edge_percentile)
    return spring_layout(edges, rng.uniform(size=(len(signatures), 2)), params.iterations)


def joined_edges(distances: npt.NDArray[np.float32], percentile: float) -> Edges:
    """Join the nearest pairs, then components by their nearest pairs until there is one.

    Pairs whose distance is at most this percentile of all are joined. Distances, and the result (1
    where two units are joined, 0 on the diagonal), have shape (n_units, n_units).
    """
    n_units = len(distances)
    pairs = distances[np.tri(n_units, k=-1, dtype=np.bool_)]
    edges = (distances <= np.percentile(pairs, percentile)).astype(np.uint8)
    np.fill_diagonal(edges, 0)
    n_components, component = connected_components(edges, directed=False)
    if n_components == 1:
        return edges
    # The edges of the minimum spanning tree of the components, by their nearest pairs.
    order = np.argsort(component, kind="stable")
    starts = np.searchsorted(component[order], np.arange(n_components))
    gaps = np.minimum.reduceat(distances[order], starts, axis=0)
    gaps = np.minimum.reduceat(gaps[:, order], starts, axis=1)
    # A distance of 0 would read as no edge; it cannot arise between components.
    tree = minimum_spanning_tree(np.triu(gaps, 1)).tocoo()
    for one, other in zip(tree.row, tree.col, strict=True):
        mine, theirs = np.flatnonzero(component == one), np.flatnonzero(component == other)
        between = distances[np.ix_(mine, theirs)]
        i, j = np.unravel_index(between.argmin(), between.shape)
        edges[mine[i], theirs[j]] = edges[theirs[j], mine[i]] = 1
    return edges


def spring_layout(edges: Edges, start: FloatArray, iterations: int) -> FloatArray:
    """Place vertices by Fruchterman-Reingold forces, as networkx does with method "force".

    Every step moves each vertex along its force by a length that shrinks linearly, from a tenth of
    the extent of the start to none; the last one is that at which vertices hardly move. Edges are
    as of `joined_edges`, places have shape (n_vertices, 2).
    """
    # The import loads numba, which takes a second: only those who draw a map pay for it.
    from bias_audit.analyses.mapping.kernels import add_springs  # noqa: PLC0415

    places = start.T.copy()
    n_vertices = len(start)
    total = np.empty((2, n_vertices), dtype=np.float32)
    first = _FIRST_STEP * float(np.ptp(start, axis=0).max())
    for step in range(iterations):
        x, y = places.astype(np.float32)
        add_springs(x, y, edges, float(np.sqrt(1 / n_vertices)), total)
        length = np.maximum(np.hypot(*total.astype(np.float64)), _SHORTEST)
        move = total * (first * (1 - step / (iterations + 1)) / length)
        places += move
        if float(np.linalg.norm(move)) / n_vertices < _STILL:
            break
    return np.ascontiguousarray(places.T)


PLUGIN = Layout(title="graph", params_type=Params, place=place)
