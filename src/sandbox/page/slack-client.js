// @ts-check

/** @typedef {import('../slack/person-interface.ts').PersonEvent} PersonEvent */
/** @typedef {{ team: string, user: string }} Person */
/** @typedef {{ ok: false, error: string, text: string }} Failed */
/** @typedef {typeof import('../slack/person-interface.ts')} Interface */
/** @template {keyof Interface} Name @typedef {import('zod').infer<Extract<Interface[Name], import('zod').ZodType>>} Said */
/**
 * @typedef {{
 *   workspaces: Said<'WorkspacesAnswer'>,
 *   users: Said<'UsersAnswer'>,
 *   commands: Said<'CommandsAnswer'>,
 *   channels: Said<'ChannelsAnswer'>,
 *   messages: Said<'MessagesAnswer'>,
 *   view: Said<'ViewAnswer'>,
 *   home: Said<'HomeAnswer'>,
 *   faults: Said<'FaultsAnswer'>,
 * }} Sights
 * @typedef {{
 *   click: Said<'ActionAnswer'>,
 *   submit: Said<'SubmitAnswer'>,
 *   'close-view': Said<'ActionAnswer'>,
 *   command: Said<'ActionAnswer'>,
 *   post: Said<'PostAnswer'>,
 *   'open-home': Said<'ActionAnswer'>,
 *   faults: Said<'ActionAnswer'>,
 * }} Actions
 */

const SILENT = {
  ok: /** @type {const} */ (false),
  error: 'unreachable',
  text: 'The local Slack does not answer. Is it still running?',
};

/**
 * The person's interface (src/sandbox/slack/person-interface.ts) as calls. A server that is gone is an answer like any
 * other: `{ ok: false, error: 'unreachable' }`.
 *
 * @template {keyof Sights} Route
 * @param {Route} route
 * @param {Record<string, string | number>} [query]
 * @returns {Promise<Sights[Route] | Failed>}
 */
export async function read(route, query = {}) {
  const parameters = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  return answerOf(fetch(`/sandbox/${route}?${parameters}`, { headers: { accept: 'application/json' } }));
}

/**
 * @template {keyof Actions} Route
 * @param {Route} route
 * @param {object} body
 * @returns {Promise<Actions[Route] | Failed>}
 */
export async function act(route, body) {
  return answerOf(
    fetch(`/sandbox/${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
  );
}

/** @param {Promise<Response>} response */
async function answerOf(response) {
  try {
    return await (await response).json();
  } catch {
    return SILENT;
  }
}

const RETRY = { firstMs: 500, mostMs: 8000 };

/**
 * What happens before one person, from `cursor` on. A browser's EventSource reconnects by itself after a dropped
 * connection and gives up after a refusal; then this opens a new one.
 *
 * @param {Person} person
 * @param {number} cursor
 * @param {{ event: (event: PersonEvent) => void, connected: (connected: boolean) => void }} listener
 * @returns {() => void} stops it
 */
export function listen(person, cursor, listener) {
  let last = cursor;
  let delay = RETRY.firstMs;
  /** @type {EventSource | undefined} */
  let source;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const open = () => {
    const query = new URLSearchParams({ ...person, since: String(last) });
    const stream = new EventSource(`/sandbox/events?${query}`);
    source = stream;
    stream.onopen = () => {
      delay = RETRY.firstMs;
      listener.connected(true);
    };
    stream.onmessage = (message) => {
      const event = /** @type {PersonEvent} */ (JSON.parse(message.data));
      last = event.cursor;
      listener.event(event);
    };
    stream.onerror = () => {
      listener.connected(false);
      if (stream.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, delay);
      delay = Math.min(delay * 2, RETRY.mostMs);
    };
  };
  open();
  return () => {
    clearTimeout(timer);
    source?.close();
  };
}
