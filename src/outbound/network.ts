import { lookup } from 'node:dns/promises';
import { connect, type Socket } from 'node:net';

/** What a call to the outside needs of the machine's network. */
export interface Network {
  /** Every address of a host name, in the order in which to try them. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** A socket that is connecting to exactly this address. */
  readonly dial: (address: string, port: number) => Socket;
}

export const MACHINE_NETWORK: Network = {
  resolve: async (host) => {
    // The dot makes it absolute: no search list of this machine makes api.example.com a name of its own network.
    const answers = await lookup(`${host}.`, { all: true });
    return answers.map(({ address }) => address);
  },
  dial: (address, port) => connect({ host: address, port }),
};
