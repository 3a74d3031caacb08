import type { App } from '@slack/bolt';
import type { Logger } from 'pino';
import type { ApproverDirectory } from '../core/approval/approver-directory.ts';
import { readRecord } from '../core/approval/decision-desk.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { type PersonId, personOf, type TenantId } from '../core/identity/ids.ts';
import { formatDuration } from '../core/policy/duration.ts';
import type { LoadedPolicy } from '../core/policy/policy.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import type { ProposalStore } from '../core/proposal/proposal-store.ts';
import { parseTerms } from '../core/proposal/seal.ts';
import { describeScope, type SwitchScope } from '../core/switch/scope.ts';
import type { OffAnswer, OffEntry, WriteSwitch } from '../core/switch/write-switch.ts';
import { cutLoudly, visibleText } from '../core/tool/visible-text.ts';
import { CommandBody } from './bodies.ts';
import { operatorMention } from './card.ts';
import type { WorkspaceClients } from './clients.ts';
import type { InFlight } from './in-flight.ts';
import { NOTICES, REFUSAL_NOTICES } from './notices.ts';
import { parseSwitchCommand, type SwitchCommand } from './switch-command.ts';
import { asWritten, code, counted, type KnownBlock, localTime, mention, ourSection } from './wording.ts';

export const WRITES_COMMAND = '/agent-writes';

export interface CommandsParts {
  readonly policy: PolicyHolder;
  readonly switch: WriteSwitch;
  readonly store: ProposalStore;
  readonly directory: ApproverDirectory;
  readonly audit: AuditLog;
  readonly knowsTool: (name: string) => boolean;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  readonly announce: (workspace: WorkspaceClients, channel: string, text: string) => Promise<void>;
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

/** Who typed, and where they belong, from the signed body. */
interface Typist {
  readonly person: PersonId;
  readonly user: string;
  /** The team under which the policy names this workspace. */
  readonly team: string;
  /** The tenants that decide in this workspace: the only ones that a text typed here can name. */
  readonly tenants: readonly TenantId[];
}

/** What is answered, to the typist alone: our words, and a reason as its writer wrote it. */
interface Answer {
  readonly text: string;
  readonly why?: string | undefined;
}

const MOST_LISTED = 10;
const MOST_REMEMBERED = 1_000;

/** `/agent-writes`: the switch, by hand. */
export class WritesCommand {
  readonly #parts: CommandsParts;
  /** Slack may deliver a command twice, and an old `on` must never come after a new `off`. */
  readonly #heard = new Set<string>();
  readonly #reminders = new Set<NodeJS.Timeout>();

  constructor(parts: CommandsParts) {
    this.#parts = parts;
  }

