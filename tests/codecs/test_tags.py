"""Tags there and back: everybody comes back, and the laws of mirrors and moves hold."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.codecs.tags import Tags, outwards
from poseplug.errors import ConfigError, MismatchError
from poseplug.registry import CODECS
from poseplug.skeleton import Skeleton, get_skeleton
from tests.codecs.test_paf import assert_found, back, crowd, figure

COCO = get_skeleton('coco')
SIZE = (208, 176)
TWO = Skeleton('two', ('a', 'b'))
FINE = dict(type='Heatmap', refine='taylor')


@pytest.mark.parametrize('name', ['coco', 'coco18', 'body25', 'mpii', 'lsp', 'crowdpose'])
def test_everybody_comes_back_whatever_the_skeleton(name):
    skeleton = get_skeleton(name)
    keypoints, visible = crowd(skeleton)
    assert_found(back(Tags(skeleton, SIZE, peaks=FINE), keypoints, visible), keypoints[0], 0.5)


@pytest.mark.parametrize(
    'peaks',
    [
        dict(type='Heatmap'),
        dict(type='MSRAHeatmap'),
        dict(type='UDPHeatmap'),
        dict(type='CPMHeatmap', background=False, refine='taylor'),
        dict(type='Heatmap', smooth=3, background=True),
    ],
)
def test_any_codec_of_one_gaussian_a_joint_draws_and_reads_the_peaks(peaks):
    codec = CODECS.build(dict(type='Tags', input_size=SIZE, peaks=peaks), skeleton=COCO)
    keypoints, visible = crowd(COCO)
    assert codec.fields == {'heatmap': 17 + peaks.get('background', False), 'tags': 17}
    assert_found(back(codec, keypoints, visible), keypoints[0], 4.0)


def test_nobody_is_found_where_nobody_is():
    poses = back(Tags(COCO, SIZE), torch.zeros(2, 0, 17, 2), torch.zeros(2, 0, 17))
    assert [len(p) for p in poses.split(2)] == [0, 0]
    assert poses.keypoints.shape == (0, 17, 2)


def test_a_person_of_one_joint_is_a_person():
    """Of whose other joints nobody knows: in COCO's sense they are not labelled, and score next to nothing."""
    keypoints, visible = crowd(COCO)
    visible[0, 1:], visible[0, 0, 1:] = 0, 0
    poses = back(Tags(COCO, SIZE, fill=False, peaks=FINE), keypoints, visible)
    assert len(poses) == 1
    assert (poses.keypoints[0, 0] - keypoints[0, 0, 0]).norm() < 0.5
    assert (poses.scores > 0).sum() == 1
    assert float(poses.person_scores[0]) == pytest.approx(float(poses.scores[0, 0]) / 17)


def test_people_who_are_padding_are_not_drawn():
    keypoints, visible = crowd(COCO)
    real = torch.tensor([[True, False, True]])
    assert_found(back(Tags(COCO, SIZE, peaks=FINE), keypoints, visible, real), keypoints[0, [0, 2]], 0.5)


def test_every_picture_of_a_batch_keeps_its_people():
    keypoints, visible = (torch.cat([t, t]) for t in crowd(COCO))
    visible[0, 0], visible[1, 1:] = 0, 0
    poses = back(Tags(COCO, SIZE, peaks=FINE), keypoints, visible)
    assert poses.images.tolist() == [0, 0, 1]
    assert_found(poses[poses.images == 1], keypoints[0, :1], 0.5)


def test_the_order_of_people_changes_their_numbers_alone():
    keypoints, visible = crowd(COCO)
    codec, order = Tags(COCO, SIZE, peaks=FINE), [2, 0, 1]
    one, other = (codec.encode(points, visible).at(0) for points in (keypoints, keypoints[:, order]))
    assert_close(one['heatmap'], other['heatmap'])
    renamed = torch.tensor([0.0, *(order.index(i) + 1.0 for i in range(3))])[one['tags'].long()]
    assert_close(renamed, other['tags'])
    assert_found(codec.decode(other), keypoints[0], 0.5)


def test_a_number_added_to_every_tag_changes_nobody():
    """As well as the sign of all: tags mean nothing but who is like whom."""
    codec, (keypoints, visible) = Tags(COCO, SIZE, peaks=FINE), crowd(COCO)
    fields = codec.encode(keypoints, visible).at(0)
    for tags in (fields['tags'] - 40, -fields['tags']):
        assert_found(codec.decode({**fields, 'tags': tags}), keypoints[0], 0.5)


