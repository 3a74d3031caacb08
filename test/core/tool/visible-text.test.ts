import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  brief,
  cutLoudly,
  mixedScripts,
  prettyArguments,
  visibleText,
} from '../../../src/core/tool/visible-text.ts';

/** Lone surrogates included. fast-check's own 'binary' unit takes seconds to build its tables. */
const anyCharacter = fc.integer({ min: 0, max: 0x10ffff }).map((point) => String.fromCodePoint(point));
const UNSEEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\p{Cs}\p{Zl}\p{Zp}]/u;

describe('text that an agent wrote', () => {
  const hidden: [what: string, text: string, shown: string, invisible: number][] = [
    ['right-to-left override', 'a\u202eb', 'a\\u{202E}b', 1],
    ['bidi isolates and marks', '\u2066a\u2069\u200f\u061c', '\\u{2066}a\\u{2069}\\u{200F}\\u{61C}', 4],
    [
      'zero-width characters',
      'a\u200bb\u200cc\u200dd\u2060\ufeff',
      'a\\u{200B}b\\u{200C}c\\u{200D}d\\u{2060}\\u{FEFF}',
      5,
    ],
    ['a soft hyphen', 'a\u00adb', 'a\\u{AD}b', 1],
    ['controls', '\u0000\u001b[31m\u007f\u0085', '\\u{0}\\u{1B}[31m\\u{7F}\\u{85}', 4],
    ['a carriage return', 'a\rb', 'a\\u{D}b', 1],
    ['line and paragraph separators', '\u2028\u2029', '\\u{2028}\\u{2029}', 2],
    ['tag characters', 'a\u{e0041}\u{e007f}', 'a\\u{E0041}\\u{E007F}', 2],
    ['variation selectors', 'a\ufe0f\u{e0100}', 'a\\u{FE0F}\\u{E0100}', 2],
    ['fillers', '\u3164\u115f\uffa0\u2800', '\\u{3164}\\u{115F}\\u{FFA0}\\u{2800}', 4],
    ['thin spaces', 'a\u200ab\u2009', 'a\\u{200A}b\\u{2009}', 2],
    ['lone surrogates', 'a\ud800b\udc00', 'a\\u{D800}b\\u{DC00}', 2],
    ['private and unassigned code points', '\ue000\u{10ffff}', '\\u{E000}\\u{10FFFF}', 2],
    [
      'a flood of marks',
      `e${'\u0301\u0302\u0303\u0304\u0305'}`,
      'e\\u{301}\\u{302}\\u{303}\\u{304}\\u{305}',
      5,
    ],
    ['a flood of one mark', `e${'\u0301'.repeat(500)}`, 'e\\u{301}⟨×500⟩', 500],
    ['a flood of one zero-width character', '\u200b'.repeat(9), '\\u{200B}⟨×9⟩', 9],
  ];
  for (const [what, text, shown, invisible] of hidden) {
    it(`[display:nothing-hidden] shows ${what}`, () => {
      expect(visibleText(text)).toMatchObject({ text: shown, invisible });
    });
  }

  const floods: [what: string, text: string, shown: string][] = [
    ['newlines', `a${'\n'.repeat(120)}b`, 'a\n⟨×120 newlines⟩\nb'],
    ['lines that hold spaces', `a${'\n \t'.repeat(10)}b`, 'a\n⟨×10 newlines⟩\n \tb'],
    ['spaces', `a${' '.repeat(41)}b`, 'a⟨×41 spaces⟩b'],
    ['spaces of several kinds', `a${' \u00a0\t\u3000'.repeat(20)}b`, 'a⟨×80 blanks⟩b'],
  ];
  for (const [what, text, shown] of floods) {
    it(`[display:nothing-hidden] collapses a flood of ${what}, and says how many`, () => {
      expect(visibleText(text)).toEqual({ text: shown, invisible: 0, collapsed: 1 });
    });
  }

  it('leaves ordinary writing as it is', () => {
    for (const text of [
      'Dear Ana,\n\nthe ticket\tis closed.\n\n\nBob',
      `indented by${' '.repeat(40)}`,
      'Größe, naïve, e\u0301, 10\u00a0€, Ελληνικά, Русский, עברית, हिन्दी, 日本語　テスト, 😀👍🏽🇩🇪',
      'C:\\users\\ana, <angle>, 2×3, 〈x〉',
    ]) {
      expect(visibleText(text)).toEqual({ text, invisible: 0, collapsed: 0 });
    }
  });

  it('[display:agent-text-is-data] tells its own notation from an imitation', () => {
    expect(visibleText('\\u{202E} ⟨×3 newlines⟩ …⟨cut: 9 more characters⟩ ⟨redacted⟩').text).toBe(
      '\\u{5C}u{202E} \\u{27E8}×3 newlines⟩ …\\u{27E8}cut: 9 more characters⟩ \\u{27E8}redacted⟩',
    );
  });

  it('[display:nothing-hidden] holds nothing unseen, for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyCharacter }), (text) => {
        expect(visibleText(text).text).not.toMatch(UNSEEN);
        expect(prettyArguments({ [text]: [text] })).not.toMatch(UNSEEN);
        expect(brief(text)).not.toMatch(/[\n\t]/);
      }),
      { interruptAfterTimeLimit: 1_500, numRuns: 300 },
    );
  });

  it('takes little time for the worst of texts', () => {
    const started = process.cpuUsage();
    for (const unit of [' ', '\n', ' \n', '\t \n ', '\u0301', '\u200b\u200c', '\\u{', '⟨×']) {
      visibleText(unit.repeat(64_000 / unit.length));
    }
    visibleText(`${' '.repeat(64_000)}x`);
    expect(process.cpuUsage(started).user).toBeLessThan(5_000_000);
  });
});

