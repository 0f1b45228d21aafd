"""Part affinity fields there and back: everybody comes back, and the laws of mirrors and moves hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.paf import PAF
from poseplug.codecs.udp import UDPCombined
from poseplug.errors import ConfigError, MismatchError
from poseplug.grouping.peaks import PLACES
from poseplug.registry import CODECS
from poseplug.skeleton import Skeleton, get_skeleton

COCO18 = get_skeleton('coco18')
SIZE = (208, 176)
CROSS = Skeleton('cross', ('a', 'b', 'c'), (('a', 'b'), ('b', 'c')))


def figure(skeleton, height, x, y, seed=0):
    """A standing person of about that height whose feet are around (x, y), as (K, 2)."""
    rng = np.random.default_rng(seed)
    rows = dict(eye=0.04, ear=0.06, nose=0.08, top=0.0, neck=0.18, shoulder=0.2, chest=0.35, elbow=0.36, wrist=0.5,
                hip=0.53, pelvis=0.53, thorax=0.2, knee=0.76, ankle=1.0, heel=1.04, toe=1.05)  # fmt: skip
    columns = dict(eye=0.04, ear=0.09, shoulder=0.14, elbow=0.22, wrist=0.24, hip=0.1, knee=0.12, ankle=0.13)
    columns |= dict(heel=0.11, toe=0.2)
    points = []
    for joint in skeleton.joints:
        part = joint.split('_')[-1]
        side = joint.startswith('left') - joint.startswith('right')
        points.append((side * (columns.get(part, 0) + 0.04 * ('big' in joint)), rows[part] - 1))
    return torch.tensor(np.array(points) * height + [x, y] + rng.normal(0, 0.01 * height, (len(points), 2))).float()


def crowd(skeleton=COCO18):
    """Three people side by side: (1, 3, K, 2) and all visible."""
    people = torch.stack(
        [figure(skeleton, 140, 40, 160), figure(skeleton, 110, 105, 150, 1), figure(skeleton, 120, 165, 165, 2)]
    )
    return people[None], torch.ones(1, 3, len(skeleton))


def back(codec, keypoints, visible, people=None):
    return codec.decode(codec.encode(keypoints, visible, people).at(0))


def assert_found(poses, wanted, pixels):
    """Every wanted person (N, K, 2) is found once, with every joint, and nobody else is."""
    assert len(poses) == len(wanted)
    far = (poses.keypoints[:, None] - wanted[None]).norm(dim=-1).amax(dim=-1)
    assert sorted(far.argmin(dim=1).tolist()) == list(range(len(wanted)))
    assert float(far.amin(dim=1).max()) <= pixels


@pytest.mark.parametrize('parser', ['cpp', 'matlab', 'lightweight', 'complete', dict(match='hungarian')])
@pytest.mark.parametrize('name', ['coco18', 'body25', 'mpii15', 'lsp', 'coco', 'mpii'])
def test_everybody_comes_back_whatever_the_skeleton_and_the_parser(name, parser):
    skeleton, peaks = get_skeleton(name), dict(type='Heatmap', sigma=5.0, refine='taylor')
    keypoints, visible = crowd(skeleton)
    codec = PAF(skeleton, SIZE, parser=parser, stride=4, peaks=peaks)
    assert_found(back(codec, keypoints, visible), keypoints[0], 1.0)


@pytest.mark.parametrize('merge', ['mean', 'last'])
@pytest.mark.parametrize('people', ['max', 'add'])
def test_everybody_comes_back_at_stride_8_however_people_share_the_fields(people, merge):
    keypoints, visible = crowd()
    assert_found(back(PAF(COCO18, SIZE, people=people, merge=merge), keypoints, visible), keypoints[0], 3.0)


@pytest.mark.parametrize(
    'peaks',
    [
        dict(type='CPMHeatmap', cut=1e-4, refine='taylor'),
        dict(type='DARKHeatmap', sigma=8.0),
        dict(type='MSRAHeatmap', sigma=8.0),
        dict(type='UDPHeatmap', sigma=8.0),
        dict(type='Heatmap', sigma=8.0, smooth=3, refine='quarter', background=False),
    ],
)
def test_any_codec_of_one_gaussian_a_joint_draws_and_reads_the_peaks(peaks):
    """Rounded joints lie up to 0.7 cells beside their limbs, which the library's parser forgives less than others."""
    codec = CODECS.build(dict(type='PAF', input_size=SIZE, stride=4, peaks=peaks, parser='matlab'), skeleton=COCO18)
    keypoints, visible = crowd()
    assert codec.fields == {'paf': 38, 'heatmap': 18 + peaks.get('background', True)}
    assert_found(back(codec, keypoints, visible), keypoints[0], 4.0)


