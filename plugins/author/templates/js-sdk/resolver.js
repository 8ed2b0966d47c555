// What a component with the world `resolver` exports, made of what plugin.js exports: text becomes values and values
// become text. Written by Skerry: what you change here is lost.

import './globals.js';
import * as plugin from '../plugin.js';
import { toText } from './json.js';
import { sentence } from './sentence.js';

/** @import { Conflict, Resolver } from './types.d.ts' */

const { wants, resolve: decide } = /** @type {Resolver} */ (/** @type {unknown} */ (plugin));
// Said when the component is built.
if (!wants) throw new Error('plugin.js must export the object `wants`');
if (!decide) throw new Error('plugin.js must export the function `resolve`');
const { paths = [], ancestor = false } = wants;
if (!Array.isArray(paths)) throw new Error('`wants.paths` must be a list of strings');

export function describe() {
  return { ancestor, paths };
}

/** @param {any[]} conflicts */
export function resolve(conflicts) {
  try {
    return resolution(decide(conflicts.map(conflict)));
  } catch (thrown) {
    throw sentence(thrown);
  }
}

/**
 * @param {any} handed
 * @returns {Conflict}
 */
function conflict({ path, ancestor, candidates }) {
  /** @type {Conflict} */
  const conflict = { path, candidates: candidates.map(candidate) };
  if (typeof ancestor === 'string') conflict.ancestor = JSON.parse(ancestor);
  return conflict;
}

/** @param {any} handed */
function candidate({ value, origin, sequence, time }) {
  return { value: JSON.parse(value), origin, sequence, time };
}

/** @param {any} decided */
function resolution(decided) {
  const { choices, notes = {} } = decided ?? {};
  const isResolution = Array.isArray(choices) && !Array.isArray(notes);
  if (!isResolution) throw new Error('`resolve` must return { choices: [], notes: {} }');
  return {
    choices: choices.map(choice),
    notes: Object.entries(notes).map(([name, value]) => ({ name, value: toText(value) })),
  };
}

/**
 * @param {any} chosen
 * @param {number} at
 */
function choice(chosen, at) {
  const [[kind, value] = [], ...more] = Object.entries(chosen ?? {});
  if (more.length === 0) {
    // The engine would hand out an integer of more than 31 bits as another one.
    if (kind === 'candidate' && value === (value | 0) && value >= 0) return { tag: 'candidate', val: value };
    if (kind === 'value' && value !== undefined) return { tag: 'value', val: toText(value) };
    if (kind === 'remove' && value === true) return { tag: 'remove' };
  }
  throw new Error(`choices[${at}] must be { candidate: 0 }, { value: … } or { remove: true }`);
}
