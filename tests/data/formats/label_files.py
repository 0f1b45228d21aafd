"""Small label files of every format, of the same two images and three geckos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

KEYPOINTS = ['snout', 'left_paw', 'right_paw', 'tail']
SIZE = (120, 80)
# By image: the box as x, y, width, height, and the keypoints as x, y, flag.
GECKOS = {
    'a.png': [
        ([10, 10, 40, 30], [[12, 14, 2], [20, 30, 1], [0, 0, 0], [44, 36, 2]]),
        ([60, 20, 50, 40], [[64, 24, 2], [70, 50, 2], [100, 30, 2], [104, 55, 1]]),
    ],
    'b.png': [([30, 5, 60, 70], [[40, 10, 2], [0, 0, 0], [80, 60, 2], [85, 70, 2]])],
}


def write_images(folder: Path) -> None:
    """Write the two images."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(GECKOS):
        pixels = np.random.default_rng(i).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        cv2.imwrite(str(folder / name), pixels)


def build_coco_content() -> dict:
    """Return the geckos as COCO's object."""
    images = [dict(id=i, file_name=n, width=SIZE[0], height=SIZE[1]) for i, n in enumerate(GECKOS, 1)]
    annotations = []
    for image, geckos in zip(images, GECKOS.values(), strict=True):
        for box, keypoints in geckos:
            annotation = dict(
                id=len(annotations) + 1,
                image_id=image['id'],
                category_id=1,
                bbox=[float(v) for v in box],
                iscrowd=0,
                num_keypoints=sum(flag > 0 for *_, flag in keypoints),
                keypoints=[float(v) for row in keypoints for v in row],
            )
            annotations.append(annotation)
    category = dict(id=1, name='gecko', keypoints=KEYPOINTS, skeleton=[[1, 4]])
    return dict(images=images, annotations=annotations, categories=[category])


def write_coco(folder: Path) -> Path:
    """Write a COCO folder."""
    write_images(folder / 'images')
    (folder / 'annotations').mkdir()
    (folder / 'annotations' / 'all.json').write_text(json.dumps(build_coco_content()))
    return folder


def write_labelme(folder: Path) -> Path:
    """Write a LabelMe folder, whose shapes have group ids."""
    write_images(folder)
    for name, geckos in GECKOS.items():
        shapes = []
        for group, (box, keypoints) in enumerate(geckos):
            x, y, w, h = box
            corners = [[x + w, y], [x, y + h]]
            shapes.append(dict(label='gecko', points=corners, group_id=group, shape_type='rectangle', flags={}))
            for keypoint, (px, py, flag) in zip(KEYPOINTS, keypoints, strict=True):
                if flag:
                    flags = {'occluded': flag == 1}
                    point = dict(label=keypoint, points=[[px, py]], group_id=group, shape_type='point', flags=flags)
                    shapes.append(point)
        content = dict(version='5.4.1', flags={}, shapes=shapes, imagePath=f'..\\photos\\{name}', imageData=None)
        (folder / name).with_suffix('.json').write_text(json.dumps(content))
    return folder


def write_cvat(folder: Path) -> Path:
    """Write an export of CVAT for images."""
    write_images(folder / 'images')
    sublabels = ''.join(
        f'<label><name>{name}</name><type>points</type><parent>gecko</parent></label>\n' for name in KEYPOINTS
    )
    label = '<label><name>gecko</name><type>skeleton</type></label>'
    meta = f'<meta><job><labels>\n{label}\n{sublabels}</labels></job></meta>'
    images = []
    for i, (name, geckos) in enumerate(GECKOS.items()):
        skeletons = [_format_cvat_skeleton(keypoints) for _, keypoints in geckos]
        text = '\n'.join(skeletons)
        images.append(f'<image id="{i}" name="{name}" width="{SIZE[0]}" height="{SIZE[1]}">\n{text}\n</image>')
    text = '\n'.join(['<?xml version="1.0" encoding="utf-8"?>', '<annotations>', meta, *images, '</annotations>'])
    (folder / 'annotations.xml').write_text(text)
    return folder


def _format_cvat_skeleton(keypoints: list) -> str:
    points = []
    for name, (x, y, flag) in zip(KEYPOINTS, keypoints, strict=True):
        state = f'outside="{int(not flag)}" occluded="{int(flag == 1)}"'
        points.append(f'<points label="{name}" {state} points="{x:.2f},{y:.2f}"></points>')
    text = '\n'.join(points)
    return f'<skeleton label="gecko" source="manual" z_order="0">\n{text}\n</skeleton>'


