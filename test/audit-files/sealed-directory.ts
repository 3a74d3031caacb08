import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuditEntry } from '../../src/core/audit/audit-entry.ts';
import {
  type AuditPrivateKey,
  type AuditPublicKey,
  auditKeyId,
  auditPrivateKeyOf,
  auditPublicKeyFor,
  checkpointDigest,
  NO_CHECKPOINT,
  signCheckpoint,
} from '../../src/core/audit/checkpoint.ts';
import {
  ChainName,
  genesisOf,
  type SealNote,
  sealLine,
  tenantOfChain,
} from '../../src/core/audit/sealed-line.ts';
import { CHECKPOINTS_ENDING, LINES_ENDING, segmentName } from '../../src/core/audit/segment-name.ts';

export function auditKeyPair(): {
  privateKey: AuditPrivateKey;
  publicKey: AuditPublicKey;
  publicText: string;
} {
  const { privateKey } = generateKeyPairSync('ed25519');
  const key = auditPrivateKeyOf(privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'));
  const publicKey = auditPublicKeyFor(key);
  return {
    privateKey: key,
    publicKey,
    publicText: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
  };
}

export const keysOf = (...keys: AuditPublicKey[]) => new Map(keys.map((key) => [auditKeyId(key), key]));

/** A directory that is gone after the tests. */
export function directoryForTests(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'countersign-audit-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export const AT = Date.UTC(2026, 0, 1);

/** Writes one chain's files through the functions that the sealer uses; what stands in them is up to the test. */
export class ChainForTests {
  readonly directory: string;
  readonly chain: ChainName;
  readonly key: AuditPrivateKey;
  n = 0;
  seq = 0;
  head: string;
  checkpointed = NO_CHECKPOINT;
  #path = '';

  constructor({ root, chain, key }: { root: string; chain: string; key: AuditPrivateKey }) {
    this.chain = ChainName.parse(chain);
    this.directory = join(root, chain);
    this.key = key;
    this.head = genesisOf(this.chain);
    mkdirSync(this.directory, { recursive: true });
  }

  /** Begins a segment: by default behind the last line. */
  segment(fence: number, first = this.n + 1): this {
    this.#path = join(this.directory, segmentName({ first, fence }));
    writeFileSync(this.#path + LINES_ENDING, '');
    writeFileSync(this.#path + CHECKPOINTS_ENDING, '');
    return this;
  }

  entries(count: number, detail: (seq: number) => Record<string, unknown> = () => ({})): this {
    let text = '';
    for (let i = 0; i < count; i += 1) text += this.#next({ entry: this.#entry(detail(this.seq + 1)) });
    appendFileSync(this.#path + LINES_ENDING, text);
    return this;
  }

  entry(entry: Partial<AuditEntry>): this {
    appendFileSync(this.#path + LINES_ENDING, this.#next({ entry: { ...this.#entry({}), ...entry } }));
    return this;
  }

  note(note: SealNote): this {
    appendFileSync(this.#path + LINES_ENDING, this.#next({ note }));
    if (note.kind === 'gap') this.seq = note.found - 1;
    return this;
  }

  /** @returns its line. */
  checkpoint(changes: { at?: number; key?: AuditPrivateKey; count?: number; head?: string } = {}): string {
    const line = signCheckpoint(changes.key ?? this.key, {
      at: changes.at ?? AT + this.n * 1_000,
      chain: this.chain,
      count: changes.count ?? this.n,
      head: changes.head ?? this.head,
      prev: this.checkpointed,
    });
    this.checkpointed = checkpointDigest(line.slice(0, -1));
    appendFileSync(this.#path + CHECKPOINTS_ENDING, line);
    return line;
  }

  /** Bytes as somebody else would put them there. */
  append(text: string | Buffer, ending = LINES_ENDING): this {
    appendFileSync(this.#path + ending, text);
    return this;
  }

  #entry(detail: Record<string, unknown>): AuditEntry {
    this.seq += 1;
    return {
      place: `s0/${AT + this.seq}-0`,
      seq: this.seq,
      at: AT + this.seq,
      kind: this.seq % 2 === 0 ? 'decision.refused' : 'proposal.created',
      tenant: tenantOfChain(this.chain),
      proposal: `prop_00${String(this.seq).padStart(24, '0')}`,
      detail,
    };
  }

  #next(sealed: { entry: AuditEntry } | { note: SealNote }): string {
    this.n += 1;
    const { hash, line } = sealLine({ n: this.n, prev: this.head }, sealed);
    this.head = hash;
    return line;
  }
}
