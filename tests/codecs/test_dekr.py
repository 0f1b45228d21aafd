import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.dekr import CenterDisplacement, _Candidates
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton

TWO = Skeleton('two', ('left', 'right'), flip_pairs=(('left', 'right'),))
FOUR = Skeleton('four', ('a', 'b', 'c', 'd'))


def encode(codec: CenterDisplacement, keypoints, visible=None):
    tensor = torch.tensor(keypoints)[None]
    visible = torch.full(tensor.shape[:3], 2) if visible is None else torch.tensor(visible)[None]
    return codec.encode(tensor, visible)


def test_the_center_is_the_mean_of_labeled_keypoints_and_displacements_lead_from_cells_to_keypoints():
    codec = CenterDisplacement(TWO, (64, 64))
    targets = encode(codec, [[[8.0, 16.0], [40.0, 32.0]]])
    fields = targets.stages[0]
    assert divmod(int(fields['heatmap'][0, 2].argmax()), 16) == (6, 6)  # (24, 24) px
    assert_close(fields['displacement'][0, :, 6, 6], torch.tensor([-4.0, -2.0, 4.0, 2.0]))
    assert_close(fields['displacement'][0, :, 7, 5], torch.tensor([-3.0, -3.0, 5.0, 1.0]))
    weight = targets.stage_field_weights(0)['displacement'][0]
    assert_close(weight[:, 6, 6], torch.full((4,), 1 / (8**2 + 4**2) ** 0.5))  # of the diagonal in cells
    assert weight[0].nonzero().amin(0).tolist() == [2, 2]
    assert weight[0].nonzero().amax(0).tolist() == [10, 10]


def test_where_two_instances_meet_displacements_lead_to_the_smaller_one():
    codec = CenterDisplacement(TWO, (64, 64))
    small, large = [[28.0, 32.0], [36.0, 32.0]], [[4.0, 4.0], [60.0, 60.0]]
    for pair in ([small, large], [large, small]):
        fields = encode(codec, pair).stages[0]
        assert_close(fields['displacement'][0, :, 8, 8], torch.tensor([-1.0, 0.0, 1.0, 0.0]))


def test_an_unlabeled_keypoint_counts_neither_for_the_center_nor_for_displacements():
    codec = CenterDisplacement(TWO, (64, 64))
    targets = encode(codec, [[[32.0, 32.0], [float('nan'), 0.0]]], [[2, 0]])
    fields, weight = targets.stages[0], targets.stage_field_weights(0)['displacement'][0]
    assert divmod(int(fields['heatmap'][0, 2].argmax()), 16) == (8, 8)
    assert fields['heatmap'][0, 1].max() == 0
    assert weight[:2, 8, 8].min() > 0
    assert weight[2:].max() == 0


def test_heatmap_cells_without_a_gaussian_and_keypoints_that_are_not_annotated_count_less():
    codec = CenterDisplacement(TWO, (64, 64), background_weight=0.25)
    keypoints, annotated = torch.tensor([[[[16.0, 16.0], [48.0, 48.0]]]]), torch.tensor([[True, False]])
    targets = codec.encode(keypoints, torch.full((1, 1, 2), 2), None, annotated)
    heatmap, weight = targets.stages[0]['heatmap'][0], targets.stage_field_weights(0)['heatmap'][0]
    assert weight[0, 4, 4] == weight[2, 8, 8] == 1.0
    assert weight[0, 15, 15] == 0.25
    assert heatmap[0, 4, 4] > 0
    assert heatmap[0, 15, 15] == 0
    assert weight[1].max() == 0  # of the keypoint that the data set does not annotate


@pytest.mark.parametrize('visible', [[], [[0, 0]]], ids=['no instance', 'no labeled keypoint'])
def test_without_labeled_keypoints_all_targets_are_empty(visible):
    codec = CenterDisplacement(TWO, (96, 64))
    targets = codec.encode(torch.zeros(1, len(visible), 2, 2), torch.tensor(visible).reshape(1, -1, 2))
    fields, weights = targets.stages[0], targets.stage_field_weights(0)
    assert {name: tuple(field.shape) for name, field in fields.items()} == {
        'heatmap': (1, 3, 16, 24),
        'displacement': (1, 4, 16, 24),
    }
    assert all(field.abs().max() == 0 for field in fields.values())
    assert weights['displacement'].max() == 0


def test_keypoints_score_what_the_heatmap_has_between_the_cells_and_scores_are_clipped():
    codec = CenterDisplacement(TWO, (96, 64))  # 24 columns, 16 rows
    fields = {'heatmap': torch.zeros(1, 3, 16, 24), 'displacement': torch.zeros(1, 4, 16, 24)}
    fields['heatmap'][0, 2, 5, 20] = 1.5
    fields['heatmap'][0, 0, 7, 18:20] = torch.tensor([0.4, 0.8])
    fields['heatmap'][0, 1, 2, 22] = 1.75
    fields['displacement'][0, :, 5, 20] = torch.tensor([-1.75, 2.0, 2.0, -3.0])
    poses = codec.decode(fields)
    assert_close(torch.as_tensor(poses.keypoints), torch.tensor([[[73.0, 28.0], [88.0, 8.0]]]))
    assert_close(torch.as_tensor(poses.keypoint_scores), torch.tensor([[0.5, 1.0]]))  # 3/4 of 0.4 and 1/4 of 0.8
    assert torch.as_tensor(poses.instance_scores).tolist() == [1.0]


@pytest.mark.parametrize('num_near', [2, 3])
def test_a_pose_is_suppressed_if_more_than_half_of_its_keypoints_are_near(num_near):
    first = [(4, 4), (12, 4), (12, 12), (4, 12)]
    second = first[:num_near] + [(28, 28), (20, 28)][: 4 - num_near]
    fields = draw_poses([(8, 8), (16, 20)], [first, second], [0.9, 0.5], [(0.5,) * 4] * 2)
    poses = CenterDisplacement(FOUR, (128, 128)).decode(fields)
    assert len(poses) == (1 if num_near == 3 else 2)


