#!/usr/bin/env node
// Measures PouchDB (leveldb on disk) replicating with its own CouchDB-style
// HTTP server (express-pouchdb, leveldb on disk, separate process).
//
//   node pouchdb.mjs [documents=100000] [--batch-size=1000] [--batches-limit=200]
//        [--keepalive=1] [--gzip=1] [--fsync=0] [--write-buffer=4] [--checkpoint=both]
//
//   --keepalive=1     client reuses its HTTP connections
//   --gzip=1          server compresses its answers (express-pouchdb's default)
//   --fsync=1         every leveldb write batch is fsync'ed, on both sides; PouchDB
//                     itself never asks leveldb for that
//   --write-buffer=M  leveldb memtable in MiB (leveldown's default is 4), both sides
//   --checkpoint=C    both (PouchDB's default) | target | source
//
// Output: a JSON line with versions and settings, one JSON line per measurement
// {"step","seconds","bytes_up","bytes_down","documents"}, a JSON line with the check.
//   up = client to server, down = server to client; bytes of TCP payload (HTTP
//   headers included, TCP/IP headers not), counted by a proxy in its own process.
//   documents = documents in the database being replicated.
// Exit 0 only if counts and contents on both sides are right.
import { createRequire } from 'node:module';
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import fs from 'node:fs';
import net from 'node:net';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';

const require = createRequire(import.meta.url);
const SELF = fileURLToPath(import.meta.url);
const LOAD_CHUNK = 1000;
const REPEATS = 5;

// ---------------------------------------------------------------- arguments
const cfg = { documents: 100000, 'batch-size': 1000, 'batches-limit': 200, keepalive: 1, gzip: 1,
  fsync: 0, 'write-buffer': 4, checkpoint: 'both' };
function parseArgs(argv) {
  for (const a of argv) {
    const m = /^--([a-z-]+)=(.+)$/.exec(a);
    const key = m ? m[1] : 'documents';
    const raw = m ? m[2] : a;
    if (!(key in cfg)) throw new Error(`unknown option: ${a}`);
    if (key === 'checkpoint') {
      if (!['both', 'target', 'source'].includes(raw)) throw new Error(`bad value: ${a}`);
      cfg[key] = raw;
    } else {
      if (!/^\d+$/.test(raw)) throw new Error(`bad value: ${a}`);
      cfg[key] = Number(raw);
    }
  }
  if (cfg.documents < 1) throw new Error('documents must be at least 1');
}

// ---------------------------------------------------------------- documents
const WORDS = ('amber basin candle delta ember fallow garnet harbor island juniper kettle lantern meadow ' +
  'nectar orchard pebble quarry ripple saddle timber upland velvet willow yonder zephyr anchor breeze ' +
  'copper drift engine forest granite hollow ivory jasmine kernel ledger marble notion oyster parcel ' +
  'quiver ribbon signal tunnel umber valley wander yellow zenith').split(' ');
// A document whose JSON is exactly 200 bytes (_id included, _rev not); all distinct.
function makeDoc(family, i) {
  let s = (Math.imul(i + 1, 0x9E3779B1) ^ Math.imul(family.charCodeAt(0), 0x85EBCA6B)) >>> 0 || 1;
  const rnd = () => { s ^= s << 13; s >>>= 0; s ^= s >>> 17; s ^= s << 5; s >>>= 0; return s; };
  for (let k = 0; k < 4; k++) rnd();
  const hex = () => rnd().toString(16).padStart(8, '0');
  const doc = {
    _id: `${family}-${String(i).padStart(9, '0')}`,
    type: 'note',
    owner: WORDS[rnd() % WORDS.length],
    created: 1700000000000 + i * 1000 + rnd() % 1000,
    done: rnd() % 2 === 0,
    token: hex() + hex(),
    text: '',
  };
  const room = 200 - JSON.stringify(doc).length;
  let text = '';
  while (text.length < room) text += (text ? ' ' : '') + WORDS[rnd() % WORDS.length];
  doc.text = text.slice(0, room);
  return doc;
}

