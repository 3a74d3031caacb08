import { createHmac } from 'node:crypto';
import { type AppTransport, type Delivered, type Envelope, TIMED_OUT, UNDELIVERED } from './app-delivery.ts';
import type { SandboxClock } from './sandbox-clock.ts';

export interface HttpDeliveryOptions {
  url: string;
  signingSecret: () => string;
  clock: SandboxClock;
}

/** Signed POSTs to the app's URL. Interactivity and slash commands are not retried: a person saw the error already. */
export class HttpDelivery implements AppTransport {
  readonly #options: HttpDeliveryOptions;
  readonly #open = new Set<AbortController>();

  constructor(options: HttpDeliveryOptions) {
    this.#options = options;
  }

  async deliver(envelope: Envelope, copies: 1 | 2, deadline: number): Promise<Delivered> {
    const first = this.#post(envelope, deadline);
    if (copies === 2) await Promise.allSettled([first, this.#post(envelope, deadline)]);
    return first;
  }

  close(): void {
    for (const controller of this.#open) controller.abort();
  }

  async #post(envelope: Envelope, deadline: number): Promise<Delivered> {
    const { clock, url, signingSecret } = this.#options;
    const controller = new AbortController();
    this.#open.add(controller);
    let late = false;
    const cancel = clock.after(deadline - clock.now(), () => {
      late = true;
      controller.abort();
    });
    try {
      const { body, contentType } = encode(envelope);
      const response = await fetch(url, {
        method: 'POST',
        redirect: 'manual',
        signal: controller.signal,
        body,
        headers: { 'content-type': contentType, 'user-agent': USER_AGENT, ...signed(body, signingSecret()) },
      });
      const text = await response.text();
      // A receiver that gives up at three seconds answers in the same instant as the person's client does.
      if (clock.now() >= deadline) return TIMED_OUT;
      if (!response.ok) return refused(response.status);
      return { ok: true, response: parseAnswer(text, response.headers.get('content-type') ?? '') };
    } catch {
      return late ? TIMED_OUT : UNDELIVERED;
    } finally {
      cancel();
      this.#open.delete(controller);
    }
  }
}

const USER_AGENT = 'Slackbot 1.0 (+https://api.slack.com/robots)';

function encode(envelope: Envelope): { body: string; contentType: string } {
  if (envelope.type === 'events_api') {
    return { body: JSON.stringify(envelope.payload), contentType: 'application/json' };
  }
  const form = new URLSearchParams();
  if (envelope.type === 'interactive') form.set('payload', JSON.stringify(envelope.payload));
  else for (const [name, value] of Object.entries(envelope.payload)) form.set(name, String(value));
  return { body: form.toString(), contentType: 'application/x-www-form-urlencoded' };
}

/**
 * https://docs.slack.dev/authentication/verifying-requests-from-slack. The real time, not the sandbox clock: the app
 * compares it with its own.
 */
export function signed(body: string, secret: string, atMs = Date.now()): Record<string, string> {
  const timestamp = String(Math.floor(atMs / 1000));
  const signature = createHmac('sha256', secret).update(`v0:${timestamp}:${body}`).digest('hex');
  return { 'x-slack-request-timestamp': timestamp, 'x-slack-signature': `v0=${signature}` };
}

function refused(status: number): Delivered {
  if (status >= 500) return { ok: false, error: 'app_error', detail: 'http_service_error' };
  return {
    ok: false,
    error: 'app_error',
    detail: status >= 400 ? 'http_client_error' : 'http_response_error',
  };
}

function parseAnswer(text: string, contentType: string): unknown {
  if (text.trim() === '') return undefined;
  if (!contentType.includes('json')) return { text };
  try {
    return JSON.parse(text);
  } catch {
    return { text };
  }
}
