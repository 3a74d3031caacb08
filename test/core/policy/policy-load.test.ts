import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatProblems,
  loadPolicy,
  loadPolicyOrThrow,
  PolicyInvalidError,
  type PolicyProblem,
} from '../../../src/core/policy/policy-load.ts';
import type { PolicyTool } from '../../../src/core/policy/policy-tool.ts';
import { GROWN, SAFE_DEFAULT, TOOLS } from './policies.ts';

function problemsOf(text: string, tools?: Iterable<PolicyTool>): readonly PolicyProblem[] {
  const load = loadPolicy(text, { tools });
  return load.ok ? [] : load.problems;
}

/** What a person sees, without the file's name: `4:3 write_tools.enabled: …` */
const shown = (text: string, tools?: Iterable<PolicyTool>) =>
  formatProblems(problemsOf(text, tools), '')
    .split('\n')
    .filter(Boolean)
    .map((line) => line.slice(1));

/** GROWN with one line replaced by others: its number is where the problem must be found. */
function grownWith(line: number, ...replacement: string[]): string {
  return GROWN.split('\n')
    .toSpliced(line - 1, 1, ...replacement)
    .join('\n');
}

describe('a sound policy', () => {
  it('[policy:writes-disabled-by-default] is the safe default of the source, exactly as it stands', () => {
    const load = loadPolicy(SAFE_DEFAULT);
    if (!load.ok) throw new Error(formatProblems(load.problems, 'safe-default.yaml'));
    expect(load.policy.write_tools).toEqual({ enabled: false, require_approval: true });
    expect(load.policy.tenants.size).toBe(0);
    expect(load.version).toBe(createHash('sha256').update(SAFE_DEFAULT).digest('hex'));
    expect(load.warnings).toEqual([]);
  });

  it('uses every key there is', () => {
    expect(shown(GROWN, TOOLS)).toEqual([]);
  });

  it('[policy:writes-disabled-by-default] permits nothing by what it leaves out', () => {
    const load = loadPolicy('tools: {}\n');
    if (!load.ok) throw new Error('expected a sound policy');
    expect(load.policy.write_tools).toEqual({ enabled: false, require_approval: true });
    expect(load.policy.credentials.scope).toEqual({ tenant: true, environment: true });
    expect(load.policy.tools.allow).toEqual([]);
    expect(load.policy.auto_approve).toEqual([]);
  });

  it.each([
    ['Windows line ends', SAFE_DEFAULT.replaceAll('\n', '\r\n')],
    ['a byte order mark', `\ufeff${SAFE_DEFAULT}`],
    ['the marker of a document', `---\n${SAFE_DEFAULT}...\n`],
    ['comments in any language', `# Künftig: 日本語 ✅\n${SAFE_DEFAULT}`],
    ['quoted keys', SAFE_DEFAULT.replace('tools:', '"tools":')],
    [
      'an asterisk alone where it makes stricter',
      grownWith(10, '  required_for: ["*"]').replace(/^auto_approve:\n.*\n.*\n/m, ''),
    ],
    [
      'a tenant named like a number, quoted or not',
      GROWN.replace('  acme:', '  "1234":').replace('  globex:', '  5678:'),
    ],
    [
      'a rule after one for other environments',
      grownWith(12, '  rules:', '    - { tools: ["db.write"], environments: [staging], tenants: [acme] }'),
    ],
    ['a quorum that a group can meet', grownWith(16, '      quorum: 20')],
    ['operators and armers who are different people', GROWN],
    [
      'more armers than operators, but two of them together',
      grownWith(40, '  arming: { operators: ["usergroup:S0ONCALL", "user:U0LEAD"], quorum: 2 }'),
    ],
    ['a prefix without a host', GROWN.replace('enum: ["support"]', 'prefix: "support/"')],
    [
      'a URL prefix that ends its host',
      GROWN.replace('enum: ["support"]', 'prefix: "https://api.example.com/v1/"'),
    ],
    [
      'nested bounds',
      GROWN.replace('enum: ["support"]', 'items: { properties: { id: { max_length: 9 } } }, max_items: 3'),
    ],
  ])('may have %s', (_, text) => {
    expect(shown(text, text.includes('kb.read", "http') ? undefined : TOOLS)).toEqual([]);
  });
});

