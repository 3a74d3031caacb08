import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { answerOf, type RedisClient } from './connection.ts';
import { shardKeys } from './keys.ts';

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

  constructor(redis: RedisClient) {
    this.#redis = redis;
  }

  /** @throws StoreUnavailable, StoreDamaged */
  run(name: keyof typeof SCRIPTS, { shard, keys = [], ask = {}, texts = [] }: Ask): Promise<unknown> {
    const { sha, text } = SCRIPTS[name];
    const allKeys = [...shardKeys(shard), ...keys];
    const args = [allKeys.length, ...allKeys, JSON.stringify(ask), ...texts] as const;
    return answerOf(this.#redis, async () => {
      try {
        return await this.#redis.evalsha(sha, ...args);
      } catch (error) {
        // The cache is lost with a restart or SCRIPT FLUSH. Nothing ran: sending the whole text cannot repeat anything.
        if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error;
        return this.#redis.eval(text, ...args);
      }
    });
  }
}
