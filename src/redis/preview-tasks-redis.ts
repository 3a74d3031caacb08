import { z } from 'zod';
import {
  type PreviewTask,
  type PreviewTasks,
  previewDigest,
  type SealedPreview,
} from '../core/proposal/preview.ts';
import { ProposalId, shardOfProposal } from '../core/proposal/proposal-id.ts';
import { type ProposalKeys, recordBoxKeys } from '../core/proposal/seal.ts';
import type { Digest } from '../core/tool/digest.ts';
import { Boxes } from './boxes.ts';
import type { RedisClient } from './connection.ts';
import { EveryShard } from './every-shard.ts';
import { proposalKey } from './keys.ts';
import { Scripts } from './scripts.ts';

/** Ids and counts in turn. What is no id of ours is nobody's business here. */
const Claimed = z.array(z.string()).transform((flat) =>
  flat.flatMap((text, i): PreviewTask[] => {
    const id = i % 2 === 0 ? ProposalId.safeParse(text) : undefined;
    return id?.success ? [{ id: id.data, claims: Number(flat[i + 1]) }] : [];
  }),
);

export class PreviewTasksRedis implements PreviewTasks {
  readonly #scripts: Scripts;
  readonly #claiming: EveryShard;
  readonly #boxes: Boxes;

  constructor({ redis, shards, keys }: { redis: RedisClient; shards: number; keys: ProposalKeys }) {
    this.#scripts = new Scripts(redis);
    this.#claiming = new EveryShard(redis, shards, 'calls that are to be previewed');
    this.#boxes = new Boxes(recordBoxKeys(keys));
  }

  async claim(limit: number, leaseMs: number): Promise<PreviewTask[]> {
    return this.#claiming.inTurn(limit, async (shard, most) =>
      Claimed.parse(await this.#scripts.run('previewClaim', { shard, ask: { limit: most, leaseMs } })),
    );
  }

  async keep(id: ProposalId, digest: Digest, preview: SealedPreview, failed: boolean): Promise<boolean> {
    const detail = { termsDigest: digest, previewDigest: previewDigest(preview), failed };
    const kept = this.#boxes.seal(JSON.stringify({ text: preview.text, seal: preview.seal }), id, 'preview');
    return (await this.#run(id, { digest }, [kept, JSON.stringify(detail)])) === 'settled';
  }

  async drop(id: ProposalId): Promise<void> {
    await this.#run(id, { drop: true }, []);
  }

  async #run(id: ProposalId, ask: Readonly<Record<string, unknown>>, texts: readonly string[]) {
    const shard = shardOfProposal(id);
    const reply = await this.#scripts.run('previewKeep', {
      shard,
      keys: [proposalKey(id)],
      ask: { id, ...ask },
      texts,
    });
    return z.array(z.unknown()).min(1).parse(reply)[0];
  }
}
