import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import MismatchError
from poseplug.models.heads.dekr import AdaptiveBlock, DEKRHead

FIELDS = {'heatmap': 4, 'displacement': 6}


def test_a_block_without_transformation_is_a_grouped_convolution_with_a_shortcut():
    block = AdaptiveBlock(6, groups=3).eval()
    torch.nn.init.zeros_(block.transformation.weight)
    torch.nn.init.zeros_(block.transformation.bias)
    x = torch.randn(2, 6, 5, 7)
    convolved = F.conv2d(x, block.adaptive.weight, padding=1, groups=3)
    assert_close(block(x), F.relu(block.norm(convolved) + x))


def test_offsets_are_an_affine_function_of_the_kernels_cells():
    block = AdaptiveBlock(4, groups=2)
    numbers = torch.zeros(1, 12, 1, 1)
    numbers[0, 6:, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])  # of the second group
    offsets = block._compute_offsets(numbers)[0, :, 0, 0].unflatten(0, (2, 9, 2))
    assert not offsets[0].any()
    assert_close(offsets[1, 0], torch.tensor([-1.0 - 2.0 + 3.0, -4.0 - 5.0 + 6.0]))  # of the cell above on the left
    assert_close(offsets[1, 4], torch.tensor([3.0, 6.0]))  # of the middle


def test_a_codec_without_the_regressed_field_has_no_branches():
    head = DEKRHead((8,), (4,), {'heatmap': 4})
    (fields,) = head([torch.randn(1, 8, 6, 5)])
    assert fields.keys() == {'heatmap'}
    assert not len(head.branches)


def test_a_keypoint_depends_on_its_branch_alone():
    head = DEKRHead((8,), (4,), FIELDS).eval()
    features = torch.randn(1, 8, 6, 5)
    before = head([features])[-1]['displacement']
    with torch.no_grad():
        head.branches[0].conv.weight[:15] += 1.0  # the first branch
    after = head([features])[-1]['displacement']
    assert_close(after[:, 2:], before[:, 2:])
    assert not torch.allclose(after[:, :2], before[:, :2])


def test_coarser_feature_maps_are_enlarged_and_finer_ones_left_out():
    head = DEKRHead((3, 8, 4), (2, 4, 8), FIELDS).eval()
    features = [torch.randn(1, c, 48 // s, 32 // s) for c, s in zip((3, 8, 4), (2, 4, 8), strict=True)]
    enlarged = F.interpolate(features[2], size=(12, 8), mode='bilinear', align_corners=False)
    other = DEKRHead((12,), (4,), FIELDS).eval()
    other.load_state_dict(head.state_dict())
    assert_close(head(features), other([torch.cat([features[1], enlarged], 1)]))


def test_a_field_that_branches_do_not_divide_is_refused():
    with pytest.raises(MismatchError, match='2 channels of its regressed field per branch, and the codec has 5'):
        DEKRHead((8,), (4,), {'displacement': 5})


@pytest.mark.parametrize(('name', 'millions'), [('w32_coco_512', 29.6), ('w48_coco_640', 65.7)])
def test_the_configs_have_the_papers_number_of_parameters(root, name, millions):
    """Geng et al. 2021, table 1."""
    with torch.device('meta'):
        model = build_model(load_config(root / f'configs/dekr/dekr_hrnet_{name}.py'))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions
