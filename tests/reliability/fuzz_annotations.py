"""Spoiled annotation files by the thousand: each is read right or refused by name (goal I1).

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
from poseplug.datasets.sources.aic import AICSource
from poseplug.datasets.sources.base import Report
from poseplug.datasets.sources.boxes import read_boxes
from poseplug.datasets.sources.coco import CocoSource
from poseplug.datasets.sources.crowdpose import CrowdPoseSource
from poseplug.datasets.sources.flic import FLICSource
from poseplug.datasets.sources.lsp import LSPETSource, LSPSource
from poseplug.datasets.sources.mpii import OFFICIAL, MPIISource
from poseplug.datasets.sources.pack import FORMAT, VERSION, PackedSource
from poseplug.errors import PoseplugError
from poseplug.sample import Record
from poseplug.skeleton import get_skeleton
from tests.reliability.mutants import Rng, json_mutant, mat_bombs, mat_mutant
from tests.reliability.rows import Finding, print_rows

FILES = int(os.environ.get('FUZZ_FILES', 10_000))
SLOW = 2.0  # s of the processor's time for one file
STUCK = 20.0  # s on the wall, after which a file is given up
MEMORY = 1.0  # GB
SIZE = (100, 80)  # width, height of the pictures
NAMES = ('1.jpg', '2.jpg', '3.jpg')


@dataclass
class Format:
    """A reader: where its file stands below a folder, an intact file, how one is spoiled, and what reads it."""

    file: str
    content: Any
    mutant: Callable[[Any, Rng], bytes]
    read: Callable[[Path], tuple[list[Record], Report]]
    joints: int
    bombs: Callable[[], list[bytes]] = list


@dataclass
class Ends:
    """How files ended: `read` and `refused` are well; the rest has an example each."""

    read: int = 0
    refused: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[int, str]] = field(default_factory=dict)
    slowest: float = 0.0

    def note(self, what: str, number: int, trace: str = '') -> None:
        self.wrong[what] += 1
        self.examples.setdefault(what, (number, trace))


# --- intact files -----------------------------------------------------------------------------------------------------


def coco_content(joints: tuple[str, ...]) -> dict[str, Any]:
    """Five people, one of them a crowd, on three pictures."""
    share = np.linspace(0.1, 0.9, len(joints))

    def person(number: int, picture: int, crowd: int = 0) -> dict[str, Any]:
        keypoints = np.column_stack([20 + share * 40, 10 + share * 60, np.full(len(joints), 2)]).ravel().tolist()
        outline: Any = {'counts': [0, SIZE[0] * SIZE[1]], 'size': [SIZE[1], SIZE[0]]} if crowd else [[1, 1, 9, 1, 9, 9]]
        return dict(id=number, image_id=picture, category_id=1, iscrowd=crowd, bbox=[20, 10, 40, 60], area=900.0,
                    num_keypoints=len(joints), keypoints=keypoints, segmentation=outline)  # fmt: skip

    return {
        'info': {'year': 2017},
        'images': [dict(id=i + 1, file_name=n, width=SIZE[0], height=SIZE[1], crowdIndex=0.5)
                   for i, n in enumerate(NAMES)],
        'annotations': [person(11, 1), person(12, 1), person(13, 2), person(14, 3), person(15, 3, 1)],
        'categories': [dict(id=1, name='person', keypoints=[*joints])],
    }  # fmt: skip


def aic_content() -> list[dict[str, Any]]:
    joints = [v for k in range(14) for v in (20 + k, 10 + k, 1 + k % 3)]
    return [
        dict(image_id=n, human_annotations={'human1': [1, 2, 50, 60], 'human2': [3, 4, 40, 70]},
             keypoint_annotations={'human1': joints, 'human2': joints})
        for n in NAMES
    ]  # fmt: skip


def boxes_content() -> list[dict[str, Any]]:
    return [dict(image_id=i % 3 + 1, category_id=1, bbox=[10 + i, 5, 30, 40], score=0.9 - i / 20) for i in range(9)]


def pack_content() -> dict[str, Any]:
    """What `pack.json` and `people.json` of a pack of two crops say; where its bytes lie is not looked at here."""
    joints = [[11.0 + k, 21.0 + 2 * k] for k in range(14)]
    people = dict(file=['crops-00000.bin'] * 2, first=[0, 100], length=[100, 100], crc32=[1, 2], ids=['a:0', 'a:1'],
                  sources=['lsp'] * 2, keypoints=[joints] * 2, visible=[[2] * 14] * 2, boxes=[[1.0, 2, 30, 40], None],
                  areas=[50.0, None], centers=[[20.0, 20]] * 2, scales=[0.5] * 2, heads=[None] * 2,
                  numbers=[1, 2])  # fmt: skip
    head = dict(format=FORMAT, version=VERSION, skeleton='lsp', joints=[*get_skeleton('lsp').joints],
                files={'crops-00000.bin': 200}, made_of='LSPSource')  # fmt: skip
    return {'head': head, 'people': people}


def mpii_content() -> list[dict[str, Any]]:
    joints = [[11.0 + k, 21.0 + 2 * k] for k in range(16)]
    return [dict(image=n, center=[31.0, 41.0], scale=0.5, joints=joints, joints_vis=[1] * 16) for n in NAMES * 2]


def mat(**arrays: Any) -> bytes:
    file = BytesIO()
    savemat(file, arrays)
    return file.getvalue()


def lsp_content(shape: tuple[int, ...]) -> bytes:
    joints = np.zeros(shape)
    body = np.stack([np.linspace(20, 60, 14), np.linspace(70, 5, 14), np.arange(14) % 2])  # (3, 14)
    joints[...] = (body if shape[0] == 3 else body.T)[..., None]
    return mat(joints=joints)


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB array of structs with the names of the first row; absent fields are empty."""
    made = np.zeros((1, len(rows)), dtype=[(f, object) for f in rows[0]])
    for i, row in enumerate(rows):
        for f in rows[0]:
            made[0, i][f] = row.get(f, np.zeros((0, 0)))
    return made


