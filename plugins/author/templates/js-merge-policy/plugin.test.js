import assert from 'node:assert/strict';
import test from 'node:test';

import { apply, empty, examples, merge, view } from './plugin.js';

function signed(...names) {
  return names.reduce((state, sign) => apply(state, { sign }), empty());
}

test('names only grow', () => {
  assert.deepEqual(view(signed('bo', 'ann', 'bo')), { signed: ['ann', 'bo'] });
  assert.deepEqual(view(merge(signed('bo'), signed('ann'))), { signed: ['ann', 'bo'] });
});

test('merging takes no heed of order, grouping and repetition', () => {
  const [a, b, c] = [signed('ann'), signed('bo', 'cy'), signed('cy')];
  assert.deepEqual(merge(a, b), merge(b, a));
  assert.deepEqual(merge(merge(a, b), c), merge(a, merge(b, c)));
  assert.deepEqual(merge(a, a), a);
});

test('an operation leads to a state above', () => {
  let state = empty();
  for (const operation of examples()) {
    const next = apply(state, operation);
    assert.deepEqual(merge(state, next), next);
    state = next;
  }
});

test('what it does not know it refuses', () => {
  assert.throws(() => apply(empty(), { sign: 5 }), /send \{ "sign": NAME \}/);
});
