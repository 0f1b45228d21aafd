"""Test-time augmentation: the fields of an image from several views of it, and from flipped copies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from poseplug.codecs.base import Codec
from poseplug.core.batch import Batch
from poseplug.core.errors import MismatchError
from poseplug.core.setting_checks import check_flags
from poseplug.models.estimators.fusion import check_field_shapes, fuse_crops, fuse_whole_images
from poseplug.models.estimators.network import FieldNetwork, StageFields, complete_stages
from poseplug.models.estimators.sized_codecs import SizedCodecs

ViewFusion = Literal['crops', 'whole_images', 'none']


@dataclass(frozen=True, eq=False)
class FrameFields:
    """Fields of M images that one codec decodes.

    Attributes:
        fields: (M, C, H, W) by name.
        codec: Reads them; its input is the frame.
        input_to_image: (M, 3, 3), from px of the frame to px of the images.
    """

    fields: StageFields
    codec: Codec
    input_to_image: Tensor


class TestTimeAugmentation:
    """Predicts every view of a batch, averages flipped copies (flip test) and fuses the views (multi-scale test).

    Args:
        codec: Flips fields, and reads those of inputs of the config's size.
        fusion: How the views of an image are fused: 'crops' at every pixel of the image (Wei et al. 2016),
            'whole_images' on the cells of the first view (Cao et al. 2017), or 'none', where several are an error.
        flip_test: Average the fields with those of the flipped input.
        head_name: The part that predicts the fields, for messages.
    """

    __test__ = False  # no class of tests, whatever pytest thinks of its name

    def __init__(self, codec: Codec, fusion: ViewFusion, flip_test: bool = False, head_name: str = 'the head'):
        check_flags('model', flip_test=flip_test)
        self.codecs, self.fusion, self.flip_test = SizedCodecs(codec), fusion, flip_test
        self.head_name = head_name

    def predict_views(self, network: FieldNetwork, batch: Batch) -> list[list[StageFields]]:
        """Predict the stages of every view.

        Args:
            network: The network.
            batch: B images with V views each.

        Returns:
            For every view its stages, each with all fields (B, C, ...) by name; what a stage does not predict is that
            of the last one.
        """
        source_indices = network.prediction_source_indices(batch)
        views = []
        for images, centers in _split_views(batch, network.select_centers(batch)):
            if self.flip_test:
                stages = predict_with_flip_test(network, self.codecs.codec, images, centers, source_indices)
            else:
                stages = network(images, centers, source_indices)
            views.append(complete_stages(stages))
        return views

    def fuse_views(self, view_fields: list[StageFields], batch: Batch) -> Iterator[FrameFields]:
        """Fuse the fields of several views of each image.

        Args:
            view_fields: The fields (B, C, ...) of one stage, for every view.
            batch: The B images.

        Yields:
            The fused fields, in the order of the images: of all images at once, or one by one if each has its own
            frame. Fields of a single view stay as they are.

        Raises:
            ConfigError: The codec has no heatmaps, which crops are fused by.
            MismatchError: Fields have another size than their codec's, or this model reads a single view.
        """
        several = len(view_fields) > 1
        if several and self.fusion == 'none':
            raise MismatchError('OneStage reads one view of an image; leave MultiScaleImage out of the test pipeline')
        if several and self.fusion == 'crops':
            # Fused crops lie in the pixels of the image already.
            identity = torch.eye(3, dtype=torch.float64, device=batch.images.device)[None]
            # One image at a time: a fused heatmap has as many cells as the image has pixels.
            for codec, heatmaps in fuse_crops(self.codecs.codec, view_fields, batch):
                yield FrameFields({'heatmap': heatmaps}, codec, identity)
            return
        codec, fields = self.codecs.codec, view_fields[0]
        if self.fusion == 'whole_images':
            view_codecs = [self.codecs.get_codec(size) for size in batch.view_sizes]
            # Here the image decides the size, so shapes are checked at each prediction; those of crops at construction.
            for view_codec, one_view in zip(view_codecs, view_fields, strict=False):
                check_field_shapes(one_view, view_codec, self.head_name)
            codec = view_codecs[0]
            if several:
                fields = fuse_whole_images(view_codecs, view_fields, batch)
        yield FrameFields(fields, codec, batch.input_to_image())


def predict_with_flip_test(
    network: FieldNetwork, codec: Codec, images: Tensor, centers: Tensor, source_indices: Tensor | None = None
) -> list[StageFields]:
    """Predict the stages of images, averaged with those of the flipped images.

    Args:
        network: The network.
        codec: Flips the fields.
        images: (B, H, W, 3), BGR, 0 to 255.
        centers: (B, 2), the subject's position in input px.
        source_indices: (B,), as for the network.

    Returns:
        The stages, each with fields (B, C, ...) by name.
    """
    stages = network(images, centers, source_indices)
    # Pixel x becomes pixel width - 1 - x.
    flipped_centers = torch.stack([images.shape[2] - 1 - centers[..., 0], centers[..., 1]], dim=-1)
    flipped_stages = network(images.flip(2), flipped_centers, source_indices)
    pairs = zip(stages, flipped_stages, strict=True)
    # Stage by stage, so that a flip test of every stage costs no more than that of the last.
    return [codec.average_flipped(fields, codec.flip(flipped)) for fields, flipped in pairs]


def _split_views(batch: Batch, centers: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For every view its images (B, H, W, 3) and the centers (B, ..., 2), in its input px."""
    other_matrices = [batch.to_view(view) for view in range(1, batch.images.shape[1])]
    view_centers = [centers, *(transform_each_point(centers, matrix) for matrix in other_matrices)]
    pairs = zip(batch.images.unbind(1), batch.view_sizes, strict=True)
    # Views are padded to the largest in the batch, at the end; the network sees each at its own size.
    images = [view[:, :height, :width] for view, (width, height) in pairs]
    return list(zip(images, view_centers, strict=True))


def transform_each_point(points: Tensor, matrices: Tensor) -> Tensor:
    """Transform points (B, ..., 2), those of each image by its own matrix (B, 3, 3)."""
    flat = points.to(matrices).reshape(len(points), points.shape[1:-1].numel(), 2)
    transformed = flat @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]
    return transformed.reshape(points.shape).to(points)
