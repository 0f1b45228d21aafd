// What both pages draw: skeletons over an image or a video, the table of keypoints, and files to save.

export const find = id => document.getElementById(id);

const SVG_NAMESPACE = 'http://www.w3.org/2000/svg';
const SVG_NAMES = new Set(['svg', 'g', 'line', 'circle', 'rect', 'text', 'title', 'polyline']);

/** Create an element with attributes, and text or elements inside; text is never parsed as HTML. */
export function createElement(name, attributes = {}, ...children) {
  const element = SVG_NAMES.has(name) ? document.createElementNS(SVG_NAMESPACE, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const spaced = keypointName => keypointName.replaceAll('_', ' ');
export const toFixed = (value, digits) => (value === null || value === undefined ? '–' : value.toFixed(digits));
export const toText = number => number.toLocaleString('en');
export const countNoun = (count, noun) => `${toText(count)} ${noun}${count === 1 ? '' : 's'}`;
export const hasPosition = keypoint => keypoint[0] !== null && keypoint[1] !== null;
export const isDrawn = (keypoint, threshold) => hasPosition(keypoint) && keypoint[2] >= threshold;

/**
 * Draw instances into an SVG element that lies over an image of (width, height) px; pixel centers sit on integers.
 *
 * `drawing` has the skeleton: `limbs`, `sides`, `colors` and `keypoint_names`. `options`: `threshold`, `showBoxes`,
 * and `labels`, the annotated instances of `/compare`.
 */
export function drawInstances(svg, instances, size, drawing, options) {
  svg.setAttribute('viewBox', `-0.5 -0.5 ${size.width} ${size.height}`);
  const unit = Math.max(size.width, size.height) / 600, parts = [];
  const draw = {drawing, unit, ...options};
  for (const label of options.labels ?? []) parts.push(drawLabel(label, draw));
  instances.forEach((instance, n) => parts.push(drawSkeleton(instance, n, draw)));
  const hasNumbers = instances.length > 1 || instances.some(instance => instance.id > 1);
  if (hasNumbers) instances.forEach((instance, n) => parts.push(...drawNumber(instance, n, draw)));
  svg.replaceChildren(...parts);
}

/** Draw one instance: a dark edge under everything, limbs, then keypoints; limbs are as wide as 1/50 of its extent. */
function drawSkeleton(instance, n, {drawing, unit, threshold, showBoxes}) {
  const keypoints = instance.keypoints, edge = drawing.colors.edge;
  const limbWidth = Math.min(8 * unit, Math.max(1.5 * unit, measureExtent(keypoints, 180 * unit) / 50));
  const limbs = drawing.limbs.filter(([a, b]) => isDrawn(keypoints[a], threshold) && isDrawn(keypoints[b], threshold));
  const group = createElement('g');
  if (showBoxes && instance.box_xyxy) group.append(drawBox(instance.box_xyxy, unit));
  group.append(...limbs.map(limb => drawLimb(keypoints, limb, edge, limbWidth + 2 * unit)));
  group.append(...limbs.map(limb => drawLimb(keypoints, limb, drawing.colors[limb[2]], limbWidth)));
  keypoints.forEach((keypoint, k) => {
    if (!isDrawn(keypoint, threshold)) return;
    const title = `${spaced(drawing.keypoint_names[k])}, ${keypoint[2].toFixed(2)}`;
    group.append(createElement('circle', {
      cx: keypoint[0], cy: keypoint[1], r: 0.9 * limbWidth, fill: drawing.colors[drawing.sides[k]],
      stroke: edge, 'stroke-width': unit, 'data-instance': n, 'data-keypoint': k,
    }, createElement('title', {}, title)));
  });
  return group;
}

function measureExtent(keypoints, fallback) {
  const known = keypoints.filter(hasPosition);
  if (known.length < 2) return fallback;
  const along = axis => Math.max(...known.map(k => k[axis])) - Math.min(...known.map(k => k[axis]));
  return Math.max(along(0), along(1));
}

function drawLimb(keypoints, [a, b], stroke, width) {
  return createElement('line', {
    x1: keypoints[a][0], y1: keypoints[a][1], x2: keypoints[b][0], y2: keypoints[b][1],
    stroke, 'stroke-width': width, 'stroke-linecap': 'round',
  });
}

export function drawBox([left, top, right, bottom], unit, stroke = '#f2f2f2') {
  return createElement('rect', {
    x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top), rx: 2 * unit,
    fill: 'none', stroke, 'stroke-width': 1.2 * unit, 'stroke-dasharray': `${5 * unit} ${3 * unit}`,
  });
}

/** Draw an annotated instance: yellow lines and squares. */
function drawLabel(label, {drawing, unit}) {
  const points = label.keypoints, group = createElement('g', {class: 'labels'}), size = 7 * unit;
  for (const [a, b] of drawing.limbs)
    if (points[a] && points[b]) group.append(drawLimb(points, [a, b], '#ffd84d', 1.2 * unit));
  for (const point of points.filter(Boolean))
    group.append(createElement('rect', {
      x: point[0] - size / 2, y: point[1] - size / 2, width: size, height: size,
      fill: 'none', stroke: '#ffd84d', 'stroke-width': 1.6 * unit,
    }));
  return group;
}

/** Draw the id or the number of one of several instances, above its uppermost drawn keypoint. */
function drawNumber(instance, n, {unit, threshold}) {
  const drawn = instance.keypoints.filter(keypoint => isDrawn(keypoint, threshold));
  const [top] = drawn.sort((a, b) => a[1] - b[1]);
  if (!top) return [];
  const size = 18 * unit, y = Math.max(size, top[1] - 10 * unit);
  return [createElement('text', {
    x: top[0], y, fill: '#fff', stroke: '#141414', 'stroke-width': 3 * unit, 'paint-order': 'stroke',
    'font-size': size, 'font-weight': 700, 'font-family': 'sans-serif', 'text-anchor': 'middle',
  }, instance.id ?? n + 1)];
}

// --- the table ------------------------------------------------------------------------------------------------------

/** Fill the table with a row per keypoint; with `distances` (px, by instance and keypoint) in a column of their own. */
export function fillTable(table, instances, drawing, threshold, distances = null) {
  const titles = ['keypoint', 'x', 'y', 'score', ...(distances ? ['off by'] : [])];
  const head = createElement('tr', {}, ...titles.map(title => createElement('th', {scope: 'col'}, title)));
  const bodies = instances.map((instance, n) => {
    const name = `instance ${instance.id ?? n + 1}, score ${toFixed(instance.score, 2)}`;
    const heading = createElement('th', {colspan: titles.length, scope: 'rowgroup'}, name);
    const rows = instance.keypoints.map((keypoint, k) => {
      const row = createRow(keypoint, n, k, drawing, distances?.[n]?.[k]);
      row.classList.toggle('below', !isDrawn(keypoint, threshold));
      if (distances) row.append(createElement('td', {}, toFixed(distances[n]?.[k], 1)));
      return row;
    });
    return createElement('tbody', {}, createElement('tr', {class: 'instance'}, heading), ...rows);
  });
  table.replaceChildren(createElement('thead', {}, head), ...bodies);
}

function createRow([x, y, score], n, k, drawing) {
  const swatch = createElement('i'), scoreCell = createElement('td', {class: 'score'}, toFixed(score, 2));
  swatch.style.background = drawing.colors[drawing.sides[k]];
  scoreCell.style.setProperty('--score', `${Math.min(100, 100 * (score ?? 0))}%`);
  const nameCell = createElement('td', {}, swatch, spaced(drawing.keypoint_names[k]));
  const position = [x, y].map(value => createElement('td', {}, toFixed(value, 1)));
  return createElement('tr', {'data-instance': n, 'data-keypoint': k}, nameCell, ...position, scoreCell);
}

/** Highlight the keypoint under the pointer, in the image and in the table alike. */
export function highlightKeypoint(event, svg) {
  const hovered = event.target.closest?.('[data-keypoint]');
  document.querySelectorAll('.hovered').forEach(row => row.classList.remove('hovered'));
  svg.querySelectorAll('circle[data-ring]').forEach(ring => ring.remove());
  if (!hovered) return;
  const {instance, keypoint} = hovered.dataset;
  const selector = `[data-instance="${instance}"][data-keypoint="${keypoint}"]`;
  document.querySelector(`tr${selector}`)?.classList.add('hovered');
  const circle = svg.querySelector(`circle${selector}`);
  if (!circle) return;
  const radius = Number(circle.getAttribute('r'));
  svg.append(createElement('circle', {
    cx: circle.getAttribute('cx'), cy: circle.getAttribute('cy'), r: 2.2 * radius, fill: 'none',
    stroke: '#fff', 'stroke-width': 0.5 * radius, 'pointer-events': 'none', 'data-ring': '',
  }));
}

// --- boxes ----------------------------------------------------------------------------------------------------------

/** Return the position of a pointer in px of the image that fills a stage as `object-fit: contain` does. */
function toImagePoint(event, stage, size) {
  const area = stage.getBoundingClientRect();
  const scale = Math.min(area.width / size.width, area.height / size.height);
  const left = area.left + (area.width - scale * size.width) / 2;
  const top = area.top + (area.height - scale * size.height) / 2;
  const clamp = (value, limit) => Math.min(limit, Math.max(0, value));
  return [clamp((event.clientX - left) / scale, size.width), clamp((event.clientY - top) / scale, size.height)];
}

/**
 * Let the user drag boxes on a stage. `getSize` returns the size of the image, or null where no box can be drawn;
 * `onBox` receives the corners in px: x, y, x, y.
 */
export function addBoxDragging(stage, svg, getSize, onBox) {
  let start = null;
  const toCorners = event => {
    const end = toImagePoint(event, stage, getSize());
    return [0, 1].map(i => Math.min(start[i], end[i])).concat([0, 1].map(i => Math.max(start[i], end[i])));
  };
  const clear = () => svg.querySelector('[data-drag]')?.remove();
  stage.addEventListener('pointerdown', event => {
    if (!getSize() || event.button !== 0) return;
    start = toImagePoint(event, stage, getSize());
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener('pointermove', event => {
    if (!start) return;
    const size = getSize(), unit = Math.max(size.width, size.height) / 600;
    clear();
    const box = drawBox(toCorners(event), unit, '#6ea8ff');
    box.setAttribute('data-drag', '');
    svg.append(box);
  });
  stage.addEventListener('pointerup', event => {
    if (!start) return;
    const [left, top, right, bottom] = toCorners(event), size = getSize();
    start = null;
    clear();
    const minSide = Math.max(size.width, size.height) / 100;  // a click is no box
    if (right - left >= minSide && bottom - top >= minSide) onBox([left, top, right, bottom]);
  });
  stage.addEventListener('pointercancel', () => { start = null; clear(); });
}

// --- files ----------------------------------------------------------------------------------------------------------

/** Save a Blob, or the content of a URL, as a file. */
export function saveFile(source, name) {
  const href = source instanceof Blob ? URL.createObjectURL(source) : source;
  createElement('a', {href, download: name}).click();
  if (source instanceof Blob) setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

export const stemOf = name => name.replace(/\.[^.]*$/, '');

/** Return a PNG file (a Blob) of an image, a video's frame or a canvas with the SVG drawing over it. */
export async function renderDrawing(media, svg, size) {
  const canvas = createElement('canvas', {width: size.width, height: size.height});
  const context = canvas.getContext('2d');
  context.drawImage(media, 0, 0, size.width, size.height);
  const copy = svg.cloneNode(true);
  copy.setAttribute('width', size.width);
  copy.setAttribute('height', size.height);
  const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], {type: 'image/svg+xml'}));
  const image = new Image();
  image.src = url;
  await image.decode();
  context.drawImage(image, 0, 0);
  URL.revokeObjectURL(url);
  return new Promise(resolve => canvas.toBlob(resolve, 'image/png'));
}

/** Fill an element with the colors of the sides. */
export function fillLegend(element, drawing, hasLabels = false) {
  const left = drawing.centric === 'observer' ? "the image's left" : "the person's left";
  const entries = ['left', 'right', 'middle'].map(side => [side, side === 'left' ? `left (${left})` : side]);
  if (hasLabels) entries.push(['label', 'labels']);
  element.replaceChildren(...entries.map(([kind, text]) => createElement('span', {}, createElement('i', {class: kind}), text)));
}
