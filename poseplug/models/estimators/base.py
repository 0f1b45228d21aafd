"""An estimator: a network, a criterion, test-time augmentation and post-processing, composed."""

from __future__ import annotations

__all__ = ['Estimator']

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from poseplug.codecs.base import Codec
from poseplug.core.batch import Batch
from poseplug.core.errors import CheckpointError
from poseplug.core.poses import Poses
from poseplug.core.skeleton import Skeleton
from poseplug.core.weight_names import weight_name
from poseplug.files.weight_checks import has_finite_values
from poseplug.models.estimators.augmentation import TestTimeAugmentation
from poseplug.models.estimators.keypoint_weights import KeypointMapping, map_keypoint_weights
from poseplug.models.estimators.network import FieldNetwork, StageFields
from poseplug.models.estimators.part_wiring import NETWORK_SLOTS
from poseplug.models.estimators.postprocess import Postprocess
from poseplug.registry.wiring import Slot


class Estimator(nn.Module):
    """Trains and predicts by four roles; the presets `TopDown`, `BottomUp`, `OneStage` and so on build them.

    Training: `network` turns the pixels of a batch into stages of fields, and `criterion` these and the batch into
    losses. Prediction: `augmentation` runs the network on every view of an image and fuses their fields, and
    `postprocess` turns these into instances in image pixels.

    Names of weights: the state dict leaves out the role that holds a weight, so that weight files and the patterns of
    configs say 'backbone...', 'neck...', 'head...' and, for a loss with parameters, 'loss...', as published files do.
    It holds everything that is trained, that of the criterion included, so a resumed run has all of it;
    `named_parameters` says 'network.backbone...', and `poseplug.core.weight_names.weight_name` converts one to the
    other.

    Args:
        skeleton: Of the keypoints of batches and predictions.
        network: Images, centers and source indices to stages of fields.
        criterion: Stages of fields and their batch to a dict of losses, as `StageCriterion`.
        augmentation: A batch to fused fields.
        postprocess: Fused fields to instances in image px.

    Example:
        >>> import poseplug
        >>> model = poseplug.load_model('cpm_lsp_lite', device='cpu')
        >>> isinstance(model, Estimator), model.finds_instances, model.network.num_stages
        (True, False, 3)
    """

    needs: ClassVar[tuple[str, ...]] = ('skeleton',)
    # What a config keeps where it changes the type of its estimator.
    common_settings: ClassVar[tuple[str, ...]] = (
        *NETWORK_SLOTS,
        'loss',
        'supervision',
        'flip_test',
        'channels_last',
    )
    slots: ClassVar[Mapping[str, Slot]] = {**NETWORK_SLOTS, 'loss': Slot('model', by_name=True)}

    def __init__(
        self,
        skeleton: Skeleton,
        network: FieldNetwork,
        criterion: nn.Module,
        augmentation: TestTimeAugmentation,
        postprocess: Postprocess,
    ):
        super().__init__()
        self.skeleton = skeleton
        self.network, self.criterion = network, criterion
        self.augmentation, self.postprocess = augmentation, postprocess
        # Hooks, since torch builds names from attributes; they hold for `load_state_dict` of any caller.
        self.register_state_dict_post_hook(_drop_roles_from_names)
        self.register_load_state_dict_pre_hook(_add_roles_to_names)

    @property
    def codec(self) -> Codec:
        """The codec that reads the predicted fields."""
        return self.postprocess.codec

    @property
    def finds_instances(self) -> bool:
        """Whether it predicts all instances of an image, or one that is already located."""
        return self.postprocess.finds_instances

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.network.device

    def map_keypoint_weights(self, state_dict: Mapping[str, Tensor], file_keypoints: Sequence[str]) -> KeypointMapping:
        """Select the channels of a file's head by the names of their keypoints.

        Args:
            state_dict: Weights of this network for other keypoints, by name.
            file_keypoints: The names of these.

        Returns:
            The weights for this estimator's keypoints; channels of those that the file lacks are this estimator's.

        Raises:
            CheckpointError: The head does not say which channel is whose, or the file has another head.
        """
        head = self.network.active_parts()['head']
        return map_keypoint_weights(self.codec, head, self.state_dict(), state_dict, file_keypoints)

    # --- training -----------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the weighted losses of a batch.

        Args:
            batch: Images with their instances, on any device; the first view is used.

        Returns:
            Scalars by name, whose sum is minimized.
        """
        batch = batch.to(self.device)
        stages = self.network(
            batch.images[:, 0], self.network.select_centers(batch), self.network.source_indices(batch)
        )
        losses: dict[str, Tensor] = self.criterion(stages, batch)
        return losses

    # --- prediction ---------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def predict(self, batch: Batch) -> list[Poses]:
        """Predict the instances of every image by the last stage.

        Args:
            batch: B images, on any device.

        Returns:
            The instances of each image, NumPy arrays in image px.

        Raises:
            CheckpointError: The predicted fields are not finite.
        """
        batch = batch.to(self.device)
        views = self.augmentation.predict_views(self.network, batch)
        _check_finite_fields(views, batch)
        return self.decode_views([stages[-1] for stages in views], batch)

    @torch.inference_mode()
    def predict_stages(self, batch: Batch) -> list[list[Poses]]:
        """Predict the instances of every image by every stage.

        Args:
            batch: B images, on any device.

        Returns:
            For every stage the instances of each image, as `predict` returns those of the last stage.
        """
        batch = batch.to(self.device)
        views = self.augmentation.predict_views(self.network, batch)
        _check_finite_fields(views, batch)
        return [self.decode_views(list(view_fields), batch) for view_fields in zip(*views, strict=True)]

    @torch.inference_mode()
    def predict_fields(self, batch: Batch) -> list[list[StageFields]]:
        """Predict the fields that `predict` decodes.

        Args:
            batch: B images with V views each, on any device.

        Returns:
            For every view its stages, each with all fields (B, C, ...) by name, averaged with those of flipped copies
            if the model has a flip test.
        """
        return self.augmentation.predict_views(self.network, batch.to(self.device))

    def decode_views(self, view_fields: list[StageFields], batch: Batch) -> list[Poses]:
        """Decode the fields of one stage.

        Args:
            view_fields: For every view the fields (B, C, ...) by name.
            batch: The B images, on the fields' device.

        Returns:
            The instances of each image, NumPy arrays in image px.
        """
        return self.postprocess(self.augmentation.fuse_views(view_fields, batch), batch)


def _check_finite_fields(views: list[list[StageFields]], batch: Batch) -> None:
    """Check the fields of the last stage, in which decoders would find keypoints, or no instance, if they were NaN."""
    if all(has_finite_values(field) for stages in views for field in stages[-1].values()):
        return
    images = f'{batch.records[0].path} or another image of its batch' if batch.records else 'the images'
    raise CheckpointError(
        f'the network predicts numbers that are not finite for {images}; its weights are damaged, or exceed the range '
        f'of their precision'
    )


def _drop_roles_from_names(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict[str, object]
) -> None:
    """Remove the roles from the names of a state dict, in place; a hook of torch."""
    for name in [name for name in state_dict if name.startswith(prefix)]:
        state_dict[prefix + weight_name(name.removeprefix(prefix))] = state_dict.pop(name)


def _add_roles_to_names(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Add the roles to the names of a state dict that is loaded, in place; a hook of torch."""
    # With duplicates: a module that is used twice has one tensor under several names, and a state dict all of them.
    parameters = module.named_parameters(remove_duplicate=False)
    module_names = {weight_name(name): name for name, _ in (*parameters, *module.named_buffers())}
    for name in [name for name in state_dict if name.removeprefix(prefix) in module_names]:
        state_dict[prefix + module_names[name.removeprefix(prefix)]] = state_dict.pop(name)
