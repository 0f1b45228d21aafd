"""ViTPose's backbone: its numbers against the published counts and another implementation's, its windows by laws."""

import json
import re
from runpy import run_path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.engine.checkpoint import load_weights
from poseplug.errors import CheckpointError, ConfigError
from poseplug.models.attention import Attention, Windows, drop_path
from poseplug.models.backbones.vit import ViT, grid_of, resized

COCO = (192, 256)
# What MMPose calls a parameter, as a pattern, and what the official release, timm and MAE (and this house) call it.
NAMES = {
    r'^patch_embed\.projection\.': 'patch_embed.proj.',
    r'^ln1\.': 'norm.',
    r'^layers\.(\d+)\.ln(\d)\.': r'blocks.\1.norm\2.',
    r'^layers\.(\d+)\.ffn\.layers\.0\.0\.': r'blocks.\1.mlp.fc1.',
    r'^layers\.(\d+)\.ffn\.layers\.1\.': r'blocks.\1.mlp.fc2.',
    r'^layers\.(\d+)\.': r'blocks.\1.',
}


def tiny(input_size=(64, 64), seed=0, **settings):
    """Two blocks of width 16, without stochastic depth unless asked."""
    torch.manual_seed(seed)
    return ViT(input_size, **{**dict(dim=16, depth=2, heads=2, drop_path=0.0), **settings})


def lively(vit, std=0.3, seed=0):
    """The same network with weights so large that everything matters to everything that sees it."""
    torch.manual_seed(seed)
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=std)
    return vit.eval()


def pictures(batch=1, size=(64, 64), seed=0):
    return torch.randn(batch, 3, size[1], size[0], generator=torch.Generator().manual_seed(seed))


def classic(dim):
    """ViTPose's classic decoder for 17 joints, by hand."""
    doubled = [(nn.ConvTranspose2d(c, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()) for c in (dim, 256)]
    return nn.Sequential(*doubled[0], *doubled[1], nn.Conv2d(256, 17, 1))


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    ('size', 'millions', 'digits'), [('S', 24.290193, 6), ('B', 89.99, 2), ('L', 308.5, 1), ('H', 637.2, 1)]
)
def test_with_the_classic_decoder_it_has_the_published_parameters(size, millions, digits):
    with torch.device('meta'):
        vit = ViT(COCO, size)
        assert round(count(vit, classic(vit.out_channels[0])) / 1e6, digits) == millions


