"""Every detector family keeps its contract, for each layout of its outputs."""

import numpy as np
import pytest

from poseplug.core.errors import CheckpointError
from poseplug.files.onnx_file import OnnxGraphInfo, OnnxValueInfo
from poseplug.predict.detection_funnel import check_candidates
from poseplug.predict.detector_families.base import DetectorFamily, parse_class_names
from poseplug.predict.detector_recognition import find_detector_family, list_detector_families, recognize_family
from poseplug.registry import DETECTOR_FAMILIES
from poseplug.testing import DetectorFamilyContract
from tests.predict.detector_families import encoders

SIZE = DetectorFamilyContract.input_size
NAMES = "{0: 'person', 1: 'dog', 2: 'cat'}"
ULTRALYTICS = {'author': 'Ultralytics', 'task': 'detect', 'names': NAMES}
IMAGE_INPUT = OnnxValueInfo('images', (1, 3, 128, 128), 'float32')
SIZE_INPUT = OnnxValueInfo('orig_target_sizes', (1, 2), 'int64')


def describe(metadata=None, *inputs, first='Conv'):
    return OnnxGraphInfo((IMAGE_INPUT, *inputs), (), metadata or {}, frozenset([first]))


class FamilyLaws(DetectorFamilyContract):
    """The contract of the registered family that `name` says; its outputs are recognized as of that family alone."""

    name = ''
    info = describe()

    def build_part(self):
        return DETECTOR_FAMILIES.build(dict(type=self.name))

    def test_its_outputs_are_of_no_other_family(self):
        if self.is_recognized:
            outputs = self.encode_boxes(np.array([[8.0, 8, 40, 72], [16, 24, 64, 96]]), np.eye(3)[:2] * 0.8)
            shapes = {name: output.shape for name, output in outputs.items()}
            assert recognize_family('x.onnx', self.info, shapes, SIZE)[0] == self.name


class TestNanoDet(FamilyLaws):
    name = 'NanoDet'

    def encode_boxes(self, boxes, class_scores):
        table = encoders.encode_nanodet_table(boxes, class_scores, SIZE, (8, 16, 32), 0.5)
        return encoders.split_nanodet_table(table, SIZE, (8, 16, 32))


class TestNanoDetInOneTable(FamilyLaws):
    name = 'NanoDet'

    def encode_boxes(self, boxes, class_scores):
        scores = np.concatenate([class_scores, np.zeros((len(boxes), 77))], axis=1)
        return {'output': encoders.encode_nanodet_table(boxes, scores, SIZE, (8, 16, 32), 0.5)}


class TestNanoDetPlus(FamilyLaws):
    name = 'NanoDetPlus'

    def encode_boxes(self, boxes, class_scores):
        return {'output': encoders.encode_nanodet_table(boxes, class_scores, SIZE, (8, 16, 32, 64), 0.0)}


class TestYOLOXDecoded(FamilyLaws):
    name = 'YOLOX'

    def encode_boxes(self, boxes, class_scores):
        return {'output': encoders.encode_yolox(boxes, class_scores, SIZE, decoded=True)}


class TestYOLOXRelativeToCells(FamilyLaws):
    name = 'YOLOX'

    def encode_boxes(self, boxes, class_scores):
        return {'output': encoders.encode_yolox(boxes, class_scores, SIZE, decoded=False)}


class TestYOLOXOfMMDeploy(FamilyLaws):
    name, info = 'YOLOX', describe(first='Slice')

    def encode_boxes(self, boxes, class_scores):
        return encoders.encode_labeled(boxes, class_scores)


class TestRTMDet(FamilyLaws):
    name = 'RTMDet'

    def encode_boxes(self, boxes, class_scores):
        return encoders.encode_labeled(boxes, class_scores)


class TestUltralytics(FamilyLaws):
    name = 'Ultralytics'

    def encode_boxes(self, boxes, class_scores):
        return {'output0': encoders.encode_columns(boxes, class_scores, encoders.count_cells(SIZE, 8, 16, 32))}


class TestUltralyticsTransposed(FamilyLaws):
    name = 'Ultralytics'

    def encode_boxes(self, boxes, class_scores):
        scores = np.concatenate([class_scores, np.zeros((len(boxes), 77))], axis=1)
        return {'output0': encoders.encode_columns(boxes, scores, encoders.count_cells(SIZE, 8, 16, 32)).T}


class TestUltralyticsByItsMetadata(FamilyLaws):
    """A table of as many rows as cells, as YOLOX has it."""

    name = 'Ultralytics'
    info = describe({**ULTRALYTICS, 'names': str(dict(enumerate(['person', 'dog', 'cat', *map(str, range(329))])))})

    def encode_boxes(self, boxes, class_scores):
        scores = np.concatenate([class_scores, np.zeros((len(boxes), 329))], axis=1)
        return {'output0': encoders.encode_columns(boxes, scores, encoders.count_cells(SIZE, 8, 16, 32))}


