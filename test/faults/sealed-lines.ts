import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Of all segments of all chains, as they stand in the files. */
export function sealedLines(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.jsonl') && !path.endsWith('.checkpoints.jsonl'))
    .flatMap((path) => readFileSync(join(directory, path), 'utf8').split('\n').filter(Boolean));
}
