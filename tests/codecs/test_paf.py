"""Part affinity fields: decode undoes encode for every instance, and the laws of flips and translations hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from poseplug.codecs.paf import PAF
from poseplug.codecs.udp import UDPCombined
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.skeleton import Skeleton
from poseplug.fields.peaks import PEAK_REFINEMENTS
from poseplug.registry import CODECS
from poseplug.registry.skeletons import get_skeleton

COCO18 = get_skeleton('coco18')
SIZE = (208, 176)
CROSS = Skeleton('cross', ('a', 'b', 'c'), (('a', 'b'), ('b', 'c')))


def standing_figure(skeleton, height, x, y, seed=0):
    """Keypoints (K, 2) of a standing person of about that height whose feet are around (x, y)."""
    rng = np.random.default_rng(seed)
    rows = dict(eye=0.04, ear=0.06, nose=0.08, top=0.0, neck=0.18, shoulder=0.2, chest=0.35, elbow=0.36, wrist=0.5,
                hip=0.53, pelvis=0.53, thorax=0.2, knee=0.76, ankle=1.0, heel=1.04, toe=1.05)  # fmt: skip
    columns = dict(eye=0.04, ear=0.09, shoulder=0.14, elbow=0.22, wrist=0.24, hip=0.1, knee=0.12, ankle=0.13)
    columns |= dict(heel=0.11, toe=0.2)
    points = []
    for name in skeleton.keypoints:
        part = name.split('_')[-1]
        side = name.startswith('left') - name.startswith('right')
        points.append((side * (columns.get(part, 0) + 0.04 * ('big' in name)), rows[part] - 1))
    return torch.tensor(np.array(points) * height + [x, y] + rng.normal(0, 0.01 * height, (len(points), 2))).float()


def three_instances(skeleton=COCO18):
    """Keypoints (1, 3, K, 2) of three people side by side, and all visible."""
    figures = (
        standing_figure(skeleton, 140, 40, 160),
        standing_figure(skeleton, 110, 105, 150, 1),
        standing_figure(skeleton, 120, 165, 165, 2),
    )
    return torch.stack(figures)[None], torch.ones(1, 3, len(skeleton))


def round_trip(codec, keypoints, visible, valid=None):
    """The poses decoded from the encoded keypoints."""
    return codec.decode(codec.encode(keypoints, visible, valid).stage_fields(0))


def assert_decoded(poses, expected, tolerance_px):
    """Every expected instance (N, K, 2) is decoded once, with every keypoint, and no other one."""
    assert len(poses) == len(expected)
    distances = (poses.keypoints[:, None] - expected[None]).norm(dim=-1).amax(dim=-1)
    assert sorted(distances.argmin(dim=1).tolist()) == list(range(len(expected)))
    assert float(distances.amin(dim=1).max()) <= tolerance_px


@pytest.mark.parametrize('parser', ['openpose', 'matlab', 'lightweight', 'complete', dict(matching='hungarian')])
@pytest.mark.parametrize('name', ['coco18', 'body25', 'mpii15', 'lsp', 'coco', 'mpii'])
def test_every_instance_is_decoded_whatever_the_skeleton_and_the_parser(name, parser):
    skeleton, peaks = get_skeleton(name), dict(type='Heatmap', sigma_px=5.0, refine='taylor')
    keypoints, visible = three_instances(skeleton)
    codec = PAF(skeleton, SIZE, parser=parser, stride=4, heatmap_codec=peaks)
    assert_decoded(round_trip(codec, keypoints, visible), keypoints[0], 1.0)


@pytest.mark.parametrize('merge', ['mean', 'last'])
@pytest.mark.parametrize('instances', ['max', 'add'])
def test_every_instance_is_decoded_at_stride_8_however_instances_are_merged(instances, merge):
    keypoints, visible = three_instances()
    assert_decoded(
        round_trip(PAF(COCO18, SIZE, instances=instances, limb_merge=merge), keypoints, visible), keypoints[0], 3.0
    )


@pytest.mark.parametrize(
    'peaks',
    [
        dict(type='CPMHeatmap', min_value=1e-4, refine='taylor'),
        dict(type='DARKHeatmap', sigma_px=8.0),
        dict(type='MSRAHeatmap', sigma_px=8.0),
        dict(type='UDPHeatmap', sigma_px=8.0),
        dict(type='Heatmap', sigma_px=8.0, smoothing_kernel_size=3, refine='quarter', background=False),
    ],
)
def test_any_codec_of_one_gaussian_per_keypoint_draws_and_reads_the_peaks(peaks):
    """Rounded keypoints lie up to 0.7 cells beside their limbs, which OpenPose's parser tolerates less than others."""
    codec = CODECS.build(
        dict(type='PAF', input_size=SIZE, stride=4, heatmap_codec=peaks, parser='matlab'), skeleton=COCO18
    )
    keypoints, visible = three_instances()
    assert codec.fields == {'paf': 38, 'heatmap': 18 + peaks.get('background', True)}
    assert_decoded(round_trip(codec, keypoints, visible), keypoints[0], 4.0)


