"""People from peaks and tags, in pictures of a few cells whose grouping can be worked by hand."""

import numpy as np
import pytest
import torch

from poseplug.errors import ConfigError, MismatchError
from poseplug.grouping.peaks import summits
from poseplug.grouping.tags import TagRules, group, nearest_cells, of_squares, parse_tags, shared_out

APART = 1.0


def column(*values):
    return np.array(values, float)[:, None]


def painted(joints, *peaks, size=(7, 9)):
    """Maps and tags (1, K, H, W) with peaks (joint, x, y, score, tag)."""
    maps, tags = torch.zeros(1, joints, *size), torch.full((1, joints, *size), 50.0)
    for joint, x, y, score, tag in peaks:
        maps[0, joint, y, x], tags[0, joint, y, x] = score, tag
    return maps, tags


def found(people):
    """The joints' positions of every person, as tuples, and their visibility."""
    poses = people.poses()
    return [[tuple(p) for p in person] for person in poses.keypoints.tolist()], poses.visibility.tolist()


def test_peaks_go_to_the_nearest_mean_and_the_rest_begin_people():
    """Of tags 5 and 0 and 9 the first two are the people's of 5.2 and 0.1; nobody is near 9."""
    who = shared_out(column(5, 0, 9), np.array([0.9, 0.8, 0.7]), column(0.1, 5.2), APART)
    assert who.tolist() == [1, 0, -1]


def test_all_are_shared_out_together_and_not_one_after_the_other():
    """1.6 is nearest to 2, but so is 2.4, which is far from 0: the least sum gives 1.6 to 0, where it is too far."""
    who = shared_out(column(1.6, 2.4), np.array([0.9, 0.8]), column(0, 2), APART)
    assert who.tolist() == [-1, 1]


def test_of_peaks_as_near_the_surest_is_taken():
    """Both distances are 0 as whole numbers."""
    who = shared_out(column(0.1, 0.2), np.array([0.4, 0.8]), column(0), APART)
    assert who.tolist() == [-1, 0]


def test_of_people_as_near_it_is_the_nearest():
    who = shared_out(column(0.4), np.array([0.4]), column(0.0, 0.3), APART)
    assert who.tolist() == [1]


def test_distances_of_several_dimensions_are_lengths():
    """(0.6, 0.8) is 1 away from nothing, which is too far."""
    for factor, wanted in ((1.0, -1), (0.99, 0)):
        who = shared_out(factor * np.array([[0.6, 0.8]]), np.array([0.4]), np.zeros((1, 2)), APART)
        assert who.tolist() == [wanted]


def test_a_persons_tag_is_the_mean_of_its_joints_so_far():
    """0, then 0.8, then 1.3, which is 0.9 from their mean, and 1.3 from the first."""
    people = group(np.full(3, 0.6), column(0, 0.8, 1.3), np.arange(4), [0, 1, 2], APART)
    assert people.joints.tolist() == [[0, 1, 2]]
    assert people.tags.tolist() == [[pytest.approx(0.7)]]
    assert people.scores.tolist() == [pytest.approx(0.6)]


def test_the_order_of_joints_says_who_begins():
    """From the other end 1.3 and 0.8 meet first, and 0 is 1.05 from their mean."""
    people = group(np.full(3, 0.6), column(0, 0.8, 1.3), np.arange(4), [2, 1, 0], APART)
    assert people.joints.tolist() == [[-1, 1, 2], [0, -1, -1]]
    assert people.scores.tolist() == pytest.approx([0.4, 0.2])


def test_nobody_is_put_together_of_nothing():
    people = group(np.zeros(0), np.zeros((0, 1)), np.zeros(4, int), [0, 1, 2], APART)
    assert (people.joints.shape, people.tags.shape, people.scores.shape) == ((0, 3), (0, 1), (0,))


def test_people_whose_joints_cross_are_told_apart_by_tags():
    maps, tags = painted(2, (0, 1, 1, 0.9, 3.0), (1, 7, 5, 0.9, 3.2), (0, 7, 1, 0.8, -2.0), (1, 1, 5, 0.8, -2.1))
    people = parse_tags(maps, tags, [0, 1], TagRules())
    assert found(people) == ([[(1, 1), (7, 5)], [(7, 1), (1, 5)]], [[2, 2], [2, 2]])
    assert people.poses((4.0, 2.0), 1.5).keypoints[0].tolist() == [[5.5, 3.5], [29.5, 11.5]]


def test_a_missing_joint_is_where_the_tag_is_nearest():
    """Not where the map is largest; and the larger of two cells whose distances are equal as whole numbers."""
    maps, tags = painted(2, (0, 1, 1, 0.9, 3.0), (1, 6, 1, 0.05, 3.1), (1, 6, 4, 0.06, 2.7), (1, 2, 5, 0.09, 9.0))
    assert found(parse_tags(maps, tags, [0, 1], TagRules())) == ([[(1, 1), (6, 4)]], [[2, 0]])


