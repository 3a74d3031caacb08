import type { Installation } from './installation.ts';

/** An installation as it was read; `text` is what stood in the store, to be compared when it is replaced. */
export interface StoredInstallation {
  readonly installation: Installation;
  readonly text: string;
}

export interface UnreadableInstallation {
  readonly team: string;
  readonly why: 'form' | 'unknown_key' | 'not_genuine';
}

export interface InstallationsRead {
  readonly readable: readonly StoredInstallation[];
  readonly unreadable: readonly UnreadableInstallation[];
}

export interface InstallationStore {
  /** @throws StoreUnavailable, like everything here. */
  all(): Promise<InstallationsRead>;
  read(team: string): Promise<StoredInstallation | undefined>;
  /** After somebody consented in Slack: whatever stood there is replaced. */
  put(installation: Installation): Promise<void>;
  /** Undefined: somebody else replaced it first, and nothing was changed. */
  replace(old: StoredInstallation, next: Installation): Promise<StoredInstallation | undefined>;
  /** Hints alone; whoever listens reads anew now and then as well. */
  onChanged(listener: () => void): Promise<() => Promise<void>>;
}
