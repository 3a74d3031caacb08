import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AppsManifestValidateArguments } from '@slack/web-api';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { BOT_SCOPES } from '../../src/slack/install-scopes.ts';
import { SLACK_LIMITS } from '../../src/slack/limits.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const parsed: unknown = parse(readFileSync(join(ROOT, 'manifest.yml'), 'utf8'));

/** What manifest.yml must hold, letter by letter; the type knows every scope and every setting that Slack has. */
const MANIFEST = {
  _metadata: { major_version: 2 },
  display_information: {
    name: 'Countersign',
    description: 'People approve or deny what AI agents want to write, and one command stops all writes.',
    background_color: '#1d3557',
  },
  features: {
    app_home: { home_tab_enabled: true, messages_tab_enabled: false, messages_tab_read_only_enabled: true },
    bot_user: { display_name: 'countersign', always_online: true },
    slash_commands: [
      {
        command: '/agent-writes',
        description: 'Turn the writes of AI agents off or on',
        usage_hint: 'off | on | status | pending | grants | help',
        should_escape: false,
      },
    ],
  },
  oauth_config: {
    scopes: {
      bot: [
        'chat:write',
        'commands',
        'users:read',
        'users:read.email',
        'usergroups:read',
        'channels:read',
        'groups:read',
      ],
    },
  },
  settings: {
    event_subscriptions: { bot_events: ['app_home_opened', 'app_uninstalled', 'tokens_revoked'] },
    interactivity: { is_enabled: true },
    socket_mode_enabled: true,
    org_deploy_enabled: false,
    token_rotation_enabled: false,
  },
} as const satisfies Readonly<AppsManifestValidateArguments['manifest']>;

/** The scope that each method of the Web API needs. https://docs.slack.dev/reference/methods */
const SCOPE_OF: Readonly<Record<string, readonly string[]>> = {
  'auth.revoke': [],
  'auth.test': [],
  'bots.info': ['users:read'],
  'chat.postMessage': ['chat:write'],
  'chat.postEphemeral': ['chat:write'],
  'chat.update': ['chat:write'],
  'chat.getPermalink': [],
  'conversations.info': ['channels:read', 'groups:read'],
  'users.info': ['users:read', 'users:read.email'],
  'usergroups.users.list': ['usergroups:read'],
  'views.open': [],
  'views.publish': [],
  'views.push': [],
  'views.update': [],
};

const sources = readdirSync(join(ROOT, 'src', 'slack'))
  .map((file) => readFileSync(join(ROOT, 'src', 'slack', file), 'utf8'))
  .join('\n');
/** `workspace.posting.chat.postMessage(` and the like: always through one of a workspace's clients. */
const CALL = /\b(?:posting|views|asking|client)\??\s*\.([a-z]+)\s*\.(?:(users)\.)?([a-z][A-Za-z]+)\(/g;
const methods = new Set(
  [...sources.matchAll(CALL)].map(([, family, sub, name]) => [family, sub, name].filter(Boolean).join('.')),
);

describe('manifest.yml', () => {
  it('holds what its type allows', () => {
    expect(parsed).toEqual(MANIFEST);
  });

  it('is within the limits of its names and descriptions', () => {
    const { name, description } = MANIFEST.display_information;
    expect(name.length).toBeLessThanOrEqual(SLACK_LIMITS.manifestName);
    expect(description.length).toBeLessThanOrEqual(SLACK_LIMITS.manifestDescription);
    expect(MANIFEST.features.bot_user.display_name).toMatch(/^[a-z0-9._-]{1,80}$/);
    for (const { command, description: text } of MANIFEST.features.slash_commands) {
      expect(command).toMatch(/^\/[a-z0-9_-]{1,31}$/);
      expect(text.length).toBeLessThanOrEqual(SLACK_LIMITS.manifestDescription);
    }
  });

  it('asks for each scope that a method in use needs, and for no other', () => {
    expect([...methods].filter((method) => SCOPE_OF[method] === undefined)).toEqual([]);
    const needed = new Set([...methods].flatMap((method) => SCOPE_OF[method] ?? []));
    if (/app\.command\(/.test(sources)) needed.add('commands');
    expect([...needed].sort()).toEqual([...MANIFEST.oauth_config.scopes.bot].sort());
  });

  it('is asked for the same scopes when it is installed from the install page', () => {
    expect([...BOT_SCOPES].sort()).toEqual([...MANIFEST.oauth_config.scopes.bot].sort());
  });

  it('names each command that the code listens to, and the other way round', () => {
    const commands = [...sources.matchAll(/WRITES_COMMAND = '([^']+)'/g)].map(([, command]) => command);
    expect(commands).toEqual(MANIFEST.features.slash_commands.map(({ command }) => command));
    expect([...sources.matchAll(/app\.command\(/g)]).toHaveLength(commands.length);
  });

  it('subscribes to each event that the code listens to, and to no other', () => {
    const heard = [...sources.matchAll(/\bapp\.event\('([^']+)'/g)].map(([, event]) => event);
    expect([...MANIFEST.settings.event_subscriptions.bot_events].sort()).toEqual(heard.sort());
    expect(/app\.(?:message|shortcut|options|function|assistant)\(/.test(sources)).toBe(false);
  });
});