async function bulkLoad(db, family, n) {
  for (let i = 0; i < n; i += LOAD_CHUNK) {
    const docs = [];
    for (let j = i; j < Math.min(n, i + LOAD_CHUNK); j++) docs.push(makeDoc(family, j));
    const res = await db.bulkDocs(docs);
    const bad = res.find((r) => r.error);
    if (bad) throw new Error(`bulk load failed: ${JSON.stringify(bad)}`);
  }
}

// Count and hash of everything stored: id, revision and content, in id order.
async function fingerprint(db) {
  const hash = createHash('sha256');
  let counted = 0;
  let startkey;
  for (;;) {
    const opts = { include_docs: true, limit: 2000 };
    if (startkey !== undefined) { opts.startkey = startkey; opts.skip = 1; }
    const { rows } = await db.allDocs(opts);
    for (const { doc } of rows) {
      hash.update(JSON.stringify(Object.keys(doc).sort().map((k) => [k, doc[k]])));
      counted++;
    }
    if (rows.length < opts.limit) break;
    startkey = rows[rows.length - 1].id;
  }
  return { doc_count: (await db.info()).doc_count, counted, sha256: hash.digest('hex') };
}

// ---------------------------------------------------------------- PouchDB
function levelOptions(PouchDB) {
  const o = { adapter: 'leveldb', writeBufferSize: cfg['write-buffer'] * 1024 * 1024 };
  if (cfg.fsync) {
    const leveldown = createRequire(require.resolve('pouchdb'))('leveldown');
    const leveldownFsync = function leveldownFsync(location) {
      const db = leveldown(location);
      for (const m of ['_batch', '_put', '_del']) {
        const orig = db[m];
        db[m] = function (...args) {
          const i = args.length - 2;             // (..., options, callback)
          args[i] = { ...args[i], sync: true };
          return orig.apply(db, args);
        };
      }
      return db;
    };
    leveldownFsync.destroy = leveldown.destroy;
    o.db = leveldownFsync;
  }
  return o;
}

const send = (proc, msg) => new Promise((resolve, reject) => {
  const id = ++send.last;
  const done = (fn, v) => { proc.off('message', onMsg); proc.off('exit', onExit); fn(v); };
  const onMsg = (m) => {
    if (m.id !== id) return;
    if (m.error) done(reject, new Error(m.error)); else done(resolve, m.result);
  };
  const onExit = (code) => done(reject, new Error(`child ended (${code}) during ${msg.cmd}`));
  proc.on('message', onMsg);
  proc.on('exit', onExit);
  proc.send({ ...msg, id });
});
send.last = 0;

function answer(handlers) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', async ({ id, cmd, ...args }) => {
    try {
      process.send({ id, result: (await handlers[cmd](args)) ?? null });
    } catch (e) {
      process.send({ id, error: String((e && e.stack) || e) });
    }
  });
}

// ---------------------------------------------------------------- role: server
function roleServer() {
  const PouchDB = require('pouchdb');
  const express = require('express');
  const expressPouch = require('express-pouchdb');
  let Server;
  let listener;
  const open = (name) => new Server(name);
  answer({
    async start({ dir, settings }) {
      Object.assign(cfg, settings);
      process.chdir(dir);                          // whatever it writes stays in here
      Server = PouchDB.defaults({ ...levelOptions(PouchDB), prefix: dir + path.sep });
      const opts = { mode: 'minimumForPouchDB' };
      if (!cfg.gzip) opts.overrideMode = { exclude: ['compression'] };
      const pouchApp = expressPouch(Server, opts);
      const app = express();
      app.use('/', pouchApp);
      listener = http.createServer(app);
      listener.keepAliveTimeout = 120000;
      await new Promise((ok, bad) => listener.once('error', bad).listen(0, '127.0.0.1', ok));
      return { port: listener.address().port };
    },
    async create({ name }) { return open(name).info(); },
    async load({ name, family, n }) { await bulkLoad(open(name), family, n); },
    async fingerprint({ name }) { return fingerprint(open(name)); },
  });
}

