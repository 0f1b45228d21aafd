"""Parameters and multiply-adds: of networks counted by hand, and of published ones."""

import pytest
from torch import nn

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.inspect.complexity import (
    build_on_meta_device,
    build_without_teacher_weights,
    compute_costs,
    list_network_parts,
    trace_forward,
)
from poseplug.models.estimators.multi_top_down import MultiTopDown
from poseplug.models.estimators.top_down import TopDown
from poseplug.testing import SMALL_SKELETON


class Backbone(nn.Module):
    """Two convolutions, of which the second is used twice."""

    def __init__(self, needs_values=False):
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 4, 3, stride=4, padding=1), nn.Conv2d(4, 4, 1, bias=False)
        self.out_channels, self.strides, self.needs_values = (4,), (4,), needs_values

    def forward(self, images):
        x = self.first(images)
        if self.needs_values and x.sum().item() != x.sum().item():
            return [x]
        return [self.twice(self.twice(x))]


def build_small_model(**settings):
    codec = dict(type='Heatmap', input_size=(32, 16))
    return TopDown(skeleton=SMALL_SKELETON, codec=codec, backbone=Backbone(**settings), head=dict(type='HeatmapHead'))


@pytest.mark.parametrize('needs_values', [False, True])
def test_parameters_count_once_and_multiply_adds_at_every_use(needs_values):
    """Maps of 8 x 4 cells: 3*9*4 + 4 weights, 4*4 used twice, and a head of 4*3 + 3."""
    model = build_small_model(needs_values=needs_values)
    cost = compute_costs(model, trace_forward(model).macs)
    cells = 8 * 4
    assert cost.submodules['backbone'].submodules['first'].macs == 3 * 9 * 4 * cells
    assert cost.submodules['backbone'].submodules['twice'].macs == 2 * 16 * cells
    assert cost.submodules['backbone'].parameters == 3 * 9 * 4 + 4 + 16
    assert cost.submodules['head'].macs == 4 * 3 * cells
    assert (cost.parameters, cost.macs) == (112 + 16 + 15, (108 + 32 + 12) * cells)


def test_shapes_are_those_from_input_to_fields():
    trace = trace_forward(build_small_model())
    assert trace.input_shape == (3, 16, 32)
    assert trace.backbone_shapes == [(4, 4, 8)]
    assert trace.stage_shapes == [{'heatmap': (3, 4, 8)}]
    assert trace.neck_shapes == []


def test_the_model_stays_on_its_device_and_in_training():
    model = build_small_model()
    trace_forward(model)
    assert {p.device.type for p in model.parameters()} == {'cpu'}
    assert model.training


def vit_config(**settings):
    """One block of eight channels, for 2 x 1 tokens of 16 px."""
    return dict(type='ViT', embed_dim=8, depth=1, num_heads=2, **settings)


def test_the_multiply_adds_of_attention_and_of_every_expert_count():
    """Two tokens: queries to values, both products between tokens, the output; the layers of 32; a part of 2 each."""
    codec = dict(type='Heatmap', input_size=(32, 16), stride=16)
    model = TopDown(
        skeleton=SMALL_SKELETON,
        codec=codec,
        head=dict(type='HeatmapHead'),
        backbone=vit_config(experts=('a', 'b', 'c')),
    )
    block = compute_costs(model, trace_forward(model).macs).submodules['backbone'].submodules['blocks.0']
    tokens, attention = 2, 4 * 8 * 8 + 2 * 2 * 8
    assert block.macs == tokens * (attention + 8 * 32 + 32 * 6 + 3 * 32 * 2)


@pytest.mark.parametrize('config', ['cpm/cpm_efficientnet_lsp.py', 'hourglass/hourglass1_coco_128.py'])
def test_modules_that_are_not_called_themselves_cost_what_their_modules_do(root, config):
    """The blocks of EfficientNet-Lite are run one by one, and a stack of an hourglass by a method of its own."""
    model = build_model(load_config(root / 'configs' / config))
    cost = compute_costs(model, trace_forward(model).macs)
    for part in cost.submodules.values():
        if part.submodules:
            # a product without parameters may stand beside the modules
            assert sum(inner.macs for inner in part.submodules.values()) == pytest.approx(part.macs, rel=0.01)


