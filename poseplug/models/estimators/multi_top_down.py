"""One backbone and one decoder per data set, trained together (Xu et al. 2022, arXiv:2204.12484, joint training)."""

from __future__ import annotations

__all__ = ['MultiTopDown']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec
from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.core.sample import Batch
from poseplug.core.skeleton import Skeleton
from poseplug.models.estimators.augmentation import TestTimeAugmentation
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.criterion import StageCriterion, Supervision
from poseplug.models.estimators.network import (
    IMAGENET_NORM,
    FieldNetwork,
    PartConfig,
    StageFields,
    build_codec,
    build_neck_and_head,
    convert_to_float32,
    predict_from_features,
    source_indices_of,
)
from poseplug.models.estimators.postprocess import CropPostprocess
from poseplug.models.estimators.top_down import check_top_down_codec
from poseplug.models.heads.base import Head
from poseplug.models.layers.conv import InputNorm
from poseplug.models.losses.base import LossSpec
from poseplug.registry import MODELS
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import Slot


@dataclass(frozen=True)
class DecoderSettings:
    """The settings of one decoder, own and shared ones.

    Attributes:
        skeleton: Of its keypoints.
        sources: Names of the sources that it learns from.
        codec: The codec of one instance.
        head: The head.
        neck: The neck; None for none.
        loss: As in `StageCriterion`.
        supervision: As in `StageCriterion`.
    """

    skeleton: Skeleton | str | PartConfig | None = None
    sources: Sequence[str] = ()
    codec: Codec | PartConfig | None = None
    head: PartConfig | None = None
    neck: PartConfig | None = None
    loss: LossSpec | Sequence[LossSpec] | None = None
    supervision: Supervision = 'all'

    # The same wiring as in a model with one decoder, so that the check of configs needs no rule for these.
    slots: ClassVar[Mapping[str, Slot]] = {name: Estimator.slots[name] for name in ('codec', 'head', 'neck', 'loss')}


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
        pixels = self.normalize(images)
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


@MODELS.register_module()
class MultiTopDown(Estimator):
    """A `TopDown` with one decoder per data set on a shared backbone.

    `codec`, `head`, `neck`, `loss` and `supervision` are those of every decoder that has none of its own. Images have
    the keypoints of `skeleton`, the union of the decoders' ('lsp+coco'); each decoder takes its own by name and runs on
    the images of its sources.

    Args:
        skeleton: The union; the config's builder provides it.
        backbone: The shared backbone.
        decoders: For each name its `skeleton`, the `sources` that it learns from, and what differs from the shared
            settings.
        codec: Shared; the codec of one instance.
        head: Shared.
        neck: Shared; None for none.
        loss: Shared; as in `StageCriterion`.
        supervision: Shared; as in `StageCriterion`.
        active_decoder: The decoder that predicts, by default the first; keypoints that it lacks have score 0.
        input_norm: Settings of `InputNorm`.
        flip_test: Average the fields with those of the flipped crop.
        channels_last: As in `Network`.

    Raises:
        ConfigError: A setting is unknown or wrong, or a decoder's skeleton is not part of the union.
        MismatchError: Two parts do not fit each other.
    """

    slots: ClassVar[Mapping[str, Slot]] = {**Estimator.slots, 'decoders': Slot(DecoderSettings, by_name=True)}

    network: MultiHeadNetwork

    def __init__(
        self,
        skeleton: Skeleton | str | PartConfig,
        backbone: nn.Module | PartConfig,
        decoders: Mapping[str, Mapping[str, Any]],
        codec: Codec | PartConfig | None = None,
        head: PartConfig | None = None,
        neck: PartConfig | None = None,
        loss: LossSpec | Sequence[LossSpec] | None = None,
        supervision: Supervision = 'all',
        active_decoder: str | None = None,
        input_norm: PartConfig = IMAGENET_NORM,
        flip_test: bool = False,
        channels_last: bool = False,
    ):
        skeleton = get_skeleton(skeleton)
        shared = DecoderSettings(codec=codec, head=head, neck=neck, loss=loss, supervision=supervision)
        all_settings = {name: _merge_decoder_settings(name, shared, spec) for name, spec in decoders.items()}
        codecs = {name: _build_decoder_codec(name, settings) for name, settings in all_settings.items()}
        for decoder_codec in codecs.values():
            check_top_down_codec(type(self).__name__, decoder_codec)
        norm, input_size = InputNorm(**input_norm), _get_shared_input_size(codecs)  # type: ignore[arg-type]
        built_backbone: nn.Module = MODELS.build(backbone, input_size=input_size)
        built_decoders, criteria, keypoint_indices = {}, {}, {}
        for name, settings in all_settings.items():
            decoder_codec = codecs[name]
            keypoint_indices[name] = _get_keypoint_indices(skeleton, decoder_codec.skeleton)
            decoder = Decoder(
                decoder_codec, *build_neck_and_head(decoder_codec, built_backbone, settings.head or {}, settings.neck)
            )
            built_decoders[name] = decoder
            criteria[name] = StageCriterion(decoder_codec, decoder.head, settings.loss, settings.supervision)
        active = _check_active_decoder(active_decoder, all_settings)
        decoder_of_source = {source: name for name, settings in all_settings.items() for source in settings.sources}
        network = MultiHeadNetwork(norm, built_backbone, built_decoders, decoder_of_source, active, channels_last)
        criterion = MultiHeadCriterion(criteria, decoder_of_source, keypoint_indices)
        # Back to the union: -1 where the active decoder lacks a keypoint.
        postprocess = CropPostprocess(codecs[active], skeleton.indices_in(codecs[active].skeleton))
        augmentation = TestTimeAugmentation(codecs[active], 'crops', flip_test)
        super().__init__(skeleton, network, criterion, augmentation, postprocess)