def mpii_mat() -> bytes:
    points = structs(
        [dict(x=20.0 + k, y=10.0 + 3 * k, id=float(k), is_visible=(1.0, '', '0')[k % 3]) for k in range(16)]
    )
    person = dict(x1=1.0, y1=2.0, x2=4.0, y2=6.0, annopoints={'point': points}, scale=0.5, objpos=dict(x=31.0, y=41.0))
    rows = [dict(image=dict(name=n), annorect=structs([person, person]), frame_sec=1.0) for n in NAMES]
    return mat(RELEASE=dict(annolist=structs(rows), img_train=np.ones((1, 3)), version='12'))


def flic_mat() -> bytes:
    coords = np.full((2, 29), np.nan)
    coords[:, (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)] = np.arange(22).reshape(2, 11) + 10.0
    rows = [dict(coords=coords, filepath=n, torsobox=np.array([31.0, 11.0, 71.0, 71.0]), istrain=1.0, istest=0.0)
            for n in NAMES]  # fmt: skip
    return mat(examples=structs(rows))


# --- readers ----------------------------------------------------------------------------------------------------------


def boxes_read(folder: Path) -> tuple[list[Record], Report]:
    """The boxes of a detector's file as records without joints."""
    found, report = read_boxes(folder / 'boxes.json', dict.fromkeys((1, 2, 3), SIZE))
    return [Record(folder, str(i), np.zeros((len(f.boxes), 0, 2)), np.zeros((len(f.boxes), 0), np.uint8), boxes=f.boxes,
                   box_scores=f.scores) for i, f in found.items()], report  # fmt: skip


def pack_read(folder: Path) -> tuple[list[Record], Report]:
    """A pack whose two files are given as one, its checksum made to fit; a file that is no JSON is its head."""
    (folder / 'crops-00000.bin').write_bytes(bytes(200))
    data = (folder / 'both.json').read_bytes()
    try:
        both = json.loads(data)
        head, people = both['head'], json.dumps(both['people']).encode()
        head.update(sha256=hashlib.sha256(people).hexdigest())
        head['files']['people.json'] = len(people)
        data = json.dumps(head).encode()
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        people = b'{}'
    (folder / 'people.json').write_bytes(people)
    (folder / 'pack.json').write_bytes(data)
    return PackedSource(folder).load()


def formats() -> dict[str, Format]:
    numbers, structures = (lambda: mat_bombs('joints', 6)), (lambda: mat_bombs('RELEASE', 2))
    coco, crowdpose = (get_skeleton(n).joints for n in ('coco', 'crowdpose'))
    named = dict(annotations='a.json', images='images')
    return {
        'I1 COCO JSON': Format('a.json', coco_content(coco), json_mutant,
                               lambda f: CocoSource(f, outlines=True, **named).load(), len(coco)),
        'I1 LSP .mat': Format('joints.mat', lsp_content((3, 14, 3)), mat_mutant, lambda f: LSPSource(f).load(), 14,
                              numbers),
        'I1 LSPET .mat': Format('joints.mat', lsp_content((14, 3, 3)), mat_mutant, lambda f: LSPETSource(f).load(), 14,
                                numbers),
        'I1 MPII .mat': Format(OFFICIAL, mpii_mat(), mat_mutant, lambda f: MPIISource(f, 'trainval').load(), 16,
                               structures),
        'I1 MPII JSON': Format('a.json', mpii_content(), json_mutant,
                               lambda f: MPIISource(f, annotations='a.json').load(), 16),
        'I1 CrowdPose JSON': Format('a.json', coco_content(crowdpose), json_mutant,
                                    lambda f: CrowdPoseSource(f, **named).load(), len(crowdpose)),
        'I1 AIC JSON': Format('a.json', aic_content(), json_mutant, lambda f: AICSource(f, **named).load(), 14),
        'I1 FLIC .mat': Format('examples.mat', flic_mat(), mat_mutant, lambda f: FLICSource(f).load(), 9),
        'I1 pack JSON': Format('both.json', pack_content(), json_mutant, pack_read, 14),
        'I1 boxes JSON': Format('boxes.json', boxes_content(), json_mutant, boxes_read, 0),
    }  # fmt: skip


