"""The check of a config that a few samples can be learned by heart."""

from __future__ import annotations

__all__ = ['build_overfit_config']

import copy
from typing import Any

from poseplug.config.build import require_setting
from poseplug.core.errors import ConfigError

_MULTI_SCALE_TRANSFORMS = ('MultiScaleCrop', 'MultiScaleImage')


def build_overfit_config(cfg: Any, num_samples: int) -> Any:
    """Change a config so that it overfits its first training samples and is evaluated on them.

    The samples go through the test pipeline, without augmentation, and the flip test is not used, since the network
    never sees flipped images. Weights are averaged as in training, so that the check covers the average. A network,
    codec and data that fit each other reach PCK@0.1 = 100 here.

    Args:
        cfg: the config; it stays unchanged. Its `overfit_steps` (300) is the number of training steps.
        num_samples: the number of samples, at least 1.

    Returns:
        The changed copy of the config.
    """
    if num_samples < 1:
        raise ConfigError(f'--overfit needs at least one sample; got {num_samples}')
    cfg = copy.deepcopy(cfg)
    train_loader = require_setting(cfg, 'train_dataloader')
    test_loader = require_setting(cfg, 'test_dataloader')
    # these add an input for each further scale, and training takes a single one
    test_pipeline = test_loader['dataset']['pipeline']
    dataset = {
        **train_loader['dataset'],
        'pipeline': [t for t in test_pipeline if t['type'] not in _MULTI_SCALE_TRANSFORMS],
        'limit': num_samples,
        'data_mode': test_loader['dataset'].get('data_mode', 'topdown'),
    }
    steps = int(cfg.get('overfit_steps', 300))
    train_batch_size = min(num_samples, train_loader['batch_size'])
    val_batch_size = min(num_samples, test_loader['batch_size'])
    cfg.train_dataloader = dict(batch_size=train_batch_size, num_workers=0, dataset=dataset)
    cfg.val_dataloader = dict(batch_size=val_batch_size, num_workers=0, dataset=dataset)
    cfg.train_cfg = dict(max_steps=steps, val_interval=50)
    # the config's schedule is stated for another number of steps, and its warm-up would take a large part of these
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=steps)]
    cfg.default_hooks = dict(checkpoint=dict(type='SaveHook', interval=steps))
    # the learning rate stays that of the config although the batch is smaller
    cfg.auto_scale_lr = cfg.early_stop = None
    cfg.custom_hooks = [spec for spec in cfg.get('custom_hooks') or [] if spec.get('type') == 'EMAHook'] or None
    if cfg.model.get('flip_test'):
        cfg.model.flip_test = False
    return cfg
