import type { App } from '@slack/bolt';
import type { Logger } from 'pino';
import type { ApproverDirectory } from '../core/approval/approver-directory.ts';
import { readRecord } from '../core/approval/decision-desk.ts';
import { isSecondAccountOf } from '../core/approval/second-accounts.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import { type PersonId, slackIdsOf, type TenantId } from '../core/identity/ids.ts';
import { formatDuration } from '../core/policy/duration.ts';
import type { LoadedPolicy } from '../core/policy/policy.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import type { CardRef, ProposalRecord } from '../core/proposal/proposal.ts';
import type { ProposalId } from '../core/proposal/proposal-id.ts';
import { type ProposalStore, StoreUnavailable } from '../core/proposal/proposal-store.ts';
import type { SealedTerms } from '../core/proposal/seal.ts';
import type { ArmingAnswer, ArmingRequest, ArmingRequests } from '../core/switch/arming.ts';
import type { HeardCommands } from '../core/switch/heard-commands.ts';
import { describeScope, type SwitchScope } from '../core/switch/scope.ts';
import type { OffAnswer, OnAnswer, SwitchStatus, WriteSwitch } from '../core/switch/write-switch.ts';
import { ArmingClick, CONFIRM_ARMING, drawArming, readArmingValue } from './arming-card.ts';
import { CommandBody } from './bodies.ts';
import type { WorkspaceClients } from './clients.ts';
import type { InFlight } from './in-flight.ts';
import { NOTICES, REFUSAL_NOTICES } from './notices.ts';
import { type Answer, type Subcommand, type Typist, WRITES_COMMAND } from './subcommand.ts';
import { parseSwitchCommand, type SwitchCommand } from './switch-command.ts';
import {
  offLine,
  onCommand,
  operatorText,
  scopeText,
  stateText,
  whyBlocks,
  whyFor,
} from './switch-wording.ts';
import { typistOf } from './typist.ts';
import { code, counted, type KnownBlock, localTime, mention, ourSection } from './wording.ts';

export interface CommandsParts {
  readonly policy: PolicyHolder;
  readonly switch: WriteSwitch;
  readonly arming: ArmingRequests;
  readonly heard: HeardCommands;
  readonly store: ProposalStore;
  readonly directory: ApproverDirectory;
  readonly audit: AuditLog;
  readonly knowsTool: (name: string) => boolean;
  readonly workspaceOf: (team: string) => WorkspaceClients | undefined;
  /** Undefined: the record is not sealed by us. */
  readonly sealedOf: (record: ProposalRecord) => SealedTerms | undefined;
  /** One message of our own, in its turn. */
  readonly post: (
    workspace: WorkspaceClients,
    channel: string,
    text: string,
    blocks: KnownBlock[],
  ) => Promise<void>;
  /** There is something to tell the channels. */
  readonly onFlip: () => void;
  /** Words besides those of the switch, of whoever has some. */
  readonly subcommands: readonly Subcommand[];
  readonly inFlight: InFlight;
  readonly logger: Logger;
}

/** A message of its own: it takes the place of none. */
type OwnAnswer = Answer & { readonly over: false };

const MOST_LISTED = 10;
const MOST_PENDING = 20;

/** `/agent-writes`: the switch, by hand. */
export class WritesCommand {
  readonly #parts: CommandsParts;
  readonly #subcommands: ReadonlyMap<string, Subcommand>;

  constructor(parts: CommandsParts) {
    this.#parts = parts;
    const own: readonly Subcommand[] = [
      {
        name: 'status',
        help: `\`${WRITES_COMMAND} status\` says what is off, since when, by whom and why, and what waits or runs.`,
        run: (typist) => this.#status(typist),
      },
      {
        name: 'pending',
        help: `\`${WRITES_COMMAND} pending\` lists the calls that wait for people, with links to their cards.`,
        run: (typist) => this.#pending(typist),
      },
    ];
    this.#subcommands = new Map([...own, ...parts.subcommands].map((word) => [word.name, word]));
  }

