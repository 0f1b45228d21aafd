import cv2
import numpy as np
import pytest
import torch

from poseplug.codecs.cpn import CPNHeatmap
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.skeleton import Skeleton

THREE = Skeleton('three', ('a', 'b', 'c'))
KEYPOINTS = torch.tensor([[[[50.0, 60.0], [120.0, 200.0], [90.0, 90.0]]]])


def stage_widths(codec: CPNHeatmap) -> list[int]:
    """The number of cells in the row of the first keypoint in every stage: the size of the kernel."""
    targets = codec.encode(KEYPOINTS, torch.full((1, 1, 3), 2))
    return [int((stage['heatmap'][0, 0, 15] > 0).sum()) for stage in targets.stages]


def test_the_finest_level_has_the_largest_kernel_as_released_and_the_smallest_as_meant():
    assert stage_widths(CPNHeatmap(THREE, (192, 256))) == [7, 9, 11, 15, 7]  # coarsest to finest, then refined
    assert stage_widths(CPNHeatmap(THREE, (192, 256), reverse_kernels=True)) == [15, 11, 9, 7, 7]


def test_levels_are_trained_on_visible_keypoints_and_the_refined_stage_on_all_labeled_ones():
    targets = CPNHeatmap(THREE, (192, 256)).encode(KEYPOINTS, torch.tensor([[[2, 1, 0]]]))
    for level in range(4):
        assert targets.stage_fields(level)['heatmap'].amax((2, 3)).tolist() == [[255, 0, 0]]
        assert targets.stage_field_weights(level) == {}  # an empty map counts
    assert targets.stage_fields(4)['heatmap'].amax((2, 3)).tolist() == [[255, 255, 0]]
    assert targets.stage_field_weights(4)['heatmap'].tolist() == [[1, 1, 0]]


def test_without_a_refined_stage_every_kernel_size_is_a_stage_of_all_labeled_keypoints():
    codec = CPNHeatmap(THREE, (192, 256), kernel_sizes=(11, 9, 7, 5), refined_stage=False)
    assert stage_widths(codec) == [11, 9, 7, 5]
    targets = codec.encode(KEYPOINTS, torch.tensor([[[2, 1, 0]]]))
    for stage in range(4):
        assert targets.stage_fields(stage)['heatmap'].amax((2, 3)).tolist() == [[255, 255, 0]]
        assert targets.stage_field_weights(stage)['heatmap'].tolist() == [[1, 1, 0]]
    codec.check_stages('MSPNHead', 4)
    with pytest.raises(MismatchError, match='MSPNHead predicts 8 stages but CPNHeatmap draws 4.*kernel_sizes to 8'):
        codec.check_stages('MSPNHead', 8)


@pytest.mark.parametrize(
    ('x', 'cell'), [(0.0, 0), (3.9, 0), (8.0, 2), (191.9, 47), (192.0, None), (-3.9, 0), (-4.0, None)]
)
def test_a_keypoint_stands_in_the_cell_that_covers_it(x, cell):
    targets = CPNHeatmap(Skeleton('one', ('a',)), (192, 256), kernel_sizes=(3,)).encode(
        torch.tensor([[[[x, 101.0]]]]), torch.full((1, 1, 1), 2)
    )
    row = targets.stage_fields(1)['heatmap'][0, 0, 25]
    assert targets.stage_field_weights(1)['heatmap'].item() == (cell is not None)
    assert (row == 255).nonzero().flatten().tolist() == ([] if cell is None else [cell])


def decode_plainly(heatmap: np.ndarray) -> tuple[np.ndarray, float]:
    """The published read-out of one heatmap: normalize, pad, blur, a quarter cell towards the second; 4g + 2."""
    padded = np.zeros((heatmap.shape[0] + 20, heatmap.shape[1] + 20))
    padded[10:-10, 10:-10] = heatmap / heatmap.max()
    blurred = cv2.GaussianBlur(padded, (21, 21), 0)
    order = np.argsort(-blurred.ravel(), kind='stable')[:2]
    first, second = (np.array([p % padded.shape[1], p // padded.shape[1]], float) for p in order)
    value = heatmap[int(first[1]) - 10, int(first[0]) - 10]
    return 4 * (first - 10 + 0.25 * (second - first) / np.linalg.norm(second - first)) + 2, value / 255 + 0.5


def test_heatmaps_are_decoded_as_published_and_scores_are_two_thirds_of_the_published_ones():
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:64, :48]
    centers = generator.uniform(4, 43, (10, 3, 2, 1, 1))
    gaussians = 200 * np.exp(-((x - centers[:, :, 0]) ** 2 + (y - centers[:, :, 1]) ** 2) / 9)
    heatmaps = gaussians + generator.uniform(0, 20, (10, 3, 64, 48))
    poses = CPNHeatmap(THREE, (192, 256)).decode({'heatmap': torch.from_numpy(heatmaps).float()})
    for image in range(10):
        for keypoint in range(3):
            position, score = decode_plainly(heatmaps[image, keypoint])
            np.testing.assert_allclose(poses.keypoints[image, keypoint], position, atol=1e-3)
            assert 1.5 * poses.keypoint_scores[image, keypoint].item() == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'kernel_sizes': ()}, 'kernel_sizes is a list of odd numbers'),
        ({'kernel_sizes': (11, 8)}, r'kernel_sizes is a list of odd numbers from 3 on; got \(11, 8\)'),
        ({'smoothing_kernel_size': 2}, 'smoothing_kernel_size is an odd number from 3 on; got 2'),
        ({'sigma_px': 4.0}, 'sigma_px changes nothing here'),
        ({'background': True}, 'background changes nothing here'),
    ],
)
def test_a_setting_without_meaning_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        CPNHeatmap(THREE, (192, 256), **settings)
