"""Foreign weights: how names are converted, and what is refused. Small networks; the published names are golden."""

import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from poseplug.config.build import build_model
from poseplug.core.errors import CheckpointError, ConfigError, UnsafeFileError
from poseplug.files.weights import load_weights, read_weight_metadata
from poseplug.predict.predictor import Predictor
from poseplug.registry.skeletons import get_skeleton
from poseplug.zoo.foreign_checkpoint import IGNORED_GLOBALS, read_dataset_meta, read_foreign_checkpoint
from poseplug.zoo.mmpose import convert_checkpoint, convert_state_dict, write_conversion_report
from poseplug.zoo.mmpose_layouts import detect_layout

KEYS = Path(os.environ.get('POSEPLUG_GOLDEN', Path(__file__).parents[3] / 'shared/golden')) / 'mmpose_keys'
HRNET = dict(type='HRNet', width=4, num_modules=(1, 1, 1), num_blocks=1)
RESNET = dict(type='ResNet', depth=18)
CSPNEXT = dict(type='CSPNeXt', widen_factor=0.125, deepen_factor=0.33, out_strides=(32,))
BIN_HEADS = ('SimCCHead', 'RTMCCHead')
VIT = dict(type='ViT', embed_dim=16, depth=2, num_heads=2, input_size=(64, 64))
TO_MMPOSE = (
    (r'head\.predict\.heatmap\.', 'head.final_layer.'),
    (r'head\.deconvs\.', 'head.deconv_layers.'),
    (r'backbone\.blocks\.(\d+)\.norm', r'backbone.layers.\1.ln'),
    (r'backbone\.blocks\.(\d+)\.attn', r'backbone.layers.\1.attn'),
    (r'backbone\.blocks\.(\d+)\.mlp\.fc1', r'backbone.layers.\1.ffn.layers.0.0'),
    (r'backbone\.blocks\.(\d+)\.mlp\.fc2', r'backbone.layers.\1.ffn.layers.1'),
    (r'backbone\.norm', 'backbone.ln1'),
    (r'backbone\.patch_embed\.proj\.', 'backbone.patch_embed.projection.'),
)
TO_SIMCC = (
    (r'head\.deconvs\.', 'head.deconv_head.deconv_layers.'),
    (r'head\.maps\.', 'head.deconv_head.final_layer.'),
    (r'head\.bins\.([xy])', r'head.mlp_head_\1'),
)
TO_RTMPOSE = (
    (r'head\.maps\.', 'head.final_layer.'),
    (r'head\.tokens', 'head.mlp'),
    (r'head\.attention\.shortcut', 'head.gau.res_scale.scale'),
    (r'head\.attention', 'head.gau'),
    (r'head\.bins\.([xy])', r'head.cls_\1'),
)
TO_OFFICIAL = (
    (r'head\.predict\.heatmap\.', 'final_layer.'),
    (r'head\.deconvs\.', 'deconv_layers.'),
    (r'backbone\.', ''),
)
TO_VITPOSE = (
    (r'head\.predict\.heatmap\.', 'keypoint_head.final_layer.'),
    (r'head\.deconvs\.', 'keypoint_head.deconv_layers.'),
    (r'backbone\.norm', 'backbone.last_norm'),
)


def build_config(backbone: dict, head: str, codec: str = '', size: tuple[int, int] = (64, 64)) -> dict:
    codec = codec or ('SimCC' if head in BIN_HEADS else 'Heatmap')
    codec_spec = dict(type=codec, input_size=size) | (dict(radius_factor=0.2) if codec == 'UDPCombined' else {})
    loss = dict(type='KLDivergence' if head in BIN_HEADS else 'MeanSquaredError')
    estimator = 'BottomUp' if codec == 'Tags' else 'TopDown'
    return dict(
        skeleton='coco',
        model=dict(type=estimator, codec=codec_spec, backbone=backbone, head=dict(type=head), loss=loss),
    )


