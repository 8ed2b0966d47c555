// What a plugin finds around it, or does not. It has no clock and no randomness, since equal arguments must give equal
// results: asking for either is an error that says so, instead of a trap without a word.

/**
 * @param {string} what
 * @returns {never}
 */
function refuse(what) {
  throw new Error(`a plugin has no ${what}: equal arguments must give equal results`);
}

Math.random = () => refuse('randomness');
Reflect.deleteProperty(globalThis, 'performance');
Date.now = () => refuse('clock');
globalThis.Date = new Proxy(Date, {
  apply: () => refuse('clock'),
  construct: (date, args, by) => (args.length === 0 ? refuse('clock') : Reflect.construct(date, args, by)),
});

// What is logged in a test is lost in a component, and does no harm there.
const levels = ['debug', 'error', 'info', 'log', 'trace', 'warn'];
globalThis.console ??= /** @type {any} */ (Object.fromEntries(levels.map((level) => [level, () => {}])));
