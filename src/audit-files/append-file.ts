import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A file that only we append to has another length than we left it with. Somebody cut it, or wrote into it. */
export class AuditFileChanged extends Error {
  override readonly name = 'AuditFileChanged';
  readonly code = 'audit_file_changed';
}

/** Never through a link: what is appended to is the file that was made here. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW;

/**
 * A file that is only ever appended to. It is opened anew for each append, so that a directory that was moved away is
 * seen at once, and thousands of chains hold no descriptors.
 */
export class AppendFile {
  readonly path: string;
  #size = 0;

  private constructor(path: string) {
    this.path = path;
  }

  get size(): number {
    return this.#size;
  }

  /** Empty, and on the disk with its name when this resolves. @throws where there is one already. */
  static async create(path: string): Promise<AppendFile> {
    const handle = await open(path, APPEND | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await syncDirectory(dirname(path));
    return new AppendFile(path);
  }

  /**
   * On the disk when this resolves. Where it fails, a part may be there: nothing more may be appended to this file.
   * @throws AuditFileChanged
   */
  async append(text: string): Promise<void> {
    const bytes = Buffer.from(text, 'utf8');
    const handle = await open(this.path, APPEND);
    try {
      await this.#checkSize(handle);
      await handle.appendFile(bytes);
      await handle.sync();
      this.#size += bytes.length;
    } finally {
      await handle.close();
    }
  }

  async #checkSize(handle: FileHandle): Promise<void> {
    const { size } = await handle.stat();
    if (size === this.#size) return;
    throw new AuditFileChanged(
      `${this.path} has ${size} bytes where ${this.#size} were written: somebody else changed it`,
    );
  }
}

/** So that a name in it outlives a loss of power. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
