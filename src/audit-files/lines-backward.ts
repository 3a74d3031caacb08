import { open } from 'node:fs/promises';

const BLOCK_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

/** The complete lines of a file, the last one first, without their newlines. What follows the last newline is torn, and left out. */
export async function* linesBackward(path: string): AsyncGenerator<string> {
  const handle = await open(path, 'r');
  try {
    let position = (await handle.stat()).size;
    /** From the beginning of a line that is not complete yet, to its newline. */
    let rest: Buffer[] = [];
    let torn = true;
    while (position > 0) {
      const length = Math.min(BLOCK_BYTES, position);
      position -= length;
      const block = Buffer.alloc(length);
      await handle.read(block, 0, length, position);
      let end = length;
      for (
        let at = block.lastIndexOf(NEWLINE);
        at >= 0;
        at = at === 0 ? -1 : block.lastIndexOf(NEWLINE, at - 1)
      ) {
        const line = Buffer.concat([block.subarray(at + 1, end), ...rest]);
        if (!torn) yield line.toString('utf8');
        torn = false;
        rest = [];
        end = at;
      }
      rest.unshift(block.subarray(0, end));
    }
    if (!torn) yield Buffer.concat(rest).toString('utf8');
  } finally {
    await handle.close();
  }
}
