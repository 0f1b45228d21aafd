import pytest
import torch
import torch.nn.functional as F
from torch import nn

from poseplug.models.backbones.cspnext import CSPNeXt
from poseplug.models.layers.csp import SPP


def build_on_meta(*args, **settings) -> CSPNeXt:
    """A network without memory for its numbers."""
    with torch.device('meta'):
        return CSPNeXt(*args, **settings)


def test_names_and_shapes_are_those_of_published_weights(golden_networks):
    state = build_on_meta(0.5, 0.33).state_dict()
    assert {name: tuple(v.shape) for name, v in state.items()} == golden_networks.load_shapes('rtmpose_s_coco_256x192')


@pytest.mark.parametrize(
    ('widen_factor', 'deepen_factor', 'depths', 'channels'),
    [(0.5, 0.33, [1, 2, 2, 1], 512), (0.75, 0.67, [2, 4, 4, 2], 768), (1, 1, [3, 6, 6, 3], 1024)],
)
def test_the_sizes_differ_in_width_and_depth(widen_factor, deepen_factor, depths, channels):
    network = build_on_meta(widen_factor, deepen_factor)
    assert [len(getattr(network, f'stage{i}')[-1].blocks) for i in (1, 2, 3, 4)] == depths
    assert network.out_channels == tuple(channels // n for n in (8, 4, 2, 1))


def test_only_the_last_stage_pools_and_has_no_identities():
    network = build_on_meta(0.5, 0.33)
    stages = [getattr(network, f'stage{i}') for i in (1, 2, 3, 4)]
    assert [any(isinstance(m, SPP) for m in s) for s in stages] == [False, False, False, True]
    assert [[b.add_identity for b in s[-1].blocks] for s in stages] == [[True], [True, True], [True, True], [False]]


def test_three_poolings_of_5_are_windows_of_5_9_and_13():
    spp = SPP(2)
    spp.conv1 = spp.conv2 = nn.Identity()
    x = torch.randn(1, 2, 17, 11, generator=torch.Generator().manual_seed(0))
    windows = [F.max_pool2d(x, k, 1, k // 2) for k in (1, 5, 9, 13)]
    assert torch.equal(spp(x), torch.cat(windows, dim=1))


class RTMPose(nn.Module):
    """The network of the golden numbers: RTMPose's head, written out on the tensors of its own names."""

    def __init__(self):
        super().__init__()
        self.backbone = CSPNeXt(0.5, 0.33, (32,))
        shapes = {
            'final_layer.weight': (17, 512, 7, 7), 'final_layer.bias': (17,), 'mlp.0.g': (1,),
            'mlp.1.weight': (256, 48), 'gau.ln.g': (1,), 'gau.uv.weight': (1152, 256),
            'gau.gamma': (2, 128), 'gau.beta': (2, 128),
            'gau.o.weight': (256, 512), 'gau.res_scale.scale': (256,), 'cls_x.weight': (384, 256),
        }  # fmt: skip
        self.head = nn.Module()
        for name, shape in shapes.items():
            *parents, last = name.split('.')
            module = self.head
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, nn.Module())
                module = getattr(module, parent)
            module.register_buffer(last, torch.zeros(shape))

    def forward(self, images):
        w = dict(self.head.named_buffers())
        x = F.conv2d(self.backbone(images)[0], w['final_layer.weight'], w['final_layer.bias'], padding=3).flatten(2)
        x = normalize_vectors(x, w['mlp.0.g']) @ w['mlp.1.weight'].T
        u, v, base = F.silu(normalize_vectors(x, w['gau.ln.g']) @ w['gau.uv.weight'].T).split([512, 512, 128], -1)
        q, k = (base[:, :, None] * w['gau.gamma'] + w['gau.beta']).unbind(2)
        mixed = F.relu(q @ k.mT / 128**0.5).square() @ v
        x = x * w['gau.res_scale.scale'] + (u * mixed) @ w['gau.o.weight'].T
        return x @ w['cls_x.weight'].T


def normalize_vectors(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Vectors over the root of their mean square."""
    return x / x.square().mean(-1, keepdim=True).sqrt() * gain


@torch.inference_mode()
def test_rtmpose_computes_the_golden_numbers(golden_networks):
    images, expected = golden_networks.load_arrays('rtmpose_s_coco_256x192')
    output = golden_networks.fill_weights(RTMPose())(images)
    assert (output - expected).abs().max() < 1e-4 * expected.abs().max()
