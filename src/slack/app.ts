import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { App, type CodedError, ErrorCode, type Receiver } from '@slack/bolt';
import type { Logger } from 'pino';
import { z } from 'zod';
import { Attester } from '../core/approval/attester.ts';
import type { ApprovalKeys } from '../core/approval/decision.ts';
import { DecisionDesk, type DecisionDeskParts, type Sights } from '../core/approval/decision-desk.ts';
import { EditDesk } from '../core/approval/edit-desk.ts';
import type { RecentDecisions } from '../core/approval/recent-decisions.ts';
import type { AuditLog } from '../core/audit/audit-log.ts';
import type { Dispatch } from '../core/execution/dispatch.ts';
import type { GrantStore } from '../core/grant/grant-store.ts';
import { personOf, type TenantId } from '../core/identity/ids.ts';
import { tenantOf } from '../core/policy/policy.ts';
import type { PolicyHolder } from '../core/policy/policy-source.ts';
import { EndedProposals } from '../core/proposal/ended-proposals.ts';
import type { Folding } from '../core/proposal/folding.ts';
import { openPreview } from '../core/proposal/preview.ts';
import type { ProposalRecord } from '../core/proposal/proposal.ts';
import type { CardOutbox, ProposalStore } from '../core/proposal/proposal-store.ts';
import { type ProposalKeys, type SealedTerms, unseal } from '../core/proposal/seal.ts';
import type { ArmingRequests } from '../core/switch/arming.ts';
import type { HeardCommands } from '../core/switch/heard-commands.ts';
import type { SwitchNotices } from '../core/switch/switch-notice.ts';
import type { WriteSwitch } from '../core/switch/write-switch.ts';
import type { ToolDefinition } from '../core/tool/tool.ts';
import type { OnceMemory } from '../core/workspace/once.ts';
import { CardActions } from './actions.ts';
import { SlackApprovers } from './approvers.ts';
import { AttestationRounds } from './attestation-rounds.ts';
import { BatchActions } from './batch-actions.ts';
import { type CardView, drawCard } from './card.ts';
import { ChannelWatch } from './channel-watch.ts';
import { Channels, type SlackProblem } from './channels.ts';
import { ClickedCards } from './clicked-card.ts';
import { clientOptions, type Reach, type WorkspaceClients, type Workspaces } from './clients.ts';
import { WritesCommand } from './commands.ts';
import { DigestPublisher } from './digest-publisher.ts';
import { EditActions } from './edit-actions.ts';
import { EmailWatch } from './email-watch.ts';
import { GrantSurface } from './grant-surface.ts';
import { HomeInbox } from './home-inbox.ts';
import { HomeTab } from './home-tab.ts';
import { payloadIsFor } from './http-guard.ts';
import { InFlight } from './in-flight.ts';
import type { InstalledWorkspaces, WorkspaceProblem } from './installed-workspaces.ts';
import { type Installing, type SlackOAuth, startInstalling } from './installing.ts';
import { drawListed } from './listed-call.ts';
import { NOTICES } from './notices.ts';
import { type CardPace, SharedPace, SLACK_PACE } from './pace.ts';
import { CardPublisher } from './publisher.ts';
import { type Doors, receiverFor, type SlackTransport } from './receiver.ts';
import { drawReview } from './review.ts';
import { sdkLogger } from './sdk-logger.ts';
import type { Subcommand } from './subcommand.ts';
import { SwitchAnnouncer } from './switch-announcer.ts';
import { UnknownClicks } from './unknown-clicks.ts';

export interface SlackConfig {
  readonly transport: SlackTransport;
  /** One bot token a workspace. None where people install the app with `oauth`. */
  readonly botTokens: readonly string[];
  /**
   * `A…`: what every payload must say it is for. Slack is asked for it with each token; this is for servers that do not
   * tell. With neither, nothing is compared.
   */
  readonly appId?: string | undefined;
  /** Lets people install the app in the workspaces of the policy, over `/slack/install`. */
  readonly oauth?: SlackOAuth | undefined;
  /** Another server than Slack's, ending in `/api/`. */
  readonly apiUrl?: string | undefined;
}

/** How Slack can be reached, for whoever looks after the service. */
export interface SlackHealth {
  readonly connected: boolean;
  readonly problems: readonly SlackProblem[];
}

/** What the card needs of a tool's definition: which arguments are never shown and whether it can be undone; an edit needs all of it. */
export interface ShownTools {
  get(
    name: string,
  ):
    | ToolDefinition
    | { readonly redact?: readonly string[] | undefined; readonly irreversible?: boolean | undefined }
    | undefined;
}

