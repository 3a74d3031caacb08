import { basename, join, resolve } from 'node:path';
import { ChainName } from '../core/audit/sealed-line.ts';
import { brief } from '../core/tool/visible-text.ts';
import { chainsIn, isLink, readChainDirectory } from './read-directory.ts';
import { NotReadable } from './read-lines.ts';
import { ChainWalk, type Walked } from './verify-chain.ts';
import type { AuditKeys, Mark } from './verify-checkpoints.ts';
import { type AuditVerdict, exitCodeOf, type Finding, worst } from './verify-finding.ts';
import { readKept } from './verify-kept.ts';

export interface ChainReport extends Walked {
  readonly chain: string;
  readonly directory: string;
  readonly verdict: AuditVerdict;
  /** Kept elsewhere, and compared with. */
  readonly kept: number;
  /** Names of files that are not the sealer's. */
  readonly strays: readonly string[];
}

export interface AuditReport {
  readonly verdict: AuditVerdict;
  readonly exitCode: number;
  readonly directory: string;
  readonly chains: readonly ChainReport[];
  /** What is wrong with no chain in particular. */
  readonly findings: readonly Finding[];
  readonly remarks: readonly string[];
}

export interface VerifyOptions {
  readonly keys: AuditKeys;
  /** Files or directories of checkpoints that were kept elsewhere. */
  readonly checkpoints?: readonly string[];
  /** How the chain is called whose directory was copied under another name. */
  readonly chain?: string;
}

/** Needs the files and the public key alone: no Redis, no configuration, no network. */
export function verifyAudit(
  directory: string,
  { keys, checkpoints = [], chain }: VerifyOptions,
): AuditReport {
  // Without a key nobody knows whether they are genuine, and they accuse nobody.
  const kept = readKept(keys.size === 0 ? [] : checkpoints, keys);
  const findings = [...kept.findings];
  const remarks = [...kept.remarks];
  const report = (chains: readonly ChainReport[]): AuditReport => {
    const verdict = worst([...chains.map((one) => one.verdict), ...findings.map(({ trouble }) => trouble)]);
    return { verdict, exitCode: exitCodeOf(verdict), directory, chains, findings, remarks };
  };
  let found: ReturnType<typeof chainsIn>;
  try {
    found = chainsIn(directory);
  } catch (error) {
    if (!(error instanceof NotReadable)) throw error;
    findings.push({ trouble: 'unverifiable', says: error.message, file: directory });
    return report([]);
  }
  if (found === undefined) {
    const name = chain ?? basename(resolve(directory));
    const marks = kept.chains.get(name) ?? [];
    if (keys.size > 0 && checkpoints.length > 0 && marks.length === 0 && kept.findings.length === 0) {
      const says = `it holds no checkpoint of the chain ${brief(name)}: whether the directory was rolled back is not known`;
      findings.push({ trouble: 'unverifiable', says, file: checkpoints.join(', ') });
    }
    return report([verifyChain(directory, { name, keys, kept: marks })]);
  }
  if (chain !== undefined)
    remarks.push('--chain is for the directory of one chain; this holds several, each under its own name');
  if (found.strays.length > 0)
    remarks.push(`not part of the audit, and not looked at: ${listed(found.strays)}`);
  const names = [...new Set([...found.chains, ...kept.chains.keys()])].sort();
  if (names.length === 0) {
    findings.push({ trouble: 'unverifiable', says: 'there is no audit in this directory', file: directory });
  }
  const present = new Set(found.chains);
  return report(
    names.map((name) => {
      const marks = kept.chains.get(name) ?? [];
      if (!present.has(name)) return gone(join(directory, name), name, marks.at(-1) as Mark);
      const path = join(directory, name);
      if (isLink(path)) return nothingOf(path, name, { trouble: 'unverifiable', says: LINK });
      return verifyChain(path, { name, keys, kept: marks });
    }),
  );
}

function verifyChain(
  path: string,
  { name, keys, kept }: { name: string; keys: AuditKeys; kept: readonly Mark[] },
): ChainReport {
  const chain = ChainName.safeParse(name).data;
  if (chain === undefined) {
    const says = `no chain can be called ${brief(name)}; if you copied it under this name, say its own with --chain`;
    return nothingOf(path, name, { trouble: 'unverifiable', says });
  }
  try {
    const directory = readChainDirectory(path);
    const walked =
      directory.segments.length === 0
        ? nothing(EMPTY)
        : new ChainWalk(directory, { chain, keys, kept }).walk();
    const verdict = walked.finding?.trouble ?? (walked.gapCount > 0 ? 'missing' : 'intact');
    return { chain, directory: path, verdict, ...walked, kept: kept.length, strays: directory.strays };
  } catch (error) {
    if (!(error instanceof NotReadable)) throw error;
    return nothingOf(path, chain, { trouble: 'unverifiable', says: error.message });
  }
}

const LINK =
  'it is a link, and what a link points to can change while one reads; put the directory itself there';
const EMPTY: Finding = {
  trouble: 'unverifiable',
  says: 'there is not one file of the audit in its directory',
};

function gone(path: string, name: string, kept: Mark): ChainReport {
  const says = `${kept.file}, line ${kept.line}, tells of ${kept.count} lines, and the chain has no directory here any more`;
  return {
    ...nothingOf(path, name, { trouble: 'rolled_back', says, n: 1, through: kept.count }),
    kept: 1,
  };
}

function nothingOf(directory: string, chain: string, finding: Finding): ChainReport {
  return { chain, directory, verdict: finding.trouble, ...nothing(finding), kept: 0, strays: [] };
}

function nothing(finding: Finding): Walked {
  return { finding, lines: 0, entries: 0, signed: undefined, gaps: [], gapCount: 0, notEntries: 0, torn: 0 };
}

function listed(names: readonly string[]): string {
  const some = names.slice(0, 5).map(brief).join(', ');
  return names.length > 5 ? `${some} and ${names.length - 5} more` : some;
}
