"""Tags against the numbers of MMPose 1.3.2: enc_ae, dec_ae and the part of losses_inputs on associative embedding.

Where poseplug differs: a keypoint outside whose peak shows at the border has a tag; of equal neighbors one is a peak; a
quarter step is made in row and column 1, too; and missing keypoints are searched by the tags of the peaks themselves,
in the heatmaps themselves. Each test excludes just these.
"""

from __future__ import annotations

import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from poseplug.codecs.tags import Tags
from poseplug.core.skeleton import Skeleton
from poseplug.grouping.tags import find_nearest_tag_cells, split_tags_by_keypoint
from poseplug.models.losses.associative import AssociativeEmbeddingLoss, compute_pull_push
from poseplug.registry.skeletons import get_skeleton
from tests.golden.conftest import need_golden_file

FIVE = Skeleton('five', tuple('abcde'))
STRIDE = 4


def read_arrays(golden, name):
    with np.load(need_golden_file(golden, f'{name}.npz')) as content:
        return dict(content)


@pytest.fixture(scope='module')
def encoded_arrays(golden):
    """MMPose's encodings of the instances of several images."""
    return read_arrays(golden, 'enc_ae')


PEAKS = {'plain': dict(type='MSRAHeatmap', sigma_px=4.0), 'udp': dict(type='UDPHeatmap', sigma_px=4.0)}


@pytest.mark.parametrize('kind', PEAKS)
def test_heatmaps_of_several_instances_are_those_of_mmpose(encoded_arrays, kind):
    codec = Tags(get_skeleton('coco'), (256, 256), heatmap_codec=PEAKS[kind])
    keypoints, visible = (torch.from_numpy(encoded_arrays[n]) for n in ('keypoints', 'visible'))
    maps = codec.encode(keypoints, visible).stage_fields(0)['heatmap'].numpy()
    expected = encoded_arrays[f'{kind}_heatmaps']
    assert np.abs(maps[: len(expected)] - expected).max() <= 1e-6
    sums = np.stack([maps.sum((2, 3)), (maps.astype(float) ** 2).sum((2, 3)), maps.max((2, 3))], axis=-1)
    assert np.abs(sums - encoded_arrays[f'{kind}_stats'][..., :3]).max() <= 1e-4


@pytest.mark.parametrize('kind', PEAKS)
def test_tags_are_read_in_the_cells_of_mmpose(encoded_arrays, kind):
    """And so are those of keypoints farther outside, in a cell at the border."""
    codec = Tags(get_skeleton('coco'), (256, 256), heatmap_codec=PEAKS[kind])
    keypoints, visible = (torch.from_numpy(encoded_arrays[n]) for n in ('keypoints', 'visible'))
    cells, mask = codec.tag_cells(keypoints, visible > 0)
    width, height = codec.grid.size
    index, valid = (encoded_arrays[f'{kind}_indices'][..., i] for i in (0, 1))
    assert (mask.numpy() >= valid).all()
    assert ((cells[..., 1] * width + cells[..., 0]).numpy() == index)[valid > 0].all()
    extra = mask.numpy() & (valid == 0)
    border = (cells.numpy() % [width - 1, height - 1] == 0).any(-1)
    assert border[extra].all()
    assert (codec.draw_instance_numbers(keypoints, visible > 0) > 0).any(dim=0).sum() > 0


KINDS = ('l1', 'l2', 'l1_udp', 'l1_shift')


def parse_arrays(arrays, kind, **settings):
    """The instances here and in MMPose, which of each are of unambiguous images, and the stride of the cells."""
    maps, tags = build_fields(arrays, kind)
    heatmap_codec = dict(type='UDPHeatmap', blur_kernel_size=3) if kind == 'l1_udp' else dict(type='MSRAHeatmap')
    parsed = Tags(FIVE, (128, 128), heatmap_codec={**heatmap_codec, **settings}).parse_fields(
        {'heatmap': maps, 'tags': tags}
    )
    expected, is_tied = sort_by_score(arrays, kind), is_ambiguous(maps)
    is_tied |= np.array([has_tied_assignment(m, t) for m, t in zip(maps, tags, strict=True)])
    is_clear = ~is_tied
    assert is_clear.mean() >= 0.5
    stride = 127 / 31 if kind == 'l1_udp' else float(STRIDE)
    return parsed, expected, is_clear[parsed.image_indices], is_clear[expected['images']], stride


def build_fields(arrays, kind):
    """Maps and tags of the variant."""
    maps, tags = (torch.from_numpy(arrays[f'{n}_f16'].astype(np.float32)) for n in ('heatmaps', 'tags'))
    return maps, tags if kind == 'l2' else tags[:, :5]