describe('a broken policy', () => {
  it.each<[string, number, string[], string]>([
    ['an unknown key at the top', 1, ['version: 1', 'tool: {}'], '2:1 tool: unknown key'],
    [
      'an unknown key in a rule',
      13,
      ['    - tool: ["db.write"]', '      tools: ["db.write"]'],
      '13:7 approvals.rules[0].tool: unknown key',
    ],
    [
      'an unknown key in a tenant',
      29,
      ['    slack: { team: T0ACME, channel: C0ACMEAPP, name: x }'],
      '29:48 tenants.acme.slack.name: unknown key',
    ],
    ['another version', 1, ['version: 2'], '1:1 version: expected 1'],
    [
      'on for true',
      5,
      ['  enabled: on'],
      '5:3 write_tools.enabled: expected boolean, received string (on is a text in YAML 1.2',
    ],
    ['a number in quotes', 16, ['      quorum: "2"'], '16:7 approvals.rules[0].quorum: expected number'],
    ['a section without content', 3, [], '2:1 tools: is empty'],
    [
      'weakened credential scoping',
      8,
      ['  scope: { tenant: false, environment: true }'],
      '8:12 credentials.scope.tenant: credentials are always scoped',
    ],
    [
      'a tool name with capitals',
      10,
      ['  required_for: ["Ticket.close"]'],
      '10:18 approvals.required_for[0]: expected the exact name of a tool',
    ],
    [
      'a pattern for a tool name',
      10,
      ['  required_for: ["ticket.*"]'],
      '10:18 approvals.required_for[0]: expected the exact name of a tool',
    ],
    ['every tool allowed', 3, ['  allow: ["*"]'], '3:11 tools.allow[0]: expected the exact name of a tool'],
    [
      'every tool approved automatically',
      23,
      ['  - tools: ["*"]'],
      '23:13 auto_approve[0].tools[0]: expected the exact name of a tool',
    ],
    [
      'an asterisk among names',
      13,
      ['    - tools: ["db.write", "*"]'],
      '13:7 approvals.rules[0].tools: "*" is every tool already',
    ],
    [
      'a name listed twice',
      10,
      ['  required_for: ["ticket.close", "ticket.close"]'],
      '10:34 approvals.required_for[1]: ticket.close is listed twice',
    ],
    [
      'a rule for a tool that does not exist',
      13,
      ['    - tools: ["db.writes"]'],
      '13:15 approvals.rules[0].tools[0]: there is no tool named db.writes',
    ],
    [
      'bounds for a tool that does not exist',
      26,
      ['  ticket.shut: { properties: { queue: { enum: ["support"] } } }'],
      '26:3 resources["ticket.shut"]: there is no tool named ticket.shut',
    ],
    [
      'an approver by handle',
      15,
      ['      approvers: ["@dba"]'],
      '15:19 approvals.rules[0].approvers[0]: expected user:U… or usergroup:S…',
    ],
    [
      'no approver in the list',
      15,
      ['      approvers: []'],
      '15:7 approvals.rules[0].approvers: expected at least one approver',
    ],
    [
      'a quorum that cannot be met',
      15,
      ['      approvers: ["user:U0DBA1"]'],
      '16:7 approvals.rules[0].quorum: a quorum of 2 cannot be met: the approvers are one person',
    ],
    ['a quorum of nobody', 16, ['      quorum: 0'], '16:7 approvals.rules[0].quorum: Too small'],
    ['half a quorum', 16, ['      quorum: 1.5'], '16:7 approvals.rules[0].quorum: expected int'],
    [
      'a deadline too near',
      17,
      ['      expires_in: 9s'],
      '17:7 approvals.rules[0].expires_in: expected between 10s and 1d',
    ],
    [
      'a deadline too far',
      17,
      ['      expires_in: 25h'],
      '17:7 approvals.rules[0].expires_in: expected between 10s and 1d',
    ],
    [
      'a deadline without a unit',
      17,
      ['      expires_in: 600'],
      '17:7 approvals.rules[0].expires_in: expected string',
    ],
    [
      'a start too far',
      18,
      ['      start_within: 2h'],
      '18:7 approvals.rules[0].start_within: expected between 1s and 1h',
    ],
    [
      'a reminder after the deadline',
      20,
      ['      remind_after: 10m'],
      '20:7 approvals.rules[0].remind_after: a reminder after 10m comes too late',
    ],
    [
      'an escalation after the deadline',
      21,
      ['      escalate: { after: 11m, to: ["usergroup:S0ONCALL"] }'],
      '21:19 approvals.rules[0].escalate.after: an escalation after 11m comes too late',
    ],
    [
      'an escalation to nobody',
      21,
      ['      escalate: { after: 6m, to: [] }'],
      '21:30 approvals.rules[0].escalate.to: expected at least one approver',
    ],
    [
      'an escalation that asks nobody new',
      21,
      ['      escalate: { after: 6m, to: ["user:U0DBA1"] }'],
      '21:30 approvals.rules[0].escalate.to: this escalation asks nobody new',
    ],
    [
      'a re-route to too few people',
      21,
      ['      escalate: { after: 6m, to: ["user:U0LEAD"], reroute: true }'],
      '21:30 approvals.rules[0].escalate.to: a quorum of 2 cannot be met after the escalation: it leaves one person',
    ],
    [
      'a re-route that is neither true nor false',
      21,
      ['      escalate: { after: 6m, to: ["user:U0LEAD"], reroute: 1 }'],
      '21:51 approvals.rules[0].escalate.reroute: expected boolean',
    ],
    [
      'a reason to deny that is listed twice',
      21,
      ['      denial_reasons: [{ text: "No" }, { text: "No", tell_agent: "wait" }]'],
      '21:42 approvals.rules[0].denial_reasons[1].text: No is listed twice',
    ],
    [
      'more reasons to deny than a form can hold',
      21,
      [`      denial_reasons: [${Array.from({ length: 11 }, (_, i) => `{ text: "No ${i}" }`).join(', ')}]`],
      '21:7 approvals.rules[0].denial_reasons: expected at most 10 reasons',
    ],
    [
      'a reason to deny that is too long for a button',
      21,
      [`      denial_reasons: [{ text: "${'x'.repeat(76)}" }]`],
      '21:26 approvals.rules[0].denial_reasons[0].text: expected at most 75 characters',
    ],
    [
      'words for the agent that hide some',
      21,
      ['      denial_reasons: [{ text: "No", tell_agent: "use\\u202e ticket.merge" }]'],
      '21:38 approvals.rules[0].denial_reasons[0].tell_agent: expected one line of visible characters',
    ],
    [
      'reasons to deny that nobody is asked for',
      19,
      ['      reason: { deny: none }', '      denial_reasons: [{ text: "No" }]'],
      '20:7 approvals.rules[0].denial_reasons: nobody is asked for these reasons: reason.deny is none',
    ],
    [
      'a reason that is none of the three',
      19,
      ['      reason: { approve: yes }'],
      '19:17 approvals.rules[0].reason.approve: expected one of',
    ],
    [
      'an environment that nobody has',
      14,
      ['      environments: [Production]'],
      '14:22 approvals.rules[0].environments[0]: an environment must match',
    ],
    [
      'an unknown environment in a rule',
      14,
      ['      environments: [prod]'],
      '14:22 approvals.rules[0].environments[0]: no tenant has an environment prod',
    ],
    [
      'an environment that its tenants lack',
      14,
      ['      environments: [staging]', '      tenants: [globex]'],
      '14:22 approvals.rules[0].environments[0]: none of its tenants has an environment staging',
    ],
    [
      'an unknown tenant in a rule',
      14,
      ['      tenants: [initech]'],
      '14:17 approvals.rules[0].tenants[0]: there is no tenant initech',
    ],
    [
      'a shadowed rule',
      21,
      ['    - tools: ["db.write"]', '      tenants: [acme]', '      environments: [production]'],
      '21:7 approvals.rules[1]: can never apply: everything that it matches is matched before, by approvals.rules[0] (line 13)',
    ],
    [
      'a rule behind one that lists every environment',
      14,
      ['      environments: [staging, production]', '    - tools: ["db.write"]'],
      '15:7 approvals.rules[1]: can never apply',
    ],
    [
      'automatic approval of what a person must decide',
      23,
      ['  - tools: ["ticket.close"]'],
      '23:13 auto_approve[0].tools[0]: ticket.close is listed under approvals.required_for',
    ],
    [
      'automatic approval of what cannot be undone',
      23,
      ['  - tools: ["user.purge"]'],
      '23:13 auto_approve[0].tools[0]: user.purge cannot be undone',
    ],
    [
      'automatic approval of a read',
      23,
      ['  - tools: ["kb.read"]'],
      '23:13 auto_approve[0].tools[0]: kb.read only reads',
    ],
    [
      'automatic approval without a budget',
      24,
      ['    environments: [production]'],
      '23:5 auto_approve[0].budget: is missing',
    ],
    [
      'a budget that tenants share',
      24,
      ['    budget: { max: 20, per: 1h, by: [agent] }'],
      '24:33 auto_approve[0].budget.by: must include tenant',
    ],
    [
      'an infinite budget',
      24,
      ['    budget: { max: 1e999, per: 1h }'],
      '24:15 auto_approve[0].budget.max: expected number, received Infinity',
    ],
    [
      'a shadowed automatic approval',
      24,
      [
        '    budget: { max: 20, per: 1h }',
        '  - { tools: ["ticket.create"], environments: [staging], budget: { max: 99, per: 1h } }',
      ],
      '25:5 auto_approve[1]: can never apply',
    ],
    [
      'a regular expression in the bounds',
      26,
      ['  ticket.close: { properties: { queue: { pattern: "(a+)+$" } } }'],
      '26:42 resources["ticket.close"].properties.queue.pattern: unknown key',
    ],
    [
      'a bound that bounds nothing',
      26,
      ['  ticket.close: { properties: { queue: { optional: true } } }'],
      '26:33 resources["ticket.close"].properties.queue: bounds nothing',
    ],
    [
      'a bound that no value meets',
      26,
      ['  ticket.close: { properties: { queue: { minimum: 2, maximum: 1 } } }'],
      '26:33 resources["ticket.close"].properties.queue: minimum is above maximum',
    ],
    [
      'a URL prefix that other hosts share',
      26,
      ['  ticket.close: { properties: { queue: { prefix: "https://a.example" } } }'],
      '26:42 resources["ticket.close"].properties.queue.prefix: a URL prefix must end its host',
    ],
    [
      'two tenants in one channel',
      33,
      ['    slack: { team: T0ACME, channel: C0ACMEAPP }'],
      '33:28 tenants.globex.slack.channel: each tenant has its own channel, and this one is taken by tenants.acme.slack.channel (line 29)',
    ],
    [
      'a tenant whose name Redis would read otherwise',
      28,
      ['  "acme:{x}":'],
      '28:3 tenants["acme:{x}"]: a tenant id must match',
    ],
    [
      'a channel by name',
      29,
      ['    slack: { team: T0ACME, channel: "#acme" }'],
      '29:28 tenants.acme.slack.channel: expected the id of a Slack channel',
    ],
    [
      'a tenant without environments',
      30,
      ['    environments: []'],
      '30:5 tenants.acme.environments: expected at least one environment',
    ],
    [
      'a tenant that widens its tools',
      35,
      ['    overrides: { tools: { allow: ["email.send"] } }'],
      '35:35 tenants.globex.overrides.tools.allow[0]: email.send is not in tools.allow',
    ],
    [
      'a tenant that enables writes',
      35,
      ['    overrides: { write_tools: { enabled: true } }'],
      '35:33 tenants.globex.overrides.write_tools.enabled: a tenant may only narrow',
    ],
    [
      'a tenant that drops approvals',
      35,
      ['    overrides: { write_tools: { require_approval: false } }'],
      '35:33 tenants.globex.overrides.write_tools.require_approval: a tenant may only narrow',
    ],
    [
      'a service without owners',
      37,
      ['  service:nightly-triage: { owners: [] }'],
      '37:29 services["service:nightly-triage"].owners: expected at least one owner',
    ],
    [
      'a service owned by a group',
      37,
      ['  service:nightly-triage: { owners: ["usergroup:S1"] }'],
      '37:38 services["service:nightly-triage"].owners[0]: expected user:U…',
    ],
    [
      'a service without its prefix',
      37,
      ['  nightly-triage: { owners: ["user:U0OWNER"] }'],
      '37:3 services.nightly-triage: a service must match',
    ],
    ['a switch that nobody may arm', 40, [], '38:1 switch.arming: is missing'],
    [
      'arming that nobody can do together',
      40,
      ['  arming: { operators: ["user:U0LEAD"], quorum: 2 }'],
      '40:41 switch.arming.quorum: a quorum of 2 cannot be met',
    ],
    [
      'arming laxer than stopping',
      40,
      ['  arming: { operators: ["usergroup:S0ONCALL", "user:U0LEAD"] }'],
      '40:13 switch.arming.operators: more people may turn writes on',
    ],
  ])('with %s names the line', (_, line, replacement, expected) => {
    expect(shown(grownWith(line, ...replacement), TOOLS)).toContainEqual(expect.stringContaining(expected));
  });
});

