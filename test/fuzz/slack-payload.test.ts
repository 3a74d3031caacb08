import fc from 'fast-check';
import { afterAll, beforeAll, expect, vi } from 'vitest';
import type { ProposalId } from '../../src/core/proposal/proposal-id.ts';
import type { SeenMessage } from '../../src/sandbox/slack/person-interface.ts';
import { signatureOf } from '../attacks/raw-http.ts';
import { redisForTests } from '../redis-for-tests.ts';
import { APP_ID, CHANNEL, surfaceForTests } from '../slack/surface-for-tests.ts';
import { fuzz } from './fuzz.ts';

/**
 * What Slack really sent, bent in a few places, signed and delivered to the real receiver: it is refused, and nothing
 * changes, unless what is left of it is still a click of somebody who may.
 */

const redis = redisForTests({ emptied: 'once' });
const t = surfaceForTests('http', redis, { shared: true });

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Payload = { [key: string]: Json };

/** By Chen, who may decide nothing, and by Rita, who may turn nothing off or on. */
const recorded: Payload[] = [];
const waiting: ProposalId[] = [];

beforeAll(async () => {
  const { sealed, message } = await t.card({ rule: { expiresInMs: 6 * 3_600_000 } });
  const reasoned = await t.card({
    arguments: { ticket: 'T-2' },
    rule: { expiresInMs: 6 * 3_600_000, reason: { approve: 'required', deny: 'required' } },
  });
  waiting.push(sealed.terms.id, reasoned.sealed.terms.id);
  const chen = t.person('U0CHEN');
  const of = (type: string) => structuredClone(t.slack.traffic.deliveries(type).at(-1)?.payload) as Payload;
  const clicked = async (on: SeenMessage, action: string) => {
    await chen.click(on, action);
    recorded.push(of('block_actions'));
  };
  await clicked(message, 'cs_approve');
  await clicked(message, 'cs_deny');
  await clicked(reasoned.message, 'cs_approve');
  // A form that Ana was shown: in Chen's hands it decides nothing.
  await t.person('U0ANA').click(reasoned.message, 'cs_approve');
  const form = await t.person('U0ANA').waitForView();
  const view = t.slack.traffic.deliveries('block_actions').at(-1)?.payload as Payload;
  const opened = t.slack.traffic.calls('views.open').at(-1)?.body.view as string;
  recorded.push({
    ...view,
    type: 'view_submission',
    user: { ...(view.user as Payload), id: 'U0CHEN' },
    view: {
      ...(JSON.parse(opened) as Payload),
      id: form.id,
      hash: 'x',
      state: { values: { cs_reason: { cs_reason_text: { type: 'plain_text_input', value: 'fine' } } } },
    },
  });
  await t.person('U0RITA').command('/agent-writes off now', CHANNEL);
  recorded.push(of('slash_commands'));
  await t.person('U0RITA').command('/agent-writes on fixed', CHANNEL);
  recorded.push(of('slash_commands'));
  const refused = async () => expect(await t.entries('switch.refused')).toHaveLength(2);
  await vi.waitFor(refused, { timeout: 20_000 });
});

// With writes off a genuine approval would not count either, and nothing would be seen.
let renewal: NodeJS.Timeout;
beforeAll(() => {
  renewal = setInterval(() => void t.writeSwitch.renewPermits().catch(() => {}), 1_000);
});
afterAll(() => clearInterval(renewal));

/* ---- bending ---- */

const STRANGE: readonly Json[] = [
  ...[
    'U0ANA',
    'U0BEN',
    'U0LEAD',
    'U0OMAR',
    'U0STRANGER',
    'U0GUEST',
    'U0GONE',
    'T0ACME',
    'T0GLOBEX',
    'T0OTHER',
    'E0GRID',
  ],
  ...[
    'cs_approve',
    'cs_deny',
    'cs_review',
    'cs_alike_approve',
    'cs_list_approve',
    'cs_grant',
    'cs_edit',
    CHANNEL,
    'C0GLOBEX',
  ],
  ...[
    'view_submission',
    'block_actions',
    'message',
    'view',
    'home',
    'button',
    APP_ID,
    'A0EVIL',
    '',
    '__proto__',
    'off',
    'on x',
  ],
  null,
  true,
  0,
  -1,
  1e308,
  [],
  {},
  [[]],
  { id: 'U0ANA' },
  ['U0ANA'],
  'x'.repeat(5_000),
];
/** To put something strange there is likelier than the rest. */
const HOW = ['put', 'put', 'put', 'drop', 'double', 'wrap', 'swap'] as const;
const bend = fc.record({
  place: fc.nat(),
  how: fc.constantFrom(...HOW),
  strange: fc.nat({ max: STRANGE.length - 1 }),
  other: fc.nat(),
});
type Bent = [number, { place: number; how: (typeof HOW)[number]; strange: number; other: number }[]];
const bent: fc.Arbitrary<Bent> = fc.tuple(fc.nat(), fc.array(bend, { minLength: 1, maxLength: 4 }));

