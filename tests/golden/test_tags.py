"""Tags against the numbers of MMPose 1.3.2: enc_ae, dec_ae and the part of losses_inputs on associative embedding.

Where poseplug does otherwise: a joint outside whose peak shows at the border has a tag; of equal neighbours one is a
peak; a quarter step is made in row and column 1, too; and joints that are filled in are looked for by the tags of the
peaks themselves, in the maps themselves. Each test takes out just these.
"""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from poseplug.codecs.tags import Tags
from poseplug.grouping.tags import by_joint, nearest_cells
from poseplug.models.losses.associative import AssociativeEmbedding, pull_and_push
from poseplug.skeleton import Skeleton, get_skeleton

FIVE = Skeleton('five', tuple('abcde'))
STRIDE = 4


def arrays(golden, name):
    path = golden / f'{name}.npz'
    if not path.is_file():
        pytest.skip(f'no {path.name} in {golden}')
    with np.load(path) as found:
        return {key: found[key] for key in found}


@pytest.fixture(scope='module')
def encoded(golden):
    return arrays(golden, 'enc_ae')


PEAKS = {'plain': dict(type='MSRAHeatmap', sigma=4.0), 'udp': dict(type='UDPHeatmap', sigma=4.0)}


@pytest.mark.parametrize('kind', PEAKS)
def test_heatmaps_of_several_people_are_mmposes(encoded, kind):
    codec = Tags(get_skeleton('coco'), (256, 256), peaks=PEAKS[kind])
    keypoints, visible = (torch.from_numpy(encoded[n]) for n in ('keypoints', 'visible'))
    maps = codec.encode(keypoints, visible).at(0)['heatmap'].numpy()
    few = encoded[f'{kind}_heatmaps']
    assert np.abs(maps[: len(few)] - few).max() <= 1e-6
    sums = np.stack([maps.sum((2, 3)), (maps.astype(float) ** 2).sum((2, 3)), maps.max((2, 3))], axis=-1)
    assert np.abs(sums - encoded[f'{kind}_stats'][..., :3]).max() <= 1e-4


@pytest.mark.parametrize('kind', PEAKS)
def test_tags_are_read_in_mmposes_cells(encoded, kind):
    """And so are those of joints farther outside, in a cell at the border."""
    codec = Tags(get_skeleton('coco'), (256, 256), peaks=PEAKS[kind])
    keypoints, visible = (torch.from_numpy(encoded[n]) for n in ('keypoints', 'visible'))
    cells, placed = codec.cells_of(keypoints, visible > 0)
    width, height = codec.grid.size
    index, valid = (encoded[f'{kind}_indices'][..., i] for i in (0, 1))
    assert (placed.numpy() >= valid).all()
    assert ((cells[..., 1] * width + cells[..., 0]).numpy() == index)[valid > 0].all()
    more = placed.numpy() & (valid == 0)
    border = (cells.numpy() % [width - 1, height - 1] == 0).any(-1)
    assert border[more].all()
    assert (codec.number(keypoints, visible > 0) > 0).any(dim=0).sum() > 0


KINDS = ('l1', 'l2', 'l1_udp', 'l1_shift')


def read(given, kind, **how):
    """Our people, theirs, which of ours and of theirs are of clear pictures, and the stride of the cells."""
    maps, tags = fields(given, kind)
    peaks = dict(type='UDPHeatmap', kernel=3) if kind == 'l1_udp' else dict(type='MSRAHeatmap')
    parsed = Tags(FIVE, (128, 128), peaks={**peaks, **how}).parse({'heatmap': maps, 'tags': tags})
    expected, clear = by_score(given, kind), ~ambiguous(maps)
    assert clear.mean() >= 0.9
    stride = 127 / 31 if kind == 'l1_udp' else float(STRIDE)
    return parsed, expected, clear[parsed.images], clear[expected['images']], stride


def fields(given, kind):
    """Maps and tags of the variant."""
    maps, tags = (torch.from_numpy(given[f'{n}_f16'].astype(np.float32)) for n in ('heatmaps', 'tags'))
    return maps, tags if kind == 'l2' else tags[:, :5]


@pytest.mark.parametrize('kind', KINDS)
def test_people_are_mmposes(golden, kind):
    """Of every person the joints that were found; those that are missing are the next test's."""
    given = arrays(golden, 'dec_ae')
    fine, expected, ours, theirs, stride = read(given, kind)
    poses, whole = fine.poses((stride, stride)), read(given, kind, refine='none')[0].poses()
    assert (poses.images[ours] == expected['images'][theirs]).all()
    assert np.abs(poses.person_scores[ours] - expected['instance_scores'][theirs]).max() <= 1e-6
    drawn = (fine.found.joints < fine.drawn)[ours]
    assert np.abs(poses.scores[ours] - expected['scores'][theirs])[drawn].max() <= 1e-6
    stay = np.zeros_like(whole.keypoints, bool) if kind == 'l1_udp' else whole.keypoints == 1
    points = np.where(stay, whole.keypoints * stride, poses.keypoints) + shift(kind)
    assert np.abs(points[ours] - expected['keypoints'][theirs])[drawn].max() <= 1e-4
    assert drawn.sum() > 0


def shift(kind):
    """Pixels by which MMPose moves what was found."""
    return 0.5 * STRIDE if kind == 'l1_shift' else 0.0