@pytest.mark.parametrize(('size', 'giga'), [('S', 5.25), ('B', 17.84), ('L', 59.8), ('H', 122.8)])
def test_with_the_classic_decoder_its_layers_cost_the_published_multiply_adds(size, giga):
    with torch.device('meta'):
        vit = ViT(COCO, size).eval()
        layers = nn.Sequential(vit, head := classic(vit.out_channels[0]))
    total = []

    def add(layer, given, out):
        places = given[0] if isinstance(layer, nn.ConvTranspose2d | nn.Linear) else out
        channels = layer.in_features if isinstance(layer, nn.Linear) else places.shape[1]
        total.append(layer.weight.numel() * places.numel() // channels)

    for layer in layers.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(add)
    head(vit(torch.zeros(1, 3, 256, 192, device='meta'))[0])
    assert sum(total) / 1e9 == pytest.approx(giga, abs=0.05 if giga > 20 else 0.006)


@pytest.mark.parametrize(('ratio', 'rows', 'padding'), [(1, 16, 2), (2, 32, 4), (4, 64, 6)])
def test_the_ratio_overlaps_the_patches_with_the_released_padding(ratio, rows, padding):
    vit = tiny(COCO, ratio=ratio, depth=1)
    assert vit.patch_embed['proj'].padding == (padding, padding)
    assert vit(pictures(1, COCO))[0].shape == (1, 16, rows, rows * 3 // 4)
    assert vit.strides == (16 // ratio,)


def golden_state(golden, part):
    """The golden network's weights of one part, under the names of MMPose."""
    keys = json.loads((golden.folder / 'mmpose_keys/vitpose_small_coco_256x192.json').read_text())
    value_for = run_path(str(golden.folder / 'weights_from_names.py'))['value_for']
    return {
        k.removeprefix(f'{part}.'): torch.from_numpy(value_for(k, tuple(shape)))
        for k, shape in keys.items()
        if k.startswith(f'{part}.') and not k.endswith('num_batches_tracked')
    }


def renamed(name):
    for pattern, ours in NAMES.items():
        if re.search(pattern, name):
            return re.sub(pattern, ours, name)
    return name


@pytest.mark.parametrize('class_slot', [False, True])
def test_the_small_network_gives_another_implementations_numbers(golden, class_slot):
    vit, head = ViT(COCO, 'S', class_slot=class_slot).eval(), classic(384).eval()
    vit.load_state_dict({renamed(k): v for k, v in golden_state(golden, 'backbone').items()})
    theirs = [v for k, v in golden_state(golden, 'head').items()]
    ours = [k for k in head.state_dict() if not k.endswith('num_batches_tracked')]
    head.load_state_dict(dict(zip(ours, theirs, strict=True)), strict=False)
    given, wanted = golden.numbers('vitpose_small_coco_256x192')
    with torch.inference_mode():
        assert_close(head(vit(given)[0]), wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


def test_the_class_slot_of_released_weights_is_added_to_every_cell():
    kept, plain = tiny(class_slot=True), tiny(seed=1)
    assert kept.pos_embed.shape[1] == plain.pos_embed.shape[1] + 1
    plain.load_state_dict(kept.state_dict())
    assert_close(plain.pos_embed, kept.pos_embed[:, 1:] + kept.pos_embed[:, :1])
    assert_close(plain(pictures()), kept(pictures()))
    kept.load_state_dict(plain.state_dict())
    assert not kept.pos_embed[:, 0].any()
    assert_close(plain(pictures()), kept(pictures()))


@pytest.mark.parametrize('class_slot', [False, True])
def test_weights_of_another_input_size_are_resized_on_loading_as_pictures_of_it_are_when_running(class_slot):
    vit, larger = lively(tiny(class_slot=class_slot)), tiny((96, 128), class_slot=class_slot).eval()
    before = {k: v.clone() for k, v in vit.state_dict().items()}
    state = vit.state_dict()
    larger.load_state_dict(state)
    assert all(torch.equal(state[k], v) for k, v in before.items())
    assert_close(vit(pictures(1, (96, 128))), larger(pictures(1, (96, 128))))


def test_a_checkpoint_of_a_whole_model_loads_at_another_input_size(tmp_path):
    small, large = nn.ModuleDict({'backbone': tiny()}), nn.ModuleDict({'backbone': tiny((96, 128), seed=1)})
    torch.save({'state_dict': small.state_dict()}, tmp_path / 'small.pth')
    load_weights(large, tmp_path / 'small.pth')
    assert torch.equal(large['backbone'].blocks[1].mlp.fc2.weight, small['backbone'].blocks[1].mlp.fc2.weight)
    assert_close(large['backbone'].pos_embed, resized(small['backbone'].pos_embed, (4, 4), (8, 6)))


def test_mae_weights_of_14_by_14_patches_load_by_bicubic_resizing():
    vit = tiny(COCO)
    mae = torch.randn(1, 197, 16)
    vit.load_state_dict({**vit.state_dict(), 'pos_embed': mae})
    cells = mae[:, 1:].reshape(1, 14, 14, 16).permute(0, 3, 1, 2)
    wanted = F.interpolate(cells, (16, 12), mode='bicubic').permute(0, 2, 3, 1).reshape(1, 192, 16) + mae[:, :1]
    assert_close(vit.pos_embed.data, wanted)


def test_a_resized_embedding_keeps_its_slot_its_format_and_what_is_the_same_everywhere():
    same = torch.tensor([[1.0, 2.0], *[[3.0, 4.0]] * 12])[None]
    for dtype in (torch.float32, torch.bfloat16):
        large = resized(same.to(dtype), (4, 3), (9, 7))
        assert_close(large, torch.tensor([[1.0, 2.0], *[[3.0, 4.0]] * 63])[None].to(dtype))
    assert resized(same, (4, 3), (4, 3)) is same


@pytest.mark.parametrize(
    ('entries', 'own', 'found'),
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
def test_the_grid_of_an_embedding_follows_from_its_entries(entries, own, found):
    assert grid_of(entries, own) == found


@pytest.mark.parametrize('entries', [0, 151])
def test_an_embedding_of_no_grid_is_an_error_that_says_what_to_do(entries):
    vit = tiny(COCO)
    with pytest.raises(CheckpointError, match=rf'pos_embed has {entries} entries: .*set input_size'):
        vit.load_state_dict({**vit.state_dict(), 'pos_embed': torch.zeros(1, entries, 16)})
    with pytest.raises(CheckpointError, match='backbone.pos_embed'):
        vit.adapt_weights({'backbone.pos_embed': torch.zeros(1, entries, 16)}, 'backbone.')


def test_weights_without_an_embedding_are_left_to_the_loader():
    state = {'norm.weight': torch.ones(16)}
    tiny().adapt_weights(state)
    assert list(state) == ['norm.weight']


def both(windows, seed=0):
    """Attention and random cells (2, N, 16) of the grid of `windows`, seen through them and without them."""
    torch.manual_seed(seed)
    layer, cells = Attention(16, 2), torch.randn(2, windows.grid[0] * windows.grid[1], 16)
    return layer(cells, windows, windows.mask(cells.device)), layer(cells)


@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize('pooled', [False, True])
@pytest.mark.parametrize('window', [(4, 6), (5, 6), (8, 9)])
def test_a_window_that_covers_the_map_is_full_attention(window, shifted, pooled):
    assert_close(*both(Windows((4, 6), window, shifted, pooled)))


@pytest.mark.parametrize('grid', [(8, 8), (7, 10), (3, 9)])
@pytest.mark.parametrize('shifted', [False, True])
def test_windows_put_together_again_are_the_cells(grid, shifted):
    cells = torch.randn(2, grid[0] * grid[1], 3)
    windows = Windows(grid, (4, 4), shifted)
    assert windows.split(cells).shape == (2, windows.count, 16, 3)
    assert torch.equal(windows.join(windows.split(cells)), cells)


def places(cells, window, shifted):
    """By hand: which window each cell of an axis is in; with a shift the first window is cut by its first half."""
    cut = window // 2 if shifted and cells > window else 0
    return [(i + (window - cut) % window) // window for i in range(cells)]


def regions(grid, window, shifted):
    """The window of each cell, row by row."""
    rows, columns = (places(*axis, shifted) for axis in zip(grid, window, strict=True))
    return [(r, c) for r in rows for c in columns]


@pytest.mark.parametrize('grid', [(8, 8), (7, 10), (3, 9), (9, 5)])
@pytest.mark.parametrize('shifted', [False, True])
@pytest.mark.parametrize('window', [(4, 4), (3, 5)])
def test_a_cell_sees_the_cells_of_its_window_and_no_padding_and_nothing_across_the_border(grid, shifted, window):
    """The cells of each region, alone through full attention, come out as they do among the others."""
    torch.manual_seed(0)
    layer, cells, windows = Attention(16, 2), torch.randn(2, grid[0] * grid[1], 16), Windows(grid, window, shifted)
    seen = layer(cells, windows, windows.mask(cells.device))
    own = regions(grid, window, shifted)
    for region in set(own):
        rows = [i for i, r in enumerate(own) if r == region]
        assert_close(seen[:, rows], layer(cells[:, rows]))


def test_with_pooling_a_cell_also_sees_the_mean_of_every_window():
    torch.manual_seed(0)
    layer, cells, windows = Attention(16, 2), torch.randn(1, 7 * 6, 16), Windows((7, 6), (4, 6), pooled=True)
    top, bottom = cells[:, : 4 * 6], cells[:, 4 * 6 :]  # the second window has three rows, and one of padding
    means = torch.stack([top.mean(1), bottom.mean(1)], dim=1)
    wanted = [layer(torch.cat([own, means], dim=1))[:, : own.shape[1]] for own in (top, bottom)]
    assert_close(layer(cells, windows, windows.mask(cells.device)), torch.cat(wanted, dim=1))


def depends(far, **settings):
    """Whether cell (3, 3) of an 8x8 map in windows of 4x4 depends on the pixels of cell (far, far)."""
    vit = lively(tiny((128, 128), window=(4, 4), **settings), std=0.1).double()
    given = pictures(1, (128, 128)).double()
    other, pixels = given.clone(), slice(16 * far, 16 * far + 10)  # a patch begins 2 px before
    other[:, :, pixels, pixels] += 1
    with torch.no_grad():
        return bool(((vit(given)[0] - vit(other)[0])[0, :, 3, 3].abs() > 1e-12).any())


@pytest.mark.parametrize(
    ('attention', 'depth', 'sees'),
    [
        ('full', 1, True),
        ('window', 3, False),
        ('shift', 1, False),
        ('shift', 2, True),
        ('pool', 1, True),
        ('shift+pool', 1, True),
    ],
)
def test_what_is_in_another_window_is_seen_over_shifted_windows_or_through_pooled_ones(attention, depth, sees):
    assert depends(0, attention=attention, depth=depth)
    assert depends(7, attention=attention, depth=depth) == sees


def test_whole_and_shifted_windows_take_turns():
    plans = tiny(attention='shift', window=(2, 2))._plans((4, 4), torch.device('cpu'))
    assert [w.shift for w, _ in plans] == [(0, 0), (1, 1)]


@pytest.mark.parametrize('attention', ['full', 'window', 'shift', 'pool', 'shift+pool'])
def test_every_attention_learns_runs_in_bf16_and_takes_an_empty_batch(attention):
    vit = tiny((80, 112), attention=attention, window=(4, 3))
    vit(pictures(2, (80, 112)))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in vit.parameters())
    exact = vit(pictures(2, (80, 112)))[0].detach()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = vit(pictures(2, (80, 112)))[0].detach()
    assert_close(rough.float(), exact, rtol=0, atol=0.05 * float(exact.abs().max()))
    assert vit.bfloat16()(pictures(1, (96, 80)).bfloat16())[0].dtype == torch.bfloat16
    assert vit(pictures(0, (80, 112)).bfloat16())[0].shape == (0, 16, 7, 5)


def test_a_branch_is_dropped_for_whole_samples_and_its_mean_stays():
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 3, 2), 0.4, training=True)
    values = dropped[:, 0, 0]
    assert torch.equal(dropped, values[:, None, None].expand_as(dropped))
    assert sorted(set(values.tolist())) == pytest.approx([0, 1 / 0.6])
    assert values.mean().item() == pytest.approx(1, abs=0.05)


def test_branches_are_dropped_more_often_with_depth_in_training_alone_and_the_same_for_a_seed():
    vit = tiny(depth=3, drop_path=0.6)
    assert [b.drop for b in vit.blocks] == pytest.approx([0, 0.3, 0.6])
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(vit(pictures(4))[0])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(vit.eval()(pictures(4))[0], vit(pictures(4))[0])


@pytest.mark.parametrize('settings', [{}, dict(attention='shift+pool', window=(2, 3)), dict(experts=('a', 'b'))])
def test_recomputing_blocks_changes_no_gradient(settings):
    domains = torch.tensor([0, 1]) if 'experts' in settings else None
    gradients = []
    for again in (False, True):
        vit = tiny(checkpoint=again, drop_path=0.5, **settings)
        torch.manual_seed(5)
        vit(pictures(2), domains)[0].square().sum().backward()
        gradients.append([p.grad for p in vit.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_an_expert_serves_and_learns_from_the_pictures_of_its_data_set_alone():
    vit = lively(tiny(experts=('coco', 'lsp', 'mpii')))
    domains = torch.tensor([2, 0, 2])
    before = vit(pictures(3), domains)[0]
    before.square().sum().backward()
    for block in vit.blocks:
        assert block.mlp.fc2.out_features == 12
        assert [bool(e.weight.grad.any()) for e in block.mlp.experts] == [True, False, True]
        nn.init.normal_(block.mlp.experts[0].weight)
    after = vit(pictures(3), domains)[0]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [True, False, True]


def test_with_all_experts_alike_it_is_the_plain_network():
    plain, parted = lively(tiny()), tiny(experts=('coco', 'lsp'), part=6).eval()
    state = dict(plain.state_dict())
    for i in range(2):
        for kind in ('weight', 'bias'):
            shared, own = state.pop(f'blocks.{i}.mlp.fc2.{kind}').split((10, 6))
            experts = {f'blocks.{i}.mlp.experts.{e}.{kind}': own for e in range(2)}
            state |= {f'blocks.{i}.mlp.fc2.{kind}': shared, **experts}
    parted.load_state_dict(state)
    assert_close(parted(pictures(2), torch.tensor([1, 0])), plain(pictures(2)))


@pytest.mark.parametrize(('size', 'part'), [('S', 96), ('B', 192)])
def test_a_quarter_of_the_outputs_is_an_experts_own(size, part):
    with torch.device('meta'):
        vit = ViT(COCO, size, experts=('coco', 'aic'))
    assert vit.blocks[0].mlp.experts[1].out_features == part


def test_learnt_tokens_act_on_the_map_and_are_no_part_of_it():
    vit, plain = lively(tiny(tokens=2)), tiny().eval()
    plain.load_state_dict({k: v for k, v in vit.state_dict().items() if k != 'tokens.learnt'})
    assert vit.tokens.learnt.shape == (1, 2, 16)
    out = vit(pictures(2))[0]
    assert out.shape == (2, 16, 4, 4)
    assert (out - plain(pictures(2))[0]).abs().max() > 1e-3
    out.square().sum().backward()
    assert vit.tokens.learnt.grad.any()


def test_a_token_of_a_wider_teacher_is_projected():
    vit = lively(tiny(tokens=1, token_width=24))
    own = tiny(tokens=1).eval()
    state = {k: v for k, v in vit.state_dict().items() if not k.startswith('tokens.projection.')}
    own.load_state_dict({**state, 'tokens.learnt': vit.tokens.projection(vit.tokens.learnt).detach()})
    assert_close(vit(pictures()), own(pictures()))


def test_layers_are_counted_from_the_pixels_to_the_last_norm():
    vit = tiny(depth=3, tokens=1, token_width=8, experts=('coco',))
    first = {'pos_embed', 'patch_embed.proj.weight', 'patch_embed.proj.bias', 'tokens.learnt'}
    places = {n: vit.layer_id(n) for n, _ in vit.named_parameters()}
    assert {n for n, p in places.items() if p == 0} - {'tokens.projection.weight', 'tokens.projection.bias'} == first
    assert {n for n, p in places.items() if p == 4} == {'norm.weight', 'norm.bias'}
    assert places['blocks.2.mlp.experts.0.weight'] == places['blocks.2.norm1.bias'] == 3
    assert vit.layers == 3


@pytest.mark.parametrize('attention', ['full', 'shift+pool'])
def test_it_exports_and_compiles_as_one_graph(attention):
    vit, given = tiny((80, 112), attention=attention, window=(4, 4)).eval(), pictures(2, (80, 112))
    program = torch.export.export(vit, (given,))
    assert_close(program.module()(given), vit(given))
    torch._dynamo.reset()
    with torch.no_grad():
        assert_close(torch.compile(vit, backend='eager', fullgraph=True)(given), vit(given))


@pytest.mark.parametrize(
    ('settings', 'told'),
    [
        (dict(size='M'), "no size 'M'; .*S, B, L, H"),
        (dict(heads=3), 'heads divide dim.*dim=16, heads=3'),
        (dict(depth=0), 'depth=0'),
        (dict(drop_path=1.0), 'below 1; got 1.0'),
        (dict(ratio=3), 'ratio 3 do not cover'),
        (dict(patch=4), 'patches of 4 px at ratio 1 do not cover'),
        (dict(input_size=(8, 64)), r'\(8, 64\) px is smaller than its patches'),
        (dict(attention='windows'), "closest: 'window'"),
        (dict(attention='window', window=(0, 8)), 'at least'),
        (dict(attention='window', tokens=1), "attention='full', or tokens=0"),
        (dict(tokens=-1), 'tokens=-1'),
        (dict(experts='coco'), 'names of data sets'),
        (dict(experts=('coco', 'coco')), 'each once'),
        (dict(experts=('coco',), part=16), 'not all; got 16'),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_that_names_it(settings, told):
    with pytest.raises(ConfigError, match=told):
        tiny(**settings)


def test_experts_are_told_whose_the_pictures_are_and_nobody_else_is():
    with pytest.raises(ConfigError, match='experts coco, lsp, and was not told.*domains'):
        tiny(experts=('coco', 'lsp'))(pictures())
    with pytest.raises(ConfigError, match=r'shape \(2,\) for 1 pictures'):
        tiny(experts=('coco', 'lsp'))(pictures(), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ConfigError, match='and 0 experts'):
        tiny()(pictures(), torch.zeros(1, dtype=torch.long))