@pytest.mark.parametrize(
    ('refine', 'tolerance_px'), [('taylor', 0.1), ('centroid', 1.2), ('quarter', 2.9), ('none', 5.7)]
)
def test_each_refinement_of_peaks_is_exact_to_its_tolerance(refine, tolerance_px):
    keypoints = standing_figure(COCO18, 150, 100, 165)[None, None]
    assert refine in PEAK_REFINEMENTS
    assert_decoded(
        round_trip(PAF(COCO18, SIZE, refine=refine), keypoints, torch.ones(1, 1, 18)), keypoints[0], tolerance_px
    )


@pytest.mark.parametrize('seed', range(8))
def test_every_instance_of_any_tree_of_limbs_is_decoded(seed):
    """Random trees, limbs of either direction, in any order; three instances, each in a third of the image."""
    rng = np.random.default_rng(seed)
    names = tuple('abcdefg'[: rng.integers(3, 8)])
    limbs = [(names[rng.integers(k)], names[k])[:: rng.choice([-1, 1])] for k in range(1, len(names))]
    skeleton = Skeleton('tree', names, tuple(limbs[i] for i in rng.permutation(len(limbs))))
    points = rng.uniform(0, (60, SIZE[1] - 1), (1, 3, len(names), 2)) + 72 * np.arange(3)[None, :, None, None] * [1, 0]
    keypoints = torch.from_numpy(points).float()
    codec = PAF(skeleton, SIZE, parser='complete')
    assert_decoded(round_trip(codec, keypoints, torch.ones(1, 3, len(names))), keypoints[0], 0.5)


def test_no_instance_is_decoded_where_there_is_none():
    codec = PAF(COCO18, SIZE)
    poses = round_trip(codec, torch.zeros(2, 0, 18, 2), torch.zeros(2, 0, 18))
    assert len(poses) == 0
    assert [len(p) for p in poses.split_by_image(2)] == [0, 0]
    assert poses.keypoints.shape == (0, 18, 2)


def test_padding_is_not_drawn():
    keypoints, visible = three_instances()
    valid = torch.tensor([[True, False, True]])
    assert_decoded(round_trip(PAF(COCO18, SIZE), keypoints, visible, valid), keypoints[0, [0, 2]], 3.0)


def test_every_image_of_a_batch_keeps_its_instances():
    keypoints, visible = three_instances()
    both = torch.cat([keypoints, keypoints])
    visible = torch.cat([visible, visible])
    visible[0, 0], visible[1, 1:] = 0, 0
    poses = round_trip(PAF(COCO18, SIZE), both, visible)
    assert poses.image_indices.tolist() == [0, 0, 1]
    assert_decoded(poses[poses.image_indices == 1], keypoints[0, :1], 3.0)


def test_the_order_of_instances_means_nothing():
    keypoints, visible = three_instances()
    codec = PAF(COCO18, SIZE)
    fields, reordered = (codec.encode(keypoints[:, order], visible).stage_fields(0) for order in ([0, 1, 2], [2, 0, 1]))
    for name in fields:
        assert_close(fields[name], reordered[name])


def test_crossing_limbs_stay_with_their_instances():
    """Two instances whose limbs a-b cross in the middle."""
    keypoints = torch.tensor([[[20.0, 20], [180, 150], [190, 60]], [[20.0, 150], [180, 20], [100, 12]]])[None]
    for merge in ('mean', 'last'):
        assert_decoded(
            round_trip(PAF(CROSS, SIZE, limb_merge=merge), keypoints, torch.ones(1, 2, 3)), keypoints[0], 3.0
        )


