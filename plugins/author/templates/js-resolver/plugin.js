// @ts-check
// Resolver for stock counts: every concurrent sale is subtracted from the count before, and what was sold beyond it is
// noted as `oversold`. With 5 left, two tills that sell one and two while offline write 4 and 3; the view says 2.

/** @import { Resolver } from './.skerry/types.d.ts' */

/** @type {Resolver['wants']} */
export const wants = { paths: ['/remaining'], ancestor: true };

/** @type {Resolver['resolve']} */
export function resolve(conflicts) {
  /** @type {Record<string, number>} */
  const notes = {};
  const choices = conflicts.map(({ path, ancestor, candidates }) => {
    if (ancestor === undefined) {
      throw new Error(
        `${path} was created by several writers independently, so there is no count to subtract their sales from`,
      );
    }
    const before = count(path, ancestor);
    let remaining = before;
    for (const { value } of candidates) remaining = count(path, remaining - count(path, before - count(path, value)));
    if (remaining < 0) notes.oversold = -remaining;
    return { value: Math.max(remaining, 0) };
  });
  return { choices, notes };
}

/**
 * The value, if it is an integer that a document can hold.
 * @param {string} path
 * @param {unknown} value
 */
function count(path, value) {
  if (Number.isSafeInteger(value)) return Number(value);
  throw new Error(`${path} counts whole things, and ${JSON.stringify(value)} is no integer within 2^53 - 1`);
}
