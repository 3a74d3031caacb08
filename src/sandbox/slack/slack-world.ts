/**
 * What exists before anybody does anything: the workspaces, the people in them, and the app that is installed there.
 * `startLocalSlack` takes a copy, and the copy is live: a test that deactivates somebody, or shares a channel, changes
 * `slack.world` and the next call sees it.
 */
export interface SlackWorld {
  app: SlackApp;
  workspaces: Workspace[];
}

export interface SlackApp {
  id: string;
  name: string;
  /** `xapp-…`; it opens Socket Mode connections where its scopes hold `connections:write`. */
  appToken: string;
  appTokenScopes: string[];
  signingSecret: string;
  commands: SlashCommand[];
  /** Absent where nobody can install it from a page. */
  oauth?: OAuthSettings;
  /** Event types that the app subscribes to; `app_home_opened` is the only one sent. */
  events: string[];
}

export interface OAuthSettings {
  clientId: string;
  clientSecret: string;
  redirectUrls: string[];
  /** Tokens expire after twelve hours and come with one to renew them. */
  tokenRotation?: boolean;
}

export interface SlashCommand {
  /** With its slash. */
  command: string;
  description: string;
  usageHint: string;
}

export interface Workspace {
  team: string;
  name: string;
  domain: string;
  enterprise?: { id: string; name: string };
  users: SlackUser[];
  groups: UserGroup[];
  channels: Channel[];
  /** Absent where the app is not installed. */
  installation?: Installation;
}

export interface Installation {
  botToken: string;
  scopes: string[];
  /** The user id that the bot posts as; it stands in `users`. */
  botUser: string;
  botId: string;
  /** Installed in the whole organisation of the workspace at once, with one token. */
  orgWide?: boolean;
  /** With token rotation alone, ms. */
  expiresAt?: number;
  refreshToken?: string;
  /** Good until their own end. */
  olderTokens?: { token: string; until: number }[];
}

export interface SlackUser {
  id: string;
  /** The team the account belongs to. Another one than the workspace's makes the user a stranger here. */
  home: string;
  name: string;
  realName: string;
  title?: string;
  email?: string;
  deleted?: boolean;
  isBot?: boolean;
  isRestricted?: boolean;
  isUltraRestricted?: boolean;
  isWorkflowBot?: boolean;
  isConnectorBot?: boolean;
  isAdmin?: boolean;
}

export interface UserGroup {
  id: string;
  handle: string;
  name: string;
  users: string[];
  disabled?: boolean;
}

export interface Channel {
  id: string;
  name: string;
  topic?: string;
  members: string[];
  isPrivate?: boolean;
  isArchived?: boolean;
  isExtShared?: boolean;
  isPendingExtShared?: boolean;
}

export function findWorkspace(world: SlackWorld, team: string): Workspace | undefined {
  return world.workspaces.find((workspace) => workspace.team === team);
}

export function findUser(workspace: Workspace, user: string): SlackUser | undefined {
  return workspace.users.find((candidate) => candidate.id === user);
}

export function findChannel(workspace: Workspace, channel: string): Channel | undefined {
  return workspace.channels.find((candidate) => candidate.id === channel);
}

export function isStranger(workspace: Workspace, user: SlackUser): boolean {
  // On Enterprise Grid an account can be named as the organisation's.
  return user.home !== workspace.team && user.home !== workspace.enterprise?.id;
}
