"""One backbone and several decoders: the network, and the criterion that trains each on its own images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.models.estimators.criterion import StageCriterion
from poseplug.models.estimators.network import (
    FieldNetwork,
    StageFields,
    convert_to_float32,
    predict_from_features,
    source_indices_of,
)
from poseplug.models.heads.base import Head
from poseplug.models.layers.input_norm import InputNorm


class Decoder(nn.Module):
    """Neck and head behind a shared backbone.

    Args:
        codec: The codec of the head's fields.
        neck: The neck; None for none.
        head: The head.
    """

    def __init__(self, codec: Codec, neck: nn.Module | None, head: Head):
        super().__init__()
        self.codec, self.neck, self.head = codec, neck, head

    def forward(self, features: Sequence[Tensor], centers: Tensor | None = None) -> list[StageFields]:
        """Predict the fields (B, C, ...) of every stage from the backbone's feature maps."""
        return predict_from_features(self.neck, self.head, features, centers)


class MultiHeadNetwork(FieldNetwork):
    """Input normalization, one backbone, and several decoders.

    Args:
        input_norm: As in `FieldNetwork`.
        backbone: As in `FieldNetwork`; one with `experts` has an expert of each decoder's name.
        decoders: The decoders by name.
        decoder_of_source: The name of the decoder that learns from each source.
        active_decoder: The decoder that predicts.
        channels_last: As in `Network`.
    """

    def __init__(
        self,
        input_norm: InputNorm,
        backbone: nn.Module,
        decoders: Mapping[str, Decoder],
        decoder_of_source: Mapping[str, str],
        active_decoder: str,
        channels_last: bool = False,
    ):
        super().__init__(input_norm, backbone)
        self.decoders = nn.ModuleDict(decoders)
        self.decoder_of_source, self.active_decoder = dict(decoder_of_source), active_decoder
        self.set_memory_format(torch.channels_last if channels_last else torch.contiguous_format)

    @property
    def num_stages(self) -> int:
        """The number of stages of the active decoder's head."""
        return self.get_decoder(self.active_decoder).head.num_stages

    def get_decoder(self, name: str) -> Decoder:
        """Return a decoder by name."""
        decoder = self.decoders[name]
        assert isinstance(decoder, Decoder)
        return decoder

    def forward(
        self, images: Tensor, centers: Tensor | None = None, source_indices: Tensor | None = None
    ) -> list[StageFields] | dict[str, list[StageFields]]:
        """Predict the fields of every stage.

        Args:
            images: (B, H, W, 3), BGR, 0 to 255.
            centers: (B, 2), the subject's position in input px, for heads that use it.
            source_indices: (B,), index of every image's decoder; None for the active one.

        Returns:
            The stages of the active decoder, each with fields (B, C, ...) by name. With `source_indices` those of every
            decoder that has images, by its name and for its images alone.
        """
        pixels = self.normalize_images(images)
        if source_indices is None and self.compute_dtype is not None:
            with self.autocast():
                features = self.backbone(pixels, *self._expert_indices(pixels, None))
                reduced: list[StageFields] = self.decoders[self.active_decoder](features, centers)
            return convert_to_float32(reduced)
        features = self.backbone(pixels, *self._expert_indices(pixels, source_indices))
        if source_indices is None:
            stages: list[StageFields] = self.decoders[self.active_decoder](features, centers)
            return stages
        outputs = {}
        for index, (name, decoder) in enumerate(self.decoders.items()):
            # A decoder runs on its own images alone; the released code runs every one on all and masks the losses.
            rows = (source_indices == index).nonzero()[:, 0]
            # A decoder without images in this batch has no losses, and its parameters have no gradient.
            if len(rows):
                decoder_centers = None if centers is None else centers[rows]
                outputs[name] = decoder([maps[rows] for maps in features], decoder_centers)
        return outputs

    def _expert_indices(self, pixels: Tensor, source_indices: Tensor | None) -> tuple[Tensor, ...]:
        """For a backbone with one expert per decoder: the index (B,) of every image's expert."""
        experts = getattr(self.backbone, 'experts', ())
        if not experts:
            return ()
        unknown = [name for name in self.decoders if name not in experts]
        if unknown:
            raise ConfigError(f'model.backbone.experts names {", ".join(experts)}, but no expert for {unknown[0]!r}')
        # By name, since experts may stand in another order than decoders.
        expert_of_decoder = torch.tensor([experts.index(name) for name in self.decoders], device=pixels.device)
        if source_indices is None:
            active_index = list(self.decoders).index(self.active_decoder)
            source_indices = torch.full((pixels.shape[0],), active_index, device=pixels.device)
        return (expert_of_decoder[source_indices],)

    def source_indices(self, batch: Batch) -> Tensor:
        """Return the index (B,) of the decoder that learns from each image's source."""
        sources = source_indices_of(batch, list(self.decoder_of_source), "the 'sources' of model.decoders")
        names = list(self.decoders)
        decoder_indices = [names.index(name) for name in self.decoder_of_source.values()]
        return torch.tensor(decoder_indices, device=sources.device)[sources]

    def prediction_source_indices(self, batch: Batch) -> None:
        """Return None: the active decoder predicts all images."""

    def active_parts(self) -> dict[str, nn.Module]:
        """Return the parts that features pass through in prediction, in order: backbone, neck (if any), head."""
        decoder = self.get_decoder(self.active_decoder)
        neck = {} if decoder.neck is None else {'neck': decoder.neck}
        return {'backbone': self.backbone, **neck, 'head': decoder.head}

    def inactive_parts(self) -> dict[str, nn.Module]:
        """Return the decoders that prediction does not use, by name."""
        return {f'decoders.{name}': part for name, part in self.decoders.items() if name != self.active_decoder}


