"""Draw poses and heatmaps of the installed model on generated images, as docs/images/poses.jpg shows them.

python tools/lab/draw_poses.py OUT.jpg [--indices N...]
The images are those of `poseplug dataset prepare synthetic --seed 0`; the last index is drawn as heatmaps, stage by
stage.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from poseplug import Predictor
from poseplug.data.synthetic import render_lsp_scene
from poseplug.report.heatmaps import draw_heatmap_strips

HEIGHT_PX = 287
GAP_PX = 4
SEED = 0
COLUMNS = ('right_wrist', 'right_knee')  # beside that of all keypoints


def resize_to_height(image: np.ndarray) -> np.ndarray:
    """An image of the common height, with a white gap on its right."""
    height, width = image.shape[:2]
    resized = cv2.resize(image, (round(width * HEIGHT_PX / height), HEIGHT_PX), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(resized, 0, 0, 0, GAP_PX, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', type=Path, help='the image to write')
    parser.add_argument('--indices', type=int, nargs='+', default=[2, 5, 6, 8, 10], help='of the generated images')
    args = parser.parse_args()
    predictor = Predictor(device='cpu')
    *drawn, last = [render_lsp_scene(SEED, index)[0].image for index in args.indices]
    columns = [resize_to_height(result.plot()) for result in predictor(drawn)]
    columns.append(resize_to_height(draw_heatmap_strips(predictor.predict_heatmaps(last), COLUMNS, height_px=90)))
    cv2.imwrite(str(args.out), np.hstack(columns)[:, :-GAP_PX], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == '__main__':
    main()