export interface SlackSurfaceParts {
  readonly config: SlackConfig;
  readonly store: ProposalStore;
  readonly outbox: CardOutbox;
  readonly grants: GrantStore;
  readonly folding: Folding;
  readonly switch: WriteSwitch;
  readonly recentDecisions: RecentDecisions;
  readonly switchNotices: SwitchNotices;
  readonly arming: ArmingRequests;
  readonly heard: HeardCommands;
  /** Words of `/agent-writes` besides those of the switch. */
  readonly subcommands?: readonly Subcommand[];
  readonly audit: AuditLog;
  readonly dispatch: Dispatch;
  readonly policy: PolicyHolder;
  readonly registry: ShownTools;
  readonly keys: { readonly proposal: ProposalKeys; readonly approval: ApprovalKeys };
  /** Shared by all replicas: which of Slack's requests were taken, which states of installations were used. */
  readonly once: OnceMemory;
  /** Answered to `GET /health` and `GET /ready`, while the surface runs; undefined: there is no such address. */
  readonly health?: (slack: SlackHealth, path: string, response: ServerResponse) => Promise<void>;
  readonly logger: Logger;
  /** Wall clock, ms: for the age of signed requests and the life of tokens; deadlines come from the store's. */
  readonly clock: () => number;
  /** Monotonic clock, ms: for how long what Slack said is remembered, which no step of the wall clock may prolong. */
  readonly monotonic: () => number;
  /** How fast cards are written. Slack's own rates, where nothing else is said. */
  readonly pace?: CardPace | undefined;
}

export interface SlackSurface {
  /** The port that is listened on, if any. */
  readonly port: number | undefined;
  connected(): boolean;
  /** As of the last look at each tenant's channel and workspace. */
  problems(): readonly SlackProblem[];
  /** Takes no new clicks, finishes those in hand, and resolves with what it left, in words. */
  stop(): Promise<readonly string[]>;
}

/**
 * Looks at every token and channel, starts to listen, and draws whatever was not drawn.
 * @throws SlackTokenRejected naming each token that Slack does not know, and what to do.
 */
export async function startSlackSurface(parts: SlackSurfaceParts): Promise<SlackSurface> {
  const { botTokens, appId, oauth, apiUrl } = parts.config;
  const reach = { apiUrl, logger: parts.logger };
  const installing = await startInstalling({ ...parts, botTokens, appId, oauth, reach });
  try {
    return await openSurface(parts, reach, installing);
  } catch (error) {
    await installing.stop();
    throw error;
  }
}

