import { createHmac } from 'node:crypto';
import { connect } from 'node:net';

/** HTTP by hand, so that what an ordinary client would put right or refuse reaches the receiver as it is. */

export type Header = readonly [name: string, value: string];

export interface RawRequest {
  readonly method?: string;
  readonly target?: string;
  readonly headers: readonly Header[];
  readonly body: Buffer | string;
}

export function rawRequest({ method = 'POST', target = '/slack/events', headers, body }: RawRequest): Buffer {
  const lines = [`${method} ${target} HTTP/1.1`, ...headers.map(([name, value]) => `${name}: ${value}`)];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), Buffer.from(body)]);
}

/** The signature of https://docs.slack.dev/authentication/verifying-requests-from-slack, made here once more. */
export function signatureOf(
  secret: string,
  timestamp: string,
  body: Buffer | string,
  version = 'v0',
): string {
  const hmac = createHmac('sha256', secret).update(`${version}:${timestamp}:`).update(body);
  return `${version}=${hmac.digest('hex')}`;
}

/** Sends the bytes and answers with the status of each response until the receiver closes, or `until` of them came. */
export function exchange(port: number, bytes: Buffer, { until = 1 } = {}): Promise<number[]> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const statuses = () => [...answer.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    const done = () => {
      resolve(statuses());
      socket.destroy();
    };
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1');
      if (statuses().length >= until && /\r\n\r\n/.test(answer)) done();
    });
    socket.on('close', done);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // Turned away in the middle of what it sent, a sender may see its connection reset, before or after the answer.
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') done();
      else reject(error);
    });
  });
}
