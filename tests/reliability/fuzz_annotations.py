"""Thousands of damaged annotation files: each is read correctly or refused by name (goal I1).

Run: python tests/reliability/fuzz_annotations.py [GOALS...] ; FUZZ_FILES=N in the environment for another number.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.io import savemat

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from poseplug.core.errors import PoseplugError
from poseplug.core.sample import Record
from poseplug.data.sources.aic import AICSource
from poseplug.data.sources.base import SourceReport
from poseplug.data.sources.box_files import read_detected_boxes
from poseplug.data.sources.coco import CocoSource
from poseplug.data.sources.crowdpose import CrowdPoseSource
from poseplug.data.sources.flic import FLICSource
from poseplug.data.sources.lsp import LSPETSource, LSPSource
from poseplug.data.sources.mpii import MPII_OFFICIAL_FILE, MPIISource
from poseplug.data.sources.packed import (
    PACK_FORMAT,
    PACK_INFO_FILE,
    PACK_INSTANCES_FILE,
    PACK_VERSION,
    PackedSource,
)
from poseplug.registry.skeletons import get_skeleton
from poseplug.testing import create_annotated_record
from tests.reliability.mutants import Rng, build_matlab_bombs, mutate_json, mutate_matlab
from tests.reliability.rows import Finding, print_rows

NUM_FILES = int(os.environ.get('FUZZ_FILES', 10_000))
MAX_CPU_SECONDS = 2.0  # for one file
TIMEOUT_SECONDS = 20.0  # for one file, on the clock
MAX_MEMORY_GB = 1.0
IMAGE_SIZE = (100, 80)  # width, height
NAMES = ('1.jpg', '2.jpg', '3.jpg')


@dataclass
class FileFormat:
    """A file format and its reader.

    Attributes:
        file: Name of its file below a folder.
        content: Content of an intact file.
        mutate: Function from the content to the bytes of a damaged file.
        read: Function that reads the folder.
        num_keypoints: Number of keypoints of its instances.
        build_bombs: Function that returns small files with large content.
    """

    file: str
    content: Any
    mutate: Callable[[Any, Rng], bytes]
    read: Callable[[Path], tuple[list[Record], SourceReport]]
    num_keypoints: int
    build_bombs: Callable[[], list[bytes]] = list


@dataclass
class Outcomes:
    """Outcomes of reading files: `read` and `refused` are right; every other one is counted with an example."""

    read: int = 0
    refused: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[int, str]] = field(default_factory=dict)
    slowest: float = 0.0

    def add_fault(self, fault: str, number: int, trace: str = '') -> None:
        self.wrong[fault] += 1
        self.examples.setdefault(fault, (number, trace))


# --- intact files -----------------------------------------------------------------------------------------------------


def build_coco_content(keypoint_names: tuple[str, ...]) -> dict[str, Any]:
    """Five people, one of them a crowd, in three images."""
    num_keypoints = len(keypoint_names)
    fractions = np.linspace(0.1, 0.9, num_keypoints)
    keypoints = np.column_stack([20 + fractions * 40, 10 + fractions * 60, np.full(num_keypoints, 2)])

    def build_annotation(annotation_id: int, image_id: int, crowd: int = 0) -> dict[str, Any]:
        segmentation: Any = [[1, 1, 9, 1, 9, 9]]
        if crowd:
            segmentation = {'counts': [0, IMAGE_SIZE[0] * IMAGE_SIZE[1]], 'size': [IMAGE_SIZE[1], IMAGE_SIZE[0]]}
        return dict(
            id=annotation_id,
            image_id=image_id,
            category_id=1,
            iscrowd=crowd,
            bbox=[20, 10, 40, 60],
            area=900.0,
            num_keypoints=num_keypoints,
            keypoints=keypoints.ravel().tolist(),
            segmentation=segmentation,
        )

    images = [
        dict(id=i, file_name=name, width=IMAGE_SIZE[0], height=IMAGE_SIZE[1], crowdIndex=0.5)
        for i, name in enumerate(NAMES, start=1)
    ]
    ids = ((11, 1), (12, 1), (13, 2), (14, 3), (15, 3, 1))
    return {
        'info': {'year': 2017},
        'images': images,
        'annotations': [build_annotation(*arguments) for arguments in ids],
        'categories': [dict(id=1, name='person', keypoints=[*keypoint_names])],
    }


def build_aic_content() -> list[dict[str, Any]]:
    keypoints = [v for k in range(14) for v in (20 + k, 10 + k, 1 + k % 3)]
    return [
        dict(image_id=n, human_annotations={'human1': [1, 2, 50, 60], 'human2': [3, 4, 40, 70]},
             keypoint_annotations={'human1': keypoints, 'human2': keypoints})
        for n in NAMES
    ]  # fmt: skip


def build_boxes_content() -> list[dict[str, Any]]:
    return [dict(image_id=i % 3 + 1, category_id=1, bbox=[10 + i, 5, 30, 40], score=0.9 - i / 20) for i in range(9)]


def build_pack_content() -> dict[str, Any]:
    """The content of `pack.json` and `instances.json` of a pack of two crops, whose image bytes are not read here."""
    keypoints = [[11.0 + k, 21.0 + 2 * k] for k in range(14)]
    byte_ranges = dict(
        file=['crops-00000.bin'] * 2,
        offset=[0, 100],
        length=[100, 100],
        crc32=[1, 2],
    )
    records = dict(
        ids=['a:0', 'a:1'],
        sources=['lsp'] * 2,
        keypoints=[keypoints] * 2,
        visible=[[2] * 14] * 2,
        boxes=[[1.0, 2, 30, 40], [0.0, 0, 0, 0]],
        has_box=[1, 0],
        areas=[50.0, 0.0],
        has_area=[1, 0],
        centers=[[20.0, 20]] * 2,
        scales=[0.5] * 2,
        head_sizes=[None] * 2,
        annotation_ids=[1, 2],
        box_scores=[None] * 2,
    )
    info = dict(
        format=PACK_FORMAT,
        version=PACK_VERSION,
        skeleton='lsp',
        keypoints=[*get_skeleton('lsp').keypoints],
        files={'crops-00000.bin': 200},
        made_from='LSPSource',
    )
    return {'info': info, 'instances': {**byte_ranges, **records}}


def build_mpii_content() -> list[dict[str, Any]]:
    points = [[11.0 + k, 21.0 + 2 * k] for k in range(16)]
    return [dict(image=n, center=[31.0, 41.0], scale=0.5, joints=points, joints_vis=[1] * 16) for n in NAMES * 2]


def encode_matlab(**arrays: Any) -> bytes:
    file = BytesIO()
    savemat(file, arrays)
    return file.getvalue()


def build_lsp_content(shape: tuple[int, ...]) -> bytes:
    keypoints = np.zeros(shape)
    body = np.stack([np.linspace(20, 60, 14), np.linspace(70, 5, 14), np.arange(14) % 2])  # (3, 14)
    keypoints[...] = (body if shape[0] == 3 else body.T)[..., None]
    return encode_matlab(joints=keypoints)


def build_structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB array of structs with the names of the first row; absent fields are empty."""
    structs = np.zeros((1, len(rows)), dtype=[(f, object) for f in rows[0]])
    for i, row in enumerate(rows):
        for f in rows[0]:
            structs[0, i][f] = row.get(f, np.zeros((0, 0)))
    return structs


