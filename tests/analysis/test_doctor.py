"""The doctor finds what was spoiled, says what to do, and finds nothing in what is sound."""

import subprocess
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.analysis import doctor
from poseplug.analysis.data_doctor import KINDS, examine, findings, portrait, write_page
from poseplug.config import load_config
from poseplug.datasets.sources.base import Report
from poseplug.datasets.synthetic import write_coco
from poseplug.datasets.verify import Facts, look, verify
from poseplug.sample import Record
from poseplug.skeletons.coco import COCO

CONFIG = Path(__file__).parents[2] / 'configs/simple_baseline/simple_baseline_r50_coco_256x192.py'
Usage = namedtuple('Usage', 'free')
BODY = {
    'nose': (50, 10), 'left_eye': (52, 8), 'right_eye': (48, 8), 'left_ear': (54, 9), 'right_ear': (46, 9),
    'left_shoulder': (60, 25), 'right_shoulder': (40, 25), 'left_elbow': (65, 40), 'right_elbow': (35, 40),
    'left_wrist': (66, 55), 'right_wrist': (34, 55), 'left_hip': (57, 60), 'right_hip': (43, 60),
    'left_knee': (58, 80), 'right_knee': (42, 80), 'left_ankle': (59, 97), 'right_ankle': (41, 97),
}  # fmt: skip


def points(**moved) -> np.ndarray:
    """(17, 2) of somebody seen from the front, with some joints elsewhere."""
    return np.array([{**BODY, **moved}[joint] for joint in COCO.joints], np.float32)


def exchanged(*parts) -> np.ndarray:
    return points(**{f'{a}_{p}': BODY[f'{b}_{p}'] for p in parts for a, b in (('left', 'right'), ('right', 'left'))})


