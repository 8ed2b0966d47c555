// @ts-check
// Merge policy for a set of names that only grows: who has signed. A client sends `{ "sign": "ann" }`; readers see
// `{ "signed": ["ann", "bo"] }`. The state is an object with a key for each name.

/** @import { MergePolicy } from './.skerry/types.d.ts' */
/** @typedef {MergePolicy<Record<string, true>, { sign: string }>} Policy */

export const stateVersion = 1;

/** @type {Policy['empty']} */
export const empty = () => ({});

/** @type {Policy['apply']} */
export function apply(names, operation) {
  const name = operation?.sign;
  if (typeof name !== 'string' || name === '') throw new Error('send { "sign": NAME }');
  return { ...names, [name]: true };
}

/** @type {Policy['merge']} */
export const merge = (a, b) => ({ ...a, ...b });

/** @type {Policy['view']} */
export const view = (names) => ({ signed: Object.keys(names).sort() });

/** @type {Policy['examples']} */
export const examples = () => [{ sign: 'ann' }, { sign: 'bo' }, { sign: 'ann' }];
