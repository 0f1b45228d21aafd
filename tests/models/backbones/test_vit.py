"""ViTPose's backbone: numbers against published counts and another implementation, and laws of its windows."""

import json
import re
from runpy import run_path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.core.errors import CheckpointError, ConfigError
from poseplug.files.weights import load_weights
from poseplug.models.backbones.vit import ViT
from poseplug.models.backbones.vit_positions import infer_grid, resize_pos_embed
from poseplug.models.layers.attention import SelfAttention, Windows, drop_path

COCO = (192, 256)
# Parameter names of MMPose, as patterns, and those of the official release, timm, MAE and this package.
NAMES = {
    r'^patch_embed\.projection\.': 'patch_embed.proj.',
    r'^ln1\.': 'norm.',
    r'^layers\.(\d+)\.ln(\d)\.': r'blocks.\1.norm\2.',
    r'^layers\.(\d+)\.ffn\.layers\.0\.0\.': r'blocks.\1.mlp.fc1.',
    r'^layers\.(\d+)\.ffn\.layers\.1\.': r'blocks.\1.mlp.fc2.',
    r'^layers\.(\d+)\.': r'blocks.\1.',
}


def build_tiny(input_size=(64, 64), seed=0, **settings):
    """Two blocks of width 16, by default without stochastic depth."""
    torch.manual_seed(seed)
    return ViT(input_size, **{**dict(embed_dim=16, depth=2, num_heads=2, drop_path_rate=0.0), **settings})


def enlarge_weights(vit, std=0.3, seed=0):
    """The same network with weights so large that all inputs change all outputs that depend on them."""
    torch.manual_seed(seed)
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=std)
    return vit.eval()


def random_images(batch=1, size=(64, 64), seed=0):
    return torch.randn(batch, 3, size[1], size[0], generator=torch.Generator().manual_seed(seed))


def build_classic_head(channels):
    """ViTPose's classic decoder for 17 keypoints, by hand."""
    doubled = [
        (nn.ConvTranspose2d(c, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()) for c in (channels, 256)
    ]
    return nn.Sequential(*doubled[0], *doubled[1], nn.Conv2d(256, 17, 1))


def count_parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ('arch', 'millions', 'digits'), [('S', 24.290193, 6), ('B', 89.99, 2), ('L', 308.5, 1), ('H', 637.2, 1)]
)
def test_with_the_classic_decoder_it_has_the_published_parameters(arch, millions, digits):
    with torch.device('meta'):
        vit = ViT(COCO, arch)
        assert round(count_parameters(vit, build_classic_head(vit.out_channels[0])) / 1e6, digits) == millions


