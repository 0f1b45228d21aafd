"""Weights for other keypoints: a mapped head predicts for each keypoint what the original one predicted for it."""

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.core.skeleton import Skeleton

KEYPOINTS = ('nose', 'left_hand', 'right_hand', 'left_foot', 'right_foot')
PAIRS = (('left_hand', 'right_hand'), ('left_foot', 'right_foot'))
BACKBONE = dict(type='MobileNetV2', widen_factor=0.25, out_strides=(4,))
DEEP = dict(type='MobileNetV2', widen_factor=0.25, out_strides=(32,))
HEATMAP, SIMCC = dict(type='MSRAHeatmap', input_size=(64, 64)), dict(type='SimCC', input_size=(64, 64))
REGRESSION, RLE = dict(type='Regression', input_size=(64, 64)), dict(type='RLERegression', input_size=(64, 64))
UDP = dict(type='UDPCombined', input_size=(64, 64), radius_factor=0.1)
CPM = dict(type='CPMHeatmap', input_size=(64, 64), stride=4)
INTEGRAL = dict(type='Integral', input_size=(64, 64), stride=16)
PYRAMID = {**BACKBONE, 'out_strides': (4, 8, 16, 32)}
HEADS = {
    'HeatmapHead': (HEATMAP, BACKBONE, dict(type='HeatmapHead')),
    'HeatmapHead with offsets': (UDP, BACKBONE, dict(type='HeatmapHead', conv_layers=((1, 20),))),
    'SimpleHead': (HEATMAP, DEEP, dict(type='SimpleHead')),
    'DeconvHead': (HEATMAP, DEEP, dict(type='DeconvHead', deconv_out_channels=(8, 8, 8))),
    'HourglassHead': (HEATMAP, BACKBONE, dict(type='HourglassHead', num_stacks=2, channels=8, depth=1)),
    'CPMHead': (
        CPM, BACKBONE, dict(type='CPMHead', num_stages=3, first_layers=((1, 8),), context_layers=((3, 8), (1, 8)))
    ),
    'CPMHead, heatmaps first': (
        CPM, BACKBONE, dict(type='CPMHead', num_stages=2, heatmaps_first=True, context_layers=((3, 8),))
    ),
    'SimCCHead': (SIMCC, DEEP, dict(type='SimCCHead', deconv_out_channels=(8, 8, 8))),
    'RTMCCHead': (SIMCC, DEEP, dict(type='RTMCCHead')),
    'RegressionHead': (REGRESSION, DEEP, dict(type='RegressionHead')),
    'RLEHead': (RLE, DEEP, dict(type='RLEHead')),
    'CPNHead': (HEATMAP, PYRAMID, dict(type='CPNHead', channels=8)),
    'IntegralHead': (INTEGRAL, DEEP, dict(type='IntegralHead', deconv_out_channels=8)),
    'IntegralHead of points': (REGRESSION, DEEP, dict(type='IntegralHead')),
}  # fmt: skip
DENSE, TWO_LEVELS = dict(type='DenseInstances', input_size=(64, 64)), {**DEEP, 'out_strides': (16, 32)}
NECK = dict(type='HybridEncoder', hidden_dim=16)
ONE_STAGE_HEADS = {
    'YOLOXPoseHead': dict(type='YOLOXPoseHead', feat_channels=8),
    'RTMOHead': dict(type='RTMOHead', pose_channels=16, dcc=dict(feat_channels=8, num_bins=(8, 8))),
}


def build(name, keypoints, pairs=PAIRS):
    if name in ONE_STAGE_HEADS:
        parts = dict(type='OneStage', codec=DENSE, backbone=TWO_LEVELS, neck=NECK, head=ONE_STAGE_HEADS[name])
    else:
        parts = dict(zip(('codec', 'backbone', 'head'), HEADS[name], strict=True), type='TopDown')
    kept = [pair for pair in pairs if set(pair) <= set(keypoints)]
    sigmas = (0.05,) * len(keypoints)
    skeleton = Skeleton('own', tuple(keypoints), flip_pairs=tuple(kept), sigmas=sigmas)
    model = build_model(dict(skeleton=skeleton, model=parts))
    for parameter in model.parameters():  # nothing is 0 or the same by initialization
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def predict(model):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        return model.network(images)


