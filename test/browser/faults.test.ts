import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEMO_CONTEXT } from '../../src/demo/demo-context.ts';
import { type DemoParts, startDemoParts } from '../../src/demo/demo-parts.ts';
import { type Browser, type SlackPage, startBrowser } from './slack-page.ts';

const CHANNEL = 'C0ACMEAPP';

let parts: DemoParts;
let browser: Browser;
let ana: SlackPage;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'countersign-faults-'));
  parts = await startDemoParts({
    directory,
    port: 0,
    tally: () => ({ title: 'What came of it', lines: [] }),
  });
  await parts.writeSwitch.on({ scope: {}, by: 'cli:faults', why: 'faults', expectedEpoch: 0 });
  browser = await startBrowser(parts.slack.url);
  ana = await browser.openPageAs('U0ANA', CHANNEL);
}, 60_000);
afterAll(async () => {
  await browser?.close();
  await parts?.stop();
  rmSync(directory, { recursive: true, force: true });
});

const propose = (id: string) =>
  parts.guard.propose({ tool: 'ticket.close', args: { id, resolution: 'duplicate' } }, DEMO_CONTEXT);

/** Clicks a button of the faults panel, which it opens and closes again. */
async function bring(fault: string): Promise<void> {
  await ana.page.locator('#faults-button').click();
  await ana.page.locator(`#faults [data-fault="${fault}"]`).click();
  await ana.page.locator('#faults').getByRole('status').getByText('Done').waitFor();
  await ana.page.keyboard.press('Escape');
}

/**
 * How many admissions stand. An executor that was held up on its way to the start gives its admission back, and asks
 * anew: that is none.
 */
function admissionsIn(audited: string[]): number {
  const count = (kind: string) => audited.filter((one) => one === kind).length;
  return count('admission.granted') - count('admission.returned');
}

/** What the audit says of one proposal, oldest first. */
async function auditedOf(id: string): Promise<string[]> {
  const entries = await parts.audit.read({ tenant: 'acme', limit: 1000 });
  return entries.filter(({ proposal }) => proposal === id).map(({ kind }) => kind);
}

/** From the panel, as somebody who tries the demo does it. */
describe('the faults of the page, on the real product', () => {
  it('[decision:one-winner] a click that is delivered twice counts once, and the call runs once', async () => {
    const handle = await propose('ACME-1016');
    await ana.waitForMessage(handle.id);
    await bring('deliver_twice');
    await ana.clickButton(handle.id, 'Approve');
    await ana.answerConfirm('Approve');
    await expect(handle.result()).resolves.toMatchObject({ status: 'closed' });
    // Both copies have arrived: the fault is spent.
    await ana.page.locator('#faults-button').getByText('Faults', { exact: true }).waitFor();
    const audited = await auditedOf(handle.id);
    expect(audited.filter((kind) => kind === 'decision.approve')).toHaveLength(1);
    expect(admissionsIn(audited)).toBe(1);
    const journal = await parts.helpDesk.journal();
    expect(journal.filter((line) => JSON.stringify(line).includes('ACME-1016'))).toHaveLength(1);
  });

  it('a post whose reply is lost leaves two cards; a click on the earlier copy is safe, and one card tells the end', async () => {
    await bring('lose_reply');
    const handle = await propose('ACME-1026');
    await ana.messages(handle.id).nth(1).waitFor();
    const copy = ana.messages(handle.id).first();
    await copy.getByRole('button', { name: /^Approve/ }).click();
    await ana.answerConfirm('Approve');
    await expect(handle.result()).resolves.toMatchObject({ status: 'closed' });
    await ana.waitForMessage('This message is an earlier copy of a card');
    await expect.poll(() => ana.messages(handle.id).count()).toBe(1);
    const audited = await auditedOf(handle.id);
    expect(audited.filter((kind) => kind === 'decision.approve')).toHaveLength(1);
    expect(admissionsIn(audited)).toBe(1);
  });

  it('while Slack is down a click is answered at once and decides nothing; afterwards the same card is decided', async () => {
    const handle = await propose('ACME-1012');
    await ana.waitForMessage(handle.id);
    await bring('down');
    await ana.clickButton(handle.id, 'Approve');
    await ana.answerConfirm('Approve');
    await ana.message(handle.id).getByRole('alert').getByText('dispatch_failed').waitFor();
    expect(await handle.status()).toBe('pending');
    await bring('clear');
    await expect.poll(() => parts.slack.connections()).toBeGreaterThan(0);
    await ana.clickButton(handle.id, 'Approve');
    await ana.answerConfirm('Approve');
    await expect(handle.result()).resolves.toMatchObject({ status: 'closed' });
    await expect.poll(() => ana.messages(handle.id).count()).toBe(1);
  });

  it('a deleted card is not brought back to life by a click; what is decided elsewhere is posted anew', async () => {
    const handle = await propose('ACME-1042');
    // A card that is due to be drawn again would come back: with its preview it is complete.
    const card = await ana.waitForMessage(handle.id);
    await card.getByText('What the tool says it would do').waitFor();
    await card.getByRole('button', { name: 'Delete this message' }).press('Enter');
    await ana.answerConfirm('Delete');
    await card.waitFor({ state: 'detached' });
    await handle.withdraw();
    const again = await ana.waitForMessage(handle.id);
    expect(await again.locator('.button').count()).toBe(0);
  });

  it('after a while of 429 the cards come in the order of their proposals, each of them once', async () => {
    // As the panel asks for it, and shorter.
    await fetch(`${parts.slack.url}/sandbox/faults`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ kind: 'rate_limit', ms: 3000 }),
    });
    await ana.page.locator('#faults-button').getByText('Faults: 1 active').waitFor();
    const handles: Awaited<ReturnType<typeof propose>>[] = [];
    for (const id of ['ACME-1007', 'ACME-1013', 'ACME-1014']) handles.push(await propose(id));
    for (const { id } of handles) await ana.messages(id).first().waitFor();
    for (const { id } of handles) expect(await ana.messages(id).count()).toBe(1);
    const shown = await ana.page.locator('#messages article.message').allTextContents();
    const order = shown.map((text) => handles.findIndex(({ id }) => text.includes(id)));
    expect(order.filter((index) => index >= 0)).toEqual([0, 1, 2]);
    expect(ana.troubles).toEqual([]);
  });
});
