"""One instance per crop: the crop is cut by a matrix, the keypoints come back through its inverse."""

from __future__ import annotations

__all__ = ['TopDown']

from collections.abc import Sequence

from torch import nn

from poseplug.codecs.base import Codec
from poseplug.core.errors import MismatchError
from poseplug.core.skeleton import Skeleton
from poseplug.models.estimators.augmentation import TestTimeAugmentation
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.criterion import StageCriterion, Supervision
from poseplug.models.estimators.part_wiring import IMAGENET_NORM, PartConfig, build_codec, build_network
from poseplug.models.estimators.postprocess import CropPostprocess
from poseplug.models.losses.base import LossSpec
from poseplug.registry import MODELS
from poseplug.registry.skeletons import get_skeleton


@MODELS.register_module()
class TopDown(Estimator):
    """Predicts the subject of each crop.

    Several views of an image (scales) are fused in the image's own frame. Each prediction has its subject's box and
    annotation id, if the record has them. Parts are configs or already built.

    Args:
        skeleton: A name, a skeleton or its settings; the config's builder provides it.
        codec: The codec of one instance.
        backbone: The backbone.
        head: The head.
        neck: The neck; None for none.
        loss: As in `StageCriterion`.
        input_norm: Settings of `InputNorm`: mean, std and channel order of the input.
        supervision: As in `StageCriterion`.
        channels_last: Keep weights and images in torch's memory format channels_last.
        flip_test: Average the fields with those of the flipped crop.

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
    ):
        codec = build_codec(codec, skeleton)
        network = build_network(codec, backbone, head, neck, input_norm, channels_last)
        criterion = StageCriterion(codec, network.head, loss, supervision)
        # Behind the network: a head that does not fit the codec is reported first.
        check_top_down_codec(type(self).__name__, codec)
        augmentation = TestTimeAugmentation(codec, 'crops', flip_test)
        super().__init__(get_skeleton(skeleton), network, criterion, augmentation, CropPostprocess(codec))


def check_top_down_codec(estimator_name: str, codec: Codec) -> None:
    """Check that a codec reads one instance per crop.

    Raises:
        MismatchError: Its fields contain all instances of an image, with their boxes.
    """
    # Other codecs of several instances are allowed: PAF with `single_instance` reads one from a crop.
    if codec.field_kind == 'instances':
        raise MismatchError(
            f'{estimator_name} reads the subject of each crop, but {type(codec).__name__} finds all instances of an '
            f'image; set model.type=OneStage, or model.codec.type to a codec of one instance'
        )