async function openSurface(
  parts: SlackSurfaceParts,
  reach: Reach,
  installing: Installing,
): Promise<SlackSurface> {
  const { logger, clock, monotonic, policy } = parts;
  const { transport } = parts.config;
  const { workspaces, installed, appId } = installing;
  const channels = new Channels(monotonic);
  const watch = new ChannelWatch({ policy, workspaces, channels, audit: parts.audit, logger });
  const inFlight = new InFlight();
  const emails = new EmailWatch({ policy, logger });
  const directory = new SlackApprovers(workspaces, monotonic, (team, hidden) => emails.note(team, hidden));
  const workspaceOf = (team: string) => workspaces.get(team);
  const placeOf = (tenant: TenantId) => tenantOf(policy.current, tenant)?.slack;
  const viewOf = (sealed: SealedTerms, record: ProposalRecord, team: string): CardView => ({
    terms: sealed.terms,
    termsDigest: sealed.termsDigest,
    state: record.state,
    course: record.course,
    team,
    redact: redactOf(parts.registry, sealed.terms.tool),
    preview: record.preview && openPreview(parts.keys.proposal, sealed, record.preview),
  });

  const open = (record: ProposalRecord) => {
    const unsealed = unseal(parts.keys.proposal, record.termsText, record.seal);
    if (!unsealed.ok || unsealed.sealed.terms.id !== record.id) return undefined;
    const place = placeOf(unsealed.sealed.terms.context.tenant);
    return place && { view: viewOf(unsealed.sealed, record, place.team) };
  };
  // A tool that is not known here may do what cannot be undone.
  const isIrreversible = (tool: string) =>
    parts.registry.get(tool)?.irreversible ?? parts.registry.get(tool) === undefined;

  const ended = new EndedProposals();
  const publisher = new CardPublisher({
    ...parts,
    ended,
    isIrreversible,
    foldAbove: (tenant) => tenantOf(policy.current, tenant)?.limits.fold_above ?? FOLD_ABOVE,
    proposalKeys: parts.keys.proposal,
    approvalKeys: parts.keys.approval.genuine,
    placeOf,
    workspaceOf,
    redactOf: (tool) => redactOf(parts.registry, tool),
    channels,
    onProblem: (problem) => watch.report(problem),
  });
  const attester = new Attester({ ...parts, ended, directory, placeOf });
  const deskWith = (asking: Partial<DecisionDeskParts>) =>
    new DecisionDesk({
      ...parts,
      ended,
      directory,
      placeOf,
      attest: (sealed, approvers, at) => attester.attest(sealed, approvers, at),
      mayDecideIn: (place) => mayDecideIn(place, workspaces, channels),
      sightsOf: (sealed, record, team) =>
        sightsOf(viewOf(sealed, record, team), !isIrreversible(sealed.terms.tool)),
      onWakeFailed: (id, error) => {
        logger.warn(
          { err: error, proposal: id },
          'a settled proposal was not attested and woken; the sweeps will do it',
        );
      },
      ...asking,
    });
  const desk = deskWith({});
  const sealedOf = (record: ProposalRecord): SealedTerms | undefined => {
    const unsealed = unseal(parts.keys.proposal, record.termsText, record.seal);
    return unsealed.ok && unsealed.sealed.terms.id === record.id ? unsealed.sealed : undefined;
  };
  const home = new HomeTab({
    inbox: new HomeInbox({
      policy,
      switch: parts.switch,
      store: parts.store,
      recent: parts.recentDecisions,
      directory,
      mayDecideIn: (place) => mayDecideIn(place, workspaces, channels),
      deskWith,
      sealedOf,
      viewOf,
      approvalKeys: parts.keys.approval.genuine,
      workspaceOf,
      monotonic,
    }),
    switch: parts.switch,
    outbox: parts.outbox,
    workspaceOf,
    inFlight,
    logger,
    monotonic,
  });
  const clickedCards = new ClickedCards({
    seen: (id, card) => publisher.seen(id, card),
    placeOf,
    inFlight,
    logger,
  });
  const actions = new CardActions({
    desk,
    clickedCards,
    store: parts.store,
    workspaceOf,
    viewOf,
    open,
    channelOf: (record) => {
      const view = open(record)?.view;
      return view && placeOf(view.terms.context.tenant)?.channel;
    },
    tellAtHome: (viewer, text) => home.tell(viewer, text),
    inFlight,
    logger,
  });
  const digests = new DigestPublisher({
    ...parts,
    placeOf,
    workspaceOf,
    open,
    pace: new SharedPace(parts.outbox, parts.pace ?? SLACK_PACE),
  });
  const batches = new BatchActions({
    ...parts,
    desk,
    approvalKeys: parts.keys.approval,
    placeOf,
    workspaceOf,
    open,
    isIrreversible,
    inFlight,
  });
  const post: typeof publisher.announce = (...message) => publisher.announce(...message);
  const announcer = new SwitchAnnouncer({
    notices: parts.switchNotices,
    switch: parts.switch,
    policy,
    workspaceOf,
    post,
    inFlight,
    logger,
  });
  const edits = new EditActions({
    desk: new EditDesk({
      desk,
      store: parts.store,
      audit: parts.audit,
      dispatch: parts.dispatch,
      writeSwitch: parts.switch,
      policy,
      toolOf: (name) => definitionOf(parts.registry, name),
      proposalKeys: parts.keys.proposal,
      random: randomBytes,
      onDispatchFailed: (id, error) => {
        logger.warn(
          { err: error, proposal: id },
          'an edited proposal has no job yet; the sweeper will see to it',
        );
      },
    }),
    store: parts.store,
    clickedCards,
    workspaceOf,
    inFlight,
    logger,
  });
  const grants = new GrantSurface({
    clickedCards,
    ...parts,
    desk,
    directory,
    placeOf,
    workspaceOf,
    toolOf: (name) => definitionOf(parts.registry, name),
    inFlight,
  });
  const command = new WritesCommand({
    ...parts,
    directory,
    knowsTool: (name) => parts.registry.get(name) !== undefined,
    workspaceOf,
    sealedOf,
    post,
    onFlip: () => announcer.wake(),
    subcommands: [grants.subcommand, ...(parts.subcommands ?? [])],
    inFlight,
  });

  let connected = () => false;
  const look = (): SlackHealth => ({
    connected: connected(),
    problems: withWorkspaces([...watch.problems(), ...emails.problems()], installed.problems(), policy),
  });
  const doors = new Map([...installing.doors, ...healthDoors(parts.health, look)]);
  const { receiver, listen } = receiverFor({ transport, appId, seen: parts.once, doors, reach, clock });
  const app = boltApp(receiver, { workspaces, installed, appId, reach });
  actions.register(app);
  edits.register(app);
  batches.register(app);
  command.register(app);
  home.register(app);
  grants.register(app);
  new UnknownClicks({ home, workspaceOf, inFlight, logger }).register(app);
  hearRemovals(app, installed, inFlight);
  await watch.start();
  const listening = await listen().catch((error: unknown) => {
    watch.stop();
    throw error;
  });
  connected = listening.connected;
  const rounds = new AttestationRounds(attester, logger);
  const stop = async () => {
    watch.stop();
    await inFlight.drain(DRAIN_MS);
    await listening.stop();
    const left = await inFlight.drain(DRAIN_MS);
    await rounds.stop();
    await home.stop();
    await announcer.stop();
    await grants.stop();
    await publisher.stop();
    await digests.stop();
    await installing.stop();
    return left === 0
      ? []
      : [`still at work on ${left} clicks or commands; whoever was not answered has to look at the card`];
  };
  try {
    await publisher.start();
    await digests.start();
    await home.start();
    await grants.start();
    announcer.start();
    rounds.start();
    // Whether emails can be seen is told with any answer about any account; the bot's own is always there.
    await Promise.all([...workspaces].map(({ team, botUser }) => directory.emailOf(personOf(team, botUser))));
  } catch (error) {
    // Slack must not go on bringing clicks to a service that did not start.
    await stop();
    throw error;
  }
  let stopped: Promise<readonly string[]> | undefined;
  return {
    port: listening.port,
    connected: () => connected(),
    problems: () => look().problems,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

const DRAIN_MS = 5_000;
/** For a tenant that a reload has just taken away. */
const FOLD_ABOVE = 5;

/** A workspace's trouble is said of each tenant that decides there, and outdoes what its channel looks like. */
function withWorkspaces(
  ofChannels: readonly SlackProblem[],
  ofWorkspaces: readonly WorkspaceProblem[],
  policy: PolicyHolder,
): readonly SlackProblem[] {
  const found = [...policy.current.policy.tenants].flatMap(([tenant, { slack }]): SlackProblem[] => {
    const problem = ofWorkspaces.find(({ team }) => team === slack.team);
    return problem === undefined ? [] : [{ tenant, code: problem.code, message: problem.message }];
  });
  const told = new Set(found.map(({ tenant }) => tenant));
  const rest = ofChannels.filter(
    ({ tenant, code }) => !(told.has(tenant) && code === 'workspace_not_installed'),
  );
  return [...found, ...rest];
}

export const HEALTH_PATHS = ['/health', '/ready'] as const;

function healthDoors(health: SlackSurfaceParts['health'], look: () => SlackHealth): Doors {
  if (health === undefined) return new Map();
  return new Map(HEALTH_PATHS.map((path) => [path, (_request, response) => health(look(), path, response)]));
}

/** Slack says so when an administrator removes the app, or somebody revokes its tokens. */
function hearRemovals(app: App, installed: InstalledWorkspaces, inFlight: InFlight): void {
  const removed = async (body: unknown) => {
    const parsed = Removal.safeParse(body);
    if (!parsed.success) return;
    for (const team of new Set([parsed.data.team_id, parsed.data.enterprise_id])) {
      if (team) await installed.removed(team);
    }
  };
  app.event('app_uninstalled', ({ body }) => inFlight.track(removed(body)));
  app.event('tokens_revoked', ({ body }) => inFlight.track(removed(body)));
}

const Removal = z.looseObject({ team_id: z.string().nullish(), enterprise_id: z.string().nullish() });

function redactOf(registry: ShownTools, tool: string): readonly string[] | undefined {
  const known = registry.get(tool);
  return known === undefined ? undefined : (known.redact ?? []);
}

function definitionOf(registry: ShownTools, name: string): ToolDefinition | undefined {
  const known = registry.get(name);
  return known !== undefined && 'inputSchema' in known ? known : undefined;
}

function sightsOf(view: CardView, reversible: boolean): Sights {
  const card = drawCard(view);
  const { shown, whole } = drawListed(view);
  const sights = {
    card: card.shown,
    cardIsWhole: !card.needsReview,
    review: drawReview(view)?.shown,
    listed: { shown, whole, reversible },
  };
  if (view.preview === undefined) return sights;
  return { ...sights, beforePreview: sightsOf({ ...view, preview: undefined }, reversible) };
}

async function mayDecideIn(
  place: { team: string; channel: string },
  workspaces: Workspaces,
  channels: Channels,
): Promise<'yes' | 'shared_channel' | 'cannot_check'> {
  const workspace = workspaces.get(place.team);
  if (workspace === undefined) return 'cannot_check';
  const look = await channels.look(workspace, place.channel);
  if (look.ok) return 'yes';
  return look.code === 'channel_shared' ? 'shared_channel' : 'cannot_check';
}

interface BoltParts {
  readonly workspaces: Workspaces;
  readonly installed: InstalledWorkspaces;
  readonly appId: () => string | undefined;
  readonly reach: Reach;
}

function boltApp(receiver: Receiver, { workspaces, installed, appId, reach }: BoltParts): App {
  const app = new App({
    receiver,
    convoStore: false,
    extendedErrorHandler: true,
    logger: sdkLogger(reach.logger),
    clientOptions: clientOptions(reach, BOLT_TIMEOUT_MS),
    authorize: async (source) => {
      let workspace = workspaceFor(workspaces, source);
      if (workspace === undefined) {
        // Installed on another replica just now, perhaps.
        await installed.reload();
        workspace = workspaceFor(workspaces, source);
      }
      const { teamId, enterpriseId } = source;
      if (workspace === undefined) throw new WorkspaceUnknown(`no bot token for ${teamId ?? enterpriseId}`);
      return {
        botToken: workspace.botToken,
        botUserId: workspace.botUser,
        teamId: workspace.team,
        ...(workspace.botId === undefined ? {} : { botId: workspace.botId }),
        ...(workspace.enterprise === undefined ? {} : { enterpriseId: workspace.enterprise }),
      };
    },
  });
  app.error(async ({ error, body }: { error: CodedError; body: unknown }) => {
    reach.logger.error(
      { error: error.name, code: error.code, message: error.message },
      'Slack sent what was not handled',
    );
    if (error.code === ErrorCode.AuthorizationError) await tellUnknownWorkspace(body, reach);
  });
  app.use(async ({ body, next }) => {
    nameOrganisation(body);
    if (payloadIsFor(body, appId())) await next();
    else reach.logger.error('a payload for another app was dropped');
  });
  return app;
}

const BOLT_TIMEOUT_MS = 5_000;

/**
 * Where the app is installed in a whole organisation, Slack names the organisation, alone or beside the workspace in
 * which somebody clicked; then the installation of the organisation is meant.
 */
function workspaceFor(
  workspaces: Workspaces,
  source: {
    teamId?: string | undefined;
    enterpriseId?: string | undefined;
    isEnterpriseInstall: boolean;
  },
): WorkspaceClients | undefined {
  const { teamId, enterpriseId, isEnterpriseInstall } = source;
  return isEnterpriseInstall || teamId === undefined
    ? (workspaces.get(enterpriseId) ?? workspaces.get(teamId))
    : (workspaces.get(teamId) ?? workspaces.get(enterpriseId));
}

/** From an installation in a whole organisation Slack sends no team; the organisation is where it came through. */
function nameOrganisation(body: object): void {
  const parsed = OfOrganisation.safeParse(body);
  if (!parsed.success) return;
  const { id } = parsed.data.enterprise;
  Object.assign(body, { team: { id, enterprise_id: id } });
}

const OfOrganisation = z.looseObject({
  team: z.null(),
  enterprise: z.looseObject({ id: z.string() }),
  is_enterprise_install: z.literal(true),
});

class WorkspaceUnknown extends Error {
  override readonly name = 'WorkspaceUnknown';
  readonly code = 'workspace_unknown';
}

/** There is no token to answer with, but Slack has given an address for this one answer. */
async function tellUnknownWorkspace(
  body: unknown,
  reach: { apiUrl: string | undefined; logger: Logger },
): Promise<void> {
  const parsed = ResponseUrl.safeParse(body);
  if (!parsed.success) return;
  const allowed = [
    ...RESPONSE_ORIGINS,
    ...(reach.apiUrl === undefined ? [] : [new URL(reach.apiUrl).origin]),
  ];
  if (!allowed.includes(new URL(parsed.data.response_url).origin)) return;
  await fetch(parsed.data.response_url, {
    method: 'POST',
    redirect: 'error',
    signal: AbortSignal.timeout(BOLT_TIMEOUT_MS),
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      response_type: 'ephemeral',
      replace_original: false,
      text: NOTICES.workspaceUnknown,
    }),
  }).catch((err: unknown) =>
    reach.logger.warn({ err }, 'a person of an unknown workspace could not be told'),
  );
}

const ResponseUrl = z.looseObject({ response_url: z.url() });
const RESPONSE_ORIGINS = ['https://hooks.slack.com', 'https://hooks.slack-gov.com'];
