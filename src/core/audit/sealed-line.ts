import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { TenantId } from '../identity/ids.ts';
import { canonicalJson, NotCanonicalizable } from '../tool/canonical-json.ts';
import type { JsonValue } from '../tool/strict-json.ts';
import { AuditEntry } from './audit-entry.ts';

/**
 * What is sealed, byte for byte. A chain is one tenant's entries, or those of one shard that belong to no tenant; its
 * name is its directory's. docs/audit.md tells outsiders the same.
 */
export const ChainName = z
  .string()
  .regex(/^(?:[a-z0-9][a-z0-9_-]{0,62}|_s(?:0|[1-9][0-9]{0,2}))$/, 'a chain is named after a tenant, or _s0')
  .brand('ChainName');
export type ChainName = z.infer<typeof ChainName>;

/** @param tenant as the entry has it: `-` for what belongs to none. */
export function chainOf(tenant: TenantId | '-' | (string & {}), shard: number): ChainName {
  return ChainName.parse(tenant === '-' ? `_s${shard}` : tenant);
}

/** The tenant that every entry of a chain carries. */
export function tenantOfChain(chain: ChainName): string {
  return chain.startsWith('_s') ? '-' : chain;
}

/** What line 1 follows: so that no line fits into another chain. */
export function genesisOf(chain: ChainName): string {
  return createHash('sha256').update(`countersign/audit/1\n${chain}`).digest('hex');
}

/** What the sealer found in the stream that is no entry, or where entries were gone before it came. */
export const SealNote = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('gap'),
    /** The `seq` that should have come, and the one that came: lower where the count began anew. */
    expected: z.int().positive(),
    found: z.int().positive(),
    place: z.string(),
  }),
  z.strictObject({
    kind: z.literal('not_an_entry'),
    place: z.string(),
    /** Of what stood there. */
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
  }),
]);
export type SealNote = z.infer<typeof SealNote>;

const Link = z.strictObject({
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  n: z.int().positive(),
  prev: z.string().regex(/^[0-9a-f]{64}$/),
});
const SealedLine = z.union([
  z.strictObject({ chain: Link, entry: AuditEntry }),
  z.strictObject({ chain: Link, note: SealNote }),
]);
export type SealedLine = z.infer<typeof SealedLine>;

export type Sealed = { readonly entry: AuditEntry } | { readonly note: SealNote };

/** The frame is fixed: the hash is over the line with these 75 bytes left out, and without its newline. */
export const LINE_START = '{"chain":{';
export const HASH_FIELD_LENGTH = '"hash":"",'.length + 64;

export class SealedLineInvalid extends Error {
  override readonly name = 'SealedLineInvalid';
  readonly code = 'sealed_line_invalid';
}

/**
 * Line `n` of a chain, newline included. `prev`: the hash of the line before, or the chain's genesis. Half of a
 * surrogate pair, which RFC 8785 has no form for, is spelled out: `\u{D800}`.
 * @throws NotCanonicalizable for an entry that holds what JSON as we write it never holds.
 */
export function sealLine(
  { n, prev }: { n: number; prev: string },
  sealed: Sealed,
): { readonly hash: string; readonly line: string } {
  const body = 'entry' in sealed ? { entry: wellFormed(sealed.entry) } : { note: wellFormed(sealed.note) };
  const unhashed = canonicalJson({ chain: { n, prev }, ...body });
  const hash = createHash('sha256').update(unhashed).digest('hex');
  return { hash, line: `${LINE_START}"hash":"${hash}",${unhashed.slice(LINE_START.length)}\n` };
}

/**
 * @param line without its newline.
 * @throws SealedLineInvalid where it is not, byte for byte, what `sealLine` writes.
 */
export function parseSealedLine(line: string): SealedLine {
  let sealed: SealedLine;
  try {
    const json: unknown = JSON.parse(line);
    SealedLine.parse(json);
    // What was read, and not what the schema made of it: a record of its own leaves out a key called `__proto__`.
    sealed = json as SealedLine;
  } catch (cause) {
    throw new SealedLineInvalid('this is no line that the audit sealer wrote', { cause });
  }
  const { chain, ...rest } = sealed;
  if (sealLine(chain, rest as Sealed).line !== `${line}\n`) {
    throw new SealedLineInvalid('this line has been altered: it does not fit its own hash');
  }
  return sealed;
}

const LONE_SURROGATE = /[\ud800-\udfff]/gu;

function wellFormed(value: unknown): JsonValue {
  if (typeof value === 'string') {
    return value.replaceAll(
      LONE_SURROGATE,
      (half) => `\\u{${half.charCodeAt(0).toString(16).toUpperCase()}}`,
    );
  }
  if (value === null || typeof value === 'number' || typeof value === 'boolean') return value;
  if (Array.isArray(value)) return value.map(wellFormed);
  if (typeof value === 'object') {
    return Object.fromEntries(
      Object.entries(value).map(([key, member]) => [wellFormed(key) as string, wellFormed(member)]),
    );
  }
  throw new NotCanonicalizable(`JSON has no ${typeof value}`);
}
