import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { NotHeldByReplicas } from '../core/proposal/proposal-store.ts';
import { ClusterClient } from './cluster-client.ts';
import { ANSWER_TIMEOUT_MS, answerOf, type RedisClient } from './connection.ts';
import { HeldByReplicas, type Needed, type Sent } from './held-by-replicas.ts';
import { fenceKey, shardKeys } from './keys.ts';

/** One Lua script: the shared prelude and its own body. */
interface Script {
  readonly text: string;
  readonly sha: string;
}

/**
 * `allow-oom`: also where Redis is over its memory limit. Only for what makes the world safer: off, deny, and settling
 * what has happened. Everything else is refused before its first line runs, which `#!lua` is there for; without that
 * line a script goes on past out-of-memory and half-applies.
 */
type Flags = '' | 'allow-oom' | 'no-writes';

const textOf = (name: string) => readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8');
const prelude = `${textOf('prelude')}\n${textOf('grant-standing')}`;
const cardLease = textOf('card-lease');

function script(name: string, flags: Flags = '', shared = prelude): Script {
  const shebang = flags === '' ? '#!lua' : `#!lua flags=${flags}`;
  const text = `${shebang}\n${shared}\n${textOf(name)}`;
  return { text, sha: createHash('sha1').update(text).digest('hex') };
}

/** For a publisher that holds a card by lease. */
const cardScript = (name: string) => script(name, '', `${prelude}\n${cardLease}`);

/** For what decides where people meet a proposal. */
function foldScript(name: string, flags: Flags = ''): Script {
  return script(name, flags, `${prelude}\n${textOf('fold-keys')}`);
}

const SCRIPTS = {
  create: script('create'),
  approve: script('decide'),
  deny: script('decide', 'allow-oom'),
  readHeld: script('read-held', 'no-writes'),
  withdraw: script('withdraw'),
  expire: script('expire'),
  admit: script('admit'),
  extendLease: script('extend-lease'),
  giveBack: script('give-back', 'allow-oom'),
  finish: script('finish', 'allow-oom'),
  declareUnknown: script('declare-unknown', 'allow-oom'),
  refuse: script('refuse', 'allow-oom'),
  due: script('due', 'no-writes'),
  revoke: script('revoke'),
  attest: script('attest'),
  attestClaim: script('attest-claim'),
  timers: script('timers'),
  cardClaim: script('card-claim'),
  cardBegin: cardScript('card-begin'),
  cardDrawn: cardScript('card-drawn'),
  cardSkip: cardScript('card-skip'),
  cardTold: cardScript('card-told'),
  cardPostpone: cardScript('card-postpone'),
  cardAbandon: cardScript('card-abandon'),
  cardSeen: script('card-seen'),
  cardLost: script('card-lost'),
  cardRepair: script('card-repair'),
  pace: script('pace'),
  edit: script('edit'),
  previewClaim: script('preview-claim'),
  previewKeep: script('preview-keep'),
  switchRead: script('switch-read', 'no-writes'),
  switchStatus: script('switch-status', 'no-writes'),
  switchOff: script('switch-off', 'allow-oom'),
  switchOn: script('switch-on'),
  switchHalt: script('switch-halt', 'allow-oom'),
  switchHalted: script('switch-halted', 'allow-oom'),
  switchRenew: script('switch-renew'),
  foldPlace: foldScript('fold-place'),
  foldWaiting: foldScript('fold-waiting', 'no-writes'),
  digestClaim: foldScript('digest-claim'),
  digestHandBack: foldScript('digest-hand-back'),
  switchArm: script('switch-arm'),
  switchHeard: script('switch-heard'),
  switchNoticeClaim: script('switch-notice-claim'),
  switchNoticeHandBack: script('switch-notice-hand-back'),
  grantMake: script('grant-make'),
  grantEnd: script('grant-end', 'allow-oom'),
  grantSweep: script('grant-sweep', 'allow-oom'),
  grantCardClaim: script('grant-card-claim'),
  grantCardDrawn: script('grant-card-drawn'),
  auditAppend: script('audit-append'),
  // What is sealed and trimmed makes room: also where there is none.
  sealClaim: script('seal-claim', 'allow-oom'),
  sealRenew: script('seal-renew', 'allow-oom'),
  sealBegin: script('seal-begin', 'allow-oom'),
  sealRead: script('seal-read', 'no-writes'),
  sealAdvance: script('seal-advance', 'allow-oom'),
  sealTrim: script('seal-trim', 'allow-oom'),
} as const;

type ScriptName = keyof typeof SCRIPTS;

/**
 * What replicas have to hold before it counts: what people and callers are told, what starts a call, and what is sealed.
 * By the first word of the answer, whether the script has just written it, or read what may have been written just now.
 */
const HELD: { readonly [name in ScriptName]?: Readonly<Record<string, 'written' | 'read'>> } = {
  create: { new: 'written', joined: 'read', conflict: 'read', cooling_down: 'read' },
  approve: VOTED(),
  deny: VOTED(),
  edit: { edited: 'read', writes_off: 'written', already_settled: 'read' },
  readHeld: { read: 'read' },
  withdraw: SETTLED(),
  admit: { admitted: 'written' },
  finish: SETTLED(),
  declareUnknown: SETTLED(),
  refuse: SETTLED(),
  revoke: SETTLED(),
  grantMake: { new: 'written', again: 'read' },
  grantEnd: { revoked: 'written', already_ended: 'read' },
  switchOn: { on: 'written' },
  switchOff: { off: 'written' },
};

/** Whoever clicks again is told what stands: that has to be held as well, whoever it was that decided. */
function VOTED() {
  return {
    settled: 'written',
    recorded: 'written',
    writes_off: 'written',
    replayed: 'read',
    already_voted: 'read',
    already_settled: 'read',
  } as const;
}

