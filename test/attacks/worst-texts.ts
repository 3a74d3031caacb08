import { patternCovers } from '../../src/core/grant/argument-pattern.ts';
import { parseDuration } from '../../src/core/policy/duration.ts';
import { loadPolicy } from '../../src/core/policy/policy-load.ts';
import { ArgumentBounds, firstOutOfBounds } from '../../src/core/policy/resource-bounds.ts';
import { findScopeKey } from '../../src/core/tool/scope-smuggling.ts';
import { parseStrictJson } from '../../src/core/tool/strict-json.ts';
import {
  brief,
  cutLoudly,
  mixedScripts,
  prettyArguments,
  visibleText,
} from '../../src/core/tool/visible-text.ts';
import { cutToBudget } from '../../src/slack/arguments-text.ts';
import { parseSwitchCommand } from '../../src/slack/switch-command.ts';

/**
 * Run as a program: what reads texts of agents and people, on texts made to keep it busy, each far longer than any that
 * gets in. What takes the square of their length takes minutes, and is stopped by whoever started this. Prints the name of
 * each that came to an end.
 */

const LENGTH = 200_000;
const known = { tenant: () => true, environment: () => true, tool: () => true };
const bounds = ArgumentBounds.parse({
  properties: { a: { prefix: 'https://a.example/files/', max_length: 10 } },
});
const anySize = { bytes: 1e9, depth: 64, keys: 1e6, keyLength: 1e6, stringLength: 1e9 };

export const readers: Readonly<Record<string, (text: string) => unknown>> = {
  'what makes text visible': (text) => [visibleText(text), brief(text), cutLoudly(text, 100)],
  'what draws arguments': (text) => [
    prettyArguments({ a: text }),
    cutToBudget(text, { bytes: 1e6, lines: 1e5 }),
  ],
  'what looks for mixed alphabets': mixedScripts,
  'what looks for scope': (text) => findScopeKey({ a: text }, new Set()),
  'what looks for scope in headers': (text) => findScopeKey({ headers: [text, 'x'] }, new Set()),
  'the reader of JSON': (text) => [
    parseStrictJson(text, anySize),
    parseStrictJson(JSON.stringify(text), anySize),
  ],
  'the reader of the slash command': (text) =>
    [`off ${text}`, `on ${text}`, text].map((line) => parseSwitchCommand(line, known)),
  'the bounds of a policy': (text) => firstOutOfBounds(bounds, { a: `https://a.example/files/${text}` }),
  'the pattern of a grant': (text) =>
    patternCovers([{ name: 'a', may: 'be', value: '"a+"' }], { a: text.toWellFormed() }),
  'the reader of durations': parseDuration,
  'the loader of policies': (text) =>
    loadPolicy(`tools: { allow: [${JSON.stringify(text.slice(0, 100_000))}] }`),
};

/** Of what expressions that never end are fed with: much of what nearly matches, and then an end that does not. */
const UNITS: readonly string[] = [
  'a',
  ' ',
  '\n',
  '\t \n',
  '1e',
  '/',
  '/*',
  '../',
  '%2e',
  '{"',
  "{'a",
  '":',
  '\\',
  '\\u',
  '?a=',
  'a=',
  'a%3D',
  '&a',
  ';a=b',
  'x: ',
  '<a>',
  '_1',
  'aA',
  'tenant',
  'for 2',
  'tenant a ',
  'a\u0301',
  '\u200b\u200c',
  '\ud800',
  '⟨×',
  'ﷺ',
  'eyJ',
];

if (process.argv[2] === 'run') {
  for (const [name, read] of Object.entries(readers)) {
    for (const unit of UNITS) read(`${unit.repeat(LENGTH / unit.length)}!`);
    process.stdout.write(`${name}\n`);
  }
}