def test_of_two_instances_at_one_keypoint_one_has_the_peak_and_the_other_is_dropped():
    """b is one peak: the higher-scoring limb uses it, and the other instance has one keypoint."""
    keypoints = torch.tensor([[[20.0, 20], [100, 80], [190, 20]], [[20.0, 150], [100, 80], [190, 150]]])[None]
    codec = PAF(CROSS, SIZE)
    parsed = codec.parse_fields(codec.encode(keypoints, torch.ones(1, 2, 3)).stage_fields(0))[0]
    assert len(parsed.peaks) == 5
    assert len(parsed.peak_indices) == 1


def test_an_instance_cut_by_the_border_keeps_the_keypoints_inside():
    keypoints = standing_figure(COCO18, 150, 12, 165)[None, None]
    inside = ((keypoints[0] >= -0.5) & (keypoints[0] < torch.tensor(SIZE) - 0.5)).all(dim=-1)
    assert 0 < int(inside.sum()) < 18
    codec = PAF(COCO18, SIZE, parser='matlab')
    poses = round_trip(codec, keypoints, torch.ones(1, 1, 18))
    assert len(poses) == 1
    is_visible = poses.visibility[0] > 0
    assert (
        int(is_visible.sum()) >= int(inside.sum()) - 2
    )  # of the right arm the elbow may be outside, and the wrist alone
    assert (poses.keypoints - keypoints[0]).norm(dim=-1)[0][is_visible & inside[0]].max() < 1


def test_a_missing_keypoint_scores_0_and_stands_within_its_instance():
    keypoints, visible = three_instances()
    visible[0, :, COCO18.index('left_wrist')] = 0
    poses = round_trip(PAF(COCO18, SIZE), keypoints, visible)
    wrist = COCO18.index('left_wrist')
    assert poses.keypoint_scores[:, wrist].tolist() == [0, 0, 0]
    assert poses.visibility[:, wrist].tolist() == [0, 0, 0]
    low, high = poses.boxes[:, :2], poses.boxes[:, 2:]
    assert ((poses.keypoints[:, wrist] > low) & (poses.keypoints[:, wrist] < high)).all()


def test_translation_by_whole_cells_translates_the_fields():
    codec, (keypoints, visible) = PAF(COCO18, SIZE), three_instances()
    shrunk = keypoints * 0.7 + 20
    fields = codec.encode(shrunk, visible).stage_fields(0)
    translated = codec.encode(shrunk + torch.tensor([16.0, 8.0]), visible).stage_fields(0)
    for name in fields:
        assert_close(fields[name][..., 2:-4, 2:-4], translated[name][..., 3:-3, 4:-2], atol=1e-4, rtol=0)


def test_positions_are_doubled_by_an_input_of_twice_the_size_with_twice_the_stride():
    keypoints, visible = three_instances()
    peaks = dict(type='Heatmap', sigma_px=8.0, refine='taylor')
    one = PAF(COCO18, SIZE, heatmap_codec=peaks)
    twice = PAF(COCO18, (416, 352), stride=16, heatmap_codec=dict(peaks, sigma_px=16.0))
    assert_close(
        round_trip(twice, 2 * keypoints, visible).keypoints,
        2 * round_trip(one, keypoints, visible).keypoints,
        atol=1e-2,
        rtol=0,
    )


def test_fields_of_another_size_than_the_codecs_are_decoded():
    codec, (keypoints, visible) = PAF(COCO18, (96, 96)), three_instances()
    fields = codec.with_input_size(SIZE).encode(keypoints, visible).stage_fields(0)
    assert fields['paf'].shape == (1, 38, 22, 26)
    assert_decoded(codec.decode(fields), keypoints[0], 3.0)


@pytest.mark.parametrize('name', ['coco18', 'body25', 'coco', 'mpii15', 'lsp'])
def test_flipping_the_fields_of_flipped_instances_undoes_the_flip(name):
    """The limbs of 'coco' between both sides are reversed by it."""
    skeleton = get_skeleton(name)
    codec, (keypoints, visible) = PAF(skeleton, SIZE), three_instances(skeleton)
    flipped = keypoints[:, :, skeleton.flip_indices.tolist()].clone()
    flipped[..., 0] = SIZE[0] - 1 - flipped[..., 0]
    unflipped = codec.flip(codec.encode(flipped, visible).stage_fields(0))
    for field, maps in codec.encode(keypoints, visible).stage_fields(0).items():
        assert_close(unflipped[field], maps, atol=1e-4, rtol=0)