def test_crossing_people_stay_apart():
    keypoints = torch.tensor([[[20.0, 20], [180, 150]], [[20.0, 150], [180, 20]]])[None]
    assert_found(back(Tags(TWO, SIZE, peaks=FINE), keypoints, torch.ones(1, 2, 2)), keypoints[0], 0.5)


def test_two_people_at_one_joint_share_its_cell_and_the_later_one_has_it():
    keypoints = torch.tensor([[[20.0, 20], [100, 80]], [[20.0, 150], [100, 80]]])[None]
    codec = Tags(TWO, SIZE, fill=False)
    targets = codec.encode(keypoints, torch.ones(1, 2, 2)).at(0)
    assert sorted(targets['tags'].unique().tolist()) == [0, 1, 2]
    assert targets['tags'][0, 1, 20, 25] == 2
    poses = codec.decode(targets)
    assert poses.visibility.sum(dim=1).tolist() == [4, 2]


def test_a_person_cut_by_the_border_keeps_the_joints_inside():
    keypoints = figure(COCO, 150, 12, 165)[None, None]
    inside = ((keypoints[0] >= 0) & (keypoints[0] < torch.tensor(SIZE) - 1)).all(dim=-1)[0]
    assert 0 < int(inside.sum()) < 17
    poses = back(Tags(COCO, SIZE, peaks=FINE), keypoints, torch.ones(1, 1, 17))
    assert len(poses) == 1
    assert (poses.visibility[0] == 2)[inside].all()
    assert (poses.keypoints[0] - keypoints[0, 0]).norm(dim=-1)[inside].max() < 2.5


@pytest.mark.parametrize(('peaks', 'half'), [('Heatmap', 1), ('MSRAHeatmap', 2)])
def test_a_tag_lies_where_its_joint_is_the_peak(peaks, half):
    """6 px is halfway between cells 1 and 2 of 4 px, of which the first is the peak of a Gaussian that stands there."""
    keypoints = torch.tensor([[5.0, 6.0], [131, 90], [80.2, 77.9]])[None, :, None]
    codec = Tags(Skeleton('one', ('a',)), SIZE, peaks=dict(type=peaks))
    cells, placed = codec.cells_of(keypoints, torch.ones(1, 3, 1) > 0)
    assert placed.all()
    assert cells[0, :, 0].tolist() == [[1, half], [33, 21 + half], [20, 19]]
    assert len(codec.decode(codec.encode(keypoints, torch.ones(1, 3, 1)).at(0))) == 3


def test_joints_outside_have_tags_as_far_as_their_peaks_show():
    """With a sigma of 2 cells a tenth is left 4.29 cells, or 17.1 px, away. Cells end at 204 and 172 px."""
    keypoints = torch.tensor([[-17.0, 40], [-18, 40], [100, 189], [221, 172], [216, 184], [218, 186]])[None, :, None]
    codec = Tags(Skeleton('one', ('a',)), SIZE)
    cells, placed = codec.cells_of(keypoints, torch.ones(1, 6, 1) > 0)
    assert placed.flatten().tolist() == [True, False, True, True, True, False]
    assert cells[0, [0, 2, 3, 4], 0].tolist() == [[0, 10], [25, 43], [51, 43], [51, 43]]


def test_moving_by_whole_cells_moves_the_fields():
    codec, (keypoints, visible) = Tags(COCO, SIZE), crowd(COCO)
    shrunk = keypoints * 0.7 + 20
    one = codec.encode(shrunk, visible).at(0)
    other = codec.encode(shrunk + torch.tensor([8.0, 4.0]), visible).at(0)
    for name in one:
        assert_close(one[name][..., :-1, :-2], other[name][..., 1:, 2:], atol=1e-4, rtol=0)


def test_the_fields_of_the_mirrored_people_are_mirrored():
    codec, (keypoints, visible) = Tags(COCO, SIZE, peaks=dict(type='UDPHeatmap')), crowd(COCO)
    mirrored = keypoints[:, :, COCO.mirror.tolist()].clone()
    mirrored[..., 0] = SIZE[0] - 1 - mirrored[..., 0]
    flipped = codec.flip(codec.encode(mirrored, visible).at(0))
    for field, maps in codec.encode(keypoints, visible).at(0).items():
        assert_close(flipped[field], maps, atol=1e-4, rtol=0)


