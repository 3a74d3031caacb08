import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demoWorld } from '../../src/sandbox/slack/demo-world.ts';
import { type LocalSlack, startLocalSlack } from '../../src/sandbox/slack/local-slack.ts';
import { clientFor } from '../sandbox/bolt-sample-app.ts';
import { type Browser, type SlackPage, startBrowser } from './slack-page.ts';

const CHANNEL = 'C0ACMEAPP';

/** Text and what it stands on, by the names of page.css. WCAG 2.2 asks 4.5 of text of this size. */
const PAIRS = [
  ['--text', '--ground'],
  ['--text', '--raised'],
  ['--text', '--sunken'],
  ['--text', '--hover'],
  ['--text', '--ephemeral'],
  ['--text-quiet', '--ground'],
  ['--text-quiet', '--raised'],
  ['--text-quiet', '--sunken'],
  ['--text-quiet', '--hover'],
  ['--text-quiet', '--ephemeral'],
  ['--text-faint', '--ground'],
  ['--text-faint', '--raised'],
  ['--link', '--ground'],
  ['--link', '--raised'],
  ['--code-text', '--sunken'],
  ['--mention', '--mention-ground'],
  ['--me', '--me-ground'],
  ['--warn-text', '--warn-ground'],
  ['--warn-text', '--raised'],
  ['--danger-text', '--ground'],
  ['--danger-text', '--raised'],
  ['--good-text', '--ground'],
  ['white', '--primary'],
  ['white', '--primary-hover'],
  ['white', '--danger'],
  ['white', '--danger-hover'],
  ['white', '--ink-open'],
  ['--ink-text', '--ink'],
  ['--ink-text', '--ink-deep'],
  ['--ink-text', '--ink-hover'],
  ['--ink-text-quiet', '--ink'],
  ['--ink-text-quiet', '--ink-deep'],
] as const;

/** Runs in the page, which alone knows what `light-dark()` and the theme make of a name. */
const COLOURS = `(() => {
  const probe = document.createElement('span');
  document.body.append(probe);
  const colours = ${JSON.stringify([...new Set(PAIRS.flat())])}.map((name) => {
    probe.style.color = name.startsWith('--') ? 'var(' + name + ')' : name;
    return [name, getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number)];
  });
  probe.remove();
  return colours;
})()`;

