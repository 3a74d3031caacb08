import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import type { Logger } from 'pino';
import { formatProblems, loadPolicyOrThrow, POLICY_BYTES } from './core/policy/policy-load.ts';
import { PolicyHolder } from './core/policy/policy-source.ts';
import type { PolicyTool } from './core/policy/policy-tool.ts';

export class PolicyFileMissing extends Error {
  override readonly name = 'PolicyFileMissing';
  readonly code = 'policy_file_missing';
}

const LOOK_EVERY_MS = 2_000;

/** The policy in a file, and a look at the file every two seconds: `fs.watch` misses what editors and mounts replace. */
export class PolicyFile {
  readonly holder: PolicyHolder;
  readonly #path: string;
  readonly #tools: Iterable<PolicyTool>;
  readonly #logger: Logger;
  #text: string;
  #timer: NodeJS.Timeout | undefined;
  /** The text that was read last was a policy. */
  #accepted = true;
  #inForce = true;

  private constructor(path: string, text: string, tools: Iterable<PolicyTool>, logger: Logger) {
    this.#path = path;
    this.#text = text;
    this.#tools = tools;
    this.#logger = logger;
    this.holder = new PolicyHolder(loadPolicyOrThrow(text, { tools, fileName: path }));
  }

  /** @throws PolicyFileMissing, PolicyInvalidError with every problem and its line */
  static async open(path: string, tools: Iterable<PolicyTool>, logger: Logger): Promise<PolicyFile> {
    const file = new PolicyFile(path, await readPolicyText(path), tools, logger);
    file.#timer = setInterval(() => void file.look(), LOOK_EVERY_MS);
    file.#timer.unref();
    return file;
  }

  /** Whether the policy in force is what the file says: not where the file is broken or gone. */
  get inForce(): boolean {
    return this.#inForce;
  }

  /** A broken or missing file changes nothing but the log: the last good policy stays in force. */
  async look(): Promise<void> {
    let text: string;
    try {
      text = await readPolicyText(this.#path);
    } catch (err) {
      this.#inForce = false;
      this.#logger.error({ err }, 'the policy file cannot be read; the last good policy stays in force');
      return;
    }
    if (text === this.#text) {
      this.#inForce = this.#accepted;
      return;
    }
    this.#text = text;
    const replaced = this.holder.replace(text, this.#tools);
    this.#accepted = replaced.ok;
    this.#inForce = replaced.ok;
    if (!replaced.ok) {
      this.#logger.error(
        { problems: replaced.problems },
        `the new policy is broken; the last good one stays in force\n${formatProblems(replaced.problems, this.#path)}`,
      );
    } else if (replaced.changed) {
      this.#logger.warn({ policyVersion: this.holder.current.version }, 'a new policy is in force');
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/** @throws PolicyFileMissing */
export async function readPolicyText(path: string): Promise<string> {
  try {
    if (!(await stat(path)).isFile()) throw new Error('it is not a file');
    // One byte more than a policy may have, for its reader to refuse: of a huge file no more is read.
    return (await buffer(createReadStream(path, { end: POLICY_BYTES }))).toString('utf8');
  } catch (cause) {
    throw new PolicyFileMissing(
      `the policy file ${path} cannot be read: write one (docs/policy.md has a safe one to begin with), or set COUNTERSIGN_POLICY`,
      { cause },
    );
  }
}