@pytest.fixture
def facts(tmp_path):
    """A function from people's joints, and more of the record, to the facts of one picture of 100 x 110 px."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((110, 100, 3), np.uint8))

    def made(*people, boxes=None, areas=None, numbers=None, flag=2):
        keypoints = np.stack(people)
        boxes = np.array([[30.0, 5, 70, 100]] * len(people)) if boxes is None else np.array(boxes, dtype=float)
        areas = np.full(len(people), 2000.0) if areas is None else np.array(areas, dtype=float)
        record = Record(tmp_path / 'a.png', 'a.png', keypoints, np.full(keypoints.shape[:2], flag, np.uint8),
                        boxes=boxes, areas=areas, numbers=numbers)  # fmt: skip
        found = Facts('train: made', Report('made', kept=len(people)), COCO, [record])
        look(found, 1)
        return found

    return made


def test_nobody_who_is_sound_is_found(facts):
    assert examine(facts(points())) == []


SPOILED = {
    'left and right of the torso cross': dict(people=[exchanged('hip')]),
    'an arm or a leg crosses to the other side': dict(people=[exchanged('wrist')]),
    'joints outside the picture': dict(people=[points(left_wrist=(101, 55))]),
    'joints outside the box': dict(people=[points(left_wrist=(90, 55))]),
    'a labelled joint at the corner 0, 0': dict(people=[points(nose=(0, 0))]),
    'joints in one point': dict(people=[np.full((17, 2), 50, np.float32)]),
    'a box beyond the picture': dict(people=[points()], boxes=[[30, 5, 120, 100]]),
    'an area larger than the box': dict(people=[points()], areas=[4000]),
    'an area of nearly nothing': dict(people=[points()], areas=[3]),
    'the same joints as another person': dict(people=[points(), points() + np.float32(0.5)]),
}


def test_every_kind_of_fault_is_made_here():
    assert [*SPOILED] == [*KINDS]


@pytest.mark.parametrize('kind', SPOILED)
def test_a_spoiled_person_is_found_with_a_remedy(facts, kind):
    made = dict(SPOILED[kind])
    found = facts(*made.pop('people'), **made)
    (patient,) = [p for p in examine(found) if kind in p.faults]
    assert patient.badness >= KINDS[kind][0]
    (told,) = [f for f in findings(found, [patient]) if f.what.startswith(f'{kind}: 1 people')]
    assert told.remedy == KINDS[kind][1]
    assert str(told).startswith('LOOK ')
    assert 'a.png (person ' in told.what


def test_who_is_not_labelled_is_not_judged(facts):
    assert examine(facts(exchanged('hip', 'wrist'), flag=0)) == []


def test_somebody_lying_or_upside_down_is_judged_alike(facts):
    turned = [points()[:, ::-1], np.array([100, 105], np.float32) - points()]
    for person in turned:
        assert examine(facts(person, boxes=[[0, 0, 100, 110]])) == []
        wrong = person.copy()
        left, right = COCO.index('left_hip'), COCO.index('right_hip')
        wrong[[left, right]] = wrong[[right, left]]
        assert 'left and right of the torso cross' in examine(facts(wrong, boxes=[[0, 0, 100, 110]]))[0].faults


def test_the_worst_come_first(facts):
    people = [points(), points(left_wrist=(90, 55)) + 3, exchanged('hip', 'wrist') - 3]
    assert [p.person for p in examine(facts(*people))] == [2, 1]


def test_people_of_one_number_and_pictures_of_the_same_pixels_are_told(facts, tmp_path):
    found = facts(points(), points() + 5, numbers=np.array([7, 7]))
    cv2.imwrite(str(tmp_path / 'b.png'), np.zeros((110, 100, 3), np.uint8))
    found.records.append(Record(tmp_path / 'b.png', 'b', points()[None], np.full((1, 17), 2, np.uint8)))
    look(found, 1)
    told = '\n'.join(map(str, findings(found, [])))
    assert '1 numbers of people are given twice: 7' in told
    assert '1 pictures are there twice: a.png = b.png' in told


def test_joints_that_nobody_has_are_told(facts):
    found = facts(points())
    found.records[0].visible[:, 0] = 0
    assert any('never labelled: nose' in f.what for f in findings(found, []))


def test_the_page_holds_the_worst_as_pictures_and_no_link_leads_out(facts, tmp_path):
    found = facts(exchanged('hip'), points(left_wrist=(90, 55)) + 2)
    found.records[0] = Record(**{**vars(found.records[0]), 'id': '<script>'})
    patients = examine(found)
    write_page(tmp_path / 'page.html', [doctor.Finding('a fact')], [(found, patients)], 1)
    page = (tmp_path / 'page.html').read_text()
    assert page.count('<img') == 1
    assert '<script>' not in page
    assert '&lt;script&gt;' in page
    assert 'http' not in page


def test_a_person_without_a_readable_picture_is_drawn_on_grey(facts, tmp_path):
    found = facts(exchanged('hip'))
    (patient,) = examine(found)
    (tmp_path / 'a.png').write_bytes(b'')
    assert portrait(patient, COCO).ndim == 3


def test_the_embedded_set_has_nobody_exchanged(tmp_path):
    write_coco(tmp_path / 'coco', 12, 8, seed=0)
    source = dict(type='CocoSource', root=str(tmp_path / 'coco'))
    options = {f'{split}_dataloader.dataset.sources': [{**source, 'half': half}]
               for split, half in (('train', 'train'), ('val', 'val'), ('test', 'val'))}  # fmt: skip
    for found in verify(load_config(CONFIG, options)):
        kinds = {kind for patient in examine(found) for kind in patient.faults}
        assert not kinds & {'left and right of the torso cross', 'joints in one point', 'joints outside the picture'}


# --- the environment --------------------------------------------------------------------------------------------------


def test_this_environment_is_told_and_each_fault_has_its_remedy():
    found = doctor.environment()
    assert any('torch' in f.what for f in found)
    assert any('threads of torch' in f.what or 'torch uses' in f.what for f in found)


def test_old_new_and_absent_packages_are_told_with_the_command(monkeypatch):
    have = {'torch': '2.5.1+cpu', 'rich': None, 'numpy': '3.0.1', 'scipy': '1.17.1'}
    needed = ['torch<3,>=2.6', 'rich<16,>=13', 'numpy<3,>=2', 'scipy<2,>=1.11', 'ruff; extra == "test"']
    monkeypatch.setattr(doctor, 'requires', lambda name: needed)
    monkeypatch.setattr(doctor, 'installed', have.get)
    *wrong, found = map(str, doctor.packages())
    assert wrong == [
        'WRONG  torch 2.5.1+cpu is older than 2.6. pip install "torch>=2.6,<3"',
        'WRONG  rich is not installed. pip install "rich>=13,<16"',
        'WRONG  numpy 3.0.1 is newer than what was tested, which ends before 3. pip install "numpy>=2,<3"',
    ]
    assert found.endswith('scipy 1.17.1')


def test_two_packages_of_opencv_are_told(monkeypatch):
    both = [namedtuple('D', 'metadata')({'Name': name}) for name in ('opencv-python', 'OpenCV-Python-headless', 'x')]
    monkeypatch.setattr(doctor, 'distributions', lambda: both)
    (told,) = doctor.opencv()
    assert 'opencv-python and opencv-python-headless share the folder cv2' in told.what
    assert 'pip uninstall -y opencv-python opencv-python-headless' in told.remedy


def test_binaries_for_another_numpy_are_told_by_what_they_say(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, '', 'Traceback\nValueError: numpy.dtype size changed')
    monkeypatch.setattr(doctor, 'installed', lambda name: '1.0')
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: failed)
    (told,) = doctor.xtcocotools()
    assert told.what.endswith('numpy.dtype size changed')
    assert '--no-binary xtcocotools' in told.remedy


@pytest.mark.parametrize(('free', 'wrong'), [(0.5e9, 2), (3e9, 1), (50e9, 0)])
def test_little_room_is_told(monkeypatch, free, wrong):
    monkeypatch.setattr(doctor.shutil, 'disk_usage', lambda _: Usage(free))
    if not Path('/dev/shm').is_dir():
        pytest.skip('no memory shared by files here')
    assert sum(f.wrong for f in doctor.space(Path())) == wrong


def test_more_threads_than_processors_are_told(monkeypatch):
    monkeypatch.setattr(doctor, 'processors_allowed', lambda: 0.5)
    (told,) = doctor.threads()
    assert told.remedy == 'OMP_NUM_THREADS=1 in the environment'


@pytest.mark.parametrize(
    ('text', 'parts'), [('2.13.0+cpu', (2, 13, 0)), ('5.0.0.93', (5, 0, 0)), ('2.10rc1', (2, 10, 1))]
)
def test_versions_are_compared_by_their_numbers(text, parts):
    assert doctor.numbers(text) == parts


def test_the_command_tells_environment_and_data_and_writes_the_page(command, tiny_data, typed, tmp_path):
    config = Path(__file__).parents[2] / 'configs/cpm/cpm_synthetic.py'
    code, out, _ = command('doctor.py', config, '--page', tmp_path / 'page.html', *typed())
    assert code in (0, 1)
    assert out.startswith('environment\n')
    assert 'train: LSPSource' in out
    assert (tmp_path / 'page.html').read_text().startswith('<!doctype html>')
