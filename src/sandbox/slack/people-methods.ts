import { groupObject, userObject } from './slack-objects.ts';
import { findUser } from './slack-world.ts';
import { type ApiAnswer, type ApiCall, type ApiMethod, failure, missingArgument } from './web-api-call.ts';

export const PEOPLE_METHODS: Record<string, ApiMethod> = {
  'bots.info': { tier: 'tier3', scopes: ['users:read'], run: botInfo },
  'users.info': { tier: 'tier4', scopes: ['users:read'], run: userInfo },
  'usergroups.list': { tier: 'tier2', scopes: ['usergroups:read'], run: groups },
  'usergroups.users.list': { tier: 'tier2', scopes: ['usergroups:read'], run: groupUsers },
};

function userInfo(call: ApiCall): ApiAnswer {
  const id = call.args.text('user');
  if (id === undefined) return missingArgument('user');
  const user = findUser(call.workspace, id);
  if (!user) return failure('user_not_found');
  const withEmail = call.installation.scopes.includes('users:read.email');
  return { ok: true, user: userObject(call.workspace, user, withEmail) };
}

function botInfo({ state, args, installation }: ApiCall): ApiAnswer {
  if (args.text('bot') !== installation.botId) return failure('bot_not_found');
  const { botId, botUser } = installation;
  const { id, name } = state.world.app;
  return { ok: true, bot: { id: botId, deleted: false, name, updated: 0, app_id: id, user_id: botUser } };
}

function groups(call: ApiCall): ApiAnswer {
  const shown = call.workspace.groups.filter(
    (group) => !group.disabled || call.args.flag('include_disabled'),
  );
  const withUsers = call.args.flag('include_users');
  return {
    ok: true,
    usergroups: shown.map((group) => ({
      ...groupObject(call.workspace, group),
      ...(withUsers ? { users: group.users } : {}),
    })),
  };
}

function groupUsers(call: ApiCall): ApiAnswer {
  const id = call.args.text('usergroup');
  if (id === undefined) return missingArgument('usergroup');
  const group = call.workspace.groups.find((candidate) => candidate.id === id);
  if (!group || (group.disabled && !call.args.flag('include_disabled'))) return failure('no_such_subteam');
  return { ok: true, users: group.users };
}