@pytest.mark.parametrize(('arch', 'giga'), [('S', 5.25), ('B', 17.84), ('L', 59.8), ('H', 122.8)])
def test_with_the_classic_decoder_its_layers_cost_the_published_multiply_adds(arch, giga):
    with torch.device('meta'):
        vit = ViT(COCO, arch).eval()
        layers = nn.Sequential(vit, head := build_classic_head(vit.out_channels[0]))
    total = []

    def add(layer, inputs, output):
        positions = inputs[0] if isinstance(layer, nn.ConvTranspose2d | nn.Linear) else output
        channels = layer.in_features if isinstance(layer, nn.Linear) else positions.shape[1]
        total.append(layer.weight.numel() * positions.numel() // channels)

    for layer in layers.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(add)
    head(vit(torch.zeros(1, 3, 256, 192, device='meta'))[0])
    assert sum(total) / 1e9 == pytest.approx(giga, abs=0.05 if giga > 20 else 0.006)


@pytest.mark.parametrize(('ratio', 'rows', 'padding'), [(1, 16, 2), (2, 32, 4), (4, 64, 6)])
def test_the_ratio_overlaps_the_patches_with_the_released_padding(ratio, rows, padding):
    vit = build_tiny(COCO, ratio=ratio, depth=1)
    assert vit.patch_embed['proj'].padding == (padding, padding)
    assert vit(random_images(1, COCO))[0].shape == (1, 16, rows, rows * 3 // 4)
    assert vit.strides == (16 // ratio,)


def load_golden_weights(golden_networks, part):
    """The golden network's weights of one part, under the names of MMPose."""
    keys = json.loads((golden_networks.folder / 'mmpose_keys/vitpose_small_coco_256x192.json').read_text())
    value_for = run_path(str(golden_networks.folder / 'weights_from_names.py'))['value_for']
    return {
        k.removeprefix(f'{part}.'): torch.from_numpy(value_for(k, tuple(shape)))
        for k, shape in keys.items()
        if k.startswith(f'{part}.') and not k.endswith('num_batches_tracked')
    }


def convert_name(name):
    for pattern, ours in NAMES.items():
        if re.search(pattern, name):
            return re.sub(pattern, ours, name)
    return name


@pytest.mark.parametrize('cls_pos_embed', [False, True])
def test_the_small_network_computes_another_implementations_numbers(golden_networks, cls_pos_embed):
    vit, head = ViT(COCO, 'S', cls_pos_embed=cls_pos_embed).eval(), build_classic_head(384).eval()
    vit.load_state_dict({convert_name(k): v for k, v in load_golden_weights(golden_networks, 'backbone').items()})
    tensors = list(load_golden_weights(golden_networks, 'head').values())
    names = [k for k in head.state_dict() if not k.endswith('num_batches_tracked')]
    head.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    images, expected = golden_networks.load_arrays('vitpose_small_coco_256x192')
    with torch.inference_mode():
        assert_close(head(vit(images)[0]), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_the_class_token_of_released_weights_is_added_to_every_cell():
    with_cls, plain = build_tiny(cls_pos_embed=True), build_tiny(seed=1)
    assert with_cls.pos_embed.shape[1] == plain.pos_embed.shape[1] + 1
    plain.load_state_dict(with_cls.state_dict())
    assert_close(plain.pos_embed, with_cls.pos_embed[:, 1:] + with_cls.pos_embed[:, :1])
    assert_close(plain(random_images()), with_cls(random_images()))
    with_cls.load_state_dict(plain.state_dict())
    assert not with_cls.pos_embed[:, 0].any()
    assert_close(plain(random_images()), with_cls(random_images()))


@pytest.mark.parametrize('cls_pos_embed', [False, True])
def test_weights_of_another_input_size_are_resized_on_loading_as_in_running(cls_pos_embed):
    vit = enlarge_weights(build_tiny(cls_pos_embed=cls_pos_embed))
    larger = build_tiny((96, 128), cls_pos_embed=cls_pos_embed).eval()
    before = {k: v.clone() for k, v in vit.state_dict().items()}
    state = vit.state_dict()
    larger.load_state_dict(state)
    assert all(torch.equal(state[k], v) for k, v in before.items())
    assert_close(vit(random_images(1, (96, 128))), larger(random_images(1, (96, 128))))


def test_a_checkpoint_of_a_whole_model_loads_at_another_input_size(tmp_path):
    small, large = nn.ModuleDict({'backbone': build_tiny()}), nn.ModuleDict({'backbone': build_tiny((96, 128), seed=1)})
    torch.save({'state_dict': small.state_dict()}, tmp_path / 'small.pth')
    load_weights(large, tmp_path / 'small.pth')
    assert torch.equal(large['backbone'].blocks[1].mlp.fc2.weight, small['backbone'].blocks[1].mlp.fc2.weight)
    assert_close(large['backbone'].pos_embed, resize_pos_embed(small['backbone'].pos_embed, (4, 4), (8, 6)))


def test_mae_weights_of_14_by_14_patches_load_by_bicubic_resizing():
    vit = build_tiny(COCO)
    mae = torch.randn(1, 197, 16)
    vit.load_state_dict({**vit.state_dict(), 'pos_embed': mae})
    cells = mae[:, 1:].reshape(1, 14, 14, 16).permute(0, 3, 1, 2)
    expected = F.interpolate(cells, (16, 12), mode='bicubic').permute(0, 2, 3, 1).reshape(1, 192, 16) + mae[:, :1]
    assert_close(vit.pos_embed.data, expected)


def test_a_resized_embedding_keeps_its_class_token_its_type_and_what_is_the_same_everywhere():
    same = torch.tensor([[1.0, 2.0], *[[3.0, 4.0]] * 12])[None]
    for dtype in (torch.float32, torch.bfloat16):
        large = resize_pos_embed(same.to(dtype), (4, 3), (9, 7))
        assert_close(large, torch.tensor([[1.0, 2.0], *[[3.0, 4.0]] * 63])[None].to(dtype))
    assert resize_pos_embed(same, (4, 3), (4, 3)) is same


@pytest.mark.parametrize(
    ('num_entries', 'model_grid', 'expected'),
    [
        (193, (16, 12), ((16, 12), 1)),
        (192, (16, 12), ((16, 12), 0)),
        (197, (16, 12), ((14, 14), 1)),
        (196, (16, 12), ((14, 14), 0)),
        (433, (16, 12), ((24, 18), 1)),
        (433, (12, 16), ((18, 24), 1)),
        (193, (14, 14), ((16, 12), 1)),
        (49, (7, 7), ((7, 7), 0)),
        (201, (10, 5), ((20, 10), 1)),
    ],
)
def test_the_grid_of_an_embedding_follows_from_its_entries(num_entries, model_grid, expected):
    assert infer_grid(num_entries, model_grid) == expected


@pytest.mark.parametrize('num_entries', [0, 151])
def test_an_embedding_of_no_grid_is_an_error_that_says_what_to_do(num_entries):
    vit = build_tiny(COCO)
    with pytest.raises(CheckpointError, match=rf'pos_embed has {num_entries} entries: .*set input_size'):
        vit.load_state_dict({**vit.state_dict(), 'pos_embed': torch.zeros(1, num_entries, 16)})
    with pytest.raises(CheckpointError, match='backbone.pos_embed'):
        vit.adapt_weights({'backbone.pos_embed': torch.zeros(1, num_entries, 16)}, 'backbone.')


def test_weights_without_an_embedding_are_left_to_the_loader():
    state = {'norm.weight': torch.ones(16)}
    build_tiny().adapt_weights(state)
    assert list(state) == ['norm.weight']


def compute_with_and_without(windows, seed=0):
    """Attention between random cells (2, N, 16) of the grid of `windows`, within the windows and without them."""
    torch.manual_seed(seed)
    layer, cells = SelfAttention(16, 2), torch.randn(2, windows.grid[0] * windows.grid[1], 16)
    return layer(cells, windows, windows.attention_mask(cells.device)), layer(cells)


@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize('pooled', [False, True])
@pytest.mark.parametrize('window', [(4, 6), (5, 6), (8, 9)])
def test_a_window_that_covers_the_map_is_full_attention(window, shifted, pooled):
    assert_close(*compute_with_and_without(Windows((4, 6), window, shifted, pooled)))


@pytest.mark.parametrize('grid', [(8, 8), (7, 10), (3, 9)])
@pytest.mark.parametrize('shifted', [False, True])
def test_merged_windows_are_the_cells(grid, shifted):
    cells = torch.randn(2, grid[0] * grid[1], 3)
    windows = Windows(grid, (4, 4), shifted)
    assert windows.partition_cells(cells).shape == (2, windows.num_windows, 16, 3)
    assert torch.equal(windows.merge_windows(windows.partition_cells(cells)), cells)


def window_indices(cells, window, shifted):
    """By hand: the window of each cell of an axis; with a shift the first window is cut by its first half."""
    cut = window // 2 if shifted and cells > window else 0
    return [(i + (window - cut) % window) // window for i in range(cells)]


def cell_regions(grid, window, shifted):
    """The window of each cell, row by row."""
    rows, columns = (window_indices(*axis, shifted) for axis in zip(grid, window, strict=True))
    return [(r, c) for r in rows for c in columns]


@pytest.mark.parametrize('grid', [(8, 8), (7, 10), (3, 9), (9, 5)])
@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize('window', [(4, 4), (3, 5)])
def test_a_cell_attends_to_the_cells_of_its_window_and_not_to_padding_or_across_the_border(grid, shifted, window):
    """Full attention between the cells of a region alone has the same output as the windows of all cells."""
    torch.manual_seed(0)
    layer, cells, windows = SelfAttention(16, 2), torch.randn(2, grid[0] * grid[1], 16), Windows(grid, window, shifted)
    output = layer(cells, windows, windows.attention_mask(cells.device))
    regions = cell_regions(grid, window, shifted)
    for region in set(regions):
        rows = [i for i, r in enumerate(regions) if r == region]
        assert_close(output[:, rows], layer(cells[:, rows]))


def test_with_pooling_a_cell_also_attends_to_the_mean_of_every_window():
    torch.manual_seed(0)
    layer, cells, windows = SelfAttention(16, 2), torch.randn(1, 7 * 6, 16), Windows((7, 6), (4, 6), pooled=True)
    top, bottom = cells[:, : 4 * 6], cells[:, 4 * 6 :]  # the second window has three rows, and one of padding
    means = torch.stack([top.mean(1), bottom.mean(1)], dim=1)
    expected = [layer(torch.cat([part, means], dim=1))[:, : part.shape[1]] for part in (top, bottom)]
    assert_close(layer(cells, windows, windows.attention_mask(cells.device)), torch.cat(expected, dim=1))


def depends_on(far, **settings):
    """Whether cell (3, 3) of an 8x8 map in windows of 4x4 depends on the pixels of cell (far, far)."""
    vit = enlarge_weights(build_tiny((128, 128), window_size=(4, 4), **settings), std=0.1).double()
    images = random_images(1, (128, 128)).double()
    other, pixels = images.clone(), slice(16 * far, 16 * far + 10)  # a patch begins 2 px before
    other[:, :, pixels, pixels] += 1
    with torch.no_grad():
        return bool(((vit(images)[0] - vit(other)[0])[0, :, 3, 3].abs() > 1e-12).any())


@pytest.mark.parametrize(
    ('attention', 'depth', 'attends'),
    [
        ('full', 1, True),
        ('window', 3, False),
        ('shift', 1, False),
        ('shift', 2, True),
        ('pool', 1, True),
        ('shift+pool', 1, True),
    ],
)
def test_another_window_is_attended_to_over_shifted_windows_or_through_pooled_ones(attention, depth, attends):
    assert depends_on(0, attention=attention, depth=depth)
    assert depends_on(7, attention=attention, depth=depth) == attends


def test_unshifted_and_shifted_windows_alternate():
    windows = build_tiny(attention='shift', window_size=(2, 2))._block_windows((4, 4), torch.device('cpu'))
    assert [w.shift for w, _ in windows] == [(0, 0), (1, 1)]


@pytest.mark.parametrize('attention', ['full', 'window', 'shift', 'pool', 'shift+pool'])
def test_every_attention_learns_runs_in_bf16_and_accepts_an_empty_batch(attention):
    vit = build_tiny((80, 112), attention=attention, window_size=(4, 3))
    vit(random_images(2, (80, 112)))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in vit.parameters())
    exact = vit(random_images(2, (80, 112)))[0].detach()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = vit(random_images(2, (80, 112)))[0].detach()
    assert_close(rough.float(), exact, rtol=0, atol=0.05 * float(exact.abs().max()))
    assert vit.bfloat16()(random_images(1, (96, 80)).bfloat16())[0].dtype == torch.bfloat16
    assert vit(random_images(0, (80, 112)).bfloat16())[0].shape == (0, 16, 7, 5)


def test_a_branch_is_dropped_for_whole_samples_and_its_mean_stays():
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 3, 2), 0.4, training=True)
    values = dropped[:, 0, 0]
    assert torch.equal(dropped, values[:, None, None].expand_as(dropped))
    assert sorted(set(values.tolist())) == pytest.approx([0, 1 / 0.6])
    assert values.mean().item() == pytest.approx(1, abs=0.05)


def test_branches_are_dropped_more_often_with_depth_in_training_alone_and_the_same_for_a_seed():
    vit = build_tiny(depth=3, drop_path_rate=0.6)
    assert [b.drop_path_rate for b in vit.blocks] == pytest.approx([0, 0.3, 0.6])
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(vit(random_images(4))[0])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(vit.eval()(random_images(4))[0], vit(random_images(4))[0])


@pytest.mark.parametrize('settings', [{}, dict(attention='shift+pool', window_size=(2, 3)), dict(experts=('a', 'b'))])
def test_recomputing_blocks_changes_no_gradient(settings):
    source_indices = torch.tensor([0, 1]) if 'experts' in settings else None
    gradients = []
    for use_checkpoint in (False, True):
        vit = build_tiny(use_checkpoint=use_checkpoint, drop_path_rate=0.5, **settings)
        torch.manual_seed(5)
        vit(random_images(2), source_indices)[0].square().sum().backward()
        gradients.append([p.grad for p in vit.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_an_expert_predicts_for_and_learns_from_the_images_of_its_data_set_alone():
    vit = enlarge_weights(build_tiny(experts=('coco', 'lsp', 'mpii')))
    source_indices = torch.tensor([2, 0, 2])
    before = vit(random_images(3), source_indices)[0]
    before.square().sum().backward()
    for block in vit.blocks:
        assert block.mlp.fc2.out_features == 12
        assert [bool(e.weight.grad.any()) for e in block.mlp.experts] == [True, False, True]
        nn.init.normal_(block.mlp.experts[0].weight)
    after = vit(random_images(3), source_indices)[0]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, False, True]


def test_with_equal_experts_it_is_the_plain_network():
    plain, with_experts = enlarge_weights(build_tiny()), build_tiny(experts=('coco', 'lsp'), part_features=6).eval()
    state = dict(plain.state_dict())
    for i in range(2):
        for kind in ('weight', 'bias'):
            common, expert = state.pop(f'blocks.{i}.mlp.fc2.{kind}').split((10, 6))
            experts = {f'blocks.{i}.mlp.experts.{e}.{kind}': expert for e in range(2)}
            state |= {f'blocks.{i}.mlp.fc2.{kind}': common, **experts}
    with_experts.load_state_dict(state)
    assert_close(with_experts(random_images(2), torch.tensor([1, 0])), plain(random_images(2)))


@pytest.mark.parametrize(('arch', 'part_features'), [('S', 96), ('B', 192)])
def test_a_quarter_of_the_outputs_belongs_to_an_expert(arch, part_features):
    with torch.device('meta'):
        vit = ViT(COCO, arch, experts=('coco', 'aic'))
    assert vit.blocks[0].mlp.experts[1].out_features == part_features


def test_learned_tokens_change_the_map_and_are_no_part_of_it():
    vit, plain = enlarge_weights(build_tiny(num_tokens=2)), build_tiny().eval()
    plain.load_state_dict({k: v for k, v in vit.state_dict().items() if k != 'tokens.learnt'})
    assert vit.tokens.learnt.shape == (1, 2, 16)
    out = vit(random_images(2))[0]
    assert out.shape == (2, 16, 4, 4)
    assert (out - plain(random_images(2))[0]).abs().max() > 1e-3
    out.square().sum().backward()
    assert vit.tokens.learnt.grad.any()


def test_a_token_of_a_wider_teacher_is_projected():
    vit = enlarge_weights(build_tiny(num_tokens=1, token_dim=24))
    equal_width = build_tiny(num_tokens=1).eval()
    state = {k: v for k, v in vit.state_dict().items() if not k.startswith('tokens.projection.')}
    equal_width.load_state_dict({**state, 'tokens.learnt': vit.tokens.projection(vit.tokens.learnt).detach()})
    assert_close(vit(random_images()), equal_width(random_images()))


def test_layers_are_counted_from_the_pixels_to_the_last_norm():
    vit = build_tiny(depth=3, num_tokens=1, token_dim=8, experts=('coco',))
    first = {'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias', 'tokens.learnt'}
    layer_ids = {n: vit.get_layer_id(n) for n, _ in vit.named_parameters()}
    assert {n for n, i in layer_ids.items() if i == 0} - {'tokens.projection.weight', 'tokens.projection.bias'} == first
    assert {n for n, i in layer_ids.items() if i == 4} == {'norm.weight', 'norm.bias'}
    assert layer_ids['blocks.2.mlp.experts.0.weight'] == layer_ids['blocks.2.norm1.bias'] == 3
    assert vit.num_layers == 3


@pytest.mark.parametrize('attention', ['full', 'shift+pool'])
def test_it_exports_and_compiles_as_one_graph(attention):
    vit, images = build_tiny((80, 112), attention=attention, window_size=(4, 4)).eval(), random_images(2, (80, 112))
    program = torch.export.export(vit, (images,))
    assert_close(program.module()(images), vit(images))
    torch._dynamo.reset()
    with torch.no_grad():
        assert_close(torch.compile(vit, backend='eager', fullgraph=True)(images), vit(images))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(arch='M'), "no arch 'M'; .*S, B, L, H"),
        (dict(num_heads=3), 'num_heads divides embed_dim.*embed_dim=16, num_heads=3'),
        (dict(depth=0), 'depth=0'),
        (dict(drop_path_rate=1.0), 'below 1; got 1.0'),
        (dict(ratio=3), 'ratio 3 do not cover'),
        (dict(patch_size=4), 'patches of 4 px at ratio 1 do not cover'),
        (dict(input_size=(8, 64)), r'\(8, 64\) px is smaller than its patches'),
        (dict(attention='windows'), "closest: 'window'"),
        (dict(attention='window', window_size=(0, 8)), 'at least'),
        (dict(attention='window', num_tokens=1), "attention='full', or num_tokens=0"),
        (dict(num_tokens=-1), 'num_tokens=-1'),
        (dict(experts='coco'), 'names of data sets'),
        (dict(experts=('coco', 'coco')), 'each once'),
        (dict(experts=('coco',), part_features=16), 'embed_dim=16 and neither of the two; got 16'),
    ],
)
def test_an_invalid_setting_is_an_error_that_names_it(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_tiny(**settings)


def test_source_indices_are_required_with_experts_and_refused_without():
    with pytest.raises(ConfigError, match='experts coco, lsp, but no source_indices.*call it with source_indices'):
        build_tiny(experts=('coco', 'lsp'))(random_images())
    with pytest.raises(ConfigError, match=r'shape \(2,\) for 1 images'):
        build_tiny(experts=('coco', 'lsp'))(random_images(), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ConfigError, match='and 0 experts'):
        build_tiny()(random_images(), torch.zeros(1, dtype=torch.long))
