"""The network of an estimator: from the pixels of a batch to the fields of every stage."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.models.heads.base import Head
from poseplug.models.layers.input_norm import InputNorm

StageFields = dict[str, Tensor]


class FieldNetwork(nn.Module):
    """The contract of a network: pixels to stages of fields.

    Args:
        input_norm: Normalizes the pixels.
        backbone: Images (B, 3, H, W) to feature maps. One with `experts` also receives the index of every image's
            source among them.
    """

    memory_format = torch.contiguous_format
    compute_dtype: torch.dtype | None = None

    def __init__(self, input_norm: InputNorm, backbone: nn.Module):
        super().__init__()
        self.input_norm, self.backbone = input_norm, backbone

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        # The buffer that every network has, with or without weights.
        return self.input_norm.mean.device

    @property
    @abstractmethod
    def num_stages(self) -> int:
        """The number of stages of the head that predicts."""

    def set_memory_format(self, memory_format: torch.memory_format) -> None:
        """Set the memory format of the weights and of the images that pass through them."""
        self.memory_format = memory_format
        self.to(memory_format=memory_format)  # type: ignore[call-overload]

    def set_compute_dtype(self, dtype: torch.dtype | None) -> None:
        """Set the type in which convolutions and matrix products are computed in prediction; None for the weights'.

        The fields come out as float32 whatever the type.
        """
        self.compute_dtype = dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the network computes in `compute_dtype`."""
        if self.compute_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.compute_dtype)

    def normalize_images(self, images: Tensor) -> Tensor:
        """Return the normalized pixels (B, 3, H, W) of images (B, H, W, 3), BGR, 0 to 255."""
        pixels: Tensor = self.input_norm(images)
        # Normalized here and not in the loader, whose workers send bytes: a quarter of the size of floats.
        return pixels.contiguous(memory_format=self.memory_format)

    @abstractmethod
    def source_indices(self, batch: Batch) -> Tensor | None:
        """Return what `forward` receives as `source_indices` in training."""

    @abstractmethod
    def prediction_source_indices(self, batch: Batch) -> Tensor | None:
        """Return what `forward` receives as `source_indices` in prediction."""

    def select_centers(self, batch: Batch) -> Tensor:
        """Return what `forward` receives as `centers`: of the subjects, or of all instances if the head reads them."""
        # Heads of other packages need not declare it.
        reads_all = getattr(self.active_parts()['head'], 'uses_instance_centers', False)
        return batch.list_instance_centers() if reads_all else batch.centers

    @abstractmethod
    def active_parts(self) -> dict[str, nn.Module]:
        """Return the parts that features pass through in prediction, in order: backbone, neck (if any), head."""

    @abstractmethod
    def inactive_parts(self) -> dict[str, nn.Module]:
        """Return the parts that prediction does not use, by name."""


class Network(FieldNetwork):
    """Input normalization, backbone, neck and head in a row.

    Args:
        input_norm: As in `FieldNetwork`.
        backbone: As in `FieldNetwork`.
        neck: Feature maps to feature maps; None for none.
        head: Feature maps to the fields of every stage.
        channels_last: Keep weights and images in torch's memory format channels_last.
    """

    def __init__(
        self,
        input_norm: InputNorm,
        backbone: nn.Module,
        neck: nn.Module | None,
        head: Head,
        channels_last: bool = False,
    ):
        super().__init__(input_norm, backbone)
        self.neck, self.head = neck, head
        self.set_memory_format(torch.channels_last if channels_last else torch.contiguous_format)

    @property
    def num_stages(self) -> int:
        """The number of stages of the head."""
        return self.head.num_stages

    def forward(
        self, images: Tensor, centers: Tensor | None = None, source_indices: Tensor | None = None
    ) -> list[StageFields]:
        """Predict the fields of every stage.

        Args:
            images: (B, H, W, 3), BGR, 0 to 255.
            centers: (B, 2), the subject's position in input px, for heads that use it.
            source_indices: (B,), index of every image's source among the backbone's experts, if it has experts.

        Returns:
            The stages, each with fields (B, C, ...) by name.
        """
        pixels = self.normalize_images(images)
        with self.autocast():
            features = self.backbone(pixels) if source_indices is None else self.backbone(pixels, source_indices)
            stages = predict_from_features(self.neck, self.head, features, centers)
        return stages if self.compute_dtype is None else convert_to_float32(stages)

    def source_indices(self, batch: Batch) -> Tensor | None:
        """Return the index (B,) of every image's source among the backbone's experts; None if it has none."""
        experts = getattr(self.backbone, 'experts', ())
        return source_indices_of(batch, experts, 'model.backbone.experts') if experts else None

    def prediction_source_indices(self, batch: Batch) -> Tensor | None:
        """Return what `source_indices` returns."""
        return self.source_indices(batch)

    def active_parts(self) -> dict[str, nn.Module]:
        """Return backbone, neck (if any) and head."""
        neck = {} if self.neck is None else {'neck': self.neck}
        return {'backbone': self.backbone, **neck, 'head': self.head}

    def inactive_parts(self) -> dict[str, nn.Module]:
        """Return nothing: prediction uses every part."""
        return {}


def predict_from_features(
    neck: nn.Module | None, head: Head, features: Sequence[Tensor], centers: Tensor | None = None
) -> list[StageFields]:
    """Pass a backbone's feature maps through a neck and a head.

    Args:
        neck: The neck; None for none.
        head: The head.
        features: Feature maps, each (B, C, H, W).
        centers: (B, 2), the subject's position in input px, for heads that use it.

    Returns:
        The stages, each with fields (B, C, ...) by name.
    """
    if neck is not None:
        features = neck(features)
    # Most heads know no centers, and have no argument for them.
    return head(features, centers=centers) if head.uses_centers else head(features)


def convert_to_float32(stages: Sequence[Mapping[str, Tensor]]) -> list[StageFields]:
    """Return stages whose fields of floating-point numbers are float32."""
    return [{name: field.float() if field.is_floating_point() else field for name, field in s.items()} for s in stages]


def complete_stages(stages: Sequence[Mapping[str, Tensor]]) -> list[StageFields]:
    """Return stages that can all be decoded: fields that a stage does not predict are those of the last one."""
    return [{**stages[-1], **fields} for fields in stages]


def source_indices_of(batch: Batch, source_names: Sequence[str], setting: str) -> Tensor:
    """Return the index of every image's source.

    Args:
        batch: B images with records.
        source_names: The known sources.
        setting: The setting of the config that names them, for the message.

    Returns:
        (B,), int64.

    Raises:
        ConfigError: The source of an image is unknown.
    """
    unknown = sorted({record.source for record in batch.records} - set(source_names))
    if unknown:
        known = ', '.join(source_names)
        raise ConfigError(f'{setting} names {known}, and not the source {unknown[0]!r} of an image; add it')
    return torch.tensor([source_names.index(r.source) for r in batch.records], device=batch.images.device)
