"""Laws of every codec that reads the joints of one person out of fields of the whole input."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poseplug.codecs.base import Grid
from poseplug.codecs.refine import REFINES
from poseplug.registry import CODECS
from poseplug.skeletons.lsp import LSP
from tests.properties.laws import LAW, seeds

SIZE = (96, 64)
CODECS_OF_ONE = (
    dict(type='CPMHeatmap'), dict(type='Heatmap'), dict(type='Heatmap', aligned=True, refine='dark'),
    dict(type='Heatmap', offset=1.5, background=True), dict(type='Heatmap', center='cell', patch=True),
    dict(type='MSRAHeatmap'), dict(type='DARKHeatmap'), dict(type='UDPHeatmap'), dict(type='UDPCombined', radius=0.1),
    dict(type='CPNHeatmap', kernels=(7, 5), smooth=5, coarse_from=1), dict(type='Integral'), dict(type='SimCC'),
    dict(type='Regression'), dict(type='RLERegression'),
)  # fmt: skip
K = len(LSP)


def told(spec):
    return '-'.join(str(v) for v in spec.values())


def inside(seed: int, count: int = 2, border: int = 17) -> torch.Tensor:
    """(count, 1, K, 2) joints away from the border."""
    rng = np.random.default_rng(seed)
    span = np.array(SIZE) - 1 - 2 * border
    return torch.from_numpy((border + rng.random((count, 1, K, 2)) * span).astype(np.float32))


def seen(keypoints):
    return torch.full(keypoints.shape[:3], 2, dtype=torch.uint8)


@pytest.fixture(params=CODECS_OF_ONE, ids=told, scope='module')
def codec(request):
    return CODECS.build({'input_size': SIZE, **request.param}, skeleton=LSP)


def encoded(codec, keypoints, visible=None):
    """The fields that a perfect network would give at its last stage."""
    return codec.encode(keypoints, seen(keypoints) if visible is None else visible).at(99)


def read(codec, fields):
    return torch.as_tensor(codec.decode(fields).keypoints)


@LAW
@given(seeds)
def test_decoding_undoes_encoding(codec, seed):
    keypoints = inside(seed)
    assert (read(codec, encoded(codec, keypoints)) - keypoints[:, 0]).norm(dim=-1).max() <= codec.tolerance


@LAW
@given(seeds)
def test_the_mirrored_fields_of_mirrored_joints_are_the_joints(codec, seed):
    keypoints = inside(seed)
    mirrored = keypoints[:, :, LSP.mirror] * torch.tensor([-1.0, 1]) + torch.tensor([SIZE[0] - 1.0, 0])
    found = read(codec, codec.flip(encoded(codec, mirrored)))
    away = (found - keypoints[:, 0]).norm(dim=-1).max()
    stride = getattr(codec, 'stride', 1)
    assert away <= codec.tolerance + stride / 2


@LAW
@given(seeds)
def test_fields_are_of_the_declared_shapes_and_finite(codec, seed):
    fields = encoded(codec, 3 * inside(seed) - 60)
    assert {name: tuple(f.shape[1:]) for name, f in fields.items()} == codec.shapes
    assert all(torch.isfinite(f).all() for f in fields.values())


@LAW
@given(seeds, st.integers(0, K - 1), st.floats(-1e6, 1e6))
def test_where_a_joint_without_label_stands_does_not_matter(codec, seed, joint, place):
    keypoints = inside(seed)
    visible = seen(keypoints)
    visible[..., joint] = 0
    moved = keypoints.clone()
    moved[..., joint, :] = place
    one, other = encoded(codec, keypoints, visible), encoded(codec, moved, visible)
    assert all(torch.equal(one[name], other[name]) for name in one)


@LAW
@given(seeds)
def test_pictures_of_a_batch_do_not_see_each_other(codec, seed):
    keypoints = inside(seed, 3)
    whole = encoded(codec, keypoints)
    for i in range(3):
        alone = encoded(codec, keypoints[i : i + 1])
        assert all(torch.allclose(whole[name][i : i + 1], alone[name], atol=1e-6) for name in whole)


@LAW
@given(seeds)
def test_scores_are_shares_whatever_the_fields_say(codec, seed):
    noise = torch.Generator().manual_seed(seed)
    fields = {name: 3 * torch.randn(2, *shape, generator=noise) for name, shape in codec.shapes.items()}
    poses = codec.decode(fields)
    assert ((torch.as_tensor(poses.scores) >= 0) & (torch.as_tensor(poses.scores) <= 1)).all()
    assert torch.isfinite(torch.as_tensor(poses.keypoints)).all()


# --- grids and read-outs ----------------------------------------------------------------------------------------------

inputs = st.tuples(st.integers(16, 200), st.integers(16, 200))


@LAW
@given(inputs, st.integers(1, 8), st.floats(-4, 4), seeds)
def test_cells_and_pixels_undo_each_other(size, stride, offset, seed):
    for grid in (Grid.of_stride(size, stride, offset), Grid.aligned(size, stride)):
        cells = torch.from_numpy(np.random.default_rng(seed).random((5, 2)) * 50)
        assert torch.allclose(grid.cells(grid.pixels(cells)), cells, atol=1e-4)


@LAW
@given(inputs, st.integers(1, 8))
def test_an_aligned_grid_reaches_from_the_first_pixel_to_the_last_and_needs_no_shift(size, stride):
    grid = Grid.aligned(size, stride)
    ends = grid.pixels(torch.tensor([[0.0, 0], [grid.size[0] - 1.0, grid.size[1] - 1.0]]).double())
    assert torch.allclose(ends, torch.tensor([[0.0, 0], [size[0] - 1.0, size[1] - 1.0]]).double(), atol=1e-4)
    assert grid.mirror_shift == 0


@LAW
@given(inputs, st.integers(1, 8))
def test_there_are_cells_for_every_pixel_and_no_more(size, stride):
    for length, cells in zip(size, Grid.of_stride(size, stride).size, strict=True):
        assert (cells - 1) * stride < length <= cells * stride


@pytest.mark.parametrize('how', REFINES)
@LAW
@given(seeds)
def test_a_read_out_stays_within_a_cell_of_the_peak(how, seed):
    codec = CODECS.build(dict(type='Heatmap', input_size=SIZE, refine=how), skeleton=LSP)
    keypoints = inside(seed)
    cells = codec.grid.cells(read(codec, encoded(codec, keypoints)))
    peaks = codec.grid.cells(keypoints[:, 0]).round()
    assert (cells - peaks).abs().max() <= 1.0 + 1e-4
