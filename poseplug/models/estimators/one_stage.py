"""All instances of an image at once, each predicted by a cell of the network (YOLO-Pose, RTMO)."""

from __future__ import annotations

__all__ = ['OneStage']

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from poseplug.codecs.base import Codec
from poseplug.codecs.dense_instances import DenseInstances
from poseplug.core.batch import Batch
from poseplug.core.errors import MismatchError
from poseplug.core.skeleton import Skeleton
from poseplug.models.assigners.base import Assigner
from poseplug.models.estimators.augmentation import TestTimeAugmentation
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.one_stage_criterion import OneStageCriterion, TrainingPhase
from poseplug.models.estimators.part_wiring import IMAGENET_NORM, NETWORK_SLOTS, PartConfig, build_codec, build_network
from poseplug.models.estimators.postprocess import DensePostprocess
from poseplug.models.estimators.random_resize import SizeRange, resize_batch_randomly
from poseplug.models.losses.base import LossSpec
from poseplug.registry import CODECS, MODELS
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import Slot


@MODELS.register_module()
class OneStage(Estimator):
    """Predicts all instances of each image, one at each of the highest-scoring cells, with box and keypoints.

    An instance whose box lies in the padding of the input is dropped; boxes and keypoints of others may cross the
    border of the image. Parts are configs or already built.

    Args:
        skeleton, backbone, neck, input_norm, channels_last: As in `TopDown`.
        codec: `DenseInstances`.
        head: A `OneStageHead`.
        assigner: As in `OneStageCriterion`.
        loss: As in `OneStageCriterion`.
        loss_weights: As in `OneStageCriterion`.
        proxy_target: As in `TrainingPhase`.
        overlaps_power: As in `TrainingPhase`.
        random_size_range: (min, max, step) px of the first side; every training batch is resized to one of these sizes.

    Raises:
        ConfigError: A setting is unknown or wrong.
        MismatchError: Two parts do not fit each other.
    """

    common_settings: ClassVar[tuple[str, ...]] = (*NETWORK_SLOTS, 'channels_last')
    slots: ClassVar[Mapping[str, Slot]] = {**NETWORK_SLOTS, **OneStageCriterion.slots}

    criterion: OneStageCriterion

    def __init__(
        self,
        skeleton: Skeleton | str | PartConfig,
        codec: Codec | PartConfig,
        backbone: nn.Module | PartConfig,
        head: nn.Module | PartConfig,
        neck: nn.Module | PartConfig | None = None,
        assigner: Assigner | PartConfig | None = None,
        loss: Mapping[str, LossSpec] | None = None,
        loss_weights: Mapping[str, float] | None = None,
        proxy_target: str = 'labels',
        overlaps_power: float = 1.0,
        random_size_range: SizeRange | None = None,
        input_norm: PartConfig = IMAGENET_NORM,
        channels_last: bool = False,
    ):
        built_codec = build_codec(codec, skeleton)
        network = build_network(built_codec, backbone, head, neck, input_norm, channels_last)
        # Behind the network: a head that does not fit the codec is reported first.
        dense_codec = _check_dense_codec(built_codec)
        criterion = OneStageCriterion(
            dense_codec.skeleton.sigmas,
            type(network.head).__name__,
            # A function of the head, not the head: the criterion would otherwise hold the head's weights twice.
            getattr(network.head, 'predict_distributions', None),
            assigner,
            loss,
            loss_weights,
            proxy_target,
            overlaps_power,
        )
        postprocess = DensePostprocess(dense_codec, network.head)  # type: ignore[arg-type]  # its field kind was checked
        # No flip test: the pose vector of a cell has no flipped counterpart that it could be averaged with.
        augmentation = TestTimeAugmentation(dense_codec, 'none')
        super().__init__(get_skeleton(skeleton), network, criterion, augmentation, postprocess)
        self.random_size_range = random_size_range

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch, which is resized in training if `random_size_range` asks for it."""
        # First to the device: resizing is fast there.
        batch = batch.to(self.device)
        if self.training and self.random_size_range is not None:
            batch = resize_batch_randomly(batch, self.random_size_range)
        return super().losses(batch)

    def set_phase(
        self,
        loss_weights: Mapping[str, float] | None = None,
        proxy_target: str | None = None,
        overlaps_power: float | None = None,
    ) -> TrainingPhase:
        """Train with the initial settings, except for these; see `OneStageCriterion.set_phase`."""
        return self.criterion.set_phase(loss_weights, proxy_target, overlaps_power)


def _check_dense_codec(codec: Codec) -> DenseInstances:
    """Return a codec of instances at cells; raise a MismatchError for another one."""
    if isinstance(codec, DenseInstances):
        return codec
    fitting = [n for n in CODECS.list_names() if getattr(CODECS.get(n), 'field_kind', '') == 'instances']
    raise MismatchError(
        f'OneStage finds instances at cells, but {type(codec).__name__} reads {codec.field_kind}; set model.codec.type '
        f'to one of {", ".join(fitting)}, or take another model.type'
    )