class TestUltralyticsPose(FamilyLaws):
    """A pose model of one class as a detector: its keypoints follow the class score."""

    name = 'Ultralytics'
    info = describe({**ULTRALYTICS, 'task': 'pose'})

    def encode_boxes(self, boxes, class_scores):
        table = encoders.encode_columns(boxes, class_scores, encoders.count_cells(SIZE, 8, 16, 32))
        return {'output0': np.concatenate([table, np.full((51, table.shape[1]), 300.0)])}


class TestUltralyticsEndToEnd(FamilyLaws):
    name = 'Ultralytics'

    def encode_boxes(self, boxes, class_scores):
        return {'output0': encoders.encode_rows(boxes, class_scores, 300)}


class TestUltralyticsEndToEndOfTwoClasses(FamilyLaws):
    """Six columns are those of RT-DETR with two classes, too."""

    name = 'Ultralytics'
    info = describe({**ULTRALYTICS, 'names': "{0: 'person', 1: 'dog'}", 'end2end': 'True'})

    def encode_boxes(self, boxes, class_scores):
        return {'output0': encoders.encode_rows(boxes, class_scores, 300)}


class TestUltralyticsEndToEndPose(FamilyLaws):
    name = 'Ultralytics'
    info = describe({**ULTRALYTICS, 'task': 'pose', 'end2end': 'True'})

    def encode_boxes(self, boxes, class_scores):
        rows = encoders.encode_rows(boxes, class_scores, 300)
        return {'output0': np.concatenate([rows, np.full((300, 51), 300.0)], axis=1)}


class TestYOLOv5(FamilyLaws):
    name = 'YOLOv5'

    def encode_boxes(self, boxes, class_scores):
        rows = encoders.encode_yolox(boxes, class_scores, SIZE, decoded=True)
        return {'output0': np.concatenate([rows, rows * 0, rows * 0])}


class TestRFDETR(FamilyLaws):
    name = 'RFDETR'

    def encode_boxes(self, boxes, class_scores):
        return dict(zip(('dets', 'labels'), encoders.encode_queries(boxes, class_scores, SIZE), strict=True))

    def test_people_have_cocos_id_unless_it_is_fine_tuned(self, family):
        assert (family.default_class(91), family.default_class(2)) == (1, 0)


class TestRTDETR(FamilyLaws):
    name, info = 'RTDETR', describe(None, SIZE_INPUT)

    def encode_boxes(self, boxes, class_scores):
        rows = encoders.encode_rows(boxes, class_scores, 20)
        return {'labels': rows[:, 5].astype(np.int64), 'boxes': rows[:, :4], 'scores': rows[:, 4]}


class TestRTDETRWithoutLastStep(FamilyLaws):
    name = 'RTDETR'

    def encode_boxes(self, boxes, class_scores):
        scores = np.concatenate([class_scores, np.zeros((len(boxes), 77))], axis=1)
        relative, logits = encoders.encode_queries(boxes, scores, SIZE)
        return {'logits': logits, 'pred_boxes': relative}


class TestRTDETROfUltralytics(FamilyLaws):
    name, info = 'RTDETR', describe(ULTRALYTICS)

    def encode_boxes(self, boxes, class_scores):
        relative, logits = encoders.encode_queries(boxes, class_scores, SIZE)
        return {'output0': np.concatenate([relative, 1 / (1 + np.exp(-logits))], axis=1)}


class TestCornerBoxes(FamilyLaws):
    name, is_recognized = 'CornerBoxes', False

    def encode_boxes(self, boxes, class_scores):
        return {'boxes': boxes, 'scores': class_scores}


class TestCornerBoxesInRows(FamilyLaws):
    name, is_recognized = 'CornerBoxes', False

    def encode_boxes(self, boxes, class_scores):
        return {'boxes': encoders.encode_rows(boxes, class_scores)}


def test_every_family_has_its_laws_here():
    tested = {value.name for value in globals().values() if isinstance(value, type) and issubclass(value, FamilyLaws)}
    assert tested == {'', *DETECTOR_FAMILIES.list_names()}


# --- what an output may be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('shapes', 'families'),
    [
        ({'boxes': (20, 4), 'logits': (20, 91)}, 'RFDETR or RTDETR'),  # names that no exporter has
        ({'pred_boxes': (20, 4), 'pred_logits': (20, 3)}, 'RFDETR or RTDETR'),  # of a class count that neither has
        ({'dets': (20, 4), 'scores': (20, 80)}, 'RFDETR or RTDETR'),
    ],
)
def test_outputs_of_several_families_are_an_error_that_names_them(shapes, families):
    with pytest.raises(CheckpointError, match=f'may be those of {families}; name the family .--detector-family'):
        recognize_family('x.onnx', describe(), shapes, SIZE)


