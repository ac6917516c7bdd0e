// JSON, promises, buffers, streams of zlib and worker threads that pass each
// other memory. What is printed is the same on every malloc.
'use strict';

const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto');
const zlib = require('zlib');
const { promisify } = require('util');

let state = 1;
const number = bound => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return (state >>> 8) % bound;
};
const digest = bytes => crypto.createHash('sha256').update(bytes).digest('hex').slice(0, 16);

function tree(depth) {
  const node = { name: 'n' + number(1000), list: [], text: 'x'.repeat(number(200)) };
  for (let i = 0; depth > 0 && i < 4; i++) node.list.push(tree(depth - 1));
  return node;
}

function json() {
  let text = JSON.stringify(tree(6));
  for (let i = 0; i < 10; i++) text = JSON.stringify(JSON.parse(text));
  console.log('json', text.length, digest(text));
}

async function promises() {
  const later = (value, round) => new Promise(done => setImmediate(() => done(value + round)));
  let sum = 0;
  for (let round = 0; round < 20; round++) {
    const values = await Promise.all(Array.from({ length: 2000 }, (_, i) => later(i, round)));
    sum += values.reduce((a, b) => a + b, 0);
  }
  console.log('promises', sum);
}

function buffers() {
  const kept = [];
  for (let i = 0; i < 30000; i++) {
    const size = 1 + number(i % 100 === 0 ? 300000 : 5000);
    kept[number(500)] = i % 2 ? Buffer.allocUnsafeSlow(size).fill(i) : Buffer.alloc(size, i & 255);
  }
  console.log('buffers', digest(Buffer.concat(kept.filter(Boolean))));
}

async function streams() {
  const text = Buffer.from(JSON.stringify(tree(6)));
  const [gzip, gunzip, brotli] = [zlib.gzip, zlib.gunzip, zlib.brotliCompress].map(promisify);
  const packed = await Promise.all(Array.from({ length: 12 }, (_, i) => gzip(text, { level: 1 + (i % 9) })));
  const unpacked = await Promise.all(packed.map(bytes => gunzip(bytes)));
  console.log('zlib', packed.map(bytes => bytes.length).join(' '), unpacked.every(bytes => bytes.equals(text)));
  console.log('brotli', (await brotli(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } })).length);
}

function worker(id) {
  return new Promise((done, failed) => {
    const thread = new Worker(__filename, { workerData: id, resourceLimits: { maxOldGenerationSizeMb: 128 } });
    const received = [];
    thread.on('message', bytes => {
      received.push(bytes);
      thread.postMessage(received.length);
    });
    thread.on('error', failed);
    thread.on('exit', status => done([id, status, received.length, digest(Buffer.concat(received))]));
  });
}

function work(id) {
  let sent = 0;
  const next = () => {
    // Transferred: made here, freed in the main thread.
    const bytes = new Uint8Array(100000 + id).fill(sent + id);
    parentPort.postMessage(bytes, [bytes.buffer]);
    sent++;
  };
  parentPort.on('message', count => {
    JSON.parse(JSON.stringify(tree(4)));
    if (count === 40) parentPort.close();
    else next();
  });
  next();
}

async function main() {
  json();
  await promises();
  buffers();
  await streams();
  for (let round = 0; round < 2; round++)
    for (const line of await Promise.all([1, 2, 3, 4].map(worker))) console.log('worker', ...line);
}

if (isMainThread) main();
else work(workerData);