def test_a_skeleton_that_lacks_a_limb_when_flipped_is_an_error():
    skeleton = Skeleton('lame', ('a', 'left_b', 'right_b'), (('a', 'left_b'),), flip_pairs=(('left_b', 'right_b'),))
    with pytest.raises(ConfigError, match=r"limb \('a', 'left_b'\) of skeleton 'lame' is none when flipped"):
        PAF(skeleton, SIZE)


def test_keypoints_that_a_data_set_does_not_annotate_have_no_weight():
    """Without ears, their channels and the limbs 2-16, 5-17, 14-16 and 15-17 do not count."""
    keypoints, visible = three_instances()
    annotated = torch.ones(1, 18, dtype=torch.bool)
    annotated[0, 16:] = False
    weights = PAF(COCO18, SIZE).encode(keypoints, visible, annotated_keypoints=annotated).weights
    assert weights['heatmap'][0].tolist() == [1] * 16 + [0, 0, 1]
    unweighted = [limb for limb in range(19) if not weights['paf'][0, 2 * limb]]
    assert [COCO18.limb_indices[limb].tolist() for limb in unweighted] == [[2, 16], [5, 17], [14, 16], [15, 17]]
    assert_close(weights['paf'][:, ::2], weights['paf'][:, 1::2])
    assert PAF(COCO18, SIZE).encode(keypoints, visible).weights == {}


def test_the_subject_is_the_instance_nearest_to_the_middle():
    keypoints, visible = three_instances()
    poses = round_trip(PAF(COCO18, SIZE, single_instance=True), keypoints, visible)
    assert_decoded(poses, keypoints[0, 1:2], 3.0)
    assert poses.image_indices.tolist() == [0]


def test_there_is_always_a_subject_and_it_has_every_keypoint():
    """Its missing wrist is where its highest peak is; where there is no instance, all keypoints are."""
    keypoints, visible = three_instances()
    wrist = COCO18.index('left_wrist')
    visible[0, 1, wrist] = 0
    visible[0, 2] = 0
    codec = PAF(COCO18, SIZE, single_instance=True)
    poses = round_trip(codec, torch.cat([keypoints, keypoints]), torch.cat([visible, torch.zeros_like(visible)]))
    assert poses.image_indices.tolist() == [0, 1]
    expected = keypoints[0, 1].clone()
    expected[wrist] = keypoints[0, 0, wrist]
    assert (poses.keypoints[0] - expected).norm(dim=-1).max() < 3
    assert not poses.keypoint_scores[1].any()


def test_where_no_instance_is_left_the_log_counts_what_was_dropped(caplog):
    """Three keypoints with the field of one limb only: an instance of two, which is dropped."""
    codec = PAF(CROSS, SIZE, parser=dict(preset='openpose', fallback=None))
    fields = codec.encode(torch.tensor([[[[20.0, 20], [100, 80], [190, 20]]]]), torch.ones(1, 1, 3)).stage_fields(0)
    fields['paf'][:, 2:] = 0
    with caplog.at_level('INFO', logger='poseplug.grouping'):
        assert len(codec.decode(fields)) == 0
    assert caplog.messages == [
        'image 0: 0 instances: 3 peaks, 2 pairs, 1 limbs, 1 instances grouped; dropped: 1 with fewer than 3 keypoints'
    ]


def test_where_no_instance_is_left_openpose_tries_again_with_lower_thresholds():
    keypoints, visible = three_instances()
    codec = PAF(COCO18, SIZE)
    faint = {name: 0.04 * maps for name, maps in codec.encode(keypoints, visible).stage_fields(0).items()}
    assert len(codec.decode(faint)) == 3
    assert len(PAF(COCO18, SIZE, parser=dict(fallback=None)).decode(faint)) == 0


def test_a_score_is_the_sum_of_peaks_and_limbs_over_the_number_of_both():
    """All of 18 peaks and of 17 limbs; the two redundant ones fill no end, and add nothing."""
    keypoints = standing_figure(COCO18, 150, 100, 165)[None, None]
    codec = PAF(COCO18, SIZE)
    fields = codec.encode(keypoints, torch.ones(1, 1, 18)).stage_fields(0)
    parsed = codec.parse_fields(fields)[0]
    assert 0.8 < float(parsed.instance_scores[0]) <= 35 / 37


