import { type Logger, pino } from 'pino';
import { escapedJson } from './core/tool/visible-text.ts';

/** One line of JSON each, on the standard output, with nothing in it that a terminal acts on, whoever wrote the words. */
export function processLogger(part: string, level = 'info'): Logger {
  return pino({ name: `countersign-${part}`, level, hooks: { streamWrite: escapedJson } });
}
