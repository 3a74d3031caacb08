import { expect } from 'vitest';
import { z } from 'zod';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import { type SealedTerms, termsDigestOf, unseal } from '../../src/core/proposal/seal.ts';
import { canonicalJson } from '../../src/core/tool/canonical-json.ts';
import type { ToolDefinition } from '../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../src/core/tool/tool-registry.ts';
import { InvalidArguments } from '../../src/guard/call-errors.ts';
import { proposalKey } from '../../src/redis/keys.ts';
import {
  ANA,
  approvalOf,
  BEN,
  POLICY_TEXT,
  PROPOSAL_KEY,
  policyOf,
  REQUESTER,
  writeDatabase,
} from '../queue/sealed-call.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { type AttackCase, attackRow } from './attack-row.ts';
import { attackedParts } from './attacked-parts.ts';

const parts = attackedParts(redisForTests({ emptied: 'once' }));

const CONTEXT = {
  tenant: 'acme',
  environment: 'production',
  agent: 'support-bot',
  principal: REQUESTER as string,
  run: 'run-1',
};

const approved = () => parts.approvedCall({ args: parts.ticket() });

/** What stands in the record instead of what was sealed. */
const rewritten = (
  title: string,
  change: (text: string) => string,
  refusal = 'seal_broken',
): AttackCase[] => [
  [
    `[proposal:frozen] ${title}, in the record, its digest left as it was`,
    async () => {
      const { terms, text } = await approved();
      expect(change(text)).not.toBe(text);
      await parts.tamper(terms.id, { terms: change(text) });
      await parts.refusedWithAlarm(terms.id, refusal);
    },
  ],
  [
    `[proposal:frozen] ${title}, in the record, with the digest and all that stands beside it`,
    async () => {
      const { terms, text } = await approved();
      await parts.tamper(terms.id, { terms: change(text), ...besideTerms(change(text)) });
      await parts.refusedWithAlarm(terms.id, refusal);
    },
  ],
];

/** What the scripts compare, as it would be for these terms. */
function besideTerms(text: string): Record<string, string> {
  const { tool, context } = JSON.parse(text);
  const { tenant, environment, principal } = context;
  return { digest: termsDigestOf(text), tool, tenant, environment, principal };
}

/** As JSON that says the same or something else, and is canonical again. */
const changedTerms = (change: (terms: Record<string, unknown>) => void) => (text: string) => {
  const terms = JSON.parse(text);
  change(terms);
  return canonicalJson(terms);
};

const texts: AttackCase[] = [
  rewritten(
    'other arguments',
    changedTerms((terms) => {
      terms.arguments = '{"ticket":"T-evil"}';
    }),
  ),
  rewritten(
    'another tool',
    changedTerms((terms) => {
      terms.tool = 'db.write';
    }),
  ),
  rewritten('another tenant', (text) => text.replace('"tenant":"acme"', '"tenant":"globex"')),
  rewritten('another environment', (text) => text.replace('production', 'staging')),
  rewritten('another principal', (text) => text.replaceAll('U0REQ', 'U0OTH')),
  rewritten('a quorum of none', (text) => text.replace('"quorum":1', '"quorum":0')),
  rewritten('a later deadline', (text) => text.replace(/"deadline":1/, '"deadline":2')),
  rewritten('one space more', (text) => text.replace('{', '{ ')),
  rewritten('a key that stands there twice', (text) => text.replace('{', '{"arguments":"{}",')),
  rewritten('a number written otherwise', (text) => text.replace('"v":1', '"v":1.0')),
].flat();

