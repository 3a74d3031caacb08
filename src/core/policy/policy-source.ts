import type { LoadedPolicy } from './policy.ts';
import { loadPolicy, type PolicyProblem } from './policy-load.ts';
import type { PolicyTool } from './policy-tool.ts';

export type PolicyReplacement =
  | { readonly ok: true; readonly changed: boolean }
  | { readonly ok: false; readonly problems: readonly PolicyProblem[] };

/** The policy that a running process judges by. A broken text never takes the place of a good one. */
export class PolicyHolder {
  #current: LoadedPolicy;

  constructor(first: LoadedPolicy) {
    this.#current = first;
  }

  get current(): LoadedPolicy {
    return this.#current;
  }

  replace(text: string, tools?: Iterable<PolicyTool>): PolicyReplacement {
    const load = loadPolicy(text, { tools });
    if (!load.ok) return { ok: false, problems: load.problems };
    const changed = load.version !== this.#current.version;
    this.#current = load;
    return { ok: true, changed };
  }
}
