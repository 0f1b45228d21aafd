// The worker of the page that `poseplug export --web` writes: it loads the model, and predicts one image after the other.

import * as ort from './onnxruntime-web/ort.wasm.min.mjs';
import {ModelRunner} from './model_runner.js';

let runner = null;

/** Read a file and report how many bytes have come. */
async function fetchBytes(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: the server answered ${answer.status}`);
  const total = Number(answer.headers.get('Content-Length')), parts = [];
  let received = 0;
  for (const reader = answer.body.getReader(); ;) {
    const {done, value} = await reader.read();
    if (done) break;
    parts.push(value);
    received += value.length;
    postMessage({kind: 'progress', received, total});
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function loadModel(settings) {
  ort.env.wasm.wasmPaths = new URL('./onnxruntime-web/', import.meta.url).href;
  // Several threads need the headers of a page that is isolated from other sites: docs/howto/browser.md.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.max(1, navigator.hardwareConcurrency - 1) : 1;
  const bytes = await fetchBytes(new URL('./model.onnx', import.meta.url));
  postMessage({kind: 'compiling'});
  const session = await ort.InferenceSession.create(bytes, {executionProviders: ['wasm']});
  runner = new ModelRunner(ort, session, settings);
  postMessage({kind: 'ready', threads: ort.env.wasm.numThreads});
}

async function handleMessage({kind, settings, id, image, boxes}) {
  if (kind === 'load') return loadModel(settings);
  const start = performance.now();
  const instances = await runner.predict(image, boxes);
  postMessage({kind: 'result', id, instances, ms: performance.now() - start});
}

self.onmessage = event => handleMessage(event.data).catch(error =>
  postMessage({kind: 'error', id: event.data.id, message: String(error.message ?? error)}));
