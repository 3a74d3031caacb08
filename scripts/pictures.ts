// `npm run pictures [-- name …]`: takes the pictures of docs/images from the running page, light and dark. Each shows what
// the real product drew on the local Slack; only these scenes are played for it.
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Locator } from 'playwright-core';
import { createGuard, type OpenGuard } from '../src/create-guard.ts';
import { DEMO_CONTEXT } from '../src/demo/demo-context.ts';
import { type Installation, startInstallation } from '../src/demo/installation.ts';
import type { ProposalHandle } from '../src/guard/proposal-handle.ts';
import { CredentialsFromFiles } from '../src/queue/credentials-from-files.ts';
import { openRedis } from '../src/redis/connection.ts';
import { WriteSwitchRedis } from '../src/redis/write-switch-redis.ts';
import { startHelpDesk } from '../src/sandbox/help-desk/help-desk.ts';
import { type Browser, type SlackPage, startBrowser } from '../test/browser/slack-page.ts';
import { pictureTools } from './picture-tools.ts';

const IMAGES = join(import.meta.dirname, '..', 'docs', 'images');
const CHANNEL = 'C0ACMEAPP';
const TOTAL_BYTES = 4_000_000;
/** High enough for the longest card, and no wider than a card asks for. */
const WINDOW = { width: 980, height: 2400 };

const POLICY = `
version: 1
tools: { allow: ["ticket.read", "kb.read", "ticket.close", "ticket.create", "email.send", "invoice.correct"] }
write_tools: { enabled: true, require_approval: true }
credentials: { scope: { tenant: true, environment: true } }
approvals:
  required_for: ["ticket.close", "email.send"]
  defaults:
    approvers: ["usergroup:S0SUPPORT"]
    quorum: 1
    expires_in: 30m
    reason: { approve: optional, deny: required }
    denial_reasons:
      - { text: "Wrong ticket", tell_agent: "Read the ticket again before you propose." }
      - { text: "Not a duplicate", tell_agent: "Leave the ticket open and answer the customer." }
  rules:
    - { tools: ["email.send"], quorum: 2 }
    - { tools: ["ticket.create"], environments: [staging], expires_in: 10s }
    - tools: ["ticket.create"]
      edit: true
      grants: { max_uses: 20, for: 1h }
tenants:
  acme:
    slack: { team: T0ACME, channel: C0ACMEAPP }
    environments: [production, staging]
    limits: { pending_per_agent: 60, pending_per_tenant: 200 }
switch:
  operators: ["usergroup:S0ONCALL"]
  arming: { operators: ["user:U0LEAD"], quorum: 1 }
`;

interface Studio {
  readonly installation: Installation;
  readonly guard: OpenGuard;
  readonly ana: SlackPage;
  readonly ben: SlackPage;
  readonly chen: SlackPage;
}

interface Scene {
  /** Of the files: `card-denied` for card-denied-light.png and card-denied-dark.png. */
  readonly names: readonly string[];
  play(studio: Studio): Promise<void>;
}

