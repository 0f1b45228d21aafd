"""Foreign weights: which names become which, and what is refused. Small networks; the published names are golden."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from poseplug.build import build_model
from poseplug.compat.mmpose import BESIDE_WEIGHTS, convert, converted, layout_of, read, write_report
from poseplug.engine.checkpoint import load_weights
from poseplug.errors import CheckpointError, ConfigError, UnsafeFileError

KEYS = Path(os.environ.get('POSEPLUG_GOLDEN', Path(__file__).parents[3] / 'shared/golden')) / 'mmpose_keys'
HRNET = dict(type='HRNet', width=4, modules=(1, 1, 1), blocks=1)
RESNET = dict(type='ResNet', depth=18)
CSPNEXT = dict(type='CSPNeXt', widen=0.125, deepen=0.33, out_strides=(32,))
BINS = ('SimCCHead', 'RTMCCHead')
VIT = dict(type='ViT', dim=16, depth=2, heads=2, input_size=(64, 64))
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


def config(backbone: dict, head: str, codec: str = '', size: tuple[int, int] = (64, 64)) -> dict:
    codec = codec or ('SimCC' if head in BINS else 'Heatmap')
    codec_spec = dict(type=codec, input_size=size) | (dict(radius=0.2) if codec == 'UDPCombined' else {})
    loss = dict(type='KLDivergence' if head in BINS else 'MeanSquaredError')
    frame = 'BottomUp' if codec == 'Tags' else 'TopDown'
    return dict(
        skeleton='coco',
        model=dict(type=frame, codec=codec_spec, backbone=backbone, head=dict(type=head), loss=loss),
    )


def random_model(*args, **settings) -> torch.nn.Module:
    """A model of which no two tensors are alike."""
    model, chance = build_model(config(*args, **settings)), torch.Generator().manual_seed(0)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=chance))
    return model


def foreign(model: torch.nn.Module, rules=TO_MMPOSE) -> dict[str, torch.Tensor]:
    """A model's weights under foreign names, by the rules written here the other way round."""
    state = {}
    for name, value in model.state_dict().items():
        to = next((re.sub(p, r, name) for p, r in rules if re.match(p, name)), name)
        state[to] = value.clone()
    return state


def equal(a: dict, b: dict) -> bool:
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
def test_weights_under_foreign_names_come_back_as_they_were(backbone, head, rules, layout):
    model = random_model(backbone, head)
    given = foreign(model, rules)
    state, report = converted(build_model(config(backbone, head)), given)
    assert equal(state, model.state_dict())
    assert report.layout == layout
    assert [line.name for line in report.lines] == [*given]
    assert not any(line.reason for line in report.lines)


@pytest.mark.parametrize(
    ('pattern', 'backbone', 'head'),
    [
        ('hrnet_w32_*', dict(type='HRNet', width=32), 'HeatmapHead'),
        ('res50_*', dict(type='ResNet', depth=50), 'DeconvHead'),
        ('simcc_res50_*', dict(type='ResNet', depth=50), 'SimCCHead'),
        ('rtmpose_s_*', dict(type='CSPNeXt', widen=0.5, deepen=0.33, out_strides=(32,)), 'RTMCCHead'),
        ('vitpose_small_*', dict(type='ViT', size='S', input_size=(192, 256)), 'DeconvHead'),
    ],
)
def test_published_names_and_shapes_fill_the_whole_model(pattern, backbone, head):
    files = sorted(KEYS.glob(f'{pattern}.json'))
    if not files:
        pytest.skip(f'no names {pattern}.json in {KEYS}; name the folder of golden numbers by POSEPLUG_GOLDEN')
    for file in files:
        with torch.device('meta'):
            model = build_model(config(backbone, head, size=(192, 256)))
            given = {name: torch.empty(shape) for name, shape in json.loads(file.read_text()).items()}
        state, report = converted(model, given, file)
        assert {n: v.shape for n, v in state.items()} == {n: v.shape for n, v in model.state_dict().items()}
        assert sorted(line.name for line in report.lines) == sorted(given)


