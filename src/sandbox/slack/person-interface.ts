import { z } from 'zod';

/**
 * The person's interface: all that a human in a Slack client sees and does, as HTTP JSON on the local Slack.
 *
 * GET routes take their input as query parameters, POST routes as a JSON body (`content-type: application/json`). Every
 * route but `workspaces` names the acting person by `team` (the workspace that is open in the client) and `user`. Each
 * answer is `{ ok: true, … }`, or `{ ok: false, error, text }` where `text` is what Slack would put before the person.
 *
 * | route                        | input                                   | answer                     |
 * |------------------------------|-----------------------------------------|----------------------------|
 * | GET  /sandbox/workspaces     | –                                       | { workspaces, cursor }     |
 * | GET  /sandbox/users          | team                                    | { users }                  |
 * | GET  /sandbox/commands       | team                                    | { commands }               |
 * | GET  /sandbox/channels       | team, user                              | { channels, cursor }       |
 * | GET  /sandbox/messages       | team, user, channel, since?             | { messages, deleted, cursor } |
 * | GET  /sandbox/view           | team, user                              | { view }                   |
 * | GET  /sandbox/home           | team, user                              | { home }                   |
 * | POST /sandbox/click          | Click                                   | ActionAnswer               |
 * | POST /sandbox/submit         | Submit                                  | SubmitAnswer               |
 * | POST /sandbox/close-view     | CloseView                               | ActionAnswer               |
 * | POST /sandbox/command        | Command                                 | ActionAnswer               |
 * | POST /sandbox/post           | Post                                    | PostAnswer                 |
 * | POST /sandbox/open-home      | team, user                              | ActionAnswer               |
 * | GET  /sandbox/events         | team, user, since?                      | SSE stream of PersonEvent  |
 * | GET  /sandbox/file           | team, user, file                        | the file's bytes           |
 * | GET  /sandbox/faults         | –                                       | { active }                 |
 * | POST /sandbox/faults         | FaultWish                               | ActionAnswer               |
 *
 * The server never asks "are you sure": a button's `confirm` stands in the block, and whoever plays the client shows it
 * before it calls `click`.
 */
export const PERSON_ROUTES = {
  workspaces: '/sandbox/workspaces',
  users: '/sandbox/users',
  commands: '/sandbox/commands',
  channels: '/sandbox/channels',
  messages: '/sandbox/messages',
  view: '/sandbox/view',
  home: '/sandbox/home',
  click: '/sandbox/click',
  submit: '/sandbox/submit',
  closeView: '/sandbox/close-view',
  command: '/sandbox/command',
  post: '/sandbox/post',
  openHome: '/sandbox/open-home',
  events: '/sandbox/events',
  file: '/sandbox/file',
  faults: '/sandbox/faults',
} as const;

/** A block, an element or a composition object exactly as the app sent it; `block-kit.ts` has the strict schemas it passed. */
export const BlockJson = z.looseObject({ type: z.string(), block_id: z.string().optional() });
export type BlockJson = z.infer<typeof BlockJson>;

/**
 * One input's state, as Slack writes it in `state.values[blockId][actionId]`:
 * `{ type: 'plain_text_input', value }`, `{ type: 'static_select', selected_option }`, `{ type: 'checkboxes', selected_options }` …
 */
export const InputState = z.looseObject({ type: z.string() });
export type InputState = z.infer<typeof InputState>;
export const StateValues = z.record(z.string(), z.record(z.string(), InputState));
export type StateValues = z.infer<typeof StateValues>;

/* ---- what a person sees ---- */

export const SeenWorkspace = z.strictObject({
  team: z.string(),
  name: z.string(),
  domain: z.string(),
  app: z.strictObject({ id: z.string(), name: z.string(), botUser: z.string() }).optional(),
});
export type SeenWorkspace = z.infer<typeof SeenWorkspace>;

/** `kind` is one word for a label; `home` is the person's own team, another one than the workspace's for a stranger. */
export const SeenUser = z.strictObject({
  id: z.string(),
  home: z.string(),
  name: z.string(),
  realName: z.string(),
  title: z.string(),
  kind: z.enum(['member', 'guest', 'bot', 'workflow_bot', 'deactivated', 'stranger']),
  groups: z.array(z.strictObject({ id: z.string(), handle: z.string(), name: z.string() })),
  /** False where nobody can sit in front of a client as this user: a bot, or a deactivated account. */
  canAct: z.boolean(),
});
export type SeenUser = z.infer<typeof SeenUser>;

export const SeenCommand = z.strictObject({
  command: z.string(),
  description: z.string(),
  usageHint: z.string(),
});
export type SeenCommand = z.infer<typeof SeenCommand>;

export const SeenChannel = z.strictObject({
  id: z.string(),
  name: z.string(),
  topic: z.string(),
  isPrivate: z.boolean(),
  isArchived: z.boolean(),
  isExtShared: z.boolean(),
  members: z.array(z.string()),
  /** `ts` of the newest message that this person sees, '' where there is none: enough to mark a channel unread. */
  latest: z.string(),
});
export type SeenChannel = z.infer<typeof SeenChannel>;

