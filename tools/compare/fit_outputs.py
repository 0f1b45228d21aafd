"""Fit the last layers of a network to few images, so that its outputs have peaks: see `fit_outputs.py --help`.

Where training takes too long: all other weights stay random, the statistics of norms are those of the images, and the
last convolutions are the solution of a ridge regression. Random features do not tell keypoints apart. So the heatmaps
of top-down models are fitted to Gaussians at the median positions of the keypoints, from which the image moves them a
little, and those of whole images are enlarged until they have peaks. The weights are for comparisons with other code
(end_to_end.py) alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from train_briefly import load_batches

from poseplug.cli.options import add_config_options
from poseplug.config.build import build_model
from poseplug.config.load import load_config
from poseplug.core.batch import Batch

RIDGE = 1e-3  # of the mean square of a feature: the system of equations stays solvable
BOX_RIDGE = 10.0  # boxes stay near the average one; sizes, which are exponentials, would be thousands of pixels
IGNORED = float('nan')  # targets of cells that are not fitted
POSITION_SCALE = 50.0  # of a position embedding of standard deviation 0.02: the features tell cells apart
PEAK_QUANTILE, PEAK_HEIGHT = 0.999, 0.5  # of the cells of whole images, above the threshold of a peak
SCORE_LOGIT, REST_LOGIT = 3.0, -6.0  # of cells in the middle of an instance, and of others
SCORE_QUANTILE = 0.98  # of RTMO's cells: the others score more than one half


def fit_statistics(model: Any, batches: list[Batch]) -> None:
    """Set the statistics of batch norms to their averages over the batches."""
    for norm in (module for module in model.modules() if hasattr(module, 'running_mean')):
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches
    model.train()
    with torch.no_grad():
        for batch in batches:
            model.network(batch.images[:, 0])
    model.eval()


def fit_convolutions(model: Any, convolutions: Mapping[str, list[nn.Conv2d]], batches: list[Batch]) -> None:
    """Solve for the weights of convolutions by the name of what they predict, all levels of a name at once."""
    inputs: dict[nn.Module, list[Tensor]] = {}
    targets: dict[str, list[list[Tensor]]] = {name: [] for name in convolutions}
    for levels in convolutions.values():
        for conv in levels:
            conv.register_forward_hook(lambda conv, args, _: inputs.setdefault(conv, []).append(args[0].detach()))
    for batch in batches:
        with torch.no_grad():
            model.network(batch.images[:, 0])
        for name, maps in list_targets(model, batch).items():
            targets[name].append(maps)
    for name, levels in convolutions.items():
        for level, conv in enumerate(levels):
            ridge = BOX_RIDGE if name == 'raw' else RIDGE
            solve_convolution(conv, inputs[conv], [maps[level] for maps in targets[name]], ridge)


def solve_convolution(conv: nn.Conv2d, inputs: list[Tensor], targets: list[Tensor], ridge: float) -> None:
    """Set weight and bias by ridge regression of targets (B, K, H, W) on the inputs (B, C, H, W)."""
    windows = [nn.functional.unfold(x, conv.kernel_size, padding=conv.padding) for x in inputs]
    features = torch.cat([w.transpose(1, 2).flatten(0, 1) for w in windows]).double()
    values = torch.cat([t.flatten(2).transpose(1, 2).flatten(0, 1) for t in targets]).double()
    features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    for channel in range(values.shape[1]):
        is_fitted = values[:, channel].isfinite()
        x, y = features[is_fitted], values[is_fitted, channel]
        gram = x.T @ x
        penalty = ridge * gram.diagonal().mean() * torch.ones(len(gram), dtype=gram.dtype)
        penalty[-1] = 0  # the bias is free
        gram += penalty.diag() + 1e-9 * torch.eye(len(gram), dtype=gram.dtype)
        solution = torch.linalg.solve(gram, x.T @ y).float()
        conv.weight.data[channel] = solution[:-1].view_as(conv.weight[channel])
        if conv.bias is not None:
            conv.bias.data[channel] = solution[-1]


def list_targets(model: Any, batch: Batch) -> dict[str, list[Tensor]]:
    """What the last convolutions should predict for a batch, level by level."""
    if not hasattr(model.network.head, 'scores'):
        (fields,) = model.criterion.encode_targets(batch).stages
        targets = {name: [maps] for name, maps in fields.items()}
        if 'tags' in targets:
            # Tags count at keypoints alone.
            targets['tags'] = [torch.where(fields['tags'] > 0, fields['tags'], IGNORED)]
        else:
            targets['heatmap'] = [draw_median_keypoints(model, batch)]
        return targets
    levels = [list_cell_targets(batch, stride) for stride in model.network.head.strides]
    return dict(score=[score for score, _ in levels], raw=[raw for _, raw in levels])


def draw_median_keypoints(model: Any, batch: Batch) -> Tensor:
    """The heatmaps of the median positions of the labeled keypoints of a batch, the same for every image."""
    labeled = batch.visible[:, :1, :, None] > 0
    median = torch.where(labeled, batch.keypoints[:, :1], torch.nan).nanmedian(dim=0).values
    targets = model.codec.encode(median[None], torch.full(median.shape[:2], 2)[None])
    return targets.stages[0]['heatmap'].expand(len(batch.images), -1, -1, -1)


def enlarge_peaks(model: Any, batches: list[Batch]) -> None:
    """Multiply the heatmaps of whole images, which random features fit badly, until few of their cells are peaks."""
    conv = model.network.head.predict['heatmap']
    with torch.no_grad():
        heatmaps = model.network(batches[0].images[:, 0])[-1]['heatmap']
    factor = PEAK_HEIGHT / heatmaps.flatten()[:: heatmaps.numel() // 1_000_000 + 1].quantile(PEAK_QUANTILE)
    for parameter in conv.parameters():
        parameter.data *= factor


def raise_scores(model: Any, batches: list[Batch]) -> None:
    """Raise the scores of RTMO's cells until some of them are instances."""
    with torch.no_grad():
        logits = model.network(batches[0].images[:, 0])[-1]['score']
    for conv in model.network.head.scores['score']:
        conv.bias.data -= logits.quantile(SCORE_QUANTILE)


