"""Write every format of results and open it with the tool it is for: a table of docs/lab/prediction.md.

python tools/lab/open_formats.py IMAGE
Needs pandas, polars, pyarrow, pycocotools, supervision and labelme; the row of one that is missing says so.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from poseplug.data.sources.label_files import LabelSource
from poseplug.predict.predictor import Predictor

FORMATS = ('coco', 'coco_results', 'csv', 'cvat', 'labelme', 'openpose', 'parquet', 'yolo')
BOXES = ([20, 20, 100, 170], [130, 30, 90, 160])  # of any image of 220x190 px or more

# Each opens what was written under a folder and returns keypoints (2, 14, 2) in px, in the order of the skeleton.
Opener = Callable[[Path], np.ndarray]


def open_table(read: Callable[[Path], Any], name: str) -> Opener:
    """An opener of a table with a row per keypoint."""

    def open_rows(folder: Path) -> np.ndarray:
        table = read(folder / name)
        return np.stack([np.asarray(table['x']), np.asarray(table['y'])], axis=-1).reshape(2, 14, 2)

    return open_rows


def open_pandas_csv(folder: Path) -> np.ndarray:
    import pandas

    return open_table(pandas.read_csv, 'results.csv')(folder)


def open_pandas_parquet(folder: Path) -> np.ndarray:
    import pandas

    return open_table(pandas.read_parquet, 'results.parquet')(folder)


def open_polars_parquet(folder: Path) -> np.ndarray:
    import polars

    return open_table(polars.read_parquet, 'results.parquet')(folder)


def open_coco(folder: Path) -> np.ndarray:
    from pycocotools.coco import COCO

    coco = COCO(str(folder / 'results_coco.json'))
    rows = [coco.anns[i]['keypoints'] for i in sorted(coco.getAnnIds(catIds=coco.getCatIds(['person'])))]
    return np.array(rows).reshape(2, 14, 3)[..., :2]


def open_coco_results(folder: Path) -> np.ndarray:
    """Also evaluates the results against themselves as annotations, with COCO's own code: AP 1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO(str(folder / 'results_coco.json'))
    results = coco.loadRes(str(folder / 'results_coco_results.json'))
    evaluation = COCOeval(coco, results, 'keypoints')
    evaluation.params.kpt_oks_sigmas = np.full(14, 0.05)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] > 0.999, evaluation.stats  # AP
    return np.array([results.anns[i]['keypoints'] for i in sorted(results.anns)]).reshape(2, 14, 3)[..., :2]


def open_labelme(folder: Path) -> np.ndarray:
    from labelme import LabelFile

    shapes = LabelFile(str(folder / 'labelme/photo.json')).shapes
    points = [shape['points'][0] for shape in shapes if shape['shape_type'] == 'point']
    return np.array(points).reshape(2, 14, 2)


def open_supervision(folder: Path) -> np.ndarray:
    """From Python, where its annotator draws them."""
    import supervision

    (result,) = Predictor(device='cpu')(folder / 'photo.jpg', boxes=BOXES)
    keypoints = result.to_supervision()
    before = np.zeros((*result.image_size[::-1], 3), np.uint8)
    assert supervision.VertexAnnotator().annotate(before.copy(), keypoints).any()
    return np.asarray(keypoints.xy)


def open_openpose(folder: Path) -> np.ndarray:
    """Nothing reads these files but programs of their users: read as OpenPose's page describes them."""
    content = json.loads((folder / 'openpose/photo_keypoints.json').read_text())
    return np.array([person['pose_keypoints_2d'] for person in content['people']]).reshape(2, 14, 3)[..., :2]


def open_labels(name: str) -> Opener:
    """An opener of files of labels by the reader that trains on them."""

    def open_records(folder: Path) -> np.ndarray:
        image_folder = None if name == 'yolo' else folder
        records, _ = LabelSource(folder / name, image_folder=image_folder).load()
        return records[0].instances.keypoints

    return open_records


OPENERS: dict[str, Opener] = {
    'csv: pandas': open_pandas_csv,
    'parquet: pandas': open_pandas_parquet,
    'parquet: polars': open_polars_parquet,
    'coco: pycocotools': open_coco,
    'coco_results: pycocotools, loadRes and COCOeval': open_coco_results,
    'labelme: labelme.LabelFile': open_labelme,
    'to_supervision: supervision, drawn by VertexAnnotator': open_supervision,
    'openpose: json': open_openpose,
    'coco: LabelSource': open_labels('results_coco.json'),
    'labelme: LabelSource': open_labels('labelme'),
    'cvat: LabelSource': open_labels('results_cvat.xml'),
    'yolo: LabelSource': open_labels('yolo'),
}


def predict_files(image: Path, folder: Path) -> np.ndarray:
    """Predict two boxes of an image by the command, in every format; returns the keypoints of results.json."""
    photo = folder / 'photo.jpg'
    images = folder / 'yolo/images'  # where that format has them, beside its labels
    images.mkdir(parents=True)
    for file in (photo, images / photo.name):
        file.write_bytes(image.read_bytes())
    boxes = [','.join(map(str, box)) for box in BOXES]
    options = ['--out', str(folder), '--device', 'cpu', '--format', ','.join(FORMATS), '--keypoint-threshold', '0']
    command = [sys.executable, '-m', 'poseplug', 'predict', str(photo), *options, '--boxes', *boxes]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    instances = json.loads((folder / 'results.json').read_text())['images'][0]['instances']
    return np.array([instance['keypoints'] for instance in instances])[..., :2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', type=Path, help='a JPEG file of 220x190 px or more')
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder_name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(folder_name)
        expected = predict_files(args.image, folder)
        for name, opener in OPENERS.items():
            try:
                outcome = f'{np.abs(opener(folder) - expected).max():.3f} px'
            except ImportError as error:
                outcome = f'not tried: {error}'
            lines.append(f'| {name} | {outcome} |')
    print('| format: opened by | keypoints differ by at most |\n|---|---|\n' + '\n'.join(lines))


if __name__ == '__main__':
    main()