def build_mpii_matlab() -> bytes:
    points = build_structs(
        [dict(x=20.0 + k, y=10.0 + 3 * k, id=float(k), is_visible=(1.0, '', '0')[k % 3]) for k in range(16)]
    )
    person = dict(x1=1.0, y1=2.0, x2=4.0, y2=6.0, annopoints={'point': points}, scale=0.5, objpos=dict(x=31.0, y=41.0))
    rows = [dict(image=dict(name=n), annorect=build_structs([person, person]), frame_sec=1.0) for n in NAMES]
    return encode_matlab(RELEASE=dict(annolist=build_structs(rows), img_train=np.ones((1, 3)), version='12'))


def build_flic_matlab() -> bytes:
    coords = np.full((2, 29), np.nan)
    coords[:, (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)] = np.arange(22).reshape(2, 11) + 10.0
    rows = [dict(coords=coords, filepath=n, torsobox=np.array([31.0, 11.0, 71.0, 71.0]), istrain=1.0, istest=0.0)
            for n in NAMES]  # fmt: skip
    return encode_matlab(examples=build_structs(rows))


# --- readers ----------------------------------------------------------------------------------------------------------


def read_boxes(folder: Path) -> tuple[list[Record], SourceReport]:
    """The boxes of a detector's file as records without keypoints."""
    boxes_by_image, report = read_detected_boxes(folder / 'boxes.json', dict.fromkeys((1, 2, 3), IMAGE_SIZE))
    records = []
    for image_id, detected in boxes_by_image.items():
        count = len(detected.boxes)
        keypoints, visible = np.zeros((count, 0, 2)), np.zeros((count, 0), np.uint8)
        boxes = dict(boxes=detected.boxes, box_scores=detected.scores)
        records.append(create_annotated_record(folder, str(image_id), keypoints, visible, **boxes))
    return records, report