  register(app: App): void {
    app.command(WRITES_COMMAND, ({ body, ack, respond }) =>
      this.#parts.inFlight.track(
        this.#handle(
          () => ack(),
          () => this.#answerTo(body),
          async (answer) => {
            const { text } = answer;
            await respond({ response_type: 'ephemeral', text, blocks: blocksOf(answer) });
          },
        ),
      ),
    );
    app.action(CONFIRM_ARMING, ({ body, ack, respond }) =>
      this.#parts.inFlight.track(
        this.#handle(
          () => ack(),
          () => this.#confirmed(body),
          async (answer) => {
            const { text, over } = answer;
            const blocks = blocksOf(answer);
            if (over) await respond({ replace_original: true, text, blocks });
            else await respond({ response_type: 'ephemeral', replace_original: false, text, blocks });
          },
        ),
      ),
    );
  }

  async #handle<A extends Answer>(
    ack: () => Promise<void>,
    answerTo: () => Promise<A | undefined>,
    tell: (answer: A | OwnAnswer) => Promise<void>,
  ): Promise<void> {
    await ack().catch((err: unknown) =>
      this.#parts.logger.warn({ err }, 'Slack could not be told that a command arrived'),
    );
    const answer = await answerTo().catch((error: unknown): OwnAnswer => {
      this.#parts.logger.error({ err: error }, 'a command failed');
      return { text: NOTICES.failed, over: false };
    });
    if (answer === undefined) return;
    const tellOrLog = (what: A | OwnAnswer) =>
      tell(what).catch((error: unknown) => {
        this.#parts.logger.warn({ err: error }, 'what came of a command could not be told');
      });
    await tellOrLog(answer);
    // Not part of the work that a shutdown waits for: it may never come.
    void answer.later?.then((later) => later && tellOrLog({ ...later, over: false }));
  }

  /** Undefined: it was answered when it was delivered the first time. */
  async #answerTo(body: unknown): Promise<Answer | undefined> {
    const parsed = CommandBody.safeParse(body);
    if (!parsed.success) return { text: NOTICES.malformed };
    const loaded = this.#parts.policy.current;
    const command = parseSwitchCommand(parsed.data.text, {
      tenant: (name) => [...loaded.policy.tenants.keys()].some((tenant) => tenant === name),
      environment: (name) => environmentsOf(loaded).has(name),
      tool: this.#parts.knowsTool,
    });
    if (!(await this.#firstTime(parsed.data.trigger_id, command))) return undefined;
    const typist = this.#typistOf(parsed.data);
    if (typist === undefined) return { text: NO_TENANT };
    switch (command.verb) {
      case 'off':
        return this.#off(command, typist);
      case 'on':
        return this.#on(command, typist);
      case 'on_unclear':
        return {
          text: `Nothing changed: ${code(command.words)} names nothing that is there. Type ${code('/agent-writes on')}, then ${SCOPES}, then the reason.`,
        };
      case 'other':
        return this.#other(command, typist);
      case 'unknown':
        return { text: `${UNKNOWN_WORD}\n${this.#help()}` };
    }
  }

  async #other({ word, words }: { word: string; words: string }, typist: Typist): Promise<Answer> {
    if (word === 'help') return { text: this.#help() };
    const subcommand = this.#subcommands.get(word);
    if (subcommand === undefined) return { text: `${UNKNOWN_WORD}\n${this.#help()}` };
    return (await this.#mayLook(typist)) ?? subcommand.run(typist, words);
  }

  #help(): string {
    return [...HELP, ...[...this.#subcommands.values()].map(({ help }) => help), HELP_OF_HELP].join('\n');
  }

  /**
   * Durable, because an old `on` that is delivered again must not come after a new `off`, to whichever replica, after
   * whichever restart. To stop writes is never refused for want of this: a second `off` only stops them again.
   */
  async #firstTime(trigger: string, command: SwitchCommand): Promise<boolean> {
    try {
      return await this.#parts.heard.firstTime(trigger);
    } catch (error) {
      if (command.verb === 'on') throw error;
      this.#parts.logger.warn({ err: error }, 'whether a command was heard before is not known');
      return true;
    }
  }

  #typistOf(body: Parameters<typeof typistOf>[1]): Typist | undefined {
    return typistOf(this.#parts.policy.current, body);
  }

  /* ---- off ---- */

  async #off(command: Extract<SwitchCommand, { verb: 'off' }>, typist: Typist): Promise<Answer> {
    const operators = this.#parts.policy.current.policy.switch?.operators ?? [];
    const refusal = await this.#refusalFor('off', typist, operators, command.scope);
    if (refusal !== undefined) return refusal;
    const { scope, why, forMs } = command;
    const flip = {
      scope,
      by: typist.person,
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
    this.#parts.onFlip();
    const later = answer.confirming?.then((confirmed) => {
      if (confirmed === undefined) return undefined;
      this.#parts.onFlip();
      return { text: `*Confirmed now.* ${offText(command, confirmed, typist)}`, why };
    });
    return { text: offText(command, answer, typist), why, later };
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
    const quorum = arming?.quorum ?? 1;
    const { epoch } = await this.#parts.switch.status();
    if (quorum === 1) return this.#turnOn({ scope, why, epoch, people: [typist.person] }, typist);
    const notOff = await this.#notOff(scope, typist);
    if (notOff !== undefined) return notOff;
    const answer = await this.#parts.arming.ask({ scope, why, epoch, person: typist.person, quorum });
    if (answer.state === 'waiting') this.#askTheNext(answer.request, quorum, typist);
    return this.#counted(answer, quorum, typist);
  }

  /** A click on the message that asks for the second person. */
  async #confirmed(body: unknown): Promise<Answer & { over: boolean }> {
    const parsed = ArmingClick.safeParse(body);
    const asked = parsed.success ? readArmingValue(parsed.data.actions[0].value) : undefined;
    if (!parsed.success || asked === undefined) return { text: NOTICES.malformed, over: false };
    const { user, team } = parsed.data;
    const typist = this.#typistOf({
      team_id: team.id,
      enterprise_id: team.enterprise_id ?? undefined,
      user_id: user.id,
    });
    if (typist === undefined) return { text: NO_TENANT, over: false };
    if (user.team_id !== team.id && user.team_id !== team.enterprise_id) {
      await this.#parts.audit.append({
        kind: 'switch.refused',
        tenant: typist.tenants[0],
        detail: { flip: 'on', refusal: 'stranger', user: user.id, team: user.team_id, request: asked.id },
      });
      return { text: 'Nothing changed: only members of this company can turn writes on.', over: false };
    }
    const arming = this.#parts.policy.current.policy.switch?.arming;
    const refusal = await this.#refusalFor('on', typist, arming?.operators ?? [], asked.scope);
    if (refusal !== undefined) return { ...refusal, over: false };
    const quorum = arming?.quorum ?? 1;
    const { epoch } = await this.#parts.switch.status();
    const answer = await this.#parts.arming.confirm({ ...asked, epoch, person: typist.person, quorum });
    const over = answer.state === 'complete' || answer.state === 'gone' || answer.state === 'epoch_moved';
    return { ...(await this.#counted(answer, quorum, typist)), over };
  }

  async #counted(answer: ArmingAnswer, quorum: number, typist: Typist): Promise<Answer> {
    switch (answer.state) {
      case 'complete':
        return this.#turnOn(answer.request, typist);
      case 'waiting':
        return {
          text: `Recorded: ${answer.request.people.length} of ${quorum} people want writes on for ${scopeText(answer.request.scope)}, and nothing is on yet. Somebody else who may turn writes on has to press Confirm in the channel, or type the same, before ${localTime(answer.request.until)}.${answer.voided ? ' What was asked before is void, because the switch was flipped since.' : ''}`,
          why: answer.request.why,
        };
      case 'same_person':
        return {
          text: `Nothing changed: you have asked for this already, and the same person counts once. Somebody else has to confirm it before ${localTime(answer.request.until)}.`,
          why: answer.request.why,
        };
      case 'other_reason':
        return {
          text: `Nothing changed: ${operatorsText(answer.request, typist.team)} asked for the same with another reason. To confirm that, press Confirm in the channel, or type ${code(onCommand(answer.request.scope))} with exactly this reason:`,
          why: answer.request.why,
        };
      case 'epoch_moved':
        return {
          text: `Nothing changed: the switch was flipped since this was asked for, so it is void. Look at ${code('/agent-writes status')} before you ask again.`,
        };
      case 'gone':
        return {
          text: 'Nothing changed: this is no longer waiting. It was confirmed, replaced, or its ten minutes are over.',
        };
    }
  }

  /** In a channel of this workspace that the scope concerns. Whoever cannot see it can type the same. */
  #askTheNext(request: ArmingRequest, quorum: number, typist: Typist): void {
    const tenant = request.scope.tenant ?? typist.tenants[0];
    const place =
      tenant === undefined ? undefined : this.#parts.policy.current.policy.tenants.get(tenant)?.slack;
    const workspace = place === undefined ? undefined : this.#parts.workspaceOf(place.team);
    if (place === undefined || workspace === undefined) return;
    const { text, blocks } = drawArming(request, { quorum, team: typist.team });
    this.#parts.inFlight
      .track(this.#parts.post(workspace, place.channel, text, blocks))
      .catch((error: unknown) => {
        this.#parts.logger.warn({ err: error }, 'the next person could not be asked to turn writes on');
      });
  }

  async #turnOn(
    asked: { scope: SwitchScope; why: string; epoch: number; people: readonly PersonId[] },
    typist: Typist,
  ): Promise<Answer> {
    const { scope, why, epoch, people } = asked;
    const [by = typist.person, ...confirmedBy] = people;
    const gone = await this.#noLongerEntitled(people, typist);
    if (gone !== undefined) {
      return {
        text: `Nothing changed: ${operatorText(gone, typist.team)} may no longer turn writes on, or Slack did not tell. Ask anew with ${code(onCommand(scope))}`,
      };
    }
    const same = await isSecondAccountOf(this.#parts.directory, people.at(-1) ?? by, people.slice(0, -1));
    if (same !== false) {
      return {
        text: `Nothing changed: two of these accounts are the same person's, or Slack did not tell. Somebody else has to ask anew with ${code(onCommand(scope))}`,
      };
    }
    let answer: OnAnswer;
    try {
      answer = await this.#parts.switch.on({
        scope,
        by,
        ...(confirmedBy.length === 0 ? {} : { confirmedBy }),
        why,
        expectedEpoch: epoch,
      });
    } catch (error) {
      // The answer can be lost on its way back.
      if (!(error instanceof StoreUnavailable)) throw error;
      this.#parts.logger.error({ err: error }, 'whether writes are on is not known');
      return { text: ON_UNSURE };
    }
    if (!answer.ok) return { text: await this.#onRefused(answer, scope, typist) };
    this.#parts.onFlip();
    return {
      text: `*Writes are on* for ${scopeText(scope)}. ${people.length > 1 ? `Turned on by ${operatorsText(asked, typist.team)}. ` : ''}What was halted stays halted.${await this.#stillOff(typist)}`,
      why,
    };
  }

  /** Who asked some minutes ago may have been taken out of the group since; the typist was asked about just now. */
  async #noLongerEntitled(people: readonly PersonId[], typist: Typist): Promise<PersonId | undefined> {
    const operators = this.#parts.policy.current.policy.switch?.arming.operators ?? [];
    for (const person of people) {
      if (person === typist.person) continue;
      const { team } = slackIdsOf(person);
      if (!(await this.#parts.directory.entitlementOf(person, operators, team)).ok) return person;
    }
    return undefined;
  }

  async #notOff(scope: SwitchScope, typist: Typist): Promise<Answer | undefined> {
    const { state, closed, off } = await this.#parts.switch.status();
    const everything = describeScope(scope) === 'everything';
    const isOff =
      off.some((entry) => describeScope(entry.scope) === describeScope(scope)) ||
      (everything && state !== 'on' && closed !== 'permit_lapsed');
    return isOff ? undefined : { text: await this.#onRefused({ refusal: 'not_off' }, scope, typist) };
  }

  async #onRefused(
    answer: Pick<Extract<OnAnswer, { ok: false }>, 'refusal'>,
    scope: SwitchScope,
    typist: Typist,
  ): Promise<string> {
    if (answer.refusal === 'epoch_moved') {
      return `Nothing changed: somebody flipped the switch at the same moment. Look at ${code('/agent-writes status')} before you try again.`;
    }
    if (answer.refusal === 'not_off') {
      return `Nothing changed: writes are not switched off for ${scopeText(scope)}.${await this.#stillOff(typist)}`;
    }
    return ON_UNSURE;
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
      stateText(all),
      ...off.slice(0, MOST_LISTED).map((entry) => `• off: ${offLine(entry, typist.team)}`),
      ...(off.length > MOST_LISTED ? [`• off: ${off.length - MOST_LISTED} more scopes`] : []),
      ...(all.state === 'on' && all.last !== undefined
        ? [`• on: by ${operatorText(all.last.by, typist.team)} since ${localTime(all.last.since)}`]
        : []),
      `• ${openText(all.state, {
        pending: sum((status) => status.pending),
        approved: sum((status) => status.approved),
        executing: sum((status) => status.executing),
      })}`,
      `• ${all.answered} of ${counted(all.shards, 'part')} of the switch answered${all.answered < all.shards ? ': *this is not the whole truth*' : ''}`,
    ];
    const flips = [
      ...off,
      ...(all.state === 'on' && all.last !== undefined ? [{ ...all.last, scope: {} }] : []),
    ];
    const whys = flips.flatMap((entry) => {
      const why = whyFor(entry, typist.team);
      return why === undefined ? [] : [`${describeScope(entry.scope)}: ${why}`];
    });
    return { text: lines.join('\n'), ...(whys.length === 0 ? {} : { why: whys.join('\n') }) };
  }

  async #pending(typist: Typist): Promise<Answer> {
    const perTenant = await Promise.all(
      typist.tenants.map((tenant) => this.#parts.store.pending({ tenant, limit: MOST_PENDING + 1 })),
    );
    const found = await Promise.all(perTenant.flat().map((id) => this.#sealedPending(id, typist)));
    const waiting = found
      .flatMap((sealed) => sealed ?? [])
      .sort((a, b) => a.sealed.terms.deadline - b.sealed.terms.deadline);
    if (waiting.length === 0) return { text: 'No call is waiting for people here.' };
    const lines = waiting
      .slice(0, MOST_PENDING)
      .map(({ sealed, card }) => this.#pendingLine(sealed, card, typist));
    const more =
      waiting.length > MOST_PENDING
        ? ["• and more: open this app's Home tab for all that you may decide"]
        : [];
    return { text: ['*Waiting for people*, oldest deadline first:', ...lines, ...more].join('\n') };
  }

  /** Undefined: gone meanwhile, not sealed by us, or of a tenant that is none of this workspace's. */
  async #sealedPending(
    id: ProposalId,
    typist: Typist,
  ): Promise<{ sealed: SealedTerms; card: CardRef | undefined } | undefined> {
    const record = await readRecord(this.#parts.store, id);
    if (record === undefined || record === 'not_ours' || record.state.status !== 'pending') return undefined;
    const sealed = this.#parts.sealedOf(record);
    if (sealed === undefined || !typist.tenants.includes(sealed.terms.context.tenant)) return undefined;
    return { sealed, card: record.card };
  }

  #pendingLine({ terms }: SealedTerms, card: CardRef | undefined, typist: Typist): string {
    const { tenant, environment, agent } = terms.context;
    const place = this.#parts.policy.current.policy.tenants.get(tenant)?.slack;
    const base = this.#parts.workspaceOf(typist.team)?.url ?? '';
    const stands = card !== undefined && card.channel === place?.channel && /^[0-9]+\.[0-9]+$/.test(card.ts);
    const at =
      stands && base !== ''
        ? `<${base}archives/${card.channel}/p${card.ts.replace('.', '')}|card>`
        : code(terms.id);
    return `• ${code(terms.tool)} for ${code(tenant)} in ${code(environment)} by ${code(agent)}, decide before ${localTime(terms.deadline)} (${at})`;
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
}

/** Each line of ours whole, in as many sections as it takes. */
function blocksOf({ text, why, blocks }: Answer): KnownBlock[] {
  if (blocks !== undefined) return [...blocks];
  const sections: string[] = [];
  for (const line of text.split('\n')) {
    const last = sections.at(-1);
    if (last !== undefined && last.length + line.length < SECTION_ROOM)
      sections[sections.length - 1] = `${last}\n${line}`;
    else sections.push(line);
  }
  return [...sections.map(ourSection), ...whyBlocks(why)];
}

const SECTION_ROOM = 2_900;

const NO_TENANT =
  'Nothing changed: the policy has no tenant in this workspace. Ask your administrator to add it under `tenants`.';

const OFF_FAILED =
  '*NOT CONFIRMED*: the switch could not be written. Type it again now. If it stays so, stop the executors: with no answer from Redis, no write starts either.';

const ON_UNSURE = `*NOT CONFIRMED*: not every part of the switch confirmed it, so *writes may be on*, all of them or some. If they must not be, type ${code('/agent-writes off')} with the same scope. Otherwise look at ${code('/agent-writes status')}, and try again.`;

const SCOPES =
  'a scope if you want one (`tenant acme`, `env production`, `tool ticket.close`, `agent support-bot`)';

const HELP = [
  `\`${WRITES_COMMAND} off\` stops all writes of agents, at once. You may add ${SCOPES}, \`for 2h\` (a reminder; nothing turns on by itself) and why.`,
  `\`${WRITES_COMMAND} on\` turns writes on again: with the same scope that is off, and why.`,
];
const HELP_OF_HELP = `\`${WRITES_COMMAND} help\` shows this list.`;

const UNKNOWN_WORD = 'Nothing changed: this app does not know that word.';

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

/** Whether a scope can stop a call of one of these tenants. */
function concerns(scope: SwitchScope, tenants: readonly TenantId[]): boolean {
  return scope.tenant === undefined || tenants.includes(scope.tenant);
}

function environmentsOf(loaded: LoadedPolicy): ReadonlySet<string> {
  return new Set([...loaded.policy.tenants.values()].flatMap((tenant): string[] => tenant.environments));
}

function operatorsText({ people }: { people: readonly PersonId[] }, team: string): string {
  return people.map((person) => operatorText(person, team)).join(' and ');
}

function offText(
  command: Extract<SwitchCommand, { verb: 'off' }>,
  answer: OffAnswer,
  typist: Typist,
): string {
  const head = answer.confirmed
    ? `*Writes are off* for ${scopeText(command.scope)}: no write in it starts any more.`
    : `*NOT CONFIRMED*: only ${answer.confirmedShards} of ${counted(answer.shards, 'part')} of the switch answered. It is tried again, and you are told here when all have. If you hear nothing within a minute, type it again.`;
  const lines = [
    head,
    `By ${mention(typist.person, typist.team)} since ${localTime(answer.since)}; ${answer.confirmedShards} of ${counted(answer.shards, 'part')} of the switch confirmed.`,
    ...(answer.complete ? foundText(answer) : foundSoFarText(answer)),
  ];
  if (command.unclear !== undefined) {
    lines.push(`${code(command.unclear)} names nothing that is there, so *everything* is off.`);
  }
  if (command.forMs !== undefined) {
    lines.push(
      `The channels are reminded once, in ${formatDuration(command.forMs)}. Nothing turns on by itself.`,
    );
  }
  if (command.why === undefined) lines.push('You gave no reason; please say in the channel why.');
  return lines.join('\n');
}

function openText(
  state: SwitchStatus['state'],
  { pending, approved, executing }: Pick<SwitchStatus, 'pending' | 'approved' | 'executing'>,
): string {
  const calls = counted(pending, 'call');
  if (state === 'on')
    return `${calls} waiting for people, ${approved} approved and about to start, ${executing} running`;
  return `${calls} waiting for people and ${approved} approved, none of which can start; ${executing} running`;
}

function foundText({ halted, executing }: OffAnswer): string[] {
  return [
    halted.length === 0 ? 'Nothing was waiting.' : `Halted for good: ${listed(halted)}.`,
    executing.length === 0
      ? 'Nothing was running.'
      : `Already running, and may finish: ${listed(executing)}.`,
  ];
}

function foundSoFarText({ halted, executing }: OffAnswer): string[] {
  return [
    halted.length === 0
      ? 'What was waiting is not halted yet; that goes on.'
      : `Halted for good so far: ${listed(halted)}; that goes on.`,
    executing.length === 0
      ? 'What is running is not known yet.'
      : `Already running, and may finish, as far as is known: ${listed(executing)}.`,
  ];
}

function listed(ids: readonly ProposalId[]): string {
  const shown = ids.slice(0, MOST_LISTED).map(code).join(', ');
  const more = ids.length - MOST_LISTED;
  return `${counted(ids.length, 'call')} (${shown}${more > 0 ? ` and ${more} more` : ''})`;
}
