import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { helpDeskSeed } from './help-desk-seed.ts';
import { helpDeskServer } from './help-desk-server.ts';
import { HelpDeskStore, TokenScope } from './help-desk-store.ts';

/** The first line on stdin, so that the tokens stand in no argument list and no environment. */
const Orders = z.strictObject({
  directory: z.string(),
  port: z.int(),
  tokens: z.array(z.strictObject({ token: z.string(), scope: TokenScope })),
  journalToken: z.string(),
});

const stdin = createInterface({ input: process.stdin });
// Whoever started us is gone: the kernel closes the pipe for them.
stdin.once('close', () => process.exit(0));
const [line] = await once(stdin, 'line');
const orders = Orders.parse(JSON.parse(line));
const store = new HelpDeskStore(orders.directory, helpDeskSeed().tickets, () => new Date());
const server = helpDeskServer(store, {
  scopes: new Map(orders.tokens.map(({ token, scope }) => [token, scope])),
  journal: orders.journalToken,
});
server.listen(orders.port, '127.0.0.1');
await once(server, 'listening');
process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
