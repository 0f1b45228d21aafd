"""Transforms that start the matrix: they say which part of the image becomes the input."""

from __future__ import annotations

__all__ = ['CropBox', 'CropByScale', 'CropFullHeight', 'LetterboxImage', 'RandomHalfBody', 'TransformBySource']

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from poseplug.core.crops import LetterboxSide, letterbox_matrix
from poseplug.core.errors import AnnotationError, ConfigError
from poseplug.core.geometry import CROP_RULES, CropRule, Size, fit_matrix
from poseplug.core.sample import Sample
from poseplug.core.setting_checks import check_counts, check_enlargements, check_number, check_probabilities
from poseplug.data.sources.limb_scale import CPM_MAGNIFICATION
from poseplug.data.transforms.base import PIPELINE_SLOT, PipelineStage, Transform, TransformContainer
from poseplug.registry import TRANSFORMS

_PERSON_HEIGHT_PX = 200.0  # of a person of scale 1


class SubjectCrop(Transform):
    """Fits a region around the subject into the input, with its aspect ratio kept; the base of such crops.

    Args:
        input_size: (width, height) of the input in px.
        crop_rule: how the region meets the input, see `poseplug.core.geometry.fit_matrix`; provided by the codec.

    Raises:
        ConfigError: there is no such rule.
    """

    stage = PipelineStage.CROP
    needs_annotation = True

    def __init__(self, input_size: Size, crop_rule: CropRule = 'pixels'):
        if crop_rule not in CROP_RULES:
            raise ConfigError(f'crop_rule is one of {", ".join(CROP_RULES)}; got {crop_rule!r}')
        self.input_size, self.crop_rule = input_size, crop_rule

    @abstractmethod
    def find_region(self, sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
        """Find the region.

        Args:
            sample: instance 0 is the subject.

        Returns:
            Its center (2,) and its width and height (2,) in image px; None leaves the sample as it is.

        Raises:
            AnnotationError: the subject lacks what the region is computed from.
        """

    def __call__(self, sample: Sample) -> Sample:
        region = self.find_region(sample)
        if region is not None:
            sample.image_to_input = fit_matrix(*region, self.input_size, self.crop_rule)
        return sample


@TRANSFORMS.register_module()
class CropByScale(SubjectCrop):
    """Centers the input on the subject's annotated position, and scales it by the annotated person scale.

    Args:
        input_size: (width, height) of the input in px.
        magnification_at_368: enlargement of a person of scale 1 (200 px tall) in an input 368 px wide; proportional
            to the width in others. The default is CPM's.
        center_offset_y: image px, times the person's scale, by which the position is moved down (15 for MPII in the
            released hourglass and HRNet).
        crop_rule: as in `CropBox`; 'corners' is as 'pixels', since no box is fitted.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        input_size: Size,
        magnification_at_368: float = CPM_MAGNIFICATION,
        center_offset_y: float = 0.0,
        crop_rule: CropRule = 'pixels',
    ):
        check_enlargements('CropByScale', magnification_at_368=magnification_at_368)
        check_number('CropByScale', 'center_offset_y', center_offset_y, -_PERSON_HEIGHT_PX, _PERSON_HEIGHT_PX)
        super().__init__(input_size, 'pixels' if crop_rule == 'corners' else crop_rule)
        self.center_offset_y = center_offset_y
        self.magnification = magnification_at_368 * input_size[0] / 368

    def find_region(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        record = sample.record
        scale = float(record.instances.scales[0])
        if not scale > 0:  # NaN where the data set has no scales
            source_name = record.source or 'an unnamed source'
            raise AnnotationError(
                f'{record.path} of {source_name} has no person scale; CropByScale needs one. '
                f'Use LetterboxImage or CropBox'
            )
        center = sample.subject_center + (0.0, self.center_offset_y * scale)
        return center, np.array(self.input_size) * (scale / self.magnification)


@TRANSFORMS.register_module()
class CropFullHeight(SubjectCrop):
    """Centers the input on the subject along x alone: the crop has the image's height (the hourglass on FLIC).

    Args:
        input_size: (width, height) of the input in px.
        crop_rule: as in `CropBox`; 'corners' is as 'pixels', since no box is fitted.
    """

    def __init__(self, input_size: Size, crop_rule: CropRule = 'pixels'):
        super().__init__(input_size, 'pixels' if crop_rule == 'corners' else crop_rule)

    def find_region(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        height = sample.image_size[1]
        center = np.array([sample.subject_center[0], (height - 1) / 2])
        return center, np.array([height * self.input_size[0] / self.input_size[1], height])


@TRANSFORMS.register_module()
class LetterboxImage(Transform):
    """Fits the whole image into the center of an input of fixed size.

    Args:
        input_size: (width, height) of the input in px.
        fill_fraction: fraction of the input's side that the image fills.
        side: 'height': the image's height fills it. 'longer': the side that reaches the input's border first does.
        crop_rule: how the image meets the input, see `poseplug.core.crops.letterbox_matrix`; provided by the codec.

    Raises:
        ConfigError: `side` is another word, or `fill_fraction` is out of range.
    """

    stage = PipelineStage.CROP

    def __init__(
        self,
        input_size: Size,
        fill_fraction: float = 0.8,
        side: LetterboxSide = 'height',
        crop_rule: CropRule = 'pixels',
    ):
        if side not in ('height', 'longer'):
            raise ConfigError(f"LetterboxImage: side is 'height' or 'longer'; got {side!r}")
        # Above 1 the image's border is cut off.
        check_enlargements('LetterboxImage', fill_fraction=fill_fraction)
        self.input_size, self.fill_fraction, self.side = input_size, fill_fraction, side
        self.crop_rule: CropRule = crop_rule

    def __call__(self, sample: Sample) -> Sample:
        sample.image_to_input = letterbox_matrix(
            sample.image_size, self.input_size, self.fill_fraction, self.side, self.crop_rule
        )
        return sample


@TRANSFORMS.register_module()
class CropBox(SubjectCrop):
    """Crops the subject's box to the center of the input, with its aspect ratio kept.

    Without a box, the box around the labeled keypoints serves, enlarged further since keypoints end before the body
    does.

    Args:
        input_size: (width, height) of the input in px.
        padding: enlargement of the box.
        keypoint_padding: additional enlargement of the box around keypoints.
        crop_rule: how the box meets the input, see `poseplug.core.geometry.fit_matrix`; provided by the codec.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        input_size: Size,
        padding: float = 1.25,
        keypoint_padding: float = 1.25,
        crop_rule: CropRule = 'pixels',
    ):
        check_enlargements('CropBox', padding=padding, keypoint_padding=keypoint_padding)
        super().__init__(input_size, crop_rule)
        self.padding, self.keypoint_padding = padding, keypoint_padding

    def find_region(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        low, high, padding = self._find_box_corners(sample)
        if self.crop_rule in ('released_hrnet', 'released_udp'):
            # Their code has boxes in single precision; the size of a box is rounded before it is padded.
            low, high = low.astype(np.float32), high.astype(np.float32)
        return (low + high) / 2, (high - low) * padding

    def _find_box_corners(self, sample: Sample) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the corners (2,) of the box in px, and its padding."""
        instances = sample.record.instances
        if instances.has_box[0]:
            box = instances.boxes[0]
            return box[:2], box[2:], self.padding
        points = sample.keypoints[0][sample.visible[0] > 0]
        if not len(points):
            raise AnnotationError(
                f'{sample.record.path}: the instance has neither a box nor a labeled keypoint inside the image, so '
                f'there is nothing to crop; correct the annotation, or use LetterboxImage'
            )
        return points.min(axis=0), points.max(axis=0), self.padding * self.keypoint_padding


@TRANSFORMS.register_module()
class RandomHalfBody(SubjectCrop):
    """Crops the upper or the lower body alone, at random (Wang et al. 2018; HRNet's released recipe).

    The crop is the box around that half's keypoints, enlarged by `padding`, about their mean. The upper body is chosen
    in about 69 % of cases (a normal draw below 0.5); the other half replaces one with fewer than three keypoints.
    Stands right after the transform that crops the box.

    Args:
        input_size: (width, height) of the input in px.
        prob: probability of a half body.
        num_keypoints_half_body: only subjects with more labeled keypoints than this become half bodies.
        padding: enlargement of the half's box.
        crop_rule: as in `CropBox`.

    Raises:
        ConfigError: a setting is out of range.
    """

    stage = PipelineStage.PART_CROP
    needs_annotation = False  # the crop before it has checked the subject

    def __init__(
        self,
        input_size: Size,
        prob: float = 0.3,
        num_keypoints_half_body: int = 8,
        padding: float = 1.5,
        crop_rule: CropRule = 'pixels',
    ):
        check_probabilities('RandomHalfBody', prob=prob)
        check_counts('RandomHalfBody', min_count=0, num_keypoints_half_body=num_keypoints_half_body)
        check_enlargements('RandomHalfBody', padding=padding)
        super().__init__(input_size, crop_rule)
        self.prob, self.num_keypoints_half_body, self.padding = prob, num_keypoints_half_body, padding

    def find_region(self, sample: Sample) -> tuple[np.ndarray, np.ndarray] | None:
        labeled = sample.visible[0] > 0
        if sample.rng.random() >= self.prob or labeled.sum() <= self.num_keypoints_half_body:
            return None
        lower = sample.skeleton.lower_body
        halves = [labeled & ~lower, labeled & lower]
        preferred, other = halves if sample.rng.standard_normal() < 0.5 else halves[::-1]
        half = preferred if preferred.sum() > 2 else other
        if half.sum() < 2:
            return None  # a single keypoint has no extent; the crop stays as it is
        points = sample.keypoints[0][half]
        return points.mean(axis=0), (points.max(axis=0) - points.min(axis=0)) * self.padding


@TRANSFORMS.register_module()
class TransformBySource(TransformContainer):
    """Applies another transform to the samples of each source, usually the one that crops.

    Args:
        input_size: (width, height) of the input in px.
        transforms: the transform by name of the source ('lsp', 'lspet', ...), as config dicts.
        crop_rule: as in `CropBox`.
    """

    needs_annotation = True
    slots: ClassVar = {'transforms': replace(PIPELINE_SLOT, named_steps=False)}

    def __init__(self, input_size: Size, transforms: Mapping[str, Any], crop_rule: CropRule = 'pixels'):
        provided = dict(input_size=input_size, crop_rule=crop_rule)
        self.transforms = {name: TRANSFORMS.build(t, **provided) for name, t in transforms.items()}

    def list_branches(self) -> list[Sequence[Transform]]:
        return [[transform] for transform in self.transforms.values()]

    def __call__(self, sample: Sample) -> Sample:
        source = sample.record.source
        if source not in self.transforms:
            raise ConfigError(
                f'TransformBySource has no transform for source {source!r}, only for {", ".join(self.transforms)}; '
                f'add one to its transforms'
            )
        return self.transforms[source](sample)
