"""Train a config on few images, so that its outputs have peaks: python tools/compare/train_briefly.py CONFIG OUT DATA.

The weights are for comparisons with other code (end_to_end.py) alone. Networks with random weights predict noise, whose
largest values lie close together, so rounding decides which of them counts. A network that remembers some of the images
predicts peaks in all of them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from poseplug.cli.options import add_config_options
from poseplug.config.build import build_dataset, build_model
from poseplug.config.load import load_config
from poseplug.core.batch import Batch
from poseplug.core.sample import SampleKey
from poseplug.data.collate import collate

NUM_SAMPLES = 24  # more need more steps until peaks appear
BATCH_SIZE = 8


def load_batches(cfg: Config, data_root: Path) -> list[Batch]:
    """The first samples of COCO's validation images, without augmentation."""
    spec = cfg.val_dataloader.dataset
    spec.sources = [dict(type='CocoSource', split='val', data_root=str(data_root))]
    dataset = build_dataset(cfg, spec)
    step = max(1, len(dataset) // NUM_SAMPLES)
    samples = [dataset[SampleKey(0, i)] for i in range(0, len(dataset), step)][:NUM_SAMPLES]
    return [collate(samples[i : i + BATCH_SIZE]) for i in range(0, len(samples), BATCH_SIZE)]


def train_model(cfg: Config, batches: list[Batch], num_steps: int, learning_rate: float) -> torch.nn.Module:
    """Train with Adam and a rate that falls to zero."""
    torch.manual_seed(0)
    model: Any = build_model(cfg).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=num_steps)
    start = time.time()
    for step in range(num_steps):
        loss = torch.stack([*model.losses(batches[step % len(batches)]).values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            print(f'step {step} of {num_steps}, loss {loss.item():.3e}, {time.time() - start:.0f} s', flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', type=Path)
    parser.add_argument('out', type=Path, help='a .pth file')
    parser.add_argument('data_root', type=Path, help="COCO's folder")
    parser.add_argument('--num-steps', type=int, default=100)
    parser.add_argument('--learning-rate', type=float, default=1e-3)
    add_config_options(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cfg = load_config(args.config, args.cfg_options)
    model = train_model(cfg, load_batches(cfg, args.data_root), args.num_steps, args.learning_rate)
    torch.save({'state_dict': model.state_dict()}, args.out)


if __name__ == '__main__':
    main()
