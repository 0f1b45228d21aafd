"""The contract of a codec: encoding and decoding undo each other, flips, batches, dtypes and devices."""

from __future__ import annotations

__all__ = ['CodecContract', 'decode_to_tensors']

import copy
import pickle
from dataclasses import FrozenInstanceError, fields
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from poseplug.codecs.base import Codec, MapCodec, Targets
from poseplug.core.skeleton import Skeleton
from poseplug.models.losses.base import expand_weight
from poseplug.testing.base import Contract
from poseplug.testing.samples import (
    SINGLE_KEYPOINT_SKELETON,
    SMALL_SKELETON,
    create_random_fields,
    create_test_keypoints,
    flip_input_keypoints,
    list_target_tensors,
)


class CodecContract(Contract):
    """Laws of a codec that decodes one instance (the subject) of each image: `build_part(skeleton)` returns it.

    Attributes:
        skeleton: Skeleton of the codec under test.
        margin_cells: Distance of the keypoints from the border in the flip laws, in cells. A field that was shifted by
            whole cells may lack its last columns.
        has_confidence: False for a codec whose scores are constant.

    Example:
        >>> from poseplug.codecs.msra import MSRAHeatmap
        >>> class TestMSRAHeatmap(CodecContract):
        ...     def build_part(self, skeleton):
        ...         return MSRAHeatmap(skeleton, (64, 96))
        >>> TestMSRAHeatmap().test_decoding_undoes_encoding_for_a_single_keypoint()
    """

    skeleton: ClassVar[Skeleton] = SMALL_SKELETON
    margin_cells: ClassVar[float] = 1.0
    has_confidence: ClassVar[bool] = True

    def build_part(self, skeleton: Skeleton) -> Codec:
        return super().build_part(skeleton)

    @pytest.fixture
    def codec(self) -> Codec:
        return self.build_part(self.skeleton)

    def test_decoding_undoes_encoding_within_the_tolerance(self, codec: Codec) -> None:
        keypoints = create_test_keypoints(codec)
        decoded = codec.decode(_encode_last_stage(codec, keypoints)).keypoints
        _assert_keypoints_near(decoded, keypoints[:, 0], codec.tolerance)

    def test_decoding_undoes_encoding_for_a_single_keypoint(self) -> None:
        codec = self.build_part(SINGLE_KEYPOINT_SKELETON)
        keypoints = create_test_keypoints(codec)
        decoded = codec.decode(_encode_last_stage(codec, keypoints)).keypoints
        _assert_keypoints_near(decoded, keypoints[:, 0], codec.tolerance)

    def test_fields_have_the_channels_and_the_grid_that_the_codec_declares(self, codec: Codec) -> None:
        keypoints = create_test_keypoints(codec)
        targets = codec.encode(keypoints, _mark_all_visible(keypoints))
        shapes = {name: (len(keypoints), *shape) for name, shape in codec.shapes.items()}
        assert codec.fields == {name: shape[1] for name, shape in shapes.items()}
        for stage, stage_fields in enumerate(targets.stages):
            assert {name: tuple(maps.shape) for name, maps in stage_fields.items()} == shapes
            for name, weight in targets.stage_field_weights(stage).items():
                assert tuple(weight.shape) in (shapes[name], shapes[name][:2])

    def test_an_instance_without_labeled_keypoints_is_background(self, codec: Codec) -> None:
        keypoints = create_test_keypoints(codec)
        visible = _mark_all_visible(keypoints)
        # A batch is padded with instances of `valid` False, and data sets have some without labels: neither is trained.
        unlabeled = codec.encode(keypoints, torch.zeros_like(visible))
        padding = codec.encode(keypoints, visible, torch.zeros(keypoints.shape[:2], dtype=torch.bool))
        _assert_same_targets(unlabeled, padding)

    @pytest.mark.parametrize('position', [-1e6, 1e9, float('nan'), float('inf')])
    def test_the_position_of_an_unlabeled_keypoint_is_ignored(self, codec: Codec, position: float) -> None:
        keypoints = create_test_keypoints(codec)
        visible = _mark_all_visible(keypoints)
        visible[..., -1] = 0
        # Files state 0, -1 or NaN for a position that was never labeled.
        elsewhere = keypoints.clone()
        elsewhere[..., -1, :] = position
        _assert_same_targets(codec.encode(elsewhere, visible), codec.encode(keypoints, visible))

    def test_an_image_without_instances_has_targets(self, codec: Codec) -> None:
        empty = torch.zeros(2, 0, len(self.skeleton), 2)
        padded = torch.zeros(2, 1, len(self.skeleton), 2)
        targets = codec.encode(empty, _mark_all_visible(empty))
        _assert_same_targets(targets, codec.encode(padded, torch.zeros_like(_mark_all_visible(padded))))

    def test_occluded_keypoints_are_encoded_like_visible_ones(self, codec: Codec) -> None:
        keypoints = create_test_keypoints(codec)
        visible = _mark_all_visible(keypoints)
        _assert_same_targets(codec.encode(keypoints, visible - 1), codec.encode(keypoints, visible))

    def test_every_target_is_finite_and_needs_no_gradient(self, codec: Codec) -> None:
        keypoints = 3 * create_test_keypoints(codec) - 50  # inside and outside
        # Encoded with gradients on, as in a training step, and in inference mode, as in validation.
        with_gradients = codec.encode(keypoints, _mark_all_visible(keypoints))
        for targets in (with_gradients, _encode_in_inference_mode(codec, keypoints)):
            for maps in list_target_tensors(targets):
                assert torch.isfinite(maps).all()
                assert not maps.requires_grad

    def test_a_batch_equals_its_images_one_by_one(self, codec: Codec) -> None:
        keypoints = create_test_keypoints(codec)
        visible = _mark_all_visible(keypoints)
        visible[::2, :, 0] = 0
        images = [slice(i, i + 1) for i in range(len(keypoints))]

        batch_targets = list_target_tensors(codec.encode(keypoints, visible))
        image_targets = [list_target_tensors(codec.encode(keypoints[i], visible[i])) for i in images]
        for batch_tensor, image_tensors in zip(batch_targets, zip(*image_targets, strict=True), strict=True):
            assert_close(batch_tensor, torch.cat(image_tensors))

        # Noise has no clear peak, so that decoding takes every path.
        noise = create_random_fields(codec, len(keypoints))
        batch_poses = decode_to_tensors(codec, noise)
        image_poses = [decode_to_tensors(codec, {name: maps[i] for name, maps in noise.items()}) for i in images]
        for batch_tensor, image_tensors in zip(batch_poses, zip(*image_poses, strict=True), strict=True):
            assert_close(batch_tensor, torch.cat(image_tensors))

    def test_flipping_twice_is_the_identity(self, codec: Codec) -> None:
        before = create_random_fields(codec, 2)
        after = codec.flip(codec.flip(before))
        # A shift by whole cells pushes columns over the border, which no second flip brings back.
        lost = _count_lost_columns(codec)
        for name, maps in before.items():
            columns = slice(lost, maps.shape[-1] - lost)
            assert_close(after[name][..., columns], maps[..., columns])

    def test_flipped_fields_of_flipped_keypoints_decode_to_the_keypoints(self, codec: Codec) -> None:
        keypoints = _create_inner_keypoints(codec, self.margin_cells)
        flipped_fields = _encode_last_stage(codec, flip_input_keypoints(codec, keypoints))
        decoded = codec.decode(codec.flip(flipped_fields)).keypoints
        _assert_keypoints_near(decoded, keypoints[:, 0], codec.tolerance + _flip_residual_px(codec))

    def test_scores_are_between_0_and_1_and_image_indices_are_valid(self, codec: Codec) -> None:
        # Far beyond the values of targets, as untrained networks predict them.
        poses = codec.decode({name: 3 * maps for name, maps in create_random_fields(codec, 4).items()})
        for scores in (poses.keypoint_scores, poses.instance_scores):
            assert ((scores >= 0) & (scores <= 1)).all()
        assert torch.isfinite(torch.as_tensor(poses.keypoints)).all()
        assert poses.keypoints.shape == (len(poses), len(self.skeleton), 2)
        assert poses.image_indices is not None
        assert set(poses.image_indices.tolist()) <= set(range(4))

    def weaken_fields(self, fields: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return fields of the same keypoints with lower confidence; override it where a tenth does not mean that."""
        return {name: 0.1 * maps for name, maps in fields.items()}

    def test_a_strong_field_scores_higher_than_a_weak_one(self, codec: Codec) -> None:
        strong = _encode_last_stage(codec, _create_inner_keypoints(codec, self.margin_cells))
        strong_scores = decode_to_tensors(codec, strong)[1]
        weak_scores = decode_to_tensors(codec, self.weaken_fields(strong))[1]
        if self.has_confidence:
            assert (strong_scores > weak_scores).all()
        else:
            assert (strong_scores == weak_scores).all()

    def test_an_empty_batch_decodes_to_no_instances(self, codec: Codec) -> None:
        assert len(codec.decode(create_random_fields(codec, 0))) == 0

    @pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
    def test_fields_of_another_dtype_decode_within_a_cell(self, codec: Codec, dtype: torch.dtype) -> None:
        keypoints = _create_inner_keypoints(codec, self.margin_cells)
        # bfloat16 has 8 bits of precision: a neighbor may round to the peak's value, and so be the first maximum.
        converted = {name: maps.to(dtype) for name, maps in _encode_last_stage(codec, keypoints).items()}
        decoded, _ = decode_to_tensors(codec, converted)
        _assert_keypoints_near(decoded.float(), keypoints[:, 0], codec.tolerance + _pixels_per_cell(codec))

    def test_encoding_means_the_same_in_double_precision_and_under_autocast(self, codec: Codec) -> None:
        keypoints = create_test_keypoints(codec)
        visible = _mark_all_visible(keypoints)
        expected = codec.encode(keypoints, visible)
        _assert_same_targets(codec.encode(keypoints.double(), visible), expected, atol=1e-4)
        # Autocast computes matrix products in bfloat16; targets are exact all the same.
        with torch.autocast('cpu', dtype=torch.bfloat16):
            _assert_same_targets(codec.encode(keypoints, visible), expected, atol=1e-4)

    def test_both_directions_stay_on_the_device_of_their_tensors(self, codec: Codec) -> None:
        # Tensors on 'meta' have no data: a constant from the CPU, or a number read from a tensor, fails there.
        keypoints = create_test_keypoints(codec).to('meta')
        targets = codec.encode(keypoints, torch.ones(keypoints.shape[:3], device='meta'))
        for maps in list_target_tensors(targets):
            assert maps.device.type == 'meta'
        meta_fields = {name: maps.to('meta') for name, maps in create_random_fields(codec, 2).items()}
        for tensor in decode_to_tensors(codec, meta_fields):
            assert tensor.device.type == 'meta'

    def test_its_settings_are_frozen(self, codec: Codec) -> None:
        # Network, criterion, transforms and decoder share a codec: a changed setting would reach only some of them.
        for setting in fields(codec):
            with pytest.raises(FrozenInstanceError):
                setattr(codec, setting.name, None)

    def test_it_survives_copying_and_pickling(self, codec: Codec) -> None:
        keypoints = create_test_keypoints(codec)
        visible = _mark_all_visible(keypoints)
        expected = codec.encode(keypoints, visible)
        # Averaged and exported models are copies, and other processes receive pickles.
        for duplicate in (copy.deepcopy(codec), pickle.loads(pickle.dumps(codec))):
            assert duplicate == codec
            _assert_same_targets(duplicate.encode(keypoints, visible), expected)


def decode_to_tensors(codec: Codec, fields: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Decode fields to the tensors of the poses: keypoints (N, K, 2) in input pixels and keypoint scores (N, K)."""
    poses: Any = codec.decode(fields)
    return poses.keypoints, poses.keypoint_scores


def _create_inner_keypoints(codec: Codec, margin_cells: float) -> Tensor:
    """The test keypoints, moved inside by a margin in cells of the codec's grid."""
    last_pixel = torch.tensor(codec.input_size) - 1.0
    margin = margin_cells * _pixels_per_cell(codec)
    return margin + create_test_keypoints(codec) * (last_pixel - 2 * margin) / last_pixel


def _mark_all_visible(keypoints: Tensor) -> Tensor:
    """Visibility 2 for all keypoints: (B, N, K)."""
    return torch.full(keypoints.shape[:3], 2, dtype=torch.uint8)


def _encode_last_stage(codec: Codec, keypoints: Tensor) -> dict[str, Tensor]:
    """The fields that the last stage of a network should predict."""
    return codec.encode(keypoints, _mark_all_visible(keypoints)).stages[-1]


def _encode_in_inference_mode(codec: Codec, keypoints: Tensor) -> Targets:
    """The targets as encoded in inference mode."""
    with torch.inference_mode():
        return codec.encode(keypoints, _mark_all_visible(keypoints))


def _pixels_per_cell(codec: Codec) -> int:
    """Input pixels per cell; 1 for a codec without cells."""
    return codec.stride if isinstance(codec, MapCodec) else 1


def _count_lost_columns(codec: Codec) -> int:
    """Number of cells or bins at the border that a flip loses, since it shifts fields by whole cells."""
    shifted: Any = codec.grid if isinstance(codec, MapCodec) else codec
    return abs(getattr(shifted, 'flip_shift', 0))


def _flip_residual_px(codec: Codec) -> float:
    """Distance in input pixels between flipped and original cells that remains after the shift by whole cells."""
    if not isinstance(codec, MapCodec):
        return 0.0
    grid = codec.grid
    return abs(grid.input_size[0] - 1 - 2 * grid.offset - grid.strides[0] * (grid.size[0] - 1 + grid.flip_shift))


def _assert_same_targets(one: Targets, other: Targets, atol: float = 1e-6) -> None:
    """Assert that two targets agree in all weights, and in the fields where these are not 0."""
    for stage in range(max(len(one.stages), len(other.stages))):
        weights, other_weights = one.stage_field_weights(stage), other.stage_field_weights(stage)
        assert set(weights) == set(other_weights)
        for name, maps in one.stage_fields(stage).items():
            weight = weights.get(name, torch.ones(maps.shape[:2]))
            mask = expand_weight(weight, maps) != 0
            masked_maps = (torch.where(mask, targets.stage_fields(stage)[name], 0) for targets in (one, other))
            assert_close(*masked_maps, rtol=0, atol=atol, check_dtype=False)
        for name, weight in weights.items():
            assert_close(weight, other_weights[name], rtol=0, atol=atol, check_dtype=False)


def _assert_keypoints_near(decoded: Any, expected: Tensor, tolerance_px: float) -> None:
    """Assert that every keypoint (N, K, 2) lies within a distance in pixels of its expected position."""
    distances = (decoded - expected).norm(dim=-1)
    image, keypoint = divmod(int(distances.argmax()), distances.shape[1])
    encoded_at, decoded_at = expected[image, keypoint].tolist(), decoded[image, keypoint].tolist()
    largest_px = float(distances.max())
    assert largest_px <= tolerance_px + 1e-3, (
        f'keypoint {keypoint} at {encoded_at} is decoded at {decoded_at}, {largest_px:.3g} px away; at most '
        f'{tolerance_px:.3g} px are allowed'
    )