/** The policy and the tools of the executor, when it is about to start. */
const narrowed: [string, { policy: string }, string][] = [
  [
    'the policy allows the tool no more',
    { policy: POLICY_TEXT.replace('ticket.close, ', '').replace('[ticket.close]', '[db.write]') },
    'forbidden',
  ],
  [
    'the policy turns writes off',
    { policy: POLICY_TEXT.replace('enabled: true', 'enabled: false') },
    'forbidden',
  ],
  ['the policy asks two people', { policy: POLICY_TEXT.replace('quorum: 1', 'quorum: 2') }, 'quorum_missing'],
  [
    'the policy asks other people',
    { policy: POLICY_TEXT.replace('"user:U0ANA", "user:U0BEN"', '"user:U0BEN"') },
    'approver_not_entitled',
  ],
  [
    'the policy asks for a reason that nobody gave',
    { policy: POLICY_TEXT.replace('quorum: 1', 'quorum: 1\n    reason: { approve: required }') },
    'reason_missing',
  ],
  [
    'the environment is gone',
    { policy: POLICY_TEXT.replace('[production, staging]', '[staging]') },
    'forbidden',
  ],
  ['the tenant is gone', { policy: POLICY_TEXT.replace('  acme:', '  acme2:') }, 'forbidden'],
  [
    'the tenant decides in another workspace',
    { policy: POLICY_TEXT.replace('team: T0ACME', 'team: T0OTHER') },
    'approver_not_entitled',
  ],
  [
    'the arguments are out of bounds now',
    {
      policy: `${POLICY_TEXT}resources:\n  ticket.close: { properties: { ticket: { enum: ["none"] } } }\n`,
    },
    'forbidden',
  ],
];
const later: AttackCase[] = narrowed.map(([title, { policy }, refusal]) => [
  `[execution:the-executor-judges-again] ${title}`,
  async () => {
    const sealed = await parts.propose({ args: parts.ticket() });
    const at = await parts.store.now();
    await parts.store.decide(approvalOf(sealed, ANA, { at }));
    await parts.attest(sealed);
    await parts.refused(sealed.terms.id, refusal, parts.under(policyOf(policy)));
  },
]);

const close = z.strictObject({ ticket: z.string(), note: z.string().optional() });
const otherTools: [string, () => ToolDefinition, string][] = [
  [
    'another description',
    () => parts.tool('ticket.close', close, { description: 'Deletes.' }),
    'tool_changed',
  ],
  [
    'one argument more in its schema',
    () => parts.tool('ticket.close', close.extend({ all: z.boolean().optional() })),
    'tool_changed',
  ],
  ['no undoing any more', () => parts.tool('ticket.close', close, { irreversible: true }), 'tool_changed'],
  ['the effect of a read', () => parts.tool('ticket.close', close, { effect: 'read' }), 'tool_changed'],
  [
    'scope keys of its own',
    () => parts.tool('ticket.close', close, { scopeKeys: ['ticket'] }),
    'tool_changed',
  ],
  ['another name', () => parts.tool('ticket.closed', close), 'unknown_tool'],
];
const tools: AttackCase[] = otherTools.map(([title, tool, refusal]) => [
  `[execution:the-executor-judges-again] the tool has ${title} since people approved it`,
  async () => {
    const { terms } = await approved();
    await parts.refused(terms.id, refusal, { registry: new ToolRegistry([tool()]) });
  },
]);

const twoRecords: AttackCase[] = (
  [
    ['the terms and the seal of another approved call', /^(terms|seal|digest)$/, 'seal_broken'],
    ['all that another approved call has, but for the id', /^(?!id$)/, 'seal_broken'],
    ['all that another approved call has', /./, 'record_malformed'],
    ['the seal of another call alone', /^seal$/, 'seal_broken'],
    ['the terms of another call under its own seal', /^(?!id$|seal$)/, 'seal_broken'],
    ['the approvals of another call', /^vote/, 'approval_of_another'],
  ] as const
).map(([title, fields, refusal]) => [
  `[approval:bound-to-everything] ${title}`,
  async () => {
    const [one, other] = [await approved(), await approved()];
    const all = await parts.redis.hgetall(proposalKey(other.terms.id));
    const taken = Object.entries(all).filter(([name]) => fields.test(name));
    await parts.tamper(one.terms.id, Object.fromEntries(taken) as Record<string, string>);
    await parts.refusedWithAlarm(one.terms.id, refusal);
    // The other one is none the worse for it.
    expect(await parts.attempt(other.terms.id)).toMatchObject({ status: 'succeeded' });
    expect(parts.ran.map(({ args }) => args)).toEqual([JSON.parse(other.terms.arguments)]);
  },
]);

const beside: AttackCase[] = [
  'argumentsDigest',
  'nonce',
  'principal',
  'environment',
  'tool',
  'counterKey',
].map((field) => [
  `[approval:bound-to-everything] ${field}, of another call, beside the sealed terms`,
  async () => {
    const { terms } = await approved();
    const other = await parts.approvedCall({
      args: parts.ticket(),
      context: { environment: 'staging', principal: 'slack:T0ACME/U0OTHER' },
    });
    const automatic = await parts.propose({ tool: parts.tools[1] as ToolDefinition, args: { title: 'x' } });
    const from = field === 'tool' || field === 'counterKey' ? automatic : other;
    await parts.tamper(terms.id, { [field]: await parts.field(from.terms.id, field) });
    await parts.refusedWithAlarm(terms.id, 'record_malformed');
  },
]);

