"""Weights that are loaded with another normalization or codec than they were trained with are reported."""

import pytest
import torch

from poseplug.config.build import build_model
from poseplug.files.model_record import describe_model
from poseplug.files.weights import load_weights

BGR = dict(mean=(127.5, 127.5, 127.5), std=(255.0, 255.0, 255.0), channel_order='bgr')


@pytest.fixture
def model(tiny_config):
    return build_model(tiny_config(**{'model.input_norm': BGR}))


def test_a_model_is_described_by_its_pixels_and_its_codec(model):
    assert describe_model(model) == {
        'input_norm.mean': [127.5] * 3,
        'input_norm.std': [255.0] * 3,
        'input_norm.channel_order': 'bgr',
        'codec.type': type(model.codec).__name__,
    }


@pytest.mark.parametrize(('key', 'old', 'text'), [
    ('input_norm.channel_order', 'rgb', 'model.input_norm.channel_order: rgb in the checkpoint, bgr in the config'),
    ('input_norm.std', [1.0] * 3, r'model.input_norm.std: [1.0, 1.0, 1.0] in the checkpoint, [255.0, 255.0, 255.0]'),
    ('codec.type', 'UDPHeatmap', 'model.codec.type: UDPHeatmap in the checkpoint, CPMHeatmap in the config'),
])  # fmt: skip
def test_weights_of_other_settings_are_reported(model, tmp_path, caplog, key, old, text):
    record = describe_model(model)
    for name, meta in (('same', dict(model=record)), ('none', {}), ('other', dict(model={**record, key: old}))):
        torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / f'{name}.pth')
        caplog.clear()
        load_weights(model, tmp_path / f'{name}.pth')
        assert (text in caplog.text) == (name == 'other')


def test_a_checkpoint_of_a_run_describes_its_model(tiny_config, tmp_path):
    from poseplug.engine.launch import train

    cfg = tiny_config(**{'train_cfg.max_steps': 1})
    checkpoint = train(cfg, tmp_path / 'run').checkpoint
    assert torch.load(checkpoint, weights_only=True)['meta']['model'] == describe_model(build_model(cfg))
