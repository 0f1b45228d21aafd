"""The steps of demo/quickstart.sh once the environment exists: data, training, test, drawings and a report page."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from poseplug.cli.options import run_program

FINE_TUNING_CONFIG = 'configs/cpm/cpm_efficientnet_synthetic.py'  # starts from the installed model
SCRATCH_CONFIG = 'configs/cpm/cpm_synthetic.py'  # for LSP, which the installed model was trained on
OUT = Path('work_dirs/quickstart')
NUM_DRAWN = 24  # test images on the sheet of skeletons


def run(args: argparse.Namespace) -> None:
    """Prepare data, train, test and draw."""
    import torch

    from poseplug.config.load import load_config
    from poseplug.engine import launch, results
    from poseplug.files.checkpoint_folder import find_latest_checkpoint
    from poseplug.registry.skeletons import get_skeleton

    start = time.monotonic()
    data = args.lsp or prepare_embedded_data()
    config = SCRATCH_CONFIG if args.lsp else FINE_TUNING_CONFIG
    cfg = load_config(config, build_source_options(data))
    folder = OUT / ('lsp' if args.lsp else 'embedded')
    shutil.rmtree(folder, ignore_errors=True)
    kind = 'a small network from scratch' if args.lsp else 'the installed model further'
    print(f'2. Training {kind}, {config}: about three minutes on two cores', flush=True)
    runner = launch.run_training(cfg, folder)
    training_seconds = time.monotonic() - start
    print('3. Testing every stage', flush=True)
    weights = find_latest_checkpoint(folder)
    evaluation = launch.test(cfg, weights)
    skeleton = get_skeleton(cfg['skeleton'])
    print(results.format_score_table(evaluation, skeleton))
    print('4. Drawing', flush=True)
    num_parameters = sum(parameter.numel() for parameter in runner.bare_model.parameters())
    num_images = len(runner.train_dataloader.dataset)
    command = 'bash demo/quickstart.sh'
    run_info = {
        'command': f'{command} PATH_TO_LSP' if args.lsp else command,
        'config': config,
        'parameters': f'{num_parameters:,}',
        'trained on': f'{num_images:,} images, {runner.max_iters:,} steps',
        'training took': f'{training_seconds:.0f} s with {torch.get_num_threads()} threads, data included',
    }
    draw(cfg, weights, evaluation, folder, run_info)
    print(f'done in {time.monotonic() - start:.0f} s. Open {folder / "report.html"}')


def draw(cfg: Any, weights: Path, evaluation: Any, folder: Path, run_info: dict[str, str]) -> None:
    """Write the report page, a sheet of skeletons and the heatmaps of one image."""
    import cv2

    from poseplug.files.images import read_image
    from poseplug.predict.predictor import Predictor
    from poseplug.report.draw import draw_contact_sheet, draw_poses
    from poseplug.report.heatmaps import draw_heatmap_strips
    from poseplug.report.page import write_html_report

    predictor = Predictor(cfg, weights)
    verb = 'fine-tuned' if cfg.get('init') else 'trained'
    examples = evaluation.predictions[:NUM_DRAWN]
    drawings = [draw_poses(read_image(record.path), poses, predictor.skeleton) for record, poses in examples]
    first_record, _ = examples[0]
    heatmap_stages = predictor.predict_record_heatmaps(first_record)
    cv2.imwrite(str(folder / 'skeletons.jpg'), draw_contact_sheet(drawings, 8, cell_size=(200, 240)))
    cv2.imwrite(str(folder / 'heatmaps.jpg'), draw_heatmap_strips(heatmap_stages))
    write_html_report(
        folder / 'report.html',
        f'A convolutional pose machine, {verb} in three minutes',
        evaluation,
        predictor.skeleton,
        curve_file=folder / 'curve.jsonl',
        predict_heatmaps=predictor.predict_record_heatmaps,
        run_info=run_info,
    )


def prepare_embedded_data() -> Path:
    """Render the embedded data set, unless it is there."""
    from poseplug.core.progress import track_progress
    from poseplug.data.synthetic import write_lsp

    print('1. Rendering the embedded data set: 1,400 images for training, 200 for testing', flush=True)

    def show_progress(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
        return track_progress(items, description, total, unit='image')

    return write_lsp(OUT / 'data', num_images=1600, num_train=1400, seed=0, progress=show_progress, num_workers=2)


def build_source_options(root: Path) -> dict[str, object]:
    """Build the config options that read training and test images from a folder in LSP's layout."""
    return {
        f'{split}_dataloader.dataset.sources': [dict(type='LSPSource', data_root=str(root), split=split)]
        for split in ('train', 'test')
    }


def build_parser() -> argparse.ArgumentParser:
    """The one argument: a folder with joints.mat in LSP's layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('lsp', nargs='?', type=Path, metavar='PATH_TO_LSP', help="the folder with LSP's joints.mat")
    return parser


if __name__ == '__main__':
    run_program(build_parser(), run)