const seals: AttackCase[] = ['', 'F'.repeat(64), '0'.repeat(63), '0'.repeat(65), `${'0'.repeat(64)}\n`].map(
  (seal) => [
    `a seal ${JSON.stringify(seal.slice(-5))} of ${seal.length} characters`,
    async () => {
      const { terms } = await approved();
      await parts.tamper(terms.id, { seal });
      await parts.refusedWithAlarm(terms.id, 'record_malformed');
    },
  ],
);

/** Between the clicks of a quorum. */
const quorum: AttackCase[] = [
  [
    '[proposal:frozen] other terms between two clicks, as the second person would have seen them',
    async () => {
      const sealed = await twoPeople();
      const changed = sealed.text.replace('{\\"row\\":1}', '{\\"row\\":2}');
      await parts.tamper(sealed.terms.id, { terms: changed });
      await parts.decide(sealed, BEN);
      await parts.refusedWithAlarm(sealed.terms.id, 'seal_broken');
    },
  ],
  [
    '[approval:bound-to-everything] other terms with their digest between two clicks: the second vote is for none of them',
    async () => {
      const sealed = await twoPeople();
      const changed = sealed.text.replace('{\\"row\\":1}', '{\\"row\\":2}');
      await parts.tamper(sealed.terms.id, { terms: changed, digest: termsDigestOf(changed) });
      const at = await parts.store.now();
      const late = await parts.store.decide(approvalOf(sealed, BEN, { at, reason: 'checked' }));
      expect(late).toMatchObject({ ok: false, refusal: 'terms_changed' });
      expect(await parts.attempt(sealed.terms.id)).toMatchObject({ next: 'again', status: 'pending' });
      expect(parts.ran).toEqual([]);
    },
  ],
  [
    '[decision:quorum-counts-distinct-people] a quorum of one, written beside the terms between two clicks',
    async () => {
      const sealed = await parts.propose({ tool: writeDatabase, args: { row: 1 } });
      await parts.tamper(sealed.terms.id, { quorum: '1' });
      await parts.decide(sealed, BEN);
      await parts.refusedWithAlarm(sealed.terms.id, 'quorum_missing');
    },
  ],
];

async function twoPeople(): Promise<SealedTerms> {
  const sealed = await parts.propose({ tool: writeDatabase, args: { row: 1 } });
  await parts.decide(sealed, ANA);
  return sealed;
}

/** What a host hands over and goes on holding: its first state is what runs. */
const kept: [string, () => { args: unknown; after: () => void }][] = [
  [
    'an object that is changed after it was handed over',
    () => {
      const args = { ticket: 'T-shown' };
      return { args, after: () => Object.assign(args, { ticket: 'T-evil' }) };
    },
  ],
  [
    'an object that gets another prototype after it was handed over',
    () => {
      const args = { ticket: 'T-shown' };
      return { args, after: () => Object.setPrototypeOf(args, { note: 'T-evil' }) };
    },
  ],
  [
    'an object that gets a getter after it was handed over',
    () => {
      const args = { ticket: 'T-shown' };
      return { args, after: () => Object.defineProperty(args, 'ticket', { get: () => 'T-evil' }) };
    },
  ],
  [
    'a text holder that is changed after it was handed over',
    () => {
      const args = { json: '{"ticket":"T-shown"}' };
      return { args, after: () => Object.assign(args, { json: '{"ticket":"T-evil"}' }) };
    },
  ],
];

const refusedHosts: [string, () => unknown][] = [
  [
    'a getter that answers otherwise the second time',
    () => ({
      get ticket() {
        return flip();
      },
    }),
  ],
  ['a toJSON of its own', () => ({ ticket: 'T-shown', toJSON: () => ({ ticket: 'T-evil' }) })],
  ['a toJSON that it inherits', () => Object.setPrototypeOf({ ticket: 'T-shown' }, { toJSON: () => flip() })],
  ['a Proxy', () => new Proxy({ ticket: 'T-shown' }, {})],
  [
    'a Proxy that answers otherwise the second time',
    () =>
      new Proxy(
        { ticket: 'T-shown' },
        {
          get: flip,
          getOwnPropertyDescriptor: () => ({ value: flip(), enumerable: true, configurable: true }),
        },
      ),
  ],
  ['a text with methods of its own', () => ({ ticket: Object('T-shown') })],
  ['an instance of a class', () => Object.assign(new (class Ticket {})(), { ticket: 'T-shown' })],
  ['a value under a symbol', () => ({ ticket: 'T-shown', [Symbol.toPrimitive]: () => 'T-evil' })],
  ['a Map', () => new Map([['ticket', 'T-shown']])],
];

