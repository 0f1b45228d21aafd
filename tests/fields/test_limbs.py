"""Limb fields: every cell against a plain loop, and the cells that several instances cover."""

import math

import pytest
import torch
from torch.testing import assert_close

from poseplug.fields.limbs import encode_limb_fields

SIZE = (13, 9)


def draw_plainly(start, end, mask, size, width, merge, limb_ends='extended'):
    """The rule cell by cell: at most `width` beside the line, in the box of both ends grown by `width`, or between."""
    batch, count, limbs = mask.shape
    fields = torch.zeros(batch, 2 * limbs, size[1], size[0])
    for b in range(batch):
        for limb in range(limbs):
            for y in range(size[1]):
                for x in range(size[0]):
                    vectors = []
                    for n in range(count):
                        (ax, ay), (bx, by) = start[b, n, limb].tolist(), end[b, n, limb].tolist()
                        length = math.hypot(bx - ax, by - ay)
                        if not mask[b, n, limb] or not length:
                            continue
                        ux, uy = (bx - ax) / length, (by - ay) / length
                        beside = abs((x - ax) * uy - (y - ay) * ux)
                        in_box = min(ax, bx) - width <= x <= max(ax, bx) + width
                        in_box &= min(ay, by) - width <= y <= max(ay, by) + width
                        along = (x - ax) * ux + (y - ay) * uy
                        if beside <= width and (0 <= along <= length if limb_ends == 'exact' else in_box):
                            vectors.append((ux, uy))
                    if vectors:
                        vector = torch.tensor(vectors).mean(0) if merge == 'mean' else torch.tensor(vectors[-1])
                        fields[b, 2 * limb : 2 * limb + 2, y, x] = vector
    return fields


@pytest.mark.parametrize('merge', ['mean', 'last'])
@pytest.mark.parametrize('width', [1.0, 0.4, 1.7])
@pytest.mark.parametrize('limb_ends', ['extended', 'exact'])
def test_every_cell_equals_that_of_a_plain_loop(merge, width, limb_ends):
    generator = torch.Generator().manual_seed(0)
    start, end = (torch.rand(2, 4, 3, 2, generator=generator) * torch.tensor([14.0, 10.0]) - 0.5 for _ in range(2))
    mask = torch.rand(2, 4, 3, generator=generator) < 0.8
    fields = encode_limb_fields(start, end, mask, SIZE, width, merge, limb_ends)
    assert_close(fields, draw_plainly(start, end, mask, SIZE, width, merge, limb_ends), atol=1e-5, rtol=0)


def draw_single_limb(start, end, merge='mean', limb_ends='extended'):
    """One limb of one instance."""
    points = (torch.tensor(p)[None, None, None] for p in (start, end))
    mask = torch.ones(1, 1, 1, dtype=torch.bool)
    return encode_limb_fields(*points, mask, SIZE, width_cells=1.0, merge=merge, limb_ends=limb_ends)


def test_a_level_limb_covers_three_rows_and_one_column_beyond_each_end():
    x, y = draw_single_limb([3.0, 4.0], [8.0, 4.0])[0]
    covered = torch.zeros(9, 13)
    covered[3:6, 2:10] = 1
    assert_close(x, covered)
    assert not y.any()
    covered[:, [2, 9]] = 0
    assert_close(draw_single_limb([3.0, 4.0], [8.0, 4.0], limb_ends='exact')[0, 0], covered)


@pytest.mark.parametrize('end', [[3.0, 8.0], [9.0, 8.0], [3.0, 0.0], [9.0, 4.0]])
def test_in_the_other_direction_the_vectors_are_opposite(end):
    assert_close(draw_single_limb([6.0, 4.0], end), -draw_single_limb(end, [6.0, 4.0]))


@pytest.mark.parametrize('merge', ['mean', 'last'])
def test_a_limb_of_no_length_and_a_masked_one_leave_zeros(merge):
    assert not draw_single_limb([3.0, 4.0], [3.0, 4.0], merge=merge).any()
    points = torch.tensor([[[[3.0, 4.0]]]])
    assert not encode_limb_fields(points, points + 3, torch.zeros(1, 1, 1, dtype=torch.bool), SIZE, 1.0, merge).any()


@pytest.mark.parametrize('merge', ['mean', 'last'])
def test_no_instance_and_no_limb_have_fields_too(merge):
    empty = torch.zeros(2, 0, 3, 2)
    fields = encode_limb_fields(empty, empty, torch.zeros(2, 0, 3, dtype=torch.bool), SIZE, 1.0, merge)
    assert fields.shape == (2, 6, 9, 13)
    assert not fields.any()
    limbless = torch.zeros(2, 4, 0, 2)
    assert (
        encode_limb_fields(limbless, limbless, torch.zeros(2, 4, 0, dtype=torch.bool), SIZE, 1.0, merge).shape[1] == 0
    )


def test_where_two_instances_cross_the_mean_is_shorter_and_the_last_one_wins():
    start = torch.tensor([[[[2.0, 4.0]], [[6.0, 0.0]]]])
    end = torch.tensor([[[[10.0, 4.0]], [[6.0, 8.0]]]])
    mask = torch.ones(1, 2, 1, dtype=torch.bool)
    mean, last = (encode_limb_fields(start, end, mask, SIZE, 1.0, merge)[0, :, 4, 6] for merge in ('mean', 'last'))
    assert_close(mean, torch.tensor([0.5, 0.5]))
    assert_close(last, torch.tensor([0.0, 1.0]))
