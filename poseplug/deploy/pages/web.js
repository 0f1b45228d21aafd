// The page of `poseplug web`: sends images, videos and camera frames to the server it came from, and shows the results.

import {
  Camera, chooseFile, clearVideo, createRateMeter, drawShown, listenToFiles, listenToInput, listenToPointer,
  readThreshold, saveDrawing, showError, showStatus,
} from './controls.js';
import {addBoxDragging, countNoun, createElement, fillLegend, find, saveFile, stemOf, toFixed, toText} from './drawing.js';

const POLL_MS = 400;
const CAMERA_SIDE_PX = 640;  // of the frames that are sent

let page = null;             // the content of /model
let modelIndex = 0;
let source = null;           // {kind: 'image', blob, name, boxes} | {kind: 'video', file, name} | {kind: 'camera', name}
let shown = null;            // what is drawn: {width, height, instances}
let response = null;         // the last response of /predict
let labels = null;           // the content of /labels, with the name of its file
let comparison = null;       // the content of /compare for the image that is shown
let request = null;          // the AbortController of the request under way
let job = null;              // of a video: {token, frames, state}
const camera = new Camera();

// --- requests -------------------------------------------------------------------------------------------------------

/** Return the response of a request; a refused one is an Error with the server's message. */
async function sendRequest(path, options) {
  const answer = await fetch(path, options).catch(error => {
    throw error.name === 'AbortError' ? error : new Error('the server does not answer; is it still running?');
  });
  if (answer.ok) return answer;
  const content = await answer.json().catch(() => ({error: `the server answered ${answer.status}`}));
  throw new Error(content.error);
}

const fetchJson = async (path, options) => (await sendRequest(path, options)).json();
const toPost = content => ({method: 'POST', body: JSON.stringify(content)});
const withQuery = (path, parameters) => `${path}?${new URLSearchParams({model: modelIndex, ...parameters})}`;

function checkSize(file, limit, noun) {
  if (file.size > limit)
    throw new Error(`${toText(file.size)} bytes exceed the limit of ${toText(limit)}; make the ${noun} smaller`);
}

// --- images ---------------------------------------------------------------------------------------------------------

function openImage(blob, name) {
  closeSource();
  source = {kind: 'image', blob, name, boxes: []};
  return predictImage();
}

async function predictImage() {
  const {blob, name, boxes} = source, current = source;
  request?.abort();
  request = new AbortController();
  showStatus(`Predicting ${name} …`, '', true);
  const start = performance.now();
  try {
    checkSize(blob, page.max_bytes, 'image');
    const query = boxes.length ? {boxes: boxes.flat().map(value => value.toFixed(2)).join(',')} : {};
    const content = await fetchJson(withQuery('/predict', query), {method: 'POST', body: blob, signal: request.signal});
    if (source !== current) return;
    response = content;
    shown = response.images[0];
    await showImageResult();
    const seconds = ((performance.now() - start) / 1000).toFixed(1), {width, height, instances} = shown;
    showStatus(`${name}: ${toText(width)} × ${toText(height)} px, ${countNoun(instances.length, 'instance')}, ${seconds} s`);
  } catch (error) {
    if (error.name === 'AbortError' || source !== current) return;
    if (!response) showResult(false);
    showStatus('', `${name}: ${error.message}`);
  }
}

async function showImageResult() {
  find('image').src = response.image_url;
  find('image').alt = source.name;
  await find('image').decode();
  showResult(true);
  const hasHeatmaps = response.heatmaps_url !== null, image = find('heatmaps-image');
  image.parentElement.hidden = find('save-heatmaps').hidden = !hasHeatmaps;
  if (hasHeatmaps) image.src = response.heatmaps_url;
  image.alt = `Heatmaps: ${response.note}`;
  find('note').textContent = response.note;
  await compareLabels();
  draw();
}

// --- videos ---------------------------------------------------------------------------------------------------------

async function openVideo(file) {
  closeSource();
  source = {kind: 'video', file, name: file.name};
  const video = find('video');
  video.src = URL.createObjectURL(file);
  video.controls = true;
  showResult(true);
  await predictVideo();
}

async function predictVideo() {
  const {file, name} = source, current = source;
  shown = null;
  draw();
  showStatus(`Sending ${name} …`);
  try {
    checkSize(file, page.max_video_bytes, 'video');
    const smooth = find('smooth').checked ? '1' : '0';
    const query = {name, smooth, threshold: readThreshold()};
    showProgress(0, 1, 'sending');
    const {token} = await fetchJson(withQuery('/videos', query), {method: 'POST', body: file});
    job = {token, frames: [], state: 'running', width: 0, height: 0};
    await followJob(job, name);
  } catch (error) {
    if (source === current) showStatus('', `${name}: ${error.message}`);
  } finally {
    if (source === current) find('job').hidden = true;
  }
}

