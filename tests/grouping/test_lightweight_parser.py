"""The preset 'lightweight' against the rules of the released parser (Osokin 2018), applied plainly one by one."""

import math

import numpy as np
import pytest
import torch

from poseplug.codecs.paf import PAF
from poseplug.fields.peaks import find_peaks
from poseplug.grouping.paf import parse_paf
from poseplug.registry.skeletons import get_skeleton

COCO18 = get_skeleton('coco18')
EAR_LIMBS = {(2, 16), (5, 17)}  # between shoulders and ears, which only fill a missing end


def draw_fields(seed: int, noise: float) -> dict[str, np.ndarray]:
    """The fields of four overlapping people on 96 x 96 cells, some of their keypoints missing, with noise."""
    rng = np.random.default_rng(seed)
    template = [(0, -8), (0, 0), (-8, 0), (-11, 12), (-9, 22), (8, 0), (11, 12), (9, 22), (-5, 24), (-6, 38), (-6, 52),
                (5, 24), (6, 38), (6, 52), (-2, -10), (2, -10), (-5, -9), (5, -9)]  # fmt: skip
    centers = rng.uniform((15, 15), (80, 40), (4, 2))
    keypoints = np.array(template) + centers[:, None] + rng.normal(0, 1.5, (4, 18, 2))
    visible = (rng.random((4, 18)) > 0.2) * 2
    codec = PAF(
        COCO18, (96, 96), stride=1, heatmap_codec=dict(type='Heatmap', sigma_px=2.0, center='cell'), width_cells=2.0
    )
    targets = codec.encode(torch.from_numpy(keypoints).float()[None], torch.from_numpy(visible)[None]).stage_fields(0)
    return {n: m[0].numpy() + noise * rng.standard_normal(m.shape[1:]).astype(np.float32) for n, m in targets.items()}


def find_peaks_plainly(heatmap: np.ndarray) -> list[tuple[int, int]]:
    """Cells (x, y) of at least 0.1 above their four neighbors, from left to right, none within 6 of an earlier one."""
    padded = np.pad(np.where(heatmap < 0.1, 0, heatmap), 1)
    inner = padded[1:-1, 1:-1]
    neighbors = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    rows, columns = np.nonzero(np.logical_and.reduce([inner > n for n in neighbors]))
    kept = []
    for point in sorted(zip(columns.tolist(), rows.tolist(), strict=True)):
        if all(math.dist(point, other) >= 6 for other in kept):
            kept.append(point)
    return kept


def score_pair(field: np.ndarray, start: tuple[int, int], end: tuple[int, int]) -> float:
    """The mean of the samples above 0.05 of ten along a pair, or 0 if no more than eight are."""
    vector = np.subtract(end, start)
    length = np.linalg.norm(vector)
    if length == 0:
        return 0.0
    x, y = (np.linspace(a, b, 10).round().astype(int) for a, b in zip(start, end, strict=True))
    values = field[:, y, x].T @ (vector / length)
    passed = values > 0.05
    return float(values[passed].mean()) if passed.sum() > 8 else 0.0


def parse_plainly(fields: dict[str, np.ndarray]) -> set[tuple]:
    """The people: of each keypoint its cell, or None."""
    peaks = [find_peaks_plainly(m) for m in fields['heatmap'][:18]]
    people = []  # [cells by keypoint, sum of scores, number of keypoints that count]
    limbs = COCO18.limb_indices.tolist()
    for step in COCO18.limb_steps:
        a, b = step.start, step.end
        field = fields['paf'][2 * step.limb : 2 * step.limb + 2] * (1 if limbs[step.limb] == [a, b] else -1)
        scored = [(score_pair(field, p, q), p, q) for p in peaks[a] for q in peaks[b]]
        used = set()
        for score, p, q in sorted((s for s in scored if s[0] > 0), key=lambda s: -s[0]):
            if {(0, p), (1, q)} & used:
                continue
            used |= {(0, p), (1, q)}
            value_p, value_q = (float(fields['heatmap'][k, y, x]) for k, (x, y) in ((a, p), (b, q)))
            if (a, b) in EAR_LIMBS:
                for cells, *_ in people:
                    if cells[a] == p and cells[b] is None:
                        cells[b] = q
                    elif cells[b] == q and cells[a] is None:
                        cells[a] = p
                continue
            owners = [person for person in people if person[0][a] == p]
            for person in owners:
                person[0][b], person[1], person[2] = q, person[1] + value_q + score, person[2] + 1
            if not owners:
                cells = [None] * 18
                cells[a], cells[b] = p, q
                people.append([cells, value_p + value_q + score, 2])
    return {tuple(cells) for cells, total, count in people if count >= 3 and total / count >= 0.2}