/** In the order in which they are played: the last ones switch writes off. */
const SCENES: readonly Scene[] = [
  {
    names: ['card-pending', 'modal-deny', 'card-denied'],
    async play(studio) {
      const { ana, ben } = studio;
      const { id } = await propose(studio, closing('ACME-1007', 'ACME-1002'));
      await ana.waitForMessage(id);
      await ana.message(id).getByText('What the tool says it would do').waitFor();
      await shoot(ana, 'card-pending', ana.message(id));
      await ben.waitForMessage(id);
      await ben.clickButton(id, 'Deny');
      await ben.modal.waitFor();
      await ben.modal.getByRole('radio').nth(1).check();
      await shoot(ben, 'modal-deny', ben.modal);
      await ben.submitModal();
      await ben.modalIsGone();
      await headline(ben, id, 'Denied');
      await shoot(ben, 'card-denied', ben.message(id));
    },
  },
  {
    names: ['card-reason', 'card-succeeded', 'card-failed'],
    async play(studio) {
      const { ana } = studio;
      const reason = 'Same customer, same invoice: Tom wrote again because nobody had answered.';
      const { id } = await propose(studio, { ...closing('ACME-1016', 'ACME-1002'), reason });
      await ana.waitForMessage(id);
      await ana.message(id).getByText('What the tool says it would do').waitFor();
      await shoot(ana, 'card-reason', ana.message(id));
      await approve(ana, id);
      await headline(ana, id, 'Done');
      await shoot(ana, 'card-succeeded', ana.message(id));
      const again = await propose(studio, closing('ACME-1016'));
      await approve(ana, again.id);
      await headline(ana, again.id, 'Failed');
      await shoot(ana, 'card-failed', ana.message(again.id));
    },
  },
  {
    names: ['card-unknown'],
    async play(studio) {
      const { ana } = studio;
      const args = { invoice: 'INV-2026-0113', line: 2, amount: '129.00' };
      const { id } = await propose(studio, { tool: 'invoice.correct', args });
      await approve(ana, id);
      await headline(ana, id, 'OUTCOME UNKNOWN');
      await shoot(ana, 'card-unknown', ana.message(id));
    },
  },
  {
    names: ['card-quorum'],
    async play(studio) {
      const { ana } = studio;
      const args = { to: 'tom@globex.example', subject: 'Your invoice', body: 'It is corrected.' };
      const handle = await propose(studio, { tool: 'email.send', args });
      await approve(ana, handle.id);
      await ana.message(handle.id).getByText('Approved by').first().waitFor();
      await shoot(ana, 'card-quorum', ana.message(handle.id));
      await handle.withdraw();
    },
  },
  {
    names: ['card-long', 'modal-review', 'modal-review-end'],
    async play(studio) {
      const { ana } = studio;
      const line = 'We looked at the invoice of January once more.';
      const body = Array.from({ length: 28 }, (_, index) => `${index + 1}. ${line}`).join('\n');
      const args = { to: 'tom@globex.example', subject: 'Your invoice', body };
      const handle = await propose(studio, { tool: 'email.send', args });
      await ana.waitForMessage(handle.id);
      await shoot(ana, 'card-long', ana.message(handle.id), ['light']);
      await ana.clickButton(handle.id, 'Review');
      await ana.modal.waitFor();
      await ana.page.setViewportSize({ ...WINDOW, height: 800 });
      await shoot(ana, 'modal-review', ana.modal, ['light']);
      const next = ana.modal.getByRole('button', { name: 'Next page' });
      for (let page = 2; (await next.count()) > 0; page += 1) {
        await next.click();
        await ana.modal.getByText(`Page ${page} of`).waitFor();
      }
      await ana.modal.locator('[data-modal="submit"]').scrollIntoViewIfNeeded();
      await shoot(ana, 'modal-review-end', ana.modal, ['light']);
      await ana.page.setViewportSize(WINDOW);
      await ana.page.keyboard.press('Escape');
      await ana.modalIsGone();
      await handle.withdraw();
    },
  },
  {
    names: ['modal-edit', 'card-edited', 'card-changed'],
    async play(studio) {
      const { ana, ben } = studio;
      const handle = await propose(studio, creating('Refund of invoice 0113', 'Please refund 1290.00 EUR.'));
      await ben.waitForMessage(handle.id);
      await ben.clickButton(handle.id, 'Edit');
      await ben.modal.waitFor();
      const field = ben.modal.getByRole('textbox').first();
      await field.fill((await field.inputValue()).replace('1290.00', '129.00'));
      await shoot(ben, 'modal-edit', ben.modal);
      await ben.submitModal();
      await ben.modal.getByText('Your change is proposed').waitFor();
      await ben.page.keyboard.press('Escape');
      await ben.modalIsGone();
      await headline(ben, handle.id, 'Changed');
      await shoot(ben, 'card-changed', ben.messages(handle.id).filter({ hasText: 'Changed:' }).first());
      const edited = ana.message('129.00 EUR');
      await edited.getByRole('button', { name: 'Approve this call exactly as shown' }).waitFor();
      await shoot(ana, 'card-edited', edited);
    },
  },
  {
    names: ['modal-grant', 'modal-grant-terms', 'card-grant'],
    async play(studio) {
      const { ana } = studio;
      const { id } = await propose(studio, creating('Password reset', 'The link has expired.'));
      await ana.waitForMessage(id);
      await ana.message(id).locator('[data-action-id="cs_grant"]').click();
      await ana.modal.waitFor();
      await ana.modal.getByRole('checkbox', { name: /subject/ }).check();
      await shoot(ana, 'modal-grant', ana.modal);
      await ana.submitModal();
      await ana.modal.getByText('This is what you allow').waitFor();
      await shoot(ana, 'modal-grant-terms', ana.modal);
      await ana.submitModal();
      await ana.modalIsGone();
      const grant = ana.page
        .locator('#messages article.message')
        .filter({ has: ana.page.getByRole('button', { name: /^Revoke/ }) })
        .last();
      await grant.waitFor();
      await shoot(ana, 'card-grant', grant);
    },
  },
  {
    names: ['card-expired'],
    async play(studio) {
      const { ana } = studio;
      const { id } = await propose(studio, creating('A test', 'Nothing to do.'), { environment: 'staging' });
      await headline(ana, id, 'Expired');
      await shoot(ana, 'card-expired', ana.message(id));
    },
  },
  {
    names: ['home'],
    async play(studio) {
      const { ana } = studio;
      const { id } = await propose(studio, closing('ACME-1026', 'ACME-1011'));
      await ana.waitForMessage(id);
      await ana.page.locator('#sidebar').getByRole('button', { name: 'Countersign' }).click();
      const home = ana.page.locator('.home-tab');
      await home.getByText('Waiting for you').waitFor();
      await shoot(ana, 'home', home);
      await ana.openChannel(CHANNEL);
    },
  },
  {
    names: ['card-digest', 'modal-list'],
    async play(studio) {
      const { ana, guard } = studio;
      const bulk = { ...DEMO_CONTEXT, agent: 'clean-up-bot', run: 'spring-cleaning' };
      for (let ticket = 1001; ticket <= 1009; ticket += 1) {
        await guard.propose(closing(`ACME-${ticket}`), bulk).catch(() => 'not there to be closed');
      }
      const digest = ana.page
        .locator('#messages article.message')
        .filter({ has: ana.page.getByRole('button', { name: /^Read the waiting calls/ }) })
        .last();
      await digest.waitFor({ timeout: 30_000 });
      await shoot(ana, 'card-digest', digest);
      await digest.getByRole('button', { name: /^Read the waiting calls/ }).click();
      await ana.modal.waitFor();
      await ana.page.setViewportSize({ ...WINDOW, height: 800 });
      await shoot(ana, 'modal-list', ana.modal, ['light']);
      await ana.page.keyboard.press('Escape');
      await ana.modalIsGone();
      await ana.page.setViewportSize(WINDOW);
    },
  },
  {
    names: ['card-halted', 'switch-off', 'switch-status'],
    async play(studio) {
      const { chen } = studio;
      const { id } = await propose(studio, closing('ACME-1042'), { agent: 'support-bot-2' });
      await chen.waitForMessage(id);
      await chen.type('/agent-writes off it closes what it should not');
      await headline(chen, id, 'Halted');
      await shoot(chen, 'card-halted', chen.message(id));
      const told = chen.messages('it closes what it should not').filter({ hasText: 'Writes are off' });
      await shoot(chen, 'switch-off', told.filter({ hasNotText: 'Only visible to you' }).last());
      const answers = chen.messages('Only visible to you');
      const before = await answers.count();
      await chen.type('/agent-writes status');
      const answer = answers.nth(before);
      await shoot(chen, 'switch-status', answer);
    },
  },
];