def random_model(*args, **settings) -> torch.nn.Module:
    """A model without two equal tensors."""
    model, generator = build_model(build_config(*args, **settings)), torch.Generator().manual_seed(0)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator))
    return model


def to_foreign(model: torch.nn.Module, rules=TO_MMPOSE) -> dict[str, torch.Tensor]:
    """A model's weights under foreign names, by the inverse of the rules."""
    state = {}
    for name, value in model.state_dict().items():
        foreign_name = next((re.sub(p, r, name) for p, r in rules if re.match(p, name)), name)
        state[foreign_name] = value.clone()
    return state


def are_equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize(
    ('backbone', 'head', 'rules', 'layout'),
    [
        (HRNET, 'HeatmapHead', TO_MMPOSE, "MMPose's ResNet, HRNet or CSPNeXt"),
        (RESNET, 'DeconvHead', TO_MMPOSE, "MMPose's ResNet, HRNet or CSPNeXt"),
        (VIT, 'DeconvHead', TO_MMPOSE, "MMPose 1.x's ViT"),
        (RESNET, 'SimCCHead', TO_SIMCC, "MMPose's SimCC or RTMPose"),
        (CSPNEXT, 'RTMCCHead', TO_RTMPOSE, "MMPose's SimCC or RTMPose"),
        (HRNET, 'HeatmapHead', TO_OFFICIAL, 'the official HRNet or SimpleBaseline'),
        (RESNET, 'DeconvHead', TO_OFFICIAL, 'the official HRNet or SimpleBaseline'),
        (VIT, 'DeconvHead', TO_VITPOSE, 'the official ViTPose'),
        (VIT, 'SimpleHead', TO_VITPOSE, 'the official ViTPose'),
    ],
)
def test_weights_under_foreign_names_are_restored(backbone, head, rules, layout):
    model = random_model(backbone, head)
    weights = to_foreign(model, rules)
    state, report = convert_state_dict(build_model(build_config(backbone, head)), weights)
    assert are_equal(state, model.state_dict())
    assert report.layout == layout
    assert [entry.name for entry in report.entries] == [*weights]
    assert not any(entry.reason for entry in report.entries)


@pytest.mark.parametrize(
    ('pattern', 'backbone', 'head'),
    [
        ('hrnet_w32_*', dict(type='HRNet', width=32), 'HeatmapHead'),
        ('res50_*', dict(type='ResNet', depth=50), 'DeconvHead'),
        ('simcc_res50_*', dict(type='ResNet', depth=50), 'SimCCHead'),
        ('rtmpose_s_*', dict(type='CSPNeXt', widen_factor=0.5, deepen_factor=0.33, out_strides=(32,)), 'RTMCCHead'),
        ('vitpose_small_*', dict(type='ViT', arch='S', input_size=(192, 256)), 'DeconvHead'),
    ],
)
def test_published_names_and_shapes_fill_the_whole_model(pattern, backbone, head):
    files = sorted(KEYS.glob(f'{pattern}.json'))
    if not files:
        pytest.skip(f'no names {pattern}.json in {KEYS}; name the folder of golden numbers by POSEPLUG_GOLDEN')
    for file in files:
        with torch.device('meta'):
            model = build_model(build_config(backbone, head, size=(192, 256)))
            weights = {name: torch.empty(shape) for name, shape in json.loads(file.read_text()).items()}
        state, report = convert_state_dict(model, weights, file)
        assert {n: v.shape for n, v in state.items()} == {n: v.shape for n, v in model.state_dict().items()}
        assert sorted(entry.name for entry in report.entries) == sorted(weights)


