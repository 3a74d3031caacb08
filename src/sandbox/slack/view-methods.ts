import { SLACK_LIMITS as LIMITS } from './slack-limits.ts';
import { viewObject } from './slack-objects.ts';
import { findUser } from './slack-world.ts';
import type { Trigger } from './trigger.ts';
import { checkView, type View, type ViewContent } from './view.ts';
import {
  type ApiAnswer,
  type ApiCall,
  type ApiFailure,
  type ApiMethod,
  failure,
  missingArgument,
} from './web-api-call.ts';

export const VIEW_METHODS: Record<string, ApiMethod> = {
  'views.open': { tier: 'tier4', scopes: [], run: open },
  'views.push': { tier: 'tier4', scopes: [], run: push },
  'views.update': { tier: 'tier4', scopes: [], run: update },
  'views.publish': { tier: 'tier4', scopes: [], run: publish },
};

function open(call: ApiCall): ApiAnswer {
  const checked = givenView(call, 'modal');
  if (!checked.ok) return checked;
  const trigger = redeemTrigger(call);
  if (!trigger.ok) return trigger;
  const { team, user } = trigger.trigger;
  return answer(call, call.state.views.open(team, user, checked.content));
}

function push(call: ApiCall): ApiAnswer {
  const checked = givenView(call, 'modal');
  if (!checked.ok) return checked;
  const trigger = redeemTrigger(call);
  if (!trigger.ok) return trigger;
  const { team, user, fromModal } = trigger.trigger;
  if (!fromModal || !call.state.views.top(team, user)) return failure('invalid_trigger_id');
  const pushed = call.state.views.push(team, user, checked.content);
  return pushed === 'push_limit_reached' ? failure(pushed) : answer(call, pushed);
}

function update(call: ApiCall): ApiAnswer {
  const id = call.args.text('view_id');
  const external = call.args.text('external_id');
  if (id !== undefined && external !== undefined) {
    return failure('invalid_arguments', ['Cannot provide both `view_id` and `external_id`']);
  }
  if (id === undefined && external === undefined) return missingArgument('view_id');
  const { views } = call.state;
  const view = views.find(
    call.workspace.team,
    id !== undefined ? { view: id } : { external: external ?? '' },
  );
  if (!view) return failure('not_found');
  const checked = givenView(call, view.content.type, view);
  if (!checked.ok) return checked;
  const hash = call.args.text('hash');
  if (hash !== undefined && hash !== view.hash) return failure('hash_conflict');
  views.update(view, checked.content);
  return answer(call, view);
}

function publish(call: ApiCall): ApiAnswer {
  const user = call.args.text('user_id');
  if (user === undefined) return missingArgument('user_id');
  if (!findUser(call.workspace, user)) return failure('user_not_found');
  const { views } = call.state;
  const { team } = call.workspace;
  const known = views.home(team, user);
  const checked = givenView(call, 'home', known);
  if (!checked.ok) return checked;
  const hash = call.args.text('hash');
  if (hash !== undefined && known && hash !== known.hash) return failure('hash_conflict');
  return answer(call, views.publishHome(team, user, checked.content));
}

/** Checked before the trigger is spent: a view that Slack refuses costs the app no trigger. */
function givenView(
  call: ApiCall,
  type: ViewContent['type'],
  replaced?: View,
): { ok: true; content: ViewContent } | ApiFailure {
  const given = call.args.json('view');
  if (!given) return missingArgument('view');
  if ('broken' in given) return failure('invalid_arguments', ['must be a json string [json-pointer:/view]']);
  if (JSON.stringify(given.value).length > LIMITS.viewBytes) return failure('view_too_large');
  const checked = checkView(given.value, call.state.newId);
  if (!checked.ok) return failure('invalid_arguments', checked.problems);
  if (checked.value.type !== type) {
    return failure('invalid_arguments', [`must be a valid ${type} view [json-pointer:/view/type]`]);
  }
  const external = checked.value.external_id;
  const owner = external === '' ? undefined : call.state.views.find(call.workspace.team, { external });
  if (owner && owner !== replaced) return failure('duplicate_external_id');
  return { ok: true, content: checked.value };
}

function redeemTrigger(call: ApiCall): { ok: true; trigger: Trigger } | ApiFailure {
  const id = call.args.text('trigger_id');
  if (id === undefined) return missingArgument('trigger_id');
  const redeemed = call.state.triggers.redeem(id, call.workspace.team);
  return redeemed.ok ? redeemed : failure(redeemed.refusal);
}

function answer(call: ApiCall, view: View): ApiAnswer {
  return { ok: true, view: viewObject(call.state.world, call.workspace, view) };
}
