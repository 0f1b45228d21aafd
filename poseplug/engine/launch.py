"""From a config to a run: training, overfitting a few samples, testing."""

from __future__ import annotations

import copy
import functools
import itertools
import logging
import os
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from poseplug.build import build_dataset, build_metrics, build_model, need
from poseplug.datasets.dataset import PoseDataset
from poseplug.datasets.samplers import EpochBatches, OrderedBatches, RatioBatches
from poseplug.engine import distributed
from poseplug.engine.checkpoint import held, latest, load_weights
from poseplug.engine.compiling import compile_network
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
    finite=dict(type='FiniteHook'),
)
LOGGER = logging.getLogger('poseplug')
RUNS = itertools.count(1)  # mmengine keeps its loggers by the name of the run


def device() -> str:
    """The accelerator where there is one."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def loader(dataset: PoseDataset, spec: Mapping[str, Any], train: bool, seed: int = 0) -> DataLoader:
    """A loader over a data set: `batch_size`, `num_workers` and `shares` come from the config's loader.

    `shares` says which part of a training batch comes from which source; without it every sample comes equally often.
    More workers than there are cores would only wait for each other. The loader has a generator of its own, so that
    opening it leaves the model's random numbers alone.
    """
    size, workers = int(spec.get('batch_size', 1)), int(spec.get('num_workers', 0))
    if size < 1 or workers < 0:
        raise ConfigError(f'a loader needs batch_size >= 1 and num_workers >= 0; got {size} and {workers}')
    items: Any = dataset
    return DataLoader(
        items,
        batch_sampler=batches(dataset, size, spec.get('shares'), seed) if train else in_order(dataset, size),
        num_workers=min(workers, max(1, cores() // distributed.local_world())),
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=set_up_worker,
        generator=torch.Generator(),
    )


def batches(
    dataset: PoseDataset, size: int, shares: Mapping[str, float] | None, seed: int
) -> EpochBatches | RatioBatches:
    """The order of training samples; each of several processes takes its part of every batch."""
    place: Any = dict(rank=distributed.rank(), world=distributed.world())
    if shares is None:
        return EpochBatches(len(dataset), size, seed, **place)
    return RatioBatches([record.source for record in dataset.records], size, shares, seed, **place)


def in_order(dataset: PoseDataset, size: int) -> OrderedBatches | distributed.Share:
    """The order of samples that are tested; each of several processes takes its part of the batches."""
    every = OrderedBatches(len(dataset), size)
    count = distributed.world()
    return every if count == 1 else distributed.Share(every, distributed.rank(), count)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def set_up_worker(worker: int) -> None:
    """A loader worker uses one core, and leaves Ctrl-C and a scheduler's signal to the process that reads from it."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def build_loader(cfg: Mapping[str, Any], key: str, seed: int) -> DataLoader:
    """The loader that a config calls `train_dataloader`, `val_dataloader` or `test_dataloader`."""
    spec = need(cfg, key)
    if 'dataset' not in spec:
        raise ConfigError(f'{key} has no dataset')
    return loader(build_dataset(cfg, spec['dataset'], seed=seed), spec, key.startswith('train'), seed)


def train(cfg: Any, work_dir: Path, resume: bool | str = False, init: str | None = None) -> Runner:
    """Train as a config says, and return the runner. `init` are weights instead of those that the config names.

    With `resume='auto'` a run that the folder holds goes on, and one begins where there is none. Each of the processes
    that torchrun starts calls this.
    """
    with distributed.group():
        return trained(cfg, work_dir, resume, init)


def trained(cfg: Any, work_dir: Path, resume: bool | str, init: str | None) -> Runner:
    """Train in one process, or as one of several."""
    resume = holds_run(work_dir) if resume == 'auto' else bool(resume)
    distributed.in_turn(lambda: claim(work_dir, resume))
    seed = int(cfg.get('seed', 0))
    torch.manual_seed(seed)
    model = build_model(cfg).to(device())
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=build_loader(cfg, 'train_dataloader', seed),
        train_cfg={'type': 'TrainLoop', **need(cfg, 'train_cfg')},
        **evaluation(cfg, model, seed),
        optim_wrapper=copy.deepcopy(need(cfg, 'optim_wrapper')),
        param_scheduler=copy.deepcopy(cfg.get('param_scheduler')),
        default_hooks=hooks(cfg.get('default_hooks') or {}),
        custom_hooks=copy.deepcopy(cfg.get('custom_hooks')),
        randomness=dict(seed=seed, diff_rank_seed=True),
        default_scope='poseplug',
        visualizer=dict(type='Visualizer', vis_backends=None),
        experiment_name=f'run-{next(RUNS)}',
        resume=resume,
        init=init or cfg.get('init'),
        freeze=cfg.get('freeze') or (),
        compile=cfg.get('compile'),
        together=need(cfg, 'train_cfg').get('distributed'),
        auto_scale_lr=cfg.get('auto_scale_lr'),
        cfg=cfg,
    )
    told = 'training on %s: %d samples, %d steps, in %s'
    where = device() if runner.world_size == 1 else f'{runner.world_size} x {device()}'
    LOGGER.info(told, where, len(runner.train_loop.dataloader.dataset), runner.max_iters, work_dir)
    runner.train()
    return runner