def test_disks_and_offsets_are_split_by_keypoint():
    model = random_model(HRNET, 'HeatmapHead', 'UDPCombined')
    weights = to_foreign(random_model(HRNET, 'HeatmapHead'))
    weights['head.final_layer.weight'] = torch.arange(51.0).view(51, 1, 1, 1).expand(51, 4, 1, 1).clone()
    weights['head.final_layer.bias'] = torch.arange(51.0)
    state, report = convert_state_dict(model, weights)
    assert state['head.predict.heatmap.bias'].tolist() == [3 * k for k in range(17)]
    assert state['head.predict.offset.bias'].tolist() == [3 * k + i for k in range(17) for i in (1, 2)]
    assert state['head.predict.offset.weight'][:, 0, 0, 0].tolist() == state['head.predict.offset.bias'].tolist()
    entry = next(entry for entry in report.entries if entry.name == 'head.final_layer.bias')
    assert entry.targets == ['head.predict.heatmap.bias', 'head.predict.offset.bias']
    weights['head.final_layer.bias'] = torch.arange(17.0)
    with pytest.raises(CheckpointError, match='17 channels, not three per keypoint; set model.codec to UDPHeatmap'):
        convert_state_dict(model, weights)


def test_heatmaps_and_tags_are_the_halves_of_one_convolution():
    model = random_model(HRNET, 'HeatmapHead', 'Tags')
    weights = to_foreign(random_model(HRNET, 'HeatmapHead'))
    weights['head.final_layer.weight'] = torch.arange(34.0).view(34, 1, 1, 1).expand(34, 4, 1, 1).clone()
    weights['head.final_layer.bias'] = torch.arange(34.0)
    state, report = convert_state_dict(model, weights)
    assert state['head.predict.heatmap.bias'].tolist() == [*range(17)]
    assert state['head.predict.tags.bias'].tolist() == [*range(17, 34)]
    assert state['head.predict.tags.weight'][:, 0, 0, 0].tolist() == state['head.predict.tags.bias'].tolist()
    entry = next(entry for entry in report.entries if entry.name == 'head.final_layer.bias')
    assert entry.targets == ['head.predict.heatmap.bias', 'head.predict.tags.bias']
    weights['head.final_layer.bias'] = torch.arange(28.0)
    with pytest.raises(CheckpointError, match='28 channels, .* 17 for heatmaps and 17 for tags; take the skeleton'):
        convert_state_dict(model, weights)


def test_a_position_embedding_of_another_input_and_with_a_class_token_is_adapted():
    model = random_model(VIT, 'DeconvHead')
    weights = to_foreign(model, TO_VITPOSE)
    weights['backbone.pos_embed'] = torch.cat([torch.full((1, 1, 16), 2.0), torch.ones(1, 8 * 8, 16)], dim=1)
    state, _ = convert_state_dict(model, weights)
    torch.testing.assert_close(state['backbone.pos_embed'], torch.full((1, 16, 16), 3.0))


def test_the_report_lists_ignored_names_and_filled_tensors():
    model = random_model(RESNET, 'DeconvHead')
    weights = {f'module.{n}': v for n, v in to_foreign(model).items() if not n.endswith('num_batches_tracked')}
    weights['module.data_preprocessor.mean'] = torch.zeros(3, 1, 1)
    state, report = convert_state_dict(model, weights)
    assert are_equal(state, model.state_dict())
    entries = {entry.name: entry for entry in report.entries if entry.reason}
    assert str(entries['data_preprocessor.mean']).endswith(
        "ignored (images are normalized by the config's model.input_norm)"
    )
    counters = [entry.targets[0] for entry in report.entries if not entry.name]
    assert counters == [n for n in model.state_dict() if n.endswith('num_batches_tracked')]
    assert f'{len(weights)} read, 1 ignored; {len(model.state_dict())} tensors filled' in str(report)


def test_the_second_copy_of_weights_of_mmcv_1_is_ignored():
    model = random_model(HRNET, 'HeatmapHead')
    weights = to_foreign(model)
    weights |= {f'ema_{name.replace(".", "_")}': torch.zeros_like(value) for name, value in weights.items()}
    state, report = convert_state_dict(model, weights)
    assert are_equal(state, model.state_dict())
    assert sum('mmcv 1' in entry.reason for entry in report.entries) == len(weights) / 2


