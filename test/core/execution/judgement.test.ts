import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  type ApprovalPrivateKey,
  publicKeyFor,
  type SignedDecision,
} from '../../../src/core/approval/decision.ts';
import { judgeStart, type StartCase, type StartRefusal } from '../../../src/core/execution/judgement.ts';
import { newProposalId } from '../../../src/core/proposal/proposal-id.ts';
import { proposalKeyOf, type SealedTerms, sealTerms } from '../../../src/core/proposal/seal.ts';
import { defineTool } from '../../../src/core/tool/tool.ts';
import { ToolRegistry } from '../../../src/core/tool/tool-registry.ts';
import {
  ANA,
  APPROVAL_PUBLIC_KEY,
  approvalOf,
  attestationOf,
  BEN,
  CAT,
  closeTicketWith,
  createTicket,
  MALLORY,
  POLICY_TEXT,
  PROPOSAL_KEY,
  policyOf,
  REQUESTER,
  sealedCall,
  startCase,
  T0,
  writeDatabase,
} from '../../queue/sealed-call.ts';

const strangersKey = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;
const strangersSeal = proposalKeyOf(randomBytes(32));
const MINUTE = 60_000;

function refusalOf(start: StartCase): { refusal: StartRefusal; alarm: boolean } | 'starts' {
  const judged = judgeStart(start);
  return judged.ok ? 'starts' : { refusal: judged.refusal, alarm: judged.alarm };
}

/** The stored text with one thing changed, under the seal that was made for the text as it was. */
function textChanged(sealed: SealedTerms, from: string, to: string): StartCase {
  const start = startCase(sealed);
  const termsText = sealed.text.replace(from, to);
  expect(termsText).not.toBe(sealed.text);
  return { ...start, record: { ...start.record, termsText } };
}

/** With an attestation that is as fresh as can be at that time. */
function attestedAt(start: StartCase, sealed: SealedTerms, at: number): StartCase {
  return { ...start, record: { ...start.record, attestation: attestationOf(sealed, [ANA], { at }) } };
}

function withApprovals(sealed: SealedTerms, ...approvals: unknown[]): StartCase {
  return startCase(sealed, approvals as SignedDecision[]);
}