def test_a_width_in_pixels_is_the_same_at_every_stride():
    """A limb of the rows y = 63.5 ± 8.2 px, from x = 40 to 120: the cells whose centers lie in that band."""
    keypoints, visible = torch.tensor([[[[40.0, 63.5], [120.0, 63.5], [120.0, 63.5]]]]), torch.tensor([[[1.0, 1, 0]]])
    for stride in (1, 2, 4, 8):
        codec = PAF(CROSS, SIZE, stride=stride, width_px=8.2, limb_ends='exact')
        field = codec.encode(keypoints, visible).stage_fields(0)['paf'][0, 0]
        height, width = field.shape
        # the grid of CPM: a cell's center is 3.5 px behind its first pixel at any stride
        centers_x, centers_y = (stride * torch.arange(n) + 3.5 for n in (width, height))
        band = ((centers_y - 63.5).abs() <= 8.2)[:, None] & (centers_x >= 40) & (centers_x <= 120)
        assert_close(field, band.float())
    assert PAF(CROSS, SIZE, width_px=12.0).limb_width_cells == 1.5


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(limb_merge='sum'), 'limb_merge is one of'),
        (dict(width_cells=0.0), 'width_cells is a number above 0'),
        (dict(width_px=0.0), 'width_px is a number above 0'),
        (dict(width_px=8.0, width_cells=2.0), 'width_px replaces width_cells; set one of them'),
        (dict(instances='sum'), 'instances is one of'),
        (dict(parser='openpos'), "no parser 'openpos'; closest: 'openpose'"),
        (dict(refine='second_peak'), 'refine is one of'),
        (dict(heatmap_codec=dict(type='Heatmap', refine='second_peak')), 'refined by one of'),
        (dict(heatmap_codec=dict(type='Heatmap', instances='add')), "instances='add'.*instances='max'"),
        (dict(heatmap_codec=dict(type='CPNHeatmap')), 'CPNHeatmap'),
        (dict(heatmap_codec=UDPCombined(COCO18, SIZE, stride=8)), 'heatmap_codec is built with another instances'),
    ],
)
def test_a_setting_without_meaning_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        PAF(COCO18, SIZE, **settings)


def test_the_heatmap_codec_may_be_built_already():
    codec = PAF(COCO18, SIZE)
    again = replace(codec, heatmap_codec=codec.built_heatmap_codec)
    assert again.with_input_size((96, 96)).built_heatmap_codec.input_size == (96, 96)
    keypoints, visible = three_instances()
    assert_close(
        again.encode(keypoints, visible).stage_fields(0)['heatmap'],
        codec.encode(keypoints, visible).stage_fields(0)['heatmap'],
    )


@pytest.mark.parametrize('fields', [{'heatmap': (1, 18, 6, 6)}, {'heatmap': (1, 18, 6, 6), 'paf': (1, 36, 6, 6)}])
def test_fields_that_do_not_fit_are_an_error_that_names_both(fields):
    with pytest.raises(MismatchError, match="'coco18' are a heatmap of 18 .* and a paf of 38"):
        PAF(COCO18, SIZE).decode({name: torch.zeros(shape) for name, shape in fields.items()})


def test_heatmaps_of_keypoints_that_no_instance_has_may_have_no_weight():
    peaks = dict(type='Heatmap', unlabeled='ignore')
    codec = CODECS.build(dict(type='PAF', input_size=SIZE, heatmap_codec=peaks), skeleton=CROSS)
    keypoints, visible = torch.full((1, 2, 3, 2), 50.0), torch.tensor([[[2, 0, 0], [0, 1, 0]]])
    weights = codec.encode(keypoints, visible).weights['heatmap']
    assert weights.tolist() == [[1.0, 1.0, 0.0, *[1.0] * (codec.fields['heatmap'] - 3)]]


@pytest.mark.parametrize(('limbs', 'lonely'), [((('a', 'b'),), 'c'), ((('a', 'b'), ('c', 'd')), 'a, b')])
def test_limbs_that_leave_an_instance_in_pieces_are_refused(limbs, lonely):
    skeleton = Skeleton('pieces', ('a', 'b', 'c', 'd')[: 3 if lonely == 'c' else 4], limbs=limbs)
    with pytest.raises(
        ConfigError, match=f'connect its keypoints in 2 groups.*add a limb between {lonely} and the others'
    ):
        PAF(skeleton, (64, 64))
    assert PAF(skeleton, (64, 64), single_instance=True).fields['paf'] == 2 * len(limbs)
