import type { EnvironmentId, TenantId } from '../identity/ids.ts';
import type { ToolName } from '../tool/tool-name.ts';

/** What a call may reach. A provider that has nothing for exactly this scope refuses; it never falls back to a wider one. */
export interface CredentialScope {
  readonly tenant: TenantId;
  readonly environment: EnvironmentId;
  readonly tool: ToolName;
  readonly access: 'read' | 'write';
}

/** Called at execution, after admission, in the process that runs the tool and nowhere else. */
export interface CredentialProvider {
  /** @throws CredentialsUnavailable */
  fetch(scope: CredentialScope, signal: AbortSignal): Promise<Credentials>;
}

/**
 * Secrets on their way into one call. Printing, logging, spreading, cloning or serialising the object shows the names
 * alone; only `get` and `values` hand out what is inside.
 */
export class Credentials {
  readonly #values: Readonly<Record<string, string>>;

  constructor(values: Readonly<Record<string, string>>) {
    const copy: Record<string, string> = Object.create(null);
    for (const [name, value] of Object.entries(values)) copy[name] = value;
    this.#values = Object.freeze(copy);
    Object.freeze(this);
  }

  /** For redaction by value. A getter of the class, so that `{ ...credentials }` does not copy it. */
  get values(): Readonly<Record<string, string>> {
    return this.#values;
  }

  /** @throws CredentialMissing where it is absent or empty: an empty secret is a mistake, never a credential. */
  get(name: string): string {
    const value = this.#values[name];
    if (value === undefined || value === '') throw new CredentialMissing(name);
    return value;
  }

  toJSON(): string {
    return this.toString();
  }

  toString(): string {
    return `Credentials(${Object.keys(this.#values).join(', ')}; values hidden)`;
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
}

export class CredentialMissing extends Error {
  override readonly name = 'CredentialMissing';
  readonly code = 'credential_missing';

  constructor(credential: string) {
    super(
      `the tool asks for the credential "${credential}", which its provider did not hand out; give it to this scope`,
    );
  }
}

/** No call was started. The message names the scope and what to configure, and never holds a secret. */
export class CredentialsUnavailable extends Error {
  override readonly name = 'CredentialsUnavailable';
  readonly code = 'credentials_unavailable';
}
