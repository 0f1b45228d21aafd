"""Tags: decode undoes encode for every instance, and the laws of flips and translations hold."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from poseplug.codecs.tags import Tags, outward_rank
from poseplug.core.errors import ConfigError, MismatchError
from poseplug.core.skeleton import Skeleton
from poseplug.registry import CODECS
from poseplug.registry.skeletons import get_skeleton
from tests.codecs.test_paf import assert_decoded, round_trip, standing_figure, three_instances

COCO = get_skeleton('coco')
SIZE = (208, 176)
TWO = Skeleton('two', ('a', 'b'))
FINE = dict(type='Heatmap', refine='taylor')


@pytest.mark.parametrize('name', ['coco', 'coco18', 'body25', 'mpii', 'lsp', 'crowdpose'])
def test_every_instance_is_decoded_whatever_the_skeleton(name):
    skeleton = get_skeleton(name)
    keypoints, visible = three_instances(skeleton)
    assert_decoded(round_trip(Tags(skeleton, SIZE, heatmap_codec=FINE), keypoints, visible), keypoints[0], 0.5)


@pytest.mark.parametrize(
    'peaks',
    [
        dict(type='Heatmap'),
        dict(type='MSRAHeatmap'),
        dict(type='UDPHeatmap'),
        dict(type='CPMHeatmap', background=False, refine='taylor'),
        dict(type='Heatmap', smoothing_kernel_size=3, background=True),
    ],
)
def test_any_codec_of_one_gaussian_per_keypoint_draws_and_reads_the_peaks(peaks):
    codec = CODECS.build(dict(type='Tags', input_size=SIZE, heatmap_codec=peaks), skeleton=COCO)
    keypoints, visible = three_instances(COCO)
    assert codec.fields == {'heatmap': 17 + peaks.get('background', False), 'tags': 17}
    assert_decoded(round_trip(codec, keypoints, visible), keypoints[0], 4.0)


def test_no_instance_is_decoded_where_there_is_none():
    poses = round_trip(Tags(COCO, SIZE), torch.zeros(2, 0, 17, 2), torch.zeros(2, 0, 17))
    assert [len(p) for p in poses.split_by_image(2)] == [0, 0]
    assert poses.keypoints.shape == (0, 17, 2)


def test_an_instance_of_one_keypoint_is_an_instance():
    """Its other keypoints are not labeled in COCO's sense, and score 0."""
    keypoints, visible = three_instances(COCO)
    visible[0, 1:], visible[0, 0, 1:] = 0, 0
    poses = round_trip(Tags(COCO, SIZE, fill_missing=False, heatmap_codec=FINE), keypoints, visible)
    assert len(poses) == 1
    assert (poses.keypoints[0, 0] - keypoints[0, 0, 0]).norm() < 0.5
    assert (poses.keypoint_scores > 0).sum() == 1
    assert float(poses.instance_scores[0]) == pytest.approx(float(poses.keypoint_scores[0, 0]) / 17)


def test_padding_is_not_drawn():
    keypoints, visible = three_instances(COCO)
    valid = torch.tensor([[True, False, True]])
    assert_decoded(
        round_trip(Tags(COCO, SIZE, heatmap_codec=FINE), keypoints, visible, valid), keypoints[0, [0, 2]], 0.5
    )


def test_every_image_of_a_batch_keeps_its_instances():
    keypoints, visible = (torch.cat([t, t]) for t in three_instances(COCO))
    visible[0, 0], visible[1, 1:] = 0, 0
    poses = round_trip(Tags(COCO, SIZE, heatmap_codec=FINE), keypoints, visible)
    assert poses.image_indices.tolist() == [0, 0, 1]
    assert_decoded(poses[poses.image_indices == 1], keypoints[0, :1], 0.5)


