"""Predicted sigmas beside true errors: of a network whose boxes are the annotated ones, and by hand."""

import numpy as np
import pytest

from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.errors import ConfigError
from poseplug.data.synthetic import write_coco
from poseplug.inspect.instance_costs import _replace_by_true_fields
from poseplug.inspect.sigma_errors import SigmaErrors, collect_sigma_errors
from tests.conftest import ROOT


@pytest.fixture(scope='module')
def one_stage_config(tmp_path_factory):
    data = write_coco(tmp_path_factory.mktemp('people') / 'people', num_train=1, num_val=2, seed=3)
    sources = [dict(type='CocoSource', split='val', data_root=str(data), keep_empty=True)]
    options = {'test_dataloader.dataset.sources': sources, 'test_dataloader.num_workers': 0}
    return load_config(ROOT / 'configs/rtmo/rtmo_tiny_synthetic_256.py', options)


def test_predicted_sigmas_are_compared_with_true_errors(one_stage_config, monkeypatch):
    model = build_model(one_stage_config).eval()
    predict = model.predict_fields
    monkeypatch.setattr(
        model, 'predict_fields', lambda batch: [[_replace_by_true_fields(model, batch, predict(batch)[0][-1])]]
    )
    errors = collect_sigma_errors(one_stage_config, model)
    assert len(errors.errors_px) == len(errors.expected_px) > 17
    assert (errors.errors_px >= 0).all()
    assert (errors.expected_px > 0).all()
    rows = errors.summarize(4)
    assert [row['group'] for row in rows] == [1, 2, 3, 4]
    assert sum(row['keypoints'] for row in rows) == len(errors.errors_px)
    expected = [row['expected_px'] for row in rows]
    assert expected == sorted(expected)


def test_without_an_instance_that_is_found_there_is_an_error(one_stage_config):
    with pytest.raises(ConfigError, match='no predicted instance overlaps an annotated one by half'):
        collect_sigma_errors(one_stage_config, build_model(one_stage_config).eval())


def test_sigmas_in_the_order_of_the_errors_correlate_fully():
    errors = SigmaErrors(np.array([1.0, 4.0, 2.0, 3.0]), np.array([0.1, 9.0, 0.2, 0.3]))
    assert errors.rank_correlation == pytest.approx(1)
    assert SigmaErrors(errors.expected_px, -errors.errors_px).rank_correlation == pytest.approx(-1)
    assert np.isnan(SigmaErrors(np.ones(3), np.arange(3.0)).rank_correlation)
    assert [(row['keypoints'], row['error_px']) for row in errors.summarize(2)] == [
        (2, pytest.approx(0.15)),
        (2, pytest.approx(4.65)),
    ]


def test_a_head_without_distributions_is_an_error():
    cfg = load_config(ROOT / 'configs/hourglass/hourglass1_lsp_128.py')
    with pytest.raises(ConfigError, match='sigmas are predicted by OneStage with RTMOHead; got'):
        collect_sigma_errors(cfg, build_model(cfg))