let flips = 0;
function flip(): string {
  flips += 1;
  return flips % 2 === 0 ? 'T-evil' : 'T-shown';
}

const hosts: AttackCase[] = [
  ...kept.map(
    ([title, make]): AttackCase => [
      `[proposal:frozen] a host hands over ${title}`,
      async () => {
        const guard = parts.guard();
        const { args, after } = make();
        const proposing = guard.propose({ tool: 'ticket.close', args }, CONTEXT);
        after();
        await approvedAndRun((await proposing).id);
        expect(parts.ran.map((ran) => ran.args)).toEqual([{ ticket: 'T-shown' }]);
      },
    ],
  ),
  [
    '[scope:identity-comes-from-the-context] a host changes the context after it handed it over',
    async () => {
      const context = { ...CONTEXT };
      const proposing = parts.guard().propose({ tool: 'ticket.close', args: parts.ticket() }, context);
      Object.assign(context, { tenant: 'globex', environment: 'staging', agent: 'other', run: 'other' });
      await approvedAndRun((await proposing).id);
      expect(parts.ran.map(({ run }) => run.context)).toEqual([CONTEXT]);
    },
  ],
  ...refusedHosts.map(
    ([title, make]): AttackCase => [
      `[args:strict-json] a host hands over ${title}`,
      async () => {
        const waiting = () => parts.store.pending({ tenant: 'acme', limit: 1_000 });
        const before = await waiting();
        const proposing = parts.guard().propose({ tool: 'ticket.close', args: make() }, CONTEXT);
        await expect(proposing).rejects.toBeInstanceOf(InvalidArguments);
        expect(await waiting()).toEqual(before);
      },
    ],
  ),
];

async function approvedAndRun(id: ProposalId): Promise<void> {
  const record = await parts.store.read(id);
  const opened = unseal([PROPOSAL_KEY], record?.termsText ?? '', record?.seal ?? '');
  if (!opened.ok) throw new Error(opened.refusal);
  await parts.decide(opened.sealed);
  expect(await parts.attempt(id)).toMatchObject({ status: 'succeeded' });
}

attackRow(1, {
  attacks: [...texts, ...twoRecords, ...seals, ...beside, ...later, ...tools, ...quorum, ...hosts],
  twins: [
    [
      'what was approved and left alone runs, with just those arguments',
      async () => {
        const { terms } = await approved();
        expect(await parts.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
        expect(parts.ran.map(({ tool, args }) => ({ tool, args }))).toEqual([
          { tool: 'ticket.close', args: JSON.parse(terms.arguments) },
        ]);
      },
    ],
    [
      'the very same terms, written once more, run',
      async () => {
        const { terms, text, seal, termsDigest } = await approved();
        await parts.tamper(terms.id, { terms: text, seal, digest: termsDigest });
        expect(await parts.attempt(terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'under a policy that became wider it runs as it was approved',
      async () => {
        const { terms } = await approved();
        const wider = POLICY_TEXT.replace('"user:U0ANA"', '"user:U0ANA", "user:U0NEW"');
        expect(await parts.attempt(terms.id, parts.under(policyOf(wider)))).toMatchObject({
          status: 'succeeded',
        });
      },
    ],
    [
      'a tool that is defined anew with the same words and schema is the same tool',
      async () => {
        const { terms } = await approved();
        const registry = new ToolRegistry([parts.tool('ticket.close', close)]);
        expect(await parts.attempt(terms.id, { registry })).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'two people approve the same terms, and it runs',
      async () => {
        const sealed = await twoPeople();
        await parts.decide(sealed, BEN);
        expect(await parts.attempt(sealed.terms.id)).toMatchObject({ status: 'succeeded' });
      },
    ],
    [
      'an object without a prototype is as good as a plain one',
      async () => {
        const args = Object.assign(Object.create(null), { ticket: 'T-shown' });
        await approvedAndRun((await parts.guard().propose({ tool: 'ticket.close', args }, CONTEXT)).id);
        expect(parts.ran.map((ran) => ran.args)).toEqual([{ ticket: 'T-shown' }]);
      },
    ],
  ],
});
