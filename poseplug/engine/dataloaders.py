"""The loaders of a config: data sets, batches in order or shuffled, and workers that keep to one core."""

from __future__ import annotations

__all__ = ['build_dataloader', 'count_usable_cores']

import os
import signal
from collections.abc import Mapping
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from poseplug.config.build import build_dataset, require_setting
from poseplug.config.settings import DataloaderSettings, parse_settings
from poseplug.core.errors import ConfigError
from poseplug.data.collate import collate
from poseplug.data.dataset import PoseDataset
from poseplug.data.samplers import (
    EpochBatchSampler,
    MultiSourceBatchSampler,
    SequentialBatchSampler,
    ShardBatchSampler,
)
from poseplug.engine import distributed
from poseplug.engine.signals import EXIT_CODES


def _create_dataloader(dataset: PoseDataset, settings: DataloaderSettings, train: bool, seed: int = 0) -> DataLoader:
    """The loader of a data set."""
    batch_sampler: Any
    if train:
        batch_sampler = _build_train_batch_sampler(dataset, settings, seed)
    else:
        batch_sampler = _build_test_batch_sampler(dataset, settings.batch_size)
    # more workers than cores only wait for each other; the processes of one machine divide its cores
    max_workers = max(1, count_usable_cores() // distributed.get_local_world_size())
    samples: Any = dataset
    return DataLoader(
        samples,
        batch_sampler=batch_sampler,
        num_workers=min(settings.num_workers, max_workers),
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_init_loader_worker,
        # Without this generator, opening a loader would draw from torch's global one. A resumed run opens one loader
        # more, and would no longer be exact.
        generator=torch.Generator(),
    )


def _build_train_batch_sampler(
    dataset: PoseDataset, settings: DataloaderSettings, seed: int
) -> EpochBatchSampler | MultiSourceBatchSampler:
    """The order of training samples; of several processes each gets its part of every batch."""
    ranks: Any = dict(rank=distributed.get_rank(), world_size=distributed.get_world_size())
    if settings.source_ratios is not None:
        sources = dataset.records.list_sources()
        return MultiSourceBatchSampler(sources, settings.batch_size, settings.source_ratios, seed, **ranks)
    if settings.shard_buffer is not None:
        # a shard is a tar file, which has many images
        shards = dataset.records.number_files()
        return ShardBatchSampler(shards, settings.batch_size, settings.shard_buffer, seed, **ranks)
    return EpochBatchSampler(len(dataset), settings.batch_size, seed, **ranks)


def _build_test_batch_sampler(
    dataset: PoseDataset, batch_size: int
) -> SequentialBatchSampler | distributed.RankBatches:
    """The order of test samples; of several processes each gets its part of the batches."""
    batches = SequentialBatchSampler(len(dataset), batch_size)
    world_size = distributed.get_world_size()
    return batches if world_size == 1 else distributed.RankBatches(batches, distributed.get_rank(), world_size)


def count_usable_cores() -> int:
    """Return the number of CPU cores that this process may use.

    In a container or under a scheduler this is often less than the number of cores of the machine.
    """
    # macOS and Windows lack the function
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _init_loader_worker(worker_id: int) -> None:
    """Limit a loader worker to one core and let it ignore the signals that the main process handles."""
    # OpenCV would start as many threads as there are cores in every worker
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for number in EXIT_CODES:
        if number != signal.SIGTERM:  # by which the main process ends its workers
            signal.signal(number, signal.SIG_IGN)


def build_dataloader(cfg: Mapping[str, Any], key: str, seed: int) -> DataLoader:
    """Build a loader of a config, with its data set.

    Args:
        cfg: the whole config.
        key: 'train_dataloader', 'val_dataloader' or 'test_dataloader'. A training loader is shuffled and endless.
        seed: of the order of the samples and of their augmentation.

    Raises:
        ConfigError: the config lacks the loader or its data set, or a setting is wrong.
    """
    loader_cfg = require_setting(cfg, key)
    if 'dataset' not in loader_cfg:
        raise ConfigError(f"{key} has no 'dataset'; add {key}.dataset")
    settings = parse_settings(DataloaderSettings, key, loader_cfg)
    dataset = build_dataset(cfg, settings.dataset, seed=seed)
    return _create_dataloader(dataset, settings, key.startswith('train'), seed)
