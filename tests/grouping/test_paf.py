"""One call from arrays to people, and the oracle: true joints of COCO through fields and parser to the benchmark."""

import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from poseplug.codecs.paf import PAF
from poseplug.datasets.sources.coco import CocoSource
from poseplug.errors import ConfigError, MismatchError
from poseplug.evaluation.oks_ap import OKSAP
from poseplug.grouping.paf import parse
from poseplug.poses import Poses
from poseplug.skeleton import get_skeleton

COCO, COCO18 = get_skeleton('coco'), get_skeleton('coco18')


def by_hand():
    """Right shoulder, elbow and wrist in line on row 3 of 6 x 12 cells, as fields of the released network's layout."""
    heatmap, paf = np.zeros((19, 6, 12), np.float32), np.zeros((38, 6, 12), np.float32)
    for joint, x in ((2, 1), (3, 5), (4, 9)):
        heatmap[joint, 3, x] = 0.8
    paf[14, 2:5, :7] = 1  # 2-3, x
    paf[16, 2:5, 4:] = 1  # 3-4, x
    return {'heatmap': heatmap, 'paf': paf}


def test_arrays_in_the_released_layout_become_people_in_one_call():
    """Cell g is at pixel 8g + 3.5; all else is nobody's. Score: 3 peaks of 0.8 and 2 limbs of 1, of 18 and 19."""
    (people,) = parse(by_hand(), 'coco18', refine='none')
    assert people.keypoints[0, 2:5].tolist() == [[11.5, 27.5], [43.5, 27.5], [75.5, 27.5]]
    assert np.flatnonzero(people.visibility[0]).tolist() == [2, 3, 4]
    assert people.scores[0, 2:5].tolist() == pytest.approx([0.8] * 3)
    assert people.person_scores.tolist() == pytest.approx([(3 * 0.8 + 2) / 37])
    assert people.boxes.tolist() == [[11.5, 27.5, 75.5, 27.5]]


def test_tensors_of_several_pictures_another_stride_and_another_preset_are_read_too():
    fields = {name: torch.stack([torch.zeros_like(m), m]).requires_grad_() for name, m in
              ((name, torch.from_numpy(m)) for name, m in by_hand().items())}  # fmt: skip
    nobody, people = parse(fields, 'coco18', 'matlab', stride=4, offset=0, refine='none')
    assert (len(nobody), len(people)) == (0, 1)
    assert people.keypoints[0, 2:5].tolist() == [[4, 12], [20, 12], [36, 12]]


def test_maps_without_background_and_a_skeleton_as_a_dict_are_read():
    skeleton = dict(name='arm', joints=['s', 'e', 'w'], limbs=[['s', 'e'], ['e', 'w']])
    full = by_hand()
    arm = {'heatmap': full['heatmap'][2:5], 'paf': full['paf'][14:18]}
    assert len(parse(arm, skeleton)[0]) == 1


@pytest.mark.parametrize('name', ['heatmap', 'paf'])
def test_fields_that_are_absent_or_of_another_size_are_an_error(name):
    fields = by_hand()
    with pytest.raises(MismatchError, match=f'got .*{name} None'):
        parse({n: m for n, m in fields.items() if n != name}, 'coco18')
    with pytest.raises(MismatchError, match='of one size'):
        parse({**fields, name: fields[name][:, :5]}, 'coco18')


def test_an_unknown_preset_or_placing_is_an_error():
    with pytest.raises(ConfigError, match="no parser 'openpose'"):
        parse(by_hand(), 'coco18', 'openpose')
    with pytest.raises(ConfigError, match="placed by one of .*; got 'second'"):
        parse(by_hand(), 'coco18', refine='second')


def test_fields_that_are_no_numbers_are_nobody():
    fields = {name: np.full_like(m, np.nan) for name, m in by_hand().items()}
    assert len(parse(fields, 'coco18')[0]) == 0
    assert len(parse({**by_hand(), 'paf': fields['paf']}, 'coco18')[0]) == 0


def test_noise_alone_is_parsed_and_has_finite_people():
    """Dozens of peaks a joint and fields without a sense."""
    generator = torch.Generator().manual_seed(0)
    fields = {
        'heatmap': torch.randn(19, 46, 46, generator=generator),
        'paf': torch.randn(38, 46, 46, generator=generator),
    }
    for preset in ('cpp', 'matlab', 'complete'):
        (people,) = parse(fields, 'coco18', preset)
        assert np.isfinite(people.keypoints).all()
        assert ((people.person_scores >= 0) & (people.person_scores <= 1)).all()


@pytest.fixture(scope='module')
def records():
    """The annotated pictures of COCO's validation half that are there."""
    root = Path(os.environ.get('POSEPLUG_DATA', Path(__file__).parents[3] / 'shared/data')) / 'coco'
    if not (root / 'annotations').is_dir():
        pytest.skip(f'no COCO in {root}; name the folder above it by POSEPLUG_DATA')
    return CocoSource(root, half='val', missing='drop').load()[0]


def through_fields(record, **settings):
    """A picture's true people, drawn at a height of 368 px, parsed, and back in image pixels as joints of 'coco'."""
    height, width = cv2.imread(str(record.path)).shape[:2]
    factor = 368 / height
    joints, visible = COCO18.of(COCO, record.keypoints, record.visible)
    codec = PAF(COCO18, (8 * math.ceil(width * factor / 8), 368), **settings)
    places = torch.from_numpy((joints + 0.5) * factor - 0.5)[None]
    poses = codec.decode(codec.encode(places, torch.from_numpy(visible)[None]).at(0)).numpy()
    back = COCO.mapping(COCO18)
    return Poses((poses.keypoints[:, back] + 0.5) / factor - 0.5, poses.scores[:, back], poses.person_scores)


def pieces(visible):
    """Of how many parts the labelled joints (K,) of 'coco18' are, that limbs join."""
    part = np.arange(len(visible))
    for _ in visible:
        for a, b in COCO18.limb_indices:
            if visible[a] and visible[b]:
                part[[a, b]] = part[[a, b]].min()
    return len(set(part[visible > 0]))


def in_one_piece(record):
    """The same picture; people whose labelled joints are fewer than 3, or not joined by limbs, are ignored."""
    _, visible = COCO18.of(COCO, record.keypoints, record.visible)
    whole = [pieces(v) == 1 and (v > 0).sum() >= 3 for v in visible]
    return replace(record, visible=np.where(np.array(whole)[:, None], record.visible, 0))


def average_precision(records, found):
    metric = OKSAP(COCO)
    for record, poses in zip(records, found, strict=True):
        metric.add(poses, record)
    return metric.compute().values['AP']


@pytest.mark.parametrize(
    ('settings', 'least', 'everybody'),
    [
        (dict(parser='complete'), 96.5, 90.0),
        (dict(parser='complete', merge='last'), 96.5, 90.0),
        (dict(parser='matlab'), 96.0, 82.0),
        (dict(parser='matlab', people='add'), 94.5, 81.0),
    ],
)
def test_true_joints_come_back_through_the_fields_of_real_crowds(records, settings, least, everybody):
    """A fifth of the people are labelled with gaps that no limb of the 18 joints bridges; they bound the whole."""
    found = [through_fields(record, **settings) for record in records]
    assert average_precision([in_one_piece(r) for r in records], found) >= least
    assert average_precision(records, found) >= everybody


def test_most_people_are_labelled_in_one_piece(records):
    counts = Counter(bool(v.any()) for r in records for v in in_one_piece(r).visible)
    assert counts[True] > 3 * counts[False]