// ---------------------------------------------------------------- role: proxy
function roleProxy() {
  const counts = { up: 0, down: 0, connections: 0 };
  answer({
    async start({ port }) {
      const server = net.createServer({ noDelay: true }, (client) => {
        counts.connections++;
        const upstream = net.connect({ port, host: '127.0.0.1', noDelay: true });
        const link = (a, b, key) => {
          a.on('data', (chunk) => {
            counts[key] += chunk.length;
            if (!b.write(chunk)) { a.pause(); b.once('drain', () => a.resume()); }
          });
          a.on('end', () => b.end());
          a.on('error', () => b.destroy());
          a.on('close', () => { if (!b.writableEnded) b.end(); });
        };
        link(client, upstream, 'up');
        link(upstream, client, 'down');
      });
      await new Promise((ok, bad) => server.once('error', bad).listen(0, '127.0.0.1', ok));
      return { port: server.address().port };
    },
    async counts() { return { ...counts }; },
  });
}

// ---------------------------------------------------------------- role: main (client)
const median = (xs) => [...xs].sort((a, b) => a - b)[Math.floor(xs.length / 2)];
const print = (o) => process.stdout.write(JSON.stringify(o) + '\n');

async function main() {
  parseArgs(process.argv.slice(2));
  const n = cfg.documents;
  const PouchDB = require('pouchdb');
  const nodeRequire = createRequire(require.resolve('pouchdb'));
  const version = (name, from = require) => {
    let dir = path.dirname(from.resolve(name));
    for (;;) {
      const file = path.join(dir, 'package.json');
      if (fs.existsSync(file)) {
        const p = JSON.parse(fs.readFileSync(file, 'utf8'));
        if (p.name === name) return p.version;
      }
      if (dir === path.dirname(dir)) return 'unknown';
      dir = path.dirname(dir);
    }
  };

  const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'pouchdb-peer-'));
  const children = [];
  const cleanup = () => {
    for (const c of children) { try { c.kill('SIGKILL'); } catch { /* gone */ } }
    fs.rmSync(tmp, { recursive: true, force: true, maxRetries: 3 });
  };
  for (const sig of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(sig, () => { cleanup(); process.exit(1); });
  }
  const agent = new http.Agent({ keepAlive: true, noDelay: true });
  const opened = [];
  let ok = false;
  try {
    const sample = Array.from({ length: 1000 }, (_, i) => JSON.stringify(makeDoc('pull', i)));
    print({
      versions: {
        node: process.versions.node,
        pouchdb: version('pouchdb'),
        'express-pouchdb': version('express-pouchdb'),
        express: version('express'),
        leveldown: version('leveldown', nodeRequire),
        levelup: version('levelup', nodeRequire),
        'node-fetch': version('node-fetch', nodeRequire),
      },
      settings: cfg,
      document_bytes: sample.reduce((t, s) => t + Buffer.byteLength(s), 0) / sample.length,
      document_gzip_ratio: Number((gzipSync(sample.join('\n')).length / sample.join('\n').length).toFixed(3)),
      cpus: os.cpus().length,
      loadavg: os.loadavg(),
    });

    const dirs = Object.fromEntries(['server', 'client'].map((d) => [d, path.join(tmp, d)]));
    Object.values(dirs).forEach((d) => fs.mkdirSync(d));
    const spawn = (role) => {
      const c = fork(SELF, [], { env: { ...process.env, POUCH_BENCH_ROLE: role, NODE_NO_WARNINGS: '1' } });
      children.push(c);
      return c;
    };
    const server = spawn('server');
    const proxy = spawn('proxy');
    const { port: serverPort } = await send(server, { cmd: 'start', dir: dirs.server, settings: cfg });
    const { port } = await send(proxy, { cmd: 'start', port: serverPort });

    const Local = PouchDB.defaults({ ...levelOptions(PouchDB), prefix: dirs.client + path.sep });
    const local = async (name) => { const db = new Local(name); opened.push(db); await db.info(); return db; };
    const remote = (name) => {
      const opts = { skip_setup: true };
      if (cfg.keepalive) opts.fetch = (url, o) => PouchDB.fetch(url, { ...o, agent });
      return new PouchDB(`http://127.0.0.1:${port}/${name}`, opts);
    };
    const settings = { batch_size: cfg['batch-size'], batches_limit: cfg['batches-limit'] };
    if (cfg.checkpoint !== 'both') settings.checkpoint = cfg.checkpoint;

    const measure = async (source, target, expected) => {
      const before = await send(proxy, { cmd: 'counts' });
      const t0 = process.hrtime.bigint();
      const res = await PouchDB.replicate(source, target, settings);
      const seconds = Number(process.hrtime.bigint() - t0) / 1e9;
      const after = await send(proxy, { cmd: 'counts' });
      if (!res.ok || res.status !== 'complete' || res.errors.length || res.doc_write_failures ||
          res.docs_written !== expected) {
        throw new Error(`replication went wrong (expected ${expected}): ${JSON.stringify(res).slice(0, 500)}`);
      }
      return { seconds, bytes_up: after.up - before.up, bytes_down: after.down - before.down };
    };
    const report = (step, runs) => {
      const m = (k) => median(runs.map((r) => r[k]));
      print({ step, seconds: Number(m('seconds').toFixed(6)), bytes_up: m('bytes_up'),
        bytes_down: m('bytes_down'), documents: n });
    };
    const idle = async (source, target) => {
      const runs = [];
      for (let i = 0; i < REPEATS; i++) runs.push(await measure(source, target, 0));
      return runs;
    };

    // 1, 2: pull
    await send(server, { cmd: 'create', name: 'pull' });
    await send(server, { cmd: 'load', name: 'pull', family: 'pull', n });
    const pullRemote = remote('pull');
    const pullLocal = await local('pull');
    report('first-copy', [await measure(pullRemote, pullLocal, n)]);
    report('already-in-sync', await idle(pullRemote, pullLocal));

    // 3, 4: push
    await send(server, { cmd: 'create', name: 'push' });
    const pushLocal = await local('push');
    await bulkLoad(pushLocal, 'push', n);
    const pushRemote = remote('push');
    report('push', [await measure(pushLocal, pushRemote, n)]);
    report('already-in-sync-push', await idle(pushLocal, pushRemote));

    // check: number, ids, revisions and contents on both sides
    const checks = {};
    ok = true;
    for (const [name, db] of [['pull', pullLocal], ['push', pushLocal]]) {
      const c = await fingerprint(db);
      const s = await send(server, { cmd: 'fingerprint', name });
      const good = [c, s].every((f) => f.doc_count === n && f.counted === n) && c.sha256 === s.sha256;
      checks[name] = { client: c.doc_count, server: s.doc_count, same_content: c.sha256 === s.sha256 };
      if (!good) ok = false;
    }
    print({ check: ok ? 'ok' : 'FAILED', ...checks,
      connections: (await send(proxy, { cmd: 'counts' })).connections, loadavg: os.loadavg() });
  } catch (e) {
    ok = false;
    console.error((e && e.stack) || e);
  } finally {
    agent.destroy();
    await Promise.race([
      Promise.all(opened.map((db) => db.close().catch(() => {}))),
      new Promise((r) => setTimeout(r, 5000).unref()),
    ]);
    await Promise.all(children.map((c) => new Promise((r) => {
      if (c.exitCode !== null || c.signalCode !== null) return r();
      c.once('exit', r);
      c.kill('SIGKILL');
    })));
    cleanup();
  }
  process.exit(ok ? 0 : 1);
}

const role = process.env.POUCH_BENCH_ROLE;
if (role === 'server') roleServer();
else if (role === 'proxy') roleProxy();
else main().catch((e) => { console.error(e.message); process.exit(1); });
