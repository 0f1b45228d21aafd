"""Post-processing: from fields to the instances of every image, in image pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from poseplug.codecs.base import Codec
from poseplug.codecs.dense_instances import DenseInstances, gather_cell_fields
from poseplug.core.geometry import Size, transform_points
from poseplug.core.poses import Poses
from poseplug.core.sample import Batch, Record
from poseplug.models.estimators.augmentation import FrameFields
from poseplug.models.estimators.sized_codecs import SizedCodecs


class Postprocess(ABC):
    """Decodes fields and returns the instances to image pixels.

    Attributes:
        codec: The codec of inputs of the config's size.
        finds_instances: Whether the instances are all those of an image, or one that is already located.
    """

    finds_instances: ClassVar[bool] = False

    def __init__(self, codec: Codec):
        self.codec = codec

    @abstractmethod
    def __call__(self, frames: Iterable[FrameFields], batch: Batch) -> list[Poses]:
        """Decode the fields of a batch.

        Args:
            frames: The fused fields of the images, in their order.
            batch: The images.

        Returns:
            The instances of every image as NumPy arrays, in image px.
        """

    def get_codec(self, input_size: Size) -> Codec:
        """Return the codec of inputs of a size, (width, height) px."""
        return self.codec


class CropPostprocess(Postprocess):
    """The subject of each crop, with its box and its annotation id where the record has them.

    Args:
        codec: The codec.
        keypoint_indices: (K,), for every predicted keypoint its index in the codec's skeleton, -1 where that lacks it;
            None for the codec's own keypoints.
    """

    def __init__(self, codec: Codec, keypoint_indices: np.ndarray | None = None):
        super().__init__(codec)
        self.keypoint_indices = keypoint_indices

    def __call__(self, frames: Iterable[FrameFields], batch: Batch) -> list[Poses]:
        poses = [image_poses for frame in frames for image_poses in decode_frame(frame)]
        if self.keypoint_indices is not None:
            poses = [image_poses.select_keypoints(self.keypoint_indices) for image_poses in poses]
        if not batch.records:  # images without annotations, as in a benchmark
            return poses
        return [_attach_box_and_id(*pair) for pair in zip(poses, batch.records, strict=True)]


def decode_frame(frame: FrameFields) -> list[Poses]:
    """Decode fields of M images to the instances of each, in image px, as NumPy arrays."""
    poses = frame.codec.decode({name: maps.float() for name, maps in frame.fields.items()})
    input_keypoints = torch.as_tensor(poses.keypoints)
    input_to_image = frame.input_to_image.to(input_keypoints)[poses.image_indices]
    keypoints = input_keypoints @ input_to_image[:, :2, :2].mT + input_to_image[:, None, :2, 2]
    return replace(poses, keypoints=keypoints).numpy().split_by_image(len(frame.input_to_image))


def _attach_box_and_id(poses: Poses, record: Record) -> Poses:
    """The one instance of a crop with the subject's box and annotation id, if these are known."""
    if len(poses) != 1 or poses.boxes is not None:
        return poses
    subject = record.instances[:1]
    return replace(
        poses,
        boxes=np.asarray(subject.boxes, np.float32) if subject.has_box.any() else None,
        ids=subject.annotation_ids if subject.has_annotation_id.any() else None,
    )


class GroupingPostprocess(Postprocess):
    """All instances of an image, which the codec groups, with the boxes of their keypoints.

    Args:
        codec: A codec that `groups_instances`. Inputs may have other sizes than its own.
    """

    finds_instances: ClassVar[bool] = True

    def __init__(self, codec: Codec):
        super().__init__(codec)
        self._codecs = SizedCodecs(codec)

    def __call__(self, frames: Iterable[FrameFields], batch: Batch) -> list[Poses]:
        return [image_poses for frame in frames for image_poses in self._decode_frame(frame)]

    def _decode_frame(self, frame: FrameFields) -> list[Poses]:
        matrices = frame.input_to_image.cpu().numpy()
        poses = frame.codec.decode({name: maps.float() for name, maps in frame.fields.items()}).numpy()
        pairs = zip(poses.split_by_image(len(matrices)), matrices, strict=True)
        return [poses_to_image(image_poses, matrix) for image_poses, matrix in pairs]

    def get_codec(self, input_size: Size) -> Codec:
        """Return the codec of inputs of a size, (width, height) px."""
        return self._codecs.get(input_size)


def poses_to_image(poses: Poses, input_to_image: np.ndarray) -> Poses:
    """Transform the instances of an image by a matrix (3, 3); the box of each is that of its detected keypoints."""
    keypoints = transform_points(input_to_image, np.asarray(poses.keypoints)).astype(np.float32)
    scores = poses.keypoint_scores if poses.visibility is None else poses.visibility
    detected = np.asarray(scores)[..., None] > 0
    low = np.where(detected, keypoints, np.inf).min(axis=1, initial=np.inf)
    high = np.where(detected, keypoints, -np.inf).max(axis=1, initial=-np.inf)
    boxes = np.where(detected.any(axis=1), np.concatenate([low, high], axis=1), 0.0).astype(np.float32)
    return replace(poses, keypoints=keypoints, boxes=boxes)


class KeypointDecoder(Protocol):
    """A head that decodes the keypoints of selected cells."""

    def decode_keypoints(self, instances: Mapping[str, Tensor]) -> Tensor:
        """Decode the fields of P cells, each (P, ...), to keypoints (P, K, 2) in input px."""
        ...


class DensePostprocess(Postprocess):
    """All instances of an image, each of one cell, highest score first.

    Keypoints are decoded after suppression, of the remaining instances alone. An instance whose box lies in the padding
    of the input is dropped.

    Args:
        codec: Selects the cells.
        head: The head that predicts them; it decodes their keypoints.
    """

    finds_instances: ClassVar[bool] = True
    codec: DenseInstances

    def __init__(self, codec: DenseInstances, head: KeypointDecoder):
        super().__init__(codec)
        self.head = head

    def __call__(self, frames: Iterable[FrameFields], batch: Batch) -> list[Poses]:
        poses = [image_poses for frame in frames for image_poses in self._decode_frame(frame)]
        return [_drop_outside_image(*pair) for pair in zip(poses, batch.image_sizes, strict=True)]

    def _decode_frame(self, frame: FrameFields) -> list[Poses]:
        matrices = frame.input_to_image.cpu().numpy()
        poses = self.decode_to_input(frame.fields).numpy().split_by_image(len(matrices))
        return [_to_float32(p.transform(matrix)) for p, matrix in zip(poses, matrices, strict=True)]

    def decode_to_input(self, fields: Mapping[str, Tensor]) -> Poses:
        """Decode the fields of all images, each (B, A, ...), to instances in input px, highest score first in each."""
        image_indices, cell_indices = self.codec.select_cells(fields)
        instances = gather_cell_fields(fields, image_indices, cell_indices)
        keypoints = self.head.decode_keypoints(instances)
        return self.codec.to_poses({**instances, 'keypoints': keypoints}, image_indices)


def _drop_outside_image(poses: Poses, image_size: Size) -> Poses:
    """The instances whose boxes overlap an image of a size (width, height)."""
    boxes = np.asarray(poses.boxes)
    return poses[(boxes[:, 2:] > -0.5).all(axis=1) & (boxes[:, :2] < np.array(image_size) - 0.5).all(axis=1)]


def _to_float32(poses: Poses) -> Poses:
    return replace(poses, keypoints=np.asarray(poses.keypoints, np.float32), boxes=np.asarray(poses.boxes, np.float32))
