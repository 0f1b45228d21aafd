"""What the metadata of converted weights change in a config."""

import copy
import logging

import pytest
import torch
from safetensors.torch import save_file

from poseplug.config.load import load_config
from poseplug.config.matching import follow_released_code, match_weights

NAME = 'hrnet_w32_coco_256x192'
RANKING = dict(score_mode='bbox_keypoint', nms_mode='oks_nms', nms_threshold=0.9)


@pytest.fixture
def weights(tmp_path):
    """A file of weights that were converted from MMPose."""
    save_file(dict(weight=torch.zeros(1)), tmp_path / 'converted.safetensors', dict(match='mmpose'))
    return tmp_path / 'converted.safetensors'


def test_converted_weights_set_the_match_of_the_codec_and_the_ranking_of_instances(weights, caplog):
    cfg = load_config(NAME)
    with caplog.at_level(logging.WARNING):
        matched = match_weights(cfg, weights)
    assert matched.model.codec.match == 'mmpose'
    assert {key: matched.test_evaluator[key] for key in RANKING} == RANKING
    assert 'match' not in cfg.model.codec
    assert (
        "converted.safetensors was trained with the crops and read-out of mmpose: model.codec.match='mmpose'"
        in caplog.text
    )
    assert "test_evaluator.nms_mode='oks_nms'" in caplog.text


def test_what_is_matched_already_is_not_announced_again(weights, caplog):
    matched = match_weights(load_config(NAME), weights)
    caplog.clear()
    assert match_weights(matched, weights) is matched
    assert not caplog.text


def test_settings_of_the_config_count_more(weights, caplog):
    cfg = load_config(NAME, {'model.codec.match': 'poseplug'})
    assert match_weights(cfg, weights) is cfg
    assert "but model.codec.match='poseplug' counts" in caplog.text
    cfg = load_config(NAME, {'test_evaluator.score_mode': 'instance'})
    assert match_weights(cfg, weights).test_evaluator.score_mode == 'instance'


def test_a_metric_without_a_ranking_stays_as_it_is(weights):
    cfg = load_config('hrnet_w32_mpii_256')
    assert match_weights(cfg, weights).test_evaluator == cfg.test_evaluator


def test_every_decoder_with_a_codec_of_its_own_follows(weights):
    cfg = load_config('vitpose_b_multi_256x192')
    cfg.model.decoders.mpii.codec = dict(type='UDPHeatmap', input_size=(192, 256))
    matched = match_weights(cfg, weights)
    assert (matched.model.codec.match, matched.model.decoders.mpii.codec.match) == ('mmpose', 'mmpose')


@pytest.mark.parametrize('content', [None, b'', b'no safetensors'])
def test_weights_that_were_not_converted_change_nothing(tmp_path, content):
    file = tmp_path / 'own.safetensors'
    if content is None:
        save_file(dict(weight=torch.zeros(1)), file)
    else:
        file.write_bytes(content)
    cfg = load_config(NAME)
    assert match_weights(cfg, file) is match_weights(cfg, tmp_path) is cfg


@pytest.mark.parametrize('config', ['rtmo_s_coco_640', 'ae_hrnet_w32_coco_512'])
def test_models_that_find_instances_are_ranked_by_their_own_scores(config):
    cfg = load_config(config)
    evaluator = copy.deepcopy(cfg.test_evaluator)
    assert follow_released_code(cfg, 'mmpose') == ''
    assert cfg.test_evaluator == evaluator
    assert cfg.model.codec.match == 'mmpose'