/** Read the frames of a job as they are predicted, until it ends. */
async function followJob(current, name) {
  const start = performance.now();
  let offset = 0;
  while (job === current) {
    const part = await fetchJson(`/videos/${current.token}?offset=${offset}`);
    if (job !== current) return;
    if (part.width) Object.assign(current, {width: part.width, height: part.height});
    current.frames.push(...part.frames);
    current.state = part.state;
    const isOver = !['waiting', 'running'].includes(part.state);
    if (isOver && part.offset === offset) break;
    offset = part.offset;
    const rate = current.frames.length / ((performance.now() - start) / 1000);
    showProgress(current.frames.length, part.num_frames, `${rate.toFixed(1)} frames/s`);
    showStatus(`${name}: ${countNoun(current.frames.length, 'frame')} predicted`);
    drawVideoFrame(true);
    if (!isOver) await new Promise(resolve => setTimeout(resolve, POLL_MS));
    else if (part.error) throw new Error(part.error);
  }
  const ids = new Set(current.frames.flatMap(frame => frame.instances.map(instance => instance.id)));
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const count = `${countNoun(current.frames.length, 'frame')}, ${countNoun(ids.size, 'instance')}`;
  showStatus(current.state === 'finished' ? `${name}: ${count}, ${seconds} s` : `${name}: stopped after ${count}`);
  draw();
}

function showProgress(value, total, text) {
  find('job').hidden = false;
  const bar = find('progress');
  if (total) Object.assign(bar, {max: total, value});
  else bar.removeAttribute('value');
  find('progress-text').textContent = text;
}

/** Show the result of the frame that the video shows: the last one whose time has come. */
function drawVideoFrame(always = false) {
  if (!job?.frames.length) return;
  const time = find('video').currentTime + 1e-3, frames = job.frames;
  let low = 0, high = frames.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (frames[middle].seconds <= time) low = middle;
    else high = middle;
  }
  const frame = frames[low];
  if (!always && shown?.index === frame.index) return;
  shown = {width: frame.width ?? job.width, height: frame.height ?? job.height, ...frame};
  draw();
}

function followPlayback() {
  if (source?.kind === 'video') drawVideoFrame();
  requestAnimationFrame(followPlayback);
}

/** The browser cannot play every video that the server reads: then the drawn one is shown when it is there. */
async function showDrawnVideo() {
  if (source?.kind !== 'video' || source.isDrawn) return;
  const current = source;
  source.isDrawn = true;
  showError('error', 'The browser cannot play this video; the drawn one comes when all frames are predicted.');
  while (source === current && job?.state !== 'finished') await new Promise(resolve => setTimeout(resolve, POLL_MS));
  if (source !== current) return;
  const answer = await sendRequest(`/videos/${job.token}/download?formats=video`);
  find('video').src = URL.createObjectURL(new Blob([await answer.arrayBuffer()], {type: 'video/mp4'}));
  showError('error', '');
  draw();
}

// --- camera ---------------------------------------------------------------------------------------------------------

async function toggleCamera() {
  if (camera.isOn) return stopCamera();
  closeSource();
  try {
    await camera.open();
  } catch (error) {
    return showStatus('', error.message);
  }
  source = {kind: 'camera', name: 'camera.jpg'};
  showResult(true);
  await find('video').play();
  await predictCamera(source);
}

async function predictCamera(current) {
  const video = find('video'), canvas = createElement('canvas'), toRate = createRateMeter();
  while (source === current && camera.isOn) {
    const start = performance.now(), scale = Math.min(1, CAMERA_SIDE_PX / Math.max(video.videoWidth, video.videoHeight));
    Object.assign(canvas, {width: scale * video.videoWidth, height: scale * video.videoHeight});
    canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise(resolve => canvas.toBlob(resolve, 'image/jpeg', 0.92));
    let content;
    try {
      content = await fetchJson(withQuery('/predict', {heatmaps: 0}), {method: 'POST', body: blob});
    } catch (error) {
      stopCamera();
      return showStatus('', error.message);
    }
    if (source !== current || !camera.isOn) return;
    response = content;
    shown = response.images[0];
    draw();
    const rate = toRate(performance.now() - start);
    showStatus(`Camera: ${countNoun(shown.instances.length, 'instance')}, ${rate.toFixed(1)} frames/s`);
  }
}

function stopCamera() {
  camera.stop();
  if (source?.kind === 'camera') showStatus('The camera is off; the last frame is shown.');
}

// --- what is shown --------------------------------------------------------------------------------------------------

