"""Network inputs from images and boxes, by the test pipeline of a config."""

from __future__ import annotations

__all__ = ['ImageSamples', 'SampleBuilder', 'get_test_pipeline']

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from poseplug.codecs.base import Codec
from poseplug.config.build import require_setting
from poseplug.core.boxes import BoxFormat
from poseplug.core.errors import ConfigError
from poseplug.core.instances import Instances
from poseplug.core.sample import Record, Sample, SampleKey
from poseplug.core.skeleton import Skeleton
from poseplug.data.dataset import mask_outside_keypoints
from poseplug.data.transforms.base import build_pipeline, check_crop
from poseplug.files.images import LazyImage
from poseplug.files.stated_size import check_stated_size
from poseplug.predict.box_checks import parse_boxes
from poseplug.predict.detectors import Detector
from poseplug.predict.image_batches import LocatedImage, locate_instances
from poseplug.predict.opened_image import ImageFacts, OpenedImage, elapsed_ms

# Transforms that place a whole image in the input: `CropBox` replaces them where an instance has a box.
_WHOLE_IMAGE_TRANSFORMS = ('LetterboxImage', 'CropByScale', 'TransformBySource')


@dataclass
class ImageSamples(ImageFacts):
    """The network inputs of an image, one per instance, and what its result says of it; without its pixels."""

    samples: list[Sample]

    def __len__(self) -> int:
        return len(self.samples)


class SampleBuilder:
    """Turns images and boxes into the inputs of a network.

    Args:
        skeleton: of the model.
        specs: the transforms of the config's test pipeline.
        codec: of the model, which has the size of the network's input and the rule of the crop.
    """

    def __init__(self, skeleton: Skeleton, specs: Sequence[Any], codec: Codec):
        self.skeleton = skeleton
        provided = {'input_size': codec.input_size, 'crop_rule': codec.crop_rule}
        self.image_pipeline = build_pipeline(specs, **provided)
        check_crop(self.image_pipeline)
        self.box_pipeline = build_pipeline([_replace_with_box_crop(spec) for spec in specs], **provided)
        # pipelines that crop annotated boxes take the whole image as one
        self.whole_image_is_box = any(transform.needs_annotation for transform in self.image_pipeline)

    def build_samples(
        self, images: Sequence[OpenedImage], box_format: BoxFormat, detector: Detector | None
    ) -> Iterator[ImageSamples]:
        """Yield the network inputs of each image, one per instance; without boxes and detector an image is one.

        Args:
            images: with or without boxes.
            box_format: of the boxes.
            detector: finds the boxes of images without; None for none.

        Raises:
            AnnotationError: a box is impossible.
            ConfigError: the detector returns something else than boxes and scores.
        """
        for located in locate_instances(images, box_format, detector):
            start = time.perf_counter()
            image, speed = located.image, located.speed
            is_whole = located.boxes is None
            samples = [self._build_whole_sample(image)] if is_whole else self._build_box_samples(located)
            speed['prepare'] = elapsed_ms(start)
            yield ImageSamples(image.position, image.path, image.size, image.source, speed, image.seconds, samples)

    def _build_box_samples(self, located: LocatedImage) -> list[Sample]:
        """The network inputs of an image with boxes, one for each."""
        image = located.image
        boxes_xyxy = parse_boxes(located.boxes, located.box_format, image.size, str(image.path))
        instances = self._build_instances(boxes_xyxy, located.scores)
        # Once for all instances of the image: by itself each would take a fifth of the time of its warp.
        record = Record(image.path, image.path.name, instances)
        visible = mask_outside_keypoints(record, image.size)
        rows = [slice(n, n + 1) for n in range(len(boxes_xyxy))]
        return [self._build_sample(image, replace(record, instances=instances[n]), visible[n]) for n in rows]

    def _build_whole_sample(self, image: OpenedImage) -> Sample:
        """The network input of an image without boxes."""
        boxes = np.array([[0.0, 0.0, *image.size]]) if self.whole_image_is_box else None
        instances = self._build_instances(boxes)
        record = Record(image.path, image.path.name, instances)
        return self._build_sample(image, record, mask_outside_keypoints(record, image.size))

    def _build_instances(self, boxes: np.ndarray | None, scores: np.ndarray | None = None) -> Instances:
        """Instances without labels of boxes (N, 4), xyxy, and their scores (N,) if detected; without boxes, one."""
        num_instances = 1 if boxes is None else len(boxes)
        # instances without annotated keypoints, as the transforms expect them
        keypoints = np.zeros((num_instances, len(self.skeleton), 2), np.float32)
        visible = np.zeros(keypoints.shape[:2], np.uint8)
        centers = None if boxes is None else (boxes[:, :2] + boxes[:, 2:]) / 2
        return Instances.from_annotations(keypoints, visible, boxes=boxes, centers=centers, box_scores=scores)

    def _build_sample(self, image: OpenedImage, record: Record, visible: np.ndarray) -> Sample:
        """Pass a record of one instance, with the visibility (1, K) of its keypoints, through the pipeline."""
        # A random transform of the pipeline draws the same numbers in every run.
        rng = np.random.Generator(np.random.Philox(key=[0, image.position]))
        key = SampleKey(0, image.position)
        sample = Sample(record, self.skeleton, image.pixels, rng, key, record.instances.keypoints, visible)
        for transform in self.box_pipeline if record.instances.has_box.any() else self.image_pipeline:
            sample = transform(sample)
        return sample

    def build_record_sample(self, record: Record) -> Sample:
        """Pass an annotated record through the config's own pipeline, as its tests do.

        Args:
            record: its image is read as stored, as the data set reads it.

        Raises:
            ImageError: the image cannot be read, or has another size than its annotations state.
        """
        image = LazyImage(record.path, byte_range=record.byte_range)
        check_stated_size(image, record.stated_size)
        pixels = image.get_pixels()
        rng = np.random.Generator(np.random.Philox(key=[0, 0]))
        visible = mask_outside_keypoints(record, pixels.shape[1::-1])
        sample = Sample(record, self.skeleton, pixels, rng, SampleKey(0, 0), record.instances.keypoints, visible)
        for transform in self.image_pipeline:
            sample = transform(sample)
        return sample


def get_test_pipeline(cfg: Mapping[str, Any]) -> Sequence[Any]:
    """The transforms of a config's test data."""
    try:
        pipeline: Sequence[Any] = require_setting(cfg, 'test_dataloader')['dataset']['pipeline']
        return pipeline
    except KeyError as error:
        raise ConfigError(f'test_dataloader has no {error}; add the pipeline that crops images for the model') from None


def _replace_with_box_crop(spec: Any) -> Any:
    """Return a transform of the test pipeline, or `CropBox` in place of one that crops whole images."""
    is_whole_image = isinstance(spec, Mapping) and spec.get('type') in _WHOLE_IMAGE_TRANSFORMS
    return dict(type='CropBox') if is_whole_image else spec