@pytest.mark.parametrize(('refine', 'pixels'), [('taylor', 0.1), ('centroid', 1.2), ('quarter', 2.9), ('none', 5.7)])
def test_each_way_of_placing_peaks_keeps_its_promise(refine, pixels):
    keypoints = figure(COCO18, 150, 100, 165)[None, None]
    assert refine in PLACES
    assert_found(back(PAF(COCO18, SIZE, refine=refine), keypoints, torch.ones(1, 1, 18)), keypoints[0], pixels)


@pytest.mark.parametrize('seed', range(8))
def test_everybody_comes_back_of_any_tree_of_limbs(seed):
    """Random trees, limbs of either direction, in any order; three people, each in a third of the picture."""
    rng = np.random.default_rng(seed)
    joints = tuple('abcdefg'[: rng.integers(3, 8)])
    limbs = [(joints[rng.integers(k)], joints[k])[:: rng.choice([-1, 1])] for k in range(1, len(joints))]
    skeleton = Skeleton('tree', joints, tuple(limbs[i] for i in rng.permutation(len(limbs))))
    points = rng.uniform(0, (60, SIZE[1] - 1), (1, 3, len(joints), 2)) + 72 * np.arange(3)[None, :, None, None] * [1, 0]
    keypoints = torch.from_numpy(points).float()
    codec = PAF(skeleton, SIZE, parser='complete')
    assert_found(back(codec, keypoints, torch.ones(1, 3, len(joints))), keypoints[0], 0.5)


def test_nobody_is_found_where_nobody_is():
    codec = PAF(COCO18, SIZE)
    poses = back(codec, torch.zeros(2, 0, 18, 2), torch.zeros(2, 0, 18))
    assert len(poses) == 0
    assert [len(p) for p in poses.split(2)] == [0, 0]
    assert poses.keypoints.shape == (0, 18, 2)


def test_people_who_are_padding_are_not_drawn():
    keypoints, visible = crowd()
    real = torch.tensor([[True, False, True]])
    assert_found(back(PAF(COCO18, SIZE), keypoints, visible, real), keypoints[0, [0, 2]], 3.0)


def test_every_picture_of_a_batch_keeps_its_people():
    keypoints, visible = crowd()
    both = torch.cat([keypoints, keypoints])
    visible = torch.cat([visible, visible])
    visible[0, 0], visible[1, 1:] = 0, 0
    poses = back(PAF(COCO18, SIZE), both, visible)
    assert poses.images.tolist() == [0, 0, 1]
    assert_found(poses[poses.images == 1], keypoints[0, :1], 3.0)


def test_the_order_of_people_means_nothing():
    keypoints, visible = crowd()
    codec = PAF(COCO18, SIZE)
    one, other = (codec.encode(keypoints[:, order], visible).at(0) for order in ([0, 1, 2], [2, 0, 1]))
    for name in one:
        assert_close(one[name], other[name])


def test_crossing_limbs_stay_with_their_people():
    """Two people whose limbs a-b cross in the middle."""
    keypoints = torch.tensor([[[20.0, 20], [180, 150], [190, 60]], [[20.0, 150], [180, 20], [100, 12]]])[None]
    for merge in ('mean', 'last'):
        assert_found(back(PAF(CROSS, SIZE, merge=merge), keypoints, torch.ones(1, 2, 3)), keypoints[0], 3.0)


def test_two_people_at_one_joint_share_its_peak_as_far_as_a_parser_can():
    """b is one peak: the better limb takes it, and the other person is of one joint and dropped."""
    keypoints = torch.tensor([[[20.0, 20], [100, 80], [190, 20]], [[20.0, 150], [100, 80], [190, 150]]])[None]
    codec = PAF(CROSS, SIZE)
    parsed = codec.parse(codec.encode(keypoints, torch.ones(1, 2, 3)).at(0))[0]
    assert len(parsed.peaks) == 5
    assert len(parsed.joints) == 1