def _check_active_decoder(active_decoder: str | None, decoder_names: Mapping[str, object]) -> str:
    """The decoder that predicts, by default the first."""
    name = next(iter(decoder_names)) if active_decoder is None else active_decoder
    if name not in decoder_names:
        hint = suggest_closest(name, decoder_names) or 'known:'
        raise ConfigError(f'model.active_decoder={name!r} is no decoder; {hint} {list(decoder_names)}')
    return name


def _get_keypoint_indices(skeleton: Skeleton, decoder_skeleton: Skeleton) -> list[int]:
    """For the keypoints of a decoder their indices in the union, which must contain them."""
    missing = [name for name in decoder_skeleton.keypoints if name not in skeleton.keypoints]
    if missing:
        raise ConfigError(
            f'the decoder of {decoder_skeleton.name!r} predicts {missing[0]!r}, which the skeleton {skeleton.name!r} '
            f'of the data lacks; set skeleton to the union, with a + between the names'
        )
    return [skeleton.index(name) for name in decoder_skeleton.keypoints]


def _merge_decoder_settings(decoder_name: str, shared: DecoderSettings, spec: Mapping[str, Any]) -> DecoderSettings:
    """The shared settings with those that a decoder has of its own."""
    known = [field.name for field in fields(DecoderSettings)]
    unknown = [key for key in spec if key not in known]
    if unknown:
        closest = suggest_closest(unknown[0], known)
        raise ConfigError(f'model.decoders.{decoder_name} has no setting {unknown[0]!r}; {closest}')
    return replace(shared, **spec)


def _build_decoder_codec(decoder_name: str, settings: DecoderSettings) -> Codec:
    """The codec of a decoder, for the decoder's own skeleton."""
    if settings.skeleton is None or settings.codec is None or settings.head is None:
        missing = next(name for name in ('skeleton', 'codec', 'head') if getattr(settings, name) is None)
        raise ConfigError(
            f'model.decoders.{decoder_name} has no {missing}; give it one, or model.{missing} for all decoders'
        )
    return build_codec(settings.codec, settings.skeleton)


def _get_shared_input_size(codecs: Mapping[str, Codec]) -> tuple[int, int]:
    """The input size of all decoders, which share the images, and so the crop, too."""
    # The crop rule as well: with another alignment the same image would show another part of the scene.
    crops = {name: (codec.input_size, codec.crop_rule) for name, codec in codecs.items()}
    if len(set(crops.values())) != 1:
        given = crops or 'no decoder'
        raise ConfigError(f'the decoders share their images and need one input_size and crop_rule; got {given}')
    return next(iter(codecs.values())).input_size