def hooks(given: Mapping[str, Any]) -> dict[str, Any]:
    """The hooks of every run, with the settings and further hooks that a config's `default_hooks` gives."""
    joined: dict[str, Any] = {name: dict(spec) if spec else None for name, spec in DEFAULT_HOOKS.items()}
    for name, spec in given.items():
        usual = joined.get(name) or {}
        joined[name] = {**({} if spec and 'type' in spec else usual), **spec} if spec is not None else None
        if joined[name] is not None and 'type' not in joined[name]:
            known = ', '.join(n for n, s in DEFAULT_HOOKS.items() if s)
            raise ConfigError(f"default_hooks.{name} has no 'type', and no run has a hook of that name; known: {known}")
    return joined


def holds_run(work_dir: Path) -> bool:
    """Whether a folder holds a checkpoint to go on from; what the first of several processes sees counts for all."""
    return distributed.gathered(bool(held(work_dir)))[0]


def claim(work_dir: Path, resume: bool) -> None:
    """Make the folder of a run. It must hold a run to resume, and none otherwise: nothing is overwritten."""
    if resume:
        latest(work_dir)
        return
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=work_dir).close()
    except OSError as error:
        raise ConfigError(f'{work_dir}: {error.strerror or error}; name another --work-dir') from error
    files = sorted(f.name for f in work_dir.glob('*.pth'))
    if files:
        raise ConfigError(
            f'{work_dir} holds a run already ({files[-1]}); go on with it by --resume, name another --work-dir, or '
            f'remove that folder'
        )


def evaluation(cfg: Any, model: Any, seed: int) -> dict[str, Any]:
    """The runner's settings for the evaluations during training, of a config that has a `val_dataloader`."""
    if cfg.get('val_dataloader') is None:
        return {}
    metrics = functools.partial(build_metrics, cfg.get('val_evaluator', dict(type='PCK')), model.skeleton)
    batches = build_loader(cfg, 'val_dataloader', seed)
    return dict(val_dataloader=batches, val_cfg=dict(type='EvalLoop'), val_evaluator=metrics)


def overfit(cfg: Any, count: int) -> Any:
    """The config changed to learn its first `count` training samples by heart and to be tested on them.

    Without augmentation, averaged weights or the mirrored picture, which it never sees, and with the test pipeline: a
    network, codec and data that fit each other reach PCK@0.1 = 100 here. `overfit_steps` of the config says how long.
    """
    if count < 1:
        raise ConfigError(f'--overfit needs at least one sample; got {count}')
    cfg = copy.deepcopy(cfg)
    spec, test = need(cfg, 'train_dataloader'), need(cfg, 'test_dataloader')
    pipeline = [t for t in test['dataset']['pipeline'] if t['type'] not in ('Scales', 'WholeScales')]
    dataset = {**spec['dataset'], 'pipeline': pipeline, 'limit': count, 'per': test['dataset'].get('per', 'person')}
    steps = int(cfg.get('overfit_steps', 300))
    cfg.train_dataloader = dict(batch_size=min(count, spec['batch_size']), num_workers=0, dataset=dataset)
    cfg.val_dataloader = dict(batch_size=min(count, test['batch_size']), num_workers=0, dataset=dataset)
    cfg.train_cfg = dict(steps=steps, val_interval=50)
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=steps)]
    cfg.default_hooks = dict(checkpoint=dict(type='SaveHook', interval=steps))
    cfg.custom_hooks = cfg.auto_scale_lr = None
    if cfg.model.get('flip_test'):
        cfg.model.flip_test = False
    return cfg


def test(cfg: Any, checkpoint: str | Path) -> Evaluation:
    """Measure a checkpoint on the config's test set, at every stage of the head."""
    model: Any = build_model(cfg)
    load_weights(model, checkpoint)
    model.to(device()).eval()
    compile_network(model, cfg.get('compile'))
    batches = build_loader(cfg, 'test_dataloader', int(cfg.get('seed', 0)))
    metrics = functools.partial(build_metrics, cfg.get('test_evaluator', dict(type='PCK')), model.skeleton)
    dataset: Any = batches.dataset
    unseen = getattr(dataset, 'unseen', ())
    evaluation = evaluate(model, track(batches, 'testing', unit='batch'), metrics, every_stage=True, unseen=unseen)
    return replace(evaluation, sources=[str(report) for report in dataset.reports])


def default_work_dir(config: str | Path, ending: str = '') -> Path:
    """`work_dirs/NAME` of a config, below the current folder."""
    return Path(os.environ.get('POSEPLUG_WORK', 'work_dirs')) / f'{Path(config).stem}{ending}'