@pytest.mark.parametrize(
    'shapes',
    [
        {'boxes': (100, 4), 'labels': (100,), 'scores': (100,)},  # torchvision's: no size of the image goes in
        {'logits': (100, 92), 'pred_boxes': (100, 4)},  # DETR's: a softmax with a background class
        {'output': (8400, 85)},  # the cells of another input size
        {'output': (84, 8400)},
        {'output': (20, 5)},
        {'output': (20, 7)},
        {'boxes': (20, 5), 'classes': (20,)},
        {'num_dets': (1,), 'boxes': (20, 4), 'scores': (20,), 'labels': (20,)},
    ],
)
def test_outputs_of_no_family_are_an_error_that_lists_them_and_all_families(shapes):
    with pytest.raises(CheckpointError, match='are those of no known detector family') as error:
        recognize_family('x.onnx', describe(), shapes, SIZE)
    for name in (*shapes, *list_detector_families()):
        assert name in str(error.value)


def test_a_named_family_reads_as_many_cells_as_there_are():
    boxes, scores = np.array([[8.0, 8, 40, 72]]), np.array([[0.8] + [0] * 79])
    outputs = {'output0': encoders.encode_columns(boxes, scores, 20)}
    candidates = DETECTOR_FAMILIES.build(dict(type='Ultralytics')).read(describe(), outputs, SIZE)
    assert candidates.boxes[0].tolist() == [8, 8, 40, 72]
    assert candidates.class_scores[0, 0] == 0.8


def test_a_file_for_rotated_boxes_is_no_detector():
    info = describe({**ULTRALYTICS, 'task': 'obb'})
    with pytest.raises(CheckpointError, match='no known detector family'):
        recognize_family('x.onnx', info, {'output0': (8, encoders.count_cells(SIZE, 8, 16, 32))}, SIZE)


@pytest.mark.parametrize(
    ('spelling', 'name'),
    [
        ('yolox', 'YOLOX'),
        ('RT-DETR', 'RTDETR'),
        ('d_fine', 'RTDETR'),
        ('YOLO26', 'Ultralytics'),
        ('Nano-Det', 'NanoDet'),
    ],
)
def test_a_family_is_found_by_any_spelling(spelling, name):
    assert find_detector_family(spelling)[0] == name


def test_names_of_classes_are_read_from_both_exporters():
    assert parse_class_names({'names': NAMES}) == {0: 'person', 1: 'dog', 2: 'cat'}
    assert parse_class_names({'names': "['person', 'dog']"}) == {0: 'person', 1: 'dog'}
    assert parse_class_names({'rfdetr_inference': '{"class_id_to_name": {"1": "person"}}'}) == {1: 'person'}
    for text in ('', '{', '7', '__import__("os")', "{'a': 1}", '(' * 100):
        assert parse_class_names({'names': text, 'other': NAMES}) == {}
        assert parse_class_names({'rfdetr_inference': text}) == {}


# --- candidates that another family would have read otherwise ---------------------------------------------------------


def build(boxes, scores):
    class Rows(DetectorFamily):
        outputs_text = 'rows'

    return DETECTOR_FAMILIES.build(dict(type='CornerBoxes')).read(
        None, {'boxes': np.array(boxes, float), 'scores': np.array(scores, float)}, (640, 640)
    )


@pytest.mark.parametrize(
    ('boxes', 'scores', 'message'),
    [
        ([[0.5, 0.5, 0.3, 0.6]], [[0.9]], 'end before they begin, such as 0.5, 0.5, 0.3, 0.6'),
        ([[0.2, 0.2, 0.3, 0.6]], [[0.9]], 'relative to the input, not in px'),
        ([[320, 300, 100, 200], [50, 50, 90, 90]], [[0.9], [0.9]], '1 of its 2 boxes end before they begin'),
        ([[50, 50, 9000, 90]], [[0.9]], 'reach far beyond the input of 640 x 640 px'),
        ([[50, 50, 90, np.nan]], [[0.1]], 'no finite numbers'),
        ([[50, 50, 90, 90]], [[np.inf]], 'no finite numbers'),
        ([[50, 50, 90, 90]], [[-3.2]], 'scores are from -3.2 to 0, but scores are from 0 to 1'),
        ([[50, 50, 90, 90]], [[87]], 'scores are from 0 to 87'),
        ([[0.2, 0.2, 0.3, 0.6]], [[0.1, 0.9]], 'relative to the input'),  # of another class than people
    ],
)
def test_implausible_candidates_are_an_error_that_shows_one(boxes, scores, message):
    with pytest.raises(CheckpointError, match=message):
        check_candidates(build(boxes, scores), 0.4, (640, 640))


def test_candidates_below_the_threshold_are_not_judged():
    check_candidates(build([[0.5, 0.5, 0.3, 0.6], [50, 50, 90, 90]], [[0.3], [1.004]]), 0.4, (640, 640))
    check_candidates(build(np.zeros((0, 4)), np.zeros((0, 2))), 0.4, (640, 640))
    check_candidates(build([[0, 0, 0, 0], [50, 50, 90, 90]], [[0], [0.4]]), 0.0, (640, 640))  # rows that are unused
