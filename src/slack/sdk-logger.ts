import { LogLevel, type Logger as SlackLogger } from '@slack/bolt';
import type { Logger } from 'pino';
import { withoutTokens } from '../core/secrets/error-for-log.ts';

/**
 * The SDK's words in our log. Its debug messages hold whole payloads and so are dropped, and anything that looks like
 * a token is struck out of the rest.
 */
export function sdkLogger(logger: Logger): SlackLogger {
  const words = (messages: readonly unknown[]) => withoutTokens(messages.map(String).join(' ')).slice(0, 500);
  return {
    debug() {},
    info() {},
    warn: (...messages) => logger.warn({ from: 'slack sdk' }, words(messages)),
    error: (...messages) => logger.error({ from: 'slack sdk' }, words(messages)),
    setLevel() {},
    getLevel: () => LogLevel.INFO,
    setName() {},
  };
}