@pytest.mark.parametrize('kind', KINDS)
def test_instances_are_those_of_mmpose(golden, kind):
    """Of every instance the keypoints that have a peak; those that are missing are the next test's."""
    arrays = read_arrays(golden, 'dec_ae')
    refined, expected, mask, mmpose_mask, stride = parse_arrays(arrays, kind)
    poses = refined.to_poses((stride, stride))
    unrefined = parse_arrays(arrays, kind, refine='none')[0].to_poses()
    assert (poses.image_indices[mask] == expected['images'][mmpose_mask]).all()
    assert np.abs(poses.instance_scores[mask] - expected['instance_scores'][mmpose_mask]).max() <= 1e-6
    has_peak = (refined.parsed_instances.peak_indices < refined.num_peaks)[mask]
    assert np.abs(poses.keypoint_scores[mask] - expected['scores'][mmpose_mask])[has_peak].max() <= 1e-6
    is_unrefined = unrefined.keypoints == 1 if kind != 'l1_udp' else np.zeros_like(unrefined.keypoints, bool)
    points = np.where(is_unrefined, unrefined.keypoints * stride, poses.keypoints) + mmpose_shift(kind)
    assert np.abs(points[mask] - expected['keypoints'][mmpose_mask])[has_peak].max() <= 1e-4
    assert has_peak.sum() > 0


def mmpose_shift(kind):
    """Pixels by which MMPose shifts the keypoints."""
    return 0.5 * STRIDE if kind == 'l1_shift' else 0.0