def list_cell_targets(batch: Batch, stride: int) -> tuple[Tensor, Tensor]:
    """Scores (B, 1, H, W) and raw boxes (B, 4, H, W) of the cells of a level of RTMO."""
    _, _, height, width, _ = batch.images.shape
    rows, columns = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing='ij')
    points = (torch.stack([columns, rows]) + 0.5) * stride  # 2, H, W
    scores = torch.full((len(batch.boxes), 1, *rows.shape), REST_LOGIT)
    boxes = torch.full((len(batch.boxes), 4, *rows.shape), IGNORED)
    for image, (image_boxes, valid) in enumerate(zip(batch.boxes, batch.valid, strict=True)):
        for low_x, low_y, high_x, high_y in image_boxes[valid].tolist():
            center = torch.tensor([(low_x + high_x) / 2, (low_y + high_y) / 2])[:, None, None]
            size = torch.tensor([high_x - low_x, high_y - low_y]).clamp(min=stride)[:, None, None]
            inside = ((points - center).abs() < 0.25 * size).all(dim=0)
            raw = torch.cat([(center - points) / stride, (size / stride).log().expand_as(points)])
            boxes[image] = torch.where(inside, raw, boxes[image])
            scores[image, 0][inside] = SCORE_LOGIT
    return scores, boxes


def list_last_convolutions(head: Any) -> dict[str, list[nn.Conv2d]]:
    """The convolutions that predict what is fitted, level by level."""
    if hasattr(head, 'scores'):
        return dict(score=[*head.scores['score']], raw=[*head.poses['raw']])
    return {name: [conv] for name, conv in head.predict.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', type=Path)
    parser.add_argument('out', type=Path, help='a .pth file')
    parser.add_argument('data_root', type=Path, help="COCO's folder")
    add_config_options(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cfg = load_config(args.config, args.cfg_options)
    model, batches = build_model(cfg), load_batches(cfg, args.data_root)
    if hasattr(model.network.backbone, 'pos_embed'):
        model.network.backbone.pos_embed.data *= POSITION_SCALE
    fit_statistics(model, batches)
    fit_convolutions(model, list_last_convolutions(model.network.head), batches)
    if hasattr(model.network.head, 'scores'):
        raise_scores(model, batches)
    elif 'tags' in model.network.head.predict:
        enlarge_peaks(model, batches)
    torch.save({'state_dict': model.state_dict()}, args.out)


if __name__ == '__main__':
    main()
