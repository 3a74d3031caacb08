import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Heard {
  headers: IncomingHttpHeaders;
  body: string;
  form: Record<string, string>;
}

/** An app's HTTP endpoint that writes down what it hears and acknowledges with whatever the test says. */
export class ListeningApp {
  readonly heard: Heard[] = [];
  reply: { status: number; body?: unknown } = { status: 200 };
  readonly #server: Server;

  constructor() {
    this.#server = createServer(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = Buffer.concat(chunks).toString('utf8');
      this.heard.push({
        headers: request.headers,
        body,
        form: Object.fromEntries(new URLSearchParams(body)),
      });
      response.writeHead(this.reply.status, { 'content-type': 'application/json' });
      response.end(this.reply.body === undefined ? '' : JSON.stringify(this.reply.body));
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/slack/events`;
  }

  get last(): Heard {
    const last = this.heard.at(-1);
    if (!last) throw new Error('The app has heard nothing yet.');
    return last;
  }

  /** The newest interactive payload, or the newest command's fields. */
  get payload(): Record<string, unknown> {
    const { form } = this.last;
    return form.payload === undefined ? form : (JSON.parse(form.payload) as Record<string, unknown>);
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }
}