function SETTLED() {
  return { settled: 'written', lost_race: 'read' } as const;
}

function heldAs(name: ScriptName, reply: unknown): 'written' | 'read' | undefined {
  // Entries are sealed for good, so a failover must not take them back.
  if (name === 'sealRead') return Array.isArray(reply) && reply.length > 0 ? 'read' : undefined;
  const word: unknown = Array.isArray(reply) ? reply[0] : reply;
  return typeof word === 'string' ? HELD[name]?.[word] : undefined;
}

/** A Cluster's node says that the slot is with another, or on its way to it, or that it has lost its fellows. Nothing ran. */
const NOT_HERE = /^(?:MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b/;
const NOT_HERE_PAUSE_MS = 50;
/** After that nothing is sent any more: whoever asked is about to be told that nothing is known. */
const SEND_WITHIN_MS = ANSWER_TIMEOUT_MS - 100;
/** Longer than WAIT lasts, behind another one. */
const HOLD_ANSWER_MS = 2_200;
/** An `off` asks first how many replicas there are, which may wait behind one as well. */
const HOLD_BY_ALL_ANSWER_MS = 3_200;

interface Answered {
  readonly reply: unknown;
  readonly node: Redis;
  readonly sent: Sent;
}

export interface Ask {
  readonly shard: number;
  /** KEYS after those of the shard. */
  readonly keys?: readonly string[];
  /**
   * ARGV[1], as JSON: ids, numbers, names. Texts from outside go into `texts`, untouched by a JSON parser that
   * refuses half a surrogate pair.
   */
  readonly ask?: Readonly<Record<string, unknown>>;
  /** ARGV[2] and on. */
  readonly texts?: readonly string[];
}

export class Scripts {
  readonly #redis: RedisClient;
  readonly #replicas: number;

  /** @param replicas how many of a master's have to hold what counts only then. */
  constructor(redis: RedisClient, replicas = 0) {
    this.#redis = redis;
    this.#replicas = replicas;
  }

  /** @throws StoreUnavailable, NotHeldByReplicas, StoreDamaged */
  async run(name: ScriptName, { shard, keys = [], ask = {}, texts = [] }: Ask): Promise<unknown> {
    const script = SCRIPTS[name];
    const allKeys = [...shardKeys(shard), ...keys];
    const args = [allKeys.length, ...allKeys, JSON.stringify(ask), ...texts] as const;
    const needed = this.#needed(name);
    const sendUntil = performance.now() + SEND_WITHIN_MS;
    if (needed === undefined)
      return answerOf(this.#redis, () => evaluated(this.#redis, script, args, sendUntil));

    const fence = fenceKey(shard);
    const answered = await answerOf(this.#redis, () => this.#onNode(fence, script, args, sendUntil));
    const as = heldAs(name, answered.reply);
    if (as !== undefined) await this.#held(answered, needed, as === 'read' ? fence : undefined);
    return answered.reply;
  }

  /** `off` waits also for replicas that nobody counts on: any of them may take over. */
  #needed(name: ScriptName): Needed | undefined {
    if (name === 'switchOff') return { replicas: this.#replicas, connected: true };
    const held = name === 'sealRead' || HELD[name] !== undefined;
    return held && this.#replicas > 0 ? { replicas: this.#replicas } : undefined;
  }

  /** Over the connection of the node that holds the shard: the one on which WAIT speaks of it. */
  async #onNode(key: string, script: Script, args: EvalArguments, sendUntil: number): Promise<Answered> {
    const redis = this.#redis;
    if (!(redis instanceof ClusterClient)) return overConnection(redis, script, args, sendUntil);
    for (;;) {
      const node = await redis.nodeOf(key);
      if (performance.now() > sendUntil)
        throw new Error('the node that holds the shard was not found in time');
      try {
        return await overConnection(node, script, args, sendUntil);
      } catch (error) {
        if (!(error instanceof Error && NOT_HERE.test(error.message))) throw error;
        redis.refreshSlotsSoon();
        await sleep(NOT_HERE_PAUSE_MS);
      }
    }
  }

  async #held({ node, sent }: Answered, needed: Needed, fence: string | undefined): Promise<void> {
    let cause: unknown;
    try {
      const holding = () => HeldByReplicas.of(node).hold(sent, needed, fence);
      const withinMs = needed.connected ? HOLD_BY_ALL_ANSWER_MS : HOLD_ANSWER_MS;
      // Where the connection is gone, a new one could tell nothing.
      if (node.status === 'ready' && (await answerOf(node, holding, withinMs))) return;
    } catch (error) {
      cause = error;
    }
    throw new NotHeldByReplicas(needed.replicas, cause);
  }
}

type EvalArguments = readonly [count: number, ...texts: string[]];

async function overConnection(
  node: Redis,
  script: Script,
  args: EvalArguments,
  sendUntil: number,
): Promise<Answered> {
  let sent: Sent | undefined;
  const reply = await evaluated(node, script, args, sendUntil, () => {
    sent = HeldByReplicas.of(node).sending();
  });
  return { reply, node, sent: sent as Sent };
}

async function evaluated(
  redis: RedisClient,
  { sha, text }: Script,
  args: EvalArguments,
  sendUntil: number,
  sending: () => void = () => {},
): Promise<unknown> {
  try {
    sending();
    return await redis.evalsha(sha, ...args);
  } catch (error) {
    // The cache is lost with a restart or SCRIPT FLUSH. Nothing ran: sending the whole text cannot repeat anything.
    if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
    if (performance.now() > sendUntil) throw new Error('given up before it was sent');
    sending();
    return redis.eval(text, ...args);
  }
}