def test_a_model_of_several_decoders_has_the_parts_of_the_active_one_and_the_others_whole():
    shared = dict(codec=dict(type='Heatmap', input_size=(32, 16)), head=dict(type='HeatmapHead'), backbone=Backbone())
    decoders = dict(
        one=dict(skeleton=SMALL_SKELETON), two=dict(skeleton=SMALL_SKELETON), three=dict(skeleton=SMALL_SKELETON)
    )
    model = MultiTopDown(skeleton=SMALL_SKELETON, decoders=decoders, active_decoder='two', **shared)
    cost = compute_costs(model, trace_forward(model).macs)
    assert list(list_network_parts(model)) == ['backbone', 'head', 'decoders.one', 'decoders.three']
    assert cost.parameters == sum(part.parameters for part in cost.submodules.values()) == 112 + 16 + 3 * 15
    assert [part.macs for part in cost.submodules.values()] == [(108 + 32) * 32, 12 * 32, 0, 0]


def test_a_model_without_weights_has_the_shapes_and_the_cost_of_one_with(root):
    cfg = load_config(root / 'configs/hourglass/hourglass1_lsp_128.py')
    weightless, model = build_on_meta_device(cfg), build_model(cfg)
    assert all(p.is_meta for p in weightless.parameters())
    assert trace_forward(weightless) == trace_forward(model)


def test_a_model_without_weights_is_traced_if_a_part_needs_values():
    weightless = build_small_model(needs_values=True).to('meta')
    assert trace_forward(weightless).macs == trace_forward(build_small_model(needs_values=True)).macs


def test_a_student_is_described_before_its_teacher_is_trained(root, monkeypatch):
    monkeypatch.chdir(root)
    student = build_without_teacher_weights(load_config('configs/hourglass/hourglass_half_lsp_128_distilled.py'))
    undistilled = build_model(load_config('configs/hourglass/hourglass_half_lsp_128.py'))
    assert trace_forward(student).stage_shapes == trace_forward(undistilled).stage_shapes
    assert compute_costs(student, {}).parameters == compute_costs(undistilled, {}).parameters


def test_vitpose_has_its_published_size_plus_the_products_of_attention(root):
    """Published without the two products between 192 tokens in 12 blocks: 5.25 G."""
    cfg = load_config(root / 'configs/vitpose/vitpose_s_coco_256x192.py')
    cost = compute_costs(build_on_meta_device(cfg), trace_forward(build_on_meta_device(cfg)).macs)
    token_products = 12 * 2 * 192 * 192 * 384
    assert (cost.parameters, round((cost.macs - token_products) / 1e9, 2)) == (24_290_193, 5.25)


@pytest.mark.parametrize(('config', 'parameters', 'giga_macs'), [
    ('cpm_lsp_368', 31_219_866, 175.4), ('cpm_flic_368', 21_323_816, 154.5), ('cpm_vgg_lsp_368', 29_852_058, 88.4),
])  # fmt: skip
def test_published_networks_have_their_sizes(root, config, parameters, giga_macs):
    model = build_model(load_config(root / f'configs/cpm/{config}.py'))
    cost = compute_costs(model, trace_forward(model).macs)
    assert (cost.parameters, round(cost.macs / 1e9, 1)) == (parameters, giga_macs)


def test_the_parts_of_cpm_have_the_sizes_counted_from_its_definition(root):
    """Stage 1, stage 2 with the shared trunk, and each later stage, as counted layer by layer."""
    submodules = compute_costs(build_model(load_config(root / 'configs/cpm/cpm_lsp_368.py')), {}).submodules
    trunk = [submodules['backbone'].submodules[f'trunks.{i}'].parameters for i in (0, 1)]
    head = {name: cost.parameters for name, cost in submodules['head'].submodules.items()}
    assert trunk[0] + head['first'] + head['predict.0'] == 4_386_095
    assert trunk[1] + head['images.0'] + head['contexts.0'] + head['predict.1'] == 7_515_311
    assert head['images.4'] + head['contexts.4'] + head['predict.5'] == 4_829_615