/** https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio */
function contrast(one: readonly number[], other: readonly number[]): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour: readonly number[]): number {
  const [red = 0, green = 0, blue = 0] = colour
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

describe('the local Slack’s page, looked at and handled with the keyboard alone', () => {
  let slack: LocalSlack;
  let browser: Browser;
  let page: SlackPage;

  beforeAll(async () => {
    slack = await startLocalSlack({ world: demoWorld(), delivery: { mode: 'socket' } });
    slack.world.workspaces[0]?.installation?.scopes.push('files:write');
    browser = await startBrowser(slack.url);
    page = await browser.openPageAs('U0ANA', CHANNEL);
  });

  afterAll(async () => {
    await browser?.close();
    await slack?.close();
  });

  it.each([false, true])('every text stands out from its ground by 4.5 to 1 (dark: %s)', async (dark) => {
    await page.page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
    const colours = new Map((await page.page.evaluate(COLOURS)) as [string, number[]][]);
    const found = PAIRS.map(([text, ground]) => ({
      pair: `${text} on ${ground}`,
      contrast: contrast(colours.get(text) ?? [], colours.get(ground) ?? []),
    }));
    expect(contrast([0, 0, 0], [255, 255, 255])).toBe(21);
    expect(found.filter(({ contrast }) => contrast < 4.5)).toEqual([]);
    // A name that page.css no longer has would be the colour of the text, on itself.
    expect(colours.size).toBe(new Set(PAIRS.flat()).size);
    await page.page.emulateMedia({ colorScheme: 'light' });
  });

  it('the faults open from their button, say what is active and for how long, and close with Esc', async () => {
    const button = page.page.locator('#faults-button');
    const panel = page.page.locator('#faults');
    expect(await panel.isHidden()).toBe(true);
    await button.focus();
    await page.page.keyboard.press('Enter');
    await expect.poll(() => button.getAttribute('aria-expanded')).toBe('true');
    expect(await page.page.evaluate('document.activeElement.textContent')).toBe(
      'Deliver the next click twice',
    );
    await page.page.keyboard.press('Enter');
    await panel.getByText('active: waits for the next one').waitFor();
    await panel.getByRole('button', { name: 'Too many calls for 10 s' }).press('Enter');
    await panel.getByText(/active: \d+ s left/).waitFor();
    await button.getByText('Faults: 2 active').waitFor();
    await expect.poll(() => panel.getByRole('status').textContent()).toBe('Done: Too many calls for 10 s.');
    await page.page.keyboard.press('Escape');
    await panel.waitFor({ state: 'hidden' });
    expect(await page.page.evaluate('document.activeElement.id')).toBe('faults-button');
    // Collapsed, the button still says that something is wrong on purpose; a second window says so too.
    const ben = await browser.openPageAs('U0BEN', CHANNEL);
    await ben.page.locator('#faults-button').getByText('Faults: 2 active').waitFor();
    await page.page.keyboard.press('Enter');
    await panel.getByRole('button', { name: 'End these faults now' }).press('Enter');
    await button.getByText('Faults', { exact: true }).waitFor();
    await ben.page.locator('#faults-button').getByText('Faults', { exact: true }).waitFor();
    expect(slack.faults.active()).toEqual([]);
    await page.page.keyboard.press('Escape');
    await ben.close();
  });

  it('a channel is archived, left by the bot and shared, which every window shows, and each is undone', async () => {
    const ben = await browser.openPageAs('U0BEN', CHANNEL);
    await page.page.locator('#faults-button').press('Enter');
    const panel = page.page.locator('#faults');
    const header = ben.page.locator('#channel-header');
    await panel.getByRole('button', { name: 'Archive the channel' }).press('Enter');
    await header.getByText('archived').waitFor();
    await ben.page.getByText('This channel is archived').waitFor();
    await panel.getByRole('button', { name: 'Open the channel again' }).press('Enter');
    await ben.page.locator('#composer textarea').waitFor();
    await panel.getByRole('button', { name: 'Share the channel with another company' }).press('Enter');
    await header.getByText('shared with another company').waitFor();
    await panel.getByRole('button', { name: 'Stop sharing the channel' }).press('Enter');
    await panel.getByRole('button', { name: 'Remove the bot from the channel' }).press('Enter');
    await panel.getByRole('button', { name: 'Invite the bot again' }).press('Enter');
    await panel.getByRole('button', { name: 'Remove the bot from the channel' }).waitFor();
    const channel = slack.world.workspaces[0]?.channels.find(({ id }) => id === CHANNEL);
    expect(channel).toMatchObject({ isArchived: false, isExtShared: false });
    expect(channel?.members).toContain('U0BOTACME');
    await page.page.keyboard.press('Escape');
    await ben.close();
  });

  it('a file stands under its message with its size, downloads, and shows nothing of itself', async () => {
    const content = '<script>document.title = "taken over"</script>';
    await clientFor(slack, 'T0ACME').filesUploadV2({
      channel_id: CHANNEL,
      filename: 'arguments.html',
      title: 'All arguments',
      initial_comment: 'The arguments in full',
      content,
    });
    const message = await page.waitForMessage('The arguments in full');
    await message.getByText(`arguments.html · ${content.length} bytes`).waitFor();
    const link = message.getByRole('link', { name: `Download arguments.html, ${content.length} bytes` });
    const [download] = await Promise.all([page.page.waitForEvent('download'), link.press('Enter')]);
    expect(download.suggestedFilename()).toBe('arguments.html');
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString()).toBe(content);
    expect(await page.page.title()).not.toBe('taken over');
  });

  it('rich text is shown complete: each style, list, quote and border', async () => {
    const text = (what: string, style?: object) => ({ type: 'text', text: what, ...(style && { style }) });
    const item = (what: string) => ({ type: 'rich_text_section', elements: [text(what)] });
    await fetch(`${slack.apiUrl}chat.postMessage`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer xoxb-demo-acme' },
      body: JSON.stringify({
        channel: CHANNEL,
        text: 'rich',
        blocks: [
          {
            type: 'rich_text',
            elements: [
              {
                type: 'rich_text_section',
                elements: [
                  text('beneath', { underline: true }),
                  text('all', { bold: true, italic: true, strike: true, code: true }),
                  { type: 'emoji', name: 'no_such_name', unicode: '1f44d' },
                  { type: 'usergroup', usergroup_id: 'S0SUPPORT' },
                  { type: 'channel', channel_id: CHANNEL },
                ],
              },
              { type: 'rich_text_list', style: 'ordered', indent: 1, offset: 2, elements: [item('third')] },
              { type: 'rich_text_list', style: 'bullet', border: 1, elements: [item('dot')] },
              { type: 'rich_text_quote', elements: [text('said')] },
              { type: 'rich_text_preformatted', border: 1, elements: [text('{ }')] },
            ],
          },
        ],
      }),
    });
    const message = await page.waitForMessage('beneath');
    await expect.poll(() => message.locator('u').textContent()).toBe('beneath');
    await expect.poll(() => message.locator('strong > em > s > code').textContent()).toBe('all');
    await expect.poll(() => message.locator('.emoji').textContent()).toBe('👍');
    await expect
      .poll(() => message.locator('.mention').allTextContents())
      .toEqual(['@support', '#acme-approvals']);
    const list = message.locator('ol.rich-list');
    await expect.poll(() => list.getAttribute('start')).toBe('3');
    const letters = `getComputedStyle(document.querySelector('ol.rich-list')).listStyleType`;
    expect(await page.page.evaluate(letters)).toBe('lower-alpha');
    await expect.poll(() => message.locator('ul.bordered li').textContent()).toBe('dot');
    await expect.poll(() => message.locator('blockquote').textContent()).toBe('said');
    await expect.poll(() => message.locator('pre').textContent()).toBe('{ }');
    expect(await message.locator('.unsupported').count()).toBe(0);
  });

  it('a message is deleted as an admin does it: after a question, for everybody', async () => {
    const message = await page.waitForMessage('beneath');
    await message.getByRole('button', { name: 'Delete this message' }).press('Enter');
    await page.answerConfirm('Cancel');
    await expect.poll(() => page.messages('beneath').count()).toBe(1);
    await message.getByRole('button', { name: 'Delete this message' }).press('Enter');
    await page.answerConfirm('Delete');
    await message.waitFor({ state: 'detached' });
    expect(page.troubles).toEqual([]);
  });
});
