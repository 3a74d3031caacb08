import type { CredentialProvider } from '../core/execution/credentials.ts';
import { CredentialsFromEnv } from './credentials-from-env.ts';
import { CredentialsFromFiles } from './credentials-from-files.ts';

/** Where this process was told its credentials are: in a directory, else in variables, which may be none. */
export interface CredentialPlaces {
  readonly directory: string | undefined;
  readonly variables: { reveal(): Readonly<Record<string, string>> };
}

/** @throws CredentialVariablesInvalid */
export function credentialProviderOf({ directory, variables }: CredentialPlaces): CredentialProvider {
  return directory === undefined
    ? new CredentialsFromEnv(variables.reveal())
    : new CredentialsFromFiles(directory);
}