function closing(id: string, duplicateOf?: string) {
  const original = duplicateOf === undefined ? {} : { duplicate_of: duplicateOf };
  return { tool: 'ticket.close', args: { id, resolution: 'duplicate', ...original } };
}

function creating(subject: string, body: string) {
  return { tool: 'ticket.create', args: { customer: 'tom@globex.example', subject, body } };
}

function propose(
  { guard }: Studio,
  call: { tool: string; args: object; reason?: string },
  context: Partial<typeof DEMO_CONTEXT> = {},
): Promise<ProposalHandle> {
  return guard.propose(call, { ...DEMO_CONTEXT, ...context });
}

async function approve(page: SlackPage, id: string): Promise<void> {
  await page.waitForMessage(id);
  await page.clickButton(id, 'Approve');
  await page.answerConfirm('Approve');
}

/** The card of the proposal says in its first line what has become of it. */
async function headline(page: SlackPage, id: string, words: string): Promise<void> {
  await page.messages(id).filter({ hasText: words }).first().waitFor({ timeout: 30_000 });
}

/** What is long is taken in one theme alone: the others show what the dark one looks like. */
async function shoot(
  page: SlackPage,
  name: string,
  what: Locator,
  themes: readonly ('light' | 'dark')[] = ['light', 'dark'],
): Promise<void> {
  await page.page.bringToFront();
  await what.waitFor();
  await page.page.mouse.move(0, 0);
  await page.page.evaluate('document.activeElement?.blur()');
  for (const theme of themes) {
    await page.page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
    await picture(what, join(IMAGES, `${name}-${theme}.png`));
    taken.push(`${name}-${theme}.png`);
  }
  await page.page.emulateMedia({ colorScheme: 'light' });
}

