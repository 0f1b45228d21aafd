"""Comparing the predictions of test runs, from files to the table."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseplug.cli.commands import compare
from poseplug.core.errors import AnnotationError, ConfigError, MismatchError
from poseplug.core.instances import Instances
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.keypoint_errors import collect_keypoint_errors
from poseplug.evaluation.prediction_file import NO_SUBJECT, read_predictions, write_predictions
from poseplug.inspect.compare import calibrate_scores, chart_reliability, compare_predictions

SKELETON = Skeleton('three', ('a', 'b', 'c'), sigmas=(0.05, 0.05, 0.05))
NUM_IMAGES = 40


def build_records(num_instances=1):
    rng = np.random.default_rng(0)
    points = rng.uniform(100, 400, (NUM_IMAGES, num_instances, 3, 2)).astype(np.float32)
    visible = np.full((num_instances, 3), 2)
    boxes = np.array([[0.0, 0.0, 100.0 + i, 100.0] for i in range(num_instances)])
    areas = np.full(num_instances, 10_000.0)
    return [
        Record(Path(f'{i}.jpg'), str(i), Instances.from_annotations(p, visible, boxes=boxes, areas=areas), source='set')
        for i, p in enumerate(points)
    ]


def predict(points, offset=0.0, score=0.9):
    points = np.asarray(points, dtype=np.float32) + offset
    scores = np.full(points.shape[:2], score, dtype=np.float32)
    return Poses(points, scores, scores.mean(axis=1), np.zeros(len(points), dtype=int))


def write_run(path, offset, num_images=NUM_IMAGES, name='', skeleton=SKELETON):
    records = build_records()[:num_images]
    pairs = [(record, predict(record.instances.keypoints, offset)) for record in records]
    write_predictions(path, pairs, skeleton, name)
    return path


def test_a_file_keeps_what_was_predicted(tmp_path):
    records = build_records()
    file = read_predictions(write_run(tmp_path / 'a.jsonl', 3.0, name='first'))
    assert file.name == 'first'
    assert file.skeleton == SKELETON
    assert len(file.images) == NUM_IMAGES
    np.testing.assert_allclose(file.images[5].annotated, records[5].instances.keypoints, rtol=1e-6)
    np.testing.assert_allclose(file.images[5].predicted, records[5].instances.keypoints + 3, rtol=1e-6)
    assert file.images[5].areas.tolist() == [10_000.0]


def test_the_records_of_a_top_down_test_become_one_image(tmp_path):
    pairs = []
    for record in build_records(num_instances=3):
        for i in (2, 0, 1):
            pairs.append((record.put_first(i), predict(record.instances.keypoints[[i]], 100.0 * i)))
    write_predictions(tmp_path / 'a.jsonl', pairs, SKELETON)
    image = read_predictions(tmp_path / 'a.jsonl').images[7]
    assert len(image.annotated) == len(image.predicted) == 3
    # The first record's order counts: instance 2 first. Every prediction knows the instance whose box it was made in.
    offsets = image.predicted - image.annotated[image.subjects]
    np.testing.assert_allclose(offsets[:, 0, 0], [200, 0, 100], atol=1e-3)


def test_one_instance_per_image_needs_no_subject(tmp_path):
    assert read_predictions(write_run(tmp_path / 'a.jsonl', 0.0)).images[0].subjects.tolist() == [NO_SUBJECT]


def test_a_shift_of_all_keypoints_is_found_with_its_interval(tmp_path):
    results = [read_predictions(write_run(tmp_path / f'{n}.jsonl', n, name='run')) for n in (0.0, 2.0)]
    comparison = compare_predictions(results)
    assert comparison.names == ['run', 'run_2']
    # A shift of 2 px in x and y is d² = 8: exp(-8 / 200).
    difference = comparison.differences['mean OKS'][1]
    np.testing.assert_allclose(difference, 100 * (np.exp(-0.04) - 1), atol=1e-3)
    assert comparison.values['good'][1].value == 100


def test_only_common_images_are_compared_and_the_others_are_counted(tmp_path):
    results = [read_predictions(write_run(tmp_path / f'{n}.jsonl', 0.0, n)) for n in (30, 40)]
    comparison = compare_predictions(results)
    assert (comparison.num_images, comparison.num_left_out) == (30, 10)


def test_other_keypoints_and_other_annotations_are_refused(tmp_path):
    first = read_predictions(write_run(tmp_path / 'a.jsonl', 0.0))
    other_skeleton = Skeleton('other', ('a', 'b', 'd'), sigmas=(0.05,) * 3)
    other = read_predictions(write_run(tmp_path / 'b.jsonl', 0.0, skeleton=other_skeleton))
    with pytest.raises(MismatchError, match='different keypoints'):
        compare_predictions([first, other])
    changed = read_predictions(tmp_path / 'a.jsonl')
    changed.images[3].annotated[0, 0, 0] += 1
    with pytest.raises(MismatchError, match='other annotations'):
        compare_predictions([first, changed])
    changed.images = []
    with pytest.raises(MismatchError, match='no image in common'):
        compare_predictions([first, changed])


@pytest.mark.parametrize('text', ['', '{}', 'no json', '{"format": "poseplug predictions", "version": 99}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / 'a.jsonl').write_text(text)
    with pytest.raises(AnnotationError, match='poseplug test --predictions'):
        read_predictions(tmp_path / 'a.jsonl')
    with pytest.raises(AnnotationError, match='No such file'):
        read_predictions(tmp_path / 'absent.jsonl')


def test_calibration_compares_scores_with_what_is_right(tmp_path):
    records = build_records()
    # One of three keypoints lies 300 px away in half of the images; all scores are 0.75.
    pairs = []
    for i, record in enumerate(records):
        points = record.instances.keypoints.copy()
        points[:, 2] += 300.0 * (i % 2)
        pairs.append((record, predict(points, score=0.75)))
    write_predictions(tmp_path / 'a.jsonl', pairs, SKELETON)
    rows, error = calibrate_scores(collect_keypoint_errors(read_predictions(tmp_path / 'a.jsonl')))
    assert rows == [(0.75, pytest.approx(5 / 6), 3 * NUM_IMAGES)]
    assert error == pytest.approx(5 / 6 - 0.75)


def test_the_reliability_chart_draws_the_bins_and_the_diagonal(tmp_path):
    results = [read_predictions(write_run(tmp_path / f'{n}.jsonl', n)) for n in (0.0, 3.0)]
    comparison = compare_predictions(results)
    first, second, diagonal = chart_reliability(comparison).series
    rows, _ = calibrate_scores(collect_keypoint_errors(results[1]))
    assert list(zip(second.x, second.y, strict=True)) == [(score, fraction) for score, fraction, _ in rows]
    assert set(first.y) == {1.0}
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]


def test_the_command_prints_and_writes_tables(tmp_path, capsys):
    files = [write_run(tmp_path / f'{n}.jsonl', n) for n in (0.0, 20.0)]
    compare.run_compare(argparse.Namespace(files=files, out=tmp_path / 'out', html=None, images=None))
    printed = capsys.readouterr().out
    assert '| measure | 0.0 | 20.0 | 20.0 - 0.0 |' in printed
    assert '| good | 100.00 [100.00, 100.00] | 0.00' in printed
    assert (tmp_path / 'out' / 'comparison.md').read_text() in printed
    assert '<svg' in (tmp_path / 'out' / 'errors.svg').read_text()
    reliability = (tmp_path / 'out' / 'reliability.svg').read_text()
    assert all(f'>{name}<' in reliability for name in ('0.0', 'calibrated'))
    compare.run_compare(argparse.Namespace(files=files[:1], out=None, html=None, images=None))
    explained = capsys.readouterr().out
    assert '| a | 100.00' in explained
    assert 'expected calibration error' in explained


def test_runs_of_one_name_are_told_apart_by_their_files(tmp_path, capsys):
    files = [write_run(tmp_path / f'{name}.jsonl', 0.0, name='cpm') for name in ('old', 'new')]
    compare.run_compare(argparse.Namespace(files=files, out=None, html=None, images=None))
    assert '| measure | cpm (old) | cpm (new) | cpm (new) - cpm (old) |' in capsys.readouterr().out


def test_the_first_line_names_the_keypoints(tmp_path):
    header = json.loads(write_run(tmp_path / 'a.jsonl', 0.0).read_text().splitlines()[0])
    assert header['keypoints'] == ['a', 'b', 'c']


def test_a_line_has_what_was_annotated_in_the_image(tmp_path):
    line = json.loads(write_run(tmp_path / 'a.jsonl', 0.0).read_text().splitlines()[1])
    (annotated,) = line['annotated']
    assert set(annotated) == {'keypoints', 'box', 'area', 'annotation_id'}
    assert (annotated['box'], annotated['area']) == ([0, 0, 100, 100], 10_000)


def test_instances_with_equal_boxes_or_equal_keypoints_are_distinct_subjects(tmp_path):
    points, boxes = np.zeros((3, 3, 2)), np.array([[0.0, 0, 50, 50], [0, 0, 60, 50], [0, 0, 60, 50]])
    points[2] = 30
    instances = Instances.from_annotations(points, np.full((3, 3), 2), boxes=boxes, areas=np.full(3, 1e4))
    record = Record(Path('a.jpg'), 'a', instances, source='set')
    pairs = [(record.put_first(i), predict(points[[i]])) for i in range(3)]
    write_predictions(tmp_path / 'a.jsonl', pairs, SKELETON)
    assert read_predictions(tmp_path / 'a.jsonl').images[0].subjects.tolist() == [0, 1, 2]


# --- the page ---------------------------------------------------------------------------------------------------------


def run_page(files, page, images=None):
    compare.run_compare(argparse.Namespace(files=files, out=None, html=page, images=images))
    return page.read_text()


def test_the_page_says_which_result_is_better_and_where(tmp_path):
    """The second result is shifted in all images but five, in which it is right and the first one is not."""
    records = build_records()
    files = []
    for name, is_shifted in (('first', lambda i: i < 5), ('second', lambda i: i >= 5)):
        pairs = [(r, predict(r.instances.keypoints, 20.0 * is_shifted(i))) for i, r in enumerate(records)]
        write_predictions(tmp_path / f'{name}.jsonl', pairs, SKELETON, name)
        files.append(tmp_path / f'{name}.jsonl')
    page = run_page(files, tmp_path / 'pages' / 'page.html')
    # d² of the shift is 800: a similarity of exp(-4) is undetected, so that 35 of 40 images lose all and 5 gain all
    assert '<p class="score">-75.00</p>' in page
    assert 'second is worse on these images' in page
    worse, _, better = page.partition('<h3>second is better than first</h3>')
    assert '<h3>second is worse than first</h3>' in worse
    assert better.count('<td>0.0</td><td>100.0</td>') == 5
    assert 'Name the folder of the images by --images' in page
    assert page.count('<svg') == 3


def test_the_page_shows_the_images_of_a_folder(tmp_path):
    images = tmp_path / 'set' / 'images'
    images.mkdir(parents=True)
    for i in range(NUM_IMAGES - 1):
        cv2.imwrite(str(images / f'{i}.jpg'), np.zeros((500, 500, 3), np.uint8))
    files = [write_run(tmp_path / f'{n}.jsonl', n) for n in (0.0, 20.0)]
    page = run_page(files, tmp_path / 'page.html', tmp_path / 'set')
    assert page.count('<img ') == 6
    assert 'Side by side: annotated | 0.0 | 20.0' in page
    page = run_page(files[:1], tmp_path / 'page.html', tmp_path / 'set')
    assert '<h3>Lowest OKS</h3>' in page
    assert page.count('<img ') == 6
    with pytest.raises(ConfigError, match=r'no image of the results is there exactly once; name the folder of 0\.jpg'):
        run_page(files, tmp_path / 'page.html', tmp_path / 'pages')


def test_the_page_shows_where_symmetric_parts_are_confused_and_parts_are_occluded(tmp_path):
    """Keypoints a and b are exchanged in image 3, b and c in image 5; in image 7 two are occluded."""
    records, pairs = build_records(), []
    for i, record in enumerate(records):
        points = record.instances.keypoints.copy()
        order = {3: [1, 0, 2], 5: [0, 2, 1]}.get(i, [0, 1, 2])
        # the arrays of all records are one, so that a change would be one of all images
        visible = np.array([[1, 1, 2]]) if i == 7 else record.instances.visible
        changed = replace(record, instances=replace(record.instances, visible=visible))
        pairs.append((changed, predict(points[:, order])))
    write_predictions(tmp_path / 'a.jsonl', pairs, SKELETON, 'a')
    comparison = compare_predictions([read_predictions(tmp_path / 'a.jsonl')])
    expected = np.zeros(NUM_IMAGES)
    expected[[3, 5]] = 2
    assert comparison.inversions.tolist() == [expected.tolist()]
    assert comparison.num_occluded.nonzero()[0].tolist() == [7]
    page = run_page([tmp_path / 'a.jsonl'], tmp_path / 'page.html')
    _, _, confused = page.partition('<h3>Most keypoints at another one of the person</h3>')
    confused, _, occluded = confused.partition('<h3>Most occluded keypoints</h3>')
    assert [confused.find(f'<td>{i}.jpg') >= 0 for i in (3, 5, 7)] == [True, True, False]
    assert occluded.count('<td>7.jpg') == occluded.count('.jpg') == 1


def test_images_without_a_page_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match='--images is for the page'):
        compare.run_compare(argparse.Namespace(files=[], out=None, html=None, images=tmp_path))


def test_a_file_keeps_the_limbs_and_one_without_them_is_read(tmp_path):
    skeleton = Skeleton('three', ('a', 'b', 'c'), limbs=(('a', 'b'),), sigmas=(0.05,) * 3)
    file = write_run(tmp_path / 'a.jsonl', 0.0, skeleton=skeleton)
    assert read_predictions(file).skeleton.limbs == (('a', 'b'),)
    header, *lines = file.read_text().splitlines()
    content = json.loads(header)
    del content['limbs']
    file.write_text('\n'.join([json.dumps(content), *lines]))
    assert read_predictions(file).skeleton.limbs == ()
