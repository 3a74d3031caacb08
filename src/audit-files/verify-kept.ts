import { join } from 'node:path';
import { checkpointDigest, type SignedCheckpoint } from '../core/audit/checkpoint.ts';
import { parseSegmentFile } from '../core/audit/segment-name.ts';
import { entriesOf, isDirectory } from './read-directory.ts';
import { LineReader, NotReadable } from './read-lines.ts';
import { ASK_FOR_KEY, type AuditKeys, type Mark, readOne, whyNotGenuine } from './verify-checkpoints.ts';
import type { Finding } from './verify-finding.ts';

/** The checkpoints that were kept elsewhere, by the chain of which they tell. */
export interface KeptCheckpoints {
  readonly chains: ReadonlyMap<string, readonly Mark[]>;
  readonly findings: readonly Finding[];
  readonly remarks: readonly string[];
}

/**
 * @param paths files of checkpoint lines, of one chain or several, or directories with such files. A copy may lack
 * some, and holds what a crash cut off.
 */
export function readKept(paths: readonly string[], keys: AuditKeys): KeptCheckpoints {
  const chains = new Map<string, Mark[]>();
  const findings: Finding[] = [];
  const remarks: string[] = [];
  for (const path of paths) {
    try {
      const files = checkpointFilesIn(path);
      const marks = files.flatMap((file) => readOneFile(file, keys, { findings, remarks }) ?? []);
      if (marks.length === 0 && findings.length === 0) {
        findings.push({ trouble: 'unverifiable', says: 'there is not one checkpoint in it', file: path });
      }
      for (const { chain, mark } of marks) {
        const known = chains.get(chain);
        if (known === undefined) chains.set(chain, [mark]);
        else known.push(mark);
      }
    } catch (error) {
      if (!(error instanceof NotReadable)) throw error;
      findings.push({ trouble: 'unverifiable', says: error.message, file: path });
    }
  }
  for (const marks of chains.values()) marks.sort((a, b) => a.count - b.count || a.at - b.at);
  return { chains, findings, remarks };
}

function checkpointFilesIn(path: string): string[] {
  if (!isDirectory(path)) return [path];
  return entriesOf(path).flatMap((entry) => {
    const inside = join(path, entry.name);
    if (entry.isDirectory()) return checkpointFilesIn(inside);
    return entry.name.endsWith('.jsonl') && parseSegmentFile(entry.name)?.holds !== 'lines' ? [inside] : [];
  });
}

/** Nothing of a file is believed that holds a checkpoint with a wrong signature. */
function readOneFile(
  path: string,
  keys: AuditKeys,
  told: { findings: Finding[]; remarks: string[] },
): { chain: string; mark: Mark }[] | undefined {
  const marks: { chain: string; mark: Mark }[] = [];
  let last: { signed: SignedCheckpoint; digest: string; line: number } | undefined;
  let unread: Finding | undefined;
  const refuse = (finding: Omit<Finding, 'trouble'>) => {
    told.findings.push({ ...finding, trouble: 'unverifiable', file: path });
    return undefined;
  };
  const reader = new LineReader(path);
  try {
    for (let kind = reader.next(); kind !== 'end'; kind = reader.next()) {
      if (kind === 'too_long') return refuse({ says: 'it has a line without an end', line: reader.line });
      const text = reader.text();
      const signed = readOne(text);
      if (unread !== undefined) told.remarks.push(passedOver(unread));
      unread = 'trouble' in signed ? { ...signed, file: path, line: reader.line } : undefined;
      if ('trouble' in signed) continue;
      // One that the next line links to needs no look at its own signature.
      const why = last && signed.checkpoint.prev !== last.digest && whyNotGenuine(last.signed, keys);
      if (typeof why === 'string') return refuse({ says: why, line: last?.line ?? 1, doThis: ASK_FOR_KEY });
      last = { signed, digest: checkpointDigest(text), line: reader.line };
      const { chain, count, head, at } = signed.checkpoint;
      marks.push({ chain, mark: { count, head, at, digest: last.digest, file: path, line: reader.line } });
    }
  } finally {
    reader.close();
  }
  if (unread !== undefined) return refuse(unread);
  const why = last && whyNotGenuine(last.signed, keys);
  return why === undefined ? marks : refuse({ says: why, line: last?.line ?? 1, doThis: ASK_FOR_KEY });
}

function passedOver({ file, line, says }: Finding): string {
  return `${file}, line ${line}, was passed over: ${says}`;
}