/** A card that is drawn anew at this very moment is another element. */
async function picture(what: Locator, path: string): Promise<void> {
  const take = () => what.screenshot({ path, animations: 'disabled' });
  await take().catch(take);
}

const taken: string[] = [];
const asked = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), 'countersign-pictures-'));
const stops: (() => Promise<unknown> | unknown)[] = [
  () => rmSync(directory, { recursive: true, force: true }),
];
try {
  const studio = await openStudio();
  mkdirSync(IMAGES, { recursive: true });
  for (const scene of SCENES) {
    if (asked.length === 0 || scene.names.some((name) => asked.includes(name))) await scene.play(studio);
  }
  const bytes = taken.reduce((sum, file) => sum + statSync(join(IMAGES, file)).size, 0);
  console.log(`${taken.length} pictures, ${(bytes / 1000).toFixed(0)} kB, are in ${IMAGES}`);
  if (bytes > TOTAL_BYTES) throw new Error(`the pictures take more than ${TOTAL_BYTES} bytes`);
} finally {
  for (const stop of stops.reverse()) await stop();
}

async function openStudio(): Promise<Studio> {
  const scopes = ['production', 'staging'].map((environment) => ({ tenant: 'acme', environment }));
  const helpDesk = await startHelpDesk({ directory: join(directory, 'help-desk'), scopes });
  stops.push(() => helpDesk.stop());
  const credentials = {
    executor: join(directory, 'credentials', 'executor'),
    guard: join(directory, 'credentials', 'guard'),
  };
  helpDesk.writeCredentials(credentials.executor);
  helpDesk.writeCredentials(credentials.guard, 'read');
  const { href } = new URL('./picture-tools.ts', import.meta.url);
  const installation = await startInstallation({
    directory,
    port: 0,
    policyText: POLICY,
    toolsModule: `import { pictureTools } from ${JSON.stringify(href)};\nexport const tools = pictureTools(${JSON.stringify(helpDesk.url)});\n`,
    credentials: credentials.executor,
  });
  stops.push(() => installation.stop());
  const redis = installation.redis.connectionOptions;
  const connections = openRedis({ connection: redis, name: 'countersign-pictures' });
  stops.push(() => connections.close());
  const writeSwitch = new WriteSwitchRedis({ redis: connections.redis, shards: 1 });
  await writeSwitch.on({ scope: {}, by: 'cli:pictures', why: 'pictures', expectedEpoch: 0 });
  const guard = createGuard({
    policy: POLICY,
    tools: pictureTools(helpDesk.url),
    redis,
    proposalKey: installation.keys.COUNTERSIGN_PROPOSAL_KEY,
    readCredentials: new CredentialsFromFiles(credentials.guard),
  });
  stops.push(() => guard.close());
  const browser: Browser = await startBrowser(installation.slack.url);
  stops.push(() => browser.close());
  const [ana, ben, chen] = await Promise.all(
    ['U0ANA', 'U0BEN', 'U0CHEN'].map((user) => browser.openPageAs(user, CHANNEL)),
  );
  if (!ana || !ben || !chen) throw new Error('no pages');
  for (const { page } of [ana, ben, chen]) await page.setViewportSize(WINDOW);
  return { installation, guard, ana, ben, chen };
}
