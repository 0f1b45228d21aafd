"""Labels that a model disagrees with: exchanged, misplaced and missing ones come first."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.core.instances import Instances
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.inspect.label_check import (
    EXCHANGED,
    MISPLACED,
    MISSING,
    _draw_suspect,
    find_label_suspects,
    write_suspect_list,
    write_suspect_page,
)
from tests.reliability.image_kinds import build_exif

SKELETON = Skeleton(
    'hands',
    ('nose', 'left_hand', 'right_hand', 'tail'),
    flip_pairs=(('left_hand', 'right_hand'),),
    sigmas=(0.05, 0.05, 0.05, 0.05),
)
POINTS = np.array([[100, 60], [60, 120], [140, 120], [100, 180]], dtype=np.float32)


def build_record(name, points, visible=2):
    instances = Instances.from_annotations(
        np.asarray(points, np.float32).reshape(-1, 4, 2), np.full((1, 4), visible), areas=np.array([10_000.0])
    )
    return Record(Path(name), name, instances, source='set')


def predict(points=POINTS, scores=0.9):
    points = np.asarray(points, dtype=np.float32).reshape(-1, 4, 2)
    keypoint_scores = np.broadcast_to(np.float32(scores), points.shape[:2]).copy()
    return Poses(points, keypoint_scores, keypoint_scores.mean(axis=1), np.zeros(len(points), dtype=int))


def move(index, offset):
    points = POINTS.copy()
    points[index] += offset
    return points


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    good = [(build_record(f'good{i}.jpg', POINTS + rng.normal(0, 1, (4, 2))), predict()) for i in range(10)]
    wrong = [
        (build_record('exchanged.jpg', POINTS[[0, 2, 1, 3]]), predict()),
        (build_record('moved.jpg', move(3, 40)), predict()),
    ]
    return [*good[:5], *wrong, *good[5:]]


def test_wrong_labels_come_first_with_what_is_wrong(predictions):
    first, second, third = find_label_suspects(predictions, SKELETON)[:3]
    assert (first.label, first.finding, first.keypoints) == (
        'exchanged.jpg (instance 1)', EXCHANGED, ('left_hand', 'right_hand')
    )  # fmt: skip
    assert (second.label, second.finding, second.keypoints) == ('moved.jpg (instance 1)', MISPLACED, ('tail',))
    # Two similarities of nearly 1 against two of nearly 0, times the score; and a similarity of nearly 0.
    assert first.strength == pytest.approx(2 * 0.9, abs=1e-3)
    assert second.strength == pytest.approx(0.9, abs=1e-3)
    assert third.strength < 0.1


def test_kinds_of_findings_take_turns_whatever_their_strengths():
    exchanged = [
        (build_record(f'exchanged{n}.jpg', POINTS[[0, 2, 1, 3]]), predict(scores=[0.9 - n / 10] * 4)) for n in range(3)
    ]
    moved = [(build_record(f'moved{n}.jpg', move(3, 40)), predict(scores=[0.3 - n / 10] * 4)) for n in range(2)]
    labels = [suspect.label.split('.')[0] for suspect in find_label_suspects([*moved, *exchanged], SKELETON)]
    assert labels == ['exchanged0', 'moved0', 'exchanged1', 'moved1', 'exchanged2']


def test_a_model_that_is_unsure_counts_less():
    unsure = (build_record('unsure.jpg', move(3, 40)), predict(scores=[0.9, 0.9, 0.9, 0.1]))
    sure = (build_record('sure.jpg', move(3, 40)), predict())
    first, second = find_label_suspects([unsure, sure], SKELETON)
    assert first.label.startswith('sure')
    assert second.strength == pytest.approx(0.1, abs=1e-3)


def test_keypoints_that_are_not_labeled_are_no_suspects():
    assert find_label_suspects([(build_record('a.jpg', POINTS + 50, visible=0), predict())], SKELETON) == []


def test_an_instance_that_nobody_labeled_is_found():
    both = np.stack([POINTS, POINTS + [300, 0]])
    (missing,) = [
        suspect
        for suspect in find_label_suspects([(build_record('a.jpg', POINTS), predict(both))], SKELETON)
        if suspect.finding == MISSING
    ]
    assert (missing.predicted_index, missing.label) == (1, 'a.jpg')


def test_the_list_and_the_page_show_the_strongest_first(predictions, tmp_path):
    stored = [(Record(tmp_path / r.path, r.id, r.instances, source=r.source), poses) for r, poses in predictions]
    for record, _ in stored:
        cv2.imwrite(str(record.path), np.full((240, 200, 3), 90, np.uint8))
    (tmp_path / 'moved.jpg').unlink()
    suspects = find_label_suspects(stored, SKELETON)
    write_suspect_list(suspects, tmp_path / 'labels.csv')
    write_suspect_page(suspects, SKELETON, tmp_path / 'labels.html', max_drawn=3)
    with open(tmp_path / 'labels.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(suspects)
    assert rows[0]['finding'] == EXCHANGED
    assert rows[0]['keypoints'] == 'left_hand right_hand'
    assert {row['annotation_id'] for row in rows} == {''}  # the records have none
    page = (tmp_path / 'labels.html').read_text()
    assert page.count('<img') == 3
    assert page.index('exchanged.jpg') < page.index('moved.jpg')


def test_the_list_has_the_ids_of_annotations_that_have_one(tmp_path):
    record = build_record('moved.jpg', move(3, 40))
    instances = replace(record.instances, annotation_ids=np.array([71]))
    suspects = find_label_suspects([(replace(record, instances=instances), predict())], SKELETON)
    write_suspect_list(suspects, tmp_path / 'labels.csv')
    with open(tmp_path / 'labels.csv', newline='') as file:
        assert [row['annotation_id'] for row in csv.DictReader(file)] == ['71']


def test_a_suspect_is_drawn_on_the_pixels_as_stored_which_labels_mean(tmp_path):
    pixels = np.zeros((240, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    data, block = cv2.imencode('.jpg', pixels)[1].tobytes(), build_exif(3)  # upside down
    segment = b'\xff\xe1' + (len(block) + 2).to_bytes(2, 'big') + block
    (tmp_path / 'moved.jpg').write_bytes(data[:2] + segment + data[2:])
    record = build_record('moved.jpg', move(3, 40))
    suspects = find_label_suspects([(replace(record, path=tmp_path / 'moved.jpg'), predict())], SKELETON)
    label = _draw_suspect(suspects[0], SKELETON)
    assert label.shape == (3 * 224, 2 * 3 * 168, 3)  # a crop of 168 x 224 px, enlarged, and the prediction
    assert label[2, 2].max() < 60
    assert label[2, 500].min() > 200
    # The wrong tail, at (140, 220): 124 px right of the crop's border and 204 px below it.
    assert len(np.unique(label[3 * 204, 3 * 124 - 8 : 3 * 124 + 8].reshape(-1, 3), axis=0)) > 1


CONFIG = Path(__file__).parents[2] / 'configs/cpm/cpm_synthetic.py'


def test_the_command_writes_the_page_to_the_file_that_is_named(command, tiny_weights, tiny_cli_options, tmp_path):
    page, out = tmp_path / 'pages/suspects.html', tmp_path / 'out'
    arguments = ['--model', tiny_weights, '--out', out, '--html', page, '--max-drawn', 1, *tiny_cli_options()]
    code, printed, _ = command('doctor', CONFIG, *arguments)
    assert code == 0
    assert page.read_text().count('<img') == 1
    assert [file.name for file in out.iterdir()] == ['labels.csv']
    assert printed.splitlines()[-1] == f'written: {out / "labels.csv"} (4 instances), {page}'


def test_the_command_checks_the_labels_of_another_split(command, tiny_weights, tiny_cli_options, tmp_path):
    arguments = ['--model', tiny_weights, '--out', tmp_path / 'out', '--split', 'train', *tiny_cli_options()]
    assert '(10 instances)' in command('doctor', CONFIG, *arguments)[1]


def test_a_split_that_the_config_lacks_is_refused_by_name(command, tiny_weights, tiny_cli_options, tmp_path):
    arguments = ['--model', tiny_weights, '--out', tmp_path / 'out', '--split', 'val']
    code, _, error = command('doctor', CONFIG, *arguments, *tiny_cli_options(val_dataloader=None))
    assert code == 2
    assert 'val_dataloader' in error
    assert not (tmp_path / 'out').exists()


def test_the_command_needs_a_config(command, tiny_weights):
    code, _, error = command('doctor', '--model', tiny_weights)
    assert (code, '--model needs a config' in error) == (2, True)
