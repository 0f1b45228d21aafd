import pytest
import torch
from torch.testing import assert_close

from poseplug.models.layers.window_attention import (
    WindowAttention,
    index_relative_positions,
    mark_same_regions,
    merge_windows,
    partition_windows,
)


def test_merging_windows_undoes_partitioning_them():
    maps = torch.randn(2, 6, 9, 5)
    windows = partition_windows(maps, 3)
    assert windows.shape == (2, 6, 9, 5)
    assert_close(windows[0, 1, :, 0], maps[0, :3, 3:6, 0].flatten())  # windows row by row, and their cells
    assert_close(merge_windows(windows, (6, 9), 3), maps)


def test_pairs_of_one_relative_position_have_one_index():
    index = index_relative_positions(2)
    # cells of a 2x2 window: 0 and 1 above 2 and 3
    assert index[0, 1] == index[2, 3]
    assert index[0, 2] == index[1, 3]
    assert index[0, 0] == index[3, 3] == 4  # the middle of 3x3 relative positions
    assert index.unique().numel() == 9


def test_cells_of_opposite_borders_do_not_attend_to_each_other():
    """A 4x4 grid in windows of 2 shifted by 1: the last window has cells of all four borders."""
    same = mark_same_regions((4, 4), 2, 1, torch.device('cpu'))
    assert same[0].all()
    assert_close(same[1], torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]).bool())
    assert_close(same[3], torch.eye(4).bool())


def attend_cell_by_cell(part: WindowAttention, cells: torch.Tensor, side: int) -> torch.Tensor:
    """Unshifted attention of a grid of whole windows, by loops over windows, heads and cells."""
    maps, output, w = cells.unflatten(1, (side, side)), torch.zeros(cells.shape[0], side, side, cells.shape[2]), 2
    for top in range(0, side, w):
        for left in range(0, side, w):
            window = maps[:, top : top + w, left : left + w].flatten(1, 2)
            q, k, v = part.qkv(window).chunk(3, dim=-1)
            heads = []
            for head in range(part.num_heads):
                span = slice(head * 2, head * 2 + 2)
                logits = q[..., span] @ k[..., span].mT / 2**0.5
                for i in range(4):
                    for j in range(4):
                        row, column = i // 2 - j // 2 + 1, i % 2 - j % 2 + 1
                        logits[:, i, j] += part.bias_table[row * 3 + column, head]
                heads.append(logits.softmax(-1) @ v[..., span])
            output[:, top : top + w, left : left + w] = part.proj(torch.cat(heads, -1)).unflatten(1, (w, w))
    return output.flatten(1, 2)


def test_attention_is_that_of_loops_over_windows_and_cells():
    torch.manual_seed(0)
    part, cells = WindowAttention(6, 3, window_size=2), torch.randn(2, 16, 6)
    with torch.no_grad():
        assert_close(part(cells, (4, 4)), attend_cell_by_cell(part, cells, 4))


@pytest.mark.parametrize('settings', [dict(shift=1), dict(center_padding=True), {}])
def test_a_grid_that_windows_do_not_divide_keeps_its_size(settings):
    part = WindowAttention(4, 2, window_size=3, **settings)
    assert part(torch.randn(1, 35, 4), (5, 7)).shape == (1, 35, 4)
