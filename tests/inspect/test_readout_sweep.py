"""Readouts on the fields of one pass: true fields, a network's, and the settings that they change."""

import pytest

from poseplug.codecs.dark import DARKHeatmap
from poseplug.codecs.paf import PAF
from poseplug.codecs.simcc import SimCC
from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.inspect.readout_sweep import READOUTS, change_readout, compare_readouts
from poseplug.registry.skeletons import get_skeleton

LSP = get_skeleton('lsp')


@pytest.fixture
def cfg(root, tiny_data):
    sources = [dict(type='LSPSource', split='test', data_root=str(tiny_data))]
    options = {'test_dataloader.dataset.sources': sources, 'test_dataloader.num_workers': 0}
    return load_config(root / 'configs/hourglass/hourglass1_lsp_128_dark.py', options)


def test_true_fields_are_read_better_by_an_expansion_than_by_the_largest_cell(cfg):
    model = build_model(cfg).eval()
    results = {r.name: r for r in compare_readouts(cfg, model, list(READOUTS), noise_std=0.0)}
    assert list(results) == list(READOUTS)
    assert results['taylor'].values['AUC@0.2'] > results['quarter'].values['AUC@0.2']
    assert results['quarter'].values['AUC@0.2'] > results['none'].values['AUC@0.2']
    assert results['none'].decode_percent != results['none'].decode_percent  # there is no network to compare with


def test_the_fields_of_a_network_are_predicted_once_and_timed(cfg):
    model, calls = build_model(cfg).eval(), []
    model.network.register_forward_hook(lambda *_: calls.append(1))
    results = compare_readouts(cfg, model, ['none', 'dark'])
    num_batches = -(-4 // cfg.test_dataloader.batch_size)
    assert len(calls) == num_batches * (2 if cfg.model.get('flip_test') else 1)
    assert all(0 < result.decode_percent < 100 for result in results)


def test_drawing_in_cells_rounded_down_moves_keypoints_and_rounding_up_moves_them_back(cfg):
    scores = {}
    for center in ('exact', 'floor', 'ceil'):
        cfg.model.codec.center = center
        model = build_model(cfg).eval()
        (result,) = compare_readouts(cfg, model, ['taylor'], noise_std=0.0)
        scores[center] = result.values['AUC@0.2']
    assert scores['exact'] > max(scores['floor'], scores['ceil'])


def test_the_heatmap_codec_within_another_codec_is_changed():
    codec = PAF(LSP, (96, 96), stride=4, heatmap_codec=DARKHeatmap(LSP, (96, 96), instances='max'))
    changed = change_readout(codec, READOUTS['dark_unmodulated'])
    assert changed.built_heatmap_codec.peak_kernel_size == 1
    assert changed.peak_refinement == 'dark'


def test_a_codec_without_heatmaps_and_an_unknown_readout_are_errors(cfg):
    with pytest.raises(ConfigError, match='SimCC reads no peaks of heatmaps'):
        change_readout(SimCC(LSP, (64, 64)), READOUTS['dark'])
    with pytest.raises(ConfigError, match="there is no readout 'drak'; closest: 'dark'"):
        compare_readouts(cfg, build_model(cfg), ['drak'])
