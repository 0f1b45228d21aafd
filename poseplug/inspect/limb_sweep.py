"""Ways to represent and to choose limbs, compared on true fields with noise (Cao et al. 2017, table 1, figure 5)."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from poseplug.codecs.limb_midpoints import LimbMidpoints
from poseplug.codecs.paf import PAF
from poseplug.config.build import build_evaluator
from poseplug.core.batch import Batch
from poseplug.core.errors import ConfigError
from poseplug.core.skeleton import Skeleton
from poseplug.core.skeleton_checks import KeypointPair
from poseplug.engine.dataloaders import build_dataloader
from poseplug.evaluation.base import Metric
from poseplug.evaluation.results import compute_metrics
from poseplug.models.estimators.augmentation import FrameFields
from poseplug.models.estimators.postprocess import GroupingPostprocess

REPRESENTATIONS = ('fields', 'midpoints')
LIMB_SETS = ('tree', 'skeleton', 'all')
MATCHINGS = ('greedy', 'hungarian', 'graph')


@dataclass
class LimbResult:
    """The result of one way to represent, choose and match limbs.

    Attributes:
        representation: 'fields' or 'midpoints'.
        limbs: 'tree', 'skeleton' or 'all', see `select_limbs`.
        matching: 'greedy', 'hungarian' or 'graph'.
        noise_std: standard deviation of the noise of every cell.
        values: scores by name.
        parse_ms: by number of annotated people in an image, the times of grouping in ms.
    """

    representation: str
    limbs: str
    matching: str
    noise_std: float
    values: dict[str, float] = field(default_factory=dict)
    parse_ms: dict[int, list[float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its line in a chart."""
        return f'{self.representation}, {self.limbs}, {self.matching}'


def select_limbs(skeleton: Skeleton, limbs: str) -> Skeleton:
    """Return a skeleton with other limbs.

    Args:
        skeleton: the keypoints and limbs.
        limbs: 'skeleton' for its own; 'tree' for the fewest that connect all keypoints; 'all' for one between any two
            keypoints.

    Example:
        >>> from poseplug.registry.skeletons import get_skeleton
        >>> [len(select_limbs(get_skeleton('coco18'), name).limbs) for name in ('tree', 'skeleton', 'all')]
        [17, 19, 153]
    """
    if limbs == 'skeleton':
        return skeleton
    if limbs == 'all':
        return replace(
            skeleton, limbs=tuple(combinations(skeleton.keypoints, 2)), grouping_order=(), redundant_limbs=()
        )
    redundant = {skeleton.limbs[step.limb] for step in skeleton.limb_steps if step.redundant}
    tree = tuple(limb for limb in skeleton.limbs if limb not in redundant)
    # the flip test exchanges the channels of left and right limbs, so that every limb needs its flipped copy
    if not _is_flip_closed(skeleton, tree):
        tree = _grow_symmetric_tree(skeleton)
    order = tuple(pair for pair in skeleton.grouping_order if {pair, pair[::-1]} & set(tree))
    return replace(skeleton, limbs=tree, grouping_order=order, redundant_limbs=())


def _flip_limb(skeleton: Skeleton, limb: KeypointPair) -> frozenset[str]:
    """The keypoints of a limb's flipped copy."""
    return frozenset(skeleton.keypoints[skeleton.flip_indices[skeleton.index(keypoint)]] for keypoint in limb)


def _is_flip_closed(skeleton: Skeleton, limbs: Sequence[KeypointPair]) -> bool:
    members = {frozenset(limb) for limb in limbs}
    return all(_flip_limb(skeleton, limb) in members for limb in limbs)


def _grow_symmetric_tree(skeleton: Skeleton) -> tuple[KeypointPair, ...]:
    """Limbs without a cycle, each with its flipped copy: pairs of limbs first, then those that are their own copy."""
    limbs = {frozenset(limb): limb for limb in skeleton.limbs}
    groups = [{limb, _flip_limb(skeleton, pair)} for limb, pair in limbs.items()]
    unique = [set(group) for group in dict.fromkeys(map(frozenset, groups))]
    trees = {keypoint: keypoint for keypoint in skeleton.keypoints}
    chosen: list[KeypointPair] = []
    # Kruskal's algorithm with equal weights, on pairs of limbs: a pair joins if none of both closes a cycle
    for group in sorted(unique, key=len, reverse=True):
        joined = dict(trees)
        if all(_join_trees(joined, limb) for limb in group):
            trees = joined
            chosen += [limbs[limb] for limb in limbs if limb in group]
    return tuple(chosen)


def _join_trees(trees: dict[str, str], limb: frozenset[str]) -> bool:
    """Join the trees of a limb's keypoints, in place; False if both are in one already."""
    first, second = (trees[keypoint] for keypoint in limb)
    trees.update({keypoint: first for keypoint, tree in trees.items() if tree == second})
    return first != second


