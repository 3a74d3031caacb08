import type { SandboxClock } from './sandbox-clock.ts';

export interface SlackFile {
  id: string;
  team: string;
  name: string;
  title: string;
  /** Bytes, as announced before the upload; another number of bytes is refused. */
  size: number;
  altText: string | undefined;
  user: string;
  created: number;
  bytes: Buffer | undefined;
  completed: boolean;
  /** Where it was shared: the message that carries it. */
  shares: { channel: string; ts: string }[];
}

export const UPLOAD_PATH = '/upload/v1/';

/** The files of all workspaces: announced, then uploaded to an address that works once, then shared. Kept in memory alone. */
export class FileShelf {
  readonly #clock: SandboxClock;
  readonly #newId: () => string;
  readonly #files = new Map<string, SlackFile>();
  readonly #addresses = new Map<string, SlackFile>();

  constructor(clock: SandboxClock, newId: () => string) {
    this.#clock = clock;
    this.#newId = newId;
  }

  announce(of: Pick<SlackFile, 'team' | 'name' | 'size' | 'altText' | 'user'>): {
    file: SlackFile;
    path: string;
  } {
    const file: SlackFile = {
      ...of,
      id: `F${this.#newId()}`,
      title: of.name,
      created: Math.floor(this.#clock.now() / 1000),
      bytes: undefined,
      completed: false,
      shares: [],
    };
    const path = `${UPLOAD_PATH}${this.#newId()}${this.#newId()}`;
    this.#files.set(file.id, file);
    this.#addresses.set(path, file);
    return { file, path };
  }

  receive(path: string, bytes: Buffer): { ok: true } | { ok: false; status: 404 | 400; text: string } {
    const file = this.#addresses.get(path);
    if (file === undefined) return { ok: false, status: 404, text: 'No upload is awaited here.' };
    if (bytes.length !== file.size) {
      const text = `Announced were ${file.size} bytes, sent were ${bytes.length}.`;
      return { ok: false, status: 400, text };
    }
    this.#addresses.delete(path);
    file.bytes = bytes;
    return { ok: true };
  }

  find(team: string, id: string): SlackFile | undefined {
    const file = this.#files.get(id);
    return file?.team === team ? file : undefined;
  }
}
