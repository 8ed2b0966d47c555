// What a component with the world `merge-policy` exports, made of what plugin.js exports: bytes become states and
// states become bytes. Written by Skerry: what you change here is lost.

import './globals.js';
import * as plugin from '../plugin.js';
import { fromBytes, toBytes, toText } from './json.js';
import { sentence } from './sentence.js';

/** @import { Context, MergePolicy } from './types.d.ts' */

const policy = /** @type {MergePolicy & Record<string, unknown>} */ (/** @type {unknown} */ (plugin));
// Said when the component is built.
if (!Number.isInteger(policy.stateVersion)) throw new Error('plugin.js must export the integer `stateVersion`');
for (const name of ['empty', 'apply', 'merge', 'view', 'examples']) {
  if (typeof policy[name] !== 'function') throw new Error(`plugin.js must export the function \`${name}\``);
}

export function stateVersion() {
  return policy.stateVersion;
}

export function empty() {
  return toBytes(policy.empty());
}

/**
 * @param {Uint8Array} state
 * @param {string} operation
 * @param {Context} context
 */
export function apply(state, operation, context) {
  return orSentence(() => toBytes(policy.apply(fromBytes(state), JSON.parse(operation), context)));
}

/**
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 */
export function merge(a, b) {
  return toBytes(policy.merge(fromBytes(a), fromBytes(b)));
}

/** @param {Uint8Array} state */
export function view(state) {
  return toText(policy.view(fromBytes(state)));
}

/**
 * @param {number} from
 * @param {Uint8Array} state
 */
export function migrate(from, state) {
  return orSentence(() => {
    if (!policy.migrate) throw new Error(`there is no version ${from} of this state`);
    return toBytes(policy.migrate(from, fromBytes(state)));
  });
}

export function examples() {
  return policy.examples().map(toText);
}

/**
 * @template T
 * @param {() => T} work
 */
function orSentence(work) {
  try {
    return work();
  } catch (thrown) {
    throw sentence(thrown);
  }
}