def write_label_studio(folder: Path) -> Path:
    """Write a JSON export of Label Studio, whose keypoints have a parent."""
    write_images(folder / 'images')
    tasks = []
    for i, (name, geckos) in enumerate(GECKOS.items(), 1):
        results = [r for n, gecko in enumerate(geckos) for r in _build_label_studio_results(f'g{n}', *gecko)]
        data = {'img': f'/data/upload/7/1a2b3c4d-{name}'}
        tasks.append(dict(id=i, data=data, annotations=[dict(id=i, was_cancelled=False, result=results)]))
    (folder / 'export.json').write_text(json.dumps(tasks))
    return folder


def _build_label_studio_results(parent: str, box: list, keypoints: list) -> list[dict]:
    width, height = SIZE
    percent = np.array([100 / width, 100 / height])
    x, y = np.array(box[:2]) * percent
    w, h = np.array(box[2:]) * percent
    size = dict(original_width=width, original_height=height)
    value = dict(x=x, y=y, width=w, height=h, rotation=0, rectanglelabels=['gecko'])
    results = [dict(id=parent, type='rectanglelabels', value=value, **size)]
    for k, (px, py, flag) in enumerate(keypoints):
        if flag:
            px, py = np.array([px, py]) * percent
            value = dict(x=px, y=py, width=0.5, keypointlabels=[KEYPOINTS[k]])
            meta = {'text': ['occluded']} if flag == 1 else {}
            results.append(
                dict(id=f'{parent}{k}', parentID=parent, type='keypointlabels', value=value, meta=meta, **size)
            )
    return results


def write_deeplabcut(folder: Path) -> Path:
    """Write a DeepLabCut project of several animals, with a CSV table."""
    images = folder / 'labeled-data' / 'clip'
    write_images(images)
    (folder / 'config.yaml').write_text('Task: gecko\nskeleton:\n- - snout\n  - tail\n')
    individuals, parts = ['one', 'two'], KEYPOINTS
    columns = [(i, p, c) for i in individuals for p in parts for c in 'xy']
    heads = [['scorer', '', '', *['me'] * len(columns)]]
    heads += [
        [n, '', '', *level]
        for n, level in zip(('individuals', 'bodyparts', 'coords'), zip(*columns, strict=True), strict=True)
    ]
    rows = []
    for name, geckos in GECKOS.items():
        cells = ['' if not flag else str(v) for _, points in geckos for x, y, flag in points for v in (x, y)]
        rows.append(['labeled-data', 'clip', name, *cells, *[''] * (len(columns) - len(cells))])
    text = '\n'.join(','.join(row) for row in [*heads, *rows])
    (images / 'CollectedData_me.csv').write_text(text + '\n')
    return folder


def write_via(folder: Path) -> Path:
    """Write a project of VIA 2, whose points have the attributes name, instance and occluded."""
    write_images(folder / 'images')
    images = {}
    for name, geckos in GECKOS.items():
        regions = []
        for number, (box, keypoints) in enumerate(geckos, 1):
            x, y, w, h = box
            shape = dict(name='rect', x=x, y=y, width=w, height=h)
            regions.append(dict(shape_attributes=shape, region_attributes=dict(name='gecko', instance=str(number))))
            for keypoint, (px, py, flag) in zip(KEYPOINTS, keypoints, strict=True):
                if flag:
                    attributes = dict(name=keypoint, instance=str(number), occluded='yes' if flag == 1 else '')
                    shape = dict(name='point', cx=px, cy=py)
                    regions.append(dict(shape_attributes=shape, region_attributes=attributes))
        images[f'{name}123'] = dict(filename=name, size=123, regions=regions, file_attributes={})
    content = dict(_via_settings={}, _via_img_metadata=images, _via_attributes={})
    (folder / 'via_project.json').write_text(json.dumps(content))
    return folder


def write_loose_cvat(folder: Path) -> Path:
    """Write an export of CVAT for images without skeletons, whose points and boxes have a group."""
    write_images(folder)
    images = []
    for i, (name, geckos) in enumerate(GECKOS.items()):
        shapes = []
        for group, ((x, y, w, h), keypoints) in enumerate(geckos, 1):
            corners = f'xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}"'
            shapes.append(f'<box label="gecko" {corners} group_id="{group}"></box>')
            shapes += [
                f'<points label="{keypoint}" points="{px},{py}" occluded="{2 - flag}" group_id="{group}"></points>'
                for keypoint, (px, py, flag) in zip(KEYPOINTS, keypoints, strict=True)
                if flag
            ]
        text = '\n'.join(shapes)
        images.append(f'<image id="{i}" name="{name}" width="{SIZE[0]}" height="{SIZE[1]}">\n{text}\n</image>')
    (folder / 'annotations.xml').write_text('\n'.join(['<annotations>', *images, '</annotations>']))
    return folder
