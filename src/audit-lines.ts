import type { AuditEntry } from './core/audit/audit-entry.ts';
import { jsonLine, visibleText } from './core/tool/visible-text.ts';

/** One line an entry. Nothing in an entry can end a line or steer a terminal: control characters are written out. */
export function auditLines(entries: readonly AuditEntry[], format: { json: boolean }): string[] {
  if (format.json) return entries.map(jsonLine);
  return entries.map((entry) => {
    const time = new Date(entry.at).toISOString();
    const head = [time, shown(entry.tenant).padEnd(8), String(entry.seq).padStart(5), entry.kind.padEnd(18)];
    const detail = Object.entries(entry.detail).map(([name, value]) => `${named(name)}=${shown(value)}`);
    return [...head, ...(entry.proposal === undefined ? [] : [shown(entry.proposal)]), ...detail].join('  ');
  });
}

const named = (name: string) => (/^\w+$/.test(name) ? name : shown(name));

/** Long digests are for `--json`. */
function shown(value: unknown): string {
  if (typeof value !== 'string') return oneLine(JSON.stringify(value));
  if (/^[0-9a-f]{64}$/.test(value)) return `${value.slice(0, 12)}…`;
  return /^[\w./:@-]+$/.test(value) ? value : oneLine(JSON.stringify(value));
}

function oneLine(json: string): string {
  return visibleText(json).text.replaceAll('\n', '\\n');
}
