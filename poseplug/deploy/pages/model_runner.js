// From the pixels of an image to instances, as `poseplug.deploy.runtime` computes them in Python: crops by the rules in
// the metadata of the exported file, one run of the model for all of them, and the way back to px of the image.
//
// A matrix from image to input px has no rotation here: {sx, sy, tx, ty} with x_input = sx * x + tx. Pixel centers sit
// on integers. Sizes are [width, height].

const PADDING_OF_SMALL_BOXES_PX = 1;  // sides of a box that are smaller count as this: a point has no scale

const centerOf = size => size.map(length => (length - 1) / 2);

/** Return the matrix that scales by `scale` and moves `center` to the center of the input. */
function cropMatrix(center, scale, inputSize) {
  const target = centerOf(inputSize);
  return {sx: scale, sy: scale, tx: target[0] - scale * center[0], ty: target[1] - scale * center[1]};
}

/** Return the matrix that fits a box into the input by one of five rules: `fit_matrix` in poseplug.core.geometry. */
export function fitMatrix(center, boxSize, inputSize, rule) {
  const extent = boxSize.map(length => Math.max(length, PADDING_OF_SMALL_BOXES_PX));
  if (rule === 'released_hrnet' || rule === 'released_udp') {
    return fitInSinglePrecision(center, extent, inputSize, rule);
  }
  const available = inputSize.map(length => (rule === 'corners' ? length - 1 : length));
  let scale = Math.min(...available.map((length, i) => length / extent[i]));
  if (rule === 'released_dark') scale = (inputSize[0] - 1) / Math.max(inputSize[0] / scale - 1, 1);
  return cropMatrix(center, scale, inputSize);
}

/** Return the crops of HRNet, MMPose and UDP-Pose, rounded to 32 bits as their code does, and as Python does here. */
function fitInSinglePrecision(center, extent, inputSize, rule) {
  const round = Math.fround;
  const [x, y] = center.map(round), [width, height] = extent.map(round), [columns, rows] = inputSize;
  const aspect = round(columns / rows), widthByHeight = round(height * aspect);
  const fullWidth = Math.max(width, widthByHeight);
  const halfWidth = round(fullWidth * 0.5);
  if (rule === 'released_udp') {
    const fullHeight = widthByHeight >= width ? height : round(width / aspect);
    const [sx, sy] = [round((columns - 1) / fullWidth), round((rows - 1) / fullHeight)];
    const halfHeight = round(fullHeight * 0.5);
    return {sx, sy, tx: round(sx * round(halfWidth - x)), ty: round(sy * round(halfHeight - y))};
  }
  const radius = round(x - round(x - halfWidth)), radiusY = round(round(y + radius) - y);
  const [sx, sy] = [columns / 2 / radius, columns / 2 / radiusY];
  return {sx, sy, tx: columns / 2 - sx * x, ty: rows / 2 - sy * y};
}

/** Return the matrix that fits a whole image into the center of the input: `letterbox_matrix` in poseplug.core.crops. */
export function letterboxMatrix(imageSize, inputSize, fillFraction = 1, side = 'longer', rule = 'pixels') {
  if (rule === 'released_hrnet') {
    const extent = [side === 'longer' ? imageSize[0] : 1, imageSize[1]].map(length => length / fillFraction);
    return fitMatrix(imageSize.map(length => length / 2), extent, inputSize, rule);
  }
  let factor = inputSize[1] / imageSize[1];
  if (side === 'longer') factor = Math.min(factor, inputSize[0] / imageSize[0]);
  return cropMatrix(centerOf(imageSize), fillFraction * factor, inputSize);
}

/** Return the matrices of the crops: one for each box (x, y, x, y), or one for the whole image without boxes. */
export function listMatrices(imageSize, boxes, settings) {
  const {crop, input_size: inputSize} = settings;
  const wholeBox = [0, 0, ...imageSize];
  const isBox = crop?.image?.type === 'box';
  if (crop?.box && (boxes.length || isBox)) {
    const {padding, crop_rule: rule} = crop.box;
    return (boxes.length ? boxes : [wholeBox]).map(([left, top, right, bottom]) =>
      fitMatrix([(left + right) / 2, (top + bottom) / 2], [padding * (right - left), padding * (bottom - top)],
        inputSize, rule));
  }
  const {type, fill_fraction: fraction, side, crop_rule: rule} = crop?.image ?? {};
  // Images that are fitted into inputs of their own shape fill the one shape that the page's file has.
  return [letterboxMatrix(imageSize, inputSize, fraction, type === 'letterbox' ? side : undefined, rule)];
}

// --- the warp -------------------------------------------------------------------------------------------------------

/** Weights of the pixels at -1, 0, 1 and 2 from the one before a position, `t` behind it (Keys, with a = -0.75). */
function cubicWeights(t) {
  const a = -0.75, u = 1 - t;
  const before = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
  const here = ((a + 2) * t - (a + 3)) * t * t + 1;
  const next = ((a + 2) * u - (a + 3)) * u * u + 1;
  return [before, here, next, 1 - before - here - next];
}

