import type { SlackWorld, Workspace } from './slack-world.ts';

/** The scopes that the manifest asks for (see SLACK.md, Manifest). */
const BOT_SCOPES = [
  'chat:write',
  'commands',
  'users:read',
  'users:read.email',
  'usergroups:read',
  'channels:read',
  'groups:read',
];

const BOT = { name: 'countersign', realName: 'Countersign', isBot: true };

/** Two customers' workspaces with everybody that an approval could meet, fit and unfit to give it. */
export function demoWorld(): SlackWorld {
  return {
    app: {
      id: 'A0COUNTERSIGN',
      name: 'Countersign',
      appToken: 'xapp-1-A0COUNTERSIGN-demo',
      appTokenScopes: ['connections:write'],
      signingSecret: 'demo-signing-secret-of-the-local-slack',
      commands: [
        {
          command: '/agent-writes',
          description: 'Turn the writes of AI agents off or on',
          usageHint: 'off | on | status | pending | help',
        },
      ],
      events: ['app_home_opened', 'app_uninstalled', 'tokens_revoked'],
    },
    workspaces: [acme(), globex()],
  };
}

function acme(): Workspace {
  const team = 'T0ACME';
  const everybody = ['U0ANA', 'U0BEN', 'U0CHEN', 'U0LEAD', 'U0RITA'];
  return {
    team,
    name: 'Acme',
    domain: 'acme',
    users: [
      {
        id: 'U0ANA',
        home: team,
        name: 'ana',
        realName: 'Ana Alves',
        title: 'Support lead',
        email: 'ana@acme.example',
      },
      {
        id: 'U0BEN',
        home: team,
        name: 'ben',
        realName: 'Ben Baker',
        title: 'Support lead',
        email: 'ben@acme.example',
      },
      {
        id: 'U0CHEN',
        home: team,
        name: 'chen',
        realName: 'Chen Cai',
        title: 'On call',
        email: 'chen@acme.example',
      },
      {
        id: 'U0LEAD',
        home: team,
        name: 'lea',
        realName: 'Lea Lund',
        title: 'Head of support',
        email: 'lea@acme.example',
        isAdmin: true,
      },
      {
        id: 'U0RITA',
        home: team,
        name: 'rita',
        realName: 'Rita Rossi',
        title: 'Customer support',
        email: 'rita@acme.example',
      },
      {
        id: 'U0GUEST',
        home: team,
        name: 'gus',
        realName: 'Gus Gray',
        title: 'Guest from the agency',
        email: 'gus@agency.example',
        isRestricted: true,
      },
      {
        id: 'U0GONE',
        home: team,
        name: 'dora',
        realName: 'Dora Diaz',
        email: 'dora@acme.example',
        deleted: true,
      },
      {
        id: 'U0WORKFLOW',
        home: team,
        name: 'ticket_workflow',
        realName: 'Ticket workflow',
        isBot: true,
        isWorkflowBot: true,
      },
      {
        id: 'U0STRANGER',
        home: 'T0OTHER',
        name: 'sid',
        realName: 'Sid Stone',
        title: 'Other Inc.',
        email: 'sid@other.example',
      },
      { id: 'U0BOTACME', home: team, ...BOT },
    ],
    groups: [
      { id: 'S0SUPPORT', handle: 'support', name: 'Support', users: ['U0ANA', 'U0BEN', 'U0RITA'] },
      { id: 'S0ONCALL', handle: 'oncall', name: 'On call', users: ['U0CHEN'] },
    ],
    channels: [
      {
        id: 'C0ACMEAPP',
        name: 'acme-approvals',
        topic: 'What the agents want to write, and who said yes',
        members: [...everybody, 'U0GUEST', 'U0GONE', 'U0WORKFLOW', 'U0BOTACME'],
      },
      { id: 'C0ACMEGEN', name: 'general', topic: 'Everything else', members: [...everybody, 'U0GONE'] },
      {
        id: 'C0SHARED',
        name: 'acme-other',
        topic: 'Shared with Other Inc.',
        isExtShared: true,
        members: ['U0ANA', 'U0BEN', 'U0STRANGER', 'U0BOTACME'],
      },
    ],
    installation: {
      botToken: 'xoxb-demo-acme',
      scopes: [...BOT_SCOPES],
      botUser: 'U0BOTACME',
      botId: 'B0ACME',
    },
  };
}

function globex(): Workspace {
  const team = 'T0GLOBEX';
  return {
    team,
    name: 'Globex',
    domain: 'globex',
    users: [
      {
        id: 'U0OMAR',
        home: team,
        name: 'omar',
        realName: 'Omar Okafor',
        title: 'Support lead',
        email: 'omar@globex.example',
      },
      {
        id: 'U0NIA',
        home: team,
        name: 'nia',
        realName: 'Nia Novak',
        title: 'Customer support',
        email: 'nia@globex.example',
      },
      { id: 'U0BOTGLOBEX', home: team, ...BOT },
    ],
    groups: [{ id: 'S0GLOBEXSUP', handle: 'support', name: 'Support', users: ['U0OMAR'] }],
    channels: [
      {
        id: 'C0GLOBEX',
        name: 'globex-approvals',
        topic: 'What the agents want to write, and who said yes',
        members: ['U0OMAR', 'U0NIA', 'U0BOTGLOBEX'],
      },
      { id: 'C0GLOBEXGEN', name: 'general', members: ['U0OMAR', 'U0NIA'] },
    ],
    installation: {
      botToken: 'xoxb-demo-globex',
      scopes: [...BOT_SCOPES],
      botUser: 'U0BOTGLOBEX',
      botId: 'B0GLOBEX',
    },
  };
}