def change_state(state: dict, **changes) -> dict:
    """The state with names (written with `__` for dots) set to a tensor, or removed by None."""
    changes = {n.replace('__', '.'): v for n, v in changes.items()}
    return {n: v for n, v in {**state, **changes}.items() if v is not None}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(backbone__conv7__weight=torch.zeros(1)), r"backbone\.conv7\.weight.*closest: 'backbone\.conv1\.weight'"),
        (dict(head__deconv_layers__9__weight=torch.zeros(1)), r'deconv_layers\.9\.weight \(here: head\.deconvs\.9\.'),
        (dict(backbone__bn1__weight=None), r'1 missing \(first: backbone\.bn1\.weight\)'),
        (dict(backbone__bn1__bias=torch.zeros(3)), r'backbone\.bn1\.bias: \(3,\) in the file, \(64,\) in the model'),
        (dict(keypoint_head__final_layer__bias=torch.zeros(17)), r'head\.predict\.heatmap\.bias twice'),
    ],
)
def test_unknown_and_missing_names_and_other_shapes_are_refused(changes, message):
    model = random_model(RESNET, 'DeconvHead')
    with pytest.raises(CheckpointError, match=message):
        convert_state_dict(model, change_state(to_foreign(model), **changes))


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('associate_keypoint_heads.0.final_layer.bias', r'ViTPose\+ with its experts, whose names are not mapped yet'),
        ('encoder.weight', r'names \(first: encoder\.weight\) of no known kind; known: MMPose 1\.x'),
    ],
)
def test_other_networks_are_refused_by_name(name, message):
    with pytest.raises(CheckpointError, match=message):
        detect_layout({name: torch.zeros(1)})


@pytest.fixture
def foreign_file(tmp_path) -> Path:
    """A checkpoint as MMEngine's runner writes it: its log and NumPy objects beside the weights."""
    from mmengine.logging import HistoryBuffer

    weights = to_foreign(random_model(RESNET, 'DeconvHead'))
    log = dict(loss=HistoryBuffer([np.float64(1.0), 2.0], [1, 1]))
    meta = dict(epoch=1, best=np.float64(0.5), sigmas=np.ones(17, np.float32))
    torch.save(dict(meta=meta, state_dict=weights, message_hub=log, optimizer={}), tmp_path / 'epoch_1.pth')
    return tmp_path / 'epoch_1.pth'


def test_objects_beside_the_weights_are_ignored_in_a_trusted_file(foreign_file):
    with pytest.raises(UnsafeFileError, match=r'epoch_1\.pth keeps more than weights.*add --trust'):
        read_foreign_checkpoint(foreign_file)
    content = read_foreign_checkpoint(foreign_file, trust=True)
    assert are_equal(content['state_dict'], to_foreign(random_model(RESNET, 'DeconvHead')))
    assert type(content['message_hub']['loss']).__name__ == 'IgnoredObject'


class Bomb:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.parametrize('trust', [False, True])
def test_a_file_that_would_run_code_is_refused_even_if_trusted(tmp_path, trust):
    torch.save(dict(state_dict={'conv1.weight': torch.ones(1)}, meta=Bomb()), tmp_path / 'bomb.pth')
    with pytest.raises(UnsafeFileError, match=r'asks for posix\.system, which could run code'):
        read_foreign_checkpoint(tmp_path / 'bomb.pth', trust)