/** For every pixel of an axis of the input: the first pixel of the image that counts, and the weights from there on. */
function sampleAxis(length, scale, offset, isCubic) {
  return Array.from({length}, (_, i) => {
    const position = (i - offset) / scale, first = Math.floor(position), t = position - first;
    return isCubic ? {first: first - 1, weights: cubicWeights(t)} : {first, weights: [1 - t, t]};
  });
}

/**
 * Warp an image ({data: RGBA bytes, width, height}) into an input of BGR values, written to `target` from `offset` on.
 * Pixels outside the image have the fill color (BGR), as in OpenCV's warpAffine.
 */
export function warpImage(image, matrix, inputSize, {interpolation, fill_color: fill}, target, offset = 0) {
  const isCubic = interpolation === 'cubic', {data, width, height} = image;
  const columns = sampleAxis(inputSize[0], matrix.sx, matrix.tx, isCubic);
  const rows = sampleAxis(inputSize[1], matrix.sy, matrix.ty, isCubic);
  const taps = isCubic ? 4 : 2;
  let position = offset;
  for (const row of rows) {
    for (const column of columns) {
      let blue = 0, green = 0, red = 0;
      for (let i = 0; i < taps; i++) {
        const y = row.first + i, isRow = y >= 0 && y < height;
        for (let j = 0; j < taps; j++) {
          const x = column.first + j, weight = row.weights[i] * column.weights[j];
          if (isRow && x >= 0 && x < width) {
            const pixel = 4 * (y * width + x);
            red += weight * data[pixel];
            green += weight * data[pixel + 1];
            blue += weight * data[pixel + 2];
          } else {
            blue += weight * fill[0];
            green += weight * fill[1];
            red += weight * fill[2];
          }
        }
      }
      target[position++] = toByte(blue);
      target[position++] = toByte(green);
      target[position++] = toByte(red);
    }
  }
}

const toByte = value => Math.min(255, Math.max(0, Math.round(value)));

// --- the model ------------------------------------------------------------------------------------------------------

/** An exported model. `ort` is the module of onnxruntime-web, `settings` the content of model.json. */
export class ModelRunner {
  constructor(ort, session, settings) {
    Object.assign(this, {ort, session, settings});
  }

  /** Return the instances of an image, in its px; `boxes` (x, y, x, y each) are for models of one instance alone. */
  async predict(image, boxes = []) {
    const size = [image.width, image.height], isTopDown = this.settings.kind === 'top_down';
    const matrices = listMatrices(size, isTopDown ? boxes : [], this.settings);
    const outputs = await this.session.run({images: this.buildInput(image, matrices)});
    return isTopDown ? this.readCrops(outputs, matrices, boxes) : this.readInstances(outputs, matrices[0], size);
  }

  buildInput(image, matrices) {
    const [width, height] = this.settings.input_size, area = 3 * width * height;
    const isFloat = this.settings.input_type === 'float32';
    const data = new (isFloat ? Float32Array : Uint8Array)(matrices.length * area);
    const crop = this.settings.crop ?? {interpolation: 'linear', fill_color: [114, 114, 114]};
    matrices.forEach((matrix, n) => warpImage(image, matrix, [width, height], crop, data, n * area));
    return new this.ort.Tensor(isFloat ? 'float32' : 'uint8', data, [matrices.length, height, width, 3]);
  }

  /** One instance per crop. */
  readCrops(outputs, matrices, boxes) {
    return matrices.map((matrix, n) => ({
      score: outputs.instance_scores.data[n],
      keypoints: this.readKeypoints(outputs, n, matrix),
      ...(boxes.length ? {box_xyxy: boxes[n]} : {}),
    }));
  }

  /** All instances of a whole image; those whose boxes lie in the padding are left out. */
  readInstances(outputs, matrix, [width, height]) {
    const instances = Array.from(outputs.instance_scores.data, (score, n) => {
      const [left, top, right, bottom] = outputs.boxes.data.slice(4 * n, 4 * n + 4);
      const box = [...toImage(left, top, matrix), ...toImage(right, bottom, matrix)];
      return {score, keypoints: this.readKeypoints(outputs, n, matrix), box_xyxy: box};
    });
    const isInside = ([left, top, right, bottom]) =>
      right > -0.5 && bottom > -0.5 && left < width - 0.5 && top < height - 0.5;
    return instances.filter(instance => isInside(instance.box_xyxy));
  }

  readKeypoints(outputs, n, matrix) {
    const count = this.settings.keypoint_names.length;
    return Array.from({length: count}, (_, k) => {
      const index = n * count + k, {data} = outputs.keypoints;
      return [...toImage(data[2 * index], data[2 * index + 1], matrix), outputs.keypoint_scores.data[index]];
    });
  }
}

const toImage = (x, y, {sx, sy, tx, ty}) => [(x - tx) / sx, (y - ty) / sy];
