"""The configs of configs/openpose build the networks of the papers, and train each part at the rate of its recipe."""

from collections import Counter

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.engine.optim import build_param_groups
from poseplug.grouping.paf_rules import get_paf_rules


def build_config(root, name: str):
    """A config, and its model without memory for its numbers."""
    cfg = load_config(root / f'configs/openpose/openpose_{name}.py', training=True)
    with torch.device('meta'):
        return cfg, build_model(cfg)


@pytest.mark.parametrize(('name', 'weights', 'stages'), [
    ('vgg19_coco18_368', 52_311_446, [{'paf': 38, 'heatmap': 19}] * 6),
    ('vgg19_mpii15_368', 51_481_032, [{'paf': 28, 'heatmap': 16}] * 6),
    ('body25_368', 26_166_084, [{'paf': 52}] * 3 + [{'heatmap': 26}, {'paf': 52, 'heatmap': 26}]),
    ('mobilenet_coco18_368', 4_091_186, [{'paf': 38, 'heatmap': 19}] * 2),
    ('hrnet_w32_coco18_512', 28_536_113 + (57 - 17) * 33, [{'paf': 38, 'heatmap': 19}]),  # a 1x1 of 32 channels
])  # fmt: skip
def test_a_config_has_the_weights_of_its_network_which_predicts_on_its_codecs_grid(root, name, weights, stages):
    _, net = build_config(root, name)
    width, height = net.codec.input_size
    outputs = net.network(torch.zeros(1, height, width, 3, device='meta'))
    assert sum(p.numel() for p in net.parameters()) == weights
    assert [{n: maps.shape[1] for n, maps in stage.items()} for stage in outputs] == stages
    assert {tuple(maps.shape[:1:-1]) for stage in outputs for maps in stage.values()} == {net.codec.grid.size}


@pytest.mark.parametrize(('name', 'parser'), [
    ('vgg19_coco18_368', 'matlab'), ('vgg19_mpii15_368', 'matlab_mpi'), ('body25_368', 'openpose'),
    ('mobilenet_coco18_368', 'lightweight'),
])  # fmt: skip
def test_limbs_are_grouped_by_the_rules_of_the_networks_release(root, name, parser):
    assert build_config(root, name)[1].codec.rules == get_paf_rules(parser)


@pytest.mark.parametrize(('name', 'kind', 'rate', 'factors'), [
    ('vgg19_coco18_368', 'SGD', 4e-5, {1: 12 + 10, 2: 12 + 10, 4: 5 * 14, 8: 5 * 14}),
    ('mobilenet_coco18_368', 'Adam', 4e-5, {1: 61, 2: 38, 4: 29, 8: 19}),
    ('body25_368', 'SGD', 1e-4, {1: 327}),
])  # fmt: skip
def test_a_config_trains_each_part_at_its_rate_and_leaves_biases_and_slopes_undecayed(root, name, kind, rate, factors):
    cfg, net = build_config(root, name)
    solver = cfg.optim_wrapper
    assert (solver.optimizer.type, solver.optimizer.lr) == (kind, rate)
    groups = build_param_groups(
        net, base_lr=rate, base_weight_decay=solver.optimizer.weight_decay, **solver.paramwise_cfg
    )
    counts = Counter()
    for group in groups:
        counts[round(group['lr'] / rate)] += len(group['params'])
    assert counts == factors
    decayed = {p for group in groups if group['weight_decay'] for p in group['params']}
    names = {n for n, p in net.named_parameters() if p in decayed}
    assert not any(n.endswith('bias') for n in names)
    assert name != 'body25_368' or {p.ndim for p in decayed} == {4}
