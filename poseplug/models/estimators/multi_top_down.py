"""One backbone and one decoder per data set, trained together (Xu et al. 2022, arXiv:2204.12484, joint training)."""

from __future__ import annotations

__all__ = ['MultiTopDown']

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from torch import nn

from poseplug.codecs.base import Codec
from poseplug.core.errors import ConfigError, suggest_closest
from poseplug.core.skeleton import Skeleton
from poseplug.models.estimators.augmentation import TestTimeAugmentation
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.criterion import StageCriterion, Supervision
from poseplug.models.estimators.multi_head import Decoder, MultiHeadCriterion, MultiHeadNetwork
from poseplug.models.estimators.part_wiring import IMAGENET_NORM, PartConfig, build_codec, build_neck_and_head
from poseplug.models.estimators.postprocess import CropPostprocess
from poseplug.models.estimators.top_down import check_top_down_codec
from poseplug.models.layers.input_norm import InputNorm
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
        channels_last: Keep weights and images in torch's memory format channels_last.

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