/** Forget the image, the video or the camera that is shown, and stop what runs for it. */
function closeSource() {
  request?.abort();
  if (job && ['waiting', 'running'].includes(job.state)) fetch(`/videos/${job.token}/stop`, {method: 'POST'});
  source = null;
  stopCamera();
  clearVideo();
  shown = response = comparison = job = null;
  find('job').hidden = true;
  markSample(-1);
  showStatus('');
}

function showResult(isShown) {
  const kind = source?.kind;
  find('result').hidden = !isShown;
  find('empty').hidden = isShown;
  find('image').hidden = kind !== 'image';
  find('video').hidden = kind === 'image';
  find('heatmaps').hidden = kind !== 'image';
  find('labels-card').hidden = kind !== 'image';
  find('smooth-option').hidden = kind !== 'video';
  find('box-tools').hidden = kind !== 'image' || !page.accepts_boxes;
  find('stage').classList.toggle('boxes', !find('box-tools').hidden);
  fillFormats();
}

function draw() {
  find('threshold-value').textContent = readThreshold().toFixed(2);
  find('save-results').disabled = source?.kind === 'video' ? job?.state !== 'finished' : !shown;
  find('save-drawing').disabled = !shown;
  if (!shown) {
    find('table').replaceChildren();
    find('count').textContent = '';
  }
  if (!shown || source?.isDrawn) return find('overlay').replaceChildren();
  find('clear-boxes').disabled = !source?.boxes?.length;
  const isMoving = camera.isOn || (source.kind === 'video' && !find('video').paused);
  const labels = comparison && find('show-labels').checked ? comparison.labels : [];
  drawShown(shown, page, {isMoving, comparison, labels});
}

// --- labels ---------------------------------------------------------------------------------------------------------

async function openLabels(file) {
  showError('labels-error', '');
  try {
    checkSize(file, page.max_bytes, 'file');
    const query = new URLSearchParams({name: file.name});
    labels = {name: file.name, ...await fetchJson(`/labels?${query}`, {method: 'POST', body: file})};
    await compareLabels();
  } catch (error) {
    labels = comparison = null;
    find('labels-note').textContent = '';
    find('figures').hidden = true;
    showError('labels-error', error.message);
  }
  draw();
}

async function compareLabels() {
  comparison = null;
  const isImage = source?.kind === 'image';
  find('figures').hidden = find('show-labels-option').hidden = true;
  fillLegend(find('legend'), page, false);
  if (!labels || !isImage) return;
  const names = Object.keys(labels.images);
  const name = names.length === 1 ? names[0] : source.name;
  const annotated = labels.images[name];
  if (!annotated) {
    const first = names.slice(0, 3).join(', ');
    find('labels-note').textContent =
      `${labels.name} has no image of the name ${source.name}; it has ${countNoun(names.length, 'image')}: ${first}, …`;
    return;
  }
  const content = {instances: shown.instances, labels: annotated};
  comparison = await fetchJson(withQuery('/compare', {}), toPost(content));
  find('labels-note').textContent =
    `${labels.name} (${labels.format}), ${name}: ${countNoun(annotated.length, 'labeled instance')}. PCK@0.1: labeled `
    + 'keypoints within a tenth of the longer side of the labels; instances that are not matched count as wrong.';
  const figures = [['PCK@0.1', comparison.pck === null ? '–' : `${comparison.pck.toFixed(1)} %`],
    ['mean distance', comparison.mean_px === null ? '–' : `${toFixed(comparison.mean_px, 1)} px`]];
  find('figures').replaceChildren(...figures.map(([title, value]) =>
    createElement('div', {}, createElement('b', {}, value), createElement('span', {class: 'soft'}, title))));
  find('figures').hidden = find('show-labels-option').hidden = false;
  fillLegend(find('legend'), page, true);
}

// --- files ----------------------------------------------------------------------------------------------------------

function fillFormats() {
  const formats = source?.kind === 'video' ? page.video_formats : page.formats;
  if (find('formats').dataset.names === String(formats)) return;
  find('formats').dataset.names = formats;
  find('formats').replaceChildren(...formats.map((name, n) => {
    const box = createElement('input', {type: 'checkbox', name: 'format', value: name});
    box.checked = n === 0;
    return createElement('label', {class: 'check'}, box, name);
  }));
}

/** Return the content of results.json for the image that is shown. */
function toResultsFile() {
  const {image_url, heatmaps_url, note, images, ...header} = response;
  return {...header, images: [{file: source.name, ...images[0]}], videos: []};
}

