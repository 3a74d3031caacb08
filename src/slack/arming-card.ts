import type { types } from '@slack/bolt';
import { z } from 'zod';
import { slackIdsOf } from '../core/identity/ids.ts';
import type { ArmingRequest } from '../core/switch/arming.ts';
import { type SwitchScope, scopeKey, scopeOfKey } from '../core/switch/scope.ts';
import { onCommand, operatorText, scopeText, whyBlocks } from './switch-wording.ts';
import { code, type KnownBlock, localTime, ourSection, plain } from './wording.ts';

export const CONFIRM_ARMING = 'cs_arm_confirm';

/** A click on Confirm, in the message that asks for the second person. */
export const ArmingClick = z.looseObject({
  type: z.literal('block_actions'),
  user: z.looseObject({ id: z.string(), team_id: z.string() }),
  team: z.looseObject({ id: z.string(), enterprise_id: z.string().nullish() }),
  actions: z.tuple([z.looseObject({ type: z.literal('button'), value: z.string() })]),
});
export type ArmingClick = z.infer<typeof ArmingClick>;

/** Asks for the next person who wants writes on again. */
export function drawArming(
  request: ArmingRequest,
  { quorum, team }: { quorum: number; team: string },
): { text: string; blocks: KnownBlock[] } {
  const by = request.people.map((person) =>
    slackIdsOf(person).team === team ? `<@${slackIdsOf(person).user}>` : operatorText(person, team),
  );
  const text =
    `*Turn writes on again for ${scopeText(request.scope)}?* ${by.join(' and ')} asked for it: ${request.people.length} of ${quorum} people. ` +
    `Somebody else who may turn writes on has to confirm it before ${localTime(request.until)}: press Confirm, or type ${code(onCommand(request.scope))} with the same reason. If the switch is flipped in between, this is void.`;
  const confirm: types.Button = {
    type: 'button',
    action_id: CONFIRM_ARMING,
    text: plain('Confirm'),
    style: 'primary',
    value: `${request.id} ${scopeKey(request.scope)}`,
    accessibility_label: 'Confirm that writes are turned on again',
    confirm: {
      title: plain('Turn writes on?'),
      text: plain('Agents may write again at once, and your name is recorded with it.'),
      confirm: plain('Confirm'),
      deny: plain('Back'),
    },
  };
  const blocks: KnownBlock[] = [
    ourSection(text),
    ...whyBlocks(request.why),
    { type: 'actions', block_id: 'cs_arming', elements: [confirm] },
  ];
  return { text, blocks };
}

/** Undefined: no button of ours. */
export function readArmingValue(value: string): { id: string; scope: SwitchScope } | undefined {
  const [id = '', key = ''] = value.split(' ');
  try {
    return { id, scope: scopeOfKey(key) };
  } catch {
    return undefined;
  }
}