def test_disks_and_ways_are_split_joint_by_joint():
    model = random_model(HRNET, 'HeatmapHead', 'UDPCombined')
    given = foreign(random_model(HRNET, 'HeatmapHead'))
    given['head.final_layer.weight'] = torch.arange(51.0).view(51, 1, 1, 1).expand(51, 4, 1, 1).clone()
    given['head.final_layer.bias'] = torch.arange(51.0)
    state, report = converted(model, given)
    assert state['head.predict.heatmap.bias'].tolist() == [3 * k for k in range(17)]
    assert state['head.predict.offset.bias'].tolist() == [3 * k + i for k in range(17) for i in (1, 2)]
    assert state['head.predict.offset.weight'][:, 0, 0, 0].tolist() == state['head.predict.offset.bias'].tolist()
    split = next(line for line in report.lines if line.name == 'head.final_layer.bias')
    assert split.to == ['head.predict.heatmap.bias', 'head.predict.offset.bias']
    given['head.final_layer.bias'] = torch.arange(17.0)
    with pytest.raises(CheckpointError, match='17 channels, not three a joint; set model.codec to UDPHeatmap'):
        converted(model, given)


def test_heatmaps_and_tags_are_the_halves_of_one_convolution():
    model = random_model(HRNET, 'HeatmapHead', 'Tags')
    given = foreign(random_model(HRNET, 'HeatmapHead'))
    given['head.final_layer.weight'] = torch.arange(34.0).view(34, 1, 1, 1).expand(34, 4, 1, 1).clone()
    given['head.final_layer.bias'] = torch.arange(34.0)
    state, report = converted(model, given)
    assert state['head.predict.heatmap.bias'].tolist() == [*range(17)]
    assert state['head.predict.tags.bias'].tolist() == [*range(17, 34)]
    assert state['head.predict.tags.weight'][:, 0, 0, 0].tolist() == state['head.predict.tags.bias'].tolist()
    assert next(line for line in report.lines if line.name == 'head.final_layer.bias').to == [
        'head.predict.heatmap.bias',
        'head.predict.tags.bias',
    ]
    given['head.final_layer.bias'] = torch.arange(28.0)
    with pytest.raises(CheckpointError, match='28 channels, .* 17 for heatmaps and 17 for tags; take the skeleton'):
        converted(model, given)


def test_a_position_embedding_of_another_input_and_with_a_class_slot_is_adapted():
    model = random_model(VIT, 'DeconvHead')
    given = foreign(model, TO_VITPOSE)
    given['backbone.pos_embed'] = torch.cat([torch.full((1, 1, 16), 2.0), torch.ones(1, 8 * 8, 16)], dim=1)
    state, _ = converted(model, given)
    torch.testing.assert_close(state['backbone.pos_embed'], torch.full((1, 16, 16), 3.0))


def test_what_is_left_out_and_what_is_filled_in_is_said():
    model = random_model(RESNET, 'DeconvHead')
    given = {f'module.{n}': v for n, v in foreign(model).items() if not n.endswith('num_batches_tracked')}
    given['module.data_preprocessor.mean'] = torch.zeros(3, 1, 1)
    state, report = converted(model, given)
    assert equal(state, model.state_dict())
    lines = {line.name: line for line in report.lines if line.reason}
    assert str(lines['data_preprocessor.mean']).endswith(
        "left out (pixels are normalised by the config's model.pixels)"
    )
    counters = [line.to[0] for line in report.lines if not line.name]
    assert counters == [n for n in model.state_dict() if n.endswith('num_batches_tracked')]
    assert f'{len(given)} read, 1 left out; {len(model.state_dict())} tensors filled' in str(report)


def changed(state: dict, **changes) -> dict:
    """The state with names (written with `__` for dots) set to a tensor, or taken away by None."""
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
def test_a_name_too_many_or_too_few_or_of_another_shape_is_refused(changes, message):
    model = random_model(RESNET, 'DeconvHead')
    with pytest.raises(CheckpointError, match=message):
        converted(model, changed(foreign(model), **changes))


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('backbone.cpm_stages.0.0.conv.weight', "MMPose's CPM, which is another network than ours"),
        ('backbone.hourglass_modules.0.low1.0.conv1.conv.weight', "MMPose's hourglass, which is another network"),
        ('associate_keypoint_heads.0.final_layer.bias', r'ViTPose\+ with its experts, whose names are not mapped yet'),
        ('encoder.weight', r'names \(first: encoder\.weight\) of no known kind; known: MMPose 1\.x'),
    ],
)
def test_other_networks_are_refused_by_name(name, message):
    with pytest.raises(CheckpointError, match=message):
        layout_of({name: torch.zeros(1)})