  register(app: App): void {
    app.command(WRITES_COMMAND, ({ body, ack, respond }) =>
      this.#parts.inFlight.track(
        this.#handle(
          body,
          () => ack(),
          async ({ text, why }) => {
            const blocks: KnownBlock[] = [ourSection(text)];
            if (why !== undefined) blocks.push(asWritten(cutLoudly(visibleText(why).text, 600).text));
            await respond({ response_type: 'ephemeral', text, blocks });
          },
        ),
      ),
    );
  }

  stop(): void {
    for (const timer of this.#reminders) clearTimeout(timer);
  }

  async #handle(
    body: unknown,
    ack: () => Promise<void>,
    tell: (answer: Answer) => Promise<void>,
  ): Promise<void> {
    await ack().catch(() => this.#parts.logger.warn('Slack could not be told that a command arrived'));
    const answer = await this.#answerTo(body).catch((error: unknown): Answer => {
      this.#parts.logger.error({ err: error }, 'a command failed');
      return { text: NOTICES.failed };
    });
    if (answer === undefined) return;
    await tell(answer).catch((error: unknown) => {
      this.#parts.logger.warn({ err: error }, 'what came of a command could not be told');
    });
  }

  /** Undefined: it was answered when it was delivered the first time. */
  async #answerTo(body: unknown): Promise<Answer | undefined> {
    const parsed = CommandBody.safeParse(body);
    if (!parsed.success) return { text: NOTICES.malformed };
    if (!this.#firstTime(parsed.data.trigger_id)) return undefined;
    const typist = this.#typistOf(parsed.data);
    if (typist === undefined) return { text: NO_TENANT };
    const loaded = this.#parts.policy.current;
    const command = parseSwitchCommand(parsed.data.text, {
      tenant: (name) => [...loaded.policy.tenants.keys()].some((tenant) => tenant === name),
      environment: (name) => environmentsOf(loaded).has(name),
      tool: this.#parts.knowsTool,
    });
    switch (command.verb) {
      case 'off':
        return this.#off(command, typist);
      case 'on':
        return this.#on(command, typist);
      case 'on_unclear':
        return {
          text: `Nothing changed: ${code(command.words)} names nothing that is there. Type ${code('/agent-writes on')}, then ${SCOPES}, then the reason.`,
        };
      case 'status':
        return (await this.#mayLook(typist)) ?? this.#status(typist);
      case 'pending':
        return (await this.#mayLook(typist)) ?? this.#pending(typist);
      case 'help':
        return { text: HELP };
      case 'unknown':
        return { text: `Nothing changed: this app does not know that word.\n${HELP}` };
    }
  }

  #firstTime(trigger: string): boolean {
    if (this.#heard.has(trigger)) return false;
    this.#heard.add(trigger);
    for (const oldest of this.#heard) {
      if (this.#heard.size <= MOST_REMEMBERED) break;
      this.#heard.delete(oldest);
    }
    return true;
  }

  #typistOf(body: CommandBody): Typist | undefined {
    const own = [...this.#parts.policy.current.policy.tenants].filter(
      ([, { slack }]) => slack.team === body.team_id || slack.team === body.enterprise_id,
    );
    const team = own[0]?.[1].slack.team;
    if (team === undefined) return undefined;
    const person = personOf(team, body.user_id);
    return { person, user: body.user_id, team, tenants: own.map(([tenant]) => tenant) };
  }

  /* ---- off ---- */

  async #off(command: Extract<SwitchCommand, { verb: 'off' }>, typist: Typist): Promise<Answer> {
    const operators = this.#parts.policy.current.policy.switch?.operators ?? [];
    const refusal = await this.#refusalFor('off', typist, operators, command.scope);
    if (refusal !== undefined) return refusal;
    const { scope, why, forMs } = command;
    const by = typist.person;
    const flip = {
      scope,
      by,
      ...(why === undefined ? {} : { why }),
      ...(forMs === undefined ? {} : { forMs }),
    };
    let answer: OffAnswer;
    try {
      answer = await this.#parts.switch.off(flip);
    } catch (error) {
      this.#parts.logger.error({ err: error }, 'writes could not be switched off');
      return { text: OFF_FAILED };
    }
    this.#announceAll(scope, (team) => offAnnouncement(scope, by, team, answer));
    if (forMs !== undefined) this.#remindIn(forMs, scope, answer.since);
    return { text: offText(command, answer, typist), why };
  }

  /** `off for 2h` turns nothing on. When the time is over it says so. */
  #remindIn(ms: number, scope: SwitchScope, since: number): void {
    const timer = setTimeout(
      () => {
        this.#reminders.delete(timer);
        this.#parts.inFlight
          .track(this.#remind(scope, since))
          .catch((error: unknown) => this.#parts.logger.warn({ err: error }, 'a reminder failed'));
      },
      Math.min(ms, LONGEST_TIMER_MS),
    );
    timer.unref();
    this.#reminders.add(timer);
  }

  async #remind(scope: SwitchScope, since: number): Promise<void> {
    const { off } = await this.#parts.switch.status();
    const still = off.some(
      (entry) => entry.since === since && describeScope(entry.scope) === describeScope(scope),
    );
    if (!still) return;
    this.#announceAll(
      scope,
      () =>
        `*Writes are still off* for ${scopeText(scope)}, and the time that was set for it is over. They stay off until somebody types ${code('/agent-writes on')}.`,
    );
  }

  /* ---- on ---- */

  async #on(command: Extract<SwitchCommand, { verb: 'on' }>, typist: Typist): Promise<Answer> {
    const arming = this.#parts.policy.current.policy.switch?.arming;
    const refusal = await this.#refusalFor('on', typist, arming?.operators ?? [], command.scope);
    if (refusal !== undefined) return refusal;
    const { scope, why } = command;
    if (why === undefined) {
      return {
        text: `Nothing changed: to turn writes on needs a reason. Type ${code('/agent-writes on')}, ${SCOPES}, and why.`,
      };
    }
    if (arming !== undefined && arming.quorum > 1) {
      return {
        text: `Nothing changed: the policy asks for ${arming.quorum} people to turn writes on, and this version collects only one in Slack. Lower ${code('switch.arming.quorum')} in the policy, or turn writes on from a terminal.`,
      };
    }
    const { epoch } = await this.#parts.switch.status();
    const answer = await this.#parts.switch.on({ scope, by: typist.person, why, expectedEpoch: epoch });
    if (answer.ok) {
      this.#announceAll(
        scope,
        (team) =>
          `*Writes are on again* for ${scopeText(scope)}: turned on by ${mention(typist.person, team)} ${localTime(answer.since)}. What was halted stays halted; agents have to propose it again.`,
      );
      return {
        text: `*Writes are on* for ${scopeText(scope)}. What was halted stays halted.${await this.#stillOff(typist)}`,
        why,
      };
    }
    return { text: await this.#onRefused(answer, scope, typist) };
  }

  async #onRefused(
    answer: { refusal: 'epoch_moved' | 'not_off' | 'not_confirmed' },
    scope: SwitchScope,
    typist: Typist,
  ): Promise<string> {
    if (answer.refusal === 'epoch_moved') {
      return `Nothing changed: somebody flipped the switch at the same moment. Look at ${code('/agent-writes status')} before you try again.`;
    }
    if (answer.refusal === 'not_off') {
      return `Nothing changed: writes are not switched off for ${scopeText(scope)}.${await this.#stillOff(typist)}`;
    }
    return `*Not confirmed*: not every part of the switch answered, so some writes stay off. Look at ${code('/agent-writes status')}, and try again.`;
  }

  async #stillOff(typist: Typist): Promise<string> {
    const { off } = await this.#parts.switch.status();
    const others = off.filter((entry) => concerns(entry.scope, typist.tenants));
    if (others.length === 0) return '';
    return ` Still off: ${others
      .slice(0, MOST_LISTED)
      .map((entry) => scopeText(entry.scope))
      .join('; ')}.`;
  }

  /* ---- looking ---- */

  async #status(typist: Typist): Promise<Answer> {
    const all = await this.#parts.switch.status();
    const own = await Promise.all(typist.tenants.map((tenant) => this.#parts.switch.status(tenant)));
    const sum = (of: (status: (typeof own)[number]) => number) =>
      own.reduce((total, status) => total + of(status), 0);
    const off = all.off.filter((entry) => concerns(entry.scope, typist.tenants));
    const lines = [
      STATES[all.state],
      ...off.slice(0, MOST_LISTED).map((entry) => `• off: ${offLine(entry, typist.team)}`),
      ...(all.state === 'on' && all.last !== undefined
        ? [`• on: by ${operatorMention(all.last.by, typist.team)} since ${localTime(all.last.since)}`]
        : []),
      `• ${counted(
        sum((status) => status.pending),
        'call',
      )} waiting for people, ${sum((status) => status.approved)} approved and about to start, ${sum((status) => status.executing)} running`,
      `• ${all.answered} of ${counted(all.shards, 'part')} of the switch answered${all.answered < all.shards ? ': *this is not the whole truth*' : ''}`,
    ];
    const whys = off.flatMap((entry) =>
      entry.why === undefined ? [] : [`${describeScope(entry.scope)}: ${entry.why}`],
    );
    return { text: lines.join('\n'), ...(whys.length === 0 ? {} : { why: whys.join('\n') }) };
  }

  async #pending(typist: Typist): Promise<Answer> {
    const ids = (
      await Promise.all(
        typist.tenants.map((tenant) => this.#parts.store.pending({ tenant, limit: MOST_LISTED + 1 })),
      )
    ).flat();
    if (ids.length === 0) return { text: 'No call is waiting for people here.' };
    const lines = await Promise.all(
      ids.slice(0, MOST_LISTED).map((id) => this.#pendingLine(id, typist.team)),
    );
    const more = ids.length > MOST_LISTED ? ['• and more'] : [];
    return { text: ['*Waiting for people*, oldest deadline first:', ...lines, ...more].join('\n') };
  }

  async #pendingLine(id: ProposalId, team: string): Promise<string> {
    const record = await readRecord(this.#parts.store, id);
    const terms = record === undefined || record === 'not_ours' ? undefined : parseTerms(record.termsText);
    if (record === undefined || record === 'not_ours' || terms === undefined) return `• ${code(id)}`;
    const base = this.#parts.workspaceOf(team)?.url;
    const { card } = record;
    const at =
      card === undefined || base === undefined || base === ''
        ? code(id)
        : `<${base}archives/${card.channel}/p${card.ts.replace('.', '')}|card>`;
    return `• ${code(terms.tool)} for ${code(terms.context.tenant)} in ${code(terms.context.environment)} by ${code(terms.context.agent)}, decide before ${localTime(terms.deadline)} (${at})`;
  }

  /* ---- who may ---- */

  /** Undefined: a full member of this workspace, who may look. */
  async #mayLook(typist: Typist): Promise<Answer | undefined> {
    const member = await this.#parts.directory.entitlementOf(
      typist.person,
      [`user:${typist.user}`],
      typist.team,
    );
    return member.ok ? undefined : { text: REFUSAL_NOTICES[member.refusal] };
  }

  async #refusalFor(
    flip: 'off' | 'on',
    typist: Typist,
    operators: readonly string[],
    scope: SwitchScope,
  ): Promise<Answer | undefined> {
    const no = async (refusal: string, text: string): Promise<Answer> => {
      await this.#parts.audit.append({
        kind: 'switch.refused',
        tenant: typist.tenants[0],
        detail: { flip, refusal, by: typist.person, scope: describeScope(scope) },
      });
      return { text };
    };
    if (operators.length === 0) {
      return no(
        'no_operators',
        'Nothing changed: the policy names nobody who may do this (`switch`). Ask your administrator to add it.',
      );
    }
    const entitlement = await this.#parts.directory.entitlementOf(typist.person, operators, typist.team);
    // Off is the safe side: where Slack does not answer, somebody whom the policy names in person is believed.
    const named = flip === 'off' && operators.includes(`user:${typist.user}`);
    if (!entitlement.ok && !(entitlement.refusal === 'cannot_check' && named)) {
      return no(entitlement.refusal, notAnOperator(flip, operators, entitlement.refusal));
    }
    if (scope.tenant !== undefined && !typist.tenants.includes(scope.tenant)) {
      return no(
        'other_workspace',
        `Nothing changed: the tenant you named does not belong to this workspace. Here you can name ${typist.tenants.map(code).join(', ')}.`,
      );
    }
    return undefined;
  }

  /* ---- telling the channels ---- */

  #announceAll(scope: SwitchScope, textFor: (team: string) => string): void {
    const { tenants } = this.#parts.policy.current.policy;
    const channels = new Map(
      [...tenants]
        .filter(([tenant]) => scope.tenant === undefined || scope.tenant === tenant)
        .map(([, { slack }]) => [`${slack.team}/${slack.channel}`, slack]),
    );
    for (const { team, channel } of channels.values()) {
      const workspace = this.#parts.workspaceOf(team);
      if (workspace === undefined) continue;
      this.#parts.inFlight
        .track(this.#parts.announce(workspace, channel, textFor(team)))
        .catch((error: unknown) => {
          this.#parts.logger.warn({ err: error, channel }, 'a channel could not be told of the switch');
        });
    }
  }
}

