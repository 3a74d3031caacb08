import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEMO_CONTEXT } from '../../src/demo/demo-context.ts';
import { type DemoParts, startDemoParts } from '../../src/demo/demo-parts.ts';
import { ApprovalDenied, Halted, WritesDisabled } from '../../src/guard/call-errors.ts';
import { type Browser, startBrowser } from './slack-page.ts';

const CHANNEL = 'C0ACMEAPP';

let parts: DemoParts;
let browser: Browser;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'countersign-product-'));
  parts = await startDemoParts({
    directory,
    port: 0,
    tally: () => ({ title: 'What came of it', lines: [] }),
  });
  browser = await startBrowser(parts.slack.url);
}, 60_000);
afterAll(async () => {
  await browser?.close();
  await parts?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** In the order in which people would do it: each step stands on the one before. */
describe('in the browser', () => {
  it('Lea arms the switch with a reason, and everybody in the channel reads that it is on', async () => {
    const lea = await browser.openPageAs('U0LEAD', CHANNEL);
    await lea.type('/agent-writes on we start');
    await lea.waitForMessage('we start');
    await expect.poll(async () => (await parts.writeSwitch.status()).state).toBe('on');
    await lea.close();
  });

  it('Ana approves a call after a confirm dialog; the ticket is closed and the card says by whom', async () => {
    const handle = await parts.guard.propose(close('ACME-1016'), DEMO_CONTEXT);
    const ana = await browser.openPageAs('U0ANA', CHANNEL);
    await ana.waitForMessage(handle.id);
    await ana.clickButton(handle.id, 'Approve');
    await ana.answerConfirm('Approve');
    await expect(handle.result()).resolves.toMatchObject({ id: 'ACME-1016', status: 'closed' });
    const card = await ana.waitForMessage(handle.id);
    await card.getByText('Ana Alves').first().waitFor();
    await card
      .getByText(/succeeded/i)
      .first()
      .waitFor();
    expect(await card.getByRole('button', { name: 'Approve' }).count()).toBe(0);
    expect(ana.troubles).toEqual([]);
    await ana.close();
  });

  it('Ben denies a call and has to say why; the agent is told in his words', async () => {
    const handle = await parts.guard.propose(close('ACME-1007'), DEMO_CONTEXT);
    const ben = await browser.openPageAs('U0BEN', CHANNEL, { dark: true });
    await ben.waitForMessage(handle.id);
    await ben.clickButton(handle.id, 'Deny');
    await ben.modal.waitFor();
    await ben.modal.getByRole('textbox').first().fill('Another invoice, not a duplicate.');
    await ben.submitModal();
    await ben.modalIsGone();
    const error = await handle.result().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ApprovalDenied);
    expect(String(error)).toContain('Another invoice, not a duplicate.');
    await ben.close();
  });

  it('Rita, for whom the agent works, is told that somebody else has to decide; nobody else sees it', async () => {
    const handle = await parts.guard.propose(close('ACME-1012'), DEMO_CONTEXT);
    const rita = await browser.openPageAs('U0RITA', CHANNEL);
    const ana = await browser.openPageAs('U0ANA', CHANNEL);
    await rita.waitForMessage(handle.id);
    await rita.clickButton(handle.id, 'Approve');
    await rita.answerConfirm('Approve');
    await rita.waitForMessage('somebody else has to decide');
    expect(await handle.status()).toBe('pending');
    expect(await ana.messages('somebody else has to decide').count()).toBe(0);
    await handle.withdraw();
    await rita.close();
    await ana.close();
  });

  it('Chen turns writes off; what waited is halted and no new write starts; Lea turns them on again', async () => {
    const waiting = await parts.guard.propose(close('ACME-1013'), DEMO_CONTEXT);
    const chen = await browser.openPageAs('U0CHEN', CHANNEL);
    await chen.waitForMessage(waiting.id);
    await chen.type('/agent-writes off it closes too much');
    await chen.waitForMessage('it closes too much');
    await expect(waiting.result()).rejects.toBeInstanceOf(Halted);
    await expect(parts.guard.propose(close('ACME-1014'), DEMO_CONTEXT)).rejects.toBeInstanceOf(
      WritesDisabled,
    );
    await chen.close();

    const lea = await browser.openPageAs('U0LEAD', CHANNEL);
    await lea.type('/agent-writes on the prompt is fixed');
    await lea.waitForMessage('the prompt is fixed');
    const next = await parts.guard.propose(close('ACME-1026'), DEMO_CONTEXT);
    await lea.actAs('U0ANA');
    await lea.waitForMessage(next.id);
    await lea.clickButton(next.id, 'Approve');
    await lea.answerConfirm('Approve');
    await expect(next.result()).resolves.toMatchObject({ status: 'closed' });
    await expect(waiting.result()).rejects.toBeInstanceOf(Halted);
    await lea.close();
  });
});

function close(id: string) {
  return { tool: 'ticket.close', args: { id, resolution: 'duplicate' } };
}
