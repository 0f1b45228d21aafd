import cv2
import numpy as np
import pytest
import torch

from poseplug.codecs.cpn import CPNHeatmap
from poseplug.errors import ConfigError
from poseplug.skeleton import Skeleton

THREE = Skeleton('three', ('a', 'b', 'c'))
PLACES = torch.tensor([[[[50.0, 60.0], [120.0, 200.0], [90.0, 90.0]]]])


def widths(codec: CPNHeatmap) -> list[int]:
    """How many cells the first joint's row has in every stage: the size of the kernel."""
    targets = codec.encode(PLACES, torch.full((1, 1, 3), 2))
    return [int((stage['heatmap'][0, 0, 15] > 0).sum()) for stage in targets.stages]


def test_the_finest_level_has_the_largest_kernel_as_released_and_the_smallest_as_meant():
    assert widths(CPNHeatmap(THREE, (192, 256))) == [7, 9, 11, 15, 7]  # coarsest to finest, then refined
    assert widths(CPNHeatmap(THREE, (192, 256), reverse=True)) == [15, 11, 9, 7, 7]


def test_levels_learn_visible_joints_and_the_refined_stage_all_labelled_ones():
    targets = CPNHeatmap(THREE, (192, 256)).encode(PLACES, torch.tensor([[[2, 1, 0]]]))
    for level in range(4):
        assert targets.at(level)['heatmap'].amax((2, 3)).tolist() == [[255, 0, 0]]
        assert targets.weights_at(level) == {}  # an empty map counts
    assert targets.at(4)['heatmap'].amax((2, 3)).tolist() == [[255, 255, 0]]
    assert targets.weights_at(4)['heatmap'].tolist() == [[1, 1, 0]]


@pytest.mark.parametrize(
    ('x', 'cell'), [(0.0, 0), (3.9, 0), (8.0, 2), (191.9, 47), (192.0, None), (-3.9, 0), (-4.0, None)]
)
def test_a_joint_stands_in_the_cell_that_covers_it(x, cell):
    targets = CPNHeatmap(Skeleton('one', ('a',)), (192, 256), kernels=(3,)).encode(
        torch.tensor([[[[x, 101.0]]]]), torch.full((1, 1, 1), 2)
    )
    row = targets.at(1)['heatmap'][0, 0, 25]
    assert targets.weights_at(1)['heatmap'].item() == (cell is not None)
    assert (row == 255).nonzero().flatten().tolist() == ([] if cell is None else [cell])


def released(heatmap: np.ndarray) -> tuple[np.ndarray, float]:
    """The published read-out of one map: normalise, pad, blur, a quarter cell towards the second; 4g + 2."""
    padded = np.zeros((heatmap.shape[0] + 20, heatmap.shape[1] + 20))
    padded[10:-10, 10:-10] = heatmap / heatmap.max()
    blurred = cv2.GaussianBlur(padded, (21, 21), 0)
    order = np.argsort(-blurred.ravel(), kind='stable')[:2]
    first, second = (np.array([p % padded.shape[1], p // padded.shape[1]], float) for p in order)
    value = heatmap[int(first[1]) - 10, int(first[0]) - 10]
    return 4 * (first - 10 + 0.25 * (second - first) / np.linalg.norm(second - first)) + 2, value / 255 + 0.5


def test_maps_are_read_as_published_and_scores_are_two_thirds_of_the_published_ones():
    chance = np.random.default_rng(0)
    y, x = np.mgrid[:64, :48]
    at = chance.uniform(4, 43, (10, 3, 2, 1, 1))
    maps = 200 * np.exp(-((x - at[:, :, 0]) ** 2 + (y - at[:, :, 1]) ** 2) / 9) + chance.uniform(0, 20, (10, 3, 64, 48))
    poses = CPNHeatmap(THREE, (192, 256)).decode({'heatmap': torch.from_numpy(maps).float()})
    for picture in range(10):
        for joint in range(3):
            place, score = released(maps[picture, joint])
            np.testing.assert_allclose(poses.keypoints[picture, joint], place, atol=1e-3)
            assert 1.5 * poses.scores[picture, joint].item() == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'kernels': ()}, 'one size a level'),
        ({'kernels': (11, 8)}, 'kernels is odd and at least 3; got 8'),
        ({'smooth': 2}, 'smooth is odd'),
        ({'sigma': 4.0}, 'sigma changes nothing here'),
        ({'background': True}, 'background changes nothing here'),
    ],
)
def test_a_setting_that_means_nothing_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        CPNHeatmap(THREE, (192, 256), **settings)
