// The page that `poseplug export --web` writes: it runs the exported model in the browser, on images, videos and the
// camera. Nothing is sent: the page may connect to its own folder alone (Content-Security-Policy in index.html).

import {
  Camera, chooseFile, clearVideo, createRateMeter, drawShown, listenToFiles, listenToPointer, readThreshold, saveDrawing,
  showStatus,
} from './controls.js';
import {addBoxDragging, countNoun, fillLegend, find, saveFile, spaced, stemOf, toText} from './drawing.js';

const CSV_COLUMNS = ['image', 'instance', 'keypoint', 'x', 'y', 'score'];

let model = null;      // the content of model.json
let worker = null;
let source = null;     // {kind: 'image' | 'video' | 'camera', name, boxes, image (ImageData), frames}
let shown = null;      // what is drawn: {width, height, instances}
let requestCount = 0;
const camera = new Camera();
const waiting = new Map();  // of requests to the worker: number -> [resolve, reject]

// --- the worker -----------------------------------------------------------------------------------------------------

function startWorker() {
  worker = new Worker('model_worker.js', {type: 'module'});
  return new Promise((resolve, reject) => {
    worker.onmessage = ({data}) => {
      if (data.kind === 'progress') return showProgress(data.received, data.total);
      if (data.kind === 'compiling') return showStatus('Preparing the model …');
      if (data.kind === 'ready') return resolve(data);
      const [finish, fail] = waiting.get(data.id) ?? [null, reject];
      waiting.delete(data.id);
      if (data.kind === 'error') fail(new Error(data.message));
      else finish(data);
    };
    worker.onerror = event => reject(new Error(event.message || 'a script of the page cannot be read'));
    worker.postMessage({kind: 'load', settings: model});
  });
}

/** Return the instances of an image ({data, width, height}), and the milliseconds it took. */
function predict(image, boxes) {
  const id = ++requestCount;
  worker.postMessage({kind: 'predict', id, image, boxes});
  return new Promise((resolve, reject) => waiting.set(id, [resolve, reject]));
}

function showProgress(received, total) {
  if (total) Object.assign(find('progress'), {max: total, value: received});
  const mebibytes = bytes => (bytes / 2 ** 20).toFixed(1);
  showStatus(`Loading the model, ${mebibytes(received)}${total ? ` of ${mebibytes(total)}` : ''} MiB`);
}

/** Read the pixels of a canvas, a bitmap or a video's frame, as they are decoded. */
function readPixels(media, width, height) {
  const canvas = find('canvas');
  Object.assign(canvas, {width, height});
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(media, 0, 0, width, height);
  const {data} = context.getImageData(0, 0, width, height);
  return {data, width, height};
}

// --- images ---------------------------------------------------------------------------------------------------------

async function openImage(blob, name) {
  closeSource();
  const current = source = {kind: 'image', name, boxes: []};
  try {
    // No color management and no premultiplied alpha: the bytes of the file, turned upright, as Python reads them.
    const options = {colorSpaceConversion: 'none', premultiplyAlpha: 'none', imageOrientation: 'from-image'};
    const bitmap = await createImageBitmap(blob, options);
    if (source !== current) return;
    source.image = readPixels(bitmap, bitmap.width, bitmap.height);
  } catch {
    showResult(false);
    return showStatus('', `${name}: the browser cannot read it as an image.`);
  }
  showResult(true);
  await predictImage();
}

async function predictImage() {
  const current = source, {image, name, boxes} = source;
  showStatus(`Predicting ${name} …`);
  try {
    const {instances, ms} = await predict(image, boxes);
    if (source !== current || boxes !== source.boxes) return;
    show(image, instances);
    const count = countNoun(instances.length, 'instance');
    showStatus(`${name}: ${toText(image.width)} × ${toText(image.height)} px, ${count}, ${Math.round(ms)} ms`);
  } catch (error) {
    showStatus('', `${name}: ${error.message}`);
  }
}

