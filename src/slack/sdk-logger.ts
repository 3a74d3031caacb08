import { LogLevel, type Logger as SlackLogger } from '@slack/bolt';
import type { Logger } from 'pino';

/**
 * The SDK's words in our log. Its debug messages hold whole payloads and so are dropped, and anything that looks like
 * a token is struck out of the rest.
 */
export function sdkLogger(logger: Logger): SlackLogger {
  const words = (messages: readonly unknown[]) =>
    messages.map(String).join(' ').replace(TOKEN, '(token)').slice(0, 500);
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

const TOKEN = /\bx(?:ox[a-z]|app)-[A-Za-z0-9-]+/g;
