"""The contract of a detector family."""

from __future__ import annotations

__all__ = ['DetectorFamilyContract']

import copy
import pickle
from typing import ClassVar

import numpy as np
import pytest

from poseplug.core.geometry import Size
from poseplug.files.onnx_file import OnnxGraphInfo
from poseplug.predict.detection_funnel import check_candidates
from poseplug.predict.detector_families.base import Candidates, DetectorFamily
from poseplug.predict.detector_input import DetectorInput
from poseplug.testing.base import Contract

# Corners, centers and sizes are whole numbers, which half precision holds exactly.
_BOXES = np.array([[16.0, 24.0, 88.0, 120.0], [72.0, 8.0, 104.0, 64.0], [12.0, 56.0, 40.0, 88.0]])  # px of the input
# Two boxes of class 0 and one of class 2; the maxima differ, so that their order is known.
_CLASS_SCORES = np.array([[0.9, 0.125, 0.0625], [0.75, 0.0625, 0.125], [0.125, 0.0625, 0.625]])
_MIN_SCORE = 0.5  # above it, an encoded box has one class


class DetectorFamilyContract(Contract):
    """Laws of a detector family: `build_part()` returns it, and `encode_boxes` builds outputs that mean known boxes.

    Attributes:
        input_size: (width, height) of the input in px.
        info: what the file says about itself, with the names of its inputs and its metadata.
        tolerance_px: how far a box may lie from the one that was encoded.
        is_recognized: whether its files are recognized; False for a family that is always named.
        num_classes: 3, or 1 for a family whose files have a single class.

    Example:
        >>> from poseplug.predict.detector_families.mmdeploy import RTMDet
        >>> class TestRTMDet(DetectorFamilyContract):
        ...     def build_part(self):
        ...         return RTMDet()
        ...     def encode_boxes(self, boxes, class_scores):
        ...         rows = np.concatenate([boxes, class_scores.max(axis=1, keepdims=True)], axis=1)
        ...         return {'dets': rows, 'labels': class_scores.argmax(axis=1)}
        >>> test = TestRTMDet()
        >>> test.test_reading_undoes_encoding(test.build_part())
    """

    input_size: ClassVar[Size] = (128, 128)
    info: ClassVar[OnnxGraphInfo] = OnnxGraphInfo(inputs=())
    tolerance_px: ClassVar[float] = 1e-3
    is_recognized: ClassVar[bool] = True
    num_classes: ClassVar[int] = 3

    def build_part(self) -> DetectorFamily:
        return super().build_part()

    def encode_boxes(self, boxes: np.ndarray, class_scores: np.ndarray) -> dict[str, np.ndarray]:
        """Build outputs, without the batch axis, that mean boxes (N, 4; xyxy in px) with scores (N, `num_classes`)."""
        raise NotImplementedError(f'{type(self).__name__} must define what outputs mean given boxes')

    @property
    def _class_scores(self) -> np.ndarray:
        """The scores that are encoded."""
        return _CLASS_SCORES if self.num_classes == len(_CLASS_SCORES) else _CLASS_SCORES.max(axis=1, keepdims=True)

    @pytest.fixture
    def family(self) -> DetectorFamily:
        return self.build_part()

    def test_reading_undoes_encoding(self, family: DetectorFamily) -> None:
        candidates = self._read_outputs(family, self.encode_boxes(_BOXES, self._class_scores))
        check_candidates(candidates, _MIN_SCORE, self.input_size)
        self._assert_boxes_near(candidates, self.tolerance_px)

    def test_half_precision_reads_within_its_rounding(self, family: DetectorFamily) -> None:
        # Half precision has steps of 1/16 px from 64 to 128 px, and a box is computed from several numbers.
        outputs = {name: _to_half(output) for name, output in self.encode_boxes(_BOXES, self._class_scores).items()}
        self._assert_boxes_near(self._read_outputs(family, outputs), self.tolerance_px + 0.25)

    def test_no_boxes_read_as_none(self, family: DetectorFamily) -> None:
        outputs = self.encode_boxes(_BOXES[:0], self._class_scores[:0])
        assert not (self._read_outputs(family, outputs).class_scores > _MIN_SCORE).any()

    def test_its_outputs_are_recognized(self, family: DetectorFamily) -> None:
        outputs = self.encode_boxes(_BOXES, self._class_scores)
        shapes = {name: output.shape for name, output in outputs.items()}
        assert family.recognizes(self.info, shapes, self.input_size) == self.is_recognized

    @pytest.mark.parametrize('shapes', [[(7,)], [(3, 64, 64)], [(3,), (4, 5, 6)], [()], [(1, 1)], [(2, 3)] * 5])
    def test_other_outputs_are_neither_recognized_nor_read(
        self, family: DetectorFamily, shapes: list[tuple[int, ...]]
    ) -> None:
        by_name = {f'output_{index}': shape for index, shape in enumerate(shapes)}
        assert not family.recognizes(self.info, by_name, self.input_size)
        outputs = {name: np.zeros(shape, np.float32) for name, shape in by_name.items()}
        assert family.read(self.info, outputs, self.input_size) is None

    def test_it_says_how_it_is_fed_and_what_its_outputs_are(self, family: DetectorFamily) -> None:
        assert isinstance(family.input_rule, DetectorInput)
        assert family.outputs_text
        assert 0 <= family.nms_threshold <= 1
        # Of COCO's 80 classes person is the first.
        assert family.default_class(80) == 0

    def test_it_survives_copying_and_pickling(self, family: DetectorFamily) -> None:
        outputs = self.encode_boxes(_BOXES, self._class_scores)
        expected = self._read_outputs(family, outputs)
        for duplicate in (copy.deepcopy(family), pickle.loads(pickle.dumps(family))):
            np.testing.assert_equal(self._read_outputs(duplicate, outputs), expected)

    def _read_outputs(self, family: DetectorFamily, outputs: dict[str, np.ndarray]) -> Candidates:
        """Read outputs that are of the family."""
        candidates = family.read(self.info, outputs, self.input_size)
        assert candidates is not None, 'the family does not read the outputs of encode_boxes'
        assert candidates.boxes.shape == (len(candidates.class_scores), 4)
        assert candidates.boxes.dtype == np.float64
        assert candidates.class_scores.dtype in (np.float32, np.float64)
        return candidates

    def _assert_boxes_near(self, candidates: Candidates, tolerance_px: float) -> None:
        """Assert that the candidates of a high score are the encoded boxes, with their scores and classes."""
        rows, classes = np.nonzero(candidates.class_scores > _MIN_SCORE)
        assert len(rows) == len(_BOXES), f'{len(rows)} candidates score above {_MIN_SCORE}, not {len(_BOXES)}'
        scores = candidates.class_scores[rows, classes]
        order, expected_order = np.argsort(-scores), np.argsort(-self._class_scores.max(axis=1))
        assert classes[order].tolist() == self._class_scores.argmax(axis=1)[expected_order].tolist()
        np.testing.assert_allclose(candidates.boxes[rows[order]], _BOXES[expected_order], atol=tolerance_px)
        np.testing.assert_allclose(scores[order], self._class_scores.max(axis=1)[expected_order], atol=1e-2)


def _to_half(output: np.ndarray) -> np.ndarray:
    """Floating values in half precision; labels as they are."""
    return output.astype(np.float16) if np.issubdtype(output.dtype, np.floating) else output
