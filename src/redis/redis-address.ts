import type { RedisOptions } from 'ioredis';

/** One node that answers under this name and port. */
export interface NodeAddress {
  readonly host: string;
  readonly port: number;
}

/** A Redis Cluster: some of its nodes, from which the others are learned. */
export interface ClusterConnection {
  readonly cluster: readonly NodeAddress[];
  readonly username?: string;
  readonly password?: string;
  /** With TLS to every node: `{}`, or what node:tls takes, as `{ ca }`. */
  readonly tls?: NonNullable<NodeConnection['tls']>;
}

/** One Redis, or what Sentinels say is the master, as ioredis takes it. */
export type NodeConnection = Omit<RedisOptions, 'replyMapping'>;

/** What there is to connect to. */
export type RedisConnection = NodeConnection | ClusterConnection;

export interface RedisAddress {
  /** For logs: without users and passwords. */
  readonly address: string;
  readonly connection: RedisConnection;
}

/** The text is no address of a Redis. Does not repeat it: there may be a password in it. */
export class RedisAddressInvalid extends Error {
  override readonly name = 'RedisAddressInvalid';
  readonly code = 'redis_address_invalid';
}

/** By their own names, as shapes. */
export const REDIS_ADDRESS_FORMS =
  'redis://127.0.0.1:6379, rediss://user:password@host:6380, redis+unix:///run/redis.sock or /run/redis.sock; ' +
  'redis+sentinel://user:password@host1:26379,host2:26379,host3:26379/mymaster; redis+cluster://user:password@host1:6379,host2:6379';

const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;

export function isCluster(connection: RedisConnection): connection is ClusterConnection {
  return 'cluster' in connection;
}

/** As many as anybody may want to wait for. */
export const REPLICAS_AT_MOST = 5;

/**
 * How many replicas of each master have to hold a write before it counts, where nobody said: with one Redis there is
 * none, and where there is a failover a write that only the old master has would be lost.
 */
export function replicasByDefault(connection: RedisConnection): number {
  return isCluster(connection) || connection.sentinels ? 1 : 0;
}

/** @throws RedisAddressInvalid saying what is wrong with it. */
export function redisAddressOf(text: string): RedisAddress {
  if (text.startsWith('/')) return { address: text, connection: { path: text, db: 0 } };
  const scheme = /^([a-z+]+):\/\//i.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case 'redis':
    case 'rediss':
      return oneRedis(text);
    case 'redis+unix':
      return unixRedis(text);
    case 'redis+sentinel':
    case 'rediss+sentinel':
      return sentinels(partsOf(text), scheme);
    case 'redis+cluster':
    case 'rediss+cluster':
      return cluster(partsOf(text), scheme);
    default:
      throw new RedisAddressInvalid('is not an address of a Redis');
  }
}