def compare_limbs(
    cfg: Any, model: Any, results: Sequence[LimbResult], use_network: bool = False, seed: int = 0
) -> list[LimbResult]:
    """Group the test set in several ways.

    Args:
        cfg: the config, whose test set and metrics are used.
        model: its estimator, `BottomUp` with `PAF`.
        results: what is compared; scores and times are filled in.
        use_network: group the network's fields instead of the codec's targets; then there are no midpoints, no limbs
            that the skeleton lacks, and no noise.
        seed: of the noise.

    Returns:
        The results.

    Raises:
        ConfigError: the model has no limb fields, or the network lacks what is compared.
    """
    if type(model.codec) is not PAF or not model.finds_instances:
        raise ConfigError('limbs are compared by a config of BottomUp with the codec PAF')
    if use_network and any(r.representation != 'fields' or r.limbs == 'all' or r.noise_std for r in results):
        raise ConfigError('a network predicts limb fields of its own limbs: compare midpoints and all limbs without it')
    create_metrics = functools.partial(build_evaluator, cfg, 'test', model.skeleton)
    metrics: list[list[Metric]] = [create_metrics() for _ in results]
    batches: Iterable[Batch] = build_dataloader(cfg, 'test_dataloader', seed)
    for index, batch in enumerate(batches):
        predicted = _predict_last_stage(model, batch) if use_network else None
        for result, result_metrics in zip(results, metrics, strict=True):
            # the same noise for all ways, batch by batch
            generator = torch.Generator().manual_seed(seed + 1000 * index)
            codec = build_limb_codec(model.codec, result, batch.view_sizes[0])
            fields = _select_channels(model.codec, codec, predicted) if predicted else _draw_fields(codec, batch)
            noisy = {
                name: maps + result.noise_std * torch.randn(maps.shape, generator=generator)
                if result.noise_std
                else maps
                for name, maps in fields.items()
            }
            for image, poses in enumerate(_group_images(codec, noisy, batch, result)):
                for metric in result_metrics:
                    metric.update(poses, batch.records[image])
    for result, result_metrics in zip(results, metrics, strict=True):
        result.values.update(compute_metrics(result_metrics).values)
    return list(results)


def build_limb_codec(codec: PAF, result: LimbResult, input_size: tuple[int, int]) -> PAF:
    """Build the codec of one way to represent and to choose limbs.

    Args:
        codec: of the config.
        result: what is measured.
        input_size: (width, height) of the input in pixels.
    """
    skeleton = select_limbs(codec.skeleton, result.limbs)
    graph_rules: dict[str, Any] = dict(assign_by='either', redundant_peaks='unassigned')
    changes = graph_rules if result.matching == 'graph' else {}
    rules = replace(codec.rules, matching=result.matching, **changes)  # type: ignore[arg-type] # one of MATCHINGS
    heatmap_codec = replace(codec.built_heatmap_codec, skeleton=skeleton)
    names = ('stride', 'width_cells', 'width_px', 'limb_ends', 'limb_merge', 'instances')
    values = {name: getattr(codec, name) for name in names}
    codec_type = LimbMidpoints if result.representation == 'midpoints' else PAF
    refine: Any = codec.peak_refinement
    return codec_type(skeleton, input_size, heatmap_codec=heatmap_codec, refine=refine, parser=rules, **values)


@torch.inference_mode()
def _predict_last_stage(model: Any, batch: Batch) -> dict[str, Tensor]:
    """The network's fields of the last stage, of the first view."""
    fields: dict[str, Tensor] = model.predict_fields(batch.to(model.device))[0][-1]
    return {name: maps.cpu() for name, maps in fields.items()}


def _select_channels(codec: PAF, other: PAF, fields: dict[str, Tensor]) -> dict[str, Tensor]:
    """The fields with the channels of another codec's limbs."""
    limbs = [codec.skeleton.limbs.index(limb) for limb in other.skeleton.limbs]
    # x and y of every limb are neighbors, as in OpenPose
    channels = [2 * limb + axis for limb in limbs for axis in (0, 1)]
    return {**fields, 'paf': fields['paf'][:, channels]}


def _draw_fields(codec: PAF, batch: Batch) -> dict[str, Tensor]:
    """The targets of a batch."""
    targets = codec.encode(batch.keypoints.float(), batch.visible, batch.valid)
    return dict(targets.stage_fields(0))


def _group_images(codec: PAF, fields: dict[str, Tensor], batch: Batch, result: LimbResult) -> Iterator[Any]:
    """The instances of every image; the times are added to the result."""
    postprocess, matrices = GroupingPostprocess(codec), batch.input_to_image()
    for image in range(len(batch)):
        frame = FrameFields({n: maps[image : image + 1] for n, maps in fields.items()}, codec, matrices[image, None])
        start = time.perf_counter()
        (poses,) = postprocess([frame], batch)
        num_instances = int(batch.valid[image].sum())
        result.parse_ms.setdefault(num_instances, []).append(1000 * (time.perf_counter() - start))
        yield poses
