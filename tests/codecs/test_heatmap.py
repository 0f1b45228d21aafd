"""The codec of the MSRA family, against MMPose's numbers where they are at hand (POSEPLUG_GOLDEN)."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from poseplug.codecs.heatmap import Heatmap
from poseplug.codecs.refine import peaks
from poseplug.errors import ConfigError, MismatchError
from poseplug.skeleton import Skeleton

GOLDEN = Path(os.environ.get('POSEPLUG_GOLDEN', Path(__file__).parents[2] / '../shared/golden'))
KERNEL = 11


def golden(name: str) -> dict[str, np.ndarray]:
    file = GOLDEN / name
    if not file.is_file():
        pytest.skip(f'no {name} in {GOLDEN}; name the folder of golden numbers by POSEPLUG_GOLDEN')
    with np.load(file) as content:
        return dict(content)


def codec(joints: int, **settings) -> Heatmap:
    """Stride 4, cell g at pixel 4g, sigma 2 cells: MMPose's MSRAHeatmap of (192, 256)."""
    return Heatmap(Skeleton('numbered', tuple(f'joint_{i}' for i in range(joints))), (192, 256), **settings)


def decoded(refine: str) -> tuple[dict[str, np.ndarray], torch.Tensor, np.ndarray, np.ndarray]:
    """The golden maps, their peaks (B, K, 2), the joints decoded from them, and the scores."""
    numbers = golden('dec_heatmaps.npz')
    maps = torch.from_numpy(numbers['heatmaps_f16'].astype(np.float32))
    poses = codec(maps.shape[1], refine=refine, kernel=KERNEL).decode({'heatmap': maps})
    return numbers, maps, poses.keypoints.numpy(), poses.scores.numpy()


def test_unbiased_maps_and_weights_are_those_of_mmpose():
    numbers = golden('enc_msra_dark.npz')
    keypoints, visible = (torch.from_numpy(numbers[n]) for n in ('keypoints', 'visible'))
    targets = codec(keypoints.shape[1]).encode(keypoints[:, None], visible[:, None])
    maps = targets.at(0)['heatmap'].numpy()
    np.testing.assert_allclose(maps[: len(numbers['heatmaps'])], numbers['heatmaps'], atol=1e-6)
    np.testing.assert_array_equal(targets.weights['heatmap'], numbers['weights'])
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    stats = np.stack([flat.sum(-1), (flat**2).sum(-1), flat.max(-1), flat.argmax(-1)], axis=-1)
    np.testing.assert_allclose(stats, numbers['heatmap_stats'], atol=1e-5)


def test_dark_reads_maps_as_mmpose_does_wherever_the_logarithm_exists():
    numbers, maps, keypoints, scores = decoded('dark')
    exists = np.array([[logarithm_exists(m) for m in people] for people in maps.numpy()])
    assert (
        exists.mean() > 0.9
    )  # elsewhere a blurred cell beside the peak is not positive, and both numbers are arbitrary
    np.testing.assert_allclose(keypoints[exists], numbers['msra_dark_keypoints'][exists], atol=1e-4)
    np.testing.assert_allclose(scores, numbers['msra_dark_scores'].clip(0, 1), atol=1e-6)


def logarithm_exists(heatmap: np.ndarray) -> bool:
    """Whether the map and the blurred cells that DARK reads around its peak are positive."""
    y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
    blurred = cv2.GaussianBlur(heatmap, (KERNEL, KERNEL), 0, borderType=cv2.BORDER_CONSTANT)
    return bool(heatmap.max() > 0 and (blurred[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] > 0).all())


def test_quarter_steps_are_those_of_mmpose_but_for_its_first_two_rows_and_columns():
    """MMPose takes no step from a peak in row or column 0 or 1, and marks maps without a positive cell by -1."""
    numbers, maps, keypoints, _ = decoded('quarter')
    cells, values = peaks(maps)
    same = ((cells > 1).all(-1) & (values > 0)).numpy()
    assert same.mean() > 0.8
    np.testing.assert_allclose(keypoints[same], numbers['msra_keypoints'][same], atol=1e-4)
    np.testing.assert_allclose(
        keypoints[~same & (values > 0).numpy()], 4 * cells[torch.from_numpy(~same) & (values > 0)], atol=1
    )
    assert (numbers['msra_keypoints'][(values <= 0).numpy()] == -4).all()


def test_a_joint_that_reaches_no_cell_is_not_counted_unless_asked():
    keypoints, visible = torch.full((1, 1, 2, 2), 50.0), torch.ones(1, 1, 2)
    keypoints[0, 0, 1, 0] = -60.0
    assert codec(2).encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 0]]
    assert codec(2, outside='empty').encode(keypoints, visible).weights['heatmap'].tolist() == [[1, 1]]


def test_a_joint_counts_when_anybody_in_the_picture_has_it():
    visible = torch.tensor([[[1, 0, 0], [0, 2, 0]]])
    weights = codec(3).encode(torch.full((1, 2, 3, 2), 50.0), visible).weights
    assert weights['heatmap'].tolist() == [[1, 1, 0]]


def test_decode_undoes_encode_within_the_declared_tolerance_up_to_the_border():
    heatmap = codec(1, refine='dark')
    places = torch.tensor([[96.0, 128.0], [0.0, 0.0], [188.25, 251.5], [3.1, 200.7]])[:, None, None]
    poses = heatmap.decode(heatmap.encode(places, torch.ones(4, 1, 1)).at(0))
    assert (poses.keypoints - places[:, 0]).norm(dim=-1).max() <= heatmap.tolerance


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'people': 'sum'}, "people is one of .*; got 'sum'"),
        ({'missing': 'zero'}, 'missing'),
        ({'outside': 'zero'}, 'outside'),
        ({'refine': 'darker'}, 'refine'),
        ({'sigma': 0.0}, 'sigma and stride are positive'),
        ({'kernel': 4}, 'kernel is odd'),
    ],
)
def test_a_setting_that_means_nothing_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        codec(1, **settings)


def test_maps_of_another_size_are_not_read():
    with pytest.raises(MismatchError, match=r'reads maps of \(48, 64\) cells.*these have \(64, 48\)'):
        codec(1).decode({'heatmap': torch.zeros(1, 1, 48, 64)})


def test_nobody_is_decoded_to_nobody():
    assert len(codec(2).decode({'heatmap': torch.zeros(0, 2, 64, 48)})) == 0