def test_two_instances_are_decoded_and_one_that_repeats_another_is_suppressed():
    codec = CenterDisplacement(TWO, (128, 128))
    first, second = [[20.0, 20.0], [44.0, 44.0]], [[80.0, 92.0], [96.0, 124.0]]
    fields = encode(codec, [first, second]).stages[0]
    poses = codec.decode(fields)
    order = torch.as_tensor(poses.keypoints)[:, 0, 0].argsort()
    assert_close(torch.as_tensor(poses.keypoints)[order], torch.tensor([first, second]))
    # a lower peak ten cells beside the first center, whose displacements lead to the same keypoints
    fields['heatmap'][0, 2, 8, 18] = 0.5
    cells = torch.tensor(first) / 4 - torch.tensor([18.0, 8.0])
    fields['displacement'][0, :, 8, 18] = cells.flatten()
    assert len(codec.decode(fields)) == 2
    assert len(CenterDisplacement(TWO, (128, 128), nms_threshold=0.0).decode(fields)) == 3


def draw_poses(centers, keypoints, center_values, values):
    """Fields of poses: their centers' cells and values, their keypoints in cells, and the value at each keypoint."""
    num_keypoints = len(keypoints[0])
    shapes = {'heatmap': (1, num_keypoints + 1, 32, 32), 'displacement': (1, 2 * num_keypoints, 32, 32)}
    fields = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for (x, y), pose, center, pair in zip(centers, keypoints, center_values, values, strict=True):
        fields['heatmap'][0, -1, y, x] = center
        fields['displacement'][0, :, y, x] = (torch.tensor(pose) - torch.tensor([x, y])).flatten()
        for channel, ((column, row), value) in enumerate(zip(pose, pair, strict=True)):
            # The surrounding cells, too, since MMPose reads between cells.
            fields['heatmap'][0, channel, row - 1 : row + 2, column - 1 : column + 2] = value
    return fields


def test_mmpose_scores_an_instance_by_the_mean_of_its_center_times_its_keypoints():
    codec = CenterDisplacement(TWO, (128, 128), match='mmpose')
    poses = [[(4, 4), (12, 12)], [(20, 20), (28, 28)]]
    fields = draw_poses([(8, 8), (24, 24)], poses, [1.0, 0.5], [(0.2, 0.4), (0.8, 0.9)])
    decoded = codec.decode(fields)
    # the higher center comes second, since its keypoints are low
    assert_close(torch.as_tensor(decoded.keypoint_scores), torch.tensor([[0.4, 0.45], [0.2, 0.4]]))
    assert_close(torch.as_tensor(decoded.instance_scores), torch.tensor([0.425, 0.3]))
    assert_close(torch.as_tensor(decoded.keypoints)[0], 4 * torch.tensor([[20.0, 20.0], [28.0, 28.0]]))
    own = CenterDisplacement(TWO, (128, 128)).decode(fields)
    assert_close(torch.as_tensor(own.instance_scores), torch.tensor([1.0, 0.5]))


def test_mmpose_keeps_the_pose_whose_keypoints_are_highest_of_those_near_each_other():
    # On a line, a box has no area, but a diagonal of 16 cells: 1 cell is nearer than a tenth of it.
    poses, centers = [[(4, 8), (20, 8)], [(4, 9), (20, 9)]], [(8, 8), (16, 20)]
    fields = draw_poses(centers, poses, [0.9, 0.5], [(0.2, 0.2), (0.6, 0.6)])
    settings = dict(skeleton=TWO, input_size=(128, 128), nms_threshold=0.1)
    decoded = CenterDisplacement(**settings, match='mmpose').decode(fields)
    assert torch.as_tensor(decoded.keypoints)[:, 0].tolist() == [[16.0, 36.0]]
    assert len(CenterDisplacement(**settings).decode(fields)) == 2


def test_mmpose_lets_a_pose_stay_that_a_dropped_one_leads_to():
    codec = CenterDisplacement(TWO, (128, 128), match='mmpose', nms_threshold=0.5)
    # Half their diagonals: 1, 2.25 and 4 cells. The second is near the first, and the third near the second alone.
    cells = torch.tensor([[[10.0, 10], [12, 10]], [[9.0, 10], [13.5, 10]], [[6.0, 10], [14, 10]]])
    candidates = _Candidates(cells[None], torch.ones(1, 3), torch.ones(1, 3, 2), torch.ones(1, 3, dtype=torch.bool))
    assert codec._drop_repeated_as_mmpose(candidates).tolist() == [[True, True, False]]


def test_a_flipped_displacement_leads_to_the_flip_pair():
    codec = CenterDisplacement(TWO, (64, 64))
    fields = {'heatmap': torch.zeros(1, 3, 16, 16), 'displacement': torch.zeros(1, 4, 16, 16)}
    fields['displacement'][0, :, 5, 2] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    flipped = codec.flip(fields)['displacement']
    column = int(flipped[0, 1].nonzero()[0, 1])
    assert_close(flipped[0, :, 5, column], torch.tensor([-3.0, 4.0, -1.0, 2.0]))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(sigma_px=0.0), 'sigma_px is a positive number'),
        (dict(radius_px=-1.0), 'radius_px is a positive number'),
        (dict(background_weight=2.0), 'background_weight is a number from 0 to 1'),
        (dict(nms_kernel_size=4), 'nms_kernel_size'),
    ],
)
def test_a_setting_out_of_range_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        CenterDisplacement(TWO, (64, 64), **settings)
