"""From a config to a run: training, overfitting a few samples, testing."""

from __future__ import annotations

import copy
import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from poseplug.build import build_dataset, build_metrics, build_model, need
from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.samplers import EpochBatches, OrderedBatches
from poseplug.engine.checkpoint import load_weights
from poseplug.engine.evaluate import Evaluation, evaluate
from poseplug.engine.runner import Runner
from poseplug.errors import ConfigError
from poseplug.progress import track
from poseplug.sample import collate

DEFAULT_HOOKS = dict(
    runtime_info=None,
    timer=None,
    sampler_seed=None,
    logger=None,
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='SaveHook'),
    progress=dict(type='ProgressHook'),
)


def device() -> str:
    """The accelerator where there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def loader(dataset: PoseDataset, spec: Mapping[str, Any], train: bool, seed: int = 0) -> DataLoader:
    """A loader over a data set: `batch_size` and `num_workers` come from the config's loader."""
    size, workers = int(spec.get('batch_size', 1)), int(spec.get('num_workers', 0))
    batches = EpochBatches(len(dataset), size, seed) if train else OrderedBatches(len(dataset), size)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=one_thread,
        persistent_workers=False,
    )


def one_thread(worker: int) -> None:
    """A loader worker uses one core: OpenCV's and torch's own threads would only get in each other's way."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def build_loader(cfg: Mapping[str, Any], key: str, seed: int) -> DataLoader:
    """The loader that a config calls `train_dataloader`, `val_dataloader` or `test_dataloader`."""
    spec = need(cfg, key)
    if 'dataset' not in spec:
        raise ConfigError(f'{key} has no dataset')
    return loader(build_dataset(cfg, spec['dataset'], seed=seed), spec, key.startswith('train'), seed)


def train(cfg: Any, work_dir: Path, resume: bool = False, init: str | None = None) -> Runner:
    """Train as a config says. Returns the runner, trained."""
    seed = int(cfg.get('seed', 0))
    torch.manual_seed(seed)
    model = build_model(cfg).to(device())
    has_val = cfg.get('val_dataloader') is not None
    metrics = functools.partial(build_metrics, cfg.get('val_evaluator', dict(type='PCK')), model.skeleton)
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=build_loader(cfg, 'train_dataloader', seed),
        train_cfg={'type': 'TrainLoop', **need(cfg, 'train_cfg')},
        val_dataloader=build_loader(cfg, 'val_dataloader', seed) if has_val else None,
        val_cfg=dict(type='EvalLoop') if has_val else None,
        val_evaluator=metrics if has_val else None,
        optim_wrapper=copy.deepcopy(need(cfg, 'optim_wrapper')),
        param_scheduler=copy.deepcopy(cfg.get('param_scheduler')),
        default_hooks={**DEFAULT_HOOKS, **cfg.get('default_hooks', {})},
        custom_hooks=copy.deepcopy(cfg.get('custom_hooks')),
        randomness=dict(seed=seed),
        default_scope='poseplug',
        visualizer=dict(type='Visualizer', vis_backends=None),
        resume=resume,
        init=init,
        cfg=cfg,
    )
    logging.getLogger('poseplug').info(
        'training on %s: %d samples, %d steps', device(), len(runner.train_dataloader.dataset), runner.max_iters or 0
    )
    runner.train()
    return runner


def overfit(cfg: Any, count: int) -> Any:
    """The config changed to learn its first `count` training samples by heart and to be tested on them.

    Without augmentation, averaging or dropout, with the test pipeline, at a constant rate: a network, codec and data
    that fit each other reach PCK@0.1 = 100 here.
    """
    cfg = copy.deepcopy(cfg)
    spec, test = need(cfg, 'train_dataloader'), need(cfg, 'test_dataloader')
    pipeline = [t for t in test['dataset']['pipeline'] if t['type'] != 'Scales']
    dataset = {**spec['dataset'], 'pipeline': pipeline, 'limit': count}
    cfg.train_dataloader = dict(batch_size=min(count, spec['batch_size']), num_workers=0, dataset=dataset)
    cfg.val_dataloader = dict(batch_size=count, num_workers=0, dataset=dataset)
    cfg.train_cfg = dict(steps=int(cfg.get('overfit_steps', 300)), val_interval=50)
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=cfg.train_cfg['steps'])]
    cfg.custom_hooks = None
    return cfg


def test(cfg: Any, checkpoint: str | Path, every_stage: bool = True) -> Evaluation:
    """Measure a checkpoint on the config's test set, by default at every stage of the head."""
    model = build_model(cfg)
    load_weights(model, checkpoint)
    model.to(device()).eval()
    batches = build_loader(cfg, 'test_dataloader', int(cfg.get('seed', 0)))
    metrics = functools.partial(build_metrics, cfg.get('test_evaluator', dict(type='PCK')), model.skeleton)
    return evaluate(model, track(batches, 'testing', unit='batch'), metrics, every_stage)


def default_work_dir(config: str | Path) -> Path:
    """`work_dirs/NAME` of a config, below the current folder."""
    return Path(os.environ.get('POSEPLUG_WORK', 'work_dirs')) / Path(config).stem
