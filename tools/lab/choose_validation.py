"""Choose the validation images of Leeds Sports Pose: 200 of LSP's training half and 800 of LSPET, at random.

Near-duplicates stay together, on one side. Groups with an image of LSP's test half are left for training, as the
official split has them.

python tools/lab/choose_validation.py DATA_FOLDER [--out poseplug/data/sources/lsp_validation.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from poseplug.data.sources.lsp import LSPETSource, LSPSource
from poseplug.starter.near_duplicates import group_near_duplicates, hash_image_file

SEED = 0
COUNTS = {'lsp': 200, 'lspet': 800}
DEFAULT_FILE = Path('poseplug/data/sources/lsp_validation.json')


def list_images(folder: Path) -> list[tuple[str, int, Path]]:
    """List the images of both sets as (data set, number of the image, file)."""
    images = []
    for source in (LSPSource, LSPETSource):
        files = sorted((folder / source.name / 'images').glob('im*.jpg'))
        images += [(source.name, int(file.stem[2:]), file) for file in files]
    return images


def choose_validation(images: list[tuple[str, int, Path]], groups: np.ndarray) -> dict[str, list[int]]:
    """Choose whole groups in a random order until each data set has its count.

    Args:
        images: as `list_images` returns them.
        groups: (N,) the group of each image.

    Returns:
        The numbers of the chosen images by data set, in order.
    """
    num_lsp = sum(name == 'lsp' for name, _, _ in images)
    # LSP's official split: the first half trains, the second one tests.
    is_test = np.array([name == 'lsp' and number > num_lsp // 2 for name, number, _ in images])
    test_groups = set(groups[is_test].tolist())
    chosen: dict[str, list[int]] = {name: [] for name in COUNTS}
    for group in np.random.default_rng(SEED).permutation(groups.max() + 1):
        members = [images[i] for i in np.flatnonzero(groups == group)]
        names = [name for name, _, _ in members]
        # Whole groups only: a group that would exceed a count is left for training.
        if group in test_groups or any(len(chosen[n]) + names.count(n) > COUNTS[n] for n in names):
            continue
        for name, number, _ in members:
            chosen[name].append(number)
    return {name: sorted(numbers) for name, numbers in chosen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='the folder that holds lsp and lspet')
    parser.add_argument('--out', type=Path, default=DEFAULT_FILE)
    args = parser.parse_args()
    images = list_images(args.folder)
    groups = group_near_duplicates([hash_image_file(file) for _, _, file in images])
    chosen = choose_validation(images, groups)
    # One line per data set.
    args.out.write_text(json.dumps(chosen).replace('], ', '],\n ') + '\n')
    sizes = np.bincount(groups)
    print(f'{(sizes > 1).sum()} groups of near-duplicates, {sizes[sizes > 1].sum()} images in them')
    print(', '.join(f'{len(numbers)} of {name}' for name, numbers in chosen.items()), 'in', args.out)


if __name__ == '__main__':
    main()
