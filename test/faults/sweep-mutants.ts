import type { Change } from './sweep-installation.ts';

/**
 * The product, broken so that only a crash shows it (or two executors at the same moment, which is what a frozen one
 * comes to): the sweep, aimed at the place, has to see each of them.
 */
export interface SweepMutant {
  readonly breaks: string;
  readonly changes: readonly Change[];
  /** Of the names of the faults that bring it to light. */
  readonly only: string;
  /** What is found. */
  readonly seen: RegExp;
}

const ADMIT = 'redis/lua/admit.lua';

export const SWEEP_MUTANTS: readonly SweepMutant[] = [
  {
    breaks: 'what is executing is admitted once more',
    changes: [
      {
        file: ADMIT,
        line: "if p.status == 'executing' or p['admission:' .. ask.admission] then return answer('already_admitted', key) end",
        becomes: '',
      },
      {
        file: ADMIT,
        line: "if p.status ~= 'approved' then return answer('already_settled', key) end",
        becomes:
          "if p.status ~= 'approved' and p.status ~= 'executing' then return answer('already_settled', key) end",
      },
      {
        file: ADMIT,
        line: "if halt_if_spent(key, id, p) then return answer('already_admitted', key) end",
        becomes: '',
      },
    ],
    only: 'SIGSTOP executor before redis script admit',
    seen: /ran [2-9] times/,
  },
  {
    breaks: 'a call whose end nobody knows is approved once more',
    changes: [
      {
        file: 'redis/lua/declare-unknown.lua',
        line: "move(key, ask.id, p, 'unknown', { 'outcome', ARGV[2], 'finishedAt', now })",
        becomes: "move(key, ask.id, p, 'approved', {}, now + 60000)",
      },
      {
        file: ADMIT,
        line: "if halt_if_spent(key, id, p) then return answer('already_admitted', key) end",
        becomes: '',
      },
    ],
    only: 'SIGKILL executor after tool execute',
    seen: /ran [2-9] times/,
  },
  {
    breaks: 'an outcome is not written',
    changes: [
      {
        file: 'redis/lua/finish.lua',
        line: "move(key, id, p, ask.outcome, { 'outcome', ARGV[2], 'finishedAt', now })",
        becomes: '',
      },
    ],
    only: 'SIGSTOP executor after redis script finish',
    seen: /ended unknown, and nothing befell its executor|is executing/,
  },
  {
    breaks: 'a decision is acknowledged before it is written',
    changes: [
      {
        file: 'slack/actions.ts',
        line: "if (made.need !== 'required') {",
        becomes:
          "if (made.need !== 'required') { await this.#tell(heard, NOTICES.approved); await this.#parts.desk.decide(made.click); return;",
      },
    ],
    only: 'SIGKILL approvals before redis script decide',
    seen: /was told of \d+ approvals/,
  },
  {
    breaks: 'what was approved and not woken is woken by nobody',
    changes: [{ file: 'queue/sweeper.ts', line: 'await this.#dispatch.wake(id);', becomes: '' }],
    only: 'SIGKILL approvals after redis script decide',
    seen: / is approved/,
  },
  {
    breaks: 'a card counts as drawn before Slack has it',
    changes: [
      {
        file: 'slack/publisher.ts',
        line: 'const { text, blocks } = card;',
        becomes:
          'const { text, blocks } = card; await this.#parts.outbox.drawn(claim, { revision: record.revision, card: stands });',
      },
    ],
    only: 'SIGKILL approvals before slack chat.update',
    seen: /its card/,
  },
];