def test_a_person_cut_by_the_border_keeps_the_joints_inside():
    keypoints = figure(COCO18, 150, 12, 165)[None, None]
    inside = ((keypoints[0] >= -0.5) & (keypoints[0] < torch.tensor(SIZE) - 0.5)).all(dim=-1)
    assert 0 < int(inside.sum()) < 18
    codec = PAF(COCO18, SIZE, parser='matlab')
    poses = back(codec, keypoints, torch.ones(1, 1, 18))
    assert len(poses) == 1
    seen = poses.visibility[0] > 0
    assert int(seen.sum()) >= int(inside.sum()) - 2  # of the right arm the elbow may be outside, and the wrist alone
    assert (poses.keypoints - keypoints[0]).norm(dim=-1)[0][seen & inside[0]].max() < 1


def test_a_joint_that_is_missing_scores_0_amid_its_person():
    keypoints, visible = crowd()
    visible[0, :, COCO18.index('left_wrist')] = 0
    poses = back(PAF(COCO18, SIZE), keypoints, visible)
    wrist = COCO18.index('left_wrist')
    assert poses.scores[:, wrist].tolist() == [0, 0, 0]
    assert poses.visibility[:, wrist].tolist() == [0, 0, 0]
    low, high = poses.boxes[:, :2], poses.boxes[:, 2:]
    assert ((poses.keypoints[:, wrist] > low) & (poses.keypoints[:, wrist] < high)).all()


def test_moving_by_whole_cells_moves_the_fields():
    codec, (keypoints, visible) = PAF(COCO18, SIZE), crowd()
    shrunk = keypoints * 0.7 + 20
    one = codec.encode(shrunk, visible).at(0)
    other = codec.encode(shrunk + torch.tensor([16.0, 8.0]), visible).at(0)
    for name in one:
        assert_close(one[name][..., 2:-4, 2:-4], other[name][..., 3:-3, 4:-2], atol=1e-4, rtol=0)


def test_an_input_of_twice_the_size_with_twice_the_stride_gives_twice_the_positions():
    keypoints, visible = crowd()
    peaks = dict(type='Heatmap', sigma=8.0, refine='taylor')
    one = PAF(COCO18, SIZE, peaks=peaks)
    twice = PAF(COCO18, (416, 352), stride=16, peaks=dict(peaks, sigma=16.0))
    assert_close(
        back(twice, 2 * keypoints, visible).keypoints, 2 * back(one, keypoints, visible).keypoints, atol=1e-2, rtol=0
    )


def test_maps_of_another_size_than_the_codecs_are_read():
    codec, (keypoints, visible) = PAF(COCO18, (96, 96)), crowd()
    fields = codec.resized(SIZE).encode(keypoints, visible).at(0)
    assert fields['paf'].shape == (1, 38, 22, 26)
    assert_found(codec.decode(fields), keypoints[0], 3.0)


@pytest.mark.parametrize('name', ['coco18', 'body25', 'coco', 'mpii15', 'lsp'])
def test_the_fields_of_the_mirrored_people_are_mirrored(name):
    """Of 'coco' the limbs between both sides run the other way then."""
    skeleton = get_skeleton(name)
    codec, (keypoints, visible) = PAF(skeleton, SIZE), crowd(skeleton)
    mirrored = keypoints[:, :, skeleton.mirror.tolist()].clone()
    mirrored[..., 0] = SIZE[0] - 1 - mirrored[..., 0]
    flipped = codec.flip(codec.encode(mirrored, visible).at(0))
    for field, maps in codec.encode(keypoints, visible).at(0).items():
        assert_close(flipped[field], maps, atol=1e-4, rtol=0)


def test_a_skeleton_whose_mirror_lacks_a_limb_is_refused():
    lame = Skeleton('lame', ('a', 'left_b', 'right_b'), (('a', 'left_b'),), swaps=(('left_b', 'right_b'),))
    with pytest.raises(ConfigError, match=r"limb \('a', 'left_b'\) of skeleton 'lame' is none in a mirror"):
        PAF(lame, SIZE)


def test_what_a_data_set_does_not_define_has_no_weight():
    """Without ears, their channels and the limbs 2-16, 5-17, 14-16 and 15-17 do not count."""
    keypoints, visible = crowd()
    defined = torch.ones(1, 18, dtype=torch.bool)
    defined[0, 16:] = False
    weights = PAF(COCO18, SIZE).encode(keypoints, visible, defined=defined).weights
    assert weights['heatmap'][0].tolist() == [1] * 16 + [0, 0, 1]
    idle = [limb for limb in range(19) if not weights['paf'][0, 2 * limb]]
    assert [COCO18.limb_indices[limb].tolist() for limb in idle] == [[2, 16], [5, 17], [14, 16], [15, 17]]
    assert_close(weights['paf'][:, ::2], weights['paf'][:, 1::2])
    assert PAF(COCO18, SIZE).encode(keypoints, visible).weights == {}


