import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { CredentialMissing, Credentials } from '../../../src/core/execution/credentials.ts';

const SECRET = 'hd_live_5up3rs3cr3t';
const credentials = new Credentials({ HELPDESK_TOKEN: SECRET, EMPTY: '' });

describe('credentials', () => {
  it('hand out a value by name', () => {
    expect(credentials.get('HELPDESK_TOKEN')).toBe(SECRET);
    expect(Object.values(credentials.values)).toContain(SECRET);
  });

  it('throw a coded error for what is absent or empty, or only inherited', () => {
    for (const name of ['OTHER', 'EMPTY', 'constructor', '__proto__']) {
      expect(() => credentials.get(name)).toThrow(CredentialMissing);
      expect(() => credentials.get(name)).toThrow(expect.objectContaining({ code: 'credential_missing' }));
    }
  });

  it('[execution:credentials-at-the-boundary] show names and no values, however they are printed, copied or cloned', () => {
    const shown = [
      JSON.stringify({ credentials, list: [credentials] }),
      JSON.stringify({ ...credentials }),
      JSON.stringify(structuredClone(credentials)),
      JSON.stringify(Object.entries(Object.getOwnPropertyDescriptors(credentials))),
      inspect({ deep: { credentials } }, { depth: 9, showHidden: true }),
      inspect(credentials, { customInspect: false, showHidden: true }),
      String(credentials),
      `${credentials}`,
    ];
    for (const text of shown) expect(text).not.toContain(SECRET);
    expect(String(credentials)).toBe('Credentials(HELPDESK_TOKEN, EMPTY; values hidden)');
  });

  it('do not change with the object that they were made from', () => {
    const source = { A: 'one' };
    const copy = new Credentials(source);
    source.A = 'two';
    expect(copy.get('A')).toBe('one');
    expect(Object.isFrozen(copy.values)).toBe(true);
  });
});