describe('what YAML could smuggle in', () => {
  it.each<[string, string, string]>([
    ['an alias', 'tools: { allow: &reads [kb.read] }\napprovals: { required_for: *reads }\n', '2:28 aliases'],
    ['an anchor', 'tools: { allow: &reads [kb.read] }\n', '1:17 anchors'],
    ['a merge key', 'tools: { allow: [kb.read] }\nwrite_tools:\n  <<: { enabled: true }\n', '3:3 merge keys'],
    ['a tag', 'write_tools:\n  enabled: !!bool "true"\n', '2:12 tags'],
    ['a tag on a block of text', 'tools:\n  allow: !mine |\n    kb.read\n', '2:10 tags'],
    ['a directive', '%YAML 1.1\n---\ntools: {}\n', '1:1 directives'],
    ['a second document', 'tools: {}\n---\nwrite_tools: { enabled: true }\n', '2:1 a policy is one document'],
    [
      'a second document after the end of the first',
      'tools: {}\n...\ntools: {}\n',
      '3:1 a policy is one document',
    ],
    ['a duplicate key', 'write_tools:\n  enabled: false\n  enabled: true\n', '3:3 Map keys must be unique'],
    [
      'a duplicate key, spelt in two ways',
      'write_tools:\n  enabled: false\n  "enabled": true\n',
      '3:3 Map keys must be unique',
    ],
    ['a prototype', '__proto__: { write_tools: { enabled: true } }\ntools: {}\n', '1:1 __proto__ is no key'],
    ['a mapping for a key', '? { a: b }\n: c\n', '1:3 '],
    ['tabs for indentation', 'tools:\n\tallow: []\n', '2:1 Tabs'],
    ['a list left open', 'tools: [\n', '2:1 '],
    ['a list for a policy', '- tools\n', '1:1 expected a mapping'],
    [
      'text that runs backwards',
      '# \u202eeslaf :delbane\ntools: {}\n',
      '1:3 holds a character that an editor may not show, U+202E',
    ],
    [
      'a line end that only some see',
      '# tools\rwrite_tools: { enabled: true }\n',
      '1:8 holds a character that an editor may not show, U+000D',
    ],
    [
      'bytes that are no UTF-8',
      'tools: {} # \ufffd\n',
      '1:13 holds a character that an editor may not show, U+FFFD',
    ],
    [
      'half a character',
      'tools: {} # \ud83d\n',
      '1:13 holds a character that an editor may not show, U+D83D',
    ],
    [
      'a name of invisible letters',
      'tools: { allow: ["kb\u200b.read"] }\n',
      '1:21 holds a character that an editor may not show, U+200B',
    ],
  ])('is refused: %s', (_, text, expected) => {
    expect(shown(text)).toContainEqual(expect.stringContaining(expected));
  });

  it.each(['', '\n', '# nothing yet\n', '---\n', '~\n', 'null\n'])('refuses an empty policy: %j', (text) => {
    expect(shown(text)).toEqual(['1:1 the policy is empty']);
  });

  it('reads words and numbers as YAML 1.2 does', () => {
    const rule = (quorum: string) =>
      `approvals: { defaults: { approvers: ["usergroup:S1"], quorum: ${quorum} } }\n`;
    const quorumOf = (text: string) => {
      const load = loadPolicy(text);
      return load.ok ? load.policy.approvals.defaults.quorum : undefined;
    };
    expect(quorumOf(rule('10'))).toBe(10);
    expect(quorumOf(rule('1_0'))).toBeUndefined();
    for (const number of ['010', '0o10', '0xA', '1e1', '+10', '10.']) {
      expect(shown(rule(number))).toEqual([expect.stringContaining(`${number} is another number`)]);
    }
    for (const word of ['on', 'off', 'yes', 'no', 'y', 'On', 'OFF']) {
      expect(shown(`write_tools: { enabled: ${word} }\n`)[0]).toContain(`${word} is a text in YAML 1.2`);
    }
  });

  it.each<[string, string, string]>([
    ['brackets', '['.repeat(200_000), 'is nested deeper than 32 levels'],
    ['dashes', '- '.repeat(100_000), 'is nested deeper than 32 levels'],
    ['braces', '{a: '.repeat(50_000), 'is nested deeper than 32 levels'],
    ['keys', Array.from({ length: 30_000 }, (_, at) => `k${at}:`).join('\n'), 'has more than 2000 entries'],
    [
      'wrong items',
      `resources: {}\ntools: { allow: [${'1,'.repeat(1_999)}] }\n`,
      'expected string, received number',
    ],
    ['megabytes', `# ${'x'.repeat(2_000_000)}\ntools: {}\n`, 'is larger than 256 KiB'],
  ])('is bounded, however much of it there is: %s', (_, text, message) => {
    const problems = problemsOf(text);
    expect(problems[0]?.message).toContain(message);
    expect(problems.length).toBeLessThanOrEqual(200);
  });

  it('escapes what a terminal would act on', () => {
    const [line] = shown('"\\e[2J\\u202e": 1\n');
    expect(line).toBe(String.raw`1:1 ["\u001b[2J\u202e"]: unknown key`);
  });
});

