// From JSON to values and back. There is no TextDecoder here, and a loop over bytes or characters would cost many times
// the fuel of the engine's own functions: those do the work.

/** How many arguments one call is given. */
const ARGUMENTS_MAX = 8192;

/**
 * A value as JSON text with sorted keys: equal values are equal texts.
 * @param {unknown} value
 * @returns {string}
 */
export function toText(value) {
  return JSON.stringify(sorted(value));
}

/**
 * A value as bytes: its JSON text in UTF-8.
 * @param {unknown} value
 * @returns {Uint8Array}
 */
export function toBytes(value) {
  return Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(toText(value)))));
}

/**
 * The value of JSON text in UTF-8.
 * @param {Uint8Array} bytes
 */
export function fromBytes(bytes) {
  const binary = atob(bytes.toBase64());
  return JSON.parse(isAscii(bytes) ? binary : decodeURIComponent(escape(binary)));
}

/** @param {Uint8Array} bytes */
function isAscii(bytes) {
  for (let at = 0; at < bytes.length; at += ARGUMENTS_MAX) {
    if (Math.max.apply(null, /** @type {any} */ (bytes.subarray(at, at + ARGUMENTS_MAX))) > 127) return false;
  }
  return true;
}

/**
 * The same value with the keys of every object sorted. Refuses what JSON would change without a word.
 * @param {any} value
 * @returns {any}
 */
function sorted(value) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      if (!Number.isFinite(value)) break;
      return value;
    case 'object': {
      if (value === null) return null;
      if (Array.isArray(value)) return Array.from(value, sorted);
      const prototype = Object.getPrototypeOf(value);
      if (prototype !== Object.prototype && prototype !== null) break;
      const copy = Object.create(null); // here `__proto__` is a key like any other
      for (const key of Object.keys(value).sort()) {
        const member = value[key];
        if (member !== undefined) copy[key] = sorted(member);
      }
      return copy;
    }
  }
  const what = typeof value === 'object' ? (value.constructor?.name ?? 'class') : typeof value;
  throw new Error(`${what === 'number' || what === 'undefined' ? value : `a ${what}`} is no JSON value`);
}
