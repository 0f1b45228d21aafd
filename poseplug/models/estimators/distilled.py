"""A student that also learns what a trained, frozen teacher predicts (output distillation, Xu et al. 2022)."""

from __future__ import annotations

__all__ = ['DistilledTopDown']

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.skeleton import Skeleton
from poseplug.models.estimators.augmentation import TestTimeAugmentation
from poseplug.models.estimators.base import Estimator
from poseplug.models.estimators.criterion import StageCriterion, Supervision
from poseplug.models.estimators.network import StageFields
from poseplug.models.estimators.part_wiring import IMAGENET_NORM, PartConfig, build_codec, build_network
from poseplug.models.estimators.postprocess import CropPostprocess
from poseplug.models.estimators.top_down import check_top_down_codec
from poseplug.models.losses.base import LossSpec
from poseplug.registry import MODELS
from poseplug.registry.skeletons import get_skeleton
from poseplug.registry.wiring import Slot
from poseplug.zoo.published_models import build_published_model


class Teacher:
    """A trained estimator that only predicts.

    It is an object beside the student and not a submodule of it: it is not trained, averaged, sharded or saved, and it
    moves to the device of the batches by itself.

    Args:
        estimator: The trained estimator; it is put into evaluation mode and its weights are frozen.
    """

    def __init__(self, estimator: Estimator):
        self.estimator = estimator.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, object]) -> Teacher:
        return self  # a frozen teacher serves every copy of its student

    @torch.no_grad()
    def predict_last_stage(self, batch: Batch) -> StageFields:
        """Predict the last stage's fields (B, C, ...) of the first view of a batch."""
        network = self.estimator.to(batch.images.device).network
        stages = network(batch.images[:, 0], network.select_centers(batch), network.source_indices(batch))
        return stages[-1]


class DistillationCriterion(nn.Module):
    """The losses of another criterion, and 'loss_distill' between the last stage and the teacher's.

    Args:
        criterion: The student's own criterion.
        teacher: Predicts the same fields.
        distill_loss: Compares a field with the teacher's.
        distill_weight: The weight of that loss, which is the sum over the fields.
    """

    def __init__(self, criterion: nn.Module, teacher: Teacher, distill_loss: nn.Module, distill_weight: float):
        super().__init__()
        self.student, self.teacher = criterion, teacher
        self.distill_loss, self.distill_weight = distill_loss, distill_weight

    def forward(self, stages: Sequence[StageFields], batch: Batch) -> dict[str, Tensor]:
        """Compute the student's losses and 'loss_distill'.

        Args:
            stages: What the network predicts for the first view: fields (B, C, ...) by name, for every stage.
            batch: The B images with their instances.
        """
        teacher_fields = self.teacher.predict_last_stage(batch)
        # Without weights: the teacher predicts every keypoint, labeled or not.
        distances = [self.distill_loss(field, teacher_fields[name].float()) for name, field in stages[-1].items()]
        losses: dict[str, Tensor] = self.student(stages, batch)
        return {**losses, 'loss_distill': self.distill_weight * torch.stack(distances).sum()}


@MODELS.register_module()
class DistilledTopDown(Estimator):
    """A `TopDown` with a further loss between the fields of its last stage and those of a teacher.

    Args:
        skeleton, codec, backbone, head, neck, loss, input_norm, supervision, channels_last, flip_test: As in `TopDown`.
        teacher: A built estimator. In a config it is the name of a published model (`poseplug models`), or
            dict(config=FILE, weights=FILE), which `build_model` loads. It receives the same images, is never trained,
            and is not part of the student's weights.
        distill_loss: The loss between a field and the teacher's.
        distill_weight: The weight of that loss.

    Raises:
        ConfigError: A setting is unknown or wrong.
        MismatchError: Two parts, or student and teacher, do not fit each other.
    """

    slots: ClassVar[Mapping[str, Slot]] = {**Estimator.slots, 'distill_loss': Slot('model')}

    def __init__(
        self,
        skeleton: Skeleton | str | PartConfig,
        codec: Codec | PartConfig,
        backbone: nn.Module | PartConfig,
        head: nn.Module | PartConfig,
        teacher: Estimator | PartConfig | str,
        distill_loss: nn.Module | PartConfig = dict(type='MeanSquaredError'),  # noqa: B006 - read only
        distill_weight: float = 1.0,
        neck: nn.Module | PartConfig | None = None,
        loss: LossSpec | Sequence[LossSpec] | None = None,
        input_norm: PartConfig = IMAGENET_NORM,
        supervision: Supervision = 'all',
        channels_last: bool = False,
        flip_test: bool = False,
    ):
        codec, skeleton = build_codec(codec, skeleton), get_skeleton(skeleton)
        network = build_network(codec, backbone, head, neck, input_norm, channels_last)
        student = StageCriterion(codec, network.head, loss, supervision)
        check_top_down_codec(type(self).__name__, codec)
        criterion = DistillationCriterion(
            student, Teacher(_check_teacher(teacher, codec, skeleton)), MODELS.build(distill_loss), distill_weight
        )
        augmentation = TestTimeAugmentation(codec, 'crops', flip_test)
        super().__init__(skeleton, network, criterion, augmentation, CropPostprocess(codec))


def _check_teacher(teacher: Estimator | PartConfig | str, codec: Codec, skeleton: Skeleton) -> Estimator:
    """Return a teacher that predicts the student's fields for the student's keypoints; else raise."""
    if isinstance(teacher, str):
        teacher = build_published_model(teacher)  # type: ignore[assignment]
    if not isinstance(teacher, Estimator):
        raise ConfigError(
            f'a teacher is the name of a published model, dict(config=FILE, weights=FILE) in a config that build_model '
            f'builds, or a built estimator; got {teacher!r}'
        )
    # Shapes and names of keypoints: equal numbers of channels alone could mean other keypoints.
    if teacher.codec.shapes != codec.shapes or teacher.skeleton.keypoints != skeleton.keypoints:
        raise MismatchError(
            f'the teacher predicts {teacher.codec.shapes} for the keypoints of {teacher.skeleton.name!r}, the student '
            f'{codec.shapes} for those of {skeleton.name!r}; give both one codec, input size and skeleton'
        )
    return teacher