// --- videos and the camera ------------------------------------------------------------------------------------------

async function openVideo(file) {
  closeSource();
  source = {kind: 'video', name: file.name, boxes: [], frames: new Map()};
  const video = find('video');
  Object.assign(video, {src: URL.createObjectURL(file), controls: true});
  showResult(true);
  showStatus(`${file.name}: frames are predicted as the video plays.`);
  await video.play().catch(() => {});
  await followVideo(source);
}

async function toggleCamera() {
  if (camera.isOn) return stopCamera();
  closeSource();
  try {
    await camera.open();
  } catch (error) {
    return showStatus('', error.message);
  }
  source = {kind: 'camera', name: 'camera.jpg', boxes: []};
  showResult(true);
  await find('video').play();
  await followVideo(source);
}

const nextFrame = () => new Promise(resolve => requestAnimationFrame(resolve));

/** Predict the frame that is shown, then the one that is shown by then, until the source changes. */
async function followVideo(current) {
  const video = find('video'), toRate = createRateMeter();
  let lastTime = -1, lastBoxes = null;
  while (source === current) {
    await nextFrame();
    const time = video.currentTime, {videoWidth: width, videoHeight: height} = video;
    if (source !== current || !width || (time === lastTime && lastBoxes === current.boxes)) continue;
    [lastTime, lastBoxes] = [time, current.boxes];
    const start = performance.now(), image = readPixels(video, width, height);
    let result;
    try {
      result = await predict(image, current.boxes);
    } catch (error) {
      return showStatus('', `${current.name}: ${error.message}`);
    }
    if (source !== current || (current.kind === 'camera' && !camera.isOn)) return;
    current.frames?.set(time, result.instances);
    show({width, height}, result.instances);
    const rate = toRate(performance.now() - start);
    const title = current.kind === 'camera' ? 'Camera' : current.name;
    showStatus(`${title}: ${countNoun(result.instances.length, 'instance')}, ${rate.toFixed(1)} frames/s`);
  }
}

function stopCamera() {
  camera.stop();
  if (source?.kind === 'camera') showStatus('The camera is off; the last frame is shown.');
}

// --- what is shown --------------------------------------------------------------------------------------------------

function closeSource() {
  source = null;
  stopCamera();
  clearVideo();
  shown = null;
  find('overlay').replaceChildren();
  showStatus('');
}

function showResult(isShown) {
  const isImage = source?.kind === 'image';
  find('result').hidden = !isShown;
  find('empty').hidden = isShown;
  find('canvas').hidden = !isImage;
  find('video').hidden = isImage;
  find('box-tools').hidden = !model.accepts_boxes;
  find('stage').classList.toggle('boxes', model.accepts_boxes && source?.kind !== 'video');
  find('save-note').textContent = source?.kind === 'video' ? 'JSON and CSV have the frames that were predicted so far.' : '';
}

function show({width, height}, instances) {
  shown = {width, height, instances};
  draw();
}

function draw() {
  find('threshold-value').textContent = readThreshold().toFixed(2);
  if (!shown) return;
  find('clear-boxes').disabled = !source.boxes.length;
  const isMoving = camera.isOn || (source.kind === 'video' && !find('video').paused);
  drawShown(shown, model, {isMoving});
}

function changeBoxes(boxes) {
  source.boxes = boxes;  // a new list: what was predicted with another one is out of date
  if (source.kind === 'image') predictImage();
}

// --- files ----------------------------------------------------------------------------------------------------------

const roundTo = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;

/** Return an instance as result files have it: px with 2 digits, scores with 4. */
const toResult = ({score, keypoints, box_xyxy: box}) => ({
  score: roundTo(score, 4),
  keypoints: keypoints.map(([x, y, s]) => [roundTo(x, 2), roundTo(y, 2), roundTo(s, 4)]),
  ...(box ? {box_xyxy: box.map(value => roundTo(value, 2))} : {}),
});