/** Node's timers hold 2^31 - 1 ms. */
const LONGEST_TIMER_MS = 2_147_483_647;

const NO_TENANT =
  'Nothing changed: the policy has no tenant in this workspace. Ask your administrator to add it under `tenants`.';

const OFF_FAILED =
  '*NOT CONFIRMED*: the switch could not be written. Type it again now. If it stays so, stop the executors: with no answer from Redis, no write starts either.';

const SCOPES =
  'a scope if you want one (`tenant acme`, `env production`, `tool ticket.close`, `agent support-bot`)';

const HELP = [
  `\`${WRITES_COMMAND} off\` stops all writes of agents, at once. You may add ${SCOPES}, \`for 2h\` (a reminder; nothing turns on by itself) and why.`,
  `\`${WRITES_COMMAND} on\` turns writes on again: with the same scope that is off, and why.`,
  `\`${WRITES_COMMAND} status\` says what is off, since when and by whom.`,
  `\`${WRITES_COMMAND} pending\` lists the calls that wait for people.`,
].join('\n');

const STATES = {
  on: '*Writes are on.*',
  off: '*Writes are off.*',
  closed:
    '*Writes are off*, and nobody switched them off: the switch was never turned on, or it was lost. It takes `/agent-writes on` and a reason to turn them on.',
} as const;