def test_what_is_filled_in_from_above_the_threshold_is_seen_and_widens_the_box():
    """A shoulder of a peak that is another person's."""
    maps, tags = painted(2, (0, 1, 1, 0.9, 3.0), (1, 6, 4, 0.9, 8.0), (1, 5, 4, 0.5, 3.0))
    poses = parse_tags(maps, tags, [0, 1], TagRules()).poses()
    of_first = int(np.argmax(poses.keypoints[:, 0, 0] == 1))
    assert poses.visibility[of_first].tolist() == [2, 1]
    assert poses.boxes[of_first].tolist() == [1, 1, 5, 4]
    assert poses.scores[of_first].tolist() == pytest.approx([0.9, 0.5])
    assert poses.person_scores[of_first] == pytest.approx(0.45)


def test_without_filling_a_missing_joint_scores_0():
    maps, tags = painted(2, (0, 1, 1, 0.9, 3.0), (1, 6, 4, 0.05, 3.0))
    poses = parse_tags(maps, tags, [0, 1], TagRules(fill=False)).poses()
    assert poses.scores.tolist() == [[pytest.approx(0.9), 0]]
    assert poses.visibility.tolist() == [[2, 0]]
    assert poses.boxes.tolist() == [[1, 1, 1, 1]]


def test_missing_joints_are_looked_for_in_the_persons_own_picture():
    both = [painted(2, (0, 1, 1, 0.9, 3.0), (1, x, 4, 0.05, 3.0)) for x in (6, 2)]
    people = parse_tags(*map(torch.cat, zip(*both, strict=True)), [0, 1], TagRules())
    assert people.images.tolist() == [0, 1]
    assert found(people)[0] == [[(1, 1), (6, 4)], [(1, 1), (2, 4)]]


def test_the_best_people_count_and_the_others_are_counted():
    maps, tags = painted(1, (0, 1, 1, 0.5, 0.0), (0, 4, 3, 0.9, 5.0), (0, 7, 5, 0.7, 9.0))
    people = parse_tags(maps, tags, [0], TagRules(most=2, window=3))
    assert people.poses().person_scores.tolist() == pytest.approx([0.9, 0.7])
    assert people.found.counts == {'peaks': 3, 'people put together': 3, 'beyond the most': 1}


def test_a_peak_is_the_largest_of_its_square_and_among_the_candidates_of_its_map():
    """(3, 1) is 2 cells beside the larger (1, 1), and (7, 1) is 6 beside it."""
    maps, _ = painted(1, (0, 1, 1, 0.9, 0), (0, 3, 1, 0.8, 0), (0, 7, 1, 0.3, 0))
    width = maps.shape[-1]
    squares = {w: of_squares(maps, summits(maps, 0.1), w).sub(width).tolist() for w in (3, 5, 13)}
    assert squares == {3: [1, 3, 7], 5: [1, 7], 13: [1]}
    assert parse_tags(maps, 5 * maps, [0], TagRules(candidates=1)).found.counts['peaks'] == 1


def test_squares_end_at_the_border():
    maps = torch.zeros(2, 1, 4, 4)
    maps[0, 0, 3, 3], maps[1, 0, 0, 0] = 0.5, 0.4
    assert of_squares(maps, summits(maps, 0.1), 5).tolist() == [15, 16]


@pytest.mark.parametrize('shape', [(0, 2, 4, 4), (2, 2, 4, 4)])
def test_where_there_are_no_peaks_there_is_nobody(shape):
    people = parse_tags(torch.zeros(shape), torch.zeros(shape), [0, 1], TagRules())
    assert people.poses().keypoints.shape == (0, 2, 2)
    assert people.found.counts['peaks'] == 0


def test_the_nearest_cells_are_found_in_any_number_of_pieces(monkeypatch):
    monkeypatch.setattr('poseplug.grouping.tags.CHUNK', 50)
    values, tags = torch.rand(3, 20), 5 * torch.rand(3, 2, 20)
    channels, means = torch.tensor([0, 1, 1, 2]), 5 * torch.rand(4, 2)
    before = tags.clone()
    cost = 100 * (tags[channels] - means[:, :, None]).norm(dim=1).round() - values[channels]
    assert nearest_cells(values, tags, channels, means).tolist() == cost.argmin(dim=1).tolist()
    assert torch.equal(tags, before)


@pytest.mark.parametrize('shape', [(1, 3, 4, 5), (1, 0, 4, 5), (2, 2, 4, 5), (1, 2, 4, 4)])
def test_tags_that_do_not_fit_the_maps_are_an_error_that_says_both(shape):
    with pytest.raises(MismatchError, match=r'each of the 2 maps of \(4, 5\) cells .* of 1 pictures; got tags of'):
        parse_tags(torch.zeros(1, 2, 4, 5), torch.zeros(shape), [0, 1], TagRules())


@pytest.mark.parametrize(
    'settings',
    [dict(window=4), dict(window=1), dict(threshold=-0.1), dict(candidates=0), dict(apart=0.0), dict(most=0)],
)
def test_a_rule_that_means_nothing_is_an_error(settings):
    with pytest.raises(ConfigError, match=f'tags: {next(iter(settings))} is'):
        TagRules(**settings)