def test_before_torch_2_10_a_foreign_file_is_refused_unless_trusted(foreign_file, monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.9.1+cpu')
    with pytest.raises(UnsafeFileError, match=r'epoch_1\.pth is foreign, and PyTorch 2\.9\.1\+cpu .* torch>=2\.10'):
        read_foreign_checkpoint(foreign_file)
    assert read_foreign_checkpoint(foreign_file, trust=True)['state_dict']


def test_at_most_eight_names_are_ignored():
    assert len(IGNORED_GLOBALS) <= 8


def test_a_file_without_weights_is_refused(tmp_path):
    torch.save(dict(state_dict=dict(conv1=[1, 2])), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=r'x\.pth has no weights'):
        read_foreign_checkpoint(tmp_path / 'x.pth')


def test_weights_that_could_not_be_used_are_not_converted(tmp_path):
    weights, out = to_foreign(random_model(HRNET, 'HeatmapHead')), tmp_path / 'ours.safetensors'
    cfg, name = build_config(HRNET, 'HeatmapHead'), 'backbone.conv2.weight'
    torch.save({**weights, 'backbone.bn1.bias': torch.full((64,), torch.nan)}, tmp_path / 'nan.pth')
    with pytest.raises(CheckpointError, match=r'nan\.pth: 1 of \d+ tensors .* not finite'):
        convert_checkpoint(tmp_path / 'nan.pth', cfg, out)
    with warnings.catch_warnings():  # of torch, which deprecates what older files have
        warnings.simplefilter('ignore')
        torch.save({**weights, name: torch.quantize_per_tensor(weights[name], 0.1, 0, torch.qint8)}, tmp_path / 'q.pth')
        with pytest.raises(CheckpointError, match=rf'q\.pth: 1 of \d+ tensors are quantized \(first: {name}\)'):
            convert_checkpoint(tmp_path / 'q.pth', cfg, out)
    assert not out.exists()


def test_a_folder_of_the_hub_is_its_file_of_weights(tmp_path):
    weights = {name: value.contiguous() for name, value in to_foreign(random_model(HRNET, 'HeatmapHead')).items()}
    with pytest.raises(CheckpointError, match=r'is a folder without model\.safetensors or pytorch_model\.bin'):
        read_foreign_checkpoint(tmp_path)
    save_file(weights, tmp_path / 'model.safetensors')
    assert are_equal(read_foreign_checkpoint(tmp_path)['state_dict'], weights)


def test_a_second_set_of_weights_is_reported(tmp_path):
    weights = to_foreign(random_model(HRNET, 'HeatmapHead'))
    torch.save(dict(state_dict=weights, state_dict_ema=weights, epoch=3), tmp_path / 'two.pth')
    report = convert_checkpoint(tmp_path / 'two.pth', build_config(HRNET, 'HeatmapHead'), tmp_path / 'a.safetensors')
    reasons = {entry.name: entry.reason for entry in report.entries if not entry.targets}
    assert reasons == dict(state_dict_ema='a second set of weights', epoch='not weights')


def test_a_converted_file_fits_the_model_and_its_report_has_every_name(foreign_file, tmp_path):
    cfg, out = build_config(RESNET, 'DeconvHead'), tmp_path / 'ours.safetensors'
    report = convert_checkpoint(foreign_file, cfg, out, trust=True)
    model = build_model(cfg)
    load_weights(model, out)
    assert are_equal(model.state_dict(), random_model(RESNET, 'DeconvHead').state_dict())
    assert are_equal(load_file(out), model.state_dict())
    write_conversion_report(report, tmp_path / 'report.json')
    content = json.loads((tmp_path / 'report.json').read_text())
    targets = {entry['name']: entry['targets'] for entry in content['entries']}
    assert targets['backbone.conv1.weight'] == ['backbone.conv1.weight']
    assert {name for name in targets if not targets[name]} == {'meta', 'message_hub', 'optimizer'}
    assert (content['out_file'], len(content['sha256'])) == (str(out), 64)


@pytest.mark.parametrize(
    ('backbone', 'head', 'codec', 'rules', 'match', 'crop_rule'),
    [
        (HRNET, 'HeatmapHead', 'Heatmap', TO_MMPOSE, 'mmpose', 'released_hrnet'),
        (HRNET, 'HeatmapHead', 'MSRAHeatmap', TO_OFFICIAL, 'official', 'released_hrnet'),
        (VIT, 'DeconvHead', 'UDPHeatmap', TO_VITPOSE, 'mmpose', 'released_udp'),
        (CSPNEXT, 'RTMCCHead', 'SimCC', TO_RTMPOSE, 'mmpose', 'released_hrnet'),
    ],
)
def test_converted_weights_are_used_by_the_conventions_of_their_code(
    tmp_path, backbone, head, codec, rules, match, crop_rule
):
    """load_model sets the codec, and the predictor crops by its rule, around black."""
    model, cfg = random_model(backbone, head, codec), build_config(backbone, head, codec)
    torch.save(dict(state_dict=to_foreign(model, rules)), tmp_path / 'theirs.pth')
    report = convert_checkpoint(tmp_path / 'theirs.pth', cfg, tmp_path / 'ours.safetensors')
    assert report.match == match
    assert str(report).endswith(f'used with match={match!r}')
    cfg['test_dataloader'] = dict(dataset=dict(pipeline=[dict(type='CropBox'), dict(type='Warp')]))
    predictor = Predictor(cfg, tmp_path / 'ours.safetensors', device='cpu')
    assert predictor.model.codec.match == match
    crop, warp = predictor._sample_builder.box_pipeline
    assert (crop.crop_rule, warp.fill_color) == (crop_rule, (0, 0, 0))


def test_weights_whose_codec_has_one_convention_name_none(tmp_path):
    cfg = build_config(HRNET, 'HeatmapHead', 'CPMHeatmap')
    cfg['model']['codec']['stride'] = 4
    torch.save(dict(state_dict=to_foreign(build_model(cfg))), tmp_path / 'theirs.pth')
    report = convert_checkpoint(tmp_path / 'theirs.pth', cfg, tmp_path / 'ours.safetensors')
    assert report.match == ''
    assert [*read_weight_metadata(tmp_path / 'ours.safetensors')] == ['skeleton']


def test_the_output_is_safetensors(tmp_path):
    with pytest.raises(ConfigError, match=r'name it ours\.safetensors'):
        convert_checkpoint(tmp_path / 'a.pth', {}, tmp_path / 'ours.pth')


def test_the_command_prints_one_line_per_name_and_the_sha256(command, foreign_file, tmp_path):
    out, settings = tmp_path / 'ours.safetensors', repr(build_config(RESNET, 'DeconvHead')['model'])
    (tmp_path / 'config.py').write_text(f"skeleton = 'coco'\nmodel = {settings}\n")
    arguments = (foreign_file, tmp_path / 'config.py', '--out', out)
    code, _, error = command('convert', *arguments)
    assert (code, out.exists()) == (2, False)
    assert 'UnsafeFileError' in error
    code, printed, _ = command('convert', *arguments, '--trust', '--report', tmp_path / 'report.json')
    assert code == 0
    lines = printed.splitlines()
    assert 'head.final_layer.bias (17,) -> head.predict.heatmap.bias' in lines
    content = json.loads((tmp_path / 'report.json').read_text())
    assert lines[-1] == f'{out}: sha256 {content["sha256"]}'
    assert len(lines) == len(content['entries']) + 2


# --- the keypoints that a file names ----------------------------------------------------------------------------------

AP10K = [
    'L_Eye',
    'R_Eye',
    'Nose',
    'Neck',
    'Root_of_tail',
    'L_Shoulder',
    'L_Elbow',
    'L_F_Paw',
    'R_Shoulder',
    'R_Elbow',
    'R_F_Paw',
    'L_Hip',
    'L_Knee',
    'L_B_Paw',
    'R_Hip',
    'R_Knee',
    'R_B_Paw',
]
POSETRACK = ('nose', 'head_bottom', 'head_top', *get_skeleton('coco').keypoints[3:])


def build_dataset_meta(keypoints, flip_indices=None):
    """What MMPose saves of a data set: plain names and indices, and arrays of NumPy."""
    names = dict(enumerate(keypoints))
    return dict(
        dataset_name='other', num_keypoints=len(names), keypoint_id2name=names, flip_indices=flip_indices,
        keypoint_colors=np.zeros((len(names), 3), np.uint8), sigmas=np.ones(len(names), np.float32),
    )  # fmt: skip


def save_with_meta(path, dataset_meta):
    weights = to_foreign(random_model(RESNET, 'DeconvHead'))
    torch.save(dict(meta=dict(dataset_meta=dataset_meta), state_dict=weights), path)
    return path


@pytest.mark.parametrize(('keypoints', 'message'), [
    (AP10K, 'keypoint 0 is left_eye in the file, nose in the config; keypoint 1 is right_eye'),
    (POSETRACK, 'keypoint 1 is head_bottom in the file, left_eye in the config; keypoint 2 is head_top'),
    (get_skeleton('coco').keypoints[::-1], 'keypoint 0 is right_ankle in the file, nose in the config'),
])  # fmt: skip
def test_a_file_of_other_keypoints_is_refused(tmp_path, keypoints, message):
    file = save_with_meta(tmp_path / 'other.pth', build_dataset_meta(keypoints))
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(file, build_config(RESNET, 'DeconvHead'), tmp_path / 'ours.safetensors', trust=True)
    assert not (tmp_path / 'ours.safetensors').exists()


def test_a_file_of_other_flip_pairs_is_refused(tmp_path):
    flips = get_skeleton('coco').flip_indices.tolist()
    file = save_with_meta(tmp_path / 'other.pth', build_dataset_meta(get_skeleton('coco').keypoints, [*range(17)]))
    with pytest.raises(
        CheckpointError, match='other flip pairs .* only in the file none, only in the config left_ankle'
    ):
        convert_checkpoint(file, build_config(RESNET, 'DeconvHead'), tmp_path / 'ours.safetensors', trust=True)
    save_with_meta(file, build_dataset_meta(get_skeleton('coco').keypoints, flips))
    convert_checkpoint(file, build_config(RESNET, 'DeconvHead'), tmp_path / 'ours.safetensors', trust=True)


def test_a_converted_file_carries_the_keypoints(tmp_path, caplog):
    file = save_with_meta(tmp_path / 'coco.pth', build_dataset_meta(get_skeleton('coco').keypoints))
    convert_checkpoint(file, build_config(RESNET, 'DeconvHead'), tmp_path / 'ours.safetensors', trust=True)
    load_weights(build_model(build_config(RESNET, 'DeconvHead')), tmp_path / 'ours.safetensors')
    assert not caplog.records


def test_a_file_of_another_order_is_taken_by_name_where_asked(tmp_path):
    keypoints, cfg = get_skeleton('coco').keypoints, build_config(RESNET, 'DeconvHead')
    file = save_with_meta(tmp_path / 'reversed.pth', build_dataset_meta(keypoints[::-1]))
    convert_checkpoint(file, cfg, tmp_path / 'ours.safetensors', trust=True, map_keypoints=True)
    bias = random_model(RESNET, 'DeconvHead').state_dict()['head.predict.heatmap.bias']
    assert load_file(tmp_path / 'ours.safetensors')['head.predict.heatmap.bias'].equal(bias.flip(0))
    save_with_meta(file, build_dataset_meta(POSETRACK))
    with pytest.raises(CheckpointError, match="lacks 2 keypoints of the skeleton 'coco': left_eye, right_eye"):
        convert_checkpoint(file, cfg, tmp_path / 'ours.safetensors', trust=True, map_keypoints=True)


def test_names_of_mpii_and_crowdpose_are_those_of_ours():
    mpii = ['upper_neck' if name == 'neck' else name for name in get_skeleton('mpii').keypoints]
    crowdpose = ['top_head' if name == 'head_top' else name for name in get_skeleton('crowdpose').keypoints]
    for name, keypoints in (('mpii', mpii), ('crowdpose', crowdpose)):
        record = read_dataset_meta(dict(dataset_meta=build_dataset_meta(keypoints)))
        assert record.keypoints == get_skeleton(name).keypoints
    assert read_dataset_meta(dict(epoch=1)) is None
    assert read_dataset_meta('text') is None