function notAnOperator(flip: 'off' | 'on', operators: readonly string[], refusal: string): string {
  if (refusal === 'cannot_check') {
    return 'Nothing changed: Slack did not tell whether you may do this. Type it again in a few seconds, or ask somebody whom the policy names in person.';
  }
  const who = operators
    .slice(0, MOST_LISTED)
    .map((entry) => code(entry))
    .join(', ');
  return `Nothing changed: the policy does not let you turn writes ${flip}. Ask one of ${who}.`;
}

function scopeText(scope: SwitchScope): string {
  return `*${describeScope(scope)}*`;
}

/** Whether a scope can stop a call of one of these tenants. */
function concerns(scope: SwitchScope, tenants: readonly TenantId[]): boolean {
  return scope.tenant === undefined || tenants.includes(scope.tenant);
}

function environmentsOf(loaded: LoadedPolicy): ReadonlySet<string> {
  return new Set([...loaded.policy.tenants.values()].flatMap((tenant): string[] => tenant.environments));
}

function offLine(entry: OffEntry, team: string): string {
  const until = entry.until === undefined ? '' : `, reminder ${localTime(entry.until)}`;
  return `${scopeText(entry.scope)} by ${operatorMention(entry.by, team)} since ${localTime(entry.since)}${until}`;
}

