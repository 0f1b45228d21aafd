"""Histograms of gradients."""

import pytest
import torch

from poseplug.core.errors import ConfigError
from poseplug.engine.hooks.gradient_histograms import (
    GradientHistogramHook,
    read_gradient_records,
    summarize_gradient,
)
from poseplug.engine.launch import run_training


def test_a_summary_has_the_moments_and_counts_of_the_values():
    values = torch.tensor([0.0, 1e-3, -1e-3, 2.0, -1e-30])
    summary = summarize_gradient(values, num_bins=24)  # one bin per power of ten
    assert summary['mean'] == pytest.approx(0.4)
    assert summary['std'] == pytest.approx(values.double().std(correction=0).item())
    assert summary['rms'] == pytest.approx((4.000002 / 5) ** 0.5)
    assert summary['zero_fraction'] == pytest.approx(0.2)
    counts = summary['counts']
    assert (counts[0], sum(counts[16:18]), counts[20], sum(counts)) == (1, 2, 1, 4)


def test_the_recorded_gradient_is_that_of_the_step(tiny_config, tmp_path):
    rates = {
        'optim_wrapper.optimizer': dict(type='SGD', lr=0.5),
        'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor',
    }
    hooks = [dict(type='GradientHistogramHook', steps=[0, 1.0])]
    options = {'train_cfg.max_steps': 3, 'param_scheduler': None, 'optim_wrapper.paramwise_cfg': None}
    cfg = tiny_config(
        custom_hooks=hooks, default_hooks=dict(checkpoint=dict(type='SaveHook', interval=1)), **rates, **options
    )
    run_training(cfg, tmp_path / 'run')
    records = read_gradient_records(tmp_path / 'run')
    assert {record['step'] for record in records} == {0, 2}
    layers = [record for record in records if record['step'] == 2]
    before, after = (torch.load(tmp_path / f'run/step_000000{n}.pth', weights_only=True)['state_dict'] for n in (2, 3))
    for record in layers:  # SGD without momentum: the step is the rate times the gradient
        gradient = (before[record['layer']] - after[record['layer']]) / 0.5
        assert record['rms'] == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-2, abs=1e-7)
    assert [record['depth'] for record in layers] == list(range(len(layers)))
    assert layers[0]['layer'] == 'backbone.vgg.0.0.0.weight'  # the first convolution
    assert layers[-1]['layer'] == 'head.predict.1.weight'
    assert [record['stage'] for record in layers] == sorted(record['stage'] for record in layers)


def test_steps_out_of_range_and_absent_files_are_errors(tmp_path):
    with pytest.raises(ConfigError, match=r'steps are numbers from 0 on, such as \[0, 100\]; got \[-1\]'):
        GradientHistogramHook(steps=[-1])
    with pytest.raises(ConfigError, match='train with the hook GradientHistogramHook'):
        read_gradient_records(tmp_path)