/** Return the results: of an image as in results.json, of a video with the seconds of each frame. */
function collectResults() {
  const {model: name, skeleton, centric, keypoint_names, score_meaning} = model;
  const header = {model: name, skeleton, centric, keypoint_names, score_meaning};
  const {width, height} = shown, size = {file: source.name, width, height};
  if (source.kind !== 'video')
    return {...header, images: [{...size, instances: shown.instances.map(toResult)}]};
  const frames = [...source.frames].sort((a, b) => a[0] - b[0]);
  return {...header, ...size, frames: frames.map(([seconds, instances]) =>
    ({seconds: roundTo(seconds, 6), instances: instances.map(toResult)}))};
}

function toCsv(results) {
  const isVideo = Boolean(results.frames), rows = [[...(isVideo ? ['seconds'] : []), ...CSV_COLUMNS]];
  const add = (instances, first) => instances.forEach((instance, n) => instance.keypoints.forEach((keypoint, k) =>
    rows.push([...first, source.name, n, results.keypoint_names[k], ...keypoint])));
  if (isVideo) results.frames.forEach(frame => add(frame.instances, [frame.seconds]));
  else add(results.images[0].instances, []);
  const quote = value => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  return rows.map(row => `${row.map(quote).join(',')}\n`).join('');
}

function saveResults(kind) {
  if (!shown) return;
  const results = collectResults();
  const text = kind === 'csv' ? toCsv(results) : `${JSON.stringify(results, null, 1)}\n`;
  saveFile(new Blob([text], {type: kind === 'csv' ? 'text/csv' : 'application/json'}), `${stemOf(source.name)}_poses.${kind}`);
}

function openFiles(files) {
  const file = chooseFile(files);
  if (!file) return;
  return file.type.startsWith('video/') ? openVideo(file) : openImage(file, file.name || 'image.png');
}

// --- start ----------------------------------------------------------------------------------------------------------

function describeModel({threads}) {
  const task = model.accepts_boxes ? 'expects an image of one whole person, or boxes' : 'finds the instances in an image';
  const license = model.license ? `; license of the weights: ${model.license}` : '';
  find('model').textContent =
    `${model.model}: ${model.keypoint_names.length} keypoints of ${spaced(model.skeleton)}; ${task}${license}`;
  find('score-meaning').textContent = `x and y in pixels from the upper left; score: ${model.score_meaning}.`;
  fillLegend(find('legend'), model);
  find('file').disabled = find('camera').disabled = false;
  find('progress').hidden = true;
  showStatus(`The model is ready, on ${countNoun(threads, 'thread')}.`);
}

function addListeners() {
  listenToFiles(openFiles);
  find('camera').addEventListener('click', toggleCamera);
  for (const id of ['threshold', 'show-boxes']) find(id).addEventListener('input', draw);
  find('save-json').addEventListener('click', () => saveResults('json'));
  find('save-csv').addEventListener('click', () => saveResults('csv'));
  find('save-drawing').addEventListener('click', () => {
    if (shown) saveDrawing(find(source.kind === 'image' ? 'canvas' : 'video'), shown, source.name);
  });
  find('clear-boxes').addEventListener('click', () => changeBoxes([]));
  listenToPointer();
  find('video').addEventListener('error', () => {
    if (source?.kind === 'video') showStatus('', `${source.name}: the browser cannot play this video.`);
  });
  const getSize = () => (shown && model.accepts_boxes && source.kind !== 'video' ? shown : null);
  addBoxDragging(find('stage'), find('overlay'), getSize, box => changeBoxes([...source.boxes, box]));
}

async function start() {
  try {
    model = await (await fetch('model.json')).json();
    describeModel(await startWorker());
    addListeners();
  } catch (error) {
    find('progress').hidden = true;
    showStatus('', `The model cannot be loaded: ${error.message}`);
  }
}

start();