# --- one file after the other -----------------------------------------------------------------------------------------


def fuzz(form: Format, folder: Path, count: int, bombs: bool = True, seed: int = 0) -> Ends:
    """Read `count` spoiled files, and the format's bombs; file number n is that of `default_rng([seed, n])`."""
    write_pictures(folder)
    ends = Ends()
    spoiled = (form.mutant(form.content, np.random.default_rng([seed, n])) for n in range(count))
    for number, data in enumerate(chain(spoiled, form.bombs() if bombs else [])):
        (folder / form.file).write_bytes(data)
        begun = time.process_time()
        try:
            with limited(STUCK), warnings.catch_warnings():
                warnings.simplefilter('error')
                found = form.read(folder)
        except PoseplugError as error:
            ends.refused += 1
            if str(folder) not in str(error):
                ends.note(f'an error without the file: {error}'[:90], number)
        except (Exception, RecursionError) as error:
            ends.note(f'{type(error).__name__}: {error}'[:90], number, traceback.format_exc(limit=-3))
        else:
            fault = misread(*found, form.joints)
            ends.read += 1
            if fault:
                ends.note(fault, number)
        took = time.process_time() - begun
        ends.slowest = max(ends.slowest, took)
        if took > SLOW:
            ends.note(f'slower than {SLOW:g} s', number)
    return ends


def write_pictures(folder: Path) -> None:
    """Grey pictures under the names that every format here uses."""
    (folder / 'images').mkdir(exist_ok=True)
    names = [*NAMES, *(f'im{i:04d}.jpg' for i in (1, 2, 3)), *(f'im{i:05d}.jpg' for i in (1, 2, 3))]
    for name in names:
        cv2.imwrite(str(folder / 'images' / name), np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """A TimeoutError where what is within takes longer."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f'longer than {seconds:g} s')

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def misread(records: list[Record], report: Report, joints: int) -> str:
    """What is wrong with what was accepted, or nothing."""
    people = sum(len(r.keypoints) for r in records)
    if report.kept != people or report.total < report.kept:
        return f'{report.kept} kept of {report.total}, but {people} people'
    for record in records:
        count = len(record.keypoints)
        if record.keypoints.shape != (count, joints, 2) or record.visible.shape != (count, joints):
            return f'joints of shape {record.keypoints.shape}'
        if not np.isin(record.visible, (0, 1, 2)).all():
            return 'a flag that is none'
        for name, value in vars(record).items():
            if isinstance(value, np.ndarray) and value.dtype.kind in 'fc' and not np.isfinite(value).all():
                return f'{name} that are not finite'
        if record.boxes is not None and not (record.boxes[:, 2:] > record.boxes[:, :2]).all():
            return 'a box without extent'
    return ''


def finding(form: Format, count: int) -> Finding:
    """The figure of one format."""
    with tempfile.TemporaryDirectory() as folder:
        ends = fuzz(form, Path(folder), count)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    for what, (number, trace) in ends.examples.items():
        print(f'{ends.wrong[what]} x {what} (first: file {number})\n{trace}', file=sys.stderr)
    bad = sum(ends.wrong.values())
    told = f'{count:,} files: {ends.read:,} read right, {ends.refused:,} refused by name, {bad} otherwise; '
    told += f'slowest {ends.slowest:.2f} s, {memory:.2f} GB'
    return told, not bad and memory < MEMORY


def goals(count: int = FILES) -> dict[str, tuple[str, Callable[[], Finding]]]:
    asked = f'{count:,} files: 0 ends other than read right or a named error, 0 over 2 s, under 1 GB'
    return {name: (asked, partial(finding, form, count)) for name, form in formats().items()}


if __name__ == '__main__':
    print_rows(goals(), __doc__)