@pytest.mark.parametrize('name', HEADS)
def test_a_mapped_model_predicts_each_keypoint_as_before(name):
    source, target = build(name, KEYPOINTS), build(name, KEYPOINTS[::-1])
    target.load_state_dict(target.map_keypoint_weights(source.state_dict(), KEYPOINTS).state_dict)
    names, target_names = (model.codec.name_channels(model.skeleton.keypoints) for model in (source, target))
    for before, after in zip(predict(source), predict(target), strict=True):
        for field, values in before.items():
            order = [names[field].index(label) for label in target_names[field]]
            torch.testing.assert_close(after[field], values[:, order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ONE_STAGE_HEADS)
def test_a_mapped_one_stage_model_predicts_each_keypoint_as_before(name):
    source, target = build(name, KEYPOINTS), build(name, KEYPOINTS[::-1])
    target.load_state_dict(target.map_keypoint_weights(source.state_dict(), KEYPOINTS).state_dict)
    (before,), (after,) = predict(source.train()), predict(target.train())  # proxies are predicted in training alone
    for field in ('proxy', 'visible'):
        torch.testing.assert_close(after[field], before[field].flip(2), rtol=1e-4, atol=1e-4)
    (before,), (after,) = predict(source.eval()), predict(target.eval())
    cells = {field: before[field][0] for field in before if field not in ('points', 'strides')}
    cells |= {field: before[field] for field in ('points', 'strides')}
    keypoints = source.network.head.decode_keypoints(cells)
    cells |= {field: after[field][0] for field in ('proxy', 'vector') if field in after}
    torch.testing.assert_close(target.network.head.decode_keypoints(cells), keypoints.flip(1), rtol=1e-4, atol=1e-3)


def test_a_model_of_several_heads_is_refused_by_name():
    codec, backbone, head = HEADS['HeatmapHead']
    decoders = {name: dict(skeleton=name, sources=[name]) for name in ('lsp', 'mpii')}
    parts = dict(type='MultiTopDown', codec=codec, backbone=backbone, head=head, decoders=decoders)
    model = build_model(dict(skeleton='lsp+mpii', model=parts))
    with pytest.raises(CheckpointError, match='this model has a head per data set'):
        model.map_keypoint_weights(model.state_dict(), KEYPOINTS)


@pytest.mark.parametrize('name', ['HeatmapHead', 'CPMHead', 'RTMCCHead', 'RLEHead', 'HourglassHead'])
def test_new_keypoints_have_the_weights_of_the_model_and_known_ones_those_of_the_file(name):
    source, target = build(name, KEYPOINTS), build(name, ('tail', 'right_hand', 'Nose'))
    before = target.state_dict()
    mapping = target.map_keypoint_weights(source.state_dict(), KEYPOINTS)
    assert mapping.missing == ['tail']
    for tensor in mapping.mapped:
        assert mapping.state_dict[tensor].shape == before[tensor].shape
    last = max(n for n in mapping.mapped if n.endswith('bias') and mapping.state_dict[n].shape[0] < 20)
    per_keypoint = len(source.state_dict()[last]) // (len(KEYPOINTS) + (name == 'CPMHead'))
    new, old, own = mapping.state_dict[last], source.state_dict()[last], before[last]
    assert new[:per_keypoint].equal(own[:per_keypoint])
    assert new[per_keypoint : 2 * per_keypoint].equal(old[2 * per_keypoint : 3 * per_keypoint])
    assert new[2 * per_keypoint : 3 * per_keypoint].equal(old[:per_keypoint])


def test_a_head_of_other_layers_is_an_error():
    source, target = build('HeatmapHead with offsets', KEYPOINTS), build('HeatmapHead', KEYPOINTS)
    with pytest.raises(
        CheckpointError, match='head.predict.heatmap.weight: .* which differ by more than the keypoints'
    ):
        target.map_keypoint_weights(source.state_dict(), KEYPOINTS)
    source = build('CPMHead', KEYPOINTS)
    with pytest.raises(CheckpointError, match='is not in the file or not in the model: they have other heads'):
        target.map_keypoint_weights(source.state_dict(), KEYPOINTS)


def test_a_head_that_does_not_name_its_channels_is_an_error():
    target = build('HeatmapHead', KEYPOINTS)
    target.network.head.list_field_axes = list
    with pytest.raises(
        CheckpointError, match='HeatmapHead does not say which of its channels belong to which keypoint'
    ):
        target.map_keypoint_weights(target.state_dict(), KEYPOINTS)


def test_limb_fields_cannot_be_taken_by_keypoint():
    from poseplug.registry import CODECS
    from poseplug.registry.skeletons import get_skeleton

    codec = CODECS.build(dict(type='PAF', input_size=(64, 64)), skeleton=get_skeleton('coco18'))
    with pytest.raises(ConfigError, match='the channels of limb fields cannot be taken by the names of keypoints'):
        codec.name_channels(KEYPOINTS)
