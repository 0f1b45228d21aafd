"""The uncertainty of keypoints, from the formulas of the codecs to results."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from poseplug.codecs.heatmap import Heatmap
from poseplug.codecs.regression import RLERegression
from poseplug.core.poses import Poses
from poseplug.fields.peak_widths import measure_peak_widths
from poseplug.models.layers.dcc import DCC
from poseplug.predict.predictor import Predictor
from poseplug.skeletons.coco import COCO


def draw_gaussian(center, sigmas, size=(40, 30)):
    """(1, 1, H, W), with a standard deviation in x and one in y, in cells."""
    x, y = torch.arange(float(size[0])), torch.arange(float(size[1]))
    exponent = ((x - center[0]) / sigmas[0]) ** 2 + ((y[:, None] - center[1]) / sigmas[1]) ** 2
    return torch.exp(-exponent / 2)[None, None]


@pytest.mark.parametrize('center', [(20.0, 15.0), (20.4, 14.6), (19.5, 15.5)])
def test_the_width_of_a_gaussian_is_its_standard_deviation_wherever_it_stands(center):
    heatmap = draw_gaussian(center, (1.5, 3.0))
    cells = torch.tensor([[[round(center[0]), round(center[1])]]])
    width = measure_peak_widths(heatmap, cells, (4.0, 2.0))
    assert float(width) == pytest.approx(math.sqrt((6.0**2 + 6.0**2) / 2), rel=1e-3)


def test_at_the_border_and_without_a_peak_the_side_of_the_heatmap_counts():
    heatmap = draw_gaussian((0.0, 15.0), (2.0, 2.0))
    expected = math.sqrt((40.0**2 + 2.0**2) / 2)
    assert float(measure_peak_widths(heatmap, torch.tensor([[[0, 15]]]))) == pytest.approx(expected, rel=1e-3)
    flat = measure_peak_widths(torch.zeros(1, 1, 30, 40), torch.tensor([[[9, 9]]]))
    assert float(flat) == pytest.approx(math.sqrt((40.0**2 + 30.0**2) / 2))


def test_what_a_codec_draws_has_the_width_that_it_draws():
    codec = Heatmap(COCO, input_size=(192, 256), sigma_px=9.0)
    keypoints = torch.rand(1, 1, 17, 2) * 100 + 40
    fields = codec.encode(keypoints, torch.ones(1, 1, 17)).stage_fields(0)
    poses = codec.decode(fields)
    torch.testing.assert_close(poses.keypoint_sigmas_px, torch.full((1, 17), 9.0), rtol=1e-3, atol=0)


def test_the_error_scales_of_rle_are_fractions_of_the_sides():
    fields = {'keypoints': torch.tensor([0.5, 0.5, 0.1, 0.05]).expand(1, 17, 4)}
    poses = RLERegression(COCO, input_size=(192, 256)).decode(fields)
    assert float(poses.keypoint_sigmas_px[0, 3]) == pytest.approx(math.sqrt((19.2**2 + 12.8**2) / 2))


def test_rtmo_scales_its_sigmas_by_the_root_of_the_area():
    from poseplug.models.heads.rtmo import RTMOHead

    dcc = DCC(17, 8, (64, 64), feat_channels=32, num_bins=(12, 16))
    instances = {'vector': torch.randn(2, 8), 'box': torch.tensor([[0.0, 0.0, 9.0, 4.0], [5.0, 5.0, 105.0, 30.0]])}
    sigmas = RTMOHead.predict_keypoint_sigmas(SimpleNamespace(dcc=dcc), instances)
    expected = dcc(instances['vector'], instances['box'], torch.zeros(2, 2)).relative_sigmas
    torch.testing.assert_close(sigmas, expected * torch.tensor([[6.0], [50.0]]))


def test_uncertainties_are_scaled_with_their_positions_and_survive_files():
    poses = Poses(np.ones((1, 2, 2)), np.ones((1, 2)), np.ones(1), keypoint_sigmas_px=np.array([[1.5, 2.0]]))
    moved = poses.transform(np.array([[0.0, -4.0, 7.0], [1.0, 0.0, 9.0], [0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(moved.keypoint_sigmas_px, [[3.0, 4.0]])
    selected = poses.select_keypoints(np.array([1, -1]))
    assert selected.to_dicts()[0]['keypoint_sigmas_px'] == [2.0, None]
    np.testing.assert_array_equal(Poses.from_dicts(selected.to_dicts(), 2).keypoint_sigmas_px, [[2.0, np.nan]])
    assert Poses.from_dicts(poses[[]].to_dicts(), 2).keypoint_sigmas_px is None


def test_a_result_has_the_uncertainty_in_px_of_the_image(monkeypatch, tmp_path):
    predictor = Predictor(device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
    (small,) = predictor(image)
    (large,) = predictor(np.kron(image, np.ones((4, 4, 1), np.uint8)))
    assert small.keypoint_sigmas_px.shape == (1, 14)
    assert (small.keypoint_sigmas_px > 0).all()
    ratio = np.median(large.keypoint_sigmas_px / small.keypoint_sigmas_px)
    assert ratio == pytest.approx(4, rel=0.1)
    saved = json.loads(small.save(tmp_path / 'a.json').read_text())
    np.testing.assert_allclose(saved['instances'][0]['keypoint_sigmas_px'], small.keypoint_sigmas_px[0], atol=0.006)
    monkeypatch.setattr('poseplug.predict.result_formats.find_spec', lambda name: name == 'pandas')
    monkeypatch.setitem(sys.modules, 'pandas', SimpleNamespace(DataFrame=dict))
    np.testing.assert_allclose(small.to_dataframe()['sigma_px'], small.keypoint_sigmas_px[0], atol=0.001)
