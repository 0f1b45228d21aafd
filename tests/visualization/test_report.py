from html.parser import HTMLParser
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from poseplug.errors import ConfigError
from poseplug.evaluation.base import Scores
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton
from poseplug.skeletons.lsp import LSP, LSP_OBSERVER
from poseplug.visualization.report import choose, headline_of, rank, write_report

VOID = {'meta', 'img', 'br'}


class Page(HTMLParser):
    """Text, pictures and tables of a page; a tag that does not close is an error."""

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


def person():
    """(14, 2) joints of a torso 50 px long, none on another."""
    points = np.stack([np.linspace(20, 80, 14), np.linspace(10, 90, 14)], axis=1)
    points[LSP.index('right_hip')], points[LSP.index('left_shoulder')] = (20, 80), (50, 40)
    return points.astype(np.float32)


@pytest.fixture
def evaluation(tmp_path):
    """Twelve pictures; in picture i the last i joints are predicted 1000 px off."""
    predictions = []
    for i in range(12):
        path = tmp_path / f'<{i}>.jpg'
        cv2.imwrite(str(path), np.full((100, 90, 3), 20 * i, np.uint8))
        predicted = person()
        predicted[14 - i :] += 1000
        record = Record(path, path.name, person()[None], np.full((1, 14), 2, np.uint8))
        predictions.append((record, Poses.of_record(predicted[None], record.visible)))
    first = Scores({'PCK@0.1': 11.0, 'PCK@0.2': 21.0, 'PCK@0.2/wrist': 8.5}, {'total': ([0, 0.2], [0, 21])})
    last = Scores(
        {'PCK@0.1': 31.0, 'PCK@0.2': 61.0, 'PCK@0.2/wrist': 44.5}, {'total': ([0, 0.2], [0, 61])}, ['2 < 3 left out']
    )
    return SimpleNamespace(scores=last, stages=[first, last], predictions=predictions)


@pytest.fixture
def page(tmp_path, evaluation):
    curve = tmp_path / 'curve.jsonl'
    curve.write_text('{"step": 20, "loss": 9.0}\n{"step": 40, "loss": 7.0}\n')
    file = write_report(
        tmp_path / 'new' / 'page.html', 'A <b>model</b>', evaluation, LSP, curve, facts={'command': 'a & b'}, each=2
    )
    return file.read_text()


def test_the_page_needs_nothing_but_itself(page):
    sources = Page(page).sources
    assert len(sources) == 8
    assert all(s.startswith('data:image/jpeg;base64,') for s in sources)
    assert page.count('://') == page.count('xmlns="http://www.w3.org/2000/svg"')
    assert '<script' not in page
    assert '@import' not in page


def test_all_text_is_escaped(page):
    words = ' '.join(Page(page).words)
    for text in ('A <b>model</b>', 'a & b', '<11>.jpg', '2 < 3 left out'):
        assert text in words


def test_the_table_has_a_row_a_joint_and_a_column_a_stage(page):
    rows = Page(page).rows
    assert ['joint', 'stage 1', 'stage 2'] in rows
    assert ['wrist', '8.5', '44.5'] in rows
    assert ['total', '21.0', '61.0'] in rows
    assert ['PCK@0.1', '11.0', '31.0'] in rows


def test_the_kind_of_labels_is_said_and_is_one(tmp_path, evaluation, page):
    assert 'person-centric' in page
    assert 'bserver-centric' not in page
    other = write_report(tmp_path / 'o.html', 'o', evaluation, LSP_OBSERVER, each=1).read_text()
    assert 'observer-centric' in other
    assert 'erson-centric' not in other


def test_the_best_and_the_worst_are_the_ends_of_the_order(evaluation):
    chosen = choose(evaluation.predictions, LSP, each=2)
    shown = {why: [s.record.id for s in chosen if s.why == why] for why in ('best', 'middle', 'worst', 'random')}
    assert shown['best'] == ['<0>.jpg', '<1>.jpg']
    assert shown['middle'] == ['<5>.jpg', '<6>.jpg']
    assert shown['worst'] == ['<10>.jpg', '<11>.jpg']
    assert len({s.record.id for s in chosen}) == len(chosen) == 8


def test_the_score_of_a_picture_is_its_share_of_correct_joints(evaluation):
    chosen = choose(evaluation.predictions, LSP, each=1)
    assert [round(s.score, 1) for s in chosen if s.why != 'random'] == [100.0, 64.3, 21.4]


def test_every_picture_can_be_shown_when_there_are_few(tmp_path, evaluation):
    for count in range(4):
        few = SimpleNamespace(**{**vars(evaluation), 'predictions': evaluation.predictions[:count]})
        ids = [s.record.id for s in choose(few.predictions, LSP, each=3)]
        assert len(set(ids)) == len(ids) <= count
        Page(write_report(tmp_path / 'few.html', 'few', few, LSP).read_text())


def test_a_picture_that_cannot_be_measured_has_no_score(evaluation):
    record, poses = evaluation.predictions[0]
    assert rank(Skeleton('plain', LSP.joints), record, poses) is None
    assert rank(LSP, record, poses[:0]) is None


def test_the_leading_score_is_pck_at_a_fifth_unless_another_is_asked_for(evaluation):
    assert headline_of(evaluation.scores) == 'PCK@0.2'
    assert headline_of(evaluation.scores, 'PCK@0.1') == 'PCK@0.1'
    assert headline_of(Scores({'AP': 3.0, 'AP/x': 1.0})) == 'AP'
    assert headline_of(Scores()) is None
    with pytest.raises(ConfigError, match="no score is called 'mAP'"):
        headline_of(evaluation.scores, 'mAP')


def test_people_of_whole_pictures_are_ranked_whatever_their_order(tmp_path):
    """A crop's prediction is its subject's; of a whole picture everybody is looked for."""
    points = np.stack([person(), person() + 200])
    record = Record(tmp_path / 'p.jpg', 'p', points, np.full(points.shape[:2], 2, np.uint8))
    turned = Poses(points[::-1], np.ones((2, 14)), np.ones(2))
    assert rank(LSP, record, turned) == (0, 0)
    assert rank(LSP, record, turned, 'all') == (100, 100)
    half = rank(LSP, record, turned[:1], 'all')
    assert half == (50, 50)
    assert [s.score for s in choose([(record, turned)] * 3, LSP, each=1)] == [100.0] * 3
