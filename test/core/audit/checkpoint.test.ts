import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  auditKeyId,
  auditPrivateKeyOf,
  auditPublicKeyFor,
  auditPublicKeyOf,
  checkpointDigest,
  checkpointIsGenuine,
  NO_CHECKPOINT,
  parseCheckpoint,
  signCheckpoint,
} from '../../../src/core/audit/checkpoint.ts';
import { ChainName } from '../../../src/core/audit/sealed-line.ts';

const pair = () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    privateText: privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
    publicText: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    pem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
  };
};
const mine = pair();
const key = auditPrivateKeyOf(mine.privateText);
const facts = {
  at: 1_700_000_000_000,
  chain: ChainName.parse('acme'),
  count: 7,
  head: 'a'.repeat(64),
  prev: NO_CHECKPOINT,
};
const line = signCheckpoint(key, facts).slice(0, -1);

describe('[audit:tamper-evident] a checkpoint', () => {
  it('says what was signed, by which key, and is believed under that key alone', () => {
    const read = parseCheckpoint(line);
    expect(read.checkpoint).toEqual({ ...facts, key: auditKeyId(auditPublicKeyFor(key)), version: 1 });
    expect(checkpointIsGenuine(auditPublicKeyOf(mine.publicText), read)).toBe(true);
    expect(checkpointIsGenuine(auditPublicKeyOf(mine.pem), read)).toBe(true);
    expect(checkpointIsGenuine(auditPublicKeyOf(pair().publicText), read)).toBe(false);
  });

  it('is believed in no other word', () => {
    const read = parseCheckpoint(line);
    const publicKey = auditPublicKeyFor(key);
    const others = [
      { at: 1 },
      { count: 8 },
      { head: 'b'.repeat(64) },
      { chain: 'globex' },
      { prev: 'c'.repeat(64) },
    ];
    for (const other of others) {
      const changed = { ...read, checkpoint: { ...read.checkpoint, ...other } } as typeof read;
      expect(checkpointIsGenuine(publicKey, changed), JSON.stringify(other)).toBe(false);
    }
  });

  it('does not survive a change of any character', () => {
    for (let i = 0; i < line.length; i += 1) {
      for (const bit of [1, 2, 4, 8, 16]) {
        const changed = line.slice(0, i) + String.fromCharCode(line.charCodeAt(i) ^ bit) + line.slice(i + 1);
        let believed = true;
        try {
          believed = checkpointIsGenuine(auditPublicKeyFor(key), parseCheckpoint(changed));
        } catch (error) {
          expect(error).toMatchObject({ code: 'checkpoint_invalid' });
          believed = false;
        }
        expect(believed, `${i}: ${changed}`).toBe(false);
      }
    }
  });

  it('is not read in another writing, of another version, or with more in it', () => {
    const changes = [
      `${line} `,
      line.replace(':', ': '),
      `\ufeff${line}`,
      line.replace('"version":1', '"version":2'),
    ];
    for (const changed of [...changes, line.replace('"version":1', '"version":1,"x":1'), '', 'null']) {
      expect(() => parseCheckpoint(changed), changed).toThrow(
        expect.objectContaining({ code: 'checkpoint_invalid' }),
      );
    }
  });

  it('is followed by the digest of its line', () => {
    const next = signCheckpoint(key, { ...facts, count: 8, prev: checkpointDigest(line) });
    expect(parseCheckpoint(next.slice(0, -1)).checkpoint.prev).toMatch(/^[0-9a-f]{64}$/);
    expect(checkpointDigest(line)).not.toBe(checkpointDigest(next.slice(0, -1)));
  });
});

describe('the audit key', () => {
  it('is an Ed25519 key of the right half, and says what is wrong with another', () => {
    expect(() => auditPrivateKeyOf('garbage')).toThrow('the audit private key is neither PEM nor base64 DER');
    expect(() => auditPublicKeyOf(mine.privateText)).toThrow(/the audit public key/);
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = rsa.publicKey.export({ format: 'pem', type: 'spki' }).toString();
    expect(() => auditPublicKeyOf(pem)).toThrow('the audit public key must be an Ed25519 public key');
    const secret = generateKeyPairSync('ed25519')
      .privateKey.export({ format: 'pem', type: 'pkcs8' })
      .toString();
    expect(() => auditPublicKeyOf(secret)).toThrow('must be an Ed25519 public key');
  });
});
