import { createHash } from 'node:crypto';
import type { AuditEntry } from '../core/audit/audit-entry.ts';
import type { SealedChain, StreamItem } from '../core/audit/audit-stream.ts';
import { type Sealed, sealLine } from '../core/audit/sealed-line.ts';

/**
 * The end of one chain, to which lines are added. What it makes of a stream depends on the stream alone: whoever seals
 * the same entries after the same line writes the same bytes.
 */
export class GrowingChain {
  #end: SealedChain;
  /** Places that stand in the files already: a sealer wrote them, and ended before it could say so. */
  readonly #sealed: ReadonlySet<string>;
  #lines: string[] = [];
  #first: number;

  constructor(end: SealedChain, sealed: ReadonlySet<string>) {
    this.#end = end;
    this.#sealed = sealed;
    this.#first = end.count + 1;
  }

  get end(): SealedChain {
    return this.#end;
  }

  /** False: the entry holds what has no canonical form, so that no script of ours wrote it. */
  addEntry(entry: AuditEntry): boolean {
    if (this.#sealed.has(entry.place)) return true;
    const [before, written] = [this.#end, this.#lines.length];
    try {
      const expected = this.#end.seq + 1;
      if (entry.seq !== expected) {
        this.#add({ note: { kind: 'gap', expected, found: entry.seq, place: entry.place } }, entry.seq - 1);
      }
      this.#add({ entry }, entry.seq);
      return true;
    } catch {
      this.#end = before;
      this.#lines.length = written;
      return false;
    }
  }

  addOther({ place, fields }: StreamItem): void {
    if (this.#sealed.has(place)) return;
    const sha256 = createHash('sha256').update(JSON.stringify(fields)).digest('hex');
    this.#add({ note: { kind: 'not_an_entry', place, sha256 } }, this.#end.seq);
  }

  /** What was added since the last time; undefined: nothing. */
  takeLines(): { readonly first: number; readonly text: string } | undefined {
    if (this.#lines.length === 0) return undefined;
    const taken = { first: this.#first, text: this.#lines.join('') };
    this.#lines = [];
    this.#first = this.#end.count + 1;
    return taken;
  }

  #add(sealed: Sealed, seq: number): void {
    const n = this.#end.count + 1;
    const { hash, line } = sealLine({ n, prev: this.#end.head }, sealed);
    this.#lines.push(line);
    this.#end = { count: n, head: hash, seq };
  }
}
