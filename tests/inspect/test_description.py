"""The description of a config also finds what is wrong with its transforms, and says how its limbs hang together."""

import pytest

from poseplug.core.errors import ConfigError
from poseplug.inspect.description import describe_config, print_description


@pytest.mark.parametrize(('key', 'pipeline', 'message'), [
    ('train', [dict(type='Warp'), dict(type='CropBox')], 'CropBox .* stands after Warp'),
    ('train', [dict(type='CropBox', padding=125), dict(type='Warp')], 'padding is a number from 0.05 to 20; got 125'),
    ('train', [dict()], "a transform needs a 'type'"),
    ('test', [dict(type='Warp')], 'Warp stands without a transform that crops'),
])  # fmt: skip
def test_a_pipeline_that_training_would_refuse_is_refused(key, pipeline, message, tiny_config):
    cfg = tiny_config()
    cfg[f'{key}_dataloader'].dataset.pipeline = pipeline
    with pytest.raises(ConfigError, match=f'^{key}_dataloader.dataset: .*{message}'):
        describe_config(cfg)


def test_limbs_that_leave_keypoints_apart_are_stated(tiny_config, capsys):
    print_description(describe_config(tiny_config()))
    assert 'drawn apart' not in capsys.readouterr().out
    pair = dict(name='pairs', keypoints=('a', 'b', 'c', 'd'), limbs=(('a', 'b'), ('c', 'd')), torso=('a', 'b'))
    print_description(describe_config(tiny_config(skeleton=pair)))
    assert 'leave the keypoints in 2 parts, drawn apart' in capsys.readouterr().out