/** `size` in bytes. The content is at `GET /sandbox/file`. */
export const SeenFile = z.strictObject({
  id: z.string(),
  name: z.string(),
  title: z.string(),
  size: z.number(),
});
export type SeenFile = z.infer<typeof SeenFile>;

/** A message as one person sees it. `ts` is its id inside the channel; for an ephemeral message as well. */
export const SeenMessage = z.strictObject({
  channel: z.string(),
  ts: z.string(),
  threadTs: z.string().optional(),
  /** Replies in the thread under this message, 0 where it is no parent. */
  replyCount: z.number(),
  author: z.strictObject({ kind: z.enum(['person', 'app']), id: z.string(), name: z.string() }),
  text: z.string(),
  blocks: z.array(BlockJson),
  files: z.array(SeenFile),
  /** "Only visible to you". Other people never receive such a message at all. */
  ephemeral: z.boolean(),
  /** The `ts` of the last edit, absent where the message was never edited. */
  editedTs: z.string().optional(),
  metadata: z.unknown().optional(),
  /** Cursor of the last change to this message (see `since`). */
  cursor: z.number(),
});
export type SeenMessage = z.infer<typeof SeenMessage>;

/** The modal on top of a person's stack. `errors` come from the last `response_action: errors`, by block id. */
export const SeenView = z.strictObject({
  id: z.string(),
  type: z.enum(['modal', 'home']),
  title: z.string(),
  submit: z.string().optional(),
  close: z.string().optional(),
  callbackId: z.string(),
  blocks: z.array(BlockJson),
  state: StateValues,
  errors: z.record(z.string(), z.string()),
  hash: z.string(),
  /** 1 for a modal alone; the others below it come back when it is closed. */
  depth: z.number(),
});
export type SeenView = z.infer<typeof SeenView>;

/* ---- what a person does ---- */

const Person = { team: z.string(), user: z.string() };
export const ActingPerson = z.object(Person);

export const MessagesQuery = z.object({
  ...Person,
  channel: z.string(),
  /** Only what changed after this cursor; without it, everything visible, oldest first, thread replies included. */
  since: z.coerce.number().optional(),
});
export type MessagesQuery = z.infer<typeof MessagesQuery>;

/**
 * A click on (or a choice in) an interactive element of a message, or of the modal or Home tab that the person has before
 * him. `choice` carries what was chosen where the element is not a button, in the shape of InputState
 * (`{ type: 'static_select', selected_option: {…} }`).
 */
export const Click = z.strictObject({
  ...Person,
  on: z.union([
    z.strictObject({ channel: z.string(), message: z.string() }),
    z.strictObject({ view: z.string() }),
  ]),
  actionId: z.string(),
  /** Needed only where the same action id stands in several blocks. */
  blockId: z.string().optional(),
  choice: InputState.optional(),
  /** State of the other inputs of the message or view at that moment. */
  state: StateValues.optional(),
});
export type Click = z.infer<typeof Click>;

/** `state` as in SeenView.state; inputs that it leaves out keep their `initial_…` value. */
export const Submit = z.strictObject({ ...Person, view: z.string(), state: StateValues });
export type Submit = z.infer<typeof Submit>;

/** The X or the close button; `all` is what shift-clicking the X does: the whole stack goes. */
export const CloseView = z.strictObject({ ...Person, view: z.string(), all: z.boolean().optional() });
export type CloseView = z.infer<typeof CloseView>;

/** What was typed in the composer: `/agent-writes off too many closes`. */
export const Command = z.strictObject({ ...Person, channel: z.string(), line: z.string() });
export type Command = z.infer<typeof Command>;

export const Post = z.strictObject({
  ...Person,
  channel: z.string(),
  text: z.string(),
  threadTs: z.string().optional(),
});
export type Post = z.infer<typeof Post>;

/* ---- what goes wrong, on demand ---- */

/** No fault outlives a coffee. */
const FaultMs = z.number().int().min(1).max(120_000);

/**
 * `deliver_twice`: the next click, submission or command reaches the app twice. `lose_reply`: the next call of the method is
 * carried out and its answer lost. `rate_limit`: 429 on every method. `down`: 503 on every method, no connection, no
 * delivery. `clear` ends these four. The others are what people do, and are undone one by one.
 */
export const FaultWish = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('deliver_twice') }),
  z.strictObject({ kind: z.literal('lose_reply'), method: z.string().min(1).max(80) }),
  z.strictObject({ kind: z.literal('rate_limit'), ms: FaultMs }),
  z.strictObject({ kind: z.literal('down'), ms: FaultMs }),
  z.strictObject({ kind: z.literal('clear') }),
  z.strictObject({
    kind: z.literal('delete_message'),
    team: z.string(),
    channel: z.string(),
    message: z.string(),
  }),
  z.strictObject({
    kind: z.literal('channel'),
    team: z.string(),
    channel: z.string(),
    archived: z.boolean().optional(),
    shared: z.boolean().optional(),
    botIn: z.boolean().optional(),
  }),
]);
export type FaultWish = z.infer<typeof FaultWish>;