describe('the judgement right before a start', () => {
  it('[execution:the-executor-judges-again] starts what is sealed, approved and in time', () => {
    const judged = judgeStart(startCase());
    expect(judged).toMatchObject({ ok: true, basis: 'people', args: { ticket: 'T-1' } });
  });

  it('starts what the policy itself allows, without any approval', () => {
    const sealed = sealedCall({ tool: createTicket, args: { title: 'printer' } });
    expect(judgeStart(startCase(sealed, []))).toMatchObject({ ok: true, basis: 'policy' });
  });

  it('gives the tool arguments that nobody can change', () => {
    const judged = judgeStart(startCase());
    expect(judged.ok && Object.isFrozen(judged.args)).toBe(true);
  });

  describe('[proposal:frozen] the stored text', () => {
    const forgeries: Record<string, (sealed: SealedTerms) => StartCase> = {
      'other arguments': (sealed) => textChanged(sealed, 'T-1', 'T-2'),
      'another tool': (sealed) => textChanged(sealed, 'ticket.close', 'ticket.create'),
      'another tenant': (sealed) => textChanged(sealed, '"tenant":"acme"', '"tenant":"globex"'),
      'another environment': (sealed) => textChanged(sealed, '"production"', '"staging"'),
      'another principal': (sealed) => textChanged(sealed, 'U0REQ', 'U0ANA'),
      'a smaller quorum': (sealed) => textChanged(sealed, '"quorum":1', '"quorum":0'),
      'a later deadline': (sealed) =>
        textChanged(sealed, `"deadline":${sealed.terms.deadline}`, `"deadline":${sealed.terms.deadline + 1}`),
      'white space': (sealed) => textChanged(sealed, '{', '{ '),
    };
    it.each(Object.entries(forgeries))('with %s is an alarm', (_, forge) => {
      const sealed = sealedCall();
      expect(refusalOf(startCase(sealed))).toBe('starts');
      expect(refusalOf(forge(sealed))).toEqual({ refusal: 'seal_broken', alarm: true });
    });

    it('sealed with a key of somebody else is an alarm', () => {
      const { terms } = sealedCall();
      const resealed = sealTerms(strangersSeal, terms);
      expect(refusalOf(startCase(resealed))).toEqual({ refusal: 'seal_broken', alarm: true });
    });

    it('without a seal is an alarm', () => {
      const start = startCase();
      expect(refusalOf({ ...start, record: { ...start.record, seal: '' } })).toMatchObject({ alarm: true });
    });

    it('of another proposal under this id is an alarm', () => {
      const start = startCase();
      const record = { ...start.record, id: newProposalId(0, randomBytes(24)) };
      expect(refusalOf({ ...start, record })).toEqual({ refusal: 'other_proposal', alarm: true });
    });

    it('sealed with an older key still starts while that key is accepted', () => {
      const sealed = sealTerms(strangersSeal, sealedCall().terms);
      const start = startCase(sealed);
      expect(refusalOf({ ...start, proposalKeys: [PROPOSAL_KEY, strangersSeal] })).toBe('starts');
    });
  });

  describe('[approval:bound-to-everything] terms that a guard sealed wrongly', () => {
    it.each([
      ['a digest of other arguments', { argumentsDigest: 'b'.repeat(64) }, 'arguments_changed'],
      ['arguments in another spelling', { arguments: '{"ticket": "T-1"}' }, 'arguments_changed'],
      ['arguments with a key twice', { arguments: '{"ticket":"T-1","ticket":"T-2"}' }, 'arguments_invalid'],
      ['arguments beside the schema', { arguments: '{"ticket":7}' }, 'arguments_invalid'],
      [
        'arguments with a tenant in them',
        { arguments: '{"tenant_id":"globex","ticket":"T-1"}' },
        'arguments_invalid',
      ],
      ['a digest of another tool', { toolDigest: 'c'.repeat(64) }, 'tool_changed'],
      ['a tool that is none', { tool: 'ticket.erase' }, 'unknown_tool'],
    ] as const)('with %s are refused', (_, change, refusal) => {
      const sealed = sealedCall({ change: (terms) => ({ ...terms, ...change }) });
      expect(refusalOf(startCase(sealed))).toEqual({ refusal, alarm: false });
    });
  });

  describe('[approval:signed-outside-redis] an approval in the record', () => {
    it('that was signed with another key is an alarm', () => {
      const sealed = sealedCall();
      const forged = approvalOf(sealed, ANA, {}, strangersKey);
      expect(refusalOf(withApprovals(sealed, forged))).toEqual({ refusal: 'approval_forged', alarm: true });
    });

    it.each([
      ['no signature', { signature: '' }],
      ['a signature of zeros', { signature: Buffer.alloc(64).toString('base64url') }],
      ['a signature that is cut', { signature: 'AAAA' }],
    ])('with %s is an alarm', (_, change) => {
      const sealed = sealedCall();
      const forged = { ...approvalOf(sealed, ANA), ...change };
      expect(refusalOf(withApprovals(sealed, forged))).toEqual({ refusal: 'approval_forged', alarm: true });
    });

    it.each([
      ['person', { person: BEN, as: 'user:U0BEN' }],
      ['time', { at: T0 + 2 * MINUTE }],
      ['reason', { reason: 'because' }],
    ] as const)('with another %s under a genuine signature is an alarm', (_, change) => {
      const sealed = sealedCall();
      const genuine = approvalOf(sealed, ANA);
      const forged = { ...genuine, statement: { ...genuine.statement, ...change } };
      expect(refusalOf(withApprovals(sealed, forged))).toEqual({ refusal: 'approval_forged', alarm: true });
    });

    it('of the same person in another spelling is an alarm', () => {
      const sealed = sealedCall({ tool: writeDatabase, args: { row: 1 } });
      const yes = approvalOf(sealed, ANA, { reason: 'checked' });
      const again = { ...yes, statement: { ...yes.statement, person: 'slack:T0ACME/u0ana' } };
      expect(refusalOf(withApprovals(sealed, yes, again))).toEqual({
        refusal: 'approval_forged',
        alarm: true,
      });
    });

    it('of the same person a second time is an alarm, and of two people starts', () => {
      const sealed = sealedCall({ tool: writeDatabase, args: { row: 1 } });
      const ana = approvalOf(sealed, ANA, { reason: 'checked' });
      const later = approvalOf(sealed, ANA, { reason: 'checked again', at: T0 + 2 * MINUTE });
      const ben = approvalOf(sealed, BEN, { reason: 'fine' });
      expect(refusalOf(withApprovals(sealed, ana, ben))).toBe('starts');
      expect(refusalOf(withApprovals(sealed, ana, ana))).toEqual({ refusal: 'approval_forged', alarm: true });
      expect(refusalOf(withApprovals(sealed, ana, later))).toEqual({
        refusal: 'approval_forged',
        alarm: true,
      });
    });

    it('that is missing, where the record says approved, is an alarm', () => {
      expect(refusalOf(withApprovals(sealedCall()))).toEqual({ refusal: 'quorum_missing', alarm: true });
    });

    it('is accepted under each of the keys while they are rotated', () => {
      const sealed = sealedCall();
      const start = withApprovals(sealed, approvalOf(sealed, ANA, {}, strangersKey));
      const approvalPublicKeys = [APPROVAL_PUBLIC_KEY, publicKeyFor(strangersKey)];
      expect(refusalOf({ ...start, approvalPublicKeys })).toBe('starts');
    });
  });

  describe('[approval:bound-to-everything] a genuine decision', () => {
    it.each([
      ['another proposal', { proposal: newProposalId(0, randomBytes(24)) }],
      ['another nonce', { nonce: 'd'.repeat(32) }],
      ['other terms', { termsDigest: 'e'.repeat(64) }],
      ['the contrary', { decision: 'deny' }],
    ] as const)('for %s is an alarm', (_, change) => {
      const sealed = sealedCall();
      const start = withApprovals(sealed, approvalOf(sealed, ANA, change));
      expect(refusalOf(start)).toEqual({ refusal: 'approval_of_another', alarm: true });
    });

    it('swapped between two equal calls is an alarm', () => {
      const [mine, other] = [sealedCall(), sealedCall()];
      expect(refusalOf(withApprovals(other, approvalOf(other, ANA)))).toBe('starts');
      expect(refusalOf(withApprovals(mine, approvalOf(other, ANA)))).toEqual({
        refusal: 'approval_of_another',
        alarm: true,
      });
    });

    it.each([
      ['before the proposal was made', -1],
      ['at the deadline', 30 * MINUTE],
      ['after the deadline', 31 * MINUTE],
    ])('made %s is an alarm', (_, afterMs) => {
      const sealed = sealedCall();
      const start = withApprovals(sealed, approvalOf(sealed, ANA, { at: T0 + afterMs }));
      expect(refusalOf({ ...start, now: T0 + afterMs + 1 })).toEqual({
        refusal: 'approval_out_of_time',
        alarm: true,
      });
    });
  });

  describe('an approver', () => {
    const cases: Record<string, (sealed: SealedTerms) => StartCase> = {
      'who asked for it': (sealed) =>
        withApprovals(sealed, approvalOf(sealed, REQUESTER, { as: 'usergroup:S0SUPPORT' })),
      'of another workspace': (sealed) => withApprovals(sealed, approvalOf(sealed, MALLORY)),
      'whom the rule does not name': (sealed) => withApprovals(sealed, approvalOf(sealed, CAT)),
      "with somebody else's entry": (sealed) =>
        withApprovals(sealed, approvalOf(sealed, CAT, { as: 'user:U0ANA' })),
      'to whom it is escalated later': (sealed) =>
        withApprovals(sealed, approvalOf(sealed, CAT, { as: 'usergroup:S0ONCALL', at: T0 + 9 * MINUTE })),
    };
    it.each(Object.entries(cases))('%s does not count', (_, forge) => {
      expect(refusalOf(forge(sealedCall()))).toEqual({ refusal: 'approver_not_entitled', alarm: false });
    });

    it('counts through a group, and through the escalation once it has happened', () => {
      const sealed = sealedCall();
      const grouped = withApprovals(sealed, approvalOf(sealed, CAT, { as: 'usergroup:S0SUPPORT' }));
      expect(refusalOf(grouped)).toBe('starts');
      const at = T0 + 11 * MINUTE;
      const escalated = withApprovals(sealed, approvalOf(sealed, CAT, { as: 'usergroup:S0ONCALL', at }));
      expect(refusalOf({ ...escalated, now: at + 1 })).toBe('starts');
    });

    it('gives a reason where the rule asks for one', () => {
      const sealed = sealedCall({ tool: writeDatabase, args: { row: 1 } });
      const ben = approvalOf(sealed, BEN, { reason: 'fine' });
      expect(refusalOf(withApprovals(sealed, approvalOf(sealed, ANA), ben))).toEqual({
        refusal: 'reason_missing',
        alarm: false,
      });
    });
  });

  describe('[execution:the-executor-judges-again] a policy that was tightened since', () => {
    const tightened: Record<string, [text: string, refusal: StartRefusal]> = {
      'turns writes off': [POLICY_TEXT.replace('enabled: true', 'enabled: false'), 'forbidden'],
      'no longer allows the tool': [
        POLICY_TEXT.replace('allow: [ticket.close, ', 'allow: [').replace(
          'required_for: [ticket.close]',
          'required_for: []',
        ),
        'forbidden',
      ],
      'drops the environment': [POLICY_TEXT.replace('[production, staging]', '[staging]'), 'forbidden'],
      'bounds the arguments': [
        `${POLICY_TEXT}resources:\n  ticket.close: { properties: { ticket: { enum: ["T-9"] } } }\n`,
        'forbidden',
      ],
      'asks for two people': [POLICY_TEXT.replace('quorum: 1', 'quorum: 2'), 'quorum_missing'],
      'asks approvers for a reason': [
        POLICY_TEXT.replace('    escalate', '    reason: { approve: required }\n    escalate'),
        'reason_missing',
      ],
      'removes the approver': [POLICY_TEXT.replace('"user:U0ANA", ', ''), 'approver_not_entitled'],
      'removes every approver of then': [
        POLICY_TEXT.replace(
          '"user:U0ANA", "user:U0BEN", "usergroup:S0SUPPORT"',
          '"user:U0CAT", "user:U0DAN"',
        ),
        'forbidden',
      ],
      'moves the tenant to another workspace': [
        POLICY_TEXT.replace('team: T0ACME', 'team: T0NEW'),
        'approver_not_entitled',
      ],
      'gives people less time': [
        POLICY_TEXT.replace('30m', '11m').replace('10m', '1m'),
        'approval_out_of_time',
      ],
      'gives it less time to start': [
        POLICY_TEXT.replace('start_within: 5m', 'start_within: 1s'),
        'too_late',
      ],
    };
    it.each(Object.entries(tightened))('%s', (name, [text, refusal]) => {
      const sealed = sealedCall();
      const at = name === 'gives people less time' ? T0 + 20 * MINUTE : T0 + MINUTE;
      const start = withApprovals(sealed, approvalOf(sealed, ANA, { at }));
      const now = at + 1_000;
      expect(refusalOf({ ...start, now })).toBe('starts');
      expect(refusalOf({ ...start, now, policy: policyOf(text) })).toEqual({ refusal, alarm: false });
    });

    it('asks for people where it once allowed the call by itself', () => {
      const sealed = sealedCall({ tool: createTicket, args: { title: 'printer' } });
      const strict = POLICY_TEXT.replace('[ticket.close]\n', '[ticket.close, ticket.create]\n').replace(
        /auto_approve:[\s\S]*?tenants:/,
        'tenants:',
      );
      const start = startCase(sealed, []);
      expect(refusalOf(start)).toBe('starts');
      expect(refusalOf({ ...start, policy: policyOf(strict) })).toEqual({
        refusal: 'quorum_missing',
        alarm: false,
      });
    });

    it.each([
      ['has another budget for it', POLICY_TEXT.replace('max: 20', 'max: 19')],
      ['counts over a longer time', POLICY_TEXT.replace('per: 1h', 'per: 2h')],
      ['counts by something else', POLICY_TEXT.replace('per: 1h', 'per: 1h, by: [tenant]')],
    ])('%s', (_, text) => {
      const start = startCase(sealedCall({ tool: createTicket, args: { title: 'printer' } }), []);
      expect(refusalOf(start)).toBe('starts');
      expect(refusalOf({ ...start, policy: policyOf(text) })).toEqual({
        refusal: 'budget_changed',
        alarm: false,
      });
    });

    it('has a wider budget for it, which changes nothing', () => {
      const start = startCase(sealedCall({ tool: createTicket, args: { title: 'printer' } }), []);
      const wider = policyOf(POLICY_TEXT.replace('max: 20', 'max: 21'));
      expect(refusalOf({ ...start, policy: wider })).toBe('starts');
    });

    it('that budgets the call refuses one that reserved from no budget', () => {
      const sealed = sealedCall({
        tool: createTicket,
        args: { title: 'printer' },
        change: (terms) => ({ ...terms, basis: { kind: 'policy', by: 'the guard says so' } }),
      });
      expect(refusalOf(startCase(sealed, []))).toEqual({ refusal: 'budget_changed', alarm: false });
    });

    it('that was loosened loosens nothing', () => {
      const sealed = sealedCall({ tool: writeDatabase, args: { row: 1 } });
      const loose = POLICY_TEXT.replace('      quorum: 2\n', '      quorum: 1\n');
      expect(
        refusalOf({
          ...startCase(sealed, [approvalOf(sealed, ANA, { reason: 'x' })]),
          policy: policyOf(loose),
        }),
      ).toEqual({
        refusal: 'quorum_missing',
        alarm: true,
      });
    });
  });

  describe('a tool that changed since', () => {
    it.each([
      ['its description', closeTicketWith(() => null, { description: 'Closes and deletes a ticket.' })],
      [
        'its schema',
        defineTool({
          name: 'ticket.close',
          description: 'Closes a ticket.',
          effect: 'write',
          input: z.strictObject({
            ticket: z.string(),
            note: z.string().optional(),
            force: z.boolean().optional(),
          }),
          execute: () => null,
        }),
      ],
      [
        'its effect',
        defineTool({
          name: 'ticket.close',
          description: 'Closes a ticket.',
          effect: 'write',
          irreversible: true,
          input: z.strictObject({ ticket: z.string(), note: z.string().optional() }),
          execute: () => null,
        }),
      ],
    ])('in %s is refused', (_, changed) => {
      const registry = new ToolRegistry([changed]);
      expect(refusalOf({ ...startCase(), registry })).toEqual({ refusal: 'tool_changed', alarm: false });
    });

    it('in its code alone still starts', () => {
      const registry = new ToolRegistry([closeTicketWith(() => 'new code')]);
      expect(refusalOf({ ...startCase(), registry })).toBe('starts');
    });

    it('by going away is refused', () => {
      expect(refusalOf({ ...startCase(), registry: new ToolRegistry([]) })).toEqual({
        refusal: 'unknown_tool',
        alarm: false,
      });
    });
  });

  describe('time', () => {
    it('counts from the signed approval, whatever the record says of itself', () => {
      const sealed = sealedCall();
      const before = T0 + MINUTE + 5 * MINUTE - 1;
      const start = attestedAt(startCase(sealed), sealed, before);
      expect(refusalOf({ ...start, now: before })).toBe('starts');
      expect(refusalOf({ ...start, now: before + 1 })).toEqual({ refusal: 'too_late', alarm: false });
      const { record } = start;
      if (record.state.status !== 'approved') throw new Error('unreachable');
      const stretched = { ...record, state: { ...record.state, startBefore: T0 + 60 * MINUTE } };
      expect(refusalOf({ ...start, record: stretched, now: before + 1 })).toMatchObject({
        refusal: 'too_late',
      });
    });

    it('runs out for what the policy itself allows', () => {
      const sealed = sealedCall({ tool: createTicket, args: { title: 'printer' } });
      expect(refusalOf({ ...startCase(sealed, []), now: T0 + 5 * MINUTE })).toMatchObject({
        refusal: 'too_late',
      });
    });
  });

  it('starts nothing that is not approved', () => {
    const start = startCase();
    const record = { ...start.record, state: { status: 'pending', approvals: [] } as const };
    expect(refusalOf({ ...start, record })).toEqual({ refusal: 'not_approved', alarm: false });
  });

  it('never puts a broken record through by throwing', () => {
    const start = startCase();
    const record = { ...start.record, termsText: 'not json' };
    expect(refusalOf({ ...start, record })).toMatchObject({ alarm: true });
  });
});
