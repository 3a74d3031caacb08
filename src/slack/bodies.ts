import { z } from 'zod';

/**
 * What Slack sends, as far as it is looked at. Who acts is `user.id` with `user.team_id`: in a channel shared with
 * another company `team` is the workspace of the app, and only `user.team_id` shows the stranger.
 */
const Begin = {
  api_app_id: z.string(),
  trigger_id: z.string().optional(),
  /** In the form of Slack's ids and no other: nothing that has still to be taken apart names a person. */
  user: z.looseObject({
    id: z.string().regex(/^[UW][A-Z0-9]{1,20}$/),
    team_id: z.string().regex(/^[TE][A-Z0-9]{1,20}$/),
  }),
  team: z.looseObject({ id: z.string(), enterprise_id: z.string().nullish() }),
  enterprise: z.looseObject({ id: z.string() }).nullish(),
};

const ButtonClick = z.looseObject({
  type: z.literal('button'),
  action_id: z.string(),
  value: z.string().optional(),
});

/** A click on a card. Exactly one action: Slack never sends more for a button. */
export const CardClick = z.looseObject({
  type: z.literal('block_actions'),
  ...Begin,
  trigger_id: z.string(),
  container: z.looseObject({ type: z.literal('message'), message_ts: z.string(), channel_id: z.string() }),
  channel: z.looseObject({ id: z.string() }),
  actions: z.tuple([ButtonClick]),
});
export type CardClick = z.infer<typeof CardClick>;

const InputState = z.looseObject({
  value: z.string().nullish(),
  selected_option: z.looseObject({ value: z.string() }).nullish(),
});

/** A click in somebody's own Home tab, which stands before them alone: there is no message to compare it with. */
export const HomeClick = z.looseObject({
  type: z.literal('block_actions'),
  ...Begin,
  trigger_id: z.string(),
  container: z.looseObject({ type: z.literal('view') }),
  view: z.looseObject({ type: z.literal('home'), private_metadata: z.string() }),
  actions: z.tuple([ButtonClick]),
});
export type HomeClick = z.infer<typeof HomeClick>;

/** A click on a button that decides, wherever it stands. */
export const DecidingClick = z.union([CardClick, HomeClick]);
export type DecidingClick = z.infer<typeof DecidingClick>;

/** Where it was clicked, for the desk. */
export function placeOfClick(body: DecidingClick): { channel: string; ts: string } | 'home' {
  const card = CardClick.safeParse(body);
  return card.success ? { channel: card.data.channel.id, ts: card.data.container.message_ts } : 'home';
}

const View = z.looseObject({
  id: z.string(),
  hash: z.string(),
  callback_id: z.string(),
  private_metadata: z.string(),
  state: z.looseObject({
    values: z.record(z.string(), z.record(z.string(), InputState)),
  }),
});

/** A page turned in a review. */
export const ViewClick = z.looseObject({
  type: z.literal('block_actions'),
  ...Begin,
  container: z.looseObject({ type: z.literal('view') }),
  view: View,
  actions: z.tuple([ButtonClick]),
});
export type ViewClick = z.infer<typeof ViewClick>;

export const ViewSubmission = z.looseObject({ type: z.literal('view_submission'), ...Begin, view: View });
export type ViewSubmission = z.infer<typeof ViewSubmission>;

export const CommandBody = z.looseObject({
  api_app_id: z.string(),
  command: z.string(),
  text: z.string().default(''),
  team_id: z.string(),
  enterprise_id: z.string().optional(),
  channel_id: z.string(),
  user_id: z.string(),
  trigger_id: z.string(),
});
export type CommandBody = z.infer<typeof CommandBody>;

/** Who acts and through which workspace, from a signed body. */
export function actorOf(body: CardClick | HomeClick | ViewClick | ViewSubmission): {
  user: { id: string; team: string };
  workspace: { team: string; enterprise: string | undefined };
} {
  return {
    user: { id: body.user.id, team: body.user.team_id },
    workspace: { team: body.team.id, enterprise: body.team.enterprise_id ?? body.enterprise?.id },
  };
}
