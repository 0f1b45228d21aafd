from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from poseplug.core.errors import ConfigError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.evaluation.base import MetricResult
from poseplug.evaluation.results import EvaluationResult
from poseplug.report.page import select_headline_metric, write_html_report
from poseplug.report.page_examples import score_image, select_examples
from poseplug.skeletons.lsp import LSP, LSP_OBSERVER
from poseplug.testing import create_annotated_record

VOID = {'meta', 'img', 'br'}


class Page(HTMLParser):
    """Text, images and tables of a page; a tag that is not closed is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.words, self.rows = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag == 'tr':
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [v for k, v in attrs if k in ('src', 'href')]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ('style', 'script'):
            self.words.append(data)
        if self.open and self.open[-1] in ('td', 'th'):
            self.rows[-1].append(data)


def build_person():
    """(14, 2) keypoints with a torso of 50 px, no two of them at one position."""
    points = np.stack([np.linspace(20, 80, 14), np.linspace(10, 90, 14)], axis=1)
    points[LSP.index('right_hip')], points[LSP.index('left_shoulder')] = (20, 80), (50, 40)
    return points.astype(np.float32)


@pytest.fixture
def evaluation(tmp_path):
    """Twelve images; in image i the last i keypoints are predicted 1000 px off."""
    predictions = []
    for i in range(12):
        path = tmp_path / f'<{i}>.jpg'
        cv2.imwrite(str(path), np.full((100, 90, 3), 20 * i, np.uint8))
        predicted = build_person()
        predicted[14 - i :] += 1000
        record = create_annotated_record(path, path.name, build_person()[None], np.full((1, 14), 2, np.uint8))
        predictions.append((record, Poses.from_annotations(predicted[None], record.instances.visible)))
    first = MetricResult({'PCK@0.1': 11.0, 'PCK@0.2': 21.0, 'PCK@0.2/wrist': 8.5}, {'mean': ([0, 0.2], [0, 21])})
    last = MetricResult(
        {'PCK@0.1': 31.0, 'PCK@0.2': 61.0, 'PCK@0.2/wrist': 44.5}, {'mean': ([0, 0.2], [0, 61])}, ['2 < 3 skipped']
    )
    return EvaluationResult(scores=last, stage_scores=[first, last], predictions=predictions)


@pytest.fixture
def page(tmp_path, evaluation):
    curve = tmp_path / 'curve.jsonl'
    curve.write_text('{"step": 20, "loss": 9.0}\n{"step": 40, "loss": 7.0}\n')
    file = write_html_report(
        tmp_path / 'new' / 'page.html',
        'A <b>model</b>',
        evaluation,
        LSP,
        curve,
        run_info={'command': 'a & b'},
        num_examples=2,
    )
    return file.read_text()


def test_the_page_needs_no_other_file(page):
    sources = Page(page).sources
    assert len(sources) == 8
    assert all(s.startswith('data:image/jpeg;base64,') for s in sources)
    assert page.count('://') == page.count('xmlns="http://www.w3.org/2000/svg"')
    assert '<script' not in page
    assert '@import' not in page


def test_all_text_is_escaped(page):
    words = ' '.join(Page(page).words)
    for text in ('A <b>model</b>', 'a & b', '<11>.jpg', '2 < 3 skipped'):
        assert text in words


def test_the_table_has_a_row_per_keypoint_and_a_column_per_stage(page):
    rows = Page(page).rows
    assert ['keypoint', 'stage 1', 'stage 2'] in rows
    assert ['wrist', '8.5', '44.5'] in rows
    assert ['total', '21.0', '61.0'] in rows
    assert ['PCK@0.1', '11.0', '31.0'] in rows


def test_the_page_says_whether_labels_are_person_or_observer_centric(tmp_path, evaluation, page):
    assert 'person-centric' in page
    assert 'bserver-centric' not in page
    other = write_html_report(tmp_path / 'o.html', 'o', evaluation, LSP_OBSERVER, num_examples=1).read_text()
    assert 'observer-centric' in other
    assert 'erson-centric' not in other


def test_the_best_and_the_worst_are_the_ends_of_the_ranking(evaluation):
    examples = select_examples(evaluation.predictions, LSP, num_examples=2)
    groups = {name: [e.record.id for e in examples if e.group == name] for name in ('best', 'median', 'worst')}
    assert groups['best'] == ['<0>.jpg', '<1>.jpg']
    assert groups['median'] == ['<5>.jpg', '<6>.jpg']
    assert groups['worst'] == ['<10>.jpg', '<11>.jpg']
    assert len({e.record.id for e in examples}) == len(examples) == 8


def test_the_score_of_an_image_is_its_percentage_of_correct_keypoints(evaluation):
    examples = select_examples(evaluation.predictions, LSP, num_examples=1)
    assert [round(e.score, 1) for e in examples if e.group != 'random'] == [100.0, 64.3, 21.4]


def test_few_images_are_shown_once_each(tmp_path, evaluation):
    for count in range(4):
        few = replace(evaluation, predictions=evaluation.predictions[:count])
        ids = [e.record.id for e in select_examples(few.predictions, LSP, num_examples=3)]
        assert len(set(ids)) == len(ids) <= count
        Page(write_html_report(tmp_path / 'few.html', 'few', few, LSP).read_text())


def test_an_image_that_cannot_be_measured_has_no_score(evaluation):
    record, poses = evaluation.predictions[0]
    assert score_image(Skeleton('plain', LSP.keypoints), record, poses) is None
    assert score_image(LSP, record, poses[:0]) is None


def test_without_a_torso_the_box_measures_an_image(evaluation):
    record, poses = evaluation.predictions[0]
    keypoints = record.instances.keypoints
    boxes = np.array([[0.0, 0.0, 100.0, 50.0]])
    boxed = replace(record, instances=replace(record.instances, boxes=boxes, has_box=np.ones(1, bool)))
    shifted = replace(poses, keypoints=keypoints + [9, 0])
    plain = Skeleton('plain', LSP.keypoints)
    assert score_image(plain, boxed, shifted)[0] == 100
    assert score_image(plain, boxed, replace(poses, keypoints=keypoints + [11, 0]))[0] == 0


def test_scores_by_keypoint_are_shown_where_the_headline_has_none(tmp_path, evaluation):
    scores = MetricResult({'AP': 50.0, 'PCK@0.05/wrist': 1.0, 'PCK@0.05': 7.0, 'PCK@0.1/wrist': 2.0, 'PCK@0.1': 9.0})
    one_stage = replace(evaluation, scores=scores, stage_scores=[])
    text = write_html_report(tmp_path / 'a.html', 'a', one_stage, LSP, num_examples=1).read_text()
    assert 'PCK@0.1 by keypoint' in text
    assert '<td>wrist</td><td>2.0</td>' in text
    assert '<td>AP</td><td>50.0</td>' in text


def test_the_headline_metric_is_pck_at_a_fifth_by_default(evaluation):
    assert select_headline_metric(evaluation.scores) == 'PCK@0.2'
    assert select_headline_metric(evaluation.scores, 'PCK@0.1') == 'PCK@0.1'
    assert select_headline_metric(MetricResult({'AP': 3.0, 'AP/x': 1.0})) == 'AP'
    assert select_headline_metric(MetricResult()) is None
    with pytest.raises(ConfigError, match="no score is called 'mAP'"):
        select_headline_metric(evaluation.scores, 'mAP')


def test_instances_of_whole_images_are_scored_in_any_order(tmp_path):
    """The prediction of a crop belongs to its subject; in a whole image all instances are matched."""
    points = np.stack([build_person(), build_person() + 200])
    record = create_annotated_record(tmp_path / 'p.jpg', 'p', points, np.full(points.shape[:2], 2, np.uint8))
    reversed_poses = Poses(points[::-1], np.ones((2, 14)), np.ones(2))
    assert score_image(LSP, record, reversed_poses) == (0, 0)
    assert score_image(LSP, record, reversed_poses, 'all') == (100, 100)
    assert score_image(LSP, record, reversed_poses[:1], 'all') == (50, 50)
    assert [s.score for s in select_examples([(record, reversed_poses)] * 3, LSP, num_examples=1)] == [100.0] * 3
