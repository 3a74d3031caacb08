/** How long a command is remembered: longer than anybody delivers late. */
export const HEARD_FOR_MS = 24 * 60 * 60 * 1_000;

/** Commands that were carried out already. Slack may deliver one late or twice, to any replica. */
export interface HeardCommands {
  /** True for one caller alone, for a day. */
  firstTime(command: string): Promise<boolean>;
}
