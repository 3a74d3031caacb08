import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { type BrowserContext, chromium, type Locator, type Page } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const ELSEWHERE = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Long enough for a slow machine; nothing waits this long unless something is wrong. */
const PATIENCE_MS = 25_000;

export interface Look {
  /** T0ACME where it is left out. */
  team?: string;
  dark?: boolean;
  /** The address of another local Slack than the browser's own. */
  at?: string;
}

/** One headless Chromium; each `openPageAs` is a window of its own. */
export interface Browser {
  openPageAs(user: string, channel: string, look?: Look): Promise<SlackPage>;
  close(): Promise<void>;
}

/** @param url of the local Slack */
export async function startBrowser(url: string): Promise<Browser> {
  const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin'];
  const candidates = [...directories.flatMap((at) => NAMES.map((name) => join(at, name))), ...ELSEWHERE];
  const executablePath = candidates.find((path) => existsSync(path));
  if (executablePath === undefined) {
    throw new Error(`No Chromium here (${NAMES.join(', ')}). On Debian: apt-get install -y chromium`);
  }
  const profile = await mkdtemp(join(tmpdir(), 'countersign-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    args: FLAGS,
    headless: true,
    viewport: { width: 1280, height: 800 },
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
  });
  context.setDefaultTimeout(PATIENCE_MS);
  return {
    openPageAs: (user, channel, look = {}) => openPageAs(context, url, user, channel, look),
    close: async () => {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function openPageAs(
  context: BrowserContext,
  url: string,
  user: string,
  channel: string,
  look: Look,
): Promise<SlackPage> {
  const page = await context.newPage();
  await page.emulateMedia({ colorScheme: look.dark === true ? 'dark' : 'light' });
  const slackPage = new SlackPage(page);
  const query = new URLSearchParams({ team: look.team ?? 'T0ACME', user, channel });
  await page.goto(`${look.at ?? url}/?${query}`);
  await page.locator(`[data-channel="${channel}"][aria-current="page"]`).waitFor();
  return slackPage;
}

/** What a person does at the page, found by what she reads on it. */
export class SlackPage {
  readonly page: Page;
  /** What went wrong in the page's own code, and what its policy refused to load. A 404 of a demo's tally is none of it. */
  readonly troubles: string[] = [];

  constructor(page: Page) {
    this.page = page;
    page.on('pageerror', (error) => this.troubles.push(String(error)));
    page.on('console', (message) => {
      if (message.type() !== 'error' || message.text().startsWith('Failed to load resource')) return;
      this.troubles.push(message.text());
    });
  }

  /** Messages of the open channel that contain the text, the newest last. */
  messages(text: string): Locator {
    return this.page.locator('#messages article.message').filter({ hasText: text });
  }

  /** The newest message that contains the text. */
  message(text: string): Locator {
    return this.messages(text).last();
  }

  async waitForMessage(text: string): Promise<Locator> {
    const message = this.message(text);
    await message.waitFor();
    return message;
  }

  /** By what the button shows: its accessible name may say more. */
  button(cardText: string, label: string): Locator {
    const shown = this.page.locator('.button-label').getByText(label, { exact: true });
    return this.message(cardText).locator('.button').filter({ has: shown });
  }

  async clickButton(cardText: string, label: string): Promise<void> {
    await this.button(cardText, label).click();
  }

  /** The open confirm dialog. */
  get confirm(): Locator {
    return this.page.locator('dialog.confirm');
  }

  async answerConfirm(label: string): Promise<void> {
    await this.confirm.getByRole('button', { name: label, exact: true }).click();
    await this.confirm.waitFor({ state: 'detached' });
  }

  /** The open modal. */
  get modal(): Locator {
    return this.page.locator('dialog.modal');
  }

  async fill(label: string, text: string): Promise<void> {
    await this.modal.getByLabel(label).fill(text);
  }

  async submitModal(): Promise<void> {
    await this.modal.locator('[data-modal="submit"]').click();
  }

  async modalIsGone(): Promise<void> {
    await this.modal.waitFor({ state: 'detached' });
  }

  /** Types into the composer of the open channel and presses Enter: a message, or a slash command. */
  async type(line: string): Promise<void> {
    const box = this.page.locator('#composer textarea');
    await box.fill(line);
    await box.press('Enter');
  }

  async actAs(user: string): Promise<void> {
    await this.page.locator('.acting-button').click();
    await this.page.locator(`.acting-item[data-user="${user}"]`).click();
    await this.page.waitForURL((url) => url.searchParams.get('user') === user);
  }

  async openChannel(channel: string): Promise<void> {
    await this.page.locator(`#sidebar [data-channel="${channel}"]`).click();
    await this.page.locator(`#sidebar [data-channel="${channel}"][aria-current="page"]`).waitFor();
  }

  async openThread(text: string): Promise<Locator> {
    const message = this.message(text);
    await message.hover();
    await message.getByRole('button', { name: 'Reply in thread' }).click();
    const thread = this.page.locator('#thread');
    await thread.waitFor();
    return thread;
  }

  async close(): Promise<void> {
    await this.page.close();
  }
}