def read_pack(folder: Path) -> tuple[list[Record], SourceReport]:
    """Read a pack whose two JSON files are stored as one; the checksum is made to fit.

    A file that is no JSON object of two parts is used as `pack.json`.
    """
    (folder / 'crops-00000.bin').write_bytes(bytes(200))
    data = (folder / 'both.json').read_bytes()
    try:
        both = json.loads(data)
        info, instances = both['info'], json.dumps(both['instances']).encode()
        info.update(sha256=hashlib.sha256(instances).hexdigest())
        info['files'][PACK_INSTANCES_FILE] = len(instances)
        data = json.dumps(info).encode()
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        instances = b'{}'
    (folder / PACK_INSTANCES_FILE).write_bytes(instances)
    (folder / PACK_INFO_FILE).write_bytes(data)
    return PackedSource(folder).load()


def build_formats() -> dict[str, FileFormat]:
    coco, crowdpose = (get_skeleton(name).keypoints for name in ('coco', 'crowdpose'))
    files = dict(ann_file='a.json', image_folder='images')

    def build_array_bombs() -> list[bytes]:
        return build_matlab_bombs('joints', 6)

    def build_struct_bombs() -> list[bytes]:
        return build_matlab_bombs('RELEASE', 2)

    formats = {
        'I1 COCO JSON': FileFormat(
            'a.json',
            build_coco_content(coco),
            mutate_json,
            lambda folder: CocoSource(folder, segmentations=True, **files).load(),
            len(coco),
        ),
        'I1 LSP .mat': FileFormat(
            'joints.mat',
            build_lsp_content((3, 14, 3)),
            mutate_matlab,
            lambda folder: LSPSource(folder).load(),
            14,
            build_array_bombs,
        ),
        'I1 LSPET .mat': FileFormat(
            'joints.mat',
            build_lsp_content((14, 3, 3)),
            mutate_matlab,
            lambda folder: LSPETSource(folder).load(),
            14,
            build_array_bombs,
        ),
        'I1 MPII .mat': FileFormat(
            MPII_OFFICIAL_FILE,
            build_mpii_matlab(),
            mutate_matlab,
            lambda folder: MPIISource(folder, 'trainval').load(),
            16,
            build_struct_bombs,
        ),
        'I1 MPII JSON': FileFormat(
            'a.json',
            build_mpii_content(),
            mutate_json,
            lambda folder: MPIISource(folder, ann_file='a.json').load(),
            16,
        ),
        'I1 CrowdPose JSON': FileFormat(
            'a.json',
            build_coco_content(crowdpose),
            mutate_json,
            lambda folder: CrowdPoseSource(folder, **files).load(),
            len(crowdpose),
        ),
        'I1 AIC JSON': FileFormat(
            'a.json', build_aic_content(), mutate_json, lambda folder: AICSource(folder, **files).load(), 14
        ),
        'I1 FLIC .mat': FileFormat(
            'examples.mat', build_flic_matlab(), mutate_matlab, lambda folder: FLICSource(folder).load(), 9
        ),
        'I1 pack JSON': FileFormat('both.json', build_pack_content(), mutate_json, read_pack, 14),
        'I1 boxes JSON': FileFormat('boxes.json', build_boxes_content(), mutate_json, read_boxes, 0),
    }
    return formats


# --- one file after the other -----------------------------------------------------------------------------------------