def test_the_order_of_instances_changes_their_numbers_alone():
    keypoints, visible = three_instances(COCO)
    codec, order = Tags(COCO, SIZE, heatmap_codec=FINE), [2, 0, 1]
    fields, reordered = (codec.encode(points, visible).stage_fields(0) for points in (keypoints, keypoints[:, order]))
    assert_close(fields['heatmap'], reordered['heatmap'])
    renamed = torch.tensor([0.0, *(order.index(i) + 1.0 for i in range(3))])[fields['tags'].long()]
    assert_close(renamed, reordered['tags'])
    assert_decoded(codec.decode(reordered), keypoints[0], 0.5)


def test_a_number_added_to_every_tag_changes_no_instance():
    """Nor does the sign of all: only the differences of tags mean something."""
    codec, (keypoints, visible) = Tags(COCO, SIZE, heatmap_codec=FINE), three_instances(COCO)
    fields = codec.encode(keypoints, visible).stage_fields(0)
    for tags in (fields['tags'] - 40, -fields['tags']):
        assert_decoded(codec.decode({**fields, 'tags': tags}), keypoints[0], 0.5)


def test_crossing_instances_stay_apart():
    keypoints = torch.tensor([[[20.0, 20], [180, 150]], [[20.0, 150], [180, 20]]])[None]
    assert_decoded(round_trip(Tags(TWO, SIZE, heatmap_codec=FINE), keypoints, torch.ones(1, 2, 2)), keypoints[0], 0.5)


def test_of_two_instances_at_one_keypoint_the_later_one_has_its_cell():
    keypoints = torch.tensor([[[20.0, 20], [100, 80]], [[20.0, 150], [100, 80]]])[None]
    codec = Tags(TWO, SIZE, fill_missing=False)
    targets = codec.encode(keypoints, torch.ones(1, 2, 2)).stage_fields(0)
    assert sorted(targets['tags'].unique().tolist()) == [0, 1, 2]
    assert targets['tags'][0, 1, 20, 25] == 2
    poses = codec.decode(targets)
    assert poses.visibility.sum(dim=1).tolist() == [4, 2]


def test_an_instance_cut_by_the_border_keeps_the_keypoints_inside():
    keypoints = standing_figure(COCO, 150, 12, 165)[None, None]
    inside = ((keypoints[0] >= 0) & (keypoints[0] < torch.tensor(SIZE) - 1)).all(dim=-1)[0]
    assert 0 < int(inside.sum()) < 17
    poses = round_trip(Tags(COCO, SIZE, heatmap_codec=FINE), keypoints, torch.ones(1, 1, 17))
    assert len(poses) == 1
    assert (poses.visibility[0] == 2)[inside].all()
    assert (poses.keypoints[0] - keypoints[0, 0]).norm(dim=-1)[inside].max() < 2.5


@pytest.mark.parametrize(('heatmap_codec', 'half'), [('Heatmap', 1), ('MSRAHeatmap', 2)])
def test_a_tag_lies_where_its_keypoint_is_the_peak(heatmap_codec, half):
    """6 px is halfway between cells 1 and 2 of 4 px, of which the first is the peak of a Gaussian that stands there."""
    keypoints = torch.tensor([[5.0, 6.0], [131, 90], [80.2, 77.9]])[None, :, None]
    codec = Tags(Skeleton('one', ('a',)), SIZE, heatmap_codec=dict(type=heatmap_codec))
    cells, mask = codec.tag_cells(keypoints, torch.ones(1, 3, 1) > 0)
    assert mask.all()
    assert cells[0, :, 0].tolist() == [[1, half], [33, 21 + half], [20, 19]]
    assert len(codec.decode(codec.encode(keypoints, torch.ones(1, 3, 1)).stage_fields(0))) == 3