/** Every place of a payload, as something to read and write. */
function placesIn(value: Json): { holder: Payload | Json[]; key: string }[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.keys(value).flatMap((key) => [
    { holder: value, key },
    ...placesIn((value as Payload)[key] as Json),
  ]);
}
function bentPayload([which, bends]: Bent): Payload {
  const payload = structuredClone(recorded[which % recorded.length]) as Payload;
  for (const { place, how, strange, other } of bends) {
    const places = placesIn(payload);
    const at = places[place % places.length];
    const from = places[other % places.length];
    if (at === undefined || from === undefined) continue;
    const holder = at.holder as Payload;
    const before = holder[at.key] as Json;
    const source = structuredClone((from.holder as Payload)[from.key] as Json);
    if (how === 'drop') delete holder[at.key];
    else if (how === 'wrap') holder[at.key] = [before];
    else if (how === 'double')
      holder[at.key] = Array.isArray(before) ? [...before, ...before] : [before, before];
    else holder[at.key] = how === 'swap' ? source : (STRANGE[strange] as Json);
  }
  return payload;
}

/** Whether somebody who may is named as the one who acts: then it may be a genuine click still, and is not sent. */
const MAY_DECIDE = /^U0(ANA|BEN|RITA|LEAD)$/;
const MAY_SWITCH = /^U0(CHEN|LEAD)$/;
function maybeGenuine({ user, user_id: typist }: Payload): boolean {
  const clicker = typeof user === 'object' && user !== null ? (user as Payload).id : undefined;
  return (
    (typeof clicker === 'string' && MAY_DECIDE.test(clicker)) ||
    (typeof typist === 'string' && MAY_SWITCH.test(typist))
  );
}

let sent = 0;
async function deliver(payload: Payload): Promise<void> {
  const isCommand = 'command' in payload;
  const text = (value: Json) => (typeof value === 'string' ? value : JSON.stringify(value));
  const fields = isCommand
    ? Object.entries(payload).map(([name, value]): [string, string] => [name, text(value)])
    : [['payload', JSON.stringify(payload)] as [string, string]];
  const form = new URLSearchParams(fields);
  sent += 1;
  // Never the same twice: what is sent again is turned away before it is read.
  if (isCommand) form.set('trigger_id', `fuzz.${sent}`);
  const body = isCommand ? form.toString() : form.toString().replace('%7B', `%7B%22fuzz%22%3A${sent}%2C`);
  const timestamp = String(Math.floor(Date.now() / 1_000));
  const answered = fetch(t.url, {
    method: 'POST',
    body,
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      'x-slack-request-timestamp': timestamp,
      'x-slack-signature': signatureOf(t.slack.world.app.signingSecret, timestamp, body),
    },
  });
  const status = await Promise.race([
    answered.then((response) => response.status),
    // What nobody listens to is acknowledged by nobody, for three seconds.
    new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 300)),
  ]);
  answered.catch(() => {});
  // 500: Bolt itself could not make out who acts, or where; no listener was asked.
  expect([undefined, 200, 400, 401, 404, 500]).toContain(status);
}

/** Chen's own click, as he made it: when its refusal is in the audit, what was sent before it was read as well. */
async function caughtUp(): Promise<void> {
  const before = (await t.entries('decision.refused')).length;
  await deliver(structuredClone(recorded[0]) as Payload);
  await expect.poll(async () => (await t.entries('decision.refused')).length).toBeGreaterThan(before);
}

async function nothingChanged(): Promise<void> {
  for (const id of waiting) expect(await t.status(id)).toBe('pending');
  expect(await t.writeSwitch.status()).toMatchObject({ off: [], state: 'on' });
  expect(await t.entries('switch.on')).toHaveLength(1);
  for (const kind of [
    'decision.approve',
    'decision.deny',
    'switch.off',
    'grant.made',
    'proposal.edited',
  ] as const) {
    expect(await t.entries(kind), kind).toEqual([]);
  }
}

fuzz(
  'the reader of Slack’s payloads',
  fc.asyncProperty(fc.array(bent, { minLength: 1, maxLength: 8 }), async (many) => {
    const payloads = many.map(bentPayload).filter((payload) => !maybeGenuine(payload));
    await Promise.all(payloads.map(deliver));
    await caughtUp();
    await nothingChanged();
  }),
  { atLeast: 8 },
);