/** What somebody will still run into: `left` times, or for `remainingMs`. */
export const SeenFault = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('deliver_twice'), left: z.number() }),
  z.strictObject({ kind: z.literal('deliver_late'), left: z.number() }),
  z.strictObject({ kind: z.literal('unavailable'), left: z.number() }),
  z.strictObject({ kind: z.literal('lose_reply'), method: z.string() }),
  z.strictObject({ kind: z.literal('rate_limit'), remainingMs: z.number() }),
  z.strictObject({ kind: z.literal('down'), remainingMs: z.number() }),
]);
export type SeenFault = z.infer<typeof SeenFault>;

/* ---- what comes of it ---- */

/**
 * Why an action failed. The first group is what Slack tells a person whose app did not answer; the second is what a
 * client would never let him do.
 */
export const ActionError = z.enum([
  'operation_timeout',
  'dispatch_failed',
  'app_error',
  'not_a_member',
  'channel_not_found',
  'channel_archived',
  'message_not_found',
  'action_not_found',
  'view_not_found',
  'user_cannot_act',
  'command_not_found',
  'invalid_input',
]);
export type ActionError = z.infer<typeof ActionError>;

export const ActionFailed = z.strictObject({ ok: z.literal(false), error: ActionError, text: z.string() });
export type ActionFailed = z.infer<typeof ActionFailed>;

/** `ok: true` means that the app acknowledged in time, and no more: what it did comes as messages and views. */
export const ActionAnswer = z.discriminatedUnion('ok', [
  z.strictObject({ ok: z.literal(true) }),
  ActionFailed,
]);
export type ActionAnswer = z.infer<typeof ActionAnswer>;

/** `view` is what the person has before him after the submission (null: the modal is gone); `errors` by block id. */
export const SubmitAnswer = z.discriminatedUnion('ok', [
  z.strictObject({
    ok: z.literal(true),
    view: SeenView.nullable(),
    /** Not empty: the app or the client refused the input; the modal stays, and each text stands under its block. */
    errors: z.record(z.string(), z.string()),
  }),
  ActionFailed,
]);
export type SubmitAnswer = z.infer<typeof SubmitAnswer>;

export const PostAnswer = z.discriminatedUnion('ok', [
  z.strictObject({ ok: z.literal(true), ts: z.string() }),
  ActionFailed,
]);
export type PostAnswer = z.infer<typeof PostAnswer>;

const seen = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.discriminatedUnion('ok', [z.strictObject({ ok: z.literal(true), ...shape }), ActionFailed]);

export const WorkspacesAnswer = seen({ workspaces: z.array(SeenWorkspace), cursor: z.number() });
export const UsersAnswer = seen({ users: z.array(SeenUser) });
export const CommandsAnswer = seen({ commands: z.array(SeenCommand) });
export const ChannelsAnswer = seen({ channels: z.array(SeenChannel), cursor: z.number() });
export const MessagesAnswer = seen({
  messages: z.array(SeenMessage),
  /** `ts` of messages that are gone since the cursor. */
  deleted: z.array(z.string()),
  cursor: z.number(),
});
export const ViewAnswer = seen({ view: SeenView.nullable() });
export const FaultsAnswer = seen({ active: z.array(SeenFault) });
export const HomeAnswer = seen({ home: SeenView.nullable() });

/**
 * The live stream: `data:` lines of one PersonEvent, `id:` its cursor (a reconnecting EventSource sends it back as
 * Last-Event-ID, and `since` works as well). A person's stream carries only what that person sees. A first `hello` says
 * where the stream starts. After a gap that the server no longer holds, `reset` says: read everything again.
 */
export const PersonEvent = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('hello'), cursor: z.number() }),
  z.strictObject({ kind: z.literal('reset'), cursor: z.number() }),
  /** A message is new, edited, or has a new reply under it. */
  z.strictObject({ kind: z.literal('message'), cursor: z.number(), message: SeenMessage }),
  z.strictObject({
    kind: z.literal('message_deleted'),
    cursor: z.number(),
    channel: z.string(),
    ts: z.string(),
  }),
  /** The modal before the person changed: opened, updated, errors, or closed (null). */
  z.strictObject({ kind: z.literal('view'), cursor: z.number(), view: SeenView.nullable() }),
  z.strictObject({ kind: z.literal('home'), cursor: z.number(), home: SeenView.nullable() }),
  /** A channel was archived, shared, joined or left, or is so no more. */
  z.strictObject({ kind: z.literal('channel'), cursor: z.number(), channel: SeenChannel }),
  z.strictObject({ kind: z.literal('faults'), cursor: z.number() }),
]);
export type PersonEvent = z.infer<typeof PersonEvent>;
