import { type AddressInfo, createServer } from 'node:net';

/** From the one up to the other, which is not among them. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** Free on loopback at this moment, each a different one. */
export async function freePorts(count: number, { from, to }: PortRange): Promise<number[]> {
  const found = new Set<number>();
  while (found.size < count) {
    const port = from + Math.floor(Math.random() * (to - from));
    if (await isFree(port)) found.add(port);
  }
  return [...found];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.once('error', () => done(false));
    server.listen(port, '127.0.0.1', () => {
      const { port: bound } = server.address() as AddressInfo;
      server.close(() => done(bound === port));
    });
  });
}