class MultiHeadCriterion(nn.Module):
    """The losses of every decoder's stages, each by its fraction of the batch's images.

    Args:
        criteria: The criterion of each decoder.
        decoder_of_source: The name of the decoder that learns from each source.
        keypoint_indices: For each decoder the indices of its keypoints among those of the batch.
    """

    def __init__(
        self,
        criteria: Mapping[str, StageCriterion],
        decoder_of_source: Mapping[str, str],
        keypoint_indices: Mapping[str, Sequence[int]],
    ):
        super().__init__()
        self.decoders = nn.ModuleDict(criteria)
        self.decoder_of_source, self.keypoint_indices = dict(decoder_of_source), dict(keypoint_indices)

    def forward(self, outputs: Mapping[str, list[StageFields]], batch: Batch) -> dict[str, Tensor]:
        """Compute the weighted losses.

        Args:
            outputs: The stages of every decoder that has images, for its images alone.
            batch: All images with their instances.

        Returns:
            Scalars by name, such as 'coco.loss_1'.
        """
        decoder_names = [self.decoder_of_source[record.source] for record in batch.records]
        losses: dict[str, Tensor] = {}
        for name, stages in outputs.items():
            rows = [row for row, decoder_name in enumerate(decoder_names) if decoder_name == name]
            indices, criterion = self.keypoint_indices[name], self.decoders[name]
            assert isinstance(criterion, StageCriterion)
            # Batches have the keypoints of the union: (B, N, union, 2) to those of this decoder.
            keypoints, visible = batch.keypoints[rows][:, :, indices], batch.visible[rows][:, :, indices]
            targets = criterion.codec.encode(keypoints, visible, batch.valid[rows])
            decoder_losses = criterion.compute_target_losses(stages, targets)
            # As if the loss were a mean over the whole batch: what ViTPose's released code computes by masking.
            fraction = len(rows) / len(batch)
            losses.update({f'{name}.{loss_name}': value * fraction for loss_name, value in decoder_losses.items()})
        return losses
