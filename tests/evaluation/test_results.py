"""Several metrics and several sources in one test: nothing takes the place of anything else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from poseplug.config.build import build_metrics
from poseplug.core.errors import AnnotationError, ConfigError, MismatchError, PluginError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton, merge_skeletons
from poseplug.data.dataset import PoseDataset
from poseplug.data.sources.base import Source, SourceReport
from poseplug.evaluation.base import Metric, MetricResult
from poseplug.evaluation.crowdpose_ap import CrowdPoseAP
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.evaluation.pck import PCK
from poseplug.evaluation.results import compute_metrics, list_possible_scores, update_metrics
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.lsp import LSP
from poseplug.testing import create_annotated_record


def make_record(name, seed=0, source='coco', folder='one', num_instances=1, skeleton=COCO, **fields):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(20, 60, (num_instances, 1, 2)) + np.arange(num_instances)[:, None, None] * 200
    keypoints = corners + 120 * rng.random((num_instances, len(skeleton), 2))
    ids = np.arange(num_instances) + 1
    visible = np.full(keypoints.shape[:2], 2)
    path = Path(folder) / f'{name}.jpg'
    fields.setdefault('boxes', np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1))
    return create_annotated_record(path, name, keypoints, visible, source, annotation_ids=ids, **fields)


def predict(record, error_px=0.0):
    keypoints = record.instances.keypoints + error_px
    count = len(keypoints)
    return Poses(keypoints, np.ones(keypoints.shape[:2]), np.linspace(0.9, 0.5, count))


def measure(metrics, pairs):
    for predictions, record in pairs:
        for metric in metrics:
            metric.update(predictions, record)
    return compute_metrics(metrics)


# --- several metrics --------------------------------------------------------------------------------------------------


def test_metrics_of_one_kind_keep_their_scores_under_labels():
    specs = [dict(type='PCK', normalizer='box'), dict(type='PCK', normalizer=10.0), dict(type='EPE')]
    result = measure(build_metrics(specs, COCO), [(predict(make_record('a'), 4.0), make_record('a'))])
    alone = [measure(build_metrics(spec, COCO), [(predict(make_record('a'), 4.0), make_record('a'))]) for spec in specs]
    assert len(result.values) == sum(len(one.values) for one in alone)
    assert result.values['1:PCK@0.2'] == alone[0].values['PCK@0.2'] == 100
    assert result.values['2:PCK@0.2'] == alone[1].values['PCK@0.2'] == 0
    assert result.values['EPE'] == alone[2].values['EPE']
    assert set(result.curves) == {f'{label}:{name}' for label in '12' for name in alone[0].curves}
    assert '1: marks the scores of PCK' in result.notes


def test_the_skeleton_is_the_label_of_metrics_on_several_skeletons():
    both = merge_skeletons(LSP, COCO)
    specs = [
        dict(type='OnSkeleton', target_skeleton=name, metric=dict(type='PCK', normalizer='box'))
        for name in ('coco', 'lsp')
    ]
    record = make_record('a', skeleton=both)
    values = measure(build_metrics(specs, both), [(predict(record), record)]).values
    assert values['coco:PCK@0.2'] == values['lsp:PCK@0.2'] == 100
    assert {'coco:PCK@0.2/nose', 'lsp:PCK@0.2/ankle'} <= set(values)


def test_metrics_of_two_kinds_whose_scores_have_one_name_are_told_apart():
    """Both return AP."""
    record = make_record('a', crowd_index=0.5)
    values = measure([OKSAP(COCO), CrowdPoseAP(COCO)], [(predict(record), record)]).values
    assert {'1:AP', '1:AP_medium', '2:AP', '2:AP_medium'} <= set(values)
    assert 'AP' not in values


def test_two_metrics_on_one_skeleton_are_told_apart_by_position():
    specs = [dict(type='OnSkeleton', target_skeleton='coco', metric=dict(type='EPE'))] * 2
    record = make_record('a')
    assert set(measure(build_metrics(specs, COCO), [(predict(record), record)]).values) >= {'1:EPE', '2:EPE'}


def test_the_direction_of_a_score_keeps_its_label():
    specs = [dict(type='EPE'), dict(type='EPE'), dict(type='PCK')]
    record = make_record('a')
    result = measure(build_metrics(specs, COCO), [(predict(record), record)])
    assert {'1:EPE', '2:EPE/nose'} <= result.lower_is_better
    assert not any('PCK' in name for name in result.lower_is_better)


# --- several sources --------------------------------------------------------------------------------------------------


class GivenRecords(Source):
    skeleton = COCO

    def __init__(self, records):
        self.records = records

    def load(self):
        return self.records, SourceReport(Path('given.json'), kept=len(self.records))


def build_dataset(*sources, **settings):
    pipeline = [dict(type='LetterboxImage'), dict(type='Warp')]
    return PoseDataset([GivenRecords(records) for records in sources], pipeline, 'coco', (60, 40), **settings)


METRICS_OF_IMAGES = [
    dict(type='OKSAP'),
    dict(type='CrowdPoseAP'),
    dict(type='PCK', normalizer='box', instances='all'),
    dict(type='EPE', instances='all'),
    dict(type='NME', normalizer='box', instances='all'),
]


@pytest.mark.parametrize('spec', METRICS_OF_IMAGES, ids=lambda spec: spec['type'])
@pytest.mark.parametrize('folder', ['one', 'two'], ids=['same_files', 'other_files'])
@pytest.mark.parametrize('data_mode', ['topdown', 'bottomup'])
def test_equal_ids_of_two_sources_are_two_images(spec, folder, data_mode):
    """The numbers are those of distinct ids, also where both sources annotate the very same files."""
    scores = []
    for names in ('12', '34'):
        first = [make_record(name, seed, num_instances=2) for seed, name in enumerate('12')]
        second = [make_record(name, seed + 5, folder=folder, num_instances=2) for seed, name in enumerate(names)]
        records = build_dataset(first, second, data_mode=data_mode).records
        count = 1 if data_mode == 'topdown' else 2
        pairs = [(predict(record, 500.0 * record.source_index)[:count], record) for record in records]
        scores.append(measure(build_metrics(spec, COCO), pairs).values)
    assert scores[0]
    assert scores[0] == scores[1]


def test_records_of_two_sources_that_were_never_in_a_data_set_are_told_apart_by_their_files():
    metric = OKSAP(COCO)
    right, wrong = make_record('1'), make_record('1', 5, folder='two')
    values = measure([metric], [(predict(right), right), (predict(wrong, 500.0), wrong)]).values
    assert values['AR'] == 50


def test_detected_records_carry_the_source_of_their_ground_truth():
    truth = make_record('1')
    records = build_dataset([make_record('1')], [replace(truth, ground_truth=truth)]).records
    assert [(record.ground_truth or record).key.source_index for record in records] == [0, 1]


def test_a_source_with_two_images_of_one_id_is_refused():
    with pytest.raises(AnnotationError, match="given.json: 2 images have the id '1'; a source needs one id per image"):
        build_dataset([make_record('1'), make_record('1', 3, folder='two')])


# --- the scores that there will be ------------------------------------------------------------------------------------


def test_the_scores_of_metrics_are_found_out_from_annotations():
    records = [make_record(f'{n}', n, crowd_index=0.9) for n in range(3)]
    specs = [dict(type='CrowdPoseAP'), dict(type='EPE')]
    scores = list_possible_scores(lambda: build_metrics(specs, COCO), records, 'val_evaluator')
    assert {'AP', 'AP_hard', 'EPE'} <= set(scores.values)
    assert 'AP_easy' not in scores.values
    assert 'EPE' in scores.lower_is_better


def test_all_records_are_tried_before_a_score_is_found_missing():
    """Of 1,000 images one is hard."""
    records = [make_record(f'{n}', 1, crowd_index=0.9 if n == 503 else 0.5) for n in range(1000)]
    metrics = lambda: [CrowdPoseAP(COCO)]  # noqa: E731
    assert 'AP_hard' not in list_possible_scores(metrics, records, 'val_evaluator').values
    assert 'AP_hard' in list_possible_scores(metrics, records, 'val_evaluator', 'AP_hard').values


def test_a_metric_that_can_measure_nothing_is_refused_with_its_reason():
    records = [make_record(f'{n}', skeleton=LSP) for n in range(2)]
    for record in records:
        record.instances.visible[:, LSP.index('right_hip')] = 0
    message = 'test_evaluator: PCK can measure none of the 2 annotated samples: .*right_hip or left_shoulder is not'
    with pytest.raises(ConfigError, match=message):
        list_possible_scores(lambda: [PCK(LSP)], records, 'test_evaluator')


def test_a_metric_of_a_plugin_that_needs_more_than_annotations_have_is_left_alone(caplog):
    class NeedsBoxes(Metric):
        skeleton = Skeleton('eyes', ('left_eye', 'right_eye'))

        def update(self, predictions, record):
            predictions.boxes.mean()

        def compute(self):
            return MetricResult({'boxes': 1.0})

    assert list_possible_scores(lambda: [NeedsBoxes()], [make_record('a')], 'val_evaluator') is None
    assert 'val_evaluator cannot be tried on annotations (AttributeError' in caplog.text


def test_metrics_are_tried_on_the_first_instance_of_a_record_alone():
    class CountInstances(Metric):
        skeleton = COCO

        def update(self, predictions, record):
            self.shapes = predictions.keypoints.shape, predictions.keypoint_scores.shape

        def compute(self):
            return MetricResult({str(shape): 1.0 for shape in self.shapes})

    records = [make_record('a', num_instances=3)]
    scores = list_possible_scores(lambda: [CountInstances()], records, 'val_evaluator')
    assert set(scores.values) == {'(1, 17, 2)', '(1, 17)'}


class GivenScore(Metric):
    """A metric of a plugin whose only score is given."""

    def __init__(self, value):
        self.value, self.skeleton = value, COCO

    def update(self, predictions, record):
        pass

    def compute(self):
        return MetricResult({'given': self.value})


@pytest.mark.parametrize('value', [2, np.float32(2), np.array(2.0), np.array([2.0]), torch.tensor(2.0), True + 1])
def test_a_score_of_any_numeric_type_is_a_number(value):
    score = compute_metrics([GivenScore(value)]).values['given']
    assert (score, type(score)) == (2.0, float)


@pytest.mark.parametrize('value', ['2', None, [2.0], torch.ones(2), {'mean': 2.0}], ids=str)
def test_a_score_that_is_no_number_is_refused_by_its_name(value):
    message = "returns .* as the score 'given', which is no number; return one number per score"
    with pytest.raises(ConfigError, match=message):
        compute_metrics([GivenScore(value)])
    with pytest.raises(ConfigError, match=message):
        list_possible_scores(lambda: [GivenScore(value)], [make_record('a')], 'val_evaluator')


class FailingMetric(GivenScore):
    """A metric of a plugin with a mistake in one of its methods."""

    def __init__(self, method, result=None):
        super().__init__(1.0)
        self.method, self.result = method, result

    def update(self, predictions, record):
        if self.method == 'update':
            predictions.boxes[0]

    def compute(self):
        return {}['PCK'] if self.method == 'compute' else self.result


@pytest.mark.parametrize(('metric', 'message'), [
    (FailingMetric('update'), r"metric FailingMetric failed in update, of im7: TypeError: 'NoneType' object"),
    (FailingMetric('compute'), r"metric FailingMetric failed in compute: KeyError: 'PCK'; correct it, or remove it"),
    (FailingMetric('', {'PCK': 1.0}), r"expected a MetricResult, .*, got \{'PCK': 1.0\}"),
    (FailingMetric('', MetricResult([1.0])), r'expected a MetricResult'),
    (FailingMetric(''), r'expected a MetricResult, .*, got None'),
])  # fmt: skip
def test_the_error_of_a_metric_names_it(metric, message):
    def evaluate():
        update_metrics([metric], Poses.empty(17), make_record('im7'))
        return compute_metrics([metric])

    with pytest.raises(PluginError, match=message):
        evaluate()


def test_an_error_that_poseplug_raises_in_a_metric_stays_as_it_is():
    with pytest.raises(MismatchError, match='set one skeleton for model, data and metric'):
        update_metrics([PCK(LSP)], predict(make_record('a')), make_record('a'))
