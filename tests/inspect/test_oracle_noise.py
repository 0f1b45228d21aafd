"""True fields, decoded as predictions."""

import pytest

from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.inspect.oracle_noise import OraclePredictor, evaluate_oracle, sweep_oracle_noise


@pytest.fixture
def cfg(root, tiny_data):
    sources = [dict(type='LSPSource', split='test', data_root=str(tiny_data))]
    options = {'test_dataloader.dataset.sources': sources}
    cfg = load_config(root / 'configs/hourglass/hourglass1_lsp_128_dark.py', options)
    cfg.test_dataloader.num_workers = 0
    return cfg


def test_true_fields_are_decoded_to_the_annotations(cfg):
    values = evaluate_oracle(cfg).values
    assert values['PCK@0.1'] == 100


def test_more_noise_gives_lower_scores(cfg):
    ((clean, weak, strong),) = sweep_oracle_noise([cfg], [0.0, 0.2, 1.0])
    assert clean['AUC@0.2'] > weak['AUC@0.2'] > strong['AUC@0.2']


def test_the_same_seed_gives_the_same_noise(cfg):
    assert evaluate_oracle(cfg, 0.3, seed=1).values == evaluate_oracle(cfg, 0.3, seed=1).values
    assert evaluate_oracle(cfg, 0.3, seed=1).values != evaluate_oracle(cfg, 0.3, seed=2).values


def test_a_model_that_decodes_no_fields_is_an_error():
    with pytest.raises(ConfigError, match='the oracle decodes what TopDown or BottomUp predicts; got object'):
        OraclePredictor(object())