describe('one run', () => {
  it('reports every problem, whatever kind it is, with its line', () => {
    const text = [
      'tool: {}', // 1: unknown key
      'tools: { allow: ["kb.read", "email.send"] }', // 2: no such tool
      'write_tools: { enabled: on }', // 3: no boolean
      'approvals:', // 4
      '  required_for: ["ticket.close"]', // 5
      '  rules:', // 6
      '    - tools: ["db.write"]', // 7
      '      approvers: ["user:U1"]', // 8
      '      quorum: 2', // 9: cannot be met
      '      expires_in: 5s', // 10: too near
      '      colour: red', // 11: unknown key
      '    - tools: ["db.write"]', // 12: shadowed
      '      approvers: ["user:U1"]', // 13
      '      environments: [prod]', // 14: unknown environment
      'auto_approve:', // 15
      '  - tools: ["ticket.close"]', // 16: required_for
      '    budget: { max: 0, per: 1h }', // 17: too small
      'tenants:', // 18
      '  Acme: { slack: { team: T1, channel: general }, environments: [] }', // 19: three things
      '  acme: { slack: { team: T1, channel: C1 }, environments: [staging], limits: { pending: 3 } }', // 20
      '  acme: {}', // 21: duplicate
      'switch: &x', // 22: anchor
      '  operators: ["user:U1"]', // 23
      '  arming: { operators: ["user:U2"], quorum: 3 }', // 24: cannot be met
    ].join('\n');
    const lines = problemsOf(text, TOOLS).map(({ line, path }) => `${line} ${path}`);
    expect(lines).toEqual([
      '1 tool',
      '2 tools.allow[1]',
      '3 write_tools.enabled',
      '9 approvals.rules[0].quorum',
      '10 approvals.rules[0].expires_in',
      '11 approvals.rules[0].colour',
      '12 approvals.rules[1]',
      '16 auto_approve[0].tools[0]',
      '17 auto_approve[0].budget.max',
      '19 tenants.Acme',
      '19 tenants.Acme.slack.channel',
      '19 tenants.Acme.environments',
      '20 tenants.acme.limits.pending',
      '21 ',
      '22 ',
      '24 switch.arming.quorum',
    ]);
  });

  it('does not invent problems out of the ones it found', () => {
    expect(shown(grownWith(15, '      approvers: ["@ana"]'), TOOLS)).toHaveLength(1);
    expect(shown(grownWith(11, '  defaults: { approvers: "usergroup:S0SUPPORT" }'), TOOLS)).toHaveLength(1);
    expect(shown(grownWith(30, '    environments: production'), TOOLS)).toHaveLength(1);
    expect(shown(grownWith(3, '  allow: kb.read'), TOOLS)).toHaveLength(1);
    expect(shown(grownWith(14, '      environments: []'), TOOLS)).toHaveLength(1);
    expect(shown(grownWith(39, '  operators: [oncall]'), TOOLS)).toHaveLength(1);
  });

  it('is thrown as one error where a caller wants that', () => {
    const load = () => loadPolicyOrThrow('tool: {}\nwrite_tools: 1\n', { fileName: 'countersign.yaml' });
    expect(load).toThrow(PolicyInvalidError);
    expect(load).toThrow(
      'countersign.yaml:1:1 tool: unknown key\ncountersign.yaml:2:1 write_tools: expected object',
    );
    expect(load).toThrow(expect.objectContaining({ code: 'policy_invalid', problems: expect.any(Array) }));
  });
});

describe('any text at all', () => {
  const anyByteDeleted = fc.record({
    at: fc.nat(GROWN.length - 1),
    length: fc.integer({ min: 0, max: 40 }),
    insert: fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom('\n', '- ', ': ', '&a ', '*a', '!!str ', '{', ']', '"'),
    ),
  });

  it('is answered, never thrown at, and never enables what it did not say', () => {
    fc.assert(
      fc.property(anyByteDeleted, ({ at, length, insert }) => {
        const text = SAFE_DEFAULT.slice(0, at) + insert + SAFE_DEFAULT.slice(at + length);
        const load = loadPolicy(text);
        if (load.ok) expect(load.policy.write_tools.enabled).toBe(false);
        else expect(load.problems.length).toBeGreaterThan(0);
        const grown = loadPolicy(GROWN.slice(0, at) + insert + GROWN.slice(at + length), { tools: TOOLS });
        if (!grown.ok)
          for (const { line, column } of grown.problems) expect(Math.min(line, column)).toBeGreaterThan(0);
      }),
      { numRuns: 200 },
    );
  });
});
