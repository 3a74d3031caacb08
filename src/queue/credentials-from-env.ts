import {
  type CredentialProvider,
  type CredentialScope,
  Credentials,
  CredentialsUnavailable,
} from '../core/execution/credentials.ts';

const PREFIX = 'COUNTERSIGN_CRED_';
const VARIABLE =
  /^COUNTERSIGN_CRED_[A-Z0-9]+(?:_[A-Z0-9]+)*__[A-Z0-9]+(?:_[A-Z0-9]+)*__(?:READ|WRITE)__[A-Z][A-Z0-9_]*$/;

/**
 * A dash becomes an underscore. Ids that hold underscores have no variables: `acme-eu` and `acme_eu` would share theirs,
 * and one tenant's call would run with another's secret.
 */
const HAS_VARIABLES = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

export class CredentialVariablesInvalid extends Error {
  override readonly name = 'CredentialVariablesInvalid';
  readonly code = 'credential_variables_invalid';

  constructor(names: readonly string[]) {
    super(
      `${names.join(', ')}: expected ${PREFIX}<TENANT>__<ENVIRONMENT>__<READ or WRITE>__<NAME> in capitals, ` +
        `such as ${PREFIX}ACME__PRODUCTION__WRITE__TOKEN`,
    );
  }
}

/**
 * `COUNTERSIGN_CRED_ACME__PRODUCTION__WRITE__API_KEY` is `api_key` of acme's writes in production, for every tool.
 * Takes the variables; reads no environment.
 */
export class CredentialsFromEnv implements CredentialProvider {
  readonly #variables: ReadonlyMap<string, string>;

  /** @throws CredentialVariablesInvalid naming each variable that begins like one of these and is none. */
  constructor(variables: Readonly<Record<string, string | undefined>>) {
    const given = Object.entries(variables).filter(([name]) => name.startsWith(PREFIX));
    const invalid = given.map(([name]) => name).filter((name) => !VARIABLE.test(name));
    if (invalid.length > 0) throw new CredentialVariablesInvalid(invalid);
    this.#variables = new Map(given.flatMap(([name, value]) => (value ? [[name, value]] : [])));
  }

  async fetch({ tenant, environment, access }: CredentialScope, signal: AbortSignal): Promise<Credentials> {
    signal.throwIfAborted();
    if (!HAS_VARIABLES.test(tenant) || !HAS_VARIABLES.test(environment)) {
      throw new CredentialsUnavailable(
        `${tenant} in ${environment} can have no credentials in variables, because of an underscore or a dash at the ` +
          'end or doubled in its name: keep them in files (COUNTERSIGN_CREDENTIALS)',
      );
    }
    const beginning = `${PREFIX}${inVariable(tenant)}__${inVariable(environment)}__${inVariable(access)}__`;
    const found = [...this.#variables].filter(([name]) => name.startsWith(beginning));
    if (found.length > 0) {
      return new Credentials(
        Object.fromEntries(found.map(([name, value]) => [name.slice(beginning.length).toLowerCase(), value])),
      );
    }
    throw new CredentialsUnavailable(
      `there are no ${access} credentials for ${tenant} in ${environment}: set ${beginning}<NAME>`,
    );
  }
}

function inVariable(id: string): string {
  return id.replaceAll('-', '_').toUpperCase();
}