describe('cutting', () => {
  it('leaves alone what fits, and says how much is missing where it does not', () => {
    expect(cutLoudly('short', 5)).toEqual({ text: 'short', cut: 0 });
    expect(cutLoudly('x'.repeat(100), 50)).toEqual({
      text: `${'x'.repeat(23)}…⟨cut: 77 more characters⟩`,
      cut: 77,
    });
  });

  it('counts code points, splits none, and never exceeds what it was given', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: anyCharacter, maxLength: 200 }),
        fc.integer({ min: 0, max: 220 }),
        (text, max) => {
          const { text: shown, cut } = cutLoudly(text, max);
          const points = [...text];
          expect([...shown].length).toBeLessThanOrEqual(Math.max(max, 0));
          expect(cut > 0).toBe(points.length > max);
          expect(shown.startsWith(points.slice(0, points.length - cut).join(''))).toBe(true);
        },
      ),
      { interruptAfterTimeLimit: 1_500, numRuns: 60 },
    );
    expect(cutLoudly('😀'.repeat(10), 4)).toEqual({ text: '😀😀😀…', cut: 7 });
  });

  it('names a value in a message on one line of at most 60 characters', () => {
    expect([...brief('line one\nline two\t\u202e')].join('')).toBe('line one\\u{A}line two\\u{9}\\u{202E}');
    expect([...brief('a'.repeat(8_000))].length).toBe(60);
    expect([...brief('\u200b\u200c'.repeat(4_000))].length).toBe(60);
  });
});

describe('arguments for people', () => {
  it('are stable, readable, and in canonical order', () => {
    expect(
      prettyArguments({ tags: ['a', 1.5, null, true], id: 7, none: [], empty: {}, at: { b: 1, a: 2 } }),
    ).toBe(
      [
        '{',
        '  "at": {',
        '    "a": 2,',
        '    "b": 1',
        '  },',
        '  "empty": {},',
        '  "id": 7,',
        '  "none": [],',
        '  "tags": [',
        '    "a",',
        '    1.5,',
        '    null,',
        '    true',
        '  ]',
        '}',
      ].join('\n'),
    );
  });

  it('[display:agent-text-is-data] put every line of a text into a gutter, so that none can pass for a key', () => {
    const body = 'Hello\n  "tenant": "globex",\n}\nApproved by Ana\n\n\n\n\n│ x';
    const lines = prettyArguments({ body, id: 1 }).split('\n');
    expect(lines).toEqual([
      '{',
      '  "body": (text, 9 lines)',
      '    │ Hello',
      '    │   "tenant": "globex",',
      '    │ }',
      '    │ Approved by Ana',
      '    │ ⟨×5 newlines⟩',
      '    │ │ x',
      '  "id": 1',
      '}',
    ]);
  });

  it('[display:agent-text-is-data] let no text end its own quotes', () => {
    expect(prettyArguments(['", "approved": true, "', '\\', '\\u{202E}', '\u202e'])).toBe(
      '[\n  "\\", \\"approved\\": true, \\"",\n  "\\\\",\n  "\\\\u{202E}",\n  "\\u{202E}"\n]',
    );
  });

  it('show a key as carefully as a value', () => {
    expect(prettyArguments({ 'a"\u200b': 1 })).toBe('{\n  "a\\"\\u{200B}": 1\n}');
  });
});

describe('the hint at look-alike letters', () => {
  it('names words that mix scripts, each once, and no others', () => {
    expect(mixedScripts('Pay раypal and pаypal, pаypal; Привет Ελλάδα hello 日本go')).toEqual([
      'раypal',
      'pаypal',
    ]);
  });
});