def test_the_subject_is_who_stands_nearest_to_the_middle():
    keypoints, visible = crowd()
    poses = back(PAF(COCO18, SIZE, subject=True), keypoints, visible)
    assert_found(poses, keypoints[0, 1:2], 3.0)
    assert poses.images.tolist() == [0]


def test_there_is_always_a_subject_and_it_has_every_joint():
    """Its missing wrist is where the largest peak of that joint is; where there is nobody, all joints are."""
    keypoints, visible = crowd()
    wrist = COCO18.index('left_wrist')
    visible[0, 1, wrist] = 0
    visible[0, 2] = 0
    codec = PAF(COCO18, SIZE, subject=True)
    poses = back(codec, torch.cat([keypoints, keypoints]), torch.cat([visible, torch.zeros_like(visible)]))
    assert poses.images.tolist() == [0, 1]
    wanted = keypoints[0, 1].clone()
    wanted[wrist] = keypoints[0, 0, wrist]
    assert (poses.keypoints[0] - wanted).norm(dim=-1).max() < 3
    assert not poses.scores[1].any()


def test_where_nobody_is_found_it_says_what_was_discarded(caplog):
    """Three joints of one arm without the elbow's field: no limb, hence nobody."""
    codec = PAF(CROSS, SIZE, parser=dict(preset='cpp', again=None))
    fields = codec.encode(torch.tensor([[[[20.0, 20], [100, 80], [190, 20]]]]), torch.ones(1, 1, 3)).at(0)
    fields['paf'][:, 2:] = 0
    with caplog.at_level('INFO', logger='poseplug.grouping.paf'):
        assert len(codec.decode(fields)) == 0
    assert caplog.messages == [
        'picture 0: 0 people: 3 peaks, 2 pairs, 1 limbs, 1 people put together; dropped: 1 of fewer than 3 joints'
    ]


def test_where_nobody_is_found_the_library_tries_again_with_lower_limits():
    keypoints, visible = crowd()
    codec = PAF(COCO18, SIZE)
    faint = {name: 0.04 * maps for name, maps in codec.encode(keypoints, visible).at(0).items()}
    assert len(codec.decode(faint)) == 3
    assert len(PAF(COCO18, SIZE, parser=dict(again=None)).decode(faint)) == 0


def test_a_score_is_the_sum_of_peaks_and_limbs_over_what_there_could_be():
    """All of 18 peaks and of 17 limbs; the two redundant ones fill no end, and add nothing."""
    keypoints = figure(COCO18, 150, 100, 165)[None, None]
    codec = PAF(COCO18, SIZE)
    fields = codec.encode(keypoints, torch.ones(1, 1, 18)).at(0)
    parsed = codec.parse(fields)[0]
    assert 0.8 < float(parsed.scores[0]) <= 35 / 37


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(merge='sum'), 'merge is one of'),
        (dict(width=0.0), 'width is positive'),
        (dict(people='sum'), 'people is one of'),
        (dict(parser='cp'), "no parser 'cp'; closest: 'cpp'"),
        (dict(refine='second'), 'placed by one of'),
        (dict(peaks=dict(type='Heatmap', refine='second')), 'placed by one of'),
        (dict(peaks=dict(type='Heatmap', people='add')), "people='add'.*people='max'"),
        (dict(peaks=dict(type='CPNHeatmap')), 'CPNHeatmap'),
        (dict(peaks=UDPCombined(COCO18, SIZE, stride=8)), 'peaks is built with another people'),
    ],
)
def test_a_setting_that_means_nothing_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        PAF(COCO18, SIZE, **settings)


def test_peaks_may_be_a_codec_already_built():
    codec = PAF(COCO18, SIZE)
    again = replace(codec, peaks=codec.heatmaps)
    assert again.resized((96, 96)).heatmaps.input_size == (96, 96)
    keypoints, visible = crowd()
    assert_close(again.encode(keypoints, visible).at(0)['heatmap'], codec.encode(keypoints, visible).at(0)['heatmap'])


@pytest.mark.parametrize('fields', [{'heatmap': (1, 18, 6, 6)}, {'heatmap': (1, 18, 6, 6), 'paf': (1, 36, 6, 6)}])
def test_fields_that_do_not_fit_are_an_error_that_says_both(fields):
    with pytest.raises(MismatchError, match="'coco18' are a heatmap of 18 .* and a paf of 38"):
        PAF(COCO18, SIZE).decode({name: torch.zeros(shape) for name, shape in fields.items()})
