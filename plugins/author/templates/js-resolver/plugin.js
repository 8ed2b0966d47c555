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
        `${path} has no one count to subtract sales from: several writers created it, or they met before unsettled (collection create --settle)`,
      );
    }
    const before = count(path, ancestor);
    const sold = candidates.map(({ value }) => before - count(path, value));
    // Checked at the end alone: whether a total on the way is too large depends on the order.
    const remaining = Number(sold.reduce((left, one) => left - one, before));
    if (!Number.isSafeInteger(remaining)) throw new Error(`${path} would become ${remaining}, beyond 2^53 - 1`);
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
  if (Number.isSafeInteger(value)) return BigInt(Number(value));
  throw new Error(`${path} counts whole things, and ${JSON.stringify(value)} is no integer within 2^53 - 1`);
}