def test_the_tags_of_the_mirrored_picture_are_another_dimension():
    """Two whose tags are alike in the picture are told apart by those of its mirror; heatmaps are averaged."""
    codec, (keypoints, visible) = Tags(COCO, SIZE, peaks=FINE), crowd(COCO)
    fields = codec.encode(keypoints, visible).at(0)
    blind = {'heatmap': fields['heatmap'] / 2, 'tags': fields['tags'].clamp(max=1)}
    both = codec.averaged(blind, fields)
    assert both['tags'].shape[1] == 34
    assert_close(both['heatmap'], 0.75 * fields['heatmap'])
    assert_found(codec.decode(both), keypoints[0], 0.5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_fields_of_another_type_are_read(dtype):
    """Whose tags are alike around the joint, as a network's are: a peak may be rounded to the next cell."""
    codec, (keypoints, visible) = Tags(COCO, SIZE), crowd(COCO)
    fields = codec.encode(keypoints, visible).at(0)
    fields['tags'] = F.max_pool2d(fields['tags'], 3, stride=1, padding=1) / 3 + 0.01
    rough = {name: maps.to(dtype) for name, maps in fields.items()}
    assert_found(codec.decode({**rough, 'tags': 7 * rough['tags']}), keypoints[0], 5.7)


def test_what_a_data_set_does_not_define_has_no_weight():
    keypoints, visible = crowd(COCO)
    defined = torch.ones(1, 17, dtype=torch.bool)
    defined[0, :5] = False
    for peaks, more in ((dict(type='Heatmap'), []), (dict(type='Heatmap', background=True), [1])):
        weights = Tags(COCO, SIZE, peaks=peaks).encode(keypoints, visible, defined=defined).weights
        assert weights['heatmap'][0].tolist() == [0] * 5 + [1] * 12 + more
    assert Tags(COCO, SIZE).encode(keypoints, visible).weights == {}


def test_joints_that_do_not_count_when_missing_are_told_by_the_codec_of_the_peaks():
    keypoints, visible = crowd(COCO)
    visible[..., 3] = 0
    codec = Tags(COCO, SIZE, peaks=dict(type='Heatmap', missing='ignore'))
    assert codec.encode(keypoints, visible).weights['heatmap'][0].tolist() == [1] * 3 + [0] + [1] * 13


def test_the_subject_is_who_stands_nearest_to_the_middle_and_there_is_always_one():
    keypoints, visible = (torch.cat([t, t]) for t in crowd(COCO))
    visible[1] = 0
    poses = back(Tags(COCO, SIZE, subject=True, peaks=FINE), keypoints, visible)
    assert poses.images.tolist() == [0, 1]
    assert_found(poses[:1], keypoints[0, 1:2], 0.5)
    assert not poses.scores[1].any()


def test_people_are_put_together_from_head_and_trunk_outwards():
    ranks = {j: outwards(j) for j in get_skeleton('body25').joints}
    assert ranks['nose'] == ranks['neck'] == ranks['left_shoulder'] == 0
    falling = ('left_shoulder', 'mid_hip' if 'mid_hip' in ranks else 'left_hip', 'left_elbow', 'left_wrist',
               'left_knee', 'left_ankle', 'left_heel')  # fmt: skip
    assert [ranks[j] for j in falling] == sorted(ranks[j] for j in falling)
    assert [COCO.joints[k] for k in Tags(COCO, SIZE).places][-2:] == ['left_ankle', 'right_ankle']
    assert Tags(TWO, SIZE, order=('b', 'a')).places == [1, 0]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(window=4), 'window is odd'),
        (dict(most=0), 'most is positive'),
        (dict(order=('nose',)), "order names each joint of 'coco' once"),
        (dict(peaks=dict(type='Heatmap', people='add')), "people='add'.*people='max'"),
        (dict(peaks=dict(type='CPNHeatmap')), 'CPNHeatmap'),
    ],
)
def test_a_setting_that_means_nothing_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        Tags(COCO, SIZE, **settings)


def test_peaks_may_be_a_codec_already_built():
    codec = Tags(COCO, SIZE)
    keypoints, visible = crowd(COCO)
    again = replace(codec, peaks=codec.heatmaps)
    assert_close(again.encode(keypoints, visible).at(0)['heatmap'], codec.encode(keypoints, visible).at(0)['heatmap'])


def test_maps_of_another_size_are_an_error_that_says_both():
    with pytest.raises(MismatchError, match=r'\(52, 44\) cells from an input of \(208, 176\) px'):
        Tags(COCO, SIZE).decode({'heatmap': torch.zeros(1, 17, 8, 8), 'tags': torch.zeros(1, 17, 8, 8)})
