import { z } from 'zod';
import type { AccountEmail, ApproverDirectory, Entitlement } from '../core/approval/approver-directory.ts';
import type { DecisionRefusal } from '../core/approval/refusal.ts';
import { type PersonId, slackIdsOf } from '../core/identity/ids.ts';
import { slackError, type WorkspaceClients, type Workspaces } from './clients.ts';

/** usergroups.users.list is Tier 2, 20 calls a minute: one list serves the clicks of this long … */
const MEMBERS_FRESH_MS = 30_000;
/** … and a person who is not on it is looked for again, but not more often than this for one group. */
const MEMBERS_MISS_MS = 4_000;

/** An email address hardly ever changes, and each click asks for those of everybody who may not give it. */
const EMAIL_FRESH_MS = 60_000;
const EMAILS_REMEMBERED = 1_000;
const EMAIL_SCOPE = 'users:read.email';

const UserInfo = z.looseObject({
  response_metadata: z.looseObject({ scopes: z.array(z.string()).optional() }).optional(),
  user: z.looseObject({
    id: z.string(),
    team_id: z.string().optional(),
    deleted: z.boolean().optional(),
    is_bot: z.boolean().optional(),
    is_workflow_bot: z.boolean().optional(),
    is_connector_bot: z.boolean().optional(),
    is_restricted: z.boolean().optional(),
    is_ultra_restricted: z.boolean().optional(),
    is_stranger: z.boolean().optional(),
    profile: z.looseObject({ email: z.string().optional() }).optional(),
    enterprise_user: z.looseObject({ enterprise_id: z.string().optional() }).optional(),
  }),
});
type SlackUser = z.infer<typeof UserInfo>['user'];

const Members = z.looseObject({ users: z.array(z.string()) });

interface MemberList {
  readonly at: number;
  readonly users: ReadonlySet<string>;
}

const NO = (refusal: DecisionRefusal): Entitlement => ({ ok: false, refusal });

/** Who people are, asked of Slack at every click. Group membership and email addresses are remembered, briefly. */
export class SlackApprovers implements ApproverDirectory {
  readonly #workspaces: Workspaces;
  readonly #monotonic: () => number;
  readonly #onEmailsHidden: (team: string, hidden: boolean) => void;
  readonly #emails = new Map<PersonId, { readonly at: number; readonly email: string | undefined }>();
  readonly #lists = new Map<string, MemberList>();
  readonly #asking = new Map<string, Promise<MemberList | undefined>>();

  /**
   * @param monotonic ms: no step of the wall clock lets somebody who was removed decide for longer.
   * @param onEmailsHidden whether a workspace lets us see email addresses, as of each answer that tells.
   */
  constructor(
    workspaces: Workspaces,
    monotonic: () => number,
    onEmailsHidden: (team: string, hidden: boolean) => void = () => {},
  ) {
    this.#workspaces = workspaces;
    this.#monotonic = monotonic;
    this.#onEmailsHidden = onEmailsHidden;
  }

  async entitlementOf(
    person: PersonId,
    entries: readonly string[],
    team: string,
    { fresh = false }: { readonly fresh?: boolean } = {},
  ): Promise<Entitlement> {
    const ids = slackIdsOf(person);
    const workspace = this.#workspaces.get(team);
    if (workspace === undefined) return NO('cannot_check');
    if (ids.team !== team) return NO('other_workspace');
    let user: SlackUser;
    try {
      user = await this.#userOf(person, workspace);
    } catch (error) {
      return NO(slackError(error) === 'user_not_found' ? 'stranger' : 'cannot_check');
    }
    const unfit = unfitness(user, ids.user, [team, workspace.team, workspace.enterprise]);
    if (unfit !== undefined) return NO(unfit);
    return this.#entryOf(ids.user, entries, team, fresh ? MEMBERS_MISS_MS : MEMBERS_FRESH_MS);
  }