@pytest.mark.parametrize('kind', KINDS)
def test_missing_joints_are_filled_in_like_mmposes(golden, kind):
    """From the tags that MMPose reads at its refined places, cut to whole cells, and with UDP the maps' logarithms."""
    given = arrays(golden, 'dec_ae')
    parsed, expected, ours, theirs, stride = read(given, kind)
    maps, tags = fields(given, kind)
    places = (expected['keypoints'][theirs] / stride).astype(np.float64)
    drawn, images = (parsed.found.joints < parsed.drawn)[ours], parsed.images[ours]
    means = torch.stack([mean_tag(tags[i], p, d) for i, p, d in zip(images, places, drawn, strict=True)])
    person, joint = np.nonzero(~drawn)
    marks, values = by_joint(tags, maps), logarithms(maps) if kind == 'l1_udp' else maps
    values = values.flatten(2).flatten(0, 1)
    channels = torch.from_numpy(images[person] * len(FIVE) + joint)
    found = nearest_cells(values, marks, channels, means[person])
    cells = np.stack([found % maps.shape[-1], found // maps.shape[-1]], axis=-1)
    assert np.abs(cells * stride - expected['keypoints'][theirs][~drawn]).max() <= 1e-4
    assert np.abs(values[channels, found].numpy() - expected['scores'][theirs][~drawn]).max() <= 1e-5
    assert len(found) > 0


def mean_tag(tags, places, drawn):
    """(D,) the mean of a picture's tags (D K, H, W) in the cells that places (K, 2) of drawn joints begin in."""
    x, y = np.clip(places[drawn].astype(int), 0, 31).T
    return tags.unflatten(0, (-1, len(FIVE)))[:, np.flatnonzero(drawn), y, x].mean(dim=1)


def logarithms(maps):
    """What MMPose leaves of maps (B, K, H, W) when it has placed peaks by UDP."""
    blurred = np.stack(
        [cv2.GaussianBlur(m, (3, 3), 0, borderType=cv2.BORDER_CONSTANT) for m in maps.flatten(0, 1).numpy()]
    )
    scaled = blurred * maps.flatten(0, 1).amax(dim=(1, 2), keepdim=True).numpy() / blurred.max((1, 2), keepdims=True)
    return torch.from_numpy(np.log(scaled.clip(1e-3, 50))).view_as(maps)


def ambiguous(maps: torch.Tensor) -> np.ndarray:
    """(B,) pictures in which two cells of one square of 5 x 5 are its largest, above the threshold."""
    top = (maps == F.max_pool2d(maps, 5, stride=1, padding=2)) & (maps > 0.1)
    near = F.avg_pool2d(top.float(), 5, stride=1, padding=2) * 25
    return (top & (near > 1.5)).flatten(1).any(dim=1).numpy()


def by_score(given: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """MMPose's people, the best of each picture first, with the picture of each."""
    images = np.repeat(np.arange(len(given[f'{kind}_count'])), given[f'{kind}_count'])
    order = np.lexsort([-given[f'{kind}_instance_scores'], images])
    names = ('keypoints', 'scores', 'instance_scores')
    return {'images': images[order], **{n: given[f'{kind}_{n}'][order] for n in names}}


def test_the_loss_is_mmposes(golden):
    """Whose push has half the weight, and counts everybody as a pair with themselves."""
    given = arrays(golden, 'losses_inputs')
    values = json.loads((golden / 'models_values.json').read_text())['losses']
    tags = torch.from_numpy(given['ae_tags']).requires_grad_()
    index, valid = torch.from_numpy(given['ae_indices']).unbind(-1)
    picture, person, joint = (valid > 0).nonzero(as_tuple=True)
    at = tags.flatten(2)[picture, joint, index[picture, person, joint]]
    pull, push = pull_and_push(at, person, picture, len(tags))
    people = (valid > 0).any(dim=-1).sum(dim=1)
    themselves = (people > 1) / (people - 1).clamp(min=1)
    assert float(pull.detach()) == pytest.approx(values['ae_pull'], abs=1e-5)
    assert 0.5 * float(push.detach() + themselves.sum()) == pytest.approx(values['ae_push'], abs=1e-5)
    (pull + 0.5 * push).backward()
    assert np.abs(tags.grad.numpy() - given['ae_grad']).max() <= 1e-5


def test_the_loss_of_maps_of_numbers_is_the_mean_over_pictures(golden):
    """Of pictures in which no cell has joints of two people."""
    given = arrays(golden, 'losses_inputs')
    tags, (index, valid) = torch.from_numpy(given['ae_tags']), torch.from_numpy(given['ae_indices']).unbind(-1)
    picture, person, joint = (valid > 0).nonzero(as_tuple=True)
    wanted = torch.zeros(tags.shape).flatten(2)
    wanted[picture, joint, index[picture, person, joint]] = person + 1.0
    owned = wanted[picture, joint, index[picture, person, joint]] == person + 1.0
    at = tags.flatten(2)[picture, joint, index[picture, person, joint]]
    pull, push = pull_and_push(at[owned], person[owned], picture[owned], len(tags))
    loss = AssociativeEmbedding()(tags, wanted.view_as(tags))
    assert float(loss) == pytest.approx(float(pull + 0.5 * push) / len(tags), abs=1e-6)