@pytest.fixture
def theirs(tmp_path) -> Path:
    """A checkpoint as MMEngine's runner leaves one: the log and what NumPy holds beside the weights."""
    from mmengine.logging import HistoryBuffer

    weights = foreign(random_model(RESNET, 'DeconvHead'))
    log = dict(loss=HistoryBuffer([np.float64(1.0), 2.0], [1, 1]))
    meta = dict(epoch=1, best=np.float64(0.5), sigmas=np.ones(17, np.float32))
    torch.save(dict(meta=meta, state_dict=weights, message_hub=log, optimizer={}), tmp_path / 'epoch_1.pth')
    return tmp_path / 'epoch_1.pth'


def test_what_stands_beside_the_weights_is_passed_over_where_trusted(theirs):
    with pytest.raises(UnsafeFileError, match=r'epoch_1\.pth keeps more than weights.*add --trust'):
        read(theirs)
    content = read(theirs, trust=True)
    assert equal(content['state_dict'], foreign(random_model(RESNET, 'DeconvHead')))
    assert type(content['message_hub']['loss']).__name__ == 'Ignored'


class Bomb:
    def __reduce__(self):
        return os.system, ('true',)


@pytest.mark.parametrize('trust', [False, True])
def test_a_file_that_would_run_code_is_refused_even_where_trusted(tmp_path, trust):
    torch.save(dict(state_dict={'conv1.weight': torch.ones(1)}, meta=Bomb()), tmp_path / 'bomb.pth')
    with pytest.raises(UnsafeFileError, match=r'asks for posix\.system, which could run code'):
        read(tmp_path / 'bomb.pth', trust)


def test_before_torch_2_10_a_foreign_file_is_refused_unless_trusted(theirs, monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.9.1+cpu')
    with pytest.raises(UnsafeFileError, match=r'epoch_1\.pth is foreign, and PyTorch 2\.9\.1\+cpu .* torch>=2\.10'):
        read(theirs)
    assert read(theirs, trust=True)['state_dict']


def test_at_most_eight_names_are_passed_over():
    assert len(BESIDE_WEIGHTS) <= 8


def test_what_has_no_weights_is_refused(tmp_path):
    torch.save(dict(state_dict=dict(conv1=[1, 2])), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=r'x\.pth has no weights'):
        read(tmp_path / 'x.pth')


def test_a_converted_file_is_the_models_and_its_report_has_every_name(theirs, tmp_path):
    cfg, out = config(RESNET, 'DeconvHead'), tmp_path / 'ours.safetensors'
    report = convert(theirs, cfg, out, trust=True)
    model = build_model(cfg)
    load_weights(model, out)
    assert equal(model.state_dict(), random_model(RESNET, 'DeconvHead').state_dict())
    assert equal(load_file(out), model.state_dict())
    write_report(report, tmp_path / 'report.json')
    told = json.loads((tmp_path / 'report.json').read_text())
    names = {line['name']: line['to'] for line in told['lines']}
    assert names['backbone.conv1.weight'] == ['backbone.conv1.weight']
    assert {n for n, to in names.items() if not to} == {'meta', 'message_hub', 'optimizer'}
    assert len(told['sha256']) == 64


def test_the_output_is_safetensors(tmp_path):
    with pytest.raises(ConfigError, match=r'name it ours\.safetensors'):
        convert(tmp_path / 'a.pth', {}, tmp_path / 'ours.pth')


def test_the_command_prints_a_line_a_name_and_the_sum(command, theirs, tmp_path):
    out, settings = tmp_path / 'ours.safetensors', repr(config(RESNET, 'DeconvHead')['model'])
    (tmp_path / 'config.py').write_text(f"skeleton = 'coco'\nmodel = {settings}\n")
    arguments = (theirs, tmp_path / 'config.py', '--out', out)
    code, _, error = command('convert.py', *arguments)
    assert (code, out.exists()) == (2, False)
    assert 'UnsafeFileError' in error
    code, printed, _ = command('convert.py', *arguments, '--trust', '--report', tmp_path / 'report.json')
    assert code == 0
    lines = printed.splitlines()
    assert 'head.final_layer.bias (17,) -> head.predict.heatmap.bias' in lines
    told = json.loads((tmp_path / 'report.json').read_text())
    assert lines[-1] == f'{out}: sha256 {told["sha256"]}'
    assert len(lines) == len(told['lines']) + 2
