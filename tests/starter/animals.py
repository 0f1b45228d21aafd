"""Drawn geckos, seen from above, as labeled images in the layouts of COCO and of YOLO-pose.

Which paw is the left one follows from where the snout is: nothing else tells them apart.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

KEYPOINTS = ['snout', 'neck', 'tail_base', 'tail_tip', 'left_paw', 'right_paw', 'left_foot', 'right_foot']
SKELETON = [[1, 2], [2, 3], [3, 4], [2, 5], [2, 6], [3, 7], [3, 8]]  # as in COCO, from 1 on
SIZE = (192, 144)
BOX_MARGIN_PX = 3


def draw_image(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """An image of one or two geckos on a blurred ground, and their keypoints (8, 3): x, y and flag."""
    ground = rng.uniform(60, 200, 3) + rng.normal(0, 40, (9, 12, 1))
    image = cv2.resize(np.clip(ground, 0, 255).astype(np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    geckos: list[np.ndarray] = []
    num_geckos = int(rng.integers(1, 3))
    for index in range(num_geckos):
        center = np.array([(index + 0.5) * SIZE[0] / num_geckos, SIZE[1] / 2]) + rng.uniform(-12, 12, 2)
        geckos.append(_draw_gecko(image, rng, center, rng.uniform(26, 40)))
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8), geckos


def _draw_gecko(image: np.ndarray, rng: np.random.Generator, center: np.ndarray, length: float) -> np.ndarray:
    """Draw a gecko around a center; `length` is that of the body in px."""
    angle = rng.uniform(0, 2 * np.pi)
    ahead = np.array([np.cos(angle), np.sin(angle)])
    left = np.array([ahead[1], -ahead[0]])  # y points down
    bends = rng.uniform(-0.3, 0.3, 2)
    points = {
        'snout': center + length * (0.85 * ahead + 0.3 * bends[0] * left),
        'neck': center + length * 0.45 * ahead,
        'tail_base': center - length * 0.45 * ahead,
        'tail_tip': center - length * (1.05 * ahead + 1.2 * bends[1] * left),
    }
    for name, base, side, reach in (
        ('left_paw', 'neck', left, 0.15),
        ('right_paw', 'neck', -left, 0.15),
        ('left_foot', 'tail_base', left, -0.15),
        ('right_foot', 'tail_base', -left, -0.15),
    ):
        points[name] = points[base] + length * (
            rng.uniform(0.35, 0.5) * side + (reach + rng.uniform(-0.15, 0.15)) * ahead
        )
    color = tuple(int(v) for v in rng.uniform(0, 255, 3))
    dark = tuple(v // 2 for v in color)
    for a, b in SKELETON:
        name_a, name_b = KEYPOINTS[a - 1], KEYPOINTS[b - 1]
        width = 0.28 if {name_a, name_b} == {'neck', 'tail_base'} else 0.12
        ends = [tuple(int(round(v)) for v in points[name]) for name in (name_a, name_b)]
        cv2.line(image, *ends, color, max(1, round(width * length)), cv2.LINE_AA)
    head = tuple(int(round(v)) for v in points['snout'])
    cv2.circle(image, head, round(0.14 * length), dark, -1, cv2.LINE_AA)
    table = np.array([[*points[name], 2] for name in KEYPOINTS])
    outside = ((table[:, :2] < 0) | (table[:, :2] > np.array(SIZE) - 1)).any(axis=1)
    table[outside] = 0
    return table


def list_boxes(geckos: list[np.ndarray]) -> list[list[float]]:
    """Boxes around the keypoints as x, y, width, height, within the image."""
    boxes = []
    for table in geckos:
        labeled = table[table[:, 2] > 0, :2]
        low = np.maximum(labeled.min(axis=0) - BOX_MARGIN_PX, 0)
        high = np.minimum(labeled.max(axis=0) + BOX_MARGIN_PX, SIZE)
        boxes.append([*low.tolist(), *(high - low).tolist()])
    return boxes


def write_coco_animals(folder: Path, num_images: int, seed: int = 0) -> Path:
    """Write `labels.json` and `images/`, without a split; returns the folder."""
    rng = np.random.default_rng(seed)
    (folder / 'images').mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, num_images + 1):
        pixels, geckos = draw_image(rng)
        name = f'gecko{number:03}.jpg'
        cv2.imwrite(str(folder / 'images' / name), pixels)
        images.append(dict(id=number, file_name=name, width=SIZE[0], height=SIZE[1]))
        for table, box in zip(geckos, list_boxes(geckos), strict=True):
            values = dict(bbox=box, keypoints=table.ravel().tolist(), num_keypoints=int((table[:, 2] > 0).sum()))
            annotations.append(dict(id=len(annotations) + 1, image_id=number, category_id=1, iscrowd=0, **values))
    categories = [dict(id=1, name='gecko', keypoints=KEYPOINTS, skeleton=SKELETON)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / 'labels.json').write_text(json.dumps(content))
    return folder


def write_yolo_animals(folder: Path, num_train: int, num_val: int, seed: int = 1) -> Path:
    """Write a YOLO-pose folder with the parts train and val; returns it."""
    rng = np.random.default_rng(seed)
    for split, count in (('train', num_train), ('val', num_val)):
        for kind in ('images', 'labels'):
            (folder / kind / split).mkdir(parents=True)
        for number in range(1, count + 1):
            pixels, geckos = draw_image(rng)
            cv2.imwrite(str(folder / 'images' / split / f'{number:03}.jpg'), pixels)
            lines = [_format_yolo_line(*pair) for pair in zip(geckos, list_boxes(geckos), strict=True)]
            (folder / 'labels' / split / f'{number:03}.txt').write_text(''.join(lines))
    flip = [0, 1, 2, 3, 5, 4, 7, 6]
    (folder / 'data.yaml').write_text(
        f'train: images/train\nval: images/val\nnames: [gecko]\nkpt_shape: [8, 3]\nflip_idx: {flip}\n'
        f'kpt_names:\n  0: [{", ".join(KEYPOINTS)}]\n'
    )
    return folder


def _format_yolo_line(table: np.ndarray, box: list[float]) -> str:
    """A gecko as a line of a label file."""
    size = np.array(SIZE)
    center = (np.array(box[:2]) + np.array(box[2:]) / 2) / size
    extent = np.array(box[2:]) / size
    points = [f'{x / SIZE[0]:.6f} {y / SIZE[1]:.6f} {int(flag)}' for x, y, flag in table]
    return ' '.join(['0', *(f'{v:.6f}' for v in (*center, *extent)), *points]) + '\n'
