import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  ATTESTATION_LIFE_MS,
  attestationIsGenuine,
  type SignedAttestation,
} from '../../../src/core/approval/attestation.ts';
import { decidersAfter } from '../../../src/core/approval/deciders.ts';
import { type ApprovalPrivateKey, decisionIsGenuine } from '../../../src/core/approval/decision.ts';
import { judgeStart } from '../../../src/core/execution/judgement.ts';
import { ApprovalRule } from '../../../src/core/policy/verdict.ts';
import type { SealedTerms } from '../../../src/core/proposal/seal.ts';
import {
  ANA,
  APPROVAL_KEY,
  APPROVAL_PUBLIC_KEY,
  approvalOf,
  attestationOf,
  BEN,
  POLICY_TEXT,
  policyOf,
  sealedCall,
  startCase,
  TOOLS,
  writeDatabase,
} from '../../queue/sealed-call.ts';

const strangersKey = generateKeyPairSync('ed25519').privateKey as ApprovalPrivateKey;

function judged(sealed: SealedTerms, attestation: SignedAttestation | undefined, now?: number) {
  const start = startCase(sealed);
  const answer = judgeStart({
    ...start,
    now: now ?? start.now,
    record: { ...start.record, attestation },
  });
  return answer.ok
    ? 'starts'
    : { refusal: answer.refusal, alarm: answer.alarm, again: answer.again ?? false };
}

const NOT_YET = { alarm: false, again: true };
const ALARM = { refusal: 'attestation_forged', alarm: true, again: false };

describe('[execution:the-executor-judges-again] the word that the approvers still may', () => {
  it('is needed: without it nothing starts yet', () => {
    expect(judged(sealedCall(), undefined)).toEqual({ refusal: 'attestation_missing', ...NOT_YET });
  });

  it('holds for less than a minute of Redis’s clock, and not before it was given', () => {
    const sealed = sealedCall();
    const at = sealed.terms.createdAt + 61_000;
    const word = attestationOf(sealed, [ANA], { at });
    expect(judged(sealed, word, at)).toBe('starts');
    expect(judged(sealed, word, at + ATTESTATION_LIFE_MS - 1)).toBe('starts');
    expect(judged(sealed, word, at + ATTESTATION_LIFE_MS)).toEqual({
      refusal: 'attestation_stale',
      ...NOT_YET,
    });
    expect(judged(sealed, word, at - 1)).toEqual({ refusal: 'attestation_stale', ...NOT_YET });
  });

  it('[approval:signed-outside-redis] raises an alarm where it is not signed by us', () => {
    const sealed = sealedCall();
    const own = attestationOf(sealed, [ANA]);
    const made = attestationOf(sealed, [ANA], {}, strangersKey);
    expect(judged(sealed, made)).toEqual(ALARM);
    expect(judged(sealed, { ...own, statement: { ...own.statement, at: own.statement.at + 1 } })).toEqual(
      ALARM,
    );
    const more = { ...own.statement, approvers: [ANA, BEN] };
    expect(judged(sealed, { ...own, statement: more })).toEqual(ALARM);
  });

  it('[approval:single-use] raises an alarm where it is of another proposal, whole or in part', () => {
    const sealed = sealedCall();
    const other = sealedCall();
    expect(judged(sealed, attestationOf(other, [ANA]))).toEqual(ALARM);
    expect(judged(sealed, attestationOf(sealed, [ANA], { nonce: other.terms.nonce }))).toEqual(ALARM);
    expect(judged(sealed, attestationOf(sealed, [ANA], { termsDigest: other.termsDigest }))).toEqual(ALARM);
  });

  it('has to name everybody whose approval is counted', () => {
    const sealed = sealedCall({ tool: writeDatabase, args: { row: 1 } });
    const words = { reason: 'checked' };
    const start = startCase(sealed, [approvalOf(sealed, ANA, words), approvalOf(sealed, BEN, words)]);
    const answer = (people: Parameters<typeof attestationOf>[1]) =>
      judgeStart({ ...start, record: { ...start.record, attestation: attestationOf(sealed, people) } });
    expect(answer([ANA])).toMatchObject({ ok: false, refusal: 'attestation_missing', again: true });
    expect(answer([BEN, ANA])).toMatchObject({ ok: true });
  });

  it('is in a language of its own: no decision passes for it', () => {
    const sealed = sealedCall();
    const word = attestationOf(sealed, [ANA]);
    const { signature } = approvalOf(sealed, ANA);
    expect(attestationIsGenuine(APPROVAL_PUBLIC_KEY, { ...word, signature })).toBe(false);
    expect(
      decisionIsGenuine(APPROVAL_PUBLIC_KEY, { ...approvalOf(sealed, ANA), signature: word.signature }),
    ).toBe(false);
    expect(attestationIsGenuine(APPROVAL_PUBLIC_KEY, word)).toBe(true);
  });

  it('comes last: what is refused for good is not waited for', () => {
    const sealed = sealedCall();
    expect(judged(sealed, undefined, sealed.terms.deadline + 3_600_000)).toMatchObject({
      refusal: 'too_late',
      again: false,
    });
  });
});

describe('an escalation', () => {
  const rule = ApprovalRule.parse({
    approvers: ['user:U0ANA', 'usergroup:S0SUPPORT'],
    quorum: 1,
    expiresInMs: 60_000,
    startWithinMs: 60_000,
    reason: { approve: 'none', deny: 'none' },
    excluded: [],
    escalate: { afterMs: 10_000, to: ['usergroup:S0ONCALL', 'user:U0ANA'] },
  });

  it('adds people from its moment on, or asks others in their place', () => {
    expect(decidersAfter(rule, 9_999)).toEqual(rule.approvers);
    expect(decidersAfter(rule, 10_000)).toEqual(['user:U0ANA', 'usergroup:S0SUPPORT', 'usergroup:S0ONCALL']);
    const rerouted = { ...rule, escalate: { ...rule.escalate, afterMs: 10_000, reroute: true as const } };
    const to = ApprovalRule.shape.approvers.parse(['usergroup:S0ONCALL', 'user:U0ANA']);
    expect(decidersAfter({ ...rerouted, escalate: { ...rerouted.escalate, to } }, 10_000)).toEqual(to);
  });

  it('[execution:the-executor-judges-again] counts at the start as it counted at the click', () => {
    const rerouting = policyOf(
      POLICY_TEXT.replace('to: ["usergroup:S0ONCALL"] }', 'to: ["usergroup:S0ONCALL"], reroute: true }'),
      TOOLS,
    );
    const sealed = sealedCall({ policy: rerouting });
    const clickedAfter = (ms: number, as: string) => {
      const at = sealed.terms.createdAt + ms;
      const start = startCase(sealed, [approvalOf(sealed, BEN, { as, at }, APPROVAL_KEY)]);
      const attestation = attestationOf(sealed, [BEN], { at });
      const answer = judgeStart({
        ...start,
        policy: rerouting,
        now: at + 1,
        record: { ...start.record, attestation },
      });
      return answer.ok ? 'starts' : answer.refusal;
    };
    const minutes = 60_000;
    expect(clickedAfter(9 * minutes, 'user:U0BEN')).toBe('starts');
    expect(clickedAfter(9 * minutes, 'usergroup:S0ONCALL')).toBe('approver_not_entitled');
    expect(clickedAfter(10 * minutes, 'user:U0BEN')).toBe('approver_not_entitled');
    expect(clickedAfter(10 * minutes, 'usergroup:S0ONCALL')).toBe('starts');
  });
});
