"""Peaks found in a graph and grouped in NumPy are the instances that the codecs decode."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from poseplug.deploy.export_modules import FieldsWithPeaks, KeypointsOfCrops, find_field_peaks
from poseplug.deploy.export_settings import ExportOptions, collect_export_settings
from poseplug.deploy.output_decoding import build_empty_poses, decode_outputs
from poseplug.fields.peaks import find_peaks
from poseplug.registry import CODECS
from poseplug.skeletons.coco import COCO
from poseplug.skeletons.coco18 import COCO18
from poseplug.skeletons.lsp import LSP

SIZE = (128, 96)


class FieldSource(nn.Module):
    """A network that predicts given fields, whatever the images show."""

    def __init__(self, fields):
        super().__init__()
        self.fields = fields

    def forward(self, images, centers=None, source_indices=None):
        return [{name: values.clone() for name, values in self.fields.items()}]


class FieldModel(nn.Module):
    """What an export reads of an estimator."""

    def __init__(self, codec, fields):
        super().__init__()
        self.codec, self.skeleton, self.network = codec, codec.skeleton, FieldSource(fields)
        self.postprocess = SimpleNamespace()


def draw_fields(codec, num_images=2, num_instances=3, noise=0.02):
    """Fields of some instances in each image, with noise."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.rand(num_images, num_instances, 1, 2, generator=generator) * (torch.tensor(SIZE) - 40) + 20
    offsets = torch.randn(num_images, num_instances, len(codec.skeleton), 2, generator=generator) * 14
    keypoints = (centers + offsets).clamp(min=0).minimum(torch.tensor(SIZE) - 1.0)
    fields = codec.encode(keypoints, torch.full(keypoints.shape[:3], 2)).stage_fields(0)
    return {name: values + noise * torch.rand(values.shape, generator=generator) for name, values in fields.items()}


def decode_exported(codec, fields):
    """The instances of an exported model with such fields, by the runtime's NumPy."""
    model = FieldModel(codec, fields)
    kind = 'tags' if 'tags' in codec.fields else 'paf'
    module = FieldsWithPeaks(model).eval()
    num_images = len(fields['heatmap'])
    outputs = module(torch.zeros(num_images, SIZE[1], SIZE[0], 3, dtype=torch.uint8))
    settings = collect_export_settings(model, kind, ExportOptions())
    arrays = {name: output.numpy() for name, output in zip(module.output_names, outputs, strict=True)}
    return decode_outputs(arrays, settings, codec.skeleton)


PAF_SETTINGS = [
    dict(),
    dict(parser='lightweight', refine='centroid'),
    dict(parser='matlab', heatmap_codec=dict(type='UDPHeatmap', sigma_px=10.0)),
    dict(parser='complete', heatmap_codec=dict(type='Heatmap', refine='dark', smoothing_kernel_size=3)),
]
TAG_SETTINGS = [
    dict(),
    dict(fill_missing=False, top_k=2, nms_kernel_size=3),
    dict(heatmap_codec=dict(type='UDPHeatmap')),
]


@pytest.mark.parametrize(
    ('kind', 'settings', 'skeleton'),
    [
        *(('PAF', settings, COCO18) for settings in PAF_SETTINGS),
        *(('Tags', settings, COCO) for settings in TAG_SETTINGS),
    ],
    ids=str,
)
def test_exported_peaks_are_grouped_to_the_instances_of_the_codec(kind, settings, skeleton):
    codec = CODECS.build(dict(type=kind, input_size=SIZE, stride=4, **settings), skeleton=skeleton)
    fields = draw_fields(codec)
    expected, actual = codec.decode(fields).numpy(), decode_exported(codec, fields)
    assert len(expected) >= 2
    assert actual.image_indices.tolist() == expected.image_indices.tolist()
    for name in ('keypoints', 'keypoint_scores', 'instance_scores', 'boxes'):
        np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), atol=1e-4, err_msg=name)
    assert actual.visibility.tolist() == expected.visibility.tolist()


def test_where_no_instance_is_found_the_fallback_rules_are_tried():
    codec = CODECS.build(dict(type='PAF', input_size=SIZE, stride=4), skeleton=LSP)
    fields = {name: values * 0.045 for name, values in draw_fields(codec, noise=0.0).items()}
    expected = codec.decode(fields)
    assert len(expected) >= 1
    assert len(decode_exported(codec, fields)) == len(expected)


def test_fields_without_peaks_have_no_instances():
    codec = CODECS.build(dict(type='PAF', input_size=SIZE, stride=4), skeleton=LSP)
    fields = {name: torch.zeros_like(values) for name, values in draw_fields(codec).items()}
    assert decode_exported(codec, fields).keypoints.shape == (0, 14, 2)
    assert build_empty_poses(14).boxes.shape == (0, 4)


@pytest.mark.parametrize('num_neighbors', [8, 4])
def test_peaks_of_a_graph_are_those_that_are_found_outside(num_neighbors):
    """Coarse values, so that neighbors are equal."""
    heatmaps = (torch.rand(2, 3, 20, 16, generator=torch.Generator().manual_seed(1)) * 6).round() / 6
    expected = find_peaks(heatmaps, 0.4, 5, num_neighbors=num_neighbors)
    indices, values = find_field_peaks(heatmaps, 5, num_neighbors)
    channels, ranks = (values.flatten(0, 1) > 0.4).nonzero(as_tuple=True)
    assert len(channels) == len(expected)
    inside = indices.flatten(0, 1)[channels, ranks]
    cells = expected.cells.astype(int)
    listed = expected.channels * 320 + cells[:, 1] * 16 + cells[:, 0]
    # Of equal peaks those that are returned may be others.
    assert sorted(values.flatten(0, 1)[channels, ranks].tolist()) == sorted(expected.scores.tolist())
    if num_neighbors == 4:
        assert len(set((channels * 320 + inside).tolist()) & set(listed.tolist())) >= 0.5 * len(listed)


def test_a_grid_may_have_fewer_cells_than_there_are_peaks_to_return():
    indices, values = find_field_peaks(torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]]), 6)
    assert indices[0, 0, 0] == 1
    assert values[0, 0].tolist() == [1.0] + [-np.inf] * 5
    assert indices.min() >= 0


def test_keypoints_that_the_decoder_lacks_have_the_score_0():
    codec = CODECS.build(dict(type='MSRAHeatmap', input_size=(64, 64)), skeleton=LSP)
    fields = codec.encode(torch.full((1, 1, 14, 2), 20.0), torch.full((1, 1, 14), 2)).stage_fields(0)
    model = FieldModel(codec, fields)
    model.postprocess.keypoint_indices = np.array([3, -1, 0])
    keypoints, scores, _, sigmas = KeypointsOfCrops(model)(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert keypoints.shape == (1, 3, 2)
    assert sigmas.isnan().tolist() == [[False, True, False]]
    assert scores[0, 1] == 0
    assert scores[0, 0] == 1