def fuzz_annotations(file_format: FileFormat, folder: Path, count: int, bombs: bool = True, seed: int = 0) -> Outcomes:
    """Read damaged files, and the format's bombs; the n-th file is drawn by `default_rng([seed, n])`."""
    write_images(folder)
    outcomes = Outcomes()
    mutants = (file_format.mutate(file_format.content, np.random.default_rng([seed, n])) for n in range(count))
    for number, data in enumerate(chain(mutants, file_format.build_bombs() if bombs else [])):
        (folder / file_format.file).write_bytes(data)
        start = time.process_time()
        read_once(file_format, folder, number, outcomes)
        seconds = time.process_time() - start
        outcomes.slowest = max(outcomes.slowest, seconds)
        if seconds > MAX_CPU_SECONDS:
            outcomes.add_fault(f'slower than {MAX_CPU_SECONDS:g} s', number)
    return outcomes


def read_once(file_format: FileFormat, folder: Path, number: int, outcomes: Outcomes) -> None:
    """Read the file that is in the folder, and add the outcome."""
    try:
        with limit_time(TIMEOUT_SECONDS), warnings.catch_warnings():
            warnings.simplefilter('error')
            records, report = file_format.read(folder)
    except PoseplugError as error:
        outcomes.refused += 1
        if str(folder) not in str(error):
            outcomes.add_fault(f'an error without the file: {error}'[:90], number)
    except (Exception, RecursionError) as error:
        outcomes.add_fault(f'{type(error).__name__}: {error}'[:90], number, traceback.format_exc(limit=-3))
    else:
        fault = find_record_fault(records, report, file_format.num_keypoints)
        outcomes.read += 1
        if fault:
            outcomes.add_fault(fault, number)


def write_images(folder: Path) -> None:
    """Write gray images under the names that all formats here use."""
    (folder / 'images').mkdir(exist_ok=True)
    names = [*NAMES, *(f'im{i:04d}.jpg' for i in (1, 2, 3)), *(f'im{i:05d}.jpg' for i in (1, 2, 3))]
    for name in names:
        cv2.imwrite(str(folder / 'images' / name), np.full((IMAGE_SIZE[1], IMAGE_SIZE[0], 3), 90, np.uint8))


@contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Raise TimeoutError if the code within the context takes longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f'longer than {seconds:g} s')

    previous_handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)


def find_record_fault(records: list[Record], report: SourceReport, num_keypoints: int) -> str:
    """What is wrong with the records of a file that was read, or nothing."""
    num_instances = sum(len(record.instances) for record in records)
    if report.kept != num_instances or report.total < report.kept:
        return f'{report.kept} kept of {report.total}, but {num_instances} instances'
    for record in records:
        count = len(record.instances)
        keypoints, visible = record.instances.keypoints, record.instances.visible
        if keypoints.shape != (count, num_keypoints, 2) or visible.shape != (count, num_keypoints):
            return f'keypoints of shape {keypoints.shape}'
        if not np.isin(visible, (0, 1, 2)).all():
            return 'an invalid visibility'
        for name, value in vars(record.instances).items():
            is_number = value.dtype.kind in 'fc' and not np.isnan(value).all()  # NaN in all rows: the file has none
            if is_number and not np.isfinite(value).all():
                return f'{name} that are not finite'
        has_extent = (record.instances.boxes[:, 2:] > record.instances.boxes[:, :2]).all(axis=1)
        if not has_extent[record.instances.has_box].all():
            return 'a box without extent'
    return ''


def measure_format(file_format: FileFormat, count: int) -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        outcomes = fuzz_annotations(file_format, Path(folder), count)
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    for fault, (number, trace) in outcomes.examples.items():
        print(f'{outcomes.wrong[fault]} x {fault} (first: file {number})\n{trace}', file=sys.stderr)
    num_wrong = sum(outcomes.wrong.values())
    result = f'{count:,} files: {outcomes.read:,} read correctly, {outcomes.refused:,} refused by name, '
    result += f'{num_wrong} otherwise; slowest {outcomes.slowest:.2f} s, {memory_gb:.2f} GB'
    return result, not num_wrong and memory_gb < MAX_MEMORY_GB


def build_goals(count: int = NUM_FILES) -> dict[str, tuple[str, Callable[[], Finding]]]:
    target = f'{count:,} files: 0 outcomes except read correctly or a named error, 0 over 2 s, under 1 GB'
    return {
        name: (target, partial(measure_format, file_format, count)) for name, file_format in build_formats().items()
    }


if __name__ == '__main__':
    print_rows(build_goals(), __doc__)
