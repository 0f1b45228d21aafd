"""Small label files of tools that label skeletons and boxes as objects, of the geckos of `label_files`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.formats.label_files import GECKOS, KEYPOINTS, SIZE, write_images

WIDTH, HEIGHT = SIZE


def write_darwin(folder: Path) -> Path:
    """Write a pulled data set of V7, whose boxes and skeletons share an instance id."""
    write_images(folder / 'images')
    labels = folder / 'releases' / 'latest' / 'annotations'
    labels.mkdir(parents=True)
    for name, geckos in GECKOS.items():
        annotations = []
        for number, ((x, y, w, h), keypoints) in enumerate(geckos, 1):
            shared = dict(name='gecko', slot_names=['0'], instance_id=dict(value=number))
            nodes = [
                dict(name=keypoint, x=px, y=py, occluded=flag == 1)
                for keypoint, (px, py, flag) in zip(KEYPOINTS, keypoints, strict=True)
                if flag
            ]
            annotations.append(dict(shared, id=f's{number}', skeleton=dict(nodes=nodes)))
            annotations.append(dict(shared, id=f'b{number}', bounding_box=dict(x=x, y=y, w=w, h=h)))
        slot = dict(type='image', slot_name='0', width=WIDTH, height=HEIGHT, source_files=[dict(file_name=name)])
        content = dict(version='2.0', item=dict(name=name, path='/', slots=[slot]), annotations=annotations)
        (labels / name).with_suffix('.json').write_text(json.dumps(content))
    return folder


def write_supervisely(folder: Path) -> Path:
    """Write a project of Supervisely, whose rectangles lie around the graphs."""
    nodes = {f'id-{i}': dict(label=name, loc=[i, i], color='#FF0000') for i, name in enumerate(KEYPOINTS)}
    config = dict(nodes=nodes, edges=[dict(src='id-0', dst='id-3', color='#00FF00')])
    classes = [dict(title='gecko', shape='graph', color='#0000FF', geometry_config=config)]
    for i, (name, geckos) in enumerate(GECKOS.items()):
        data_set = folder / ('train', 'val')[i]
        write_images(data_set / 'img')
        (data_set / 'ann').mkdir()
        objects = []
        for (x, y, w, h), keypoints in geckos:
            graph = {
                f'id-{k}': dict(loc=[px, py], **(dict(disabled=True) if flag == 1 else {}))
                for k, (px, py, flag) in enumerate(keypoints)
                if flag
            }
            corners = dict(exterior=[[x, y], [x + w, y + h]], interior=[])
            objects.append(dict(geometryType='graph', classTitle='gecko', nodes=graph))
            objects.append(dict(geometryType='rectangle', classTitle='gecko', points=corners))
        content = dict(description='', tags=[], size=dict(width=WIDTH, height=HEIGHT), objects=objects)
        (data_set / 'ann' / f'{name}.json').write_text(json.dumps(content))
    (folder / 'meta.json').write_text(json.dumps(dict(classes=classes, tags=[])))
    return folder


def write_datumaro(folder: Path) -> Path:
    """Write an export of CVAT in Datumaro's format, with a group for each gecko."""
    write_images(folder / 'images' / 'default')
    labels = [dict(name=name, parent='gecko' if name in KEYPOINTS else '') for name in ('gecko', *KEYPOINTS)]
    points = [dict(label_id=0, labels=KEYPOINTS, joints=[[1, 4]])]
    items = []
    for name, geckos in GECKOS.items():
        annotations = []
        for group, (box, keypoints) in enumerate(geckos, 1):
            elements = [
                dict(type='points', label_id=k, points=[x, y], visibility=[flag], group=0)
                for k, (x, y, flag) in enumerate(keypoints, 1)
            ]
            annotations.append(dict(type='skeleton', label_id=0, group=group, elements=elements, points=[]))
            annotations.append(dict(type='bbox', label_id=0, group=group, bbox=box))
        image = dict(path=name, size=[HEIGHT, WIDTH])
        items.append(dict(id=Path(name).stem, annotations=annotations, attr={}, image=image))
    (folder / 'annotations').mkdir()
    categories = dict(label=dict(labels=labels), points=dict(items=points))
    content = dict(info={}, categories=categories, items=items)
    (folder / 'annotations' / 'default.json').write_text(json.dumps(content))
    return folder


def write_ndjson(folder: Path) -> Path:
    """Write a data set of Ultralytics in one file."""
    shape = dict(kpt_shape=[4, 3], kpt_names={'0': KEYPOINTS}, flip_idx=[0, 2, 1, 3])
    lines: list[dict] = [dict(type='dataset', task='pose', name='geckos', class_names={'0': 'gecko'}, **shape)]
    for i, (name, geckos) in enumerate(GECKOS.items()):
        split = ('train', 'val')[i]
        write_images(folder / 'images' / split)
        instances = []
        for (x, y, w, h), keypoints in geckos:
            box = [(x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT]
            instances.append([0, *box, *(v for px, py, flag in keypoints for v in (px / WIDTH, py / HEIGHT, flag))])
        image = dict(type='image', file=name, url=f'https://example.org/{name}', width=WIDTH, height=HEIGHT)
        lines.append(dict(image, split=split, annotations=dict(pose=instances)))
    (folder / 'geckos.ndjson').write_text('\n'.join(map(json.dumps, lines)) + '\n')
    return folder
