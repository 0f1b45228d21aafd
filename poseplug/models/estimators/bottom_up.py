"""All instances of an image at once: the codec groups the keypoints that the fields contain (Cao et al. 2017)."""

from __future__ import annotations

__all__ = ['BottomUp']

import inspect
from collections.abc import Sequence

from torch import nn

from poseplug.codecs.base import Codec
from poseplug.core.errors import MismatchError
from poseplug.core.skeleton import Skeleton
from poseplug.models.estimators.augmentation import TestTimeAugmentation
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.criterion import MaskWeights, StageCriterion, Supervision
from poseplug.models.estimators.part_wiring import IMAGENET_NORM, PartConfig, build_codec, build_network
from poseplug.models.estimators.postprocess import GroupingPostprocess
from poseplug.models.losses.base import LossSpec
from poseplug.registry import CODECS, MODELS
from poseplug.registry.skeletons import get_skeleton


@MODELS.register_module()
class BottomUp(Estimator):
    """Predicts all instances of each image, highest score first, with the boxes of their keypoints.

    Images may have any size that the network's strides divide: targets are drawn, and fields read, on the grid of that
    size. Masked positions have no loss. Several views (scales) are averaged on the cells of the first. Parts are
    configs or already built.

    Args:
        skeleton, backbone, head, neck, loss, input_norm, supervision, channels_last: As in `TopDown`.
        codec: A codec that `groups_instances`: its fields contain those of all instances.
        flip_test: Average the fields with those of the flipped image.
        mask_weights: As in `StageCriterion`.

    Raises:
        ConfigError: A setting is unknown or wrong.
        MismatchError: Two parts do not fit each other.
    """

    def __init__(
        self,
        skeleton: Skeleton | str | PartConfig,
        codec: Codec | PartConfig,
        backbone: nn.Module | PartConfig,
        head: nn.Module | PartConfig,
        neck: nn.Module | PartConfig | None = None,
        loss: LossSpec | Sequence[LossSpec] | None = None,
        input_norm: PartConfig = IMAGENET_NORM,
        supervision: Supervision = 'all',
        channels_last: bool = False,
        flip_test: bool = False,
        mask_weights: MaskWeights = 'square',
    ):
        codec = build_codec(codec, skeleton)
        network = build_network(codec, backbone, head, neck, input_norm, channels_last)
        criterion = StageCriterion(codec, network.head, loss, supervision, whole_images=True, mask_weights=mask_weights)
        # Behind the network: a head that does not fit the codec is reported first.
        _check_grouping_codec(codec)
        # Views are fused on cells: at every pixel, fields of stride 8 would be 64 times as large.
        augmentation = TestTimeAugmentation(codec, 'whole_images', flip_test, type(network.head).__name__)
        super().__init__(get_skeleton(skeleton), network, criterion, augmentation, GroupingPostprocess(codec))


def _check_grouping_codec(codec: Codec) -> None:
    """Raise a MismatchError if a codec does not group several instances."""
    name = type(codec).__name__
    if not codec.groups_instances:
        fitting = [n for n in CODECS.list_names() if getattr(CODECS.get(n), 'groups_instances', False)]
        raise MismatchError(
            f'{name} reads one instance from its fields, but BottomUp finds all instances of an image; set '
            f'model.codec.type to one of {", ".join(fitting)}, or model.type=TopDown'
        )
    # Asked at construction: the first batch would fail with a TypeError of Python.
    if 'annotated_keypoints' not in inspect.signature(codec.encode).parameters:
        raise MismatchError(
            f'{name}.encode has no argument annotated_keypoints (B, K), which tells a codec of whole images the '
            f'keypoints that the data set of each image annotates; add it, with None for all as its default'
        )
    # Codecs of other packages need not have the setting.
    if getattr(codec, 'single_instance', False):
        raise MismatchError(
            f'{name} with single_instance=True reads one instance, but BottomUp finds all instances of an image; set '
            f'model.codec.single_instance=False'
        )
