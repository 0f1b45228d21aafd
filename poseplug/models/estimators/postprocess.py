"""Post-processing: from fields to the instances of every image, in image pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor

from poseplug.codecs.base import Codec
from poseplug.codecs.dense_instances import DenseInstances, gather_cell_fields
from poseplug.core.batch import Batch
from poseplug.core.geometry import Size
from poseplug.core.poses import Poses
from poseplug.core.sample import Record
from poseplug.grouping.image_instances import boxed_poses_to_image, poses_to_image
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
    poses = frame.codec.decode({name: maps.float() for name, maps in frame.fields.items()}).numpy()
    # In NumPy: of so few numbers a tensor's operations take several times as long.
    matrices = frame.input_to_image.cpu().numpy()
    # (N, 3, 3): the matrix of the image of every instance.
    input_to_image = matrices[poses.image_indices]
    keypoints = np.asarray(poses.keypoints) @ input_to_image[:, :2, :2].swapaxes(1, 2) + input_to_image[:, None, :2, 2]
    sigmas = poses.keypoint_sigmas_px
    if sigmas is not None:
        # The root of the determinant is the scale of the matrix, also of one that rotates or flips.
        scales = np.sqrt(np.abs(np.linalg.det(input_to_image[:, :2, :2])))
        sigmas = (np.asarray(sigmas) * scales[:, None]).astype(np.float32)
    poses = replace(poses, keypoints=keypoints.astype(np.float32), keypoint_sigmas_px=sigmas)
    return poses.split_by_image(len(matrices))


def _attach_box_and_id(poses: Poses, record: Record) -> Poses:
    """The one instance of a crop with the subject's box and annotation id, if these are known."""
    # More than one instance in a crop: none of them is surely the subject.
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
        return self._codecs.get_codec(input_size)


class KeypointDecoder(Protocol):
    """A head that decodes the keypoints of selected cells."""

    def decode_keypoints(self, instances: Mapping[str, Tensor]) -> Tensor:
        """Decode the fields of P cells, each (P, ...), to keypoints (P, K, 2) in input px."""
        ...

    def predict_keypoint_sigmas(self, instances: Mapping[str, Tensor]) -> Tensor | None:
        """Predict the scale of the errors (P, K) in input px of the keypoints of P cells; None for no prediction."""
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
        # One iterator over all frames: `frames` may come one image at a time, and in order.
        image_sizes, results = iter(batch.image_sizes), []
        for frame in frames:
            matrices = frame.input_to_image.cpu().numpy()
            poses = self.decode_to_input(frame.fields).numpy().split_by_image(len(matrices))
            results += [
                boxed_poses_to_image(*values, next(image_sizes)) for values in zip(poses, matrices, strict=True)
            ]
        return results

    def decode_to_input(self, fields: Mapping[str, Tensor]) -> Poses:
        """Decode the fields of all images, each (B, A, ...), to instances in input px, highest score first in each."""
        # Suppression needs boxes and scores alone; the classifier then runs on tens of cells, not on thousands.
        image_indices, cell_indices = self.codec.select_cells(fields)
        instances = gather_cell_fields(fields, image_indices, cell_indices)
        keypoints = self.head.decode_keypoints(instances)
        poses = self.codec.to_poses({**instances, 'keypoints': keypoints}, image_indices)
        return replace(poses, keypoint_sigmas_px=self.head.predict_keypoint_sigmas(instances))