@pytest.mark.parametrize('noise', [0.0, 0.03])
@pytest.mark.parametrize('seed', range(4))
def test_the_people_are_those_of_the_released_rules(seed, noise):
    fields = draw_fields(seed, noise)
    expected = parse_plainly(fields)
    (poses,) = parse_paf(fields, COCO18, 'lightweight', stride=1, offset=0, refine='none')
    cells = [[tuple(map(int, p)) if v else None for p, v in zip(*person, strict=True)] for person in
             zip(poses.keypoints.tolist(), poses.visibility.tolist(), strict=True)]  # fmt: skip
    assert {tuple(person) for person in cells} == expected
    assert len(expected) >= 2


def test_an_ear_can_belong_to_two_people_and_counts_for_neither():
    """Two people whose shoulder limbs end in one ear; with their unassigned ears alone the second one has none."""
    fields = {'heatmap': np.zeros((19, 40, 60), np.float32), 'paf': np.zeros((38, 40, 60), np.float32)}
    assert tuple(COCO18.limb_steps[-2][1:3]) in EAR_LIMBS
    for keypoint, x, y in ((1, 10, 20), (2, 20, 20), (3, 20, 35), (16, 20, 5)):
        fields['heatmap'][keypoint, y, x] = 0.9
    for start, end in ((1, 2), (2, 3), (2, 16)):
        step = next(s for s in COCO18.limb_steps if {s.start, s.end} == {start, end})
        sign = 1 if COCO18.limb_indices[step.limb].tolist() == [start, end] else -1
        x, y = {(1, 2): (1, 0), (2, 3): (0, 1), (2, 16): (0, -1)}[start, end]
        fields['paf'][2 * step.limb], fields['paf'][2 * step.limb + 1] = sign * x, sign * y
    (poses,) = parse_paf(fields, COCO18, 'lightweight', stride=1, offset=0, refine='none')
    assert np.flatnonzero(poses.visibility[0]).tolist() == [1, 2, 3, 16]
    without_elbow = {name: maps.copy() for name, maps in fields.items()}
    without_elbow['heatmap'][3] = 0
    assert len(parse_paf(without_elbow, COCO18, 'lightweight', stride=1, offset=0, refine='none')[0]) == 0


def test_equal_neighbors_are_no_peak_of_four_and_diagonal_ones_are_two():
    heatmap = torch.zeros(1, 1, 8, 8)
    heatmap[0, 0, 2, 2:4] = 0.5
    heatmap[0, 0, 5, 5] = heatmap[0, 0, 6, 6] = 0.5
    assert find_peaks(heatmap, 0.1).cells.tolist() == [[2, 2], [5, 5]]
    assert find_peaks(heatmap, 0.1, num_neighbors=4).cells.tolist() == [[5, 5], [6, 6]]


def test_close_peaks_are_dropped_by_columns_or_by_rows():
    heatmap = torch.zeros(1, 1, 12, 12)
    heatmap[0, 0, 2, 8] = heatmap[0, 0, 5, 5] = 0.5
    assert find_peaks(heatmap, 0.1, min_distance_cells=6).cells.tolist() == [[8, 2]]
    assert find_peaks(heatmap, 0.1, min_distance_cells=6, by_columns=True).cells.tolist() == [[5, 5]]
