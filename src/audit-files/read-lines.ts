import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

export class NotReadable extends Error {
  override readonly name = 'NotReadable';
  readonly code = 'audit_file_not_readable';
  /** What it is about; the message says what is wrong with it. */
  readonly path: string;

  constructor(message: string, { path, cause }: { path: string; cause?: unknown }) {
    super(message, { cause });
    this.path = path;
  }
}

const CHUNK = 1024 * 1024;
/** Far above any entry that Redis takes: what is longer has no end at all. */
export const LONGEST_LINE = 32 * 1024 * 1024;

const NEWLINE = 10;

/**
 * The lines of a file, one at a time, in a buffer that is used again and again: `buffer[start, end)` is the line
 * without its newline, until the next `next()`.
 */
export class LineReader {
  readonly #fd: number;
  buffer: Buffer;
  start = 0;
  end = 0;
  /** Counted from 1. */
  line = 0;
  #from = 0;
  #filled = 0;
  #ended = false;
  #open = true;

  /**
   * Links are not followed: what they point to can change while one reads.
   * @throws NotReadable
   */
  constructor(path: string) {
    const { fd, size } = openPlainFile(path);
    this.#fd = fd;
    this.buffer = Buffer.allocUnsafe(Math.min(CHUNK, size + 1));
  }

  /** `rest`: what stands after the last newline. */
  next(): 'line' | 'rest' | 'too_long' | 'end' {
    let searched = this.#from;
    for (;;) {
      const newline = this.buffer.indexOf(NEWLINE, searched);
      if (newline !== -1 && newline < this.#filled) {
        this.#found(newline);
        this.#from = newline + 1;
        return 'line';
      }
      if (this.#ended) {
        if (this.#from === this.#filled) return 'end';
        this.#found(this.#filled);
        this.#from = this.#filled;
        return 'rest';
      }
      if (this.#filled - this.#from > LONGEST_LINE) {
        this.#found(this.#filled);
        return 'too_long';
      }
      searched = this.#fill();
    }
  }

  text(): string {
    return this.buffer.toString('utf8', this.start, this.end);
  }

  close(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  #found(end: number): void {
    this.line += 1;
    this.start = this.#from;
    this.end = end;
  }

  /** @returns where the bytes begin that are new. */
  #fill(): number {
    const kept = this.#filled - this.#from;
    if (kept > this.buffer.length / 2) {
      const larger = Buffer.allocUnsafe(this.buffer.length * 2);
      this.buffer.copy(larger, 0, this.#from, this.#filled);
      this.buffer = larger;
    } else {
      this.buffer.copyWithin(0, this.#from, this.#filled);
    }
    this.#from = 0;
    const read = readSync(this.#fd, this.buffer, kept, this.buffer.length - kept, null);
    this.#ended = read === 0;
    this.#filled = kept + read;
    return kept;
  }
}

/** Every line as text; what stands after the last newline is left to who verifies. */
export function* linesOf(path: string): Generator<string> {
  const reader = new LineReader(path);
  try {
    while (reader.next() === 'line') yield reader.text();
  } finally {
    reader.close();
  }
}

function openPlainFile(path: string): { fd: number; size: number } {
  let fd: number | undefined;
  try {
    // A pipe would let the verifier wait for ever.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (stat.isFile()) return { fd, size: stat.size };
  } catch (cause) {
    if (fd !== undefined) closeSync(fd);
    throw new NotReadable(notReadable(cause), { cause, path });
  }
  closeSync(fd);
  throw new NotReadable('it is no plain file', { path });
}

function notReadable(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const known: Readonly<Record<string, string>> = {
    ELOOP: 'it is a link, and what a link points to can change while one reads; put the file itself there',
    ENOENT: 'it is not there',
    EACCES: 'this user may not read it',
    EPERM: 'this user may not read it',
  };
  return known[code] ?? `it cannot be read (${code || String(cause)})`;
}