def test_keypoints_outside_have_tags_as_far_as_their_peaks_exceed_the_threshold():
    """With a sigma of 2 cells a tenth is left 4.29 cells, or 17.1 px, away. Cells end at 204 and 172 px."""
    keypoints = torch.tensor([[-17.0, 40], [-18, 40], [100, 189], [221, 172], [216, 184], [218, 186]])[None, :, None]
    codec = Tags(Skeleton('one', ('a',)), SIZE)
    cells, mask = codec.tag_cells(keypoints, torch.ones(1, 6, 1) > 0)
    assert mask.flatten().tolist() == [True, False, True, True, True, False]
    assert cells[0, [0, 2, 3, 4], 0].tolist() == [[0, 10], [25, 43], [51, 43], [51, 43]]


def test_translation_by_whole_cells_translates_the_fields():
    codec, (keypoints, visible) = Tags(COCO, SIZE), three_instances(COCO)
    shrunk = keypoints * 0.7 + 20
    fields = codec.encode(shrunk, visible).stage_fields(0)
    translated = codec.encode(shrunk + torch.tensor([8.0, 4.0]), visible).stage_fields(0)
    for name in fields:
        assert_close(fields[name][..., :-1, :-2], translated[name][..., 1:, 2:], atol=1e-4, rtol=0)


def test_flipping_the_fields_of_flipped_instances_undoes_the_flip():
    codec, (keypoints, visible) = Tags(COCO, SIZE, heatmap_codec=dict(type='UDPHeatmap')), three_instances(COCO)
    flipped_keypoints = keypoints[:, :, COCO.flip_indices.tolist()].clone()
    flipped_keypoints[..., 0] = SIZE[0] - 1 - flipped_keypoints[..., 0]
    unflipped = codec.flip(codec.encode(flipped_keypoints, visible).stage_fields(0))
    for field, maps in codec.encode(keypoints, visible).stage_fields(0).items():
        assert_close(unflipped[field], maps, atol=1e-4, rtol=0)


def test_the_tags_of_the_flipped_image_are_another_dimension():
    """Two instances whose tags are equal in the image differ in those of its flipped copy; heatmaps are averaged."""
    codec, (keypoints, visible) = Tags(COCO, SIZE, heatmap_codec=FINE), three_instances(COCO)
    fields = codec.encode(keypoints, visible).stage_fields(0)
    equal_tags = {'heatmap': fields['heatmap'] / 2, 'tags': fields['tags'].clamp(max=1)}
    both = codec.average_flipped(equal_tags, fields)
    assert both['tags'].shape[1] == 34
    assert_close(both['heatmap'], 0.75 * fields['heatmap'])
    assert_decoded(codec.decode(both), keypoints[0], 0.5)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_fields_of_another_type_are_decoded(dtype):
    """Tags are alike around the keypoint, as a network's are: a peak may be rounded to the next cell."""
    codec, (keypoints, visible) = Tags(COCO, SIZE), three_instances(COCO)
    fields = codec.encode(keypoints, visible).stage_fields(0)
    fields['tags'] = F.max_pool2d(fields['tags'], 3, stride=1, padding=1) / 3 + 0.01
    converted = {name: maps.to(dtype) for name, maps in fields.items()}
    assert_decoded(codec.decode({**converted, 'tags': 7 * converted['tags']}), keypoints[0], 5.7)


def test_keypoints_that_a_data_set_does_not_annotate_have_no_weight():
    keypoints, visible = three_instances(COCO)
    annotated = torch.ones(1, 17, dtype=torch.bool)
    annotated[0, :5] = False
    for spec, background in ((dict(type='Heatmap'), []), (dict(type='Heatmap', background=True), [1])):
        codec = Tags(COCO, SIZE, heatmap_codec=spec)
        weights = codec.encode(keypoints, visible, annotated_keypoints=annotated).weights
        assert weights['heatmap'][0].tolist() == [0] * 5 + [1] * 12 + background
    assert Tags(COCO, SIZE).encode(keypoints, visible).weights == {}


