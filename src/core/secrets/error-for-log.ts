/** An error as the log has it. */
export interface LoggedError {
  readonly type: string;
  readonly message: string;
  readonly code?: string;
  readonly stack?: string;
  readonly cause?: LoggedError;
  readonly errors?: readonly LoggedError[];
}

const DEEPEST = 5;
/** Of Slack, and whatever stands after the scheme of an Authorization header. */
const TOKENS = /\bx(?:ox[a-z]|app)[-.][\w.-]+|\b(?:Bearer|Basic)\s+[\w.~+/=-]+/gi;

export function withoutTokens(text: string): string {
  return text.replace(TOKENS, '(token)');
}

/**
 * What it is, what it says and where, also of its causes, and nothing else of it: errors of the Slack SDK carry requests
 * with their tokens, and those of Redis clients whole commands, AUTH among them.
 */
export function errorForLog(error: unknown, depth = DEEPEST): LoggedError {
  try {
    if (!(error instanceof Error)) return { type: typeof error, message: withoutTokens(String(error)) };
    const inner = (other: unknown) => errorForLog(other, depth - 1);
    return {
      type: String(error.name),
      message: withoutTokens(String(error.message)),
      ...('code' in error && typeof error.code === 'string' ? { code: error.code } : {}),
      ...(typeof error.stack === 'string' ? { stack: withoutTokens(error.stack) } : {}),
      ...(error.cause === undefined || depth === 0 ? {} : { cause: inner(error.cause) }),
      ...(error instanceof AggregateError && depth > 0 ? { errors: error.errors.map(inner) } : {}),
    };
  } catch {
    return { type: 'unknown', message: 'an error that cannot be read' };
  }
}
