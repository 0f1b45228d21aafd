"""Midpoints of limbs: decode undoes encode for people apart, and cannot where limbs cross in their middles."""

import pytest
import torch

from poseplug.codecs.limb_midpoints import LimbMidpoints
from poseplug.codecs.paf import PAF
from poseplug.core.skeleton import Skeleton

SEGMENT = Skeleton('segment', ('a', 'b'), (('a', 'b'),))
PARSER = dict(preset='merging', min_keypoints=2, min_mean_score=0.0)


def encode(codec, *segments):
    keypoints = torch.tensor(segments, dtype=torch.float32)[None]
    return codec.encode(keypoints, torch.ones(keypoints.shape[:3])).stage_fields(0)


def sorted_keypoints(poses):
    return sorted(tuple(map(tuple, instance.round().int().tolist())) for instance in poses.keypoints)


def build(codec_type):
    return codec_type(SEGMENT, (96, 96), stride=4, parser=PARSER, heatmap_codec=dict(type='Heatmap', sigma_px=6.0))


def test_the_heatmap_of_a_limb_has_its_peak_of_1_at_the_middle():
    fields = encode(build(LimbMidpoints), [[16, 40], [48, 40]])
    assert fields['midpoint'].shape == (1, 1, 24, 24)
    assert fields['midpoint'][0, 0, 10, 8] == 1
    assert fields['midpoint'].max() == 1


@pytest.mark.parametrize('codec_type', [LimbMidpoints, PAF])
def test_two_people_apart_are_decoded(codec_type):
    codec = build(codec_type)
    poses = codec.decode(encode(codec, [[12, 20], [44, 20]], [[40, 72], [80, 72]]))
    assert sorted_keypoints(poses) == [((12, 20), (44, 20)), ((40, 72), (80, 72))]


def test_limbs_that_cross_in_their_middles_have_one_midpoint_but_two_directions():
    """All four pairs of ends have the middle (48, 48): midpoints cannot say which two are limbs, limb fields can."""
    segments = ([[16, 16], [80, 80]], [[16, 80], [80, 16]])
    codec = build(LimbMidpoints)
    middle = encode(codec, *segments)['midpoint'][0, 0]
    pairs = [(a, b) for a in segments for b in segments]
    assert {middle[12, 12].item() for _ in pairs} == {1.0}
    poses = build(PAF).decode(encode(build(PAF), *segments))
    assert sorted_keypoints(poses) == [((16, 16), (80, 80)), ((16, 80), (80, 16))]


def test_a_missing_midpoint_is_no_limb():
    codec = build(LimbMidpoints)
    fields = encode(codec, [[16, 40], [48, 40]])
    assert len(codec.decode(fields)) == 1
    assert len(codec.decode({**fields, 'midpoint': torch.zeros_like(fields['midpoint'])})) == 0


def test_flipping_twice_gives_the_same_fields():
    from poseplug.registry.skeletons import get_skeleton

    codec = LimbMidpoints(get_skeleton('coco18'), (96, 64))
    fields = {name: torch.rand(1, count, 8, 12) for name, count in codec.fields.items()}
    twice = codec.flip(codec.flip(fields))
    for name, values in fields.items():
        torch.testing.assert_close(twice[name], values)
