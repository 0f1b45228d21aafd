"""What demo/quickstart.sh runs once the environment is there: data, training, test, pictures and a page."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from poseplug.cli import main

CONFIG = 'configs/cpm/cpm_synthetic.py'
OUT = Path('work_dirs/quickstart')


def run(args: argparse.Namespace) -> None:
    """Each step in turn: data, training, test, pictures and the page."""
    import torch

    from poseplug.config import load_config
    from poseplug.engine import launch, results
    from poseplug.engine.checkpoint import latest
    from poseplug.skeleton import get_skeleton

    begun = time.monotonic()
    data = args.lsp or embedded()
    cfg = load_config(CONFIG, sources(data))
    folder = OUT / ('lsp' if args.lsp else 'embedded')
    shutil.rmtree(folder, ignore_errors=True)
    print(f'2. Training {CONFIG}: about three minutes on two cores', flush=True)
    runner = launch.train(cfg, folder)
    trained = time.monotonic()
    print('3. Testing, at every stage', flush=True)
    weights = latest(folder)
    evaluation = launch.test(cfg, weights)
    skeleton = get_skeleton(cfg['skeleton'])
    print(results.table(evaluation, skeleton))
    print('4. Drawing', flush=True)
    parameters = sum(p.numel() for p in runner.bare_model.parameters())
    facts = {
        'command': f'bash demo/quickstart.sh{" PATH_TO_LSP" if args.lsp else ""}',
        'config': CONFIG,
        'parameters': f'{parameters:,}',
        'trained on': f'{len(runner.train_dataloader.dataset):,} pictures, {runner.max_iters:,} steps',
        'training took': f'{trained - begun:.0f} s with {torch.get_num_threads()} threads, data included',
    }
    draw(cfg, weights, evaluation, folder, facts)
    print(f'done in {time.monotonic() - begun:.0f} s. Open {folder / "report.html"}')


def draw(cfg: Any, weights: Path, evaluation: Any, folder: Path, facts: dict[str, str]) -> None:
    """The page, and beside it a sheet of skeletons and one of belief maps as pictures."""
    import cv2

    from poseplug.datasets.images import read_image
    from poseplug.inference.predictor import Predictor
    from poseplug.visualization.draw import contact_sheet, draw_poses
    from poseplug.visualization.fields import stage_strips
    from poseplug.visualization.report import write_report

    predictor = Predictor(cfg, weights)
    some = evaluation.predictions[:24]
    sheet = contact_sheet([draw_poses(read_image(r.path), p, predictor.skeleton) for r, p in some], 8, cell=(200, 240))
    cv2.imwrite(str(folder / 'skeletons.jpg'), sheet)
    cv2.imwrite(str(folder / 'beliefs.jpg'), stage_strips(predictor.fields(some[0][0].path)))
    write_report(
        folder / 'report.html',
        'A convolutional pose machine, trained in three minutes',
        evaluation,
        predictor.skeleton,
        curve=folder / 'curve.jsonl',
        beliefs=predictor.fields,
        facts=facts,
    )


def embedded() -> Path:
    """The embedded data set, made unless it is there."""
    from poseplug.datasets.synthetic import write_lsp
    from poseplug.progress import track

    print('1. Making the embedded data set: 1,400 pictures to learn from, 200 to test', flush=True)

    def shown(items, total, description):
        return track(items, description, total, unit='picture')

    return write_lsp(OUT / 'data', count=1600, train=1400, seed=0, progress=shown, workers=2)


def sources(root: Path) -> dict[str, object]:
    """The config's options that read training and test pictures from a folder in LSP's layout."""
    return {
        f'{part}_dataloader.dataset.sources': [dict(type='LSPSource', root=str(root), half=part)]
        for part in ('train', 'test')
    }


def parser() -> argparse.ArgumentParser:
    """The one argument: a folder with joints.mat in LSP's layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('lsp', nargs='?', type=Path, metavar='PATH_TO_LSP', help="the folder with LSP's joints.mat")
    return parser


if __name__ == '__main__':
    main(parser(), run)
