import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';

import { resolve } from './plugin.js';

function read(name) {
  return JSON.parse(readFileSync(new URL(`conflicts/${name}.json`, import.meta.url), 'utf8')).conflicts;
}

test('sales add up', () => {
  assert.deepEqual(resolve(read('two-sales')), { choices: [{ value: 5 }], notes: {} });
});

test('what is missing is said', () => {
  assert.deepEqual(resolve(read('oversold')), { choices: [{ value: 0 }], notes: { oversold: 1 } });
});

test('what it cannot decide it says', () => {
  const [conflict] = read('two-sales');
  assert.throws(() => resolve([{ ...conflict, ancestor: undefined }]), /no one count to subtract sales from/);
  assert.throws(() => resolve([{ ...conflict, ancestor: 'ten' }]), /"ten" is no integer/);
});
