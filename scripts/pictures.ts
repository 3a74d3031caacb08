// `npm run pictures`: takes the pictures of docs/images from the running page, light and dark.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEMO_CONTEXT } from '../src/demo/demo-context.ts';
import { startDemoParts } from '../src/demo/demo-parts.ts';
import { startBrowser } from '../test/browser/slack-page.ts';

const IMAGES = join(import.meta.dirname, '..', 'docs', 'images');
const CHANNEL = 'C0ACMEAPP';

const directory = mkdtempSync(join(tmpdir(), 'countersign-pictures-'));
const parts = await startDemoParts({
  directory,
  port: 0,
  tally: () => ({ title: 'What came of it', lines: [] }),
});
const browser = await startBrowser(parts.slack.url);
try {
  mkdirSync(IMAGES, { recursive: true });
  await parts.writeSwitch.on({ scope: {}, by: 'cli:pictures', why: 'pictures', expectedEpoch: 0 });
  const proposal = await parts.guard.propose(
    {
      tool: 'ticket.close',
      args: { id: 'ACME-1016', resolution: 'duplicate', duplicate_of: 'ACME-1002' },
      reason: 'Same customer, same invoice: Tom wrote again because nobody had answered.',
    },
    DEMO_CONTEXT,
  );
  for (const dark of [false, true]) {
    const page = await browser.openPageAs('U0ANA', CHANNEL, { dark });
    const card = await page.waitForMessage(proposal.id);
    await card.screenshot({ path: join(IMAGES, `card-pending-${dark ? 'dark' : 'light'}.png`) });
    await page.close();
  }
  console.log(`pictures are in ${IMAGES}`);
} finally {
  await browser.close();
  await parts.stop();
  rmSync(directory, { recursive: true, force: true });
}
