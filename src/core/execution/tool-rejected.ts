/**
 * Thrown by a tool's `execute` to say for certain that the downstream system did not do it: it answered with a refusal,
 * or the call never left. The outcome is then `failed`. Any other error of a write leaves open whether it happened,
 * and so the outcome is `unknown`.
 */
export class ToolRejected extends Error {
  override readonly name = 'ToolRejected';
  /** The outcome's code, for programs: `ticket_already_closed`. */
  readonly code: string;

  /** @param message for people and for the model; values of credentials in it are blanked out. */
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
