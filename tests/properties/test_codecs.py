"""Laws of every codec that decodes one instance per image."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poseplug.fields.grid import Grid
from poseplug.fields.refine import REFINEMENTS
from poseplug.registry import CODECS
from poseplug.skeletons.lsp import LSP
from tests.properties.laws import LAW, seeds

SIZE = (96, 64)
SINGLE_INSTANCE_CODECS = (
    dict(type='CPMHeatmap'),
    dict(type='Heatmap'),
    dict(type='Heatmap', aligned=True, refine='dark'),
    dict(type='Heatmap', offset=1.5, background=True),
    dict(type='Heatmap', center='cell', truncate=True),
    dict(type='MSRAHeatmap'),
    dict(type='DARKHeatmap'),
    dict(type='UDPHeatmap'),
    dict(type='UDPCombined', radius_factor=0.1),
    dict(type='CPNHeatmap', kernel_sizes=(7, 5), smoothing_kernel_size=5, coarse_min_visibility=1),
    dict(type='Integral'),
    dict(type='SimCC'),
    dict(type='Regression'),
    dict(type='RLERegression'),
)
NUM_KEYPOINTS = len(LSP)


def format_settings(spec):
    return '-'.join(str(v) for v in spec.values())


def random_inner_keypoints(seed: int, count: int = 2, border: int = 17) -> torch.Tensor:
    """(count, 1, K, 2) keypoints away from the border."""
    rng = np.random.default_rng(seed)
    span = np.array(SIZE) - 1 - 2 * border
    return torch.from_numpy((border + rng.random((count, 1, NUM_KEYPOINTS, 2)) * span).astype(np.float32))


def mark_all_visible(keypoints):
    return torch.full(keypoints.shape[:3], 2, dtype=torch.uint8)


@pytest.fixture(params=SINGLE_INSTANCE_CODECS, ids=format_settings, scope='module')
def codec(request):
    return CODECS.build({'input_size': SIZE, **request.param}, skeleton=LSP)


def encode(codec, keypoints, visible=None):
    """The fields that a perfect network would predict at its last stage."""
    return codec.encode(keypoints, mark_all_visible(keypoints) if visible is None else visible).stage_fields(99)


def decode_keypoints(codec, fields):
    return torch.as_tensor(codec.decode(fields).keypoints)


@LAW
@given(seeds)
def test_decoding_undoes_encoding(codec, seed):
    keypoints = random_inner_keypoints(seed)
    assert (decode_keypoints(codec, encode(codec, keypoints)) - keypoints[:, 0]).norm(dim=-1).max() <= codec.tolerance


@LAW
@given(seeds)
def test_flipped_fields_of_flipped_keypoints_decode_to_the_keypoints(codec, seed):
    keypoints = random_inner_keypoints(seed)
    flipped = keypoints[:, :, LSP.flip_indices] * torch.tensor([-1.0, 1]) + torch.tensor([SIZE[0] - 1.0, 0])
    decoded = decode_keypoints(codec, codec.flip(encode(codec, flipped)))
    distance = (decoded - keypoints[:, 0]).norm(dim=-1).max()
    stride = getattr(codec, 'stride', 1)
    assert distance <= codec.tolerance + stride / 2


@LAW
@given(seeds)
def test_fields_are_of_the_declared_shapes_and_finite(codec, seed):
    fields = encode(codec, 3 * random_inner_keypoints(seed) - 60)
    assert {name: tuple(f.shape[1:]) for name, f in fields.items()} == codec.shapes
    assert all(torch.isfinite(f).all() for f in fields.values())


@LAW
@given(seeds, st.integers(0, NUM_KEYPOINTS - 1), st.floats(-1e6, 1e6))
def test_the_position_of_an_unlabeled_keypoint_does_not_matter(codec, seed, keypoint_index, position):
    keypoints = random_inner_keypoints(seed)
    visible = mark_all_visible(keypoints)
    visible[..., keypoint_index] = 0
    elsewhere = keypoints.clone()
    elsewhere[..., keypoint_index, :] = position
    one, other = encode(codec, keypoints, visible), encode(codec, elsewhere, visible)
    assert all(torch.equal(one[name], other[name]) for name in one)


@LAW
@given(seeds)
def test_images_of_a_batch_are_encoded_independently(codec, seed):
    keypoints = random_inner_keypoints(seed, 3)
    batch_fields = encode(codec, keypoints)
    for i in range(3):
        image_fields = encode(codec, keypoints[i : i + 1])
        assert all(
            torch.allclose(batch_fields[name][i : i + 1], image_fields[name], atol=1e-6) for name in batch_fields
        )


@LAW
@given(seeds)
def test_scores_are_between_0_and_1_for_any_fields(codec, seed):
    noise = torch.Generator().manual_seed(seed)
    fields = {name: 3 * torch.randn(2, *shape, generator=noise) for name, shape in codec.shapes.items()}
    poses = codec.decode(fields)
    scores = torch.as_tensor(poses.keypoint_scores)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert torch.isfinite(torch.as_tensor(poses.keypoints)).all()


# --- grids and refinements --------------------------------------------------------------------------------------------

inputs = st.tuples(st.integers(16, 200), st.integers(16, 200))


@LAW
@given(inputs, st.integers(1, 8), st.floats(-4, 4), seeds)
def test_cells_and_pixels_undo_each_other(size, stride, offset, seed):
    for grid in (Grid.from_stride(size, stride, offset), Grid.from_corners(size, stride)):
        cells = torch.from_numpy(np.random.default_rng(seed).random((5, 2)) * 50)
        assert torch.allclose(grid.to_cells(grid.to_pixels(cells)), cells, atol=1e-4)


@LAW
@given(inputs, st.integers(1, 8))
def test_a_grid_from_corners_spans_all_pixels_and_needs_no_flip_shift(size, stride):
    grid = Grid.from_corners(size, stride)
    ends = grid.to_pixels(torch.tensor([[0.0, 0], [grid.size[0] - 1.0, grid.size[1] - 1.0]]).double())
    assert torch.allclose(ends, torch.tensor([[0.0, 0], [size[0] - 1.0, size[1] - 1.0]]).double(), atol=1e-4)
    assert grid.flip_shift == 0


@LAW
@given(inputs, st.integers(1, 8))
def test_a_grid_has_cells_for_every_pixel_and_no_more(size, stride):
    for length, cells in zip(size, Grid.from_stride(size, stride).size, strict=True):
        assert (cells - 1) * stride < length <= cells * stride


@pytest.mark.parametrize('refine', REFINEMENTS)
@LAW
@given(seeds)
def test_a_refined_position_is_within_a_cell_of_the_peak(refine, seed):
    codec = CODECS.build(dict(type='Heatmap', input_size=SIZE, refine=refine), skeleton=LSP)
    keypoints = random_inner_keypoints(seed)
    cells = codec.grid.to_cells(decode_keypoints(codec, encode(codec, keypoints)))
    peaks = codec.grid.to_cells(keypoints[:, 0]).round()
    assert (cells - peaks).abs().max() <= 1.0 + 1e-4
