"""True fields, read as predictions."""

import pytest

from poseplug.analysis.oracle import TrueFields, oracle, sweep
from poseplug.config import load_config
from poseplug.errors import ConfigError


@pytest.fixture
def cfg(root, tiny_data):
    data = dict(sources=[dict(type='LSPSource', half='test', root=str(tiny_data))])
    options = {f'test_dataloader.dataset.{k}': v for k, v in data.items()}
    cfg = load_config(root / 'configs/hourglass/hourglass1_lsp_128_dark.py', options)
    cfg.test_dataloader.num_workers = 0
    return cfg


def test_the_truth_is_brought_back(cfg):
    values = oracle(cfg).values
    assert values['PCK@0.1'] == 100


def test_noise_costs_more_the_more_there_is(cfg):
    ((clean, some, much),) = sweep([cfg], [0.0, 0.2, 1.0])
    assert clean['AUC@0.2'] > some['AUC@0.2'] > much['AUC@0.2']


def test_the_same_seed_gives_the_same_noise(cfg):
    assert oracle(cfg, 0.3, seed=1).values == oracle(cfg, 0.3, seed=1).values
    assert oracle(cfg, 0.3, seed=1).values != oracle(cfg, 0.3, seed=2).values


def test_a_model_that_reads_no_fields_of_a_codec_is_refused():
    with pytest.raises(ConfigError, match='the oracle decodes what TopDown or BottomUp predicts; got object'):
        TrueFields(object())
