import { expect } from 'vitest';
import type { PartProcess } from '../../src/demo/installation.ts';
import type { ExecutorHealthReport, HealthReport } from '../../src/health.ts';

/** Whoever asks hears something within this, whatever befalls the part. */
const ANSWER_MS = 15_000;
/** A channel is looked at once a minute. */
const WAIT = { timeout: 150_000, interval: 100 };

/** A process that answers `/health` and `/ready`. */
export type Answering = Pick<PartProcess, 'port'>;
export type Report = HealthReport | ExecutorHealthReport;

export async function ask({ port }: Answering, path: '/health' | '/ready'): Promise<Response> {
  return await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(ANSWER_MS) });
}

export async function health<R extends Report>(part: Answering): Promise<R> {
  return (await (await ask(part, '/health')).json()) as R;
}

/** What a balancer sees; `gone`: nobody listens there. */
export async function readiness(part: Answering): Promise<number | 'gone'> {
  return await ask(part, '/ready')
    .then(({ status }) => status)
    .catch(() => 'gone' as const);
}

/** Sooner or later, and then also to a balancer. */
export async function expectWell(...parts: readonly Answering[]): Promise<void> {
  for (const part of parts) {
    await expect.poll(() => health(part), WAIT).toMatchObject({ status: 'ok' });
    await expect.poll(() => readiness(part), WAIT).toBe(200);
  }
}
