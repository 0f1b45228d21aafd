"""Sigmas from repeated labels: the formula by hand, known sigmas found again, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from poseplug.__main__ import main
from poseplug.core.errors import AnnotationError
from poseplug.core.instances import Instances
from poseplug.core.sample import Record
from poseplug.inspect.repeated_labels import estimate_sigmas, write_skeleton_with_sigmas
from poseplug.registry.skeletons import get_skeleton

SIGMAS = np.array([0.02, 0.05, 0.1])


def label_images(truth: np.ndarray, rng: np.random.Generator) -> list[Record]:
    """One person's labels of N instances of 100 x 100 px (area 5,300 px²), one an image."""
    # d is a distance in two dimensions: each coordinate has half of its variance
    noise = rng.normal(size=truth.shape) * SIGMAS[:, None] * np.sqrt(5300 / 2)
    boxes = np.array([[0.0, 0.0, 100.0, 100.0]])
    flags = np.full((1, 3), 2)
    return [
        Record(Path(f'{i}.jpg'), str(i), Instances.from_annotations(points[None], flags, boxes=boxes))
        for i, points in enumerate((truth + noise).astype(np.float32))
    ]


@pytest.mark.parametrize('num_people', [2, 5])
def test_known_sigmas_are_found_again(num_people):
    rng = np.random.default_rng(0)
    truth = rng.uniform(20, 80, (3000, 3, 2))
    estimate = estimate_sigmas([label_images(truth, rng) for _ in range(num_people)], ['a', 'b', 'c'])
    assert np.allclose([sigma.value for sigma in estimate.sigmas], SIGMAS, rtol=0.03)
    assert all(s.low < true < s.high for s, true in zip(estimate.sigmas, SIGMAS, strict=True))
    assert (estimate.counts, estimate.num_single) == ((3000, 3000, 3000), 0)


def test_instances_are_matched_by_their_boxes_and_others_counted():
    def build(order, shift):
        boxes = np.array([[0.0, 0, 50, 50], [100, 0, 150, 50], [300, 0, 350, 50]])[order]
        points = np.array([[[20.0, 20]], [[120, 20]], [[320, 20]]])[order] + shift
        return [
            Record(Path('a.jpg'), 'a', Instances.from_annotations(points, np.full((len(order), 1), 2), boxes=boxes))
        ]

    estimate = estimate_sigmas([build([0, 1, 2], 0.0), build([1, 0], [2.0, 0])], ['a'])
    area = 0.53 * 2500
    assert np.isclose(estimate.sigmas[0].value, np.sqrt((1 + 1) / 1 / area))
    assert (estimate.num_instances, estimate.num_single) == (2, 1)


def test_a_keypoint_that_nobody_labeled_twice_has_no_sigma(tmp_path):
    def build(flags):
        points, boxes = np.full((1, 2, 2), 20.0), np.array([[0.0, 0, 50, 50]])
        return [Record(Path('a.jpg'), 'a', Instances.from_annotations(points, np.array([flags]), boxes=boxes))]

    estimate = estimate_sigmas([build([2, 2]), build([2, 0])], ['a', 'b'])
    assert estimate.counts == (1, 0)
    assert np.isnan(estimate.sigmas[1].value)
    skeleton = get_skeleton(dict(name='two', keypoints=['a', 'b']))
    with pytest.raises(AnnotationError, match='nobody labeled b twice'):
        write_skeleton_with_sigmas(skeleton, estimate, tmp_path / 'two.json')


@pytest.mark.parametrize(('labelings', 'message'), [
    (1, 'at least two people; got 1 file'),
    (0, 'at least two people; got 0 file'),
])  # fmt: skip
def test_one_labeling_is_refused(labelings, message):
    with pytest.raises(AnnotationError, match=message):
        estimate_sigmas([[]] * labelings, ['a'])


def test_labels_of_no_common_image_are_refused():
    with pytest.raises(AnnotationError, match='no instance was labeled twice'):
        estimate_sigmas([[], []], ['a'])


def test_the_command_prints_and_writes_a_skeleton(tmp_path, capsys, monkeypatch):
    from poseplug.data.synthetic import write_coco

    root = write_coco(tmp_path / 'coco', num_train=4, num_val=1)
    file = root / 'annotations/person_keypoints_train2017.json'
    content = json.loads(file.read_text())
    for annotation in content['annotations']:  # a second person, who is 3 px to the right of the first
        annotation['keypoints'][::3] = [x + 3 for x in annotation['keypoints'][::3]]
    second = file.with_name('second_train2017.json')
    second.write_text(json.dumps(content))
    out = tmp_path / 'skeleton.json'
    monkeypatch.setattr(
        'sys.argv', ['poseplug', 'dataset', 'estimate-sigmas', str(file), str(second), '--out', str(out)]
    )
    main()
    output = capsys.readouterr().out
    assert output.count('instances kept; dropped: none') == 2  # what each file gave
    assert 'instances labeled at least twice; 0 of the first file only once' in output
    sigmas = json.loads(out.read_text())['sigmas']
    areas = [a['area'] for a in content['annotations'] if a['keypoints'][2]]  # those whose nose is labeled
    assert np.isclose(sigmas[0], np.sqrt(np.mean([2 * 1.5**2 / area for area in areas])), rtol=0.02)
