"""The limbs of all kinds chosen together, by an integer program (the full matching of Cao et al. 2017, section 2.4).

The chosen pairs of peaks have the largest sum of scores of all choices where no peak has two limbs of one kind, and no
instance has two peaks of one keypoint. Along a tree of limbs the second condition follows from the first, and the
choice is that of the Hungarian matching, limb by limb. Where limbs close cycles it does not, and the choice is hard:
the program is solved again with further conditions until every instance is consistent.
"""

from __future__ import annotations

import time

import numpy as np

_TIME_LIMIT_SECONDS = 30.0  # of an image; then the last choice is made consistent


def match_limb_graph(
    pair_ends: np.ndarray, limb_indices: np.ndarray, scores: np.ndarray, peak_keypoints: np.ndarray
) -> np.ndarray:
    """Choose the pairs of the largest sum that make consistent instances.

    Args:
        pair_ends: (M, 2) indices of the peaks of each pair.
        limb_indices: (M,) the limb of each pair.
        scores: (M,) above 0.
        peak_keypoints: (P,) the keypoint of each peak.

    Returns:
        The indices of the chosen pairs, in ascending order.
    """
    if not len(scores):
        return np.zeros(0, int)
    conditions = _list_matching_conditions(pair_ends, limb_indices)
    end_time, chosen = time.monotonic() + _TIME_LIMIT_SECONDS, np.zeros(0, int)
    # Conditions are added as conflicts occur: all of them at once would be exponentially many.
    while (remaining := end_time - time.monotonic()) > 0:
        chosen = _solve_program(scores, conditions, remaining)
        conflicts = _find_conflicts(pair_ends, chosen, peak_keypoints)
        if not conflicts:
            return chosen
        # Not all pairs of such a path may be chosen again.
        conditions += [(path, len(path) - 1) for path in conflicts]
    return _drop_conflicts(pair_ends, chosen, scores, peak_keypoints)


def _drop_conflicts(
    pair_ends: np.ndarray, chosen: np.ndarray, scores: np.ndarray, peak_keypoints: np.ndarray
) -> np.ndarray:
    """The chosen pairs without the lowest-scoring one of every path that joins two peaks of one keypoint."""
    while conflicts := _find_conflicts(pair_ends, chosen, peak_keypoints):
        dropped = {min(path, key=lambda pair: scores[pair]) for path in conflicts}
        chosen = np.setdiff1d(chosen, list(dropped))
    return chosen


def _list_matching_conditions(pair_ends: np.ndarray, limb_indices: np.ndarray) -> list[tuple[list[int], int]]:
    """No peak has two limbs of one kind: lists of pairs of which at most one may be chosen."""
    members: dict[tuple[int, int, int], list[int]] = {}
    for pair, (limb, ends) in enumerate(zip(limb_indices.tolist(), pair_ends.tolist(), strict=True)):
        for side, peak in enumerate(ends):
            members.setdefault((limb, side, peak), []).append(pair)
    return [(pairs, 1) for pairs in members.values() if len(pairs) > 1]


def _solve_program(scores: np.ndarray, conditions: list[tuple[list[int], int]], seconds: float) -> np.ndarray:
    """The indices of the pairs of the largest sum, of each list of pairs at most the number beside it."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # long to import, and the other matchings need none
    from scipy.sparse import csr_array

    constraints = []
    if conditions:
        rows = np.repeat(np.arange(len(conditions)), [len(pairs) for pairs, _ in conditions])
        columns = np.concatenate([pairs for pairs, _ in conditions])
        table = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(conditions), len(scores)))
        # One row per condition: at most `limit` of its pairs.
        constraints.append(LinearConstraint(table, ub=np.array([limit for _, limit in conditions])))
    options = dict(time_limit=seconds)
    integrality = np.ones(len(scores))
    result = milp(-scores, integrality=integrality, bounds=Bounds(0, 1), constraints=constraints, options=options)
    if result.x is None:  # no choice within the time
        return np.zeros(0, int)
    return np.flatnonzero(result.x > 0.5)


def _find_conflicts(pair_ends: np.ndarray, chosen: np.ndarray, peak_keypoints: np.ndarray) -> list[list[int]]:
    """The shortest paths of chosen pairs between two peaks of one keypoint, each as a list of pairs."""
    neighbors: dict[int, list[tuple[int, int]]] = {}
    for pair in chosen.tolist():
        start, end = pair_ends[pair].tolist()
        neighbors.setdefault(start, []).append((end, pair))
        neighbors.setdefault(end, []).append((start, pair))
    paths = (_find_path_to_same_keypoint(peak, neighbors, peak_keypoints) for peak in neighbors)
    unique = {tuple(sorted(path)): path for path in paths if path}
    return list(unique.values())


def _find_path_to_same_keypoint(
    start: int, neighbors: dict[int, list[tuple[int, int]]], peak_keypoints: np.ndarray
) -> list[int]:
    """The pairs on the shortest path from a peak to another one of its keypoint; empty if there is none."""
    arrivals: dict[int, tuple[int, int]] = {start: (start, -1)}
    queue = [start]
    # Breadth first, so that the path is a shortest one; the list grows while it is read.
    for peak in queue:
        for neighbor, pair in neighbors[peak]:
            if neighbor in arrivals:
                continue
            arrivals[neighbor] = (peak, pair)
            if peak_keypoints[neighbor] == peak_keypoints[start]:
                return _trace_path(neighbor, start, arrivals)
            queue.append(neighbor)
    return []


def _trace_path(end: int, start: int, arrivals: dict[int, tuple[int, int]]) -> list[int]:
    """The pairs from one peak back to another, by the peak and the pair from which each was reached."""
    path = []
    while end != start:
        end, pair = arrivals[end]
        path.append(pair)
    return path
