import pytest
import torch
from torch.testing import assert_close

from poseplug.core.errors import MismatchError
from poseplug.models.heads.yoloxpose import YOLOXPoseHead, multiply_probabilities

SHAPES = {'keypoints': (3, 2)}


def test_the_logit_of_a_product_is_that_of_the_product_of_sigmoids():
    a, b = torch.randn(100), torch.randn(100)
    assert_close(multiply_probabilities(a, b).sigmoid(), a.sigmoid() * b.sigmoid())
    extreme = torch.tensor([-200.0, 200.0, 200.0, 0.0])
    other = torch.tensor([-200.0, 200.0, -200.0, 200.0])
    assert_close(multiply_probabilities(extreme, other), torch.tensor([-400.0, 199.306853, -200.0, 0.0]))


def test_cells_stand_where_the_offset_says_and_keypoints_relative_to_them():
    head = YOLOXPoseHead((8,), (16,), SHAPES, feat_channels=8, project_inputs=False, cell_offset=0.0)
    (fields,) = head([torch.zeros(1, 8, 1, 2)])
    assert_close(fields['points'], torch.tensor([[-0.5, -0.5], [15.5, -0.5]]))


def test_with_objectness_the_score_falls_below_that_of_the_class():
    torch.manual_seed(0)
    head = YOLOXPoseHead((8,), (16,), SHAPES, feat_channels=8, has_objectness=True).eval()
    scores = []
    head.outputs['score'][0].register_forward_hook(lambda _, __, output: scores.append(output))
    (fields,) = head([torch.randn(1, 8, 2, 2)])
    assert 'objectness' not in fields
    assert (fields['score'] < scores[0].flatten(1)).all()


def test_without_projection_the_feature_maps_have_the_channels_of_the_towers():
    with pytest.raises(MismatchError, match=r'8 channels, but the backbone or neck has \(6, 8\)'):
        YOLOXPoseHead((6, 8), (16, 32), SHAPES, feat_channels=8, project_inputs=False)
