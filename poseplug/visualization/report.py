"""One self-contained page about a model: scores, curves, predictions beside the truth, belief maps stage by stage."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from poseplug.datasets.images import read_image
from poseplug.errors import ConfigError, ImageError
from poseplug.evaluation.base import Scores
from poseplug.evaluation.offsets import People
from poseplug.evaluation.pck import PCK
from poseplug.poses import Poses
from poseplug.sample import Record
from poseplug.skeleton import Skeleton
from poseplug.visualization.curves import bar_svg, learning_charts, line_svg, pck_chart, read_curve, stage_chart
from poseplug.visualization.draw import CRISP, SIDES, draw_poses, fitted
from poseplug.visualization.fields import stage_strips

if TYPE_CHECKING:
    from poseplug.engine.evaluate import Evaluation
    from poseplug.inference.predictor import Beliefs

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--text:#1c1f24;--soft:#667;--line:#d8dbe0;--card:#f5f6f8;--mark:#1d6fd8}
@media(prefers-color-scheme:dark){:root{--ground:#14161a;--text:#e6e8ec;--soft:#9aa3af;--line:#333841;--card:#1d2026;
--mark:#6aa8ff}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1080px;padding:1rem;background:var(--ground);color:var(--text);
font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.15rem;margin:2rem 0 .6rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:1rem;margin:1.2rem 0 .4rem}
.score{font-size:3rem;font-weight:700;color:var(--mark);line-height:1}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}caption{text-align:left;color:var(--soft);padding:.2rem 0}
tr.sum td{font-weight:700}td.best{color:var(--mark)}
.facts td{white-space:normal;overflow-wrap:anywhere;text-align:left}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.pictures{display:flex;flex-wrap:wrap;gap:.8rem}.pictures img{height:230px;width:auto;max-width:100%;object-fit:contain}
svg{width:100%;height:auto;background:var(--card);border-radius:8px}
figure{margin:0;background:var(--card);border-radius:8px;overflow:hidden}
figcaption{padding:.4rem .7rem;font-size:.85rem}
img{display:block}.wide{margin-bottom:1rem}
.legend b{padding:0 .35rem;border-radius:4px;color:#111}
"""


@dataclass(frozen=True)
class Shown:
    """One picture of the page: why it is there, its annotation, its prediction and its own score, if it has one."""

    why: str
    record: Record
    poses: Poses
    score: float | None


def write_report(
    path: str | Path,
    title: str,
    evaluation: Evaluation,
    skeleton: Skeleton,
    curve: str | Path | None = None,
    beliefs: Callable[[Path], Beliefs] | None = None,
    pictures: Sequence[tuple[str, np.ndarray]] = (),
    facts: Mapping[str, Any] | None = None,
    each: int = 6,
    headline: str | None = None,
) -> Path:
    """Write the page; it needs no other file and no network.

    Args:
        evaluation: Scores, scores of every stage and predictions, as `engine.evaluate` returns them.
        curve: A run's `curve.jsonl`.
        beliefs: Makes belief maps of a picture, such as `Predictor.fields`.
        pictures: Further pictures (H, W, 3; BGR) with their captions.
        facts: What the reader should know of the run: command, time, config, parameters.
        each: Pictures shown of the best, the middle, the worst and of a random draw.
        headline: The value that leads the page, 'PCK@0.2' by default where there is one.
    """
    chosen = choose(evaluation.predictions, skeleton, each)
    main = headline_of(evaluation.scores, headline)
    parts = [
        head(title, evaluation, skeleton, main),
        section('Scores', tables(evaluation, skeleton, main)),
        section('Curves', charts(evaluation, curve, main)),
        section('Predictions', prediction_grid(chosen, skeleton, main)),
        section('Belief maps', belief_strips(chosen, beliefs) if beliefs else ''),
        section('Pictures', figures((escape(caption), image) for caption, image in pictures)),
        section('Left out', bullets([*evaluation.scores.notes, *getattr(evaluation, 'sources', [])])),
        section('How it was made', fact_table(facts or {})),
    ]
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(title, ''.join(parts)), encoding='utf-8')
    return file


