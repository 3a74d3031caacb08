import { z } from 'zod';
import type { ApproverDirectory, Entitlement } from '../core/approval/approver-directory.ts';
import type { DecisionRefusal } from '../core/approval/refusal.ts';
import { type PersonId, slackIdsOf } from '../core/identity/ids.ts';
import { slackError, type Workspaces } from './clients.ts';

/** usergroups.users.list is Tier 2, 20 calls a minute: one list serves the clicks of this long … */
const MEMBERS_FRESH_MS = 30_000;
/** … and a person who is not on it is looked for again, but not more often than this for one group. */
const MEMBERS_MISS_MS = 4_000;

const UserInfo = z.looseObject({
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

/** Who people are, asked of Slack at every click. Only group membership is remembered, briefly. */
export class SlackApprovers implements ApproverDirectory {
  readonly #workspaces: Workspaces;
  readonly #clock: () => number;
  readonly #lists = new Map<string, MemberList>();
  readonly #asking = new Map<string, Promise<MemberList | undefined>>();

  constructor(workspaces: Workspaces, clock: () => number) {
    this.#workspaces = workspaces;
    this.#clock = clock;
  }

  async entitlementOf(person: PersonId, entries: readonly string[], team: string): Promise<Entitlement> {
    const ids = slackIdsOf(person);
    const workspace = this.#workspaces.get(team);
    if (workspace === undefined) return NO('cannot_check');
    if (ids.team !== team) return NO('other_workspace');
    let user: SlackUser;
    try {
      user = UserInfo.parse(await workspace.asking.users.info({ user: ids.user })).user;
    } catch (error) {
      return NO(slackError(error) === 'user_not_found' ? 'stranger' : 'cannot_check');
    }
    const unfit = unfitness(user, ids.user, [team, workspace.team, workspace.enterprise]);
    if (unfit !== undefined) return NO(unfit);
    return this.#entryOf(ids.user, entries, team);
  }

  async #entryOf(user: string, entries: readonly string[], team: string): Promise<Entitlement> {
    const direct = `user:${user}`;
    if (entries.includes(direct)) return { ok: true, as: direct };
    let unknown = false;
    for (const entry of entries) {
      if (!entry.startsWith('usergroup:')) continue;
      const member = await this.#isMember(user, entry.slice('usergroup:'.length), team);
      if (member === true) return { ok: true, as: entry };
      unknown ||= member === undefined;
    }
    return NO(unknown ? 'cannot_check' : 'not_an_approver');
  }

  /** Undefined: Slack does not tell, and no list that is fresh enough says so. */
  async #isMember(user: string, group: string, team: string): Promise<boolean | undefined> {
    const known = this.#lists.get(`${team}/${group}`);
    const age = known === undefined ? Number.POSITIVE_INFINITY : this.#clock() - known.at;
    const fresh = age >= 0 && age < MEMBERS_FRESH_MS;
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
    const at = this.#clock();
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
