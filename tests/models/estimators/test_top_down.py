from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from poseplug.core.batch import Batch
from poseplug.core.geometry import conjugate_about, rotation_matrix, scaling_matrix, translation_matrix
from poseplug.core.poses import Poses
from poseplug.models.estimators.augmentation import transform_each_point
from poseplug.models.estimators.top_down import TopDown
from poseplug.models.heads.base import Head
from poseplug.skeletons.lsp import LSP
from poseplug.testing import change_record, create_annotated_record

SIZE = 64
NO_KEYPOINTS = np.zeros((0, 14, 2))


def build_estimator(**settings) -> TopDown:
    """A CPM of two stages with random weights."""
    torch.manual_seed(0)
    return TopDown(
        'lsp',
        codec=dict(type='CPMHeatmap', input_size=(SIZE, SIZE), refine='quarter'),
        backbone=dict(type='CPMTrunk', channels=(6, 6, 6), kernel_sizes=(3, 3, 3), init_std=None),
        head=dict(
            type='CPMHead',
            num_stages=2,
            first_layers=((3, 8),),
            image_layers=((3, 4),),
            context_layers=((3, 8),),
            center_sigma_px=9,
            init_std=None,
        ),
        **settings,
    ).eval()


def create_batch(images: torch.Tensor, matrices: list[np.ndarray] | None = None, center: float = 25.0) -> Batch:
    """A batch of images (B, V, H, W, 3) with a matrix for every view, the same for all images."""
    count, views = images.shape[:2]
    each = torch.from_numpy(np.stack(matrices or [np.eye(3)] * views))
    return Batch.from_instances(
        images=images,
        keypoints=torch.zeros(count, 1, 14, 2),
        visible=torch.zeros(count, 1, 14),
        centers=torch.tensor([[center, 30.0]]).repeat(count, 1),
        image_to_input=each.repeat(count, 1, 1, 1),
        records=[
            create_annotated_record(Path(f'{n}.jpg'), str(n), NO_KEYPOINTS, NO_KEYPOINTS[..., 0]) for n in range(count)
        ],
    )


def random_images(count: int = 2, views: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, views, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)


class BrightnessHead(Head):
    """The brightness of the image as the heatmap of every keypoint; the background is 0."""

    def __init__(self, in_channels, strides, fields, stride):
        super().__init__()
        self.stride = stride

    def forward(self, features):
        brightness = features[-1].mean(1, keepdim=True)
        return [{'heatmap': torch.cat([brightness] * 14 + [0 * brightness], dim=1)}]


class Blocks(nn.Module):
    """A backbone that averages blocks of 8x8 px."""

    out_channels, strides = (3,), (8,)

    def forward(self, images):
        return (nn.functional.avg_pool2d(images, 8),)


def test_a_bright_block_is_predicted_at_its_image_position_through_any_matrix():
    net = TopDown(
        'lsp', codec=dict(type='CPMHeatmap', input_size=(SIZE, SIZE)), backbone=Blocks(), head=dict(type=BrightnessHead)
    ).eval()
    images = torch.zeros(2, 1, SIZE, SIZE, 3, dtype=torch.uint8)
    images[0, 0, 16:24, 40:48], images[1, 0, 0:8, 8:16] = 255, 255  # cells (5, 2) and (1, 0): pixels 8g + 3.5
    matrix = translation_matrix(-7, 3) @ conjugate_about(rotation_matrix(30) @ scaling_matrix(2.5), (10, 20))
    predicted = net.predict(create_batch(images, [matrix]))
    for poses, (x, y) in zip(predicted, [(43.5, 19.5), (11.5, 3.5)], strict=True):
        image_position = np.linalg.inv(matrix) @ [x, y, 1]
        np.testing.assert_allclose(poses.keypoints[0], np.tile(image_position[:2], (14, 1)), atol=1e-4)
        assert len(poses) == 1


def test_predictions_come_back_through_the_inverse_of_the_matrix():
    net, images = build_estimator(), random_images()
    matrix = conjugate_about(rotation_matrix(-50) @ scaling_matrix(0.4), (100, 60))
    plain, transformed = net.predict(create_batch(images)), net.predict(create_batch(images, [matrix]))
    for original, other in zip(plain, transformed, strict=True):
        np.testing.assert_allclose(original.transform(np.linalg.inv(matrix)).keypoints, other.keypoints, atol=1e-4)
        np.testing.assert_array_equal(original.keypoint_scores, other.keypoint_scores)