function oneRedis(text: string): RedisAddress {
  const url = urlOf(text);
  const db = databaseOf(url.pathname.replace(/^\//, ''));
  if (url.hostname === '' || url.search !== '' || url.hash !== '')
    throw new RedisAddressInvalid('is not an address of a Redis');
  const port = url.port === '' ? REDIS_PORT : Number(url.port);
  return {
    address: `${url.protocol}//${url.hostname}:${port}/${db}`,
    connection: {
      host: withoutBrackets(url.hostname),
      port,
      db,
      ...loginOf(url.username, url.password),
      ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
    },
  };
}

function unixRedis(text: string): RedisAddress {
  const url = urlOf(text);
  const path = decoded(url.pathname);
  if (url.host !== '' || url.username !== '' || path === '' || path === '/')
    throw new RedisAddressInvalid('names no socket: redis+unix:///run/redis.sock');
  return { address: path, connection: { path, db: databaseOf(url.searchParams.get('db') ?? '') } };
}

/** `scheme://[user:password@]host:port,host:port/path?query`, which no URL may hold several hosts of. */
interface Parts {
  readonly username: string;
  readonly password: string;
  readonly hosts: readonly string[];
  /** Each decoded. */
  readonly path: readonly string[];
  /** Names and values, decoded. */
  readonly query: readonly (readonly [name: string, value: string])[];
}

function partsOf(text: string): Parts {
  const match = /^[a-z+]+:\/\/(?:([^@/?#]*)@)?([^@/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(text);
  if (!match) throw new RedisAddressInvalid('has to be scheme://user:password@host:port,host:port');
  const [, login = '', hosts = '', path = '', query = ''] = match;
  const colon = login.indexOf(':');
  return {
    username: colon < 0 ? login : login.slice(0, colon),
    password: colon < 0 ? '' : login.slice(colon + 1),
    hosts: hosts.split(','),
    path: path.split('/').map(decoded),
    query: query.split('&').filter(Boolean).map(assigned),
  };
}

/** Not as forms do it, where `+` is a space: a password is written the same way wherever it stands. */
function assigned(text: string): readonly [name: string, value: string] {
  const equals = text.indexOf('=');
  if (equals < 0) return [decoded(text), ''];
  return [decoded(text.slice(0, equals)), decoded(text.slice(equals + 1))];
}

function sentinels({ username, password, hosts, path, query }: Parts, scheme: string): RedisAddress {
  const [name = '', database = '', ...more] = path;
  if (name === '' || more.length > 0) {
    throw new RedisAddressInvalid(
      'has to end in the name under which the Sentinels know the master: /mymaster, or /mymaster/2 for database 2',
    );
  }
  const login: Record<string, string> = {};
  for (const [key, value] of query) {
    if (key !== 'sentinelUsername' && key !== 'sentinelPassword') {
      throw new RedisAddressInvalid(
        'takes ?sentinelUsername= and &sentinelPassword=, and nothing else there',
      );
    }
    login[key] = value;
  }
  const nodes = hosts.map((host) => nodeOf(host, SENTINEL_PORT));
  const db = databaseOf(database);
  return {
    address: `${scheme}://${nodes.map(nodeText).join(',')}/${name}/${db}`,
    connection: {
      sentinels: nodes,
      name,
      db,
      ...loginOf(username, password),
      ...login,
      ...(scheme === 'rediss+sentinel' ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true } : {}),
    },
  };
}

function cluster({ username, password, hosts, path, query }: Parts, scheme: string): RedisAddress {
  if (query.length > 0) throw new RedisAddressInvalid('takes no query for a Cluster');
  if (path.join('/') !== '' && path.join('/') !== '0')
    throw new RedisAddressInvalid('names a database: a Redis Cluster has database 0 alone');
  const nodes = hosts.map((host) => nodeOf(host, REDIS_PORT));
  return {
    address: `${scheme}://${nodes.map(nodeText).join(',')}`,
    connection: {
      cluster: nodes,
      ...loginOf(username, password),
      ...(scheme === 'rediss+cluster' ? { tls: {} } : {}),
    },
  };
}

function nodeOf(text: string, defaultPort: number): NodeAddress {
  const [, bracketed, plain, portText] = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = portText === undefined ? defaultPort : Number(portText);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new RedisAddressInvalid('has to list its nodes as host:port, with commas between them');
  }
  return { host, port };
}

function nodeText({ host, port }: NodeAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function loginOf(username: string, password: string): { username?: string; password?: string } {
  return {
    ...(username === '' ? {} : { username: decoded(username) }),
    ...(password === '' ? {} : { password: decoded(password) }),
  };
}

function urlOf(text: string): URL {
  try {
    return new URL(text);
  } catch {
    throw new RedisAddressInvalid('is not an address of a Redis');
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new RedisAddressInvalid('has a % that begins no %-code: a % itself is written %25');
  }
}

function databaseOf(text: string): number {
  if (text === '') return 0;
  if (!/^\d{1,5}$/.test(text)) throw new RedisAddressInvalid('names a database that is no number');
  return Number(text);
}

function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}