def page(title: str, body: str) -> str:
    """A whole HTML document."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)}</title><style>{STYLE}</style></head><body>{body}</body></html>\n'
    )


def section(title: str, inside: str) -> str:
    """A part of the page, or nothing where there is nothing to show."""
    return f'<section><h2>{escape(title)}</h2>{inside}</section>' if inside else ''


def headline_of(scores: Scores, wanted: str | None = None) -> str | None:
    """The name of the value that leads the page: the wanted one, PCK@0.2, or the first total."""
    totals = totals_of(scores)
    if wanted is not None and wanted not in totals:
        raise ConfigError(f'no score is called {wanted!r}; there are {", ".join(totals) or "none"}')
    return wanted or ('PCK@0.2' if 'PCK@0.2' in totals else next(iter(totals), None))


def totals_of(scores: Scores) -> dict[str, float]:
    """The values that are not of a single joint or group."""
    return {k: v for k, v in scores.values.items() if '/' not in k}


def head(title: str, evaluation: Evaluation, skeleton: Skeleton, main: str | None) -> str:
    """Title and leading score, with what left and right mean in it."""
    told = f'{len(evaluation.predictions):,} pictures, {len(skeleton)} joints of {skeleton.name!r}'
    lead = ''
    if main is not None:
        value = evaluation.scores.values[main]
        lead = f'<p><span class="score">{number(value)}</span> {escape(main)}, {skeleton.centric}-centric</p>'
    return f'<h1>{escape(title)}</h1>{lead}<p class="soft">{escape(told)}. {escape(meaning(skeleton))}</p>'


def meaning(skeleton: Skeleton) -> str:
    """What left and right mean in the labels."""
    if skeleton.centric == 'person':
        return "Person-centric: left is the person's own left."
    return "Observer-centric: left is the picture's left."


def tables(evaluation: Evaluation, skeleton: Skeleton, main: str | None) -> str:
    """A row a joint and a column a stage for the leading score, then the other totals."""
    stages = list(evaluation.stages) or [evaluation.scores]
    names = [f'stage {t + 1}' for t in range(len(stages))] if evaluation.stages else ['last stage']
    found = ''
    if main is not None:
        joints = [k.split('/', 1)[1] for k in evaluation.scores.values if k.startswith(f'{main}/')]
        rows = [(j, [s.values.get(f'{main}/{j}', math.nan) for s in stages]) for j in joints]
        rows.append(('total', [s.values.get(main, math.nan) for s in stages]))
        found += table(f'{main} by joint, {skeleton.centric}-centric', ['joint', *names], rows, last_is_sum=True)
    others = [k for k in totals_of(evaluation.scores) if k != main]
    if others:
        values = [(k, [s.values.get(k, math.nan) for s in stages]) for k in others]
        found += table(f'Other scores, {skeleton.centric}-centric', ['score', *names], values)
    return found


def table(
    caption: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]], last_is_sum: bool = False
) -> str:
    """Numbers with names; the best of a row of several is marked."""
    top = ''.join(f'<th>{escape(c)}</th>' for c in columns)
    body = ''
    for i, (name, values) in enumerate(rows):
        best = max((v for v in values if math.isfinite(v)), default=None) if len(values) > 1 else None
        cells = ''.join(f'<td{" class=best" if v == best else ""}>{number(v)}</td>' for v in values)
        mark = ' class="sum"' if last_is_sum and i == len(rows) - 1 else ''
        body += f'<tr{mark}><td>{escape(name.replace("_", " "))}</td>{cells}</tr>'
    return f'<div class="wide"><table><caption>{escape(caption)}</caption><tr>{top}</tr>{body}</table></div>'


def charts(evaluation: Evaluation, curve: str | Path | None, main: str | None) -> str:
    """Learning curve, PCK over the threshold, and what each stage adds."""
    drawn = [line_svg(c) for c in learning_charts(read_curve(curve))] if curve is not None else []
    if evaluation.scores.curves:
        drawn.append(line_svg(pck_chart(evaluation.scores)))
    if len(evaluation.stages) > 1:
        if any('total' in s.curves for s in evaluation.stages):
            drawn.append(line_svg(stage_chart(evaluation.stages)))
        if main is not None:
            names = [f'stage {t + 1}' for t in range(len(evaluation.stages))]
            drawn.append(bar_svg(f'{main} by stage', names, [s.values.get(main, math.nan) for s in evaluation.stages]))
    return f'<div class="charts">{"".join(drawn)}</div>' if drawn else ''


def choose(
    predictions: Sequence[tuple[Record, Poses]], skeleton: Skeleton, each: int = 6, seed: int = 0
) -> list[Shown]:
    """The best, middle and worst pictures by their own score, and a random draw from all others."""
    people: People = 'all' if any(len(poses) > 1 for _, poses in predictions) else 'subject'  # whole pictures, or crops
    scored = [(rank(skeleton, record, poses, people), record, poses) for record, poses in predictions]
    order = sorted((s for s in scored if s[0] is not None), key=lambda s: s[0] or (0, 0), reverse=True)
    each = min(each, len(order) // 3) if order else each
    half = (len(order) - each) // 2
    groups = {'best': order[:each], 'middle': order[half : half + each], 'worst': order[len(order) - each :]}
    groups = {why: group for why, group in groups.items() if order and each}
    used = {id(s) for group in groups.values() for s in group}
    rest = [s for s in scored if id(s) not in used]
    places = np.random.default_rng(seed).permutation(len(rest))[: max(each, 1)]
    groups['random'] = [rest[i] for i in sorted(places)]
    return [Shown(why, r, p, s[0] if s else None) for why, group in groups.items() for s, r, p in group]


def rank(skeleton: Skeleton, record: Record, poses: Poses, people: People = 'subject') -> tuple[float, float] | None:
    """PCK@0.2 and AUC of one picture, or None where it cannot be measured: no torso, nobody predicted."""
    if skeleton.torso is None or not len(poses):
        return None
    metric = PCK(skeleton, thresholds=(0.2,), people=people)
    metric.add(poses, record)
    values = metric.compute().values
    return (values['PCK@0.2'], values['AUC@0.2']) if values else None


def prediction_grid(chosen: Sequence[Shown], skeleton: Skeleton, main: str | None) -> str:
    """Truth (left) beside prediction (right), grouped by why they are shown."""
    if not chosen:
        return ''
    told = {
        'best': 'Best of all',
        'middle': 'In the middle of the order',
        'worst': 'Worst of all',
        'random': 'Drawn at random from the others',
    }
    legend = ' '.join(f'<b style="background:rgb{color[::-1]}">{side}</b>' for side, color in SIDES.items())
    found = (
        f'<p class="soft legend">In each pair the annotation is on the left and the prediction on the right, {legend}. '
        f'Each carries its own PCK@0.2: the share of its labelled joints within a fifth of its torso.</p>'
    )
    for why, name in told.items():
        group = [s for s in chosen if s.why == why]
        if group:
            found += f'<h3>{name}</h3>' + figures((caption(s), pair(s, skeleton)) for s in group)
    return found


def caption(shown: Shown) -> str:
    """The name of a picture with its own score, as HTML."""
    score = 'not measured' if shown.score is None else f'PCK@0.2 {number(shown.score)}'
    return f'{escape(shown.why)}: <b>{score}</b> <span class="soft">{escape(shown.record.id)}</span>'


def pair(shown: Shown, skeleton: Skeleton) -> np.ndarray:
    """Annotation and prediction of one picture, side by side."""
    image = read_image(shown.record.path, span=shown.record.span)
    truth = Poses.of_record(shown.record.keypoints, shown.record.visible)
    drawn = [draw_poses(image, p, skeleton) for p in (truth, shown.poses)]
    factor = min(1.0, CRISP / max(drawn[0].shape[:2]))
    size = (max(1, round(drawn[0].shape[1] * factor)), max(1, round(drawn[0].shape[0] * factor)))
    left, right = (fitted(d, size) for d in drawn)
    return np.hstack([left, np.full((size[1], 4, 3), 128, np.uint8), right])


def belief_strips(chosen: Sequence[Shown], beliefs: Callable[[Path], Beliefs]) -> str:
    """Stage by stage, all joints, for one picture of each kind."""
    found = '<p class="soft">Rows are stages, columns are joints; each map lies over what the network saw.</p>'
    for why in dict.fromkeys(s.why for s in chosen):
        shown = next(s for s in chosen if s.why == why)
        strip = image_tag(stage_strips(beliefs(shown.record.path), side=112), shown.record.id)
        found += f'<h3>{caption(shown)}</h3><div class="wide">{strip}</div>'
    return found if chosen else ''


def figures(pictures: Iterable[tuple[str, np.ndarray]]) -> str:
    """Pictures in a grid; captions are HTML."""
    found = ''.join(
        f'<figure>{image_tag(image, "")}<figcaption>{told}</figcaption></figure>' for told, image in pictures
    )
    return f'<div class="pictures">{found}</div>' if found else ''


def image_tag(image: np.ndarray, description: str, quality: int = 85) -> str:
    """A picture (H, W, 3; BGR) inside the page itself."""
    done, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(f'a picture of shape {image.shape} cannot be written as JPEG; make it smaller')
    source = base64.b64encode(data.tobytes()).decode()
    height, width = image.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{source}" width="{width}" height="{height}" alt="{escape(description)}" '
        f'loading="lazy">'
    )


def bullets(lines: Sequence[str]) -> str:
    """A list of sentences."""
    return f'<ul>{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>' if lines else ''


def fact_table(facts: Mapping[str, Any]) -> str:
    """Names and what they say."""
    rows = ''.join(f'<tr><td>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>' for k, v in facts.items())
    return f'<table class="facts">{rows}</table>' if rows else ''


def number(value: float) -> str:
    """One decimal, or a dash where there is no number."""
    return f'{value:.1f}' if math.isfinite(value) else '–'
