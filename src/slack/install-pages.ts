import type { ServerResponse } from 'node:http';

/** What the person who installs the app reads. Our own words; of what Slack says only ids and names, escaped. */
export interface InstallPage {
  readonly status: number;
  readonly title: string;
  readonly text: string;
}

const AGAIN = 'Open the install page again and start from there.';

export const INSTALL_PAGES = {
  cancelled: {
    status: 200,
    title: 'Not installed',
    text: `You did not agree, so nothing was installed. ${AGAIN}`,
  },
  stale: {
    status: 400,
    title: 'Not installed',
    text: `This link was used already, is older than ten minutes, or was begun in another browser. Nothing was installed. ${AGAIN}`,
  },
  malformed: {
    status: 400,
    title: 'Not installed',
    text: `This address did not come from Slack as it should. Nothing was installed. ${AGAIN}`,
  },
  slackRefused: {
    status: 502,
    title: 'Not installed',
    text: `Slack did not confirm the installation. Nothing was installed. ${AGAIN} If it stays so, tell whoever runs Countersign.`,
  },
  unavailable: {
    status: 503,
    title: 'Not now',
    text: 'Something that is needed for an installation does not answer. Nothing was installed. Try again in a few minutes.',
  },
  tooMany: {
    status: 429,
    title: 'Not now',
    text: 'Too many installations were begun at once. Try again in a minute.',
  },
  otherApp: {
    status: 403,
    title: 'Not installed',
    text: 'Slack confirmed the installation of another app than this service belongs to. Nothing was kept. Tell whoever runs Countersign.',
  },
  missingScopes: {
    status: 403,
    title: 'Not installed',
    text: `Some of the permissions that the app needs were not granted, so nothing was kept. ${AGAIN}`,
  },
} as const satisfies Record<string, InstallPage>;

export function notInPolicyPage(team: string): InstallPage {
  return {
    status: 403,
    title: 'Not installed',
    text: `The policy of this service names no tenant in the workspace ${team}, so nothing was kept. Whoever runs Countersign has to add it to the policy first; then install again.`,
  };
}

export function installedPage(name: string, team: string): InstallPage {
  return {
    status: 200,
    title: 'Installed',
    text: `Countersign is installed in ${name === '' ? team : `${name} (${team})`}. Type /invite @countersign in the channel where its cards should appear.`,
  };
}

export function sendPage(response: ServerResponse, page: InstallPage): void {
  if (response.headersSent) return;
  response.writeHead(page.status, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'content-security-policy':
      "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  });
  response.end(
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escaped(page.title)}</title></head>` +
      `<body><main><h1>${escaped(page.title)}</h1><p>${escaped(page.text)}</p></main></body></html>`,
  );
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