  async emailOf(person: PersonId): Promise<AccountEmail> {
    const known = this.#emails.get(person);
    const age = known === undefined ? Number.POSITIVE_INFINITY : this.#monotonic() - known.at;
    if (known !== undefined && age < EMAIL_FRESH_MS) return { ok: true, email: known.email };
    const workspace = this.#workspaces.get(slackIdsOf(person).team);
    // Of a workspace that we have no token for: nothing to compare with, and nothing that asking again would change.
    if (workspace === undefined) return { ok: true, email: undefined };
    try {
      await this.#userOf(person, workspace);
    } catch (error) {
      const none = slackError(error) === 'user_not_found';
      return none ? { ok: true, email: undefined } : { ok: false, refusal: 'cannot_check' };
    }
    return { ok: true, email: this.#emails.get(person)?.email };
  }

  async #userOf(person: PersonId, workspace: WorkspaceClients): Promise<SlackUser> {
    const at = this.#monotonic();
    const answer = UserInfo.parse(await workspace.asking.users.info({ user: slackIdsOf(person).user }));
    const scopes = answer.response_metadata?.scopes;
    if (scopes !== undefined) this.#onEmailsHidden(workspace.team, !scopes.includes(EMAIL_SCOPE));
    const email = answer.user.profile?.email?.trim().toLowerCase();
    this.#emails.delete(person);
    this.#emails.set(person, { at, email: email === '' ? undefined : email });
    const oldest = this.#emails.size > EMAILS_REMEMBERED ? this.#emails.keys().next().value : undefined;
    if (oldest !== undefined) this.#emails.delete(oldest);
    return answer.user;
  }

  async #entryOf(
    user: string,
    entries: readonly string[],
    team: string,
    maxAgeMs: number,
  ): Promise<Entitlement> {
    const direct = `user:${user}`;
    if (entries.includes(direct)) return { ok: true, as: direct };
    let unknown = false;
    for (const entry of entries) {
      if (!entry.startsWith('usergroup:')) continue;
      const member = await this.#isMember(user, entry.slice('usergroup:'.length), team, maxAgeMs);
      if (member === true) return { ok: true, as: entry };
      unknown ||= member === undefined;
    }
    return NO(unknown ? 'cannot_check' : 'not_an_approver');
  }

  /** Undefined: Slack does not tell, and no list that is fresh enough says so. */
  async #isMember(user: string, group: string, team: string, maxAgeMs: number): Promise<boolean | undefined> {
    const known = this.#lists.get(`${team}/${group}`);
    const age = known === undefined ? Number.POSITIVE_INFINITY : this.#monotonic() - known.at;
    const fresh = age < maxAgeMs;
    if (known !== undefined && fresh && known.users.has(user)) return true;
    if (known !== undefined && fresh && age < MEMBERS_MISS_MS) return false;
    const asked = await this.#members(group, team);
    return asked?.users.has(user);
  }

  #members(group: string, team: string): Promise<MemberList | undefined> {
    const key = `${team}/${group}`;
    const running = this.#asking.get(key);
    if (running !== undefined) return running;
    const asking = this.#ask(group, team).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  async #ask(group: string, team: string): Promise<MemberList | undefined> {
    const at = this.#monotonic();
    try {
      const client = this.#workspaces.get(team)?.asking;
      const answer = Members.parse(await client?.usergroups.users.list({ usergroup: group }));
      const list = { at, users: new Set(answer.users) };
      this.#lists.set(`${team}/${group}`, list);
      return list;
    } catch {
      return undefined;
    }
  }
}

/** Slackbot has an ordinary user id in every workspace. */
const SLACKBOT = 'USLACKBOT';

function unfitness(
  user: SlackUser,
  expected: string,
  teams: readonly (string | undefined)[],
): DecisionRefusal | undefined {
  if (user.id !== expected) return 'cannot_check';
  if (user.deleted) return 'deactivated';
  if (user.is_bot || user.is_workflow_bot || user.is_connector_bot || user.id === SLACKBOT)
    return 'not_a_person';
  if (user.is_stranger) return 'stranger';
  const own = [user.team_id, user.enterprise_user?.enterprise_id];
  if (!own.some((id) => id !== undefined && teams.includes(id))) return 'stranger';
  if (user.is_restricted || user.is_ultra_restricted) return 'guest';
  return undefined;
}
