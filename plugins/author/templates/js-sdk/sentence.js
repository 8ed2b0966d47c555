// From what was thrown to the sentence that people read.

/**
 * The message of an Error that plugin.js throws; of a mistake in it also the kind and the place.
 * @param {unknown} thrown
 * @returns {string}
 */
export function sentence(thrown) {
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.name === 'Error') return thrown.message;
  const place = /\bplugin\.js:\d+/.exec(thrown.stack ?? '');
  return place ? `${thrown} at ${place[0]}` : String(thrown);
}
