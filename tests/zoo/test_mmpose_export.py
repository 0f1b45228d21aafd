"""Checkpoints for MMPose: their names and shapes are the published ones, and they convert back to the same weights."""

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.inspect.complexity import build_on_meta_device
from poseplug.skeletons.coco import COCO
from poseplug.zoo import mmpose_export
from poseplug.zoo.foreign_checkpoint import read_dataset_meta
from poseplug.zoo.index import find_published_model
from poseplug.zoo.mmpose import convert_checkpoint
from poseplug.zoo.mmpose_export import create_dataset_meta, export_mmpose_checkpoint, export_state_dict
from poseplug.zoo.name_rules import invert_rules, rename_by_rules
from poseplug.zoo.published_models import load_published_config
from tests.zoo.test_index import find_shapes

# One of each family whose names differ; those of the same names are exported by the same rules.
EXPORTED = (
    'rtmpose-t', 'simcc-mobilenetv2-wo-deconv', 'vitpose-s', 'vitpose-s-simple', 'simplebaseline-r50', 'rtmo-t',
    'swin-t', 'pvtv2-b2', 'litehrnet-18', 'vgg16-bn', 'rtmw-m', 'yoloxpose-tiny',
)  # fmt: skip
SLOW = ('hrnet-w32', 'hrnet-w32-udp-regress', 'ae-hrnet-w32', 'simcc-r50', 'rsn18', 'mspn50', 'hrformer-small', 'cpm')


@pytest.fixture
def _meta_tensors(monkeypatch):
    """Tensors without values are equal if their shapes are; initial values are not drawn."""
    for name in ('normal_', 'uniform_'):
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(mmpose_export.torch, 'equal', lambda a, b: a.shape == b.shape)


def check_published_names(name: str) -> None:
    """MMPose loads with strict=True what has exactly the names, shapes and types of its own model."""
    published = find_shapes(find_published_model(name))
    assert published
    state, _ = export_state_dict(build_on_meta_device(load_published_config(name)))
    given = {key: [[*value.shape], str(value.dtype).removeprefix('torch.')] for key, value in state.items()}
    assert given == published


@pytest.mark.usefixtures('_meta_tensors')
@pytest.mark.parametrize('name', EXPORTED)
def test_an_export_has_the_names_that_mmpose_loads(name):
    check_published_names(name)


@pytest.mark.slow
@pytest.mark.usefixtures('_meta_tensors')
@pytest.mark.parametrize('name', SLOW)
def test_an_export_of_a_large_network_has_the_names_that_mmpose_loads(name):
    check_published_names(name)


@pytest.fixture
def udp_config():
    """A small network with UDP's offsets, whose channels MMPose predicts by one layer."""
    options = {
        'model.backbone.depth': 18,
        'model.codec': dict(type='UDPCombined', input_size=(96, 128)),
    }
    return load_config('simple_baseline_r50_coco_256x192', options)


def test_an_export_converts_back_to_the_same_weights(udp_config, tmp_path):
    model = build_model(udp_config)
    out = tmp_path / 'mmpose.pth'
    assert export_mmpose_checkpoint(model, tmp_path / 'weights.pth', out) == "MMPose's ResNet, HRNet or CSPNeXt"
    content = torch.load(out, weights_only=True)
    assert len(content['state_dict']['head.final_layer.weight']) == 3 * len(COCO)
    convert_checkpoint(out, udp_config, tmp_path / 'back.safetensors')
    from safetensors.torch import load_file

    back = load_file(tmp_path / 'back.safetensors')
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def test_the_channels_of_udp_are_class_x_and_y_by_keypoint(udp_config):
    model = build_model(udp_config)
    joined = export_state_dict(model)[0]['head.final_layer.bias']
    heatmap, offset = (model.state_dict()[f'head.predict.{field}.bias'] for field in ('heatmap', 'offset'))
    assert torch.equal(joined[3:6], torch.cat([heatmap[1:2], offset[2:4]]))


def test_the_metadata_name_the_keypoints_and_their_flips():
    record = read_dataset_meta({'dataset_meta': create_dataset_meta(COCO)})
    assert record.keypoints == COCO.keypoints
    assert {frozenset(pair) for pair in record.flip_pairs} == {frozenset(pair) for pair in COCO.flip_pairs}
    assert record.sigmas == pytest.approx(COCO.sigmas)


def test_what_mmpose_lacks_is_refused(tmp_path):
    model = build_on_meta_device(load_config('openpose_vgg19_coco18_368'))
    with pytest.raises(CheckpointError, match=r'weights\.pth: MMPose has no network of these parts'):
        export_state_dict(model, 'weights.pth')
    with pytest.raises(ConfigError, match=r'a \.pth file; name it out\.pth'):
        export_mmpose_checkpoint(model, tmp_path / 'weights.pth', tmp_path / 'out.safetensors')


def test_windows_have_the_indices_of_their_pairs_of_cells():
    index = mmpose_export._index_window_pairs(2)
    # offsets (dy, dx) of -1..1 are numbered row by row; cell 0 is the first of the window, and 3 the last
    assert index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_rules_apply_in_both_directions():
    rules = ((r'a\.(?:keypoint_)?head\.([xy])\.(\d+)\.(.+)', r'b.\2.\1.\3'), (r'(a\..+)', r'\1'))
    assert rename_by_rules('a.head.x.3.weight', rules) == ['b.3.x.weight', 'a.head.x.3.weight']
    first, second = invert_rules(rules)
    assert first.list_sources('b.3.x.weight') == ['a.head.x.3.weight', 'a.keypoint_head.x.3.weight']
    assert second.list_sources('b.3.x.weight') == []