function offText(
  command: Extract<SwitchCommand, { verb: 'off' }>,
  answer: OffAnswer,
  typist: Typist,
): string {
  const head = answer.confirmed
    ? `*Writes are off* for ${scopeText(command.scope)}: no write in it starts any more.`
    : `*NOT CONFIRMED*: only ${answer.confirmedShards} of ${counted(answer.shards, 'part')} of the switch answered. It is tried again until all have; until then look at ${code('/agent-writes status')}.`;
  const lines = [
    head,
    `By ${mention(typist.person, typist.team)} since ${localTime(answer.since)}; ${answer.confirmedShards} of ${counted(answer.shards, 'part')} of the switch confirmed.`,
    answer.halted.length === 0 ? 'Nothing was waiting.' : `Halted for good: ${listed(answer.halted)}.`,
    answer.executing.length === 0
      ? 'Nothing was running.'
      : `Already running, and may finish: ${listed(answer.executing)}.`,
  ];
  if (command.unclear !== undefined) {
    lines.push(`${code(command.unclear)} names nothing that is there, so *everything* is off.`);
  }
  if (command.forMs !== undefined) {
    lines.push(`You will be reminded in ${formatDuration(command.forMs)}. Nothing turns on by itself.`);
  }
  if (command.why === undefined) lines.push('You gave no reason; please say in the channel why.');
  return lines.join('\n');
}

function listed(ids: readonly ProposalId[]): string {
  const shown = ids.slice(0, MOST_LISTED).map(code).join(', ');
  const more = ids.length - MOST_LISTED;
  return `${counted(ids.length, 'call')} (${shown}${more > 0 ? ` and ${more} more` : ''})`;
}

function offAnnouncement(scope: SwitchScope, by: PersonId, team: string, answer: OffAnswer): string {
  const head = answer.confirmed ? '*Writes are off*' : '*Writes are being switched off* (not confirmed yet)';
  return `${head} for ${scopeText(scope)}: by ${mention(by, team)} ${localTime(answer.since)}. What was waiting is halted for good; what was running may finish. Reads go on.`;
}