async function saveResults() {
  showError('save-error', '');
  const chosen = [...document.querySelectorAll('[name=format]:checked')].map(box => box.value).join(',');
  try {
    const query = {formats: chosen, threshold: readThreshold()};
    const answer = source.kind === 'video'
      ? await sendRequest(withQuery(`/videos/${job.token}/download`, query))
      : await sendRequest(withQuery('/download', query), toPost(toResultsFile()));
    const [, name] = answer.headers.get('Content-Disposition').split("''");
    saveFile(await answer.blob(), decodeURIComponent(name));
  } catch (error) {
    showError('save-error', error.message);
  }
}

function openFiles(files) {
  const file = chooseFile(files);
  if (!file) return;
  const suffix = file.name.toLowerCase().match(/\.[^.]*$/)?.[0];
  const isVideo = file.type.startsWith('video/') || page.video_suffixes.includes(suffix);
  return isVideo ? openVideo(file) : openImage(file, file.name || 'image.png');
}

async function openSample(n) {
  try {
    const blob = await (await sendRequest(withQuery(`/samples/${n}`, {}))).blob();
    const opened = openImage(blob, `sample_${n + 1}.png`);
    markSample(n);
    await opened;
  } catch (error) {
    showStatus('', error.message);
  }
}

function markSample(n) {
  [...find('samples').children].forEach((button, i) => button.setAttribute('aria-pressed', i === n));
}

// --- start ----------------------------------------------------------------------------------------------------------

function describePage() {
  find('models').hidden = page.models.length < 2;
  find('models').replaceChildren(...page.models.map((name, n) => createElement('option', {value: n}, name)));
  find('models').value = modelIndex;
  const task = page.finds_instances ? 'finds the instances in an image' : 'expects an image of one whole person, or boxes';
  const title = page.models.length < 2 ? `${page.model}: ` : '';
  find('model').textContent = `${title}${page.keypoint_names.length} keypoints of ${page.skeleton}; ${task}`;
  find('privacy').textContent = page.local ? 'on this machine alone' : `served by ${location.host}, not encrypted`;
  find('privacy').classList.toggle('open', !page.local);
  find('footer').textContent = page.local
    ? 'Nothing leaves this machine. Images are not stored; videos are, in a temporary folder, until the server ends.'
    : `Files go to the server at ${location.host}. Images are not stored; videos are until the server ends.`;
  find('score-meaning').textContent = `x and y in pixels from the upper left; score: ${page.score_meaning}.`;
  find('labels-file').accept = page.label_suffixes.join(',');
  fillLegend(find('legend'), page);
  find('samples').replaceChildren(...page.samples.map((name, n) => {
    const title = `Sample ${n + 1}: drawn, ${name}`, src = withQuery(`/samples/${n}`, {});
    const button = createElement('button', {title}, createElement('img', {src, alt: title}));
    button.addEventListener('click', () => openSample(n));
    return button;
  }));
}

async function chooseModel(index) {
  modelIndex = index;
  page = await fetchJson(withQuery('/model', {}));
  describePage();
  if (source?.kind === 'image') {
    source.boxes = [];
    return predictImage();
  }
  if (source?.kind === 'video') return openVideo(source.file);
  shown = null;
}

function addListeners() {
  listenToFiles(openFiles);
  listenToInput('labels-file', files => openLabels(files[0]));
  for (const id of ['threshold', 'show-boxes', 'show-labels']) find(id).addEventListener('input', draw);
  find('smooth').addEventListener('change', () => openVideo(source.file));
  find('camera').addEventListener('click', toggleCamera);
  find('models').addEventListener('change', event => chooseModel(Number(event.target.value)));
  find('stop').addEventListener('click', () => fetch(`/videos/${job?.token}/stop`, {method: 'POST'}));
  find('save-results').addEventListener('click', saveResults);
  find('save-drawing').addEventListener('click', () =>
    saveDrawing(find(source.kind === 'image' ? 'image' : 'video'), shown, source.name));
  find('save-heatmaps').addEventListener('click', () =>
    saveFile(response.heatmaps_url, `${stemOf(source.name)}_heatmaps.jpg`));
  find('clear-boxes').addEventListener('click', () => { source.boxes = []; predictImage(); });
  listenToPointer();
  find('video').addEventListener('seeked', () => draw());
  find('video').addEventListener('error', showDrawnVideo);
  const canDrag = () => (source?.kind === 'image' && page.accepts_boxes && shown ? shown : null);
  addBoxDragging(find('stage'), find('overlay'), canDrag, box => { source.boxes.push(box); predictImage(); });
}

async function start() {
  try {
    page = await fetchJson('/model');
  } catch (error) {
    return showStatus('', error.message);
  }
  describePage();
  addListeners();
  followPlayback();
  const number = Number(new URLSearchParams(location.search).get('sample'));
  if (page.samples[number - 1] !== undefined) openSample(number - 1);
}

start();