def test_the_heatmap_codec_says_whether_unlabeled_keypoints_count():
    keypoints, visible = three_instances(COCO)
    visible[..., 3] = 0
    codec = Tags(COCO, SIZE, heatmap_codec=dict(type='Heatmap', unlabeled='ignore'))
    assert codec.encode(keypoints, visible).weights['heatmap'][0].tolist() == [1] * 3 + [0] + [1] * 13


def test_the_subject_is_the_instance_nearest_to_the_middle_and_there_is_always_one():
    keypoints, visible = (torch.cat([t, t]) for t in three_instances(COCO))
    visible[1] = 0
    poses = round_trip(Tags(COCO, SIZE, single_instance=True, heatmap_codec=FINE), keypoints, visible)
    assert poses.image_indices.tolist() == [0, 1]
    assert_decoded(poses[:1], keypoints[0, 1:2], 0.5)
    assert not poses.keypoint_scores[1].any()


def test_instances_are_grouped_from_head_and_trunk_outwards():
    ranks = {name: outward_rank(name) for name in get_skeleton('body25').keypoints}
    assert ranks['nose'] == ranks['neck'] == ranks['left_shoulder'] == 0
    outwards = ('left_shoulder', 'mid_hip' if 'mid_hip' in ranks else 'left_hip', 'left_elbow', 'left_wrist',
               'left_knee', 'left_ankle', 'left_heel')  # fmt: skip
    assert [ranks[name] for name in outwards] == sorted(ranks[name] for name in outwards)
    assert [COCO.keypoints[k] for k in Tags(COCO, SIZE).keypoint_order_indices][-2:] == ['left_ankle', 'right_ankle']
    assert Tags(TWO, SIZE, keypoint_order=('b', 'a')).keypoint_order_indices == [1, 0]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(nms_kernel_size=4), 'nms_kernel_size is an odd number'),
        (dict(max_instances=0), 'max_instances is a whole number from 1 on; got 0'),
        (dict(keypoint_order=('nose',)), "keypoint_order names each keypoint of 'coco' once"),
        (dict(heatmap_codec=dict(type='Heatmap', instances='add')), "instances='add'.*instances='max'"),
        (dict(heatmap_codec=dict(type='CPNHeatmap')), 'CPNHeatmap'),
    ],
)
def test_a_setting_without_meaning_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        Tags(COCO, SIZE, **settings)


def test_the_heatmap_codec_may_be_built_already():
    codec = Tags(COCO, SIZE)
    keypoints, visible = three_instances(COCO)
    again = replace(codec, heatmap_codec=codec.built_heatmap_codec)
    assert_close(
        again.encode(keypoints, visible).stage_fields(0)['heatmap'],
        codec.encode(keypoints, visible).stage_fields(0)['heatmap'],
    )


def test_maps_of_another_size_are_an_error_that_names_both():
    with pytest.raises(MismatchError, match=r'\(52, 44\) cells from an input of \(208, 176\) px'):
        Tags(COCO, SIZE).decode({'heatmap': torch.zeros(1, 17, 8, 8), 'tags': torch.zeros(1, 17, 8, 8)})


def test_keypoints_are_grouped_from_the_trunk_outwards():
    skeleton = Skeleton('some', ('left_ankle', 'nose', 'right_wrist', 'left_hip', 'left_elbow', 'left_big_toe'))
    assert Tags(skeleton, SIZE).keypoint_order_indices == [1, 3, 4, 2, 0, 5]


def test_smoothed_heatmaps_find_the_peaks_and_the_raw_ones_score_them():
    codec = Tags(TWO, SIZE, heatmap_codec=dict(type='Heatmap', smoothing_kernel_size=5))
    width, height = codec.grid.size
    fields = {'heatmap': torch.zeros(1, 2, height, width), 'tags': torch.zeros(1, 2, height, width)}
    fields['heatmap'][0, :, 20, 30] = 0.9
    assert_close(codec.decode(fields).keypoint_scores, torch.tensor([[0.9, 0.9]]))