@pytest.mark.parametrize('kind', KINDS)
def test_missing_keypoints_are_filled_in_as_by_mmpose(golden, kind):
    """From the tags that MMPose reads at its refined positions in whole cells, and with UDP the maps' logarithms."""
    arrays = read_arrays(golden, 'dec_ae')
    parsed, expected, mask, mmpose_mask, stride = parse_arrays(arrays, kind)
    maps, tags = build_fields(arrays, kind)
    positions = (expected['keypoints'][mmpose_mask] / stride).astype(np.float64)
    has_peak, images = (parsed.parsed_instances.peak_indices < parsed.num_peaks)[mask], parsed.image_indices[mask]
    rows = zip(images, positions, has_peak, strict=True)
    means = torch.stack([mean_tag(tags[i], points, with_peak) for i, points, with_peak in rows])
    instance, keypoint = np.nonzero(~has_peak)
    values = (log_heatmaps(maps) if kind == 'l1_udp' else maps).flatten(2).flatten(0, 1)
    channels = torch.from_numpy(images[instance] * len(FIVE) + keypoint)
    nearest = find_nearest_tag_cells(values, split_tags_by_keypoint(tags, maps), channels, means[instance])
    cells = np.stack([nearest % maps.shape[-1], nearest // maps.shape[-1]], axis=-1)
    assert np.abs(cells * stride - expected['keypoints'][mmpose_mask][~has_peak]).max() <= 1e-4
    assert np.abs(values[channels, nearest].numpy() - expected['scores'][mmpose_mask][~has_peak]).max() <= 1e-5
    assert len(nearest) > 0


def mean_tag(tags, positions, mask):
    """(D,) the mean of an image's tags (D K, H, W) in the cells of positions (K, 2), cut to whole cells."""
    x, y = np.clip(positions[mask].astype(int), 0, 31).T
    return tags.unflatten(0, (-1, len(FIVE)))[:, np.flatnonzero(mask), y, x].mean(dim=1)


def log_heatmaps(maps):
    """What MMPose leaves of maps (B, K, H, W) after refining peaks by UDP."""
    blurred = np.stack(
        [cv2.GaussianBlur(m, (3, 3), 0, borderType=cv2.BORDER_CONSTANT) for m in maps.flatten(0, 1).numpy()]
    )
    scaled = blurred * maps.flatten(0, 1).amax(dim=(1, 2), keepdim=True).numpy() / blurred.max((1, 2), keepdims=True)
    return torch.from_numpy(np.log(scaled.clip(1e-3, 50))).view_as(maps)


def is_ambiguous(maps: torch.Tensor) -> np.ndarray:
    """(B,) images in which two cells of one square of 5 x 5 are its largest, above the threshold."""
    top = (maps == F.max_pool2d(maps, 5, stride=1, padding=2)) & (maps > 0.1)
    near = F.avg_pool2d(top.float(), 5, stride=1, padding=2) * 25
    return (top & (near > 1.5)).flatten(1).any(dim=1).numpy()


def has_tied_assignment(heatmaps: torch.Tensor, tags: torch.Tensor) -> bool:
    """Whether the peaks of a keypoint can be assigned to the instances before it in two ways of one cost.

    Costs are 100 times the rounded distances, minus the scores; on a line of tags two crossed assignments often have
    one sum. MMPose adds columns of 1e10 where there are more peaks than instances, beside which single precision keeps
    no cost: which peak is left over is decided by the others' costs above the smallest of each.
    """
    top = (heatmaps == F.max_pool2d(heatmaps[None], 5, stride=1, padding=2)[0]) & (heatmaps > 0.1)
    groups: list[list[np.ndarray]] = []
    for keypoint, mask in enumerate(top):
        scores = heatmaps[keypoint][mask].double().numpy()
        peak_tags = tags[keypoint::5][:, mask].double().numpy().T
        if not groups:
            groups = [[tag] for tag in peak_tags]
            continue
        means = np.stack([np.mean(group, axis=0) for group in groups])
        distances = np.linalg.norm(peak_tags[:, None] - means, axis=-1)
        costs = 100 * np.round(distances) - scores[:, None]
        # At half a unit rounding decides, in single or in double precision.
        choices = {() for d in distances.ravel() if abs(d % 1 - 0.5) < 1e-5}
        choices |= list_cheapest_choices(costs, distances)
        if len(scores) > len(groups):
            choices |= list_cheapest_choices(costs - costs.min(axis=1, keepdims=True), distances)
        if len(choices) > 1:
            return True
        for peak, instance in enumerate(choices.pop() if choices else ()):
            groups[instance].append(peak_tags[peak]) if instance >= 0 else groups.append([peak_tags[peak]])
    return False


def list_cheapest_choices(costs: np.ndarray, distances: np.ndarray) -> set[tuple[int, ...]]:
    """The instance of each peak (P,), -1 for a new one, of every assignment whose cost is the smallest or near it."""
    num_peaks, num_groups = costs.shape
    columns = [*range(num_groups), *[-1] * max(num_peaks - num_groups, 0)]
    assignments = set(itertools.permutations(columns, num_peaks))
    totals = {a: sum(costs[peak, g] for peak, g in enumerate(a) if g >= 0) for a in assignments}
    limit = min(totals.values()) + 1e-3
    return {
        tuple(g if g >= 0 and distances[peak, g] < 1 else -1 for peak, g in enumerate(a))
        for a, total in totals.items()
        if total <= limit
    }


def sort_by_score(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """MMPose's instances, the highest score of each image first, with the image of each."""
    images = np.repeat(np.arange(len(arrays[f'{kind}_count'])), arrays[f'{kind}_count'])
    order = np.lexsort([-arrays[f'{kind}_instance_scores'], images])
    names = ('keypoints', 'scores', 'instance_scores')
    return {'images': images[order], **{n: arrays[f'{kind}_{n}'][order] for n in names}}


def test_the_loss_is_that_of_mmpose(golden):
    """Whose push has half the weight, and counts every instance as a pair with itself."""
    arrays = read_arrays(golden, 'losses_inputs')
    values = json.loads((golden / 'models_values.json').read_text())['losses']
    tags = torch.from_numpy(arrays['ae_tags']).requires_grad_()
    index, valid = torch.from_numpy(arrays['ae_indices']).unbind(-1)
    image, instance, keypoint = (valid > 0).nonzero(as_tuple=True)
    keypoint_tags = tags.flatten(2)[image, keypoint, index[image, instance, keypoint]]
    pull, push = compute_pull_push(keypoint_tags, instance, image, len(tags))
    num_instances = (valid > 0).any(dim=-1).sum(dim=1)
    self_pairs = (num_instances > 1) / (num_instances - 1).clamp(min=1)
    assert float(pull.detach()) == pytest.approx(values['ae_pull'], abs=1e-5)
    assert 0.5 * float(push.detach() + self_pairs.sum()) == pytest.approx(values['ae_push'], abs=1e-5)
    (pull + 0.5 * push).backward()
    assert np.abs(tags.grad.numpy() - arrays['ae_grad']).max() <= 1e-5


def test_the_loss_of_maps_of_instance_numbers_is_the_mean_over_images(golden):
    """Of the keypoints whose cell holds the number of their instance."""
    arrays = read_arrays(golden, 'losses_inputs')
    tags, (index, valid) = torch.from_numpy(arrays['ae_tags']), torch.from_numpy(arrays['ae_indices']).unbind(-1)
    image, instance, keypoint = (valid > 0).nonzero(as_tuple=True)
    cells = index[image, instance, keypoint]
    expected = torch.zeros(tags.shape).flatten(2)
    expected[image, keypoint, cells] = instance + 1.0
    has_number = expected[image, keypoint, cells] == instance + 1.0
    keypoint_tags = tags.flatten(2)[image, keypoint, cells]
    pull, push = compute_pull_push(keypoint_tags[has_number], instance[has_number], image[has_number], len(tags))
    loss = AssociativeEmbeddingLoss()(tags, expected.view_as(tags))
    assert float(loss) == pytest.approx(float(pull + 0.5 * push) / len(tags), abs=1e-6)