def test_with_flip_test_a_flipped_image_gives_the_flipped_keypoints():
    net, images = build_estimator(flip_test=True), random_images()
    original = net.predict(create_batch(images, center=25.0))
    of_flipped = net.predict(create_batch(images.flip(3), center=SIZE - 1 - 25.0))
    for one, other in zip(original, of_flipped, strict=True):
        flipped = other.keypoints[:, LSP.flip_indices] * [-1, 1] + [SIZE - 1, 0]
        np.testing.assert_allclose(one.keypoints, flipped, atol=1e-3)
        np.testing.assert_allclose(one.keypoint_scores, other.keypoint_scores[:, LSP.flip_indices], atol=1e-5)


def test_without_flip_test_a_network_of_random_weights_gives_other_keypoints():
    net, images = build_estimator(), random_images()
    one = net.predict(create_batch(images, center=25.0))[0]
    other = net.predict(create_batch(images.flip(3), center=SIZE - 1 - 25.0))[0]
    assert np.abs(one.keypoints - (other.keypoints[:, LSP.flip_indices] * [-1, 1] + [SIZE - 1, 0])).max() > 8


def test_flip_test_averages_the_fields_with_the_flipped_ones():
    plain, averaged, b = build_estimator(), build_estimator(flip_test=True), create_batch(random_images())
    fields = plain.predict_fields(b)[0][-1]['heatmap']
    flipped = plain.predict_fields(create_batch(random_images().flip(3), center=SIZE - 1 - 25.0))[0][-1]
    expected = (fields + plain.codec.flip(flipped)['heatmap']) / 2
    assert_close(averaged.predict_fields(b)[0][-1]['heatmap'], expected)


def test_predict_returns_the_last_of_the_predicted_stages():
    net, b = build_estimator(), create_batch(random_images())
    all_stages, last_stage = net.predict_stages(b), net.predict(b)
    assert (len(all_stages), len(last_stage)) == (2, 2)
    np.testing.assert_array_equal(all_stages[-1][1].keypoints, last_stage[1].keypoints)
    assert np.abs(all_stages[0][0].keypoints - all_stages[1][0].keypoints).max() > 0


def test_predictions_are_arrays_of_one_instance_per_image():
    predicted = build_estimator().predict(create_batch(random_images(3)))
    assert [len(p) for p in predicted] == [1, 1, 1]
    assert all(isinstance(p, Poses) and isinstance(p.keypoints, np.ndarray) for p in predicted)


def test_the_center_is_transformed_into_every_view():
    first, second = (
        conjugate_about(scaling_matrix(0.7), (20, 20)),
        conjugate_about(rotation_matrix(10) @ scaling_matrix(1.2), (30, 10)),
    )
    b = replace(create_batch(random_images(1, 2), [first, second]), centers=torch.tensor([[12.0, 18.0]]))
    view_to_view = torch.from_numpy(second @ np.linalg.inv(first))[None]
    by_hand = (second @ np.linalg.inv(first) @ [12, 18, 1])[:2]
    np.testing.assert_allclose(transform_each_point(b.centers, view_to_view)[0], by_hand, rtol=1e-6)


def test_predictions_have_no_gradients():
    net = build_estimator()
    assert not net.predict_fields(create_batch(random_images()))[0][0]['heatmap'].requires_grad


@pytest.mark.parametrize(
    ('method', 'callers'),
    [('predict', ['predict_views', 'predict']), ('losses', ['losses'])],
)
def test_a_call_reaches_the_first_layer_through_few_frames_of_the_package(method, callers):
    import sys
    from pathlib import Path

    import poseplug

    net, package, frames = build_estimator(), Path(poseplug.__file__).parent, []

    def record_frames(*_):
        frame = sys._getframe(1)
        while frame is not None:
            if Path(frame.f_code.co_filename).is_relative_to(package):
                frames.append(frame.f_code.co_name)
            frame = frame.f_back

    net.network.backbone.trunks[0][0][0].register_forward_pre_hook(record_frames)
    getattr(net, method)(create_batch(random_images()))
    assert frames == ['forward', 'forward', *callers]


@pytest.mark.parametrize('views', [1, 2])
def test_predictions_carry_the_box_and_annotation_id_of_the_subject(views):
    batch = create_batch(random_images(2, views))
    points = np.zeros((2, *NO_KEYPOINTS.shape[1:]))
    boxes, annotation_ids = np.array([[1, 2, 30, 40], [5, 5, 9, 9.0]]), np.array([7, 8])
    annotations = dict(keypoints=points, visible=points[..., 0], boxes=boxes, annotation_ids=annotation_ids)
    batch = replace(batch, records=[change_record(batch.records[0], **annotations), batch.records[1]])
    for stage in build_estimator().predict_stages(batch):
        assert (stage[0].boxes.tolist(), stage[0].ids.tolist()) == ([[1, 2, 30, 40]], [7])
        assert (stage[1].boxes, stage[1].ids) == (None, None)
